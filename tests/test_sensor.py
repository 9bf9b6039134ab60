"""The simulated hand-held sensor against a room whose surface is known by formula."""

import dataclasses

import numpy as np
import pytest
from simple_room import PERFECT, SIZE, distance_to_surface, simple_room

from geoguide.errors import InputError
from geoguide.worlds.camera import Frame, SensorConfig
from geoguide.worlds.casting import pixel_rays
from geoguide.worlds.interior import FurnishedRoom
from geoguide.worlds.rooms.scan import scan_room
from geoguide.worlds.rooms.world import generate_room

FAULTY = SensorConfig(frames=16, image_size=(60, 80), focal=72.0)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return scan_room(simple_room(), 0, FAULTY)


@pytest.fixture(scope="module")
def perfect() -> list[Frame]:
    return scan_room(simple_room(), 0, dataclasses.replace(FAULTY, **PERFECT))


def true_depth(frame: Frame) -> np.ndarray:
    """Depth [H, W] of the true surface along each pixel's ray, for a frame whose recorded pose is exact."""
    return (frame.surface - frame.cam_to_world[:3, 3]) @ frame.cam_to_world[:3, 2]


def test_a_perfect_scan_measures_the_true_surface(perfect: list[Frame]):
    for frame in perfect:
        assert np.nanmax(distance_to_surface(frame.surface.reshape(-1, 3))) < 1e-4
        hit = frame.depth > 0
        np.testing.assert_allclose(frame.depth[hit] / 1000, true_depth(frame)[hit], atol=6e-4)  # millimetres
        rays = pixel_rays(FAULTY.intrinsics, FAULTY.image_size) @ frame.cam_to_world[:3, :3].T
        np.testing.assert_allclose(
            frame.surface[hit], (frame.cam_to_world[:3, 3] + true_depth(frame)[..., None] * rays)[hit], atol=1e-4
        )


def test_depth_noise_has_the_configured_deviation():
    sensor = SensorConfig(**PERFECT | {"noise_floor": 0.002, "noise_growth": 0.004})
    depth, error = [], []
    for frame in scan_room(simple_room(), 2, dataclasses.replace(sensor, frames=8)):
        hit = frame.depth > 0
        depth.append(true_depth(frame)[hit])
        error.append(frame.depth[hit] / 1000 - depth[-1])
    depth, error = np.concatenate(depth), np.concatenate(error)
    for near, far in ((0.8, 1.2), (1.9, 2.1), (2.9, 3.1)):
        band = (depth > near) & (depth < far)
        assert np.std(error[band]) == pytest.approx(0.002 + 0.004 * ((near + far) / 2 - 0.4) ** 2, rel=0.1)
        assert abs(np.mean(error[band])) < 0.1 * np.std(error[band])


def test_readings_are_lost_at_edges_and_grazing_angles(frames: list[Frame], perfect: list[Frame]):
    lost_edge, lost_flat = [], []
    for frame, truth in zip(frames, perfect, strict=True):
        depth = true_depth(truth)
        step = np.abs(np.diff(depth, axis=1))[:-1] > 0.3
        edge = np.zeros(depth.shape, bool)
        edge[:-1, :-1] = step
        inner = np.zeros_like(edge)
        inner[2:-2, 2:-2] = True
        smooth = inner & (depth < 5) & (np.abs(np.gradient(depth, axis=1)) < 0.02)
        smooth &= np.abs(np.gradient(depth, axis=0)) < 0.02
        lost_edge.append(frame.depth[edge] == 0)
        lost_flat.append(frame.depth[smooth] == 0)
    assert np.mean(np.concatenate(lost_edge)) == pytest.approx(0.6, abs=0.1)
    assert np.mean(np.concatenate(lost_flat)) < 0.03


def test_nothing_is_measured_out_of_range(perfect: list[Frame]):
    sensor = dataclasses.replace(FAULTY, depth_range=(1.0, 2.0))
    for frame in scan_room(simple_room(), 0, sensor):
        read = frame.depth[frame.depth > 0]
        assert read.size == 0 or (read.min() >= 1000 and read.max() <= 2000)


def test_pose_errors_are_small_and_smooth(frames: list[Frame], perfect: list[Frame]):
    errors = [np.linalg.inv(true.cam_to_world) @ seen.cam_to_world for seen, true in zip(frames, perfect, strict=True)]
    shift = np.array([error[:3, 3] for error in errors])
    angle = np.degrees(np.arccos(np.clip([(np.trace(error[:3, :3]) - 1) / 2 for error in errors], -1, 1)))
    assert 0.001 < np.linalg.norm(shift, axis=1).mean() < 0.015
    assert 0.05 < angle.mean() < 0.9
    assert np.linalg.norm(np.diff(shift, axis=0), axis=1).mean() < 0.7 * np.linalg.norm(shift, axis=1).mean()


def test_the_path_is_free_and_sees_the_room(perfect: list[Frame]):
    eyes = np.array([frame.cam_to_world[:3, 3] for frame in perfect])
    assert simple_room().camera_free(eyes[:, :2]).all()
    assert eyes[:, 2].min() >= 1.2 - 1e-9 and eyes[:, 2].max() <= 1.7 + 1e-9
    seen = np.concatenate([frame.surface[frame.depth > 0] for frame in perfect])
    for axis, length in enumerate(SIZE):  # every wall, the floor and the ceiling
        for place in (0.0, length):
            assert (np.abs(seen[:, axis] - place) < 0.01).sum() > 100
    assert set(np.unique(np.concatenate([frame.object.reshape(-1) for frame in perfect]))) == {0, 1, 2, 3, 4}


def test_the_scan_depends_on_its_seed_only(frames: list[Frame]):
    again, other = scan_room(simple_room(), 0, FAULTY), scan_room(simple_room(), 1, FAULTY)
    for first, second in zip(frames, again, strict=True):
        assert np.array_equal(first.color, second.color) and np.array_equal(first.depth, second.depth)
        assert np.array_equal(first.cam_to_world, second.cam_to_world)
    assert not np.array_equal(frames[0].depth, other[0].depth)


def test_a_generated_room_is_scanned_from_free_places():
    room = generate_room(1, "studio")
    found = scan_room(room, 1, dataclasses.replace(FAULTY, **PERFECT | {"frames": 12}))
    eyes = np.array([frame.cam_to_world[:2, 3] for frame in found])
    assert room.camera_free(eyes).all()


def test_a_room_without_a_free_place(monkeypatch: pytest.MonkeyPatch):
    room = simple_room()
    monkeypatch.setattr(type(room), "camera_free", lambda self, xy: np.zeros(len(xy), bool))
    with pytest.raises(InputError, match=r"no free place for the camera"):
        scan_room(room, 0, FAULTY)
    with pytest.raises(InputError, match=r"frames must be at least 1"):
        scan_room(room, 0, dataclasses.replace(FAULTY, frames=0))


def test_the_room_interface_is_what_the_sensor_reads():
    wanted = {"vertices", "faces", "face_color", "face_object", "objects", "size", "room_type"}
    assert wanted <= {field.name for field in dataclasses.fields(FurnishedRoom)}
