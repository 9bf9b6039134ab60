"""Superpoints against a slow union-find, ScanNet's Segmentator on a real mesh, and hand cases."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plyfile import PlyData

from geoguide.errors import InputError
from geoguide.superpoints import _order, estimate_normals, segment_mesh, segment_points, superpoint_purity

FLOAT = np.float32


def slow_normals(vertices, faces):
    normals = [np.zeros(3, FLOAT) for _ in vertices]
    counts = [0] * len(vertices)
    for face in faces:
        a, b, c = (vertices[i] for i in face)
        u, v = b - a, c - a
        n = np.array([u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]], FLOAT)
        length = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2])
        if length == 0:
            continue
        for i in face:
            new = FLOAT(1) / FLOAT(counts[i] + 1)
            normals[i] = new * (n / length) + (FLOAT(1) - new) * normals[i]
            counts[i] += 1
    return normals


def slow_segments(vertices, faces, k, min_size):
    """Segment with sets of vertices in place of trees and ranks; float32 scalars throughout."""
    vertices = vertices.astype(FLOAT)
    normals, edges = slow_normals(vertices, faces), []
    for x, y, z in faces:
        for a, b in ((x, y), (x, z), (z, y)):
            d = vertices[b] - vertices[a]
            d = d / np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            m, n = normals[a], normals[b]
            w = FLOAT(1) - (m[0] * n[0] + m[1] * n[1] + m[2] * n[2])
            edges.append((w * w if n[0] * d[0] + n[1] * d[1] + n[2] * d[2] > 0 else w, a, b))
    edges.sort(key=lambda edge: edge[0])
    member = {i: frozenset([i]) for i in range(len(vertices))}
    threshold = {member[i]: FLOAT(k) for i in member}

    def merge(a, b):
        both = member[a] | member[b]
        member.update(dict.fromkeys(both, both))
        return both

    for w, a, b in edges:
        if member[a] is not member[b] and w <= threshold[member[a]] and w <= threshold[member[b]]:
            both = merge(a, b)
            threshold[both] = w + FLOAT(k) / FLOAT(len(both))
    for _, a, b in edges:
        if member[a] is not member[b] and min(len(member[a]), len(member[b])) < min_size:
            merge(a, b)
    names = {}
    return np.array([names.setdefault(member[i], len(names)) for i in range(len(vertices))])


def sheet(rng, side, roughness):
    """A folded, rough sheet of side x side vertices."""
    x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    z = np.abs(x - side / 2) + np.where(y > side / 3, 0.7 * y, 0.0) + rng.normal(0, roughness, (side, side))
    vertices = np.stack([x, y, z], axis=-1).reshape(-1, 3) * 0.05
    a = (x * side + y)[:-1, :-1].reshape(-1)
    faces = np.concatenate([np.stack([a, a + 1, a + side], 1), np.stack([a + 1, a + side + 1, a + side], 1)])
    return vertices, rng.permutation(faces)


def cube(points_per_edge=12):
    """Outer surface of a unit cube: points, outward normals, side of each point (edges belong to one side)."""
    line = (np.arange(points_per_edge) + 0.5) / points_per_edge
    u, v = (part.reshape(-1) for part in np.meshgrid(line, line))
    points, normals, sides = [], [], []
    for axis in range(3):
        for end in (0.0, 1.0):
            normal = np.zeros(3)
            normal[axis] = 2 * end - 1
            points.append(np.insert(np.stack([u, v], 1), axis, end, axis=1))
            normals.append(np.tile(normal, (len(u), 1)))
            sides.append(np.full(len(u), len(sides)))
    return np.concatenate(points), np.concatenate(normals), np.concatenate(sides)


def same_partition(a, b):
    pairs = len(set(zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True)))
    return pairs == len(np.unique(a)) == len(np.unique(b))


@pytest.fixture(scope="module")
def mesh(golden):
    data = PlyData.read(golden / "superpoints/mesh.ply", known_list_len={"face": {"vertex_indices": 3}})
    return np.stack([data["vertex"][axis] for axis in "xyz"], axis=1), np.stack(data["face"]["vertex_indices"])


@pytest.mark.parametrize(("k", "min_size"), [(0.01, 20), (0.05, 50), (0.002, 5)])
def test_golden_partition(golden, mesh, k, min_size):
    found = segment_mesh(*mesh, k=k, min_size=min_size)
    assert same_partition(found, np.load(golden / "superpoints/D_segments.npz")[f"segIndices_k{k}_m{min_size}"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.002, 0.05, 1.0]), st.integers(0, 30))
def test_mesh_equals_slow_segments(seed, k, min_size):
    rng = np.random.default_rng(seed)
    vertices, faces = sheet(rng, int(rng.integers(2, 10)), float(rng.choice([0.0, 0.1, 0.5])))
    found = segment_mesh(vertices, faces, k=k, min_size=min_size)
    np.testing.assert_array_equal(found, slow_segments(vertices, faces, k, min_size))


def test_mesh_takes_tensors_and_any_dtype(rng):
    vertices, faces = sheet(rng, 9, 0.2)
    vertices = vertices.astype(np.float32)
    expected = segment_mesh(vertices, faces)
    assert expected.dtype == np.int64
    for given_ in (
        (vertices.astype(np.float64), faces.astype(np.int32)),
        (torch.tensor(vertices), torch.tensor(faces)),
    ):
        np.testing.assert_array_equal(segment_mesh(*given_), expected)
    np.testing.assert_array_equal(segment_mesh(vertices[::-1][::-1], faces.astype(np.uint16)), expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-2, 4, width=32) | st.sampled_from([0.0, -0.0, 1e-45, 1.0]), max_size=300))
def test_order_equals_numpy_stable_argsort(weights):
    weights = np.array(weights, FLOAT)
    np.testing.assert_array_equal(_order(weights), np.argsort(weights, kind="stable"))


def test_ids_appear_in_order(rng):
    found = segment_mesh(*sheet(rng, 20, 0.3), k=0.001, min_size=4)
    _, first = np.unique(found, return_index=True)
    assert len(first) > 3 and (np.diff(first) > 0).all() and found[0] == 0 and found.max() == len(first) - 1


def test_vertices_without_faces_and_degenerate_faces():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5], [0, 0, 0]], np.float64)
    np.testing.assert_array_equal(segment_mesh(vertices, np.array([[0, 1, 2]])), [0, 0, 0, 1, 2])
    np.testing.assert_array_equal(segment_mesh(vertices, np.zeros((0, 3), int)), np.arange(5))
    np.testing.assert_array_equal(segment_mesh(vertices, np.array([[0, 1, 2], [0, 4, 0]])), [0, 0, 0, 1, 0])


def test_mesh_inputs_are_not_written_to(rng):
    vertices, faces = sheet(rng, 8, 0.2)
    copies = vertices.copy(), faces.copy()
    segment_mesh(vertices, faces)
    np.testing.assert_array_equal(vertices, copies[0])
    np.testing.assert_array_equal(faces, copies[1])


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3), int), "vertices is empty"),
        (np.zeros((4, 2)), np.zeros((1, 3), int), r"vertices must be \[P, 3\]"),
        (np.array([[0, 0, math.nan]]), np.zeros((1, 3), int), "vertices holds nan or inf in 1 of 1 rows"),
        (np.full((3, 3), 1e300), np.zeros((1, 3), int), "float32"),
        (np.zeros((4, 3)), np.zeros((1, 4), int), r"faces must be \[F, 3\]"),
        (np.zeros((4, 3)), np.zeros((1, 3)), "faces must hold integers"),
        (np.zeros((4, 3)), np.array([[0, 1, 4]]), r"faces must name vertices 0..3, found 0..4"),
        (np.zeros((4, 3)), np.array([[0, 1, -1]]), "faces must name vertices 0..3, found -1..1"),
    ],
)
def test_mesh_refuses(vertices, faces, message):
    with pytest.raises(InputError, match=message):
        segment_mesh(vertices, faces)


@pytest.mark.parametrize("option", [{"k": -1}, {"k": math.nan}, {"min_size": -1}, {"min_size": 2.5}])
def test_mesh_refuses_options(option):
    with pytest.raises(InputError, match=next(iter(option))):
        segment_mesh(np.eye(3), np.array([[0, 1, 2]]), **option)


# ---------------------------------------------------------------- points


def test_points_split_a_cube_along_its_creases():
    points, normals, sides = cube()
    for given_ in (None, -normals):  # inward normals: a room's walls seen from inside, concave
        found = segment_points(points, given_, neighbors=4, k=0.001, min_size=1)
        assert superpoint_purity(found, sides) > 0.9
    assert same_partition(segment_points(points, -3 * normals, neighbors=4, k=0.001, min_size=1), sides)


def test_points_convexity_weakens_a_fold():
    """Two planes meeting at 30 degrees: one superpoint from outside (convex), two from inside (concave).

    Each plane of 400 points has the threshold k / 400 = 0.05; the fold weighs 0.134 where concave, 0.018 where convex.
    """
    x, y = (part.reshape(-1) for part in np.meshgrid(np.linspace(-1, 1, 40), np.linspace(0, 1, 20)))
    tilt = np.tan(np.pi / 12)
    points = np.stack([x, y, -tilt * np.abs(x)], axis=1)
    normals = np.stack([tilt * np.sign(x), np.zeros_like(x), np.ones_like(x)], axis=1)
    counts = [segment_points(points, side * normals, k=20, min_size=1).max() + 1 for side in (1, -1)]
    assert counts == [1, 2]


def test_points_do_not_depend_on_order(rng):
    points, normals, _ = cube(9)
    points = points + rng.normal(0, 0.01, points.shape)
    order = rng.permutation(len(points))
    for given_ in (None, normals + rng.normal(0, 0.1, normals.shape)):
        found = segment_points(points, given_, k=0.02, min_size=5)
        permuted = segment_points(points[order], None if given_ is None else given_[order], k=0.02, min_size=5)
        assert found.max() > 1 and same_partition(permuted, found[order])


def test_points_min_size_and_max_distance():
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(6), [0]), -1).reshape(-1, 3) * 0.1
    points = np.concatenate([grid, grid[:3] + np.array([0, 0, 5.0])])
    assert np.bincount(segment_points(points, min_size=10)).min() >= 10
    apart = segment_points(points, min_size=10, max_distance=1.0)
    np.testing.assert_array_equal(apart, [0] * 36 + [1] * 3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_or_equal_points(count):
    assert segment_points(np.zeros((count, 3)), min_size=1).shape == (count,)
    assert set(segment_points(np.ones((200 * count, 3))).tolist()) <= set(range(200 * count))
    lengths = np.linalg.norm(estimate_normals(np.zeros((count, 3))), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-6)


def test_normals_of_a_noisy_plane(rng):
    normal = np.array([0.6, 0.0, 0.8])
    axes = np.linalg.svd(normal[None])[2][1:]
    points = rng.uniform(-1, 1, (500, 2)) @ axes + rng.normal(0, 0.001, (500, 1)) * normal
    found = estimate_normals(points, 20)
    assert found.dtype == np.float32 and (found @ normal).min() > 0.98
    torch.testing.assert_close(torch.tensor(estimate_normals(torch.tensor(points), 20)), torch.tensor(found))


def test_real_scan_has_flat_superpoints(recordings):
    points = np.fromfile(recordings / "scannet_scan/scene0000_00.bin", np.float32).reshape(-1, 6)[:, :3]
    found = segment_points(points)
    assert 200 < found.max() + 1 < 1500 and np.bincount(found).min() >= 20


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros((0, 3)), {}, "points is empty"),
        (np.array([[0, 0, math.inf]]), {}, "points holds nan or inf"),
        (np.zeros(3), {}, r"points must be \[P, 3\]"),
        (np.eye(3), {"normals": np.eye(3)[:2]}, r"normals must be \[3, 3\]"),
        (np.eye(3), {"normals": np.full((3, 3), math.nan)}, "normals holds nan"),
        (np.eye(3), {"neighbors": 0}, "neighbors must be"),
        (np.eye(3), {"max_distance": -1.0}, "max_distance must be"),
        (np.eye(3), {"k": -0.1}, "k must be"),
    ],
)
def test_points_refuse(points, options, message):
    with pytest.raises(InputError, match=message):
        segment_points(points, **options)


# ---------------------------------------------------------------- purity


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 2, 255])), min_size=1, max_size=40))
def test_purity_equals_slow_count(rows):
    superpoints, labels = (np.array(part) for part in zip(*rows, strict=True))
    right = total = 0
    for segment in set(superpoints.tolist()):
        inside = [label for one, label in rows if one == segment and label != 255]
        right += max(map(inside.count, inside), default=0)
        total += len(inside)
    expected = right / total if total else math.nan
    np.testing.assert_allclose(superpoint_purity(superpoints, labels), expected)


def test_purity_tells_large_ids_apart():
    assert superpoint_purity(np.array([2**60, 2**60 + 1], np.uint64), np.array([1, 2])) == 1


def test_purity_refuses():
    with pytest.raises(InputError, match=r"superpoints and labels must be \[P\], found \[3\], \[2\]"):
        superpoint_purity(np.zeros(3, int), np.zeros(2, int))
    with pytest.raises(InputError, match="labels must hold integers"):
        superpoint_purity(np.zeros(3, int), np.zeros(3))
