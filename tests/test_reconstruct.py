"""TSDF fusion against a room known by formula, and one view against a slow loop."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from simple_room import BOXES, PERFECT, SIZE, distance_to_surface, simple_room, views_of, write_flat

from geoguide.datasets.reconstruct import Reconstruction, _fuse_view, reconstruct
from geoguide.errors import InputError
from geoguide.scene import View
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.rooms.scan import scan_room

SENSOR = SensorConfig(frames=24, image_size=(60, 80), focal=72.0, **PERFECT)
VOXEL = 0.08


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> list[View]:
    folder = tmp_path_factory.mktemp("scan")
    frames = scan_room(simple_room(), 0, SENSOR)
    return views_of(write_flat(folder, frames, SENSOR), frames, SENSOR)


@pytest.fixture(scope="module")
def mesh(views: list[View]) -> Reconstruction:
    return reconstruct(views, voxel=VOXEL)


def flat_view(folder: Path, depth: np.ndarray, color: tuple[int, int, int] = (200, 100, 50), name: str = "0") -> View:
    """A camera at the origin that looks along +z at `depth` [H, W] millimetres."""
    Image.fromarray(depth.astype(np.uint16)).save(folder / f"{name}.png")
    Image.fromarray(np.full((*depth.shape, 3), color, np.uint8)).save(folder / f"{name}.color.png")
    height, width = depth.shape
    matrix = np.array([[60.0, 0, (width - 1) / 2], [0, 60.0, (height - 1) / 2], [0, 0, 1]])
    return View(name, matrix, np.eye(4), depth.shape, folder / f"{name}.color.png", folder / f"{name}.png")


def test_types_and_shapes(mesh: Reconstruction):
    count = len(mesh.vertices)
    assert mesh.vertices.dtype == mesh.colors.dtype == mesh.normals.dtype == np.float32
    assert mesh.faces.dtype == np.int64
    assert mesh.vertices.shape == mesh.colors.shape == mesh.normals.shape == (count, 3)
    assert np.array_equal(np.unique(mesh.faces), np.arange(count))
    assert mesh.colors.min() >= 0 and mesh.colors.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)


def test_vertices_lie_on_the_true_surface(mesh: Reconstruction):
    distance = distance_to_surface(mesh.vertices)
    assert np.median(distance) < 0.1 * VOXEL
    assert np.percentile(distance, 90) < 0.5 * VOXEL
    assert distance.max() < 3 * VOXEL


def test_most_of_the_room_is_there(mesh: Reconstruction):
    area = (
        0.5
        * np.linalg.norm(
            np.cross(
                mesh.vertices[mesh.faces[:, 1]] - mesh.vertices[mesh.faces[:, 0]],
                mesh.vertices[mesh.faces[:, 2]] - mesh.vertices[mesh.faces[:, 0]],
            ),
            axis=1,
        ).sum()
    )
    x, y, z = SIZE
    boxes = sum(2 * (a * b + a * c + b * c) for _, (a, b, c) in BOXES.values())
    assert area > 0.8 * (2 * (x * y + x * z + y * z) + boxes - 2)  # 2 m2: undersides and the cabinet's back


def test_normals_point_to_the_cameras(mesh: Reconstruction):
    floor = (mesh.vertices[:, 2] < 0.02) & (distance_to_surface(mesh.vertices) < 0.02)
    assert np.median(mesh.normals[floor, 2]) > 0.95
    low_x = mesh.vertices[:, 0] < 0.02
    assert np.median(mesh.normals[low_x, 0]) > 0.95


def test_colors_follow_the_surface(mesh: Reconstruction):
    cabinet = (mesh.vertices[:, 0] > 3.42) & (mesh.vertices[:, 0] < 3.48) & (np.abs(mesh.vertices[:, 1] - 2) < 0.3)
    cabinet &= (mesh.vertices[:, 2] > 0.3) & (mesh.vertices[:, 2] < 1.5)
    floor = (mesh.vertices[:, 2] < 0.02) & (mesh.vertices[:, 0] < 0.7)
    assert (mesh.colors[cabinet, 2] > mesh.colors[cabinet, 0]).mean() > 0.95  # blue
    assert (mesh.colors[floor, 2] < mesh.colors[floor, 0]).mean() > 0.95  # brown


def test_a_flat_wall_is_found_to_a_millimetre(tmp_path: Path):
    mesh = reconstruct([flat_view(tmp_path, np.full((40, 40), 2000))], voxel=0.05)
    assert np.abs(mesh.vertices[:, 2] - 2.0).max() < 1e-3
    assert np.median(mesh.normals[:, 2]) < -0.99
    np.testing.assert_allclose(
        mesh.colors, np.broadcast_to(np.array([200, 100, 50]) / 255, mesh.colors.shape), atol=1e-6
    )


def test_fusing_one_view_equals_a_slow_loop(rng: np.random.Generator):
    depth = rng.uniform(0.8, 1.6, (6, 7)).astype(np.float32)
    depth[0] = 0
    image = rng.integers(0, 255, (6, 7, 3)).astype(np.uint8)
    matrix = np.array([[8.0, 0, 3], [0, 8.0, 2.5], [0, 0, 1]])
    start, step, truncation = np.array([-0.4, -0.35, 0.5]), np.eye(3) * 0.1, 0.25
    shape = (8, 8, 14)
    volume = (np.ones(shape, "f4"), np.zeros(shape, "f4"), np.zeros((*shape, 3), "f4"), np.zeros(shape, "f4"))
    for _ in range(2):  # the second pass tests the weighted mean
        _fuse_view(*volume, start, step, matrix, depth, image, truncation)
    for index in np.ndindex(shape):
        x, y, z = start + 0.1 * np.array(index)
        col, row = int(np.floor(8 * x / z + 3 + 0.5)), int(np.floor(8 * y / z + 2.5 + 0.5))
        seen = 0 <= row < 6 and 0 <= col < 7 and depth[row, col] > 0 and depth[row, col] - z >= -truncation
        assert (volume[1][index] > 0) == seen
        if seen:
            ahead = depth[row, col] - z
            assert volume[0][index] == pytest.approx(min(1, ahead / truncation), abs=1e-5)
            assert volume[1][index] == pytest.approx(2 / max(depth[row, col] ** 2, 0.25), rel=1e-5)
            expected = image[row, col] if ahead < truncation else (0, 0, 0)
            np.testing.assert_allclose(volume[2][index], expected, rtol=1e-5)


def test_lost_poses_are_skipped_with_one_warning(views: list[View], mesh: Reconstruction):
    lost = [dataclasses.replace(views[0], cam_to_world=np.full((4, 4), bad)) for bad in (np.nan, -np.inf)]
    with pytest.warns(UserWarning, match=r"2 of 26 frames skipped") as record:
        again = reconstruct([lost[0], *views, lost[1]], voxel=VOXEL)
    assert len(record) == 1
    for before, after in zip(mesh, again, strict=True):
        assert np.array_equal(before, after)


def test_no_reading_is_0_or_65535_or_too_far(tmp_path: Path):
    depth = np.full((40, 40), 2000)
    found = []
    for name, value in (("zero", 0), ("full", 65535), ("far", 9000)):
        depth[:, :15] = value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found.append(reconstruct([flat_view(tmp_path, depth, name=name)], voxel=0.05))
    assert np.array_equal(found[0].vertices, found[1].vertices)
    assert np.array_equal(found[0].vertices, found[2].vertices)
    assert found[0].vertices[:, 0].min() > -0.2


def test_small_fragments_are_removed(tmp_path: Path):
    depth = np.full((60, 60), 2000)
    depth[20:40, 20:40] = 0
    depth[28:32, 28:32] = 1000  # a floating patch of a few centimetres
    view = flat_view(tmp_path, depth)
    everything = reconstruct([view], voxel=0.04, min_fragment=1)
    clean = reconstruct([view], voxel=0.04, min_fragment=60)
    assert (everything.vertices[:, 2] < 1.5).any()
    assert not (clean.vertices[:, 2] < 1.5).any()
    kept = {tuple(vertex) for vertex in everything.vertices.tolist()}
    assert all(tuple(vertex) in kept for vertex in clean.vertices.tolist())
    assert len(clean.vertices) > 0.99 * (everything.vertices[:, 2] > 1.5).sum()


def test_too_large_a_volume_names_a_voxel_that_fits(views: list[View]):
    with pytest.raises(InputError, match=r"use a voxel of at least [\d.]+ m") as error:
        reconstruct(views, voxel=0.01, memory_limit=5e6)
    voxel = float(str(error.value).split("at least ")[1].split(" m")[0])
    assert len(reconstruct(views, voxel=voxel, memory_limit=5e6, min_fragment=1).vertices)


def test_bad_arguments(views: list[View], tmp_path: Path):
    with pytest.raises(InputError, match=r"voxel"):
        reconstruct(views, voxel=0.0)
    with pytest.raises(InputError, match=r"none among 0"):
        reconstruct([], voxel=VOXEL)
    with pytest.raises(InputError, match=r"no depth reading|no view holds a depth reading"):
        reconstruct([flat_view(tmp_path, np.zeros((40, 40)))], voxel=VOXEL)
    with pytest.raises(InputError, match=r"at least 1000000 vertices"):
        reconstruct(views, voxel=VOXEL, min_fragment=1_000_000)
