"""The devkit's and OpenScene's rules on a real key frame, and the z-buffer of a cloud against a slow one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide.datasets.formats.cameras import resize_intrinsics
from geoguide.datasets.nuscenes import load_key_frame
from geoguide.errors import InputError
from geoguide.lifting import fuse, project, splat_depth
from geoguide.ops.projection import Camera, project_points
from geoguide.ops.splat import splat_points
from geoguide.scene import View

K = np.array([[60.0, 0, 31.5], [0, 55.0, 23.5], [0, 0, 1]])
SIZE = (48, 64)
SHIFT = np.array([[1.0, 0, 0, 0.5], [0, 1, 0, 0.3], [0, 0, 1, 0], [0, 0, 0, 1]])


def camera_of(pose: np.ndarray) -> Camera:
    return Camera(np.linalg.inv(pose)[:3], (K[0, 0], K[1, 1], K[0, 2], K[1, 2]), SIZE)


def random_pose(rng: np.random.Generator) -> np.ndarray:
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation * np.sign(np.linalg.det(rotation)), rng.normal(size=3)
    return pose


def cloud(rng: np.random.Generator, pose: np.ndarray, count: int = 400) -> np.ndarray:
    local = rng.uniform([-3, -3, -1], [3, 3, 5], (count, 3))
    return local @ pose[:3, :3].T + pose[:3, 3]


# ---------------------------------------------------------------- the real key frame


@pytest.fixture(scope="module")
def key_frame(golden):
    path = golden / "nuscenes/B_nuscenes_projection.npz"
    if not path.is_file():
        pytest.skip("no golden key frame")
    return np.load(path)


def test_golden_devkit(key_frame):
    points = key_frame["points_xyz_int_ring"][:, :3]
    for i, name in enumerate(key_frame["cameras"]):
        pose, size = np.linalg.inv(key_frame["lidar2cam"][i]), tuple(key_frame["image_wh"][i][::-1])
        found = project(points, key_frame["cam2img"][i], pose, size, rule="devkit")
        ids = np.flatnonzero(found.visible)
        np.testing.assert_array_equal(ids, key_frame[f"devkit_{name}_ids"])
        np.testing.assert_array_equal(found.col[ids], np.rint(key_frame[f"devkit_{name}_uv"][:, 0]))
        np.testing.assert_array_equal(found.row[ids], np.rint(key_frame[f"devkit_{name}_uv"][:, 1]))


def test_golden_openscene(key_frame):
    points, count = key_frame["points_xyz_int_ring"][:, :3], 0
    for i, name in enumerate(key_frame["cameras"]):
        intrinsics = resize_intrinsics(key_frame["cam2img"][i], (900, 1600), (450, 800))
        np.testing.assert_array_equal(intrinsics, key_frame[f"openscene_{name}_K800"])
        pose = key_frame[f"openscene_{name}_pose_cam2lidar"]
        found = project(points, intrinsics, pose, (450, 800), border=5, rule="openscene")
        ids = np.flatnonzero(found.visible)
        np.testing.assert_array_equal(ids, key_frame[f"openscene_{name}_ids"])
        np.testing.assert_array_equal(np.stack([found.row, found.col], 1)[ids], key_frame[f"openscene_{name}_rowcol"])
        count = count + found.visible
    np.testing.assert_array_equal(count, key_frame["openscene_view_count"])


def test_recording_gives_the_golden_ids_through_the_reader(key_frame, recordings):
    """Reader, resized views and both rules together: the union of the golden ids."""
    options = {"devkit": {}, "openscene": {"border": 5}}
    for rule, size in (("devkit", None), ("openscene", (450, 800))):
        scene = load_key_frame(recordings / "nuscenes_sample", image_size=size)
        blank = [np.zeros((*view.image_size, 1), np.float32) for view in scene.views]
        count = fuse(scene.points, scene.views, blank, use_depth=False, rule=rule, **options[rule]).count
        ids = np.concatenate([key_frame[f"{rule}_{view.name}_ids"] for view in scene.views])
        np.testing.assert_array_equal(count, np.bincount(ids, minlength=len(scene)))


def test_zbuffer_on_the_real_key_frame(recordings):
    """How many points lose their feature, and how colours change: printed (pytest -s), and bounded here."""
    scene = load_key_frame(recordings / "nuscenes_sample")
    blind = fuse(scene.points, scene.views, lambda view: view.color(), use_depth=False, rule="devkit")
    found = fuse(
        scene.points, scene.views, lambda view: view.color(), use_depth="splat", depth_tolerance=0.1, rule="devkit"
    )
    lost = (blind.count > 0) & (found.count == 0)
    kept = found.count > 0
    change = np.abs(found.mean - blind.mean).mean(axis=1)  # [P], of 0..255
    changed = kept & (change > 0)
    ground = (scene.points[:, 2] < -1.6) & (blind.count > 0)  # 0.2 m above the road and below: nothing hides most of it
    print(
        f"\n{(blind.count > 0).sum()} of {len(scene)} points seen; the z-buffer takes the feature of {lost.sum()} "
        f"({lost.sum() / (blind.count > 0).sum():.1%}; of {(lost & ground).sum()} among {ground.sum()} ground points) "
        f"and changes the colour of {changed.sum()} others by {change[changed].mean():.1f} of 255 on average"
    )
    assert (found.count <= blind.count).all()
    assert 0.01 < lost.sum() / (blind.count > 0).sum() < 0.06
    assert (lost & ground).sum() / ground.sum() < 0.02


# ---------------------------------------------------------------- rules


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_devkit_rule_equals_a_loop(seed):
    rng = np.random.default_rng(seed)
    pose = random_pose(rng)
    points = cloud(rng, pose, 80)
    found = project(points, K, pose, SIZE, rule="devkit")
    inverse = np.linalg.inv(pose).tolist()
    for i, point in enumerate(points.tolist()):
        x, y, z = (sum(a * b for a, b in zip(row[:3], point, strict=True)) + row[3] for row in inverse[:3])
        u, v = (x * 60.0 / z + 31.5, y * 55.0 / z + 23.5) if z > 1 else (0.0, 0.0)
        seen = z > 1 and 1 < u < SIZE[1] - 1 and 1 < v < SIZE[0] - 1
        expected = (round(v), round(u), True) if seen else (0, 0, False)
        assert (found.row[i], found.col[i], found.visible[i]) == expected


def test_devkit_rule_is_strict_and_unrounded():
    """At depth 2 and focal length 2, x is the column: 1 and W - 1 are out, whatever they round to."""
    intrinsics = np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 1]])
    columns = np.array([1.0, 1.01, 0.99, 6.99, 7.0])
    points = np.stack([columns, np.full(5, 2.0), np.full(5, 2.0)], axis=1)
    found = project(points, intrinsics, np.eye(4), (5, 8), rule="devkit")
    assert found.visible.tolist() == [False, True, False, True, False]
    assert found.col.tolist() == [0, 1, 0, 7, 0]
    depths = np.array([[1.0, 1, 1.0], [1.0, 1, 1.001]])
    assert project(depths, np.diag([2.0, 2, 1]), np.eye(4), (5, 8), rule="devkit").visible.tolist() == [False, True]


def test_a_depth_is_tested_after_either_rule(rng):
    pose = np.eye(4)
    points, depth = cloud(rng, pose), rng.uniform(0, 5, SIZE)
    for rule, border in (("openscene", 3), ("devkit", 10)):
        blind = project(points, K, pose, SIZE, border=border, rule=rule)
        found = project(points, K, pose, SIZE, depth=depth, depth_tolerance=0.3, border=border, rule=rule)
        d = depth[blind.row, blind.col]
        np.testing.assert_array_equal(found.visible, blind.visible & (np.abs(d - points[:, 2]) <= 0.3 * d))


def test_torch_path_equals_compiled_path(rng, device):
    pose = random_pose(rng)
    points, depth = cloud(rng, pose, 5000), rng.uniform(0, 4, SIZE)
    on_device = torch.tensor(points, device=device)
    for used in (None, depth):
        compiled = project_points(points, camera_of(pose), used, 0.1, 10, True)
        there = None if used is None else torch.tensor(used, device=device)
        for a, b in zip(compiled, project_points(on_device, camera_of(pose), there, 0.1, 10, True), strict=True):
            np.testing.assert_array_equal(a, b.cpu().numpy())


# ---------------------------------------------------------------- z-buffer


def slow_splat(points, pose, radius, most):
    """Every pixel of every splat, in Python floats."""
    image = np.full(SIZE, math.inf)
    inverse = np.linalg.inv(pose).tolist()
    for point in np.asarray(points, np.float64).tolist():
        x, y, z = (sum(a * b for a, b in zip(row[:3], point, strict=True)) + row[3] for row in inverse[:3])
        if z <= 0:
            continue
        half = min(most, math.floor(radius * 60.0 / z))
        col, row = round(x * 60.0 / z + 31.5), round(y * 55.0 / z + 23.5)
        for r in range(max(row - half, 0), min(row + half, SIZE[0] - 1) + 1):
            for c in range(max(col - half, 0), min(col + half, SIZE[1] - 1) + 1):
                image[r, c] = min(image[r, c], z)
    return np.where(np.isinf(image), 0, image)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0, 3, 12]), st.booleans())
def test_splat_equals_a_loop(seed, radius, most, single):
    rng = np.random.default_rng(seed)
    pose = random_pose(rng)
    points = cloud(rng, pose, 60).astype(np.float32 if single else np.float64)
    found = splat_depth(points, K, pose, SIZE, radius=radius, max_pixels=most)
    assert found.shape == SIZE and found.dtype == np.float64
    np.testing.assert_allclose(found, slow_splat(points, pose, radius, most), rtol=1e-12)
    order = rng.permutation(len(points))
    np.testing.assert_array_equal(splat_depth(points[order], K, pose, SIZE, radius=radius, max_pixels=most), found)
    own = project(points, K, pose, SIZE, border=0)
    nearer = found[own.row, own.col][own.visible]
    ahead = (points.astype(np.float64) @ np.linalg.inv(pose)[2, :3] + np.linalg.inv(pose)[2, 3])[own.visible]
    assert (nearer > 0).all() and (nearer <= ahead * (1 + 1e-12)).all()  # each pixel knows at least its own point


def test_splat_in_torch_equals_compiled(rng, device):
    for radius, most in ((0.0, 0), (0.1, 12), (0.5, 24)):
        pose = random_pose(rng)
        points = cloud(rng, pose, 2000)
        expected = splat_points(points, camera_of(pose), radius, most)
        found = splat_points(torch.tensor(points, device=device), camera_of(pose), radius, most)
        np.testing.assert_array_equal(found.cpu().numpy(), expected)


def test_splat_takes_tensors_and_extreme_points():
    points = torch.tensor([[0, 0, 1e-300], [1, 1, 1e-300], [0, 0, -1], [1e30, 0, 1], [0, 0, 0]], dtype=torch.float64)
    found = splat_depth(points, K, np.eye(4), SIZE)
    assert isinstance(found, torch.Tensor) and found.shape == SIZE
    assert splat_depth(np.zeros((0, 3)), K, np.eye(4), SIZE).max() == 0


def panel(width: float, z: float, step: float) -> np.ndarray:
    """A square of points facing the camera."""
    axis = np.arange(-width / 2, width / 2 + step / 2, step)
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], axis=1)


def test_a_sparse_panel_hides_the_wall_behind_it():
    """The truth is known: the wall is hidden inside the panel's shadow and nowhere else; the panel never is."""
    front, wall = panel(1.0, 2.0, 0.12), panel(4.0, 6.0, 0.1)
    points = np.concatenate([front, wall])
    depth = splat_depth(points, K, np.eye(4), SIZE, radius=0.1)
    seen = project(points, K, np.eye(4), SIZE, depth=depth, depth_tolerance=0.1, border=0).visible
    blind = project(points, K, np.eye(4), SIZE, border=0).visible
    shadow = np.abs(wall[:, :2]).max(axis=1)
    assert seen[: len(front)].all() and blind.all()
    assert not seen[len(front) :][shadow < 1.5].any()  # 0.5 m at 2 m is 1.5 m at 6 m
    assert seen[len(front) :][shadow > 1.5 + 0.1 * 3 + 0.1].all()  # the last splat's radius and a pixel of 0.1 m
    bare = splat_depth(points, K, np.eye(4), SIZE, radius=0.0)
    through = project(points, K, np.eye(4), SIZE, depth=bare, depth_tolerance=0.1, border=0).visible
    assert through[len(front) :][shadow < 1.5].any()  # without splats the wall shines through the gaps


