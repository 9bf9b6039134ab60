"""nuScenes' own devkit on generated streets: it loads them, and every value is as our own reader has it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets.formats.nuscenes_tables import CAMERAS, LIDAR, Tables, list_samples, read_tables
from geoguide.datasets.nuscenes import list_scenes, load_sample
from geoguide.lifting import project
from geoguide.metrics import ConfusionMatrix
from geoguide.scene import VOID, Scene
from geoguide.worlds.streets.make import StreetConfig, make_mini_nuscenes
from geoguide.worlds.streets.official import STREETS_VERSION
from geoguide.worlds.streets.scan import DriveConfig
from geoguide.worlds.things.categories import CATEGORIES

devkit = pytest.importorskip("nuscenes.nuscenes", reason="nuscenes-devkit is not installed (make test-clients)")
from nuscenes.eval.lidarseg.utils import ConfusionMatrix as DevkitMatrix  # noqa: E402
from nuscenes.eval.lidarseg.utils import LidarsegClassMapper  # noqa: E402
from nuscenes.utils import data_classes, geometry_utils, splits  # noqa: E402
from nuscenes.utils.data_io import load_bin_file  # noqa: E402

SMALL = StreetConfig(seed=3, drive=DriveConfig(key_frames=2, turns=120, render_size=(90, 160)))
NOISE = 5 * SMALL.drive.range_noise  # metres


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two train scenes and one validation scene of two key frames."""
    root = tmp_path_factory.mktemp("mini") / "data"
    return make_mini_nuscenes(root, scenes=(2, 1, 0), config=SMALL, workers=1, progress=False)


@pytest.fixture(scope="module")
def client(data: Path) -> "devkit.NuScenes":
    return devkit.NuScenes(version=STREETS_VERSION, dataroot=str(data), verbose=False)


@pytest.fixture(scope="module")
def tables(data: Path) -> Tables:
    return read_tables(data, STREETS_VERSION)


@pytest.fixture(scope="module")
def scenes(tables: Tables) -> dict[str, Scene]:
    """By the sample's token."""
    tokens = [token for name in list_scenes(tables) for token in list_samples(tables, name)]
    return {token: load_sample(tables, token) for token in tokens}


def lidar(client: "devkit.NuScenes", token: str) -> tuple[np.ndarray, dict, dict]:
    """Points [4, P] in the sensor's frame, its sample_data, its calibration."""
    record = client.get("sample_data", client.get("sample", token)["data"][LIDAR])
    points = data_classes.LidarPointCloud.from_file(client.get_sample_data_path(record["token"])).points
    return points, record, client.get("calibrated_sensor", record["calibrated_sensor_token"])


def test_splits_and_key_frames(client: "devkit.NuScenes", tables: Tables):
    for split in ("train", "val"):
        assert splits.get_scenes_of_split(f"streets_{split}", client) == list(list_scenes(tables, split))
    for sample in client.sample:
        assert len(sample["anns"]) > 5 and client.get("scene", sample["scene_token"])["nbr_samples"] == 2
        assert set(sample["data"]) == {LIDAR, *CAMERAS}
        for token in sample["data"].values():
            path, boxes, _ = client.get_sample_data(token)
            assert Path(path).is_file() and all(box.name in CATEGORIES for box in boxes)
        client.get_sample_lidarseg_stats(sample["token"])
    for scene in client.scene:
        first, second = (client.get("sample", scene[f"{end}_sample_token"]) for end in ("first", "last"))
        assert first["next"] == second["token"] and second["timestamp"] - first["timestamp"] == 500_000


def test_points_and_intensities(client: "devkit.NuScenes", scenes: dict[str, Scene]):
    for token, scene in scenes.items():
        points, _, mount = lidar(client, token)
        pose = geometry_utils.transform_matrix(mount["translation"], devkit.Quaternion(mount["rotation"]))
        np.testing.assert_allclose(points[:3].T @ pose[:3, :3].T + pose[:3, 3], scene.points, atol=1e-4)
        assert np.array_equal(points[3], scene.intensity)


