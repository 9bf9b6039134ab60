"""Closed-set networks in the text space, and the weights of their pixels in lifting."""

import json
import os
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide.errors import ConfigError, DataError, InputError, ReadAs
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import placed
from geoguide.experiments.presets import fusion
from geoguide.lifting import PixelFeatures, fuse
from geoguide.pipeline.prepare import prepare_split
from geoguide.scene import View
from geoguide.teachers import closed_set
from geoguide.teachers.closed_set import ClosedSetModel, convex_mean, one_hot, read_names, resized, softmax
from geoguide.teachers.huggingface import HuggingFaceSegmenter
from geoguide.teachers.registry import open_image_model, parse_spec
from geoguide.text import TextConfig

INTRINSICS = np.array([[10.0, 0, 4], [0, 10, 4], [0, 0, 1]])


class Fixed:
    """A segmenter that gives the same answer for every image."""

    name = identity = "fixed"
    names = ("chair", None, "table")

    def __init__(self, answer: np.ndarray) -> None:
        self.given, self.gives_probabilities = answer, answer.ndim == 3

    def answer(self, image: np.ndarray) -> np.ndarray:
        return self.given


IMAGE = np.zeros((6, 8, 3), np.uint8)


def test_a_pixel_is_the_mean_of_the_names_by_their_probability():
    text = np.array([[1, 0], [0, 1]], np.float32)
    features, weight = convex_mean(np.array([[[0.6, 0.2], [0, 0]]], np.float32), text)
    np.testing.assert_allclose(features, [[[0.75, 0.25], [0, 0]]])
    np.testing.assert_allclose(weight, [[0.8, 0]])


def test_a_model_equals_the_definition_pixel_by_pixel(rng):
    answer = rng.dirichlet(np.ones(3), (6, 8)).astype(np.float32)
    model = ClosedSetModel(Fixed(answer))
    (features, weight), chair, table = model.encode([IMAGE])[0], *model.text(["chair", "table"])
    for row in range(6):
        for column in range(8):
            first, _, last = answer[row, column]
            expected = (first * chair + last * table) / (first + last)
            np.testing.assert_allclose(features[row, column], expected, atol=1e-6)
            np.testing.assert_allclose(weight[row, column], first + last, atol=1e-6)
    assert model.name == "fixed (2 class probabilities)" and model.width == 384 and model.space == TextConfig("minilm")


@pytest.mark.parametrize("size", [(3, 4), (9, 5), (12, 16), (4, 11)])
def test_what_is_kept_is_no_larger_than_image_or_answer_and_costs_nothing(rng, size):
    answer = rng.dirichlet(np.ones(3), size).astype(np.float32)
    model = ClosedSetModel(Fixed(answer))
    (kept,) = model.compact([IMAGE])
    assert kept.shape == (min(size[0], 6), min(size[1], 8), 2)
    direct = convex_mean(resized(answer[..., [0, 2]], (6, 8)), model.vectors)
    for found, expected in zip(model.encode([IMAGE])[0], direct, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert resized(answer, size) is answer


def test_labels_are_kept_as_bytes_and_their_name_says_so(rng):
    labels = rng.integers(0, 3, (12, 16))
    model = ClosedSetModel(Fixed(labels))
    (kept,) = model.compact([IMAGE])
    assert kept.dtype == np.uint8 and kept.nbytes == labels.size and model.name == "fixed (2 classes, labels only)"
    direct = convex_mean(resized(one_hot(labels, 3)[..., [0, 2]], (6, 8)), model.vectors)
    for found, expected in zip(model.expand(kept, (6, 8)), direct, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            np.zeros((2, 2, 4), np.float32),
            r"an answer must be floats \[h, w, 3\] or labels \[h, w\], found float32 \[2, 2, 4\]",
        ),
        (np.zeros((2, 2, 3), np.int64), r"an answer must be floats \[h, w, 3\] or labels"),
        (np.full((2, 2, 3), np.nan, np.float32), "probabilities must be finite and at least 0"),
        (np.full((2, 2, 3), -0.1, np.float32), "probabilities must be finite and at least 0"),
        (np.array([[0, 3]]), "labels must be in 0..2, found 0..3"),
        (np.full((2, 2, 3), 5, np.float32), "probabilities must sum to 1 over the classes, found a pixel of 15"),
        (np.zeros((0, 2, 3), np.float32), r"an answer must be floats .*, found float32 \[0, 2, 3\]"),
        (np.zeros((0, 2), np.int64), r"an answer must be floats .*, found int64 \[0, 2\]"),
        (np.array([["wall"]]), "an answer must hold numbers, found dtype <U4"),
    ],
)
def test_what_a_segmenter_must_not_answer(answer, message):
    with pytest.raises(InputError, match=rf"^fixed \(2 .*\): {message}"):
        ClosedSetModel(Fixed(answer)).compact([IMAGE])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "none of its 0 classes has a name"),
        ((None, None), "none of its 2 classes has a name"),
        (("chair", " "), "class names must be words or None"),
        (("chair", ""), "class names must be words or None"),
        (("chair", None, 3), "class names must be words or None, found 3 for class 2 of 3"),
    ],
)
def test_names_that_are_none(names, message):
    segmenter = Fixed(np.zeros((2, 2, 3), np.float32))
    segmenter.names = names
    with pytest.raises(InputError, match=f"fixed: {message}"):
        ClosedSetModel(segmenter)


