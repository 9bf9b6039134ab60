"""The fast paths of the generators against the plain formulations that they replace: equal to the last bit."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement
from scipy.ndimage import maximum_filter, minimum_filter

from geoguide.datasets.reconstruct import _seen_of_column
from geoguide.scene import HeldView, View
from geoguide.worlds import camera
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.casting import pixel_rays
from geoguide.worlds.houses.official import _region_ply
from geoguide.worlds.layout import RoomLayout
from geoguide.worlds.placement import Furnisher
from geoguide.worlds.rooms.official import _write_matrix
from geoguide.worlds.streets import scan

RNG = np.random.default_rng(0)
CONFIG = SensorConfig(image_size=(24, 32), focal=29.0)


def test_axes_of_directions():
    """The cross product that defines them, one direction after the other."""
    yaw, pitch = RNG.uniform(-20, 20, 500), RNG.uniform(-1.5, 1.5, 500)
    for axes, a, b in zip(camera.directions(yaw, pitch), yaw, pitch, strict=True):
        forward = np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)])
        right = np.array([np.sin(a), -np.cos(a), 0.0])
        np.testing.assert_array_equal(axes, np.stack([right, np.cross(forward, right), forward], axis=1))


def test_shades_a_room():
    """The expressions in numpy, array by array."""
    count, faces = 24 * 32, 40
    rays = (
        pixel_rays(CONFIG.intrinsics, CONFIG.image_size).reshape(-1, 3) @ camera.look(np.ones(3), 0.4, -0.3)[:3, :3].T
    )
    face, depth = RNG.integers(-1, faces, count), RNG.uniform(0.2, 7, count).astype(np.float32)
    normal = RNG.standard_normal((count, 3)).astype(np.float32)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    lamp, eye, colors = normal @ camera.LAMP, np.array([1.0, 2, 1.5]), RNG.integers(0, 256, (faces, 3)).astype(np.uint8)
    noise, hit = RNG.normal(0, 4, (count, 3)), face >= 0
    cosine = np.abs((normal * rays).sum(axis=1)) / np.linalg.norm(rays, axis=1)
    light = 0.5 + 0.3 * np.abs(lamp) + 0.2 * cosine
    color = np.clip(np.rint(colors[face] * (1.1 * light)[:, None] + noise), 0, 255)
    surface = np.where(hit[:, None], eye + depth[:, None] * rays, np.nan).astype(np.float32)
    found = camera._shade(face, depth, rays, eye, normal, lamp, colors, 1.1, noise)
    np.testing.assert_array_equal(found[0], np.where(hit[:, None], color, 0).astype(np.uint8))
    np.testing.assert_array_equal(found[1], np.where(hit, cosine, 0))
    np.testing.assert_array_equal(found[2], surface)
    assert (depth[~hit] == 0).all() and (depth[hit] > 0).all()


@pytest.mark.parametrize("shape", [(24, 32), (1, 1), (1, 5), (7, 2)])
def test_edges_of_depth(shape):
    depth = np.where(RNG.random(shape) < 0.2, 0, RNG.uniform(1, 1.2, shape)).astype(np.float32)
    jump = maximum_filter(depth, 3) - minimum_filter(depth, 3) > 0.06 * np.maximum(depth, 1e-6)
    np.testing.assert_array_equal(camera._edges(depth, np.float32(0.06)), jump)


def test_shades_a_street():
    count = 300
    number, colors = RNG.integers(-1, 3, count), RNG.integers(0, 256, (count, 3)).astype(np.uint8)
    sun, rays, noise = RNG.uniform(-1, 1, count), RNG.standard_normal((count, 3)), RNG.normal(0, 4, (count, 3))
    haze = np.exp(-RNG.uniform(0, 80, count).astype(np.float32) / 250)
    up = np.clip(rays[:, 2:] / np.linalg.norm(rays, axis=1, keepdims=True), 0, 1)
    sky = np.array([215.0, 222, 230]) * (1 - up) + np.array([130.0, 165, 215]) * up
    light, share = (0.55 + 0.45 * np.abs(sun))[:, None], haze[:, None]
    color = np.where((number >= 0)[:, None], share * colors * light + (1 - share) * sky, sky)
    expected = np.clip(np.rint(color + noise), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(scan._shade(number, colors, sun, haze, rays, noise), expected)


def test_column_of_voxels_that_a_view_sees():
    """All voxels whose centre falls on a pixel, not too deep, are in the range; and it is hardly longer."""
    lens, size, far, count, spare = (29.0, 29.0, 15.5, 11.5), (24, 32), 4.0, 60, 0
    for _ in range(500):
        base, step = tuple(RNG.uniform(-2, 3, 3)), np.zeros((3, 3))
        step[:, 2] = RNG.standard_normal(3) * RNG.choice([0.0, 0.05, 0.05], 3)
        x, y, z = (base[axis] + np.arange(count) * step[axis, 2] for axis in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]
        seen = np.flatnonzero((z > 0.05) & (z < far) & (u >= -0.5) & (v >= -0.5) & (u < 31.5) & (v < 23.5))
        first, last = _seen_of_column(base, step, lens, size, far, count)
        assert first >= 0 and last <= count
        if len(seen):
            assert first <= seen[0] and seen[-1] < last
            spare += last - first - len(seen)
    assert spare < 500 * 6


def test_region_file_as_plyfile_writes_it():
    vertices, colors = RNG.standard_normal((9, 3)).astype(np.float32), RNG.integers(0, 256, (9, 3)).astype(np.uint8)
    faces, segment, category = RNG.integers(0, 9, (5, 3)), RNG.integers(0, 3, 5), RNG.integers(-1, 160, 5)
    vertex = np.zeros(9, [(a, "<f4") for a in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")])
    for number, (axis, channel) in enumerate(zip("xyz", ("red", "green", "blue"), strict=True)):
        vertex[axis], vertex[channel] = vertices[:, number], colors[:, number]
    names = ("material_id", "segment_id", "category_id")
    face = np.zeros(5, [("vertex_indices", "<i4", (3,)), *((name, "<i4") for name in names)])
    face["vertex_indices"], face["segment_id"], face["category_id"] = faces, segment, category
    stream = io.BytesIO()
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    PlyData(elements, byte_order="<").write(stream)
    assert _region_ply(vertices, colors, faces, segment, category) == stream.getvalue()


def test_matrix_as_numpy_writes_and_reads_it(tmp_path):
    matrix = np.vstack([RNG.standard_normal((3, 4)) * 10.0 ** RNG.integers(-8, 4, (3, 4)), [-0.0, 0, 1e-7, 1]])
    found = _write_matrix(tmp_path / "ours.txt", matrix)
    np.savetxt(tmp_path / "numpy.txt", matrix, fmt="%.6f")
    assert (tmp_path / "ours.txt").read_bytes() == (tmp_path / "numpy.txt").read_bytes()
    np.testing.assert_array_equal(found, np.loadtxt(tmp_path / "numpy.txt"))


def test_depth_that_was_just_written(tmp_path):
    pixels = RNG.integers(0, 65536, (24, 32)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    fields = ("0", CONFIG.intrinsics, np.eye(4), CONFIG.image_size, None, tmp_path / "0.png", 4000)
    np.testing.assert_array_equal(HeldView(*fields, held={"depth": pixels}).depth(), View(*fields).depth())


def test_draws_walls_as_choice():
    layout = RoomLayout((4.0, 3.1, 2.5), [(0.0, 0.0, 1.3, 0.7)])
    ours, plain = Furnisher(layout, np.random.default_rng(3)), np.random.default_rng(3)
    lengths = np.array([wall.length for wall in layout.walls])
    for _ in range(300):
        assert ours.random_wall() is layout.walls[int(plain.choice(len(lengths), p=lengths / lengths.sum()))]


def test_generators_start_without_torch():
    """A worker imports no more than it needs: torch alone would be two thirds of its start."""
    makers = ", ".join(f"geoguide.worlds.{world}.make" for world in ("rooms", "houses", "streets"))
    command = f"import sys, {makers}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
