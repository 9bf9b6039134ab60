"""nuScenes' official layout: a hand-made data set against an explicit quaternion chain and the devkit."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny_nuscenes import (
    CATEGORIES,
    INTRINSICS,
    POINTS,
    SCENE,
    SIZE,
    VERSION,
    edit_table,
    product,
    write_dataset,
    write_json,
    write_key_frame,
)

from geoguide.datasets.formats.nuscenes_tables import CAMERAS, list_samples, read_tables
from geoguide.datasets.nuscenes import list_scenes, load_key_frame, load_sample
from geoguide.errors import DataError, InputError
from geoguide.lifting import fuse, project
from geoguide.scene import Scene

LIDAR_FILE = "samples/LIDAR_TOP/a-LIDAR_TOP.pcd.bin"


@pytest.fixture
def root(tmp_path: Path, rng: np.random.Generator) -> Path:
    return write_dataset(tmp_path, rng)


def load(root: Path, sample: str = "a", **options) -> Scene:
    return load_sample(read_tables(root, VERSION), sample, **options)


def turned(point: list[float], rotation: list[float]) -> list[float]:
    """q p q*, one point in Python floats."""
    conjugate = [rotation[0], *(-value for value in rotation[1:])]
    return product(product(rotation, [0.0, *point]), conjugate)[1:]


def into_parent(point: list[float], record: dict) -> list[float]:
    return [a + b for a, b in zip(turned(point, record["rotation"]), record["translation"], strict=True)]


def out_of_parent(point: list[float], record: dict) -> list[float]:
    rotation = [record["rotation"][0], *(-value for value in record["rotation"][1:])]
    return turned([a - b for a, b in zip(point, record["translation"], strict=True)], rotation)


def chain(root: Path, sample: str, camera: str) -> np.ndarray:
    """LiDAR points [P, 3] in a camera's frame: sensor, ego, global, ego at the camera's time, camera; one at a time."""
    records = {
        (table, record["token"]): record
        for table in ("calibrated_sensor", "ego_pose")
        for record in json.loads((root / VERSION / f"{table}.json").read_text())
    }
    rows = np.fromfile(root / f"samples/LIDAR_TOP/{sample}-LIDAR_TOP.pcd.bin", "<f4").reshape(-1, 5).tolist()
    found = []
    for row in rows:
        point = into_parent(row[:3], records["calibrated_sensor", "k-LIDAR_TOP"])
        point = into_parent(point, records["ego_pose", f"e-{sample}-LIDAR_TOP"])
        point = out_of_parent(point, records["ego_pose", f"e-{sample}-{camera}"])
        found.append(out_of_parent(point, records["calibrated_sensor", f"k-{camera}"]))
    return np.array(found)


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("sample", ["a", "b"])
def test_poses_equal_an_explicit_quaternion_chain(root: Path, sample: str):
    scene, seen = load(root, sample), 0
    assert [view.name for view in scene.views] == list(CAMERAS)
    for view in scene.views:
        expected = chain(root, sample, view.name)  # [P, 3]
        world_to_cam = np.linalg.inv(view.cam_to_world)
        found = scene.points.astype(np.float64) @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]
        np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 points of up to 40 m
        u, v = (expected @ np.array(INTRINSICS).T / expected[:, 2:])[:, :2].T
        inside = (expected[:, 2] > 1) & (u > 1) & (u < SIZE[1] - 1) & (v > 1) & (v < SIZE[0] - 1)
        result = project(scene.points, view.intrinsics, view.cam_to_world, view.image_size, rule="devkit")
        np.testing.assert_array_equal(result.visible, inside)
        np.testing.assert_array_equal(result.col[inside], np.rint(u[inside]))
        np.testing.assert_array_equal(result.row[inside], np.rint(v[inside]))
        seen += inside.sum()
    assert seen > POINTS / 4


def test_points_are_in_the_cars_frame(root: Path):
    scene = load(root)
    records = {r["token"]: r for r in json.loads((root / VERSION / "calibrated_sensor.json").read_text())}
    rows = np.fromfile(root / LIDAR_FILE, "<f4").reshape(-1, 5)
    expected = [into_parent(row[:3], records["k-LIDAR_TOP"]) for row in rows.tolist()]
    np.testing.assert_allclose(scene.points, expected, atol=1e-5)
    assert scene.points.dtype == np.float32
    np.testing.assert_array_equal(scene.intensity, rows[:, 3])
    assert scene.colors.dtype == np.float32 and (scene.colors == 0.5).all()
    with pytest.raises(InputError, match=r"intensity must be float32 \[300\], found float32 \[299\]"):
        Scene("short", scene.points, scene.colors, intensity=scene.intensity[1:])
    assert scene.provenance == "real" and scene.name == f"{SCENE}_a"
    sensor = into_parent([0, 0, 0], records["k-LIDAR_TOP"])
    assert (np.einsum("pd,pd->p", scene.normals, np.asarray(sensor) - scene.points) >= 0).all()


def test_labels_are_the_sixteen_classes(root: Path):
    labels = load(root).labels
    ignored = {0, 1, 5, 7, 8, 10, 11, 13, 19, 20, 29, 31}
    expected = {2: 6, 3: 6, 4: 6, 6: 6, 9: 0, 12: 7, 14: 1, 15: 2, 16: 2, 17: 3, 18: 4, 21: 5, 22: 8, 23: 9}
    expected |= {24: 10, 25: 11, 26: 12, 27: 13, 28: 14, 30: 15} | dict.fromkeys(ignored, 255)
    assert labels.tolist() == [expected[i % 32] for i in range(POINTS)]


def test_category_numbers_come_from_the_data(root: Path):
    def swap(records: list[dict]) -> None:
        records[26]["index"], records[27]["index"] = 27, 26

    edit_table(root, "category", swap)
    assert load(root).labels[26] == 13 and load(root).labels[27] == 12


@pytest.mark.parametrize("installed", ["absent", "empty"])
def test_without_lidarseg_there_are_no_labels(root: Path, installed: str):
    if installed == "absent":
        (root / VERSION / "lidarseg.json").unlink()
    else:
        write_json(root / VERSION / "lidarseg.json", [])
    (root / VERSION / "category.json").unlink()
    assert load(root).labels is None


def test_scenes_and_samples(root: Path):
    tables = read_tables(root, VERSION)
    assert list_scenes(tables) == (SCENE,)
    assert list_samples(tables, SCENE) == ("a", "b")
    assert set(tables.frames["a"]) == {"LIDAR_TOP", *CAMERAS}  # no radar, no sweeps
    with pytest.raises(DataError, match=r"scene.json: field name: expected the 150 scenes of split 'val', found 1"):
        list_scenes(tables, "val")
    with pytest.raises(
        DataError, match=r"expected the 8 scenes of split 'mini_train', found 0, first missing scene-0061"
    ):
        list_scenes(tables, "mini_train")
    with pytest.raises(
        InputError, match=r"split must be one of train, val, test, mini_train, mini_val, found 'minival'"
    ):
        list_scenes(tables, "minival")
    with pytest.raises(DataError, match=r"scene.json: field name: expected 'scene-0001'"):
        list_samples(tables, "scene-0001")
    edit_table(root, "scene", lambda records: records.append(records[0] | {"token": "x", "name": "scene-0916"}))
    assert list_scenes(read_tables(root, VERSION), "mini_val") == ("scene-0103", "scene-0916")


def test_splits_json_adds_splits(root: Path):
    path = root / VERSION / "splits.json"
    write_json(path, {"mine": [SCENE], "val": [SCENE]})
    tables = read_tables(root, VERSION)
    assert list_scenes(tables, "mine") == (SCENE,)
    with pytest.raises(DataError, match=r"expected the 150 scenes of split 'val'"):  # the devkit's own names win
        list_scenes(tables, "val")
    write_json(root / "mini.json", {})  # but not in generated data
    assert list_scenes(read_tables(root, VERSION), "val") == (SCENE,)
    write_json(path, {"mine": [SCENE], "none": []})
    with pytest.raises(DataError, match=r"splits.json: field none: expected at least one scene, found an empty split"):
        list_scenes(read_tables(root, VERSION), "none")
    write_json(path, {"mine": SCENE})
    with pytest.raises(DataError, match=r"splits.json: field mine: expected a list of scene names, found 'scene-0103'"):
        read_tables(root, VERSION)


def test_image_size_resizes_pixels_and_intrinsics(root: Path):
    view = load(root, image_size=(45, 80)).views[0]
    assert view.image_size == (45, 80) and view.color().shape == (45, 80, 3)
    assert view.intrinsics[0, 0] == INTRINSICS[0][0] / 2
    assert view.intrinsics[0, 2] == pytest.approx(81.6 * 79 / 159)
    with pytest.raises(DataError, match=r"view CAM_FRONT: has no depth image"):
        view.depth()


@pytest.mark.parametrize(
    ("field", "bad"),
    [(field, [bad, 0, 0]) for field in ("translation", "rotation") for bad in (math.nan, math.inf)]
    + [("rotation", [0, 0, 0, 0])],
)
def test_a_lost_pose_skips_its_view_with_one_warning(root: Path, field: str, bad: list[float]):
    def lose(records: list[dict]) -> None:
        next(r for r in records if r["token"] == "e-a-CAM_BACK")[field][: len(bad)] = bad

    edit_table(root, "ego_pose", lose)
    scene = load(root)
    assert [view.has_pose for view in scene.views] == [name != "CAM_BACK" for name in CAMERAS]
    others = [view for view in scene.views if view.has_pose]
    with pytest.warns(UserWarning, match=r"1 of 6 views skipped, pose holds nan or inf: CAM_BACK") as caught:
        found = fuse(scene.points, scene.views, lambda view: view.color(), use_depth=False, rule="devkit")
    assert len(caught) == 1
    expected = fuse(scene.points, others, lambda view: view.color(), use_depth=False, rule="devkit")
    np.testing.assert_array_equal(found.count, expected.count)


def test_equals_the_devkit(root: Path):
    devkit = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is not installed")
    data = devkit.NuScenes(version=VERSION, dataroot=str(root), verbose=False)
    scene = load(root)
    for view in scene.views:
        lidar, camera = data.sample[0]["data"]["LIDAR_TOP"], data.sample[0]["data"][view.name]
        pixels, depths, _ = data.explorer.map_pointcloud_to_image(lidar, camera)
        found = project(scene.points, view.intrinsics, view.cam_to_world, view.image_size, rule="devkit")
        assert found.visible.sum() == pixels.shape[1] > 0
        # the devkit moves points to the global frame in float32, where a kilometre leaves 0.1 mm
        ours = np.stack([found.col, found.row])[:, found.visible]
        assert np.abs(ours - pixels[:2]).max() <= 0.5 + 1e-2
        world_to_cam = np.linalg.inv(view.cam_to_world)
        np.testing.assert_allclose(
            (scene.points @ world_to_cam[2, :3] + world_to_cam[2, 3])[found.visible], depths, atol=1e-3
        )


# ---------------------------------------------------------------- one key frame with calibration.json


def test_a_lost_pose_in_a_key_frame(key_frame: Path):
    path = key_frame / "calibration.json"
    calibration = json.loads(path.read_text())
    calibration["cameras"]["CAM_FRONT"]["lidar_to_camera"][0][0] = math.inf
    write_json(path, calibration)
    assert not load_key_frame(key_frame).views[0].has_pose


@pytest.fixture
def key_frame(tmp_path: Path, rng: np.random.Generator) -> Path:
    return write_key_frame(tmp_path / "frame", rng)


def test_key_frame(key_frame: Path):
    scene = load_key_frame(key_frame)
    rows = np.fromfile(key_frame / "lidar.bin", "<f4").reshape(-1, 5)
    np.testing.assert_array_equal(scene.points, rows[:, :3])
    np.testing.assert_array_equal(scene.intensity, rows[:, 3])
    assert scene.labels is None and scene.views[0].color()[0, 0].tolist() == [10, 20, 30]
    found = scene.points @ np.linalg.inv(scene.views[0].cam_to_world)[:3, :3].T
    np.testing.assert_allclose(found, rows[:, [0, 2, 1]] * [1, -1, 1], atol=1e-5)


def test_key_frame_of_the_real_recording(recordings: Path):
    scene = load_key_frame(recordings / "nuscenes_sample")
    assert len(scene) == 34688 and len(scene.views) == 6
    assert all(view.image_size == (900, 1600) for view in scene.views)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean, count = fuse(scene.points, scene.views, lambda view: view.color(), use_depth=False, rule="devkit")
    assert mean.shape == (34688, 3) and (count > 0).sum() == 20180  # the devkit's six id lists, united


def test_the_hand_made_set_is_what_it_says():
    assert len(CATEGORIES) == 32 and CATEGORIES[24:28] == (
        *("flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain"),
    )
