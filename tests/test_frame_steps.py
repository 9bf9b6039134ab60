"""A path that breaks, depth that agrees roughly, and single readings that are wrong: said, each by what tells it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from simple_room import PERFECT, simple_room, write_flat

from geoguide.datasets.depth_agreement import check_depth, depth_agreement
from geoguide.datasets.frame_pairs import read_recording
from geoguide.datasets.frame_places import places
from geoguide.datasets.frame_steps import step_doubts
from geoguide.datasets.rgbd import load_rgbd, load_views
from geoguide.errors import DataError
from geoguide.scene import View
from geoguide.worlds.camera import SensorConfig, look, render
from geoguide.worlds.casting import RayCaster

SENSOR = SensorConfig(image_size=(60, 80), focal=60.0, **PERFECT)
HALF = 12  # the second half of the path begins with this frame
Move = Callable[[int, np.ndarray], np.ndarray]  # of a frame's number and pose


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A camera that walks along a wall of a room and looks about, 19 cm and 3 degrees a frame."""
    room = simple_room()
    caster, rng = RayCaster(room.vertices, room.faces), np.random.default_rng(0)
    poses = [look(np.array([0.5 + 0.12 * k, 0.5 + 0.15 * (k % 2), 1.5]), 0.9 - 0.06 * k, -0.3) for k in range(24)]
    frames = [render(room, caster, pose, pose, 1.0, SENSOR, rng) for pose in poses]
    return write_flat(tmp_path_factory.mktemp("walk") / "scan", frames, SENSOR)


def moved(views: tuple[View, ...], move: Move) -> tuple[View, ...]:
    return tuple(
        dataclasses.replace(view, cam_to_world=move(number, view.cam_to_world)) for number, view in enumerate(views)
    )


def later(place: tuple[float, float, float], yaw: float = 0.0) -> Move:
    """The second half elsewhere."""
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = Rotation.from_euler("z", yaw, degrees=True).as_matrix(), place
    return lambda number, pose: motion @ pose if number >= HALF else pose


@pytest.mark.parametrize("place", [(0.5, 0.3, 0.0), (9.0, 0.0, 0.0), (0.3, -0.6, 0.2)])
@pytest.mark.parametrize("yaw", [0, 90, 170])
def test_a_path_that_breaks_is_said(path: Path, place: tuple[float, float, float], yaw: float) -> None:
    (said,) = step_doubts(read_recording(moved(load_views(path), later(place, yaw))))
    assert "frames frame-000011 to frame-000012 (the camera moves by" in said
    assert said.endswith("was tracking lost, or are two recordings joined?")


def test_what_is_said_of_a_path_is_said_of_the_scene(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    for file in path.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert load_rgbd(folder, voxel=0.08).as_read == ()
    for number in range(HALF, 24):
        file = folder / f"frame-{number:06d}.pose.txt"
        np.savetxt(file, later((9.0, 0, 0))(number, np.loadtxt(file)))
    assert any("are two recordings joined?" in text for text in load_rgbd(folder, voxel=0.08).as_read)


def scattered(metres: float) -> Move:
    rng = np.random.default_rng(0)
    return lambda number, pose: pose + np.pad(rng.normal(0, metres, (3, 1)), ((0, 1), (3, 0)))


@pytest.mark.parametrize("move", [lambda number, pose: pose, scattered(0.01), scattered(0.05)])
def test_a_path_that_goes_on_is_not_spoken_of(path: Path, move: Move) -> None:
    views = moved(load_views(path), move)
    for chosen in (views, views[::-1], views[::2], views[:8], [*views[:9], *views[12:]]):
        assert step_doubts(read_recording(chosen)) == ()


@pytest.mark.parametrize("name", ["rgbd_kitchen", "scannet_real/scans/scene0113_00", "scannet_real/scans/scene0000_00"])
def test_paths_of_real_recordings(recordings: Path, name: str) -> None:
    views = load_views(recordings / name, image_size=(120, 160))
    assert step_doubts(read_recording(views)) == ()
    if name != "scannet_real/scans/scene0000_00":  # most of its neighbours do not overlap
        half = len(views) // 2
        joined = moved(
            views, lambda number, pose: np.linalg.inv(views[half].cam_to_world) @ pose if number >= half else pose
        )
        assert any("two recordings" in text for text in step_doubts(read_recording(joined)))


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.2])
def test_a_path_of_another_scale_than_its_depth_is_measured(path: Path, factor: float) -> None:
    stretch = np.ones((4, 4))
    stretch[:3, 3] = factor
    said = check_depth(moved(load_views(path), lambda _, pose: stretch * pose), "scan", 5.0)
    assert any(f"% if depth is multiplied by {factor:g}, or the path divided by it" in text for text in said), said


def with_readings(
    path: Path, folder: Path, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> list[View]:
    """The views with their depth changed, as arrays of metres."""
    rng, views = np.random.default_rng(0), []
    for view in load_views(path):
        file = folder / f"{view.name}.npy"
        np.save(file, change(view.depth(), rng).astype(np.float32))
        views.append(dataclasses.replace(view, depth_path=file, depth_scale=1.0))
    return views


def test_single_wrong_readings_refuse_nothing(path: Path, tmp_path: Path) -> None:
    """Of a third that fly the pixels agree as little as under wrong poses, and the places as ever."""
    views = with_readings(
        path,
        tmp_path,
        lambda depth, rng: np.where(rng.random(depth.shape) < 0.3, rng.uniform(0.4, 5, depth.shape), depth),
    )
    assert depth_agreement(views).share < 0.75
    said = check_depth(views, "scan", 5.0)
    assert any("of its places' medians, so that readings are noisy, or fly at edges" in text for text in said), said
    with pytest.raises(DataError, match="contradicts their poses"):
        check_depth(moved(tuple(views), lambda number, _: views[number * 7 % 24].cam_to_world), "scan", 5.0)


def test_steps_of_a_coarse_sensor_are_no_marks_for_no_reading(path: Path, tmp_path: Path) -> None:
    views = with_readings(path, tmp_path, lambda depth, _: (10 * depth).round() / 10)
    assert read_recording(views).fill is None


def test_places_equal_a_slow_loop(path: Path) -> None:
    frames = read_recording(load_views(path)).frames
    one, other = frames[0], frames[1]
    motion, cells = np.linalg.inv(other.pose) @ one.pose, {}
    for ray, reading in zip(one.rays.T, one.readings, strict=True):
        point = motion[:3, :3] @ (ray * reading) + motion[:3, 3]
        column, row = np.rint((other.intrinsics @ point)[:2] / point[2]).astype(int)
        if 0 <= row < 60 and 0 <= column < 80 and other.depth[row, column] > 0:
            seen = other.depth[row, column]
            cells.setdefault((row * 12 // 60, column * 16 // 80), []).append((seen - point[2]) / seen)
    medians = [sorted(off)[len(off) // 2] for _, off in sorted(cells.items()) if len(off) >= 8]
    expected = [off for off in medians if abs(off) <= 0.05 or off > 1 - 1 / 1.1]
    np.testing.assert_allclose(places(one, other).off, expected, atol=1e-12)


def test_a_camera_that_stood_between_its_steps_is_not_spoken_of(recordings: Path) -> None:
    """Each frame twice, as cameras of a fixed rate write them: half of the steps are none."""
    views = load_views(recordings / "scannet_real" / "scans" / "scene0000_00", frame_skip=2)[:20]
    assert step_doubts(read_recording([view for view in views for _ in range(2)])) == ()