@pytest.mark.parametrize("kind", [torch.from_numpy, np.float64, np.float16, np.ndarray.tolist])
def test_answers_of_other_kinds_are_the_same_numbers(rng, kind):
    answer = rng.dirichlet(np.ones(3), (3, 4)).astype(np.float16).astype(np.float32)
    other = Fixed(answer)
    other.given = kind(answer)
    for found, expected in zip(
        *(ClosedSetModel(each).encode([IMAGE])[0] for each in (other, Fixed(answer))), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_two_classes_of_one_name_count_together(rng):
    segmenter = Fixed(rng.dirichlet(np.ones(3), (6, 8)).astype(np.float32))
    segmenter.names = ("screen", "screen", None)
    features, weight = ClosedSetModel(segmenter).encode([IMAGE])[0]
    screen = ClosedSetModel(segmenter).text(["screen"])[0]
    np.testing.assert_allclose(features, np.broadcast_to(screen, features.shape), atol=1e-6)
    np.testing.assert_allclose(weight, 1 - segmenter.given[..., 2], atol=1e-6)


def test_thousands_of_names(rng, monkeypatch):
    vectors = rng.normal(size=(3000, 384)).astype(np.float32)
    segmenter = Fixed(rng.integers(0, 3000, (6, 8)))
    segmenter.names = tuple(f"thing {number}" for number in range(3000))
    model = ClosedSetModel(segmenter)
    monkeypatch.setattr(model, "text", lambda names, prompt: vectors[: len(names)])
    (kept,) = model.compact([IMAGE])
    features, weight = model.expand(kept, (6, 8))
    assert kept.dtype == np.uint16 and model.name == "fixed (3000 classes, labels only)"
    np.testing.assert_allclose(features, vectors[segmenter.given], atol=1e-6)
    assert (weight == 1).all()


@pytest.mark.parametrize("least", [0, 5])
def test_of_many_classes_those_that_an_image_shows_suffice(rng, monkeypatch, least):
    """Their one-hot maps would be a gigabyte for 800 classes of an image of 640 x 480 pixels."""
    segmenter = Fixed(rng.integers(least, 7, (12, 16)))
    segmenter.names = (*(f"thing {number}" for number in range(5)), None, None)
    model = ClosedSetModel(segmenter)
    (kept,) = model.compact([IMAGE])
    whole = model.expand(kept, (6, 8))
    monkeypatch.setattr(closed_set, "FEW", 0)
    for found, expected in zip(model.expand(kept, (6, 8)), whole, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(InputError, match=r"labels must be in 0\.\.5"):
        model.expand(np.full((6, 8), 6, np.uint8), (6, 8))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("wall\nother\ndoor, double door\n", ("wall", None, "door")),
        ("1\twall\n3\tscreen; crt screen\n", (None, "wall", None, "screen")),
        ("wall\n\nfloor\n", "line 2"),
        ("", "line 1"),
        ("1\twall\n1\tfloor\n", "line 2"),
        ("1\twall\nx\tfloor\n", "line 2"),
        ("1\t \n", "line 1"),
        ("1\twall\nfloor\n", "line 2"),
        ("0\twall\n65536\tfloor\n", "line 2"),
        ("person;individual\nswimming pool, pond\n", ("person", "swimming pool")),
        ("3 seater\ndining_table\n2-wheeler\n", ("3 seater", "dining_table", "2-wheeler")),
        ("3 seater\n", ("3 seater",)),
        ("стена\n椅子\n", ("стена", "椅子")),
        ("0,wall\n1,floor\n", "line 1"),
        ("id,name\n0,wall\n1,floor\n", "line 1"),
        ("0 wall\n1 floor\n", "line 1"),
        ("0: wall\n1: floor\n", "line 1"),
        ("  0: wall\n  1: floor\n", "line 1"),
        ("1\t0.1576\t11664\twall\n2\t0.1072\t6046\tbuilding\n", "line 1"),
        ("wall\t0\nfloor\t1\n", "line 1"),
        ("1\n2\n3\n", "line 1"),
        ("wall\n\u200b\n", "line 2"),
        (",wall\n", "line 1"),
        ("- wall\n- floor\n", "line 1"),
        ("names:\n  - wall\n", "line 2"),
        ('["wall", "floor"]', "line 1"),
        ('{"0": "wall"}', "line 1"),
        ('{\n "0": "wall",\n}\n', "line 1"),
        ('"wall"\n"floor"\n', "line 1"),
        ("# names\nwall\n", "line 1"),
        ("name,r,g,b\nwall,120,120,120\n", "line 2"),  # the heading would be the first class
        ("wall;120;120;120\n", "line 1"),
        ("wall 120 120 120\nfloor 180 120 50\n", "line 1"),
        ("wall\ntv, 4k tv\nroom 101, 2nd floor\nno. 5,\n", ("wall", "tv", "room 101", "no. 5")),
    ],
)
def test_files_of_names(tmp_path, text, names):
    path = tmp_path / "names.txt"
    path.write_text(text, encoding="utf-8")
    if isinstance(names, tuple):
        assert read_names(path) == names
    else:
        with pytest.raises(
            DataError, match=f"names.txt: {names}: expected a class name, or a new number, tab and name"
        ):
            read_names(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_files_of_names_in_other_encodings(tmp_path, encoding):
    (tmp_path / "names.txt").write_bytes("chaise\r\nétagère\r\n".encode(encoding))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert read_names(tmp_path / "names.txt") == ("chaise", "étagère")
    assert [each.category for each in said] == ([] if encoding.startswith("utf-8") else [ReadAs])


def test_a_file_of_names_that_is_none(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "names.txt", tmp_path / "missing.txt", tmp_path):
        with pytest.raises(DataError, match="class names cannot be read"):
            read_names(path)


def test_the_score_of_a_single_class_is_that_of_two_whose_other_scores_nothing(rng):
    """Its softmax would be 1 everywhere; of two classes, one with the logit 0, it is what networks are trained to."""
    logits = rng.normal(scale=40, size=(5, 6, 1)).astype(np.float32)
    two = np.concatenate([logits, np.zeros_like(logits)], axis=-1)
    np.testing.assert_allclose(softmax(logits), softmax(two)[..., :1], atol=1e-6)


def test_labels_and_logits_become_probabilities():
    np.testing.assert_array_equal(one_hot(np.array([[0, 2]]), 3), [[[1, 0, 0], [0, 0, 1]]])
    with pytest.raises(InputError, match=r"labels must be in 0..2, found 0..3"):
        one_hot(np.array([[0, 3]]), 3)
    logits = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32) * 50
    np.testing.assert_allclose(softmax(logits), torch.from_numpy(logits).softmax(-1).numpy(), atol=1e-6)