def test_labels(client: "devkit.NuScenes", data: Path, scenes: dict[str, Scene]):
    mapper = LidarsegClassMapper(client)
    for token, scene in scenes.items():
        _, record, _ = lidar(client, token)
        path = data / client.get("lidarseg", record["token"])["filename"]
        coarse = mapper.convert_label(load_bin_file(str(path)))  # 0 is ignored, classes from 1
        assert np.array_equal(np.where(coarse == 0, VOID, coarse.astype(int) - 1), scene.labels)


def test_the_mean_iou_is_the_devkits(client: "devkit.NuScenes", scenes: dict[str, Scene], rng: np.random.Generator):
    """Of wrong predictions, where classes are absent too: its mean is our mean over the union's classes."""
    mapper = LidarsegClassMapper(client)
    classes = len(mapper.get_coarse2idx()) - 1
    theirs, ours = DevkitMatrix(classes + 1, mapper.ignore_class["index"]), ConfusionMatrix(classes)
    for scene in scenes.values():
        wrong = rng.random(len(scene)) < 0.4
        found = np.where(wrong | (scene.labels == VOID), rng.integers(0, classes - 3, len(scene)), scene.labels)
        theirs.update(np.where(scene.labels == VOID, 0, scene.labels + 1), found + 1)
        ours.update(scene.labels, found)
    assert np.isnan(ours.iou()).any() and ours.miou("union") == pytest.approx(theirs.get_mean_iou(), abs=1e-6)


def seen(client: "devkit.NuScenes", scenes: dict[str, Scene]) -> Iterator[tuple[Scene, str, dict]]:
    """Every camera of every key frame: our scene, the channel and the devkit's record of the image."""
    for token, scene in scenes.items():
        for channel, number in client.get("sample", token)["data"].items():
            if channel != LIDAR:
                yield scene, channel, client.get("sample_data", number)


def test_cameras_and_images(client: "devkit.NuScenes", scenes: dict[str, Scene]):
    for scene, channel, record in seen(client, scenes):
        view = next(view for view in scene.views if view.name == channel)
        mount = client.get("calibrated_sensor", record["calibrated_sensor_token"])
        assert np.array_equal(np.array(mount["camera_intrinsic"]), view.intrinsics)
        assert (record["height"], record["width"]) == view.image_size
        assert Path(client.get_sample_data_path(record["token"])).samefile(view.color_path)


def test_projections(client: "devkit.NuScenes", scenes: dict[str, Scene]):
    """The devkit's own chain through the world and both times, against our poses: the same points, the same pixels."""
    total = 0
    for scene, channel, record in seen(client, scenes):
        view = next(view for view in scene.views if view.name == channel)
        sample = client.get("sample", record["sample_token"])
        pixels, depths, _ = client.explorer.map_pointcloud_to_image(sample["data"][LIDAR], record["token"])
        ours = project(scene.points, view.intrinsics, view.cam_to_world, view.image_size, rule="devkit")
        index = np.flatnonzero(ours.visible)
        world_to_cam = np.linalg.inv(view.cam_to_world)
        depth = scene.points[index] @ world_to_cam[2, :3] + world_to_cam[2, 3]
        assert pixels.shape[1] == len(index)
        np.testing.assert_allclose(depths, depth, atol=1e-3)
        where = np.abs(np.rint(pixels[:2]) - np.stack([ours.col[index], ours.row[index]]))
        assert where.max() <= 1 and (where == 0).mean() > 0.99  # float32 chain of the devkit, float64 of ours
        total += len(index)
    assert total > 2000


def test_boxes_hold_points_of_their_class(client: "devkit.NuScenes", scenes: dict[str, Scene]):
    """Of the points inside a box (a little enlarged) most carry the box's class, and none is missing of its count."""
    mapper, classes = LidarsegClassMapper(client), []
    index = {name: number - 1 for name, number in mapper.get_coarse2idx().items()}
    for token, scene in scenes.items():
        points, record, _ = lidar(client, token)
        _, boxes, _ = client.get_sample_data(record["token"])
        for box in boxes:
            box.wlh = box.wlh + 2 * NOISE
            inside = geometry_utils.points_in_box(box, points[:3])
            assert inside.sum() >= client.get("sample_annotation", box.token)["num_lidar_pts"] > 0
            coarse = mapper.get_fine2coarse()[box.name]
            if coarse in index and index[coarse] >= 0:
                classes.append((scene.labels[inside] == index[coarse]).mean())
    assert len(classes) > 20 and np.mean(classes) > 0.9
