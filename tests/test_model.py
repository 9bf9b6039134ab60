"""The saved model: same answers after a round trip, any words, clear errors."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import geoguide
from geoguide.backbones import BackboneConfig
from geoguide.backbones import load as load_backbone
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.model import GeoGuideModel
from geoguide.own_scan import open_scan
from geoguide.paths import WEIGHTS
from geoguide.pipeline import class_text
from geoguide.pipeline.class_text import ClassText
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.scene import Scene
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.students.statistics import farthest, geometry_statistics


@pytest.fixture(scope="module")
def cloud() -> Scene:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 2, (900, 3)).astype(np.float32)
    points[:450, 2] = 0
    return Scene("cloud", points, rng.uniform(0, 1, (900, 3)).astype(np.float32))


@pytest.fixture(scope="module")
def model() -> GeoGuideModel:
    torch.manual_seed(0)
    config = AdapterConfig(hidden=(32,))
    adapter = Adapter(load_backbone("descriptors").width, 384, config).eval().requires_grad_(False)
    return GeoGuideModel(adapter, config, BackboneConfig("descriptors"), "a photo of a {}", "untrained, for this test")


def test_round_trip(model: GeoGuideModel, cloud: Scene, tmp_path) -> None:
    again = geoguide.load(model.save(tmp_path / "m.safetensors").rename(tmp_path / "m"))  # by any name
    assert again.trained_on == model.trained_on
    words = ["chair", "a purple elephant", "floor"]
    for a, b in zip(
        model.segment(cloud.points, cloud.colors, labels=words),
        again.segment(cloud.points, cloud.colors, labels=words),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_segment_is_the_best_similarity(model: GeoGuideModel, cloud: Scene) -> None:
    words = ["chair", "whiteboard", "floor"]
    ids, scores = model.segment(cloud.points, cloud.colors, labels=words)
    heat = np.stack([model.similarity(cloud.points, cloud.colors, text=word) for word in words])
    chosen = heat[ids, np.arange(len(ids))]  # a tie may go either way: words encoded alone differ in the last digit
    np.testing.assert_allclose(chosen, heat.max(0), atol=1e-6)
    np.testing.assert_allclose(scores, heat.max(0), atol=1e-6)
    assert (np.abs(heat) <= 1 + 1e-5).all()


def test_color_scale_does_not_matter(model: GeoGuideModel, cloud: Scene) -> None:
    whole = np.round(cloud.colors * 255)
    words = ["chair", "floor"]
    expected = model.segment(cloud.points, whole.astype(np.uint8), labels=words)[1]
    np.testing.assert_allclose(model.segment(cloud.points, whole, labels=words)[1], expected, atol=1e-6)
    np.testing.assert_allclose(model.segment(cloud.points, whole / 255, labels=words)[1], expected, atol=1e-5)


def test_classify_in_chunks_equals_whole() -> None:
    g = torch.Generator().manual_seed(0)
    features, text = torch.randn(103, 8, generator=g), ClassText(torch.randn(5, 8, generator=g))
    for a, b in zip(text.classify(features, chunk=10), text.classify(features), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_memory_of_many_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else 5,000 words took 800 MB on a scan of 40,000 points."""
    g = torch.Generator().manual_seed(0)
    features, text = torch.randn(103, 8, generator=g), ClassText(torch.randn(500, 8, generator=g))
    expected, sizes, whole = text.classify(features), [], ClassText.similarity
    monkeypatch.setattr(class_text, "PRODUCTS", 4_999)
    monkeypatch.setattr(ClassText, "similarity", lambda self, part: sizes.append(len(part)) or whole(self, part))
    for a, b in zip(text.classify(features), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert max(sizes) == 9 and sum(sizes) == 103


def test_bad_input(model: GeoGuideModel, cloud: Scene, tmp_path) -> None:
    with pytest.raises(InputError, match="non-empty list"):
        model.segment(cloud.points, cloud.colors, labels=[])
    with pytest.raises(InputError, match=r"colors must be numbers \[900, 3\]"):
        model.segment(cloud.points, cloud.colors[:5], labels=["chair"])
    with pytest.raises(InputError, match="nan"):
        model.segment(np.full((4, 3), np.nan), np.zeros((4, 3)), labels=["chair"])
    with pytest.raises(InputError, match="empty"):
        model.segment(np.zeros((0, 3)), np.zeros((0, 3)), labels=["chair"])
    with pytest.raises(DataError, match="no such model"):
        geoguide.load("missing")
    path = tmp_path / "cut.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"cut\.safetensors"):
        geoguide.load(path)


@pytest.mark.parametrize("given", ["scan.ply", None, np.zeros((5, 3))])
def test_what_is_no_scene_is_refused(model: GeoGuideModel, given: object) -> None:
    for ask in (lambda: model.encode(given), lambda: model.segment_scene(given, labels=["chair"])):
        with pytest.raises(
            InputError, match="scene must be a Scene, as readers return it, found (str|NoneType|ndarray)"
        ):
            ask()


def test_words_that_the_encoder_cannot_tell_apart(model: GeoGuideModel, cloud: Scene) -> None:
    for labels in (["chair", "table", "Chair"], ["Tür", "Tur"]):
        with pytest.raises(InputError, match=f"labels: '{labels[0]}' and '{labels[-1]}' are the same to all-MiniLM"):
            model.segment(cloud.points, cloud.colors, labels=labels)
    with pytest.warns(UserWarning, match="'椅子': the text encoder does not know its letters"):
        model.check_labels(("椅子", "table"))


def test_backbone_weights_may_lie_elsewhere(model: GeoGuideModel, tmp_path) -> None:
    """The file is the user's; which file it must be is the model's."""
    elsewhere = str(tmp_path / "sonata.pth")
    learned = dataclasses.replace(model, backbone=BackboneConfig("sonata", sha256="0" * 64))
    loaded = geoguide.load(learned.save(tmp_path / "model.safetensors"), weights=elsewhere)
    assert loaded.backbone == BackboneConfig("sonata", sha256="0" * 64, weights=elsewhere)
    with pytest.raises(ConfigError, match=r"backbone\.weights must be None for descriptors"):
        geoguide.load(model.save(tmp_path / "plain.safetensors"), weights=elsewhere)


@pytest.mark.parametrize("labels", [None, 3, "wall", b"wall", np.array("wall"), {"wall", "floor"}, [], iter(())])
def test_labels_without_an_order_are_refused(labels: object) -> None:
    """The ids follow the labels' order, and a set has none."""
    with pytest.raises(InputError, match="labels must be a non-empty list of strings"):
        geoguide.load("mini").segment(np.eye(3), np.zeros((3, 3)), labels=labels)


def test_labels_of_any_sequence() -> None:
    words, model = ["wall", "floor", "table"], geoguide.load("mini")
    points = np.random.default_rng(0).uniform(0, 2, (300, 3))
    expected = model.segment(points, np.full((300, 3), 99), labels=words)[0]
    for labels in (tuple(words), np.array(words), (word for word in words), dict.fromkeys(words)):
        assert np.array_equal(model.segment(points, np.full((300, 3), 99), labels=labels)[0], expected)
    model.check_labels(word for word in words)
    with pytest.raises(InputError, match="half a letter"):
        model.check_labels(["wall", "\ud800"])


@pytest.mark.parametrize("name", [None, 3, b"mini", ["mini"]])
def test_a_model_is_a_path_or_a_name(name: object) -> None:
    with pytest.raises(InputError, match="a model is a path or a name"):
        geoguide.load(name)


def test_arrays_that_hide_values_are_refused() -> None:
    model, points = geoguide.load("mini"), np.random.default_rng(0).uniform(0, 2, (300, 3))
    masked = np.ma.masked_array(points, mask=points > 1.9)
    for odd in (
        masked,
        torch.tensor(points).to_sparse(),
        torch.empty(300, 3, device="meta"),
        torch.tensor(points).to(torch.float8_e4m3fn),
        [torch.tensor(row, requires_grad=True) for row in points],
    ):
        with pytest.raises(InputError, match="points (holds .* masked values|must be)"):
            model.segment(odd, np.zeros((300, 3)), labels=["wall"])
    with pytest.raises(InputError, match="unit must be one of"):
        model.segment(points, np.zeros((300, 3)), labels=["wall"], unit=["m"])
    negative = torch.tensor(points).to(torch.complex64).conj().imag  # torch marks it as negative, and changes nothing
    assert len(model.segment(negative + torch.tensor(points), np.zeros((300, 3)), labels=["wall"])[0]) == 300
    model.segment(np.ma.masked_array(points), np.zeros((300, 3)), labels=["wall"])


def harmed(path: Path, about: dict, tensors: dict) -> Path:
    """A packaged model with parts of its metadata and tensors replaced."""
    with safe_open(WEIGHTS / "mini.safetensors", "pt") as file:
        held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        told = json.loads(file.metadata()["geoguide"])
    save_file(held | tensors, path, {"geoguide": json.dumps(told | about)})
    return path


@pytest.mark.parametrize(
    ("about", "tensors", "message"),
    [
        ({"format": "geoguide-model-2"}, {}, r"its format is 'geoguide-model-2': made by another version"),
        ({"format": 1, "zebra": 2}, {}, r"its format is 1: made by another version"),
        (
            {},
            {"mean": torch.zeros(336, dtype=torch.int32)},
            r"1 wrong type \(mean must be torch.float32, found torch.i",
        ),
        ({}, {"mean": torch.zeros(336, dtype=torch.bool)}, r"1 wrong type \(mean must be torch.float32, found torch.b"),
        ({}, {"mean": torch.full((336,), float("nan"))}, r"1 not finite \(mean\)"),
        ({}, {"mean": torch.full((336,), 1e300, dtype=torch.float64)}, r"1 not finite \(mean\)"),
        ({}, {"deviation": torch.zeros(336)}, r"deviation holds values that are not above 0"),
        ({"farthest": 0.0}, {}, r"farthest must be above 0, found 0.0"),
    ],
)
def test_a_model_file_that_would_label_wrongly_is_refused(tmp_path, about: dict, tensors: dict, message: str) -> None:
    """A deviation of whole numbers gave every point the first label, without a word."""
    path = harmed(tmp_path / "m.safetensors", about, tensors)
    with pytest.raises(DataError, match=rf"m\.safetensors: .*{message}"):
        geoguide.load(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_width_are_weights(tmp_path, dtype: torch.dtype) -> None:
    model = geoguide.load("mini")
    half = {name: value.to(dtype) for name, value in model.adapter.state_dict().items()}
    loaded = geoguide.load(harmed(tmp_path / "m.safetensors", {}, half))
    torch.testing.assert_close(loaded.adapter.layers[0].weight, model.adapter.layers[0].weight, rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("place", ["weights", "prompt"])
def test_a_byte_that_was_changed_is_told(tmp_path, place):
    """Of a float, or of a word: a model of the same shapes, which labelled other points."""
    path = geoguide.load("mini").save(tmp_path / "m.safetensors")
    content = bytearray(path.read_bytes())
    content[-1000 if place == "weights" else content.index(b"a photo")] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"m\.safetensors: metadata digest must be '[0-9a-f]{64}', found '[0-9a-f]{64}'"
    ):
        geoguide.load(path)


def test_weights_that_are_no_model_say_so(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no metadata 'geoguide': weights of another program, or of one network"):
        geoguide.load("lseg-mini")
    with pytest.raises(DataError, match=r"no such model file; packaged models: mini$"):
        geoguide.load("nothing")
    path = tmp_path / "m.safetensors"
    save_file({"x": torch.zeros(2)}, path, {"geoguide": '{"format": 1, "format": 2}'})
    with pytest.raises(
        DataError, match=r"m.safetensors: metadata geoguide: not valid json \(field 'format' occurs twice"
    ):
        geoguide.load(path)


def test_a_scan_out_of_the_models_domain_is_told(tiny: ExperimentConfig, recordings: Path) -> None:
    """A room of a world like the training's is not, a LiDAR sweep of a street is; the labels are the same as ever."""
    model = geoguide.load("mini")
    room = scene_sources(tiny.data, "test")[0].load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.segment_scene(room, labels=["wall", "floor"])
    street = open_scan(recordings / "nuscenes_sample").scene
    with pytest.warns(UserWarning, match=r"lie \d\.\d times as far from the training scenes .* out of the model's"):
        ids, _ = model.segment_scene(street, labels=["car", "road"])
    silent = dataclasses.replace(model, farthest=None)
    np.testing.assert_array_equal(silent.segment_scene(street, labels=["car", "road"])[0], ids)


def test_how_far_a_training_scene_lies_is_kept(tiny: ExperimentConfig, tiny_scenes: dict, tmp_path: Path) -> None:
    """The root mean square over channels, by a loop; nothing is said of few scenes, whose own statistics these are."""
    mean, deviation = geometry_statistics(tiny_scenes["train"])
    many = [tiny_scenes["train"][i % 2] for i in range(10)]
    found = farthest(many, mean, deviation)
    slow = []
    for scene in tiny_scenes["train"]:
        rows = np.asarray(scene.geometry[::16], np.float32)
        shift = [(rows[:, c].mean() - float(mean[c])) / float(deviation[c]) for c in range(rows.shape[1])]
        slow.append(np.sqrt(np.mean(np.square(shift))))
    assert found == pytest.approx(max(slow), rel=1e-4)
    assert farthest(many[:9], mean, deviation) is None
    model = geoguide.load("mini")
    model.farthest = 0.25
    assert geoguide.load(model.save(tmp_path / "m.safetensors")).farthest == 0.25