def views(count: int) -> list[View]:
    return [View(str(number), INTRINSICS, np.eye(4), (9, 9)) for number in range(count)]


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_weighted_fusion_equals_a_loop(rng, kind):
    points = np.column_stack([rng.uniform(-0.6, 0.6, (40, 2)), np.full(40, 2.0)])
    maps = [rng.normal(size=(9, 9, 5)).astype(np.float32) for _ in range(3)]
    weights = [rng.random((9, 9)) * (rng.random((9, 9)) > 0.4) for _ in range(3)]
    given = [PixelFeatures(kind(f), w) for f, w in zip(maps, weights, strict=True)]
    fused = fuse(kind(points), views(3), given, use_depth=False, border=0)
    column, row = (np.floor(points[:, :2] / 2 * 10 + 4 + 0.5)).astype(int).T
    for point in range(40):
        inside = 0 <= row[point] < 9 and 0 <= column[point] < 9
        seen = [w[row[point], column[point]] for w in weights] if inside else [0] * 3
        assert fused.count[point] == sum(w > 0 for w in seen)
        if any(seen):
            mean = sum(w * f[row[point], column[point]] for w, f in zip(seen, maps, strict=True)) / sum(seen)
            np.testing.assert_allclose(np.asarray(fused.mean[point]), mean, rtol=1e-4, atol=1e-5)
        else:
            assert not np.asarray(fused.mean[point]).any()


@pytest.mark.parametrize("kind", [np.float64, np.bool_, np.uint8])
def test_what_stands_under_no_answer_is_not_read(kind):
    points, maps = np.array([[0.0, 0, 2]]), [np.full((9, 9, 2), np.nan, np.float32), np.ones((9, 9, 2), np.float32)]
    weights = [np.zeros((9, 9), kind), np.ones((9, 9), kind)]
    fused = fuse(points, views(2), map(PixelFeatures, maps, weights), use_depth=False, border=0)
    assert fused.count.tolist() == [1] and fused.mean.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones((9, 8)), r"weight must be numbers \[9, 9\], found float64 \[9, 8\]"),
        (-np.ones((9, 9)), "weight must be finite and at least 0, found 81 pixels that are not"),
        (np.full((9, 9), np.nan), "weight must be finite and at least 0"),
    ],
)
def test_refuses_weights(weight, message):
    features = PixelFeatures(np.zeros((9, 9, 1)), weight)
    with pytest.raises(InputError, match=rf"view 0: {message}"):
        fuse(np.array([[0.0, 0, 2]]), views(1), [features], use_depth=False, border=0)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_that_no_pixel_answers_is_told_from_that_none_sees(kind):
    points, maps = kind(np.array([[0.0, 0, 2]])), np.ones((9, 9, 2), np.float32)
    with pytest.raises(InputError, match="every pixel that sees a point has weight 0, in all of 2 views"):
        fuse(points, views(2), [PixelFeatures(maps, np.zeros((9, 9)))] * 2, use_depth=False, border=0)
    with pytest.raises(InputError, match="no point is visible in any of 2 views"):
        fuse(-points, views(2), [PixelFeatures(maps, np.zeros((9, 9)))] * 2, use_depth=False, border=0)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_features_of_points_are_finite(kind, bad, weighted):
    """What no point sees may be anything; else one line, not a mean of nan."""
    points, first = kind(np.array([[0.0, 0, 2], [0.2, 0, 2]])), np.ones((9, 9, 2), np.float32)
    first[0, 0] = bad
    wrap = (lambda m: PixelFeatures(m, np.ones((9, 9)))) if weighted else np.asarray
    fused = fuse(points, views(2), [wrap(first), wrap(first)], use_depth=False, border=0)
    assert np.asarray(fused.mean).tolist() == [[1, 1], [1, 1]]
    first[4, 5, 1] = bad  # of the second point
    with pytest.raises(InputError, match="feature maps must be finite; pixels that see 1 of 2 points are not"):
        fuse(points, views(2), [wrap(first), wrap(first)], use_depth=False, border=0)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("weighted", [(0,), (1,), (2,), (0, 2)])
