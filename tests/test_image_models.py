"""2D models behind one interface: the teacher that is made of one, its kept frames, and what they refuse."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoguide.errors import DataError, InputError, ReadAs
from geoguide.lifting import LiftingConfig, PixelFeatures, lift
from geoguide.ops.block_digest import SIZE as SIZE_OF_DIGEST
from geoguide.pipeline import stages
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.identity import fingerprint
from geoguide.pipeline.stages import Stages
from geoguide.scene import Scene, View
from geoguide.teachers.image_model import ImageModel, ImageTeacher
from geoguide.teachers.registry import ImageModelConfig
from geoguide.text import TextConfig

SIZE = (6, 8)
WITHOUT_DEPTH = LiftingConfig(occlusion="none", border=0)
INTRINSICS = np.array([[8.0, 0, 4], [0, 8, 3], [0, 0, 1]])


class Colors(ImageModel):
    """Red, green and blue, thirds of it; dark pixels have no answer where it is weighted. It counts its images."""

    width, space = 3, TextConfig()

    def __init__(self, name: str = "colors", weighted: bool = False) -> None:
        self.name, self.identity, self.weighted, self.seen = name, f"{name} {weighted}", weighted, []

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray | PixelFeatures]:
        self.seen.append(len(images))
        maps = [image.astype(np.float32) / 3 for image in images]
        return [PixelFeatures(m, (m.sum(-1) > 100).astype(np.float32)) for m in maps] if self.weighted else maps


@pytest.fixture
def scene(tmp_path: Path, rng: np.random.Generator) -> Scene:
    """Five views of a few points, with colour images only."""
    views = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
        views.append(View(str(number), INTRINSICS, np.eye(4), SIZE, color_path=path))
    points = rng.uniform(-0.5, 0.5, (30, 3)).astype(np.float32) + np.float32([0, 0, 3])
    return Scene("five", points, np.zeros((30, 3), np.float32), views=tuple(views))


def maps_of(teacher: ImageTeacher, scene: Scene) -> list[np.ndarray]:
    """Features, and weights where there are any, as plain arrays."""
    given = [part if isinstance(part, PixelFeatures) else (part,) for part in teacher.features(scene)]
    return [np.asarray(array) for part in given for array in part]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_cache_changes_no_bit_and_the_model_is_asked_once(scene, tmp_path, weighted):
    model = Colors(weighted=weighted)
    plain = maps_of(ImageTeacher(model, batch=2), scene)
    assert model.seen == [2, 2, 1]
    teacher = ImageTeacher(model, cache=tmp_path / "kept", batch=2)
    for _ in range(2):
        for array, expected in zip(maps_of(teacher, scene), plain, strict=True):
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, expected)
    assert model.seen == [2, 2, 1] * 2
    exact = [view.color() / 3 for view in scene.views]
    counts = plain[1::2] if weighted else [np.ones(SIZE)] * 5
    for array, weight, value in zip(plain[:: 1 + weighted], counts, exact, strict=True):
        np.testing.assert_allclose(array[weight > 0], value[weight > 0], rtol=2**-11)


def test_after_a_kill_only_the_rest_is_asked_about(scene, tmp_path):
    model = Colors()
    stream = ImageTeacher(model, cache=tmp_path / "kept", batch=2).features(scene)
    next(stream)
    stream.close()
    maps_of(ImageTeacher(model, cache=tmp_path / "kept", batch=2), scene)
    assert model.seen == [2, 2, 1]


def test_frames_of_another_model_are_never_read(scene, tmp_path):
    one, other = Colors("one"), Colors("other")
    for model in (one, other):
        maps_of(ImageTeacher(model, cache=tmp_path / "kept"), scene)
    assert one.seen == other.seen == [4, 1]
    first, second = sorted((tmp_path / "kept").iterdir())
    (second / "model.json").write_bytes((first / "model.json").read_bytes())
    with pytest.raises(
        DataError, match=r"model.json: these are frames of another model: expected .*other.*, found .*one"
    ):
        ImageTeacher(other, cache=tmp_path / "kept")


@pytest.mark.parametrize("harm", ["short", "text", "width", "nan"])
def test_a_damaged_frame_is_made_again_with_a_line(scene, tmp_path, capfd, harm):
    model = Colors()
    teacher = ImageTeacher(model, cache=tmp_path / "kept", batch=5)
    expected = maps_of(teacher, scene)
    path = next((tmp_path / "kept").glob("*/*.npy"))
    whole = path.read_bytes()
    if harm in ("short", "text"):
        path.write_bytes(whole[:200] if harm == "short" else b"not an array")
    else:
        np.save(path, np.zeros((*SIZE, 7), np.float16) if harm == "width" else np.full((*SIZE, 3), np.nan, np.float16))
    for array, value in zip(maps_of(teacher, scene), expected, strict=True):
        np.testing.assert_array_equal(array, value)
    assert model.seen == [5, 1] and path.read_bytes() == whole
    assert f"{path}: kept frame unreadable" in "".join(capfd.readouterr())


def test_a_frame_of_another_image_is_made_again(scene, tmp_path, capfd):
    model = Colors()
    teacher = ImageTeacher(model, cache=tmp_path / "kept", batch=5)
    expected = maps_of(teacher, scene)
    one, other, third = sorted((tmp_path / "kept").glob("*/*.npy"))[:3]
    whole = other.read_bytes()
    other.write_bytes(one.read_bytes())
    edited = np.load(third)
    edited[0, 0] += 1
    kept = third.read_bytes()
    third.write_bytes(kept[: -edited.nbytes - SIZE_OF_DIGEST] + edited.tobytes() + kept[-SIZE_OF_DIGEST:])
    for array, value in zip(maps_of(teacher, scene), expected, strict=True):
        np.testing.assert_array_equal(array, value)
    assert model.seen == [5, 2] and (other.read_bytes(), third.read_bytes()) == (whole, kept)
    assert "".join(capfd.readouterr()).count("copied from elsewhere, or edited), computing it again") == 2


def test_frames_kept_by_older_versions_are_read(scene, tmp_path):
    model = Colors()
    teacher = ImageTeacher(model, cache=tmp_path / "kept", batch=5)
    expected = maps_of(teacher, scene)
    for path in (tmp_path / "kept").glob("*/*.npy"):
        np.save(path, np.load(path))  # no digest behind it
    for array, value in zip(maps_of(teacher, scene), expected, strict=True):
        np.testing.assert_array_equal(array, value)
    assert model.seen == [5]


def test_a_place_that_cannot_be_written_is_said_before_the_model_is_asked(scene, tmp_path):
    (tmp_path / "kept").write_text("a file")
    model = Colors()
    with pytest.raises(DataError, match="cannot be written"):
        maps_of(ImageTeacher(model, cache=tmp_path / "kept"), scene)
    assert not model.seen


def test_a_disk_too_small_for_the_scene_is_said_after_one_batch(scene, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match=r"need 0.0 GB for 4 frames, found 0.0 GB free; use it without a cache"):
        maps_of(ImageTeacher(Colors(), cache=tmp_path / "kept", batch=1), scene)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "encode must give 1 maps, one for each image, found 0"),
        ([np.zeros((6, 8, 4))], r"a feature map must be \[6, 8, 3\], found \[6, 8, 4\]"),
        ([np.zeros((8, 6, 3))], r"a feature map must be \[6, 8, 3\], found \[8, 6, 3\]"),
        ([np.full((6, 8, 3), np.inf)], "features and weights must be finite and at most 65504"),
        ([np.full((6, 8, 3), 1e5)], r"features and .* at most 65504 \(float16\), 48 of 48 pixels are not"),
        (None, "encode must give a list of maps, found NoneType"),
        ([None], "a feature map must hold numbers, found dtype object"),
        ([[[1, 2], [3]]], "a feature map must be an array of numbers, found rows of different lengths"),
        ([np.zeros((6, 8, 3), complex)], "a feature map must hold numbers, found dtype complex128"),
        (
            [PixelFeatures(np.zeros((6, 8, 3)), np.eye(6, 8) * np.nan)],
            "weights .* found 48 pixels that are negative or nan",
        ),
        ([PixelFeatures(np.zeros((6, 8, 3)), np.full((6, 8), "a"))], "weights must hold numbers, found dtype <U1"),
        ([PixelFeatures(np.zeros((6, 8, 3)), np.zeros((8, 6)))], r"weights must be \[6, 8\], each at least 0"),
        ([PixelFeatures(np.zeros((6, 8, 3)), -np.ones((6, 8)))], r"weights must be \[6, 8\], each at least 0"),
    ],
)
def test_what_a_model_must_not_give(scene, maps, message):
    model = Colors("mine")
    model.encode = lambda images: maps
    with pytest.raises(InputError, match=f"^scene five, view 0: mine: {message}"):
        maps_of(ImageTeacher(model, batch=1), scene)


@pytest.mark.parametrize("kind", [torch.Tensor.double, torch.Tensor.bfloat16, torch.Tensor.requires_grad_])
def test_tensors_are_maps_like_arrays(scene, kind):
    model, expected = Colors(weighted=True), Colors(weighted=True)
    arrays = expected.encode([view.color() // 4 * 3 for view in scene.views])  # whole numbers: exact in bfloat16
    tensors = [PixelFeatures(*(kind(torch.from_numpy(np.asarray(part, np.float32))) for part in m)) for m in arrays]
    model.encode, expected.encode = (lambda images: tensors), (lambda images: arrays)
    for found, value in zip(*(maps_of(ImageTeacher(each, batch=5), scene) for each in (model, expected)), strict=True):
        np.testing.assert_array_equal(found, value)


def test_what_stands_under_no_answer_may_be_anything(scene):
    model = Colors()
    model.encode = lambda images: [PixelFeatures(np.full((*SIZE, 3), np.nan), np.zeros(SIZE)) for _ in images]
    features, weight = maps_of(ImageTeacher(model), scene)[:2]
    assert not features.any() and not weight.any()


@pytest.mark.parametrize("value", [1e9, -1e9, np.nan, np.inf])
def test_what_float16_cannot_hold_is_not_kept(scene, tmp_path, monkeypatch, value):
    """Of a model that says itself what is kept."""
    said = [np.zeros((*SIZE, 3), np.float64) for _ in range(2)]
    said[1][2, 3, 0] = value
    model = Colors()
    monkeypatch.setattr(model, "compact", lambda images: said)
    message = r"scene five, view 0 or 1: colors: compact must give finite .* 65504 \(float16\), found 1 of 144 values"
    with pytest.raises(InputError, match=message):
        list(ImageTeacher(model, cache=tmp_path / "kept", batch=2).features(scene))
    assert not list((tmp_path / "kept").rglob("*.np*"))


def test_what_cannot_be_lifted_names_its_scene_once(scene):
    """Of hundreds of scenes the one that has to be looked at."""
    silent, wrong = Colors(), Colors()
    silent.encode = lambda images: [PixelFeatures(np.ones((*SIZE, 3)), np.zeros(SIZE)) for _ in images]
    wrong.encode = lambda images: [np.ones((*SIZE, 4)) for _ in images]
    with pytest.raises(InputError, match=r"^scene five: every pixel that sees a point has weight 0, in all of 5 views"):
        lift(scene, ImageTeacher(silent).features(scene), WITHOUT_DEPTH)
    with pytest.raises(InputError, match=r"^scene five, view 0 or 1 or 2 or 3: colors: a feature map must be"):
        lift(scene, ImageTeacher(wrong).features(scene), WITHOUT_DEPTH)
    with pytest.raises(InputError, match=r"^scene five: view 1: feature map must be \[6, 8, C\]"):
        lift(scene, iter([np.ones((*SIZE, 3)), np.ones((3, 3, 3))]), WITHOUT_DEPTH)

    def of_another(view: View) -> np.ndarray:
        raise InputError("scene fiveteen has no such map")

    with pytest.raises(InputError, match=r"^scene five: scene fiveteen has no such map"):
        lift(scene, of_another, WITHOUT_DEPTH)


def test_a_small_weight_is_an_answer(scene):
    """Float16, in which frames are kept, rounds what is below half its least number to 0: no answer."""
    model = Colors()
    model.encode = lambda images: [PixelFeatures(np.ones((*SIZE, 3)), np.full(SIZE, 1e-12)) for _ in images]
    features, weight = maps_of(ImageTeacher(model), scene)[:2]
    assert (weight > 0).all() and (features == 1).all()


def test_images_of_lost_poses_are_not_asked_for(scene, monkeypatch):
    """Here one of them is not even there; the others are lifted as if it had never been recorded."""
    model, views = Colors(), list(scene.views)
    lost = np.full((4, 4), np.nan)
    views[1] = dataclasses.replace(views[1], cam_to_world=lost, color_path=Path("gone.png"))
    holed, config = dataclasses.replace(scene, views=tuple(views)), ExperimentConfig(lifting=WITHOUT_DEPTH)
    config = config.replace(image_model=ImageModelConfig("own", "colors", identity="colors"))
    monkeypatch.setattr(stages, "open_image_model", lambda _: model)
    with pytest.warns(UserWarning, match="1 of 5 views skipped"):
        found = Stages(holed, config).lifted
    assert sum(model.seen) == 4
    expected = Stages(holed.with_poses(), config).lifted
    for part, same in zip(found, expected, strict=True):
        np.testing.assert_array_equal(part, same)
    assert len(fingerprint(holed)) == 12


def test_a_model_says_who_it_is():
    for attribute in ("name", "identity", "width", "space"):
        model = Colors()
        setattr(model, attribute, None)
        with pytest.raises(InputError, match=f"a 2D model needs {attribute}"):
            ImageTeacher(model)
    for attribute, value in (("name", " "), ("identity", ""), ("width", -3), ("width", 0), ("width", 3.0)):
        model = Colors()
        setattr(model, attribute, value)
        with pytest.raises(InputError, match=f"a 2D model needs {attribute}, .* has {value!r}"):
            ImageTeacher(model)
    for batch in (0, 1.5, "2"):
        with pytest.raises(InputError, match=f"batch must be at least 1, found {batch!r}"):
            ImageTeacher(Colors(), batch=batch)
    with pytest.raises(InputError, match="a 2D model must be an ImageModel, found object"):
        ImageTeacher(object())


def test_words_go_to_the_models_space():
    vectors = Colors().text(["chair", "table"])
    assert vectors.shape == (2, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    with pytest.raises(InputError, match="names is empty"):
        Colors().text([])
    for blank in (" ", "\u200b", "\xa0\ufeff"):
        with pytest.raises(InputError, match=re.escape(f"names must hold non-empty strings, found {blank!r}")):
            Colors().text(["chair", blank])
    for prompt in (None, 3):
        with pytest.raises(InputError, match=f"prompt must be a template or several, found {prompt}"):
            Colors().text(["chair"], prompt)


class TestImages:
    """What lies in colour files, whatever it is: RGB of 8 bits as stored, or one clear line."""

    PIXELS = np.random.default_rng(5).integers(0, 256, (*SIZE, 3), dtype=np.uint8)

    def seen(self, folder: Path, image: Image.Image, name: str = "image.png", **saved: object) -> np.ndarray:
        """What a model is shown of a file, times 3."""
        image.save(folder / name, **saved)
        view = View("0", INTRINSICS, np.eye(4), SIZE, color_path=folder / name)
        return maps_of(ImageTeacher(Colors()), one_view(view))[0] * 3

    def test_grey_opacity_palette_and_cmyk(self, tmp_path):
        rgb = Image.fromarray(self.PIXELS)
        for mode in ("L", "LA", "RGBA", "P", "1"):
            image = rgb.convert(mode)
            expected = np.asarray(image.convert("RGB"))
            np.testing.assert_allclose(self.seen(tmp_path, image), expected, rtol=1e-3)
        cmyk = rgb.convert("CMYK")
        np.testing.assert_allclose(self.seen(tmp_path, cmyk, "image.tif"), np.asarray(cmyk.convert("RGB")), rtol=1e-3)

    def test_sixteen_bits(self, tmp_path):
        grey = self.PIXELS[..., 0].astype(np.uint16) * 256 + 77
        expected = np.repeat(self.PIXELS[..., :1], 3, axis=2)
        seen = self.seen(tmp_path, Image.fromarray(grey))
        np.testing.assert_allclose(seen, expected, atol=1.1)  # 65535 is white, not 65280; and float16

    @pytest.mark.parametrize("size", [(1, 1), (7, 5), (13, 31), (6, 8)])
    def test_any_size_becomes_that_of_the_intrinsics(self, tmp_path, size):
        constant = np.full((*size, 3), (10, 100, 200), np.uint8)
        seen = self.seen(tmp_path, Image.fromarray(constant))
        np.testing.assert_allclose(seen, np.broadcast_to([10, 100, 200], (*SIZE, 3)), rtol=1e-3)

    def test_a_rotation_by_exif_is_not_done_and_said(self, tmp_path):
        """Intrinsics belong to stored pixels."""
        exif = Image.Exif()
        exif[0x0112] = 6
        with pytest.warns(
            ReadAs, match=r"image.png: EXIF data ask for a rotation, of 1 images; images are read as stored"
        ):
            seen = self.seen(tmp_path, Image.fromarray(self.PIXELS), exif=exif)
        np.testing.assert_allclose(seen, self.PIXELS, rtol=1e-3)

    @pytest.mark.parametrize("content", [None, b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30)])
    def test_missing_or_unreadable(self, tmp_path, content):
        path, model = tmp_path / "image.png", Colors()
        if content is not None:
            path.write_bytes(content)
        view = View("0", INTRINSICS, np.eye(4), SIZE, color_path=path)
        with pytest.raises(DataError, match=r"image.png: (image not found|not a readable image)"):
            maps_of(ImageTeacher(model), one_view(view))
        assert not model.seen

    def test_a_view_without_a_colour_image(self):
        with pytest.raises(DataError, match="view 0: has no color image"):
            maps_of(ImageTeacher(Colors()), one_view(View("0", INTRINSICS, np.eye(4), SIZE)))

    def test_a_scene_without_views(self):
        points = np.zeros((1, 3), np.float32)
        assert not maps_of(ImageTeacher(Colors()), Scene("none", points, points))


def one_view(view: View) -> Scene:
    points = np.zeros((1, 3), np.float32)
    return Scene("one", points, points, views=(view,))