def test_flat_ground_does_not_hide_itself():
    """Rings of a LiDAR on a flat road, seen from 1.5 m: the documented tolerance keeps every point."""
    radius, angle = np.meshgrid(np.geomspace(3, 60, 24), np.linspace(-0.4, 0.4, 400))
    points = np.stack([radius * np.sin(angle), np.full_like(radius, 1.5), radius * np.cos(angle)], axis=-1).reshape(
        -1, 3
    )
    intrinsics = np.array([[1266.0, 0, 816], [0, 1266.0, 491], [0, 0, 1]])
    view = intrinsics, np.eye(4), (900, 1600)
    blind = project(points, *view, rule="devkit")
    seen = project(points, *view, depth=splat_depth(points, *view), depth_tolerance=0.1, rule="devkit")
    assert blind.visible.sum() > 5000
    np.testing.assert_array_equal(seen.visible, blind.visible)


def test_fuse_with_splats_equals_project_with_them(rng):
    points = np.concatenate([panel(1.0, 2.0, 0.1), panel(3.0, 4.0, 0.1)])
    feature = rng.normal(size=(*SIZE, 3)).astype(np.float32)
    view = View("front", K, np.eye(4), SIZE)  # without a depth image
    options = {"depth_tolerance": 0.1, "border": 0}
    seen = project(points, K, np.eye(4), SIZE, depth=splat_depth(points, K, np.eye(4), SIZE), **options)
    found = fuse(points, [view], [feature], use_depth="splat", **options)
    np.testing.assert_array_equal(found.count, seen.visible)
    np.testing.assert_array_equal(found.mean[seen.visible], feature[seen.row, seen.col][seen.visible])
    assert 0 < found.count.sum() < len(points)


