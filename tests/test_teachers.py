"""Teachers: the simulated faults against hand cases and properties, the colour teacher against the image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import load_category_table, load_label_set
from geoguide.scene import Scene, View
from geoguide.teachers.color import ColorTeacher
from geoguide.teachers.faults import alike_table, bleed, different, object_image, shadow, survey
from geoguide.teachers.simulated import SimulatedTeacher, SimulatedTeacherConfig

LABELS = load_label_set("scannet20")
OFF = SimulatedTeacherConfig(confusion=0, bleeding=0, partial_view=0, drift=0, pixel_noise=0)
SIZE = (24, 32)
INTRINSICS = np.array([[40.0, 0, 15.5], [0, 40.0, 11.5], [0, 0, 1]])


@pytest.fixture
def text(rng: np.random.Generator) -> np.ndarray:
    """Class embeddings in a narrow cone, as sentence vectors are."""
    raw = rng.standard_normal((20, 48)) + 1.5 * rng.standard_normal(48)
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def make_scene(folder: Path, views: int = 3) -> Scene:
    """A wall with a chair before it and a strip without label, seen from places beside each other."""
    ids = load_category_table().ids
    result = []
    for k in range(views):
        label, instance = np.full(SIZE, ids["wall"]), np.ones(SIZE, int)
        depth = np.full(SIZE, 3000)
        label[8:20, 8 + k : 20 + k], instance[8:20, 8 + k : 20 + k] = ids["chair"], 2
        depth[8:20, 8 + k : 20 + k] = 1500
        label[:3], instance[:3] = 0, 0
        depth[20:, :4] = 0
        pose = np.eye(4)
        pose[0, 3] = 0.1 * k
        paths = {}
        for kind, image in (("label", label), ("instance", instance), ("depth", depth)):
            paths[f"{kind}_path"] = folder / f"{k}.{kind}.png"
            Image.fromarray(image.astype(np.uint16)).save(paths[f"{kind}_path"])
        color = np.random.default_rng(k).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(color).save(folder / f"{k}.png")
        result.append(View(str(k), INTRINSICS, pose, SIZE, color_path=folder / f"{k}.png", **paths))
    points = np.zeros((1, 3), np.float32)
    return Scene("toy", points, points, views=tuple(result), provenance="mini")


def with_close_up(scene: Scene, folder: Path) -> Scene:
    """One more view, of a small part of the wall."""
    for kind, value in (("label", load_category_table().ids["wall"]), ("instance", 1), ("depth", 600)):
        Image.fromarray(np.full(SIZE, value, np.uint16)).save(folder / f"close.{kind}.png")
    paths = {f"{kind}_path": folder / f"close.{kind}.png" for kind in ("label", "instance", "depth")}
    return replace(scene, views=(*scene.views, replace(scene.views[0], name="close", **paths)))


def features(scene: Scene, text: np.ndarray, config: SimulatedTeacherConfig) -> np.ndarray:
    return np.stack(list(SimulatedTeacher(config, text, LABELS).features(scene)))


def predicted(image: np.ndarray, text: np.ndarray) -> np.ndarray:
    return (image @ text.T).argmax(axis=-1)


def test_color_teacher_gives_the_pixels(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    images = list(ColorTeacher().features(scene))
    assert len(images) == 3 and images[0].dtype == np.float32
    for image, view in zip(images, scene.views, strict=True):
        np.testing.assert_allclose(image * 255, np.asarray(Image.open(view.color_path)), atol=1e-4)


def test_without_faults_every_pixel_holds_its_class_embedding(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    images = features(scene, text, OFF)
    assert images.shape == (3, *SIZE, 48) and images.dtype == np.float32
    wall, chair = LABELS.names.index("wall"), LABELS.names.index("chair")
    np.testing.assert_allclose(images[0, 4, 2], text[wall], atol=1e-6)
    np.testing.assert_allclose(images[1, 10, 12], text[chair], atol=1e-6)
    generic = text.mean(axis=0) / np.linalg.norm(text.mean(axis=0))
    np.testing.assert_allclose(images[2, 0, 0], generic, atol=1e-6)


@pytest.mark.parametrize("fault", ["confusion", "bleeding", "partial_view", "drift", "pixel_noise"])
def test_each_fault_alone_changes_features_and_grows_with_severity(
    tmp_path: Path, text: np.ndarray, fault: str
) -> None:
    scene = with_close_up(make_scene(tmp_path), tmp_path)
    clean = features(scene, text, OFF)
    distance = []
    for severity in (0.3, 1.0):
        runs = [features(scene, text, replace(OFF, seed=seed, **{fault: severity})) for seed in range(8)]
        distance.append(np.mean([1 - (run * clean).sum(-1).mean() for run in runs]))
    assert 1e-4 < distance[0] < distance[1]


def test_same_seed_same_features_and_another_seed_others(tmp_path: Path, text: np.ndarray) -> None:
    scene, config = make_scene(tmp_path), SimulatedTeacherConfig()
    first = features(scene, text, config)
    np.testing.assert_array_equal(first, features(scene, text, config))
    assert np.abs(first - features(scene, text, replace(config, seed=1))).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(first, axis=-1), 1.0, atol=1e-5)


def test_a_fault_switched_off_does_not_change_the_others(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    with_drift = features(scene, text, replace(OFF, confusion=1.0, drift=1e-7))
    np.testing.assert_allclose(with_drift, features(scene, text, replace(OFF, confusion=1.0)), atol=1e-5)


def test_confusion_is_per_object_and_persistence_makes_it_the_same_in_all_views(
    tmp_path: Path, text: np.ndarray
) -> None:
    scene = make_scene(tmp_path, views=6)
    config = replace(OFF, confusion=0.5)
    answers = {0.0: set(), 1.0: set()}
    for seed in range(12):
        for persistence in answers:
            images = features(scene, text, replace(config, persistence=persistence, seed=seed))
            chair = predicted(images[:, 14, 15], text)
            for k, image in enumerate(images):  # one answer for the whole object
                assert len(np.unique(predicted(image[8:20, 8 + k : 20 + k], text))) == 1
            answers[persistence].add(len(np.unique(chair)))
    assert answers[1.0] == {1}
    assert max(answers[0.0]) > 1


def test_partial_view_strikes_the_close_up_of_a_large_object_only(tmp_path: Path, text: np.ndarray) -> None:
    scene = with_close_up(make_scene(tmp_path), tmp_path)
    wrong = np.zeros(3, int)
    for seed in range(30):
        images = features(scene, text, replace(OFF, partial_view=1.0, seed=seed))
        answers = predicted(np.stack([images[3, 4, 2], images[0, 4, 2], images[1, 10, 12]]), text)
        wrong += answers != [0, 0, 4]  # wall close up, wall whole, chair whole
    assert 12 < wrong[0] < 28 and wrong[1] == 0 and wrong[2] <= 1


@pytest.mark.parametrize("parts", [0.0, 0.5])
def test_some_pixels_have_the_features_that_they_have_among_all(tmp_path, text, rng, parts: float) -> None:
    scene = make_scene(tmp_path)
    teacher = SimulatedTeacher(SimulatedTeacherConfig(parts=parts), text, LABELS)
    for rows, image in zip(teacher.pixel_rows(scene), teacher.features(scene), strict=True):
        pixels = rng.choice(image.shape[0] * image.shape[1], 100, replace=False)
        assert rows.shape == image.shape
        np.testing.assert_allclose(rows.make(pixels), image.reshape(-1, image.shape[2])[pixels], rtol=1e-6, atol=1e-7)


def test_views_that_hold_their_images_read_each_once(tmp_path, text, monkeypatch) -> None:
    scene, reads, read = make_scene(tmp_path), [], View._pixels
    expected = [(view.depth(), view.labels(), view.instances(), view.color()) for view in scene.views]
    monkeypatch.setattr(View, "_pixels", lambda view, kind: reads.append((view.name, kind)) or read(view, kind))
    held = scene.holding_images()
    for _ in range(2):
        for view, images in zip(held.views, expected, strict=True):
            for found, image in zip((view.depth(), view.labels(), view.instances()), images, strict=False):
                np.testing.assert_array_equal(found, image)
    assert sorted(reads) == sorted((view.name, kind) for view in held.views for kind in ("depth", "label", "instance"))
    np.testing.assert_array_equal(held.views[0].color(), expected[0][3])
    assert [view.pixel_files for view in held.views] == [view.pixel_files for view in scene.views]
    teacher = SimulatedTeacher(SimulatedTeacherConfig(), text, LABELS)
    for one, other in zip(teacher.features(held), teacher.features(scene), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_survey_numbers_the_objects_of_every_pixel(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    to_class = SimulatedTeacher(OFF, text, LABELS)._to_class
    seen = survey(scene, to_class)
    for view, image in zip(scene.views, seen.images, strict=True):
        np.testing.assert_array_equal(seen.keys[image], object_image(view, to_class))
        for found, slow in zip(different(image), np.unique(image, return_inverse=True), strict=True):
            np.testing.assert_array_equal(found, slow)


def test_survey_counts_surface_as_a_set_of_voxels_does(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    to_class = SimulatedTeacher(OFF, text, LABELS)._to_class
    seen = survey(scene, to_class)
    cells: dict[int, list[set]] = {}
    for k, view in enumerate(scene.views):
        label, instance, depth = to_class(view.labels()), view.instances(), view.depth()
        for row in range(SIZE[0]):
            for col in range(SIZE[1]):
                owner = cells.setdefault(instance[row, col] * 256 + label[row, col], [set(), set(), set()])
                z = float(depth[row, col])
                camera = np.array([(col - 15.5) / 40 * z, (row - 11.5) / 40 * z, z])
                if z > 0:
                    owner[k].add(tuple(np.floor((camera + view.cam_to_world[:3, 3]) / 0.1).astype(int)))
    assert list(seen.keys) == sorted(cells)
    for column, key in enumerate(seen.keys):
        union = set().union(*cells[key])
        assert seen.areas[column] == pytest.approx(0.01 * len(union))
        np.testing.assert_allclose(seen.shares[:, column], [len(cell) / len(union) for cell in cells[key]])


def test_views_without_a_pose_still_give_features(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    lost = replace(scene.views[1], cam_to_world=np.full((4, 4), -np.inf))
    images = features(replace(scene, views=(scene.views[0], lost)), text, SimulatedTeacherConfig())
    assert np.isfinite(images).all()
    assert features(replace(scene, views=(lost,)), text, SimulatedTeacherConfig()).shape == (1, *SIZE, 48)
    assert list(SimulatedTeacher(OFF, text, LABELS).features(replace(scene, views=()))) == []


def test_bleed_equals_patch_means_in_patch_centres_and_keeps_the_sum(rng: np.random.Generator) -> None:
    mixture = rng.dirichlet(np.ones(3), size=(15, 20)).astype(np.float32)
    spread = bleed(mixture, 1.0, patch=5)
    np.testing.assert_allclose(spread.sum(-1), 1.0, atol=1e-5)
    np.testing.assert_allclose(spread[7, 12], mixture[5:10, 10:15].mean(axis=(0, 1)), atol=1e-6)
    assert bleed(mixture, 0.0, 5) is mixture


def test_shadow_by_hand() -> None:
    objects = np.array([[0, 0, 1, 0, 0, 0]])
    depth = np.array([[3.0, 3.0, 1.0, 3.0, 0.0, 3.0]])
    np.testing.assert_array_equal(shadow(objects, depth, 1.0, 1), objects)  # too small an image to reach a pixel
    wide, far = np.repeat(objects, 40, axis=1), np.repeat(depth, 40, axis=1)
    right = shadow(wide, far, 1.0, 1)
    assert (right != wide).sum() == 8 and (right[0, 120:128] == 1).all()  # 5 pixels at 160 wide are 8 at 240
    left = shadow(wide, far, 1.0, -1)
    assert (left != wide).sum() == 8 and (left[0, 72:80] == 1).all()


def test_alike_classes_are_the_likelier_confusions(text: np.ndarray) -> None:
    table, ease = alike_table(text, LABELS.names)
    np.testing.assert_allclose(table.sum(axis=1), 1.0)
    assert (np.diag(table) == 0).all() and ease[0] < ease.max() == 1.0
    row = table[LABELS.names.index("table")]
    assert row[LABELS.names.index("desk")] > np.median(row)
    assert alike_table(text[:1], ("wall",))[0].shape == (1, 1)


def test_missing_label_image_is_named(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    bare = replace(scene.views[0], label_path=None)
    with pytest.raises(DataError, match="view 0: has no label image"):
        features(replace(scene, views=(bare,)), text, OFF)


@pytest.mark.parametrize("field", ["confusion", "bleeding", "partial_view", "drift", "pixel_noise", "persistence"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_severity_outside_its_range(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field} must (lie in|be finite)"):
        SimulatedTeacherConfig(**{field: value})


def test_bad_patch_and_bad_text(text: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="patch must be at least 1"):
        SimulatedTeacherConfig(patch=0)
    with pytest.raises(InputError, match=r"text must be \[20, D\], found \[3, 48\]"):
        SimulatedTeacher(OFF, text[:3], LABELS)
