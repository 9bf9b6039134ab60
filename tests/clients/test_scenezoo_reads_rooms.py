"""SceneZoo, a reader of ScanNet by others, on generated rooms: every value as our own reader has it."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets.formats.sens import SensFile, SensView
from geoguide.datasets.scannet import load_scene
from geoguide.labels import load_category_table, load_label_set
from geoguide.scene import Scene
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.rooms.make import MiniConfig, make_mini_scannet
from geoguide.worlds.rooms.recordings import write_recordings

scenezoo = pytest.importorskip("scenezoo", reason="scenezoo is not installed (make test-clients)")

SMALL = MiniConfig(seed=3, voxel=0.08, sensor=SensorConfig(frames=10, image_size=(60, 80), focal=72.0))
NAME = "scene0000_00"
SPLITS = {f"{split}_split_file": f"scannetv2_{split}.txt" for split in ("train", "val", "test")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mini") / "data"
    make_mini_scannet(root, rooms=(1, 1, 0), config=SMALL, workers=1, progress=False)
    assert write_recordings(root, progress=False) == 2
    return root


@pytest.fixture(scope="module")
def client(data: Path) -> "scenezoo.Dataset":
    return scenezoo.get_dataset("scannet", data, offline=True, **SPLITS)


@pytest.fixture(scope="module")
def scene(data: Path) -> Scene:
    return load_scene(data / "scans" / NAME)


def test_it_finds_every_room_and_no_fault(client: "scenezoo.Dataset"):
    assert client.splits == {"train": [NAME], "val": ["scene5000_00"], "test": []}
    report = client.check(require_complete=True)
    assert report.ok and not report.issues, report.format()


@pytest.mark.parametrize("kind", ["decimated", "semantic"])
def test_meshes(client: "scenezoo.Dataset", scene: Scene, kind: str):
    mesh = client.get_mesh(NAME, mesh_type=kind)
    assert np.array_equal(np.asarray(mesh.vertices, np.float32), scene.points)
    assert np.array_equal(np.asarray(mesh.triangles), scene.faces)
    if kind == "decimated":
        np.testing.assert_allclose(np.asarray(mesh.vertex_colors), scene.colors, atol=1e-6)


def test_labels_and_instances(client: "scenezoo.Dataset", scene: Scene):
    semantic = client.get_segmentation(NAME, segmentation_type="semantic")
    assert np.array_equal(load_label_set("scannet20").from_raw(semantic.labels), scene.labels)
    instances = client.get_segmentation(NAME)
    assert semantic.domain == instances.domain == "vertex" and len(instances.id_to_name) > 5
    assert np.array_equal(instances.labels, scene.instances)


def test_boxes_hold_their_objects(client: "scenezoo.Dataset", scene: Scene):
    boxes, names = client.get_boxes(NAME, box_type="aabb")
    assert sorted(boxes) == np.unique(scene.instances[scene.instances >= 0]).tolist() == sorted(names)
    for number, box in boxes.items():
        points = scene.points[scene.instances == number]
        np.testing.assert_allclose(np.asarray(box.get_min_bound()), points.min(axis=0), atol=1e-6)
        np.testing.assert_allclose(np.asarray(box.get_max_bound()), points.max(axis=0), atol=1e-6)


def test_alignment_and_meta(client: "scenezoo.Dataset", scene: Scene):
    info = client.get_scene_info(NAME)
    assert np.array_equal(client.get_alignment(NAME), np.eye(4))  # generated rooms stand straight
    assert (info["depthHeight"], info["depthWidth"]) == scene.views[0].image_size
    assert info["numDepthFrames"] == len(scene.views) and info["fx_depth"] == scene.views[0].intrinsics[0, 0]


def test_frames_are_those_of_the_files(client: "scenezoo.Dataset", scene: Scene):
    """Colour, depth, camera and pose of every frame, from the recording, as our reader has them from the images."""
    items = ("rgb", "depth", "rgb_intrinsics", "depth_intrinsics", "world_to_camera", "timestamps", "imu")
    frames = client.get_frames(NAME, items=items)
    assert frames.indices.tolist() == [int(view.name) for view in scene.views] == list(range(10))
    assert frames.source_frame_count == 10 and not frames.timestamps.any() and not frames.imu["valid"].any()
    for number, view in enumerate(scene.views):
        assert not isinstance(view, SensView)
        assert np.array_equal(frames.rgb[number], view.color())
        np.testing.assert_allclose(frames.depth[number], view.depth(), atol=1e-6)
        np.testing.assert_allclose(frames.rgb_intrinsics[number], view.intrinsics, rtol=1e-6)
        np.testing.assert_allclose(frames.depth_intrinsics[number], view.intrinsics, rtol=1e-6)
        np.testing.assert_allclose(np.linalg.inv(frames.world_to_camera[number]), view.cam_to_world, atol=1e-5)


def test_the_recording_is_read_alike(client: "scenezoo.Dataset", data: Path):
    recording, calibration = SensFile(data / "scans" / NAME / f"{NAME}.sens"), client.get_calibration(NAME)
    frames = client.get_frames(NAME, items=("rgb", "depth"))
    for number in range(len(recording)):
        assert np.array_equal(frames.rgb[number], recording.color(number))
        assert np.array_equal(np.rint(frames.depth[number] * 1000), recording.depth(number))
    assert (calibration["sensor_name"], calibration["depth_shift"]) == (recording.sensor, recording.depth_scale)
    assert np.array_equal(calibration["depth_intrinsic"][:3, :3], recording.intrinsics)
    assert calibration["depth_size"] == recording.image_size[::-1]
    assert np.array_equal(calibration["rgb_extrinsic"], np.eye(4))
    assert np.array_equal(calibration["depth_extrinsic"], np.eye(4))


def test_label_images_once_they_are_packed(client: "scenezoo.Dataset", data: Path, scene: Scene):
    """ScanNet distributes them as zip archives; generated rooms have them unpacked, which this client does not read."""
    with pytest.raises(FileNotFoundError, match=r"_2d-label-filt\.zip"):
        client.get_frames(NAME, items=("semantic_maps",))
    folder = data / "scans" / NAME
    for kind in ("label-filt", "instance-filt"):
        with zipfile.ZipFile(folder / f"{NAME}_2d-{kind}.zip", "w") as archive:
            for path in sorted((folder / kind).glob("*.png")):
                archive.write(path, f"{kind}/{path.name}")
    frames = client.get_frames(NAME, items=("semantic_maps", "instance_maps"), semantic_label_space="nyu40")
    for number, view in enumerate(scene.views):
        assert np.array_equal(frames.instance_maps[number] + 1, view.instances())
        assert np.array_equal(frames.semantic_maps[number], load_category_table().nyu40(view.labels()))


def test_what_it_asks_for_and_generated_rooms_lack(client: "scenezoo.Dataset"):
    """The full-resolution mesh, of which ScanNet's is a decimation; a generated one is reconstructed at one size."""
    with pytest.raises(FileNotFoundError, match=r"_vh_clean\.ply"):
        client.get_mesh(NAME, mesh_type="raw")


def test_a_lost_pose_is_left_out(data: Path, tmp_path: Path):
    """A pose of -inf, as ScanNet writes it, travels through the recording; both readers say that the frame is lost."""
    root = tmp_path / "data"
    make_mini_scannet(root, rooms=(1, 0, 0), config=SMALL, workers=1, progress=False)
    pose = root / "scans" / NAME / "pose" / "4.txt"
    np.savetxt(pose, np.full((4, 4), -np.inf))
    write_recordings(root, progress=False)
    client = scenezoo.get_dataset("scannet", root, offline=True, **SPLITS)
    assert client.get_frames(NAME, items=("world_to_camera",)).indices.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    for kind in ("color", "depth", "pose"):
        for path in (root / "scans" / NAME / kind).iterdir():
            path.unlink()
    assert [view.name for view in load_scene(root / "scans" / NAME).views if not view.has_pose] == ["4"]
