"""Lifting against a slow loop, OpenScene's mapper on real frames, and hand cases."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geoguide.errors import InputError
from geoguide.lifting import Fusion, fuse, project
from geoguide.ops.pixel_rows import PixelRows
from geoguide.ops.projection import Camera, project_points
from geoguide.scene import View

K = np.array([[60.0, 0, 31.5], [0, 55.0, 23.5], [0, 0, 1]])
SIZE = (48, 64)


def loop(points, intrinsics, pose, size, depth=None, tolerance=0.25, border=10):
    """The rule, one point at a time in Python floats."""
    inverse = np.linalg.inv(np.asarray(pose, np.float64)).tolist()
    result = np.zeros((len(points), 3), np.int64)
    for i, point in enumerate(np.asarray(points, np.float64).tolist()):
        x, y, z = (sum(a * b for a, b in zip(row[:3], point, strict=True)) + row[3] for row in inverse[:3])
        if z <= 0:
            continue
        col = round(x * intrinsics[0][0] / z + intrinsics[0][2])
        row = round(y * intrinsics[1][1] / z + intrinsics[1][2])
        if not (border <= col < size[1] - border and border <= row < size[0] - border):
            continue
        if depth is not None:
            d = float(depth[row][col])
            if d == 0 or abs(d - z) > tolerance * d:
                continue
        result[i] = row, col, 1
    return result


def stacked(projection):
    return np.stack([np.asarray(part) for part in (projection.row, projection.col, projection.visible)], axis=1)


def random_pose(rng):
    """A camera-to-world pose that is, like real ones, not exactly orthonormal."""
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3, :3] = rotation * np.sign(np.linalg.det(rotation)) + rng.normal(0, 1e-4, (3, 3))
    pose[:3, 3] = rng.normal(size=3)
    return pose


def cloud(rng, pose, count=400):
    """Points around and behind the camera, in world coordinates."""
    local = rng.uniform([-3, -3, -1], [3, 3, 5], (count, 3))
    return local @ pose[:3, :3].T + pose[:3, 3]


def view(name="a", pose=None, depth=None, size=SIZE, intrinsics=K):
    pose = np.eye(4) if pose is None else pose
    depth = np.full(size, 2.0, np.float32) if depth is None else depth
    return SimpleNamespace(name=name, intrinsics=intrinsics, cam_to_world=pose, image_size=size, depth=lambda: depth)


@pytest.mark.parametrize("border", [0, 3, 10])
@pytest.mark.parametrize("tolerance", [None, 0.0, 0.02, 0.25])
def test_project_equals_loop(rng, border, tolerance):
    for size in ((48, 64), (64, 31)):
        pose = random_pose(rng)
        points = cloud(rng, pose)
        depth = None if tolerance is None else np.where(rng.random(size) < 0.2, 0, rng.uniform(0.5, 4, size))
        found = project(points, K, pose, size, depth=depth, depth_tolerance=tolerance or 0.0, border=border)
        assert found.row.dtype == found.col.dtype == np.int64 and found.visible.dtype == np.bool_
        np.testing.assert_array_equal(stacked(found), loop(points, K, pose, size, depth, tolerance or 0.0, border))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.floats(0, 1), st.booleans())
def test_project_equals_loop_property(seed, border, tolerance, with_depth):
    rng = np.random.default_rng(seed)
    pose = random_pose(rng)
    points, size = cloud(rng, pose, 60).astype(np.float32), tuple(int(n) for n in rng.integers(1, 60, 2))
    depth = rng.uniform(0, 5, size).astype(np.float32) if with_depth else None
    found = project(points, K, pose, size, depth=depth, depth_tolerance=tolerance, border=border)
    np.testing.assert_array_equal(stacked(found), loop(points, K, pose, size, depth, tolerance, border))
    order = rng.permutation(len(points))
    permuted = project(points[order], K, pose, size, depth=depth, depth_tolerance=tolerance, border=border)
    np.testing.assert_array_equal(stacked(permuted), stacked(found)[order])


def test_halves_round_to_even_and_edges_of_the_image():
    intrinsics = np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 1]])
    columns = np.array([-0.5, -0.51, 0.5, 1.5, 2.5, 6.5, 7.5, 7.49])  # in pixels, at depth 2
    points = np.stack([columns, np.ones(8), np.full(8, 2.0)], axis=1)
    found = project(points, intrinsics, np.eye(4), (5, 8), border=0)
    np.testing.assert_array_equal(found.visible, [1, 0, 1, 1, 1, 1, 0, 1])
    np.testing.assert_array_equal(found.col, [0, 0, 0, 2, 2, 6, 0, 7])


def test_no_warning_at_or_behind_the_camera():
    points = np.array([[0, 0, 0.0], [1, 0, 0], [0, 0, -1], [0, 0, 1e-300], [1, 1, 1e-300]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = project(points, K, np.eye(4), SIZE, border=0)
    np.testing.assert_array_equal(found.visible, [0, 0, 0, 1, 0])


def test_depth_without_reading_sees_nothing():
    points = np.tile([[0.0, 0, 2]], (1, 1))
    for reading in (0.0, -2.0, math.nan, math.inf):
        depth = np.full(SIZE, reading)
        assert not project(points, K, np.eye(4), SIZE, depth=depth, depth_tolerance=1.0).visible.any()


def test_empty_cloud_and_border_wider_than_the_image():
    assert project(np.zeros((0, 3)), K, np.eye(4), SIZE).visible.shape == (0,)
    assert not project(np.array([[0, 0, 2.0]]), K, np.eye(4), SIZE, border=40).visible.any()


def test_tensors_give_the_same_on_their_device(rng, device):
    pose = random_pose(rng)
    points, depth = cloud(rng, pose), rng.uniform(0, 4, SIZE)
    expected = stacked(project(points, K, pose, SIZE, depth=depth, border=2))
    found = project(torch.tensor(points, device=device), torch.tensor(K), torch.tensor(pose), SIZE,
                    depth=torch.tensor(depth), border=2)  # fmt: skip
    assert found.row.dtype == torch.int64 and found.visible.dtype == torch.bool and found.row.device.type == device.type
    for part, column in zip((found.row, found.col, found.visible), expected.T, strict=True):
        np.testing.assert_array_equal(part.cpu().numpy(), column)


def test_torch_path_equals_compiled_path(rng, device):
    pose = random_pose(rng)
    points, depth = cloud(rng, pose, 5000), rng.uniform(0, 4, SIZE).astype(np.float32)
    camera = Camera(np.linalg.inv(pose)[:3], (60.0, 55.0, 31.5, 23.5), SIZE)
    for used in (None, depth):
        compiled = project_points(points, camera, used, 0.1, 2)
        tensors = (torch.tensor(points, device=device), None if used is None else torch.tensor(used, device=device))
        for a, b in zip(compiled, project_points(tensors[0], camera, tensors[1], 0.1, 2), strict=True):
            np.testing.assert_array_equal(a, b.cpu().numpy())


def test_inputs_are_not_written_to(rng):
    pose = random_pose(rng)
    arrays = [cloud(rng, pose), K.copy(), pose, rng.uniform(0, 4, SIZE)]
    before = [array.copy() for array in arrays]
    project(*arrays[:3], SIZE, depth=arrays[3])
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


# ---------------------------------------------------------------- goldens


def test_golden_real_frames(golden):
    data = np.load(golden / "lifting/A_projection.npz")
    intrinsics, scale, count = data["intrinsic"][:3, :3], data["depth_scale"], len(data["points"])
    for i, pose in enumerate(data["poses_cam2world"]):
        depth = data["depth_u16"][i] / scale
        for points in (data["points"], data["points"].astype(np.float64)):
            found = project(points, intrinsics, pose, (480, 640), depth=depth)
            for name in ("row", "col"):
                np.testing.assert_array_equal(getattr(found, name), data[f"mapping_{name}"][i])
            np.testing.assert_array_equal(found.visible, data["mapping_mask"][i])
        strict = project(points, intrinsics, pose, (480, 640), depth=depth, depth_tolerance=0.05, border=0)
        blind = project(points, intrinsics, pose, (480, 640))
        for found, key in ((strict, "mask_thr0p05_cut0_bits"), (blind, "mask_nodepth_cut10_bits")):
            np.testing.assert_array_equal(found.visible, np.unpackbits(data[key][i])[:count])


def test_golden_edge_points(golden):
    data = np.load(golden / "lifting/A_edge.npz")
    intrinsics, size = data["intrinsic"][:3, :3], tuple(data["image_wh"][::-1])
    settings_ = [(cut, thr, on) for cut in (0, 10) for thr in (0.25, 0.0) for on in (0, 1)]
    for cut, threshold, on in settings_:
        rule = {"depth": data["depth_m"] if on else None, "depth_tolerance": threshold, "border": cut}
        found = project(data["points"], intrinsics, np.eye(4), size, **rule)
        np.testing.assert_array_equal(stacked(found), data[f"map_cut{cut}_thr{threshold}_depth{on}"])
    found = project(data["points_world_rot"], intrinsics, data["pose_rot"], size, depth=data["depth_m"], border=0)
    np.testing.assert_array_equal(stacked(found), data["map_rot"])


def test_golden_fusion(golden, tmp_path):
    data, expected = np.load(golden / "lifting/A_projection.npz"), np.load(golden / "lifting/A_fusion.npz")
    with Image.open(golden / "lifting/A_color.png") as image:
        colors = np.asarray(image).reshape(12, 480, 640, 3)
    views = []
    for i, pose in enumerate(data["poses_cam2world"]):
        path = tmp_path / f"{i}.png"
        Image.fromarray(data["depth_u16"][i]).save(path, compress_level=1)
        views.append(View(str(i), data["intrinsic"][:3, :3], pose, (480, 640), depth_path=path))
    rows, columns = np.mgrid[:480, :640].astype(np.float32)
    maps = (np.dstack([color.astype(np.float32), columns, rows]) for color in colors)
    mean, count = fuse(data["points"], views, maps)
    np.testing.assert_array_equal(count, expected["visibility_count"])
    np.testing.assert_allclose(mean, expected["fused_feat"], rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- fusion


def slow_fusion(points, views, maps, border):
    total, count = np.zeros((len(points), maps[0].shape[2])), np.zeros(len(points), np.int64)
    for one, feature in zip(views, maps, strict=True):
        found = loop(points, K, one.cam_to_world, SIZE, one.depth(), 0.25, border)
        for i in np.flatnonzero(found[:, 2]):
            total[i] += feature[found[i, 0], found[i, 1]]
            count[i] += 1
    return total / np.maximum(count, 1)[:, None], count


@pytest.fixture
def world(rng):
    """Points, four views that see many of them, and their maps."""
    points = rng.uniform([-1, -1, 1.5], [1, 1, 2.5], (300, 3))
    poses = [np.eye(4) + np.vstack([rng.normal(0, 0.05, (3, 4)), np.zeros(4)]) for _ in range(4)]
    for pose in poses:
        left, _, right = np.linalg.svd(pose[:3, :3])
        pose[:3, :3] = left @ right  # the nearest rotation
    views = [view(f"f{i}", pose, rng.uniform(1, 3, SIZE).astype(np.float32)) for i, pose in enumerate(poses)]
    return points, views, [rng.normal(size=(*SIZE, 6)).astype(np.float32) for _ in views]


def test_fuse_equals_slow_loop(world):
    points, views, maps = world
    expected, seen = slow_fusion(points, views, maps, 3)
    result = fuse(points, views, iter(maps), border=3)
    assert isinstance(result, Fusion) and result.mean.dtype == np.float32 and result.count.dtype == np.int64
    assert 0 < (seen == 0).sum() < len(points)
    np.testing.assert_array_equal(result.count, seen)
    np.testing.assert_allclose(result.mean, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["function", "double", "half", "permuted", "tensor", "tensor points", "bfloat16"])
def test_fuse_takes_every_kind_of_map(world, kind, device):
    points, views, maps = world
    expected, seen = slow_fusion(points, views, maps, 3)
    by_name = {one.name: feature for one, feature in zip(views, maps, strict=True)}
    given_ = {
        "function": lambda one: by_name[one.name],
        "double": [feature.astype(np.float64) for feature in maps],
        "half": [feature.astype(np.float16) for feature in maps],
        "permuted": [np.ascontiguousarray(feature.transpose(2, 0, 1)).transpose(1, 2, 0) for feature in maps],
        "tensor": [torch.tensor(feature, device=device, requires_grad=True) for feature in maps],
        "tensor points": maps,
        "bfloat16": [torch.tensor(feature, dtype=torch.bfloat16) for feature in maps],
    }[kind]
    points = torch.tensor(points, device=device) if kind == "tensor points" else points
    mean, count = fuse(points, views, given_, border=3)
    if kind == "tensor points":
        assert mean.device.type == device.type and mean.dtype == torch.float32 and count.dtype == torch.int64
        mean, count = mean.cpu().numpy(), count.cpu().numpy()
    np.testing.assert_array_equal(count, seen)
    np.testing.assert_allclose(mean, expected, atol=0.05 if kind == "bfloat16" else 5e-3 if kind == "half" else 1e-5)


@pytest.mark.parametrize("tensor", [False, True])
def test_fuse_makes_the_pixels_alone_that_see_a_point(world, tensor, device):
    points, views, maps = world
    expected, seen = slow_fusion(points, views, maps, 3)
    asked = []

    def made(feature):
        def make(pixels):
            asked.append(pixels)
            return feature.reshape(-1, 6)[pixels]

        return PixelRows(feature.shape, make)

    given_ = [made(feature) for feature in maps]
    np.testing.assert_array_equal(given_[0].whole(), maps[0])
    asked.clear()
    mean, count = fuse(torch.tensor(points, device=device) if tensor else points, views, given_, border=3)
    np.testing.assert_array_equal(np.asarray(count.cpu() if tensor else count), seen)
    np.testing.assert_allclose(np.asarray(mean.cpu() if tensor else mean), expected, atol=1e-5)
    for one, pixels in zip(views, asked, strict=True):
        rule = loop(points, one.intrinsics, one.cam_to_world, SIZE, one.depth(), border=3)
        rule = rule[rule[:, 2] == 1]
        np.testing.assert_array_equal(pixels, np.unique(rule[:, 0] * SIZE[1] + rule[:, 1]))
    wrong = [PixelRows((*SIZE[::-1], 6), lambda pixels: np.zeros((len(pixels), 6), np.float32))] * len(views)
    with pytest.raises(InputError, match="feature map must be"):
        fuse(points, views, wrong, border=3)


def test_fuse_streams_one_map_at_a_time(world):
    points, views, maps = world
    asked = []

    def stream():
        for i, feature in enumerate(maps):
            asked.append(i)
            yield feature
            assert len(asked) == i + 1

    fuse(points, (one for one in views), stream())
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_lost_poses_are_skipped_with_one_warning(world, bad):
    points, views, maps = world
    expected = fuse(points, [views[0], views[3]], [maps[0], maps[3]])
    for i in (1, 2):
        views[i].cam_to_world = np.full((4, 4), bad)
    called = []

    def function(one):
        called.append(one.name)
        return maps[int(one.name[1])]

    for features in (maps, function):
        with pytest.warns(UserWarning, match="2 of 4 views skipped.*: f1, f2") as caught:
            found = fuse(points, views, features)
        assert len(caught) == 1
        np.testing.assert_array_equal(found.count, expected.count)
        np.testing.assert_array_equal(found.mean, expected.mean)
    assert called == ["f0", "f3"]


def test_read_only_arrays(world):
    """Memory-mapped scenes are read-only."""
    points, views, maps = world
    expected = fuse(points, views, maps)
    for array in (points, *maps):
        array.flags.writeable = False
    np.testing.assert_array_equal(fuse(points, views, maps).mean, expected.mean)


def test_fuse_without_depth(world):
    points, views, maps = world
    for one in views:
        one.depth = None
    count = fuse(points, views, maps, use_depth=False).count
    expected = sum(loop(points, K, one.cam_to_world, SIZE)[:, 2] for one in views)
    np.testing.assert_array_equal(count, expected)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((5, 2))}, r"points must be \[P, 3\], found \[5, 2\]"),
        ({"points": np.array([[0, 0, 1], [0, math.nan, 1]])}, "points holds nan or inf in 1 of 2 rows"),
        ({"points": np.array([["a", "b", "c"]])}, "points must hold numbers"),
        ({"points": [[1, 2, 3], [1, 2]]}, "points must be an array of numbers"),
        ({"intrinsics": np.eye(4)}, r"intrinsics must be \[3, 3\], found \[4, 4\]"),
        ({"intrinsics": K.T}, "intrinsics must end with the row 0 0 1"),
        ({"intrinsics": K + np.array([[0, 2, 0], [0, 0, 0], [0, 0, 0]])}, "must have the rows fx 0 cx and 0 fy cy"),
        ({"cam_to_world": np.eye(3)}, r"cam_to_world must be \[4, 4\]"),
        ({"cam_to_world": np.full((4, 4), math.nan)}, "cam_to_world holds nan or inf"),
        ({"cam_to_world": np.zeros((4, 4))}, "singular"),
        ({"image_size": (48, 64, 3)}, "image_size must be"),
        ({"image_size": (0, 64)}, "image height must be"),
        ({"image_size": 48}, "image_size must be"),
        ({"depth": np.ones((64, 48))}, r"depth must be of image_size \[48, 64\], found \[64, 48\]"),
        ({"depth_tolerance": -0.1}, "depth_tolerance must be"),
        ({"depth_tolerance": math.nan}, "depth_tolerance must be"),
        ({"border": -1}, "border must be"),
        ({"border": 2.5}, "border must be a whole number"),
    ],
)
def test_project_refuses(change, message):
    arguments = {"points": np.zeros((5, 3)), "intrinsics": K, "cam_to_world": np.eye(4), "image_size": SIZE} | change
    with pytest.raises(InputError, match=message):
        project(**arguments)


def test_fuse_refuses(world):
    points, views, maps = world
    cases = [
        ((points, views, maps[:3]), "features ended after 3 maps, expected one for each of 4 views"),
        ((points, views, [*maps, maps[0]]), "features holds more maps than the 4 views"),
        ((points, views, [maps[0], maps[1][:-1], *maps[2:]]), r"view f1: feature map must be \[48, 64, C\]"),
        ((points, views, [maps[0], maps[1][..., :4], *maps[2:]]), "view f1: feature map has 4 channels.* 6"),
        ((points, views, lambda one: None), "view f0: feature map must"),
        ((points, [], []), "views is empty"),
        ((np.zeros((0, 3)), views, maps), "points is empty"),
        ((points + 100, views, maps), "no point is visible in any of 4 views"),
        ((points, [view("small", depth=np.ones((4, 4)))], maps[:1]), "view small: depth must be of image_size"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            fuse(*arguments)
    views[2].depth = None
    with pytest.raises(InputError, match="view f2: has no depth image"):
        fuse(points, views, maps)


def test_all_poses_lost_is_an_error(world):
    points, views, maps = world
    for one in views:
        one.cam_to_world = np.full((4, 4), math.inf)
    with pytest.warns(UserWarning, match="4 of 4"), pytest.raises(InputError, match="no point is visible"):
        fuse(points, views, maps)