# ---------------------------------------------------------------- bad input


def test_refuses():
    points, view = np.array([[0.0, 0, 2]]), View("front", K, np.eye(4), SIZE)
    cases = [
        (
            lambda: project(points, K, np.eye(4), SIZE, rule="opencv"),
            "rule must be one of openscene, devkit, found 'opencv'",
        ),
        (lambda: project(points, K, np.eye(4), SIZE, rule="devkit", border=5), "border belongs to rule 'openscene'"),
        (lambda: fuse(points, [view], [np.ones((*SIZE, 1))], rule="devkit", border=5), "border belongs to rule"),
        (
            lambda: fuse(points, [view], [np.ones((*SIZE, 1))], use_depth="buffer"),
            "use_depth must be True, False or 'splat'",
        ),
        (lambda: splat_depth(points, K, np.eye(4), SIZE, radius=-1), "radius must be a finite number >= 0"),
        (lambda: splat_depth(points, K, np.eye(4), SIZE, max_pixels=1.5), "max_pixels must be a whole number"),
        (lambda: splat_depth(points[:, :2], K, np.eye(4), SIZE), r"points must be \[P, 3\]"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize(
    ("intrinsics", "pose", "message"),
    [
        (K, SHIFT.T, r"must end with the row 0 0 0 1, found 0.5 0.3 0 1: a transposed pose\?"),
        (K, SHIFT * [-1, 1, 1, 1], "found a reflection"),
        (K, SHIFT * [2, 2, 2, 1], "found one scaled by 2"),
        (K, SHIFT * [[1], [1], [1], [2]], "must end with the row 0 0 0 1, found 0 0 0 2"),
        (K * [[-1], [1], [1]], SHIFT, "positive focal lengths"),
        (K / [[64], [48], [1]], SHIFT, "found 0.9375 1.146: normalised by the image's size"),
    ],
)
def test_cameras_that_files_may_not_have_are_refused(intrinsics, pose, message):
    """Lifting would put every feature on another pixel without a word."""
    points, maps = np.array([[0.0, 0, 2]]), [np.ones((*SIZE, 1))]
    for kind in (np.float64, np.float32):
        camera = (intrinsics.astype(kind), pose.astype(kind), SIZE)
        for call in (project, splat_depth):
            with pytest.raises(InputError, match=message):
                call(points, *camera)
        with pytest.raises(InputError, match=f"view front: .*{message}"):
            fuse(points, [View("front", *camera)], maps, use_depth=False)


def test_poses_of_single_precision_are_poses():
    rng = np.random.default_rng(0)
    for _ in range(50):
        pose = random_pose(rng)
        project(np.zeros((1, 3)), K.astype(np.float32), pose.astype(np.float32), SIZE)
        project(np.zeros((1, 3)), K, np.r_[pose[:3].round(2), pose[3:]], SIZE)