def test_beside_weights_a_map_without_them_counts_one(rng, kind, weighted):
    points = np.column_stack([rng.uniform(-0.6, 0.6, (40, 2)), np.full(40, 2.0)])
    maps = [rng.normal(size=(9, 9, 5)).astype(np.float32) for _ in range(3)]
    weights = [rng.random((9, 9)).round(1) if view in weighted else np.ones((9, 9)) for view in range(3)]
    said = [PixelFeatures(m, w) if v in weighted else m for v, (m, w) in enumerate(zip(maps, weights, strict=True))]
    found = fuse(kind(points), views(3), said, use_depth=False, border=0)
    expected = fuse(kind(points), views(3), map(PixelFeatures, maps, weights), use_depth=False, border=0)
    np.testing.assert_allclose(np.asarray(found.mean), np.asarray(expected.mean), atol=1e-6)
    np.testing.assert_array_equal(np.asarray(found.count), np.asarray(expected.count))


LABELS = {0: "wall", 1: "chair; seat", 2: "background"}


@pytest.fixture(scope="module")
def segformer(tmp_path_factory) -> Path:
    """A SegFormer of a few thousand random weights, saved as from the hub."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    config = SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 16], patch_sizes=[7, 3], strides=[4, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, id2label=LABELS,
        label2id={name: number for number, name in LABELS.items()},
    )  # fmt: skip
    model = SegformerForSemanticSegmentation(config)
    with torch.no_grad():
        model.decode_head.classifier.weight *= 1000  # else its probabilities hardly depend on the image
    return saved(model, tmp_path_factory.mktemp("segformer"))


def saved(model: torch.nn.Module, folder: Path) -> Path:
    model.save_pretrained(folder)
    preparation = {"size": {"height": 64, "width": 96}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(preparation))
    return folder


def test_hugging_face_equals_the_network_called_by_hand(segformer, rng):
    from transformers import SegformerForSemanticSegmentation

    image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    segmenter = HuggingFaceSegmenter(segformer)
    assert segmenter.names == ("wall", "chair", None)
    values = torch.from_numpy((image / 255 - 0.5) / 0.25).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        logits = SegformerForSemanticSegmentation.from_pretrained(segformer).eval()(values).logits
    np.testing.assert_allclose(segmenter.answer(image), logits[0].softmax(0).permute(1, 2, 0), atol=1e-5)
    assert segmenter.answer(image[:40, :50]).shape == (16, 24, 3)


def prepared_as(network: Path, folder: Path, **settings: object) -> HuggingFaceSegmenter:
    """The same network with another file of how images are prepared."""
    shutil.copytree(network, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return HuggingFaceSegmenter(folder)


@pytest.mark.parametrize("size", [(37, 53), (120, 31), (3, 70), (1, 1)])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Segformer", {"size": {"height": 48, "width": 96}, "resample": 3}),
        ("Mask2Former", {"size": {"shortest_edge": 64, "longest_edge": 160}, "size_divisor": 0}),
        ("MaskFormer", {"size": 64, "max_size": 100, "size_divisor": 32}),
        ("MobileViT", {"size": {"shortest_edge": 64}, "do_flip_channel_order": True}),
        ("DPT", {"size": {"height": 96, "width": 96}, "keep_aspect_ratio": True, "ensure_multiple_of": 16}),
    ],
)
def test_images_are_prepared_as_transformers_does(segformer, tmp_path, rng, kind, settings, size):
    import transformers

    segmenter = prepared_as(segformer, tmp_path / "x", image_processor_type=f"{kind}ImageProcessor", **settings)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    processor = getattr(transformers, f"{kind}ImageProcessorPil")(**settings, do_center_crop=False)
    try:
        values = processor(image, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            logits = transformers.SegformerForSemanticSegmentation.from_pretrained(segformer).eval()(values).logits
    except (ValueError, RuntimeError):  # of so narrow an image nothing is left
        assert kind == "DPT" and size == (3, 70)
        with pytest.raises(DataError, match="^x: cannot look at an image of 3 x 70 pixels"):
            segmenter.answer(image)
        return
    np.testing.assert_allclose(segmenter.answer(image), logits[0].softmax(0).permute(1, 2, 0), atol=1e-5)


def test_what_a_file_says_of_size_colour_and_cropping(segformer, tmp_path, rng):
    """Hand cases: the network answers at a quarter of what it looks at."""
    image = rng.integers(0, 256, (40, 80, 3), dtype=np.uint8)
    edges = {"size": {"shortest_edge": 64, "longest_edge": 96}, "size_divisor": 0}
    bounded = prepared_as(segformer, tmp_path / "a", image_processor_type="Mask2FormerImageProcessor", **edges)
    assert bounded.answer(image).shape == (12, 24, 3)  # 48 x 96: the longest edge bounds it
    assert bounded.answer(image[:, :40]).shape == (16, 16, 3)
    whole = {"image_processor_type": "MobileViTImageProcessor", "do_resize": False, "do_center_crop": True}
    whole |= {"crop_size": {"height": 16, "width": 16}}
    blue = prepared_as(segformer, tmp_path / "b", **whole)
    red = prepared_as(segformer, tmp_path / "c", **whole, do_flip_channel_order=False)
    assert blue.answer(image).shape == (10, 20, 3)  # no middle is cut out
    np.testing.assert_array_equal(blue.answer(image), red.answer(image[..., ::-1].copy()))
    assert np.abs(blue.answer(image) - red.answer(image)).max() > 0.1


def test_images_that_a_network_cannot_look_at(tmp_path):
    from transformers import BeitConfig, BeitForSemanticSegmentation

    config = BeitConfig(
        hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=8, image_size=32, patch_size=16,
        out_indices=[1, 2, 3, 4], pool_scales=[1], use_auxiliary_head=False, id2label=LABELS,
    )  # fmt: skip
    saved(BeitForSemanticSegmentation(config), tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"do_resize": false}')
    segmenter = HuggingFaceSegmenter(tmp_path)
    for size in ((1, 1), (3, 700)):
        with pytest.raises(DataError, match=f"{segmenter.name}: cannot look at an image of {size[0]} x {size[1]} pix"):
            segmenter.answer(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("labels", [{"0": "wall", "1": "chair", "3": "door"}, {"0": "wall", "1": "chair", "2": None}])
def test_every_class_must_have_an_entry(segformer, tmp_path, labels):
    shutil.copytree(segformer, tmp_path / "copy")
    config = json.loads((segformer / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    message = "config.json: id2label must name classes 0..2, found no name for 2|no segmentation network"
    with pytest.raises(DataError, match=message):
        HuggingFaceSegmenter(tmp_path / "copy")


def test_classes_that_nobody_has_named_are_said(segformer, tmp_path):
    shutil.copytree(segformer, tmp_path / "copy")
    config = json.loads((segformer / "config.json").read_text())
    named = {"0": "LABEL_0", "1": "chair", "2": "LABEL_2"}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"id2label": named}))
    with pytest.warns(ReadAs, match="copy: config.json: id2label must hold class names; 2 of 3 classes are called"):
        HuggingFaceSegmenter(tmp_path / "copy")


def test_mask_classification_networks_sum_their_queries(tmp_path, rng):
    from transformers import MaskFormerConfig, MaskFormerForInstanceSegmentation, ResNetConfig

    torch.manual_seed(0)
    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1] * 4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = MaskFormerConfig(
        backbone_config=backbone, fpn_feature_size=32, mask_feature_size=32, num_labels=3, id2label=LABELS,
        decoder_config={"model_type": "detr", "d_model": 32, "decoder_layers": 1, "encoder_layers": 1, "num_queries": 5,
                        "decoder_attention_heads": 2, "encoder_attention_heads": 2, "decoder_ffn_dim": 8},
    )  # fmt: skip
    segmenter = HuggingFaceSegmenter(saved(MaskFormerForInstanceSegmentation(config), tmp_path))
    answer = segmenter.answer(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8))
    assert answer.shape[2] == 3
    np.testing.assert_allclose(answer.sum(axis=-1), 1, atol=1e-5)


class Malice:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def pickled(folder: Path, name: str) -> Path:
    """A file that runs code when it is unpickled."""
    (folder / name).write_bytes(pickle.dumps(Malice(folder / "executed")))
    return folder / name


def test_what_is_no_network_is_one_line(tmp_path):
    with pytest.raises(DataError, match="no segmentation network of transformers"):
        HuggingFaceSegmenter(tmp_path)
    for content in ('{"model_type": "bert"}', '{"model_type": "no such"}', "[]", "{}", "no json", "null"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(DataError, match="no segmentation network of transformers"):
            HuggingFaceSegmenter(tmp_path)
    for path in (pickled(tmp_path, "network.pth"), tmp_path / "missing", tmp_path / "config.json"):
        with pytest.raises(DataError, match="no segmentation network of transformers"):
            HuggingFaceSegmenter(path)


def test_pickled_weights_and_remote_code_are_not_run(segformer, tmp_path):
    shutil.copytree(segformer, tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").unlink()
    pickled(tmp_path / "copy", "pytorch_model.bin")
    with pytest.raises(DataError, match="no segmentation network of transformers"):
        HuggingFaceSegmenter(tmp_path / "copy")
    config = json.loads((segformer / "config.json").read_text())
    own = {"AutoConfig": "code.Config", "AutoModelForSemanticSegmentation": "code.Model"}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"model_type": "mine", "auto_map": own}))
    (tmp_path / "copy" / "code.py").write_text(f"open({str(tmp_path / 'copy' / 'executed')!r}, 'w')")
    with pytest.raises(DataError, match="no segmentation network of transformers"):
        HuggingFaceSegmenter(tmp_path / "copy")
    assert not (tmp_path / "copy" / "executed").exists()


@pytest.mark.parametrize("harm", ["short", "empty", "missing tensor", "other shape", "text"])
def test_damaged_weights_are_one_line(segformer, tmp_path, harm):
    from safetensors.torch import load_file, save_file

    shutil.copytree(segformer, tmp_path / "copy")
    path = tmp_path / "copy" / "model.safetensors"
    if harm in ("missing tensor", "other shape"):
        tensors = load_file(path)
        name = next(iter(tensors))
        tensors[name] = torch.zeros(3, 1, 4, 1, 5)
        if harm == "missing tensor":
            del tensors[name]
        save_file(tensors, path, {"format": "pt"})
    else:
        path.write_bytes({"short": path.read_bytes()[:2000], "empty": b"", "text": b"no network" * 99}[harm])
    with pytest.raises(DataError, match="no segmentation network of transformers"):
        HuggingFaceSegmenter(tmp_path / "copy")


def test_one_network_by_folder_or_copy_is_one_identity(segformer, tmp_path):
    shutil.copytree(segformer, tmp_path / "copy")
    one, other = (HuggingFaceSegmenter(folder) for folder in (segformer, tmp_path / "copy"))
    assert one.identity == other.identity
    (tmp_path / "copy" / "preprocessor_config.json").write_text(json.dumps({"size": 32}))
    assert HuggingFaceSegmenter(tmp_path / "copy").identity != one.identity


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "no json",
        '{"size": "large"}',
        '{"image_std": [0, 1, 1]}',
        '{"image_mean": [1, 2]}',
        '{"image_processor_type": "NoSuchImageProcessor"}',
        '{"image_processor_type": "DPTImageProcessor", "do_pad": true, "size_divisor": 50}',
        '{"image_processor_type": "Mask2FormerImageProcessor", "pad_size": {"height": 2000, "width": 2000}}',
        '{"image_processor_type": "EomtImageProcessor", "do_split_image": true}',
    ],
)
def test_a_preparation_that_is_none(segformer, tmp_path, content):
    shutil.copytree(segformer, tmp_path / "copy")
    (tmp_path / "copy" / "preprocessor_config.json").write_text(content)
    with pytest.raises((DataError, InputError), match=str(tmp_path / "copy")):
        HuggingFaceSegmenter(tmp_path / "copy")


def test_transformers_by_name_in_an_experiment(segformer, tiny):
    config = placed(fusion(), "scannet", features=f"transformers:{segformer},batch=2").replace(data=tiny.data)
    (scene,) = prepare_split(config, "test", progress=False)
    model = config.image_model  # of a folder the name does not say which weights it holds
    assert model.name == f"{segformer.name} (2 class probabilities) [{model.identity[:8]}]" and model.batch == 2
    assert scene.feature_width == 384 and scene.seen.any()
    assert Facts.of(config).teacher == config.image_model.name
    with pytest.raises(ConfigError, match="options .*got an unexpected keyword argument 'low'"):
        placed(fusion(), "scannet", features=f"transformers:{segformer},low=0")


def test_what_is_no_litert_file_is_one_line(tmp_path):
    """Told by the mark of the format, with or without the extra; nothing is executed."""
    from geoguide.teachers.litert import LiteRTSegmenter

    (tmp_path / "x.txt").write_text("chair\n")
    (tmp_path / "text.tflite").write_text("not a network")
    (tmp_path / "empty.tflite").touch()
    (tmp_path / "zip.tflite").write_bytes(b"PK\x03\x04" + bytes(100))
    torch.save({"weight": torch.zeros(3)}, tmp_path / "network.pth")
    paths = [tmp_path / name for name in ("text.tflite", "empty.tflite", "zip.tflite", "network.pth")]
    for path in (*paths, pickled(tmp_path, "pickle.tflite")):
        with pytest.raises(DataError, match=rf"{path.name}: no LiteRT network: expected b'TFL3' at byte 4, found"):
            LiteRTSegmenter(path, ["chair"])
        with pytest.raises(DataError, match=rf"{path.name}: no LiteRT network"):
            open_image_model(parse_spec(f"litert:{path},names={tmp_path / 'x.txt'}"))
    paths[0].write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DataError, match=r"text.tflite: LiteRT network expected, found a git-lfs pointer"):
        LiteRTSegmenter(paths[0], ["chair"])
    for path in (tmp_path / "missing.tflite", tmp_path):
        with pytest.raises(DataError, match="LiteRT file not found"):
            LiteRTSegmenter(path, ["chair"])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("dtype", "quantization", "black", "grey", "white"),
    [
        (np.uint8, (1 / 127.5, 128), 0, 200, 255),
        (np.uint8, (0.0, 0), 0, 200, 255),
        (np.int8, (1 / 127.5, 0), -128, 72, 127),
        (np.int8, (1 / 255, -128), -128, 72, 127),
        (np.float32, (0.0, 0), -1, 200 / 127.5 - 1, 1),
        (np.float16, (0.0, 0), -1, 200 / 127.5 - 1, 1),
    ],
)
def test_bytes_as_a_network_takes_them(dtype, quantization, black, grey, white):
    from geoguide.teachers.litert import network_input

    found = network_input(np.array([0, 200, 255], np.uint8), dtype, quantization)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, [black, grey, white], rtol=1e-3)
    found = network_input(np.array([0, 51, 255], np.uint8), np.float32, (0.0, 0), 0.0, 1.0)
    np.testing.assert_allclose(found, [0, 0.2, 1], atol=1e-6)


@pytest.mark.parametrize(("scale", "zero"), [(1 / 127.5, 128), (1 / 255, 0), (0.0186, 114)])
def test_one_network_quantised_to_int8_or_uint8_sees_the_same_numbers(scale, zero):
    from geoguide.teachers.litert import network_input

    pixels = np.arange(256, dtype=np.uint8)
    unsigned = network_input(pixels, np.uint8, (scale, zero)).astype(float) - zero
    signed = network_input(pixels, np.int8, (scale, zero - 128)).astype(float) - (zero - 128)
    np.testing.assert_array_equal(scale * signed, scale * unsigned)


@pytest.mark.parametrize(("dtype", "scale"), [(np.int16, 0.1), (np.int32, 0), (np.int8, 0), (np.bool_, 0)])
def test_inputs_that_take_no_image(dtype, scale):
    from geoguide.teachers.litert import network_input

    message = f"its input must be uint8, int8 with a scale, float16 or float32, found {np.dtype(dtype)} of scale"
    with pytest.raises(InputError, match=message):
        network_input(np.zeros(3, np.uint8), dtype, (scale, 0))


class OneScore:
    """What an interpreter says of a network that gives one number a pixel."""

    def __init__(self, answer: np.ndarray, scale: float = 0.0) -> None:
        self.given, self.scale = answer, scale

    def get_input_details(self) -> list[dict]:
        return [{"shape": np.array([1, 2, 3, 3]), "dtype": np.float32, "quantization": (0.0, 0), "index": 0}]

    def get_output_details(self) -> list[dict]:
        details = {"shape": np.array([1, 2, 3, 1]), "dtype": self.given.dtype.type, "index": 1}
        return [details | {"quantization": (self.scale, 0)}]

    def get_tensor(self, index: int) -> np.ndarray:
        return self.given[None, ..., None]

    def set_tensor(self, index: int, value: np.ndarray) -> None: ...

    def invoke(self) -> None: ...


def test_one_number_a_pixel_is_a_score_of_one_class_or_a_label(tmp_path, monkeypatch):
    from geoguide.teachers import litert

    def segmenter(names: list[str], answer: np.ndarray, scale: float = 0.0) -> litert.LiteRTSegmenter:
        (tmp_path / "person.tflite").touch()
        monkeypatch.setattr(litert, "_opened", lambda path, threads: OneScore(answer, scale))
        return litert.LiteRTSegmenter(tmp_path / "person.tflite", names)

    scores, logits = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3), np.float32([[-9, 0, 1], [2, 3, 9]])
    known = segmenter(["person"], scores)
    assert known.gives_probabilities
    np.testing.assert_array_equal(known.answer(IMAGE), scores[..., None])
    np.testing.assert_allclose(
        segmenter(["person"], logits).answer(IMAGE)[..., 0], 1 / (1 + np.exp(-logits)), rtol=1e-5
    )
    bytes_ = segmenter(["person"], np.uint8([[0, 51, 255], [0, 0, 0]]), 1 / 255)
    np.testing.assert_allclose(bytes_.answer(IMAGE)[0, :, 0], [0, 0.2, 1], atol=1e-6)
    labels = segmenter(["person", "car"], np.float32([[0, 1, 1], [0, 0, 1]]))
    assert not labels.gives_probabilities and labels.answer(IMAGE).tolist() == [[0, 1, 1], [0, 0, 1]]
    with pytest.raises(DataError, match="person: labels must be whole numbers, found scores of one class, and 2 class"):
        segmenter(["person", "car"], scores).answer(IMAGE)


@pytest.mark.parametrize(("kind", "scale"), [("uint8", 1 / 256), ("int8", 1 / 256), ("uint8", 1 / 255)])
@pytest.mark.parametrize("count", [2, 32, 150, 1200])
def test_probabilities_in_bytes_are_not_taken_for_logits(tmp_path, monkeypatch, rng, kind, scale, count):
    """Each is rounded, so that those of many classes sum to .7 to 1.3; another softmax made them all alike."""
    from geoguide.teachers import litert

    logits = rng.normal(size=(6, 5, count)) * 2
    true = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    zero = -128 if kind == "int8" else 0

    class Rounded(OneScore):
        def get_output_details(self) -> list[dict]:
            details = {"shape": np.array([1, *true.shape]), "dtype": np.dtype(kind).type, "index": 1}
            return [details | {"quantization": (scale, zero)}]

        def get_tensor(self, index: int) -> np.ndarray:
            return self.given[None]

    (tmp_path / "rounded.tflite").touch()
    answer = (np.round(true / scale).clip(0, 255) + zero).astype(kind)
    monkeypatch.setattr(litert, "_opened", lambda path, threads: Rounded(answer))
    names = [f"class {number}" for number in range(count)]
    found = litert.LiteRTSegmenter(tmp_path / "rounded.tflite", names).answer(IMAGE)
    said = (answer.astype(np.float64) - zero).sum(-1) > 0  # of very many unlikely classes nothing is left
    np.testing.assert_allclose(found.sum(-1)[said], 1, rtol=1e-5)
    total = (answer.astype(np.float64) - zero).sum(-1, keepdims=True)
    np.testing.assert_allclose(found, (answer.astype(np.float64) - zero) / np.maximum(total, 1), rtol=1e-5)
    if count <= 150:
        assert said.all() and np.abs(found - true).max() < 0.1 * true.max()
    answer[..., 0] = 255 + zero  # no probabilities: all are likely
    answer[..., 1:] = 200 + zero
    monkeypatch.setattr(litert, "_opened", lambda path, threads: Rounded(answer))
    found = litert.LiteRTSegmenter(tmp_path / "rounded.tflite", names).answer(IMAGE)
    scores = (answer.astype(np.float64) - zero) * scale
    np.testing.assert_allclose(found, np.exp(scores) / np.exp(scores).sum(-1, keepdims=True), rtol=1e-4)


class TestLiteRT:
    """With the extra `litert`, on the real networks beside the project."""

    @pytest.fixture
    def networks(self, recordings) -> Path:
        pytest.importorskip("ai_edge_litert")
        return recordings / "networks_2d"

    def test_labels_and_logits(self, networks, recordings):
        from PIL import Image

        from geoguide.teachers.litert import LiteRTSegmenter

        names = [None if line == "other" else line for line in (networks / "ade31.txt").read_text().split("\n") if line]
        image = np.asarray(Image.open(recordings / "rgbd_kitchen" / "frame-000000.color.jpg"))
        labels = LiteRTSegmenter(networks / "mobile_segmenter_r4_quant_argmax_uint8.tflite", names)
        answer = labels.answer(image)
        assert not labels.gives_probabilities and answer.shape == (512, 512) and answer.max() < len(names)
        deep = LiteRTSegmenter(networks / "lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1.tflite", [None] * 151)
        assert deep.gives_probabilities
        np.testing.assert_allclose(deep.answer(image).sum(axis=-1), 1, atol=1e-4)
        with pytest.raises(InputError, match="names must be 151, one for each class, found 3"):
            LiteRTSegmenter(networks / "lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1.tflite", [None] * 3)

    def test_a_truncated_file(self, networks, tmp_path):
        from geoguide.teachers.litert import LiteRTSegmenter

        whole = (networks / "mobile_segmenter_r4_quant_argmax_uint8.tflite").read_bytes()
        for length in (8, 20, 1000, len(whole) // 2):
            (tmp_path / "x.tflite").write_bytes(whole[:length])
            with pytest.raises(DataError, match=r"x.tflite: no LiteRT network"):
                LiteRTSegmenter(tmp_path / "x.tflite", ["chair"])

    def test_rewritten_names_are_read_again(self, networks, tmp_path):
        file = networks / "mobile_segmenter_r4_quant_argmax_uint8.tflite"
        names = tmp_path / "names.txt"
        spec = parse_spec(f"litert:{file},names={names}")
        for time, word in enumerate(("thing", "piece")):
            names.write_text("".join(f"{word} {number}\n" for number in range(31)))
            os.utime(names, (time, time))
            assert open_image_model(spec).segmenter.names[0] == f"{word} 0"

    def test_in_an_experiment(self, networks, tiny):
        file, names = networks / "mobile_segmenter_r4_quant_argmax_uint8.tflite", networks / "ade31.txt"
        config = placed(fusion(), "scannet", features=f"litert:{file},names={names}").replace(data=tiny.data)
        assert config.image_model.name == "mobile_segmenter_r4_quant_argmax_uint8 (31 classes, labels only)"
        (scene,) = prepare_split(config, "test", progress=False)
        assert scene.seen.any() and np.isfinite(scene.lifted).all()
        with pytest.raises(DataError, match="class names cannot be read"):
            placed(fusion(), "scannet", features=f"litert:{file}")
