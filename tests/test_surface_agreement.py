"""Depth images against a scene's own points: a traced cube as it is, and harmed in the ways of the module's table."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement

from geoguide.datasets.scannet import load_scan, load_scene
from geoguide.datasets.surface_agreement import check_surface, views_inside
from geoguide.errors import DataError
from geoguide.scene import View

SIDE, FRAMES = 4.0, 6
K = np.array([[30.0, 0, 19.5], [0, 30.0, 14.5], [0, 0, 1]])


def box(rng: np.random.Generator) -> np.ndarray:
    """Points on the six walls of a cube around the origin, float32 [6000, 3]."""
    points = rng.uniform(-SIDE / 2, SIDE / 2, (6000, 3))
    points[np.arange(6000), np.arange(6000) % 3] = np.where(np.arange(6000) % 2, SIDE, -SIDE) / 2
    return points.astype(np.float32)


@pytest.fixture
def views(tmp_path: Path) -> list[View]:
    """Cameras at different places in the cube that look along x, each a little turned; the depth is traced."""
    row, col = np.indices((30, 40))
    rays = np.linalg.inv(K) @ np.stack([col.ravel(), row.ravel(), np.ones(1200)])  # [3, N]
    found = []
    for number in range(FRAMES):
        angle, eye = 0.9 * number, np.array([0.2 * number - 0.6, 0.5 - 0.25 * number, 0.1 * number])
        pose = np.eye(4)
        pose[:3, :3] = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        pose[:3, :3] = pose[:3, :3] @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        pose[:3, 3] = eye
        way = pose[:3, :3] @ rays
        with np.errstate(divide="ignore"):
            depth = ((np.sign(way) * SIDE / 2 - eye[:, None]) / way).min(axis=0).reshape(30, 40)
        path = tmp_path / f"{number}.png"
        Image.fromarray((1000 * depth).astype(np.uint16)).save(path)
        found.append(View(str(number), K, pose, (30, 40), None, path, 1000.0))
    return found


def moved(views: list[View], move: Callable[[np.ndarray], np.ndarray]) -> list[View]:
    return [replace(view, cam_to_world=move(view.cam_to_world)) for view in views]


def enlarged(views: list[View], focal: float, centre: float) -> list[View]:
    """The views with intrinsics that are multiplied."""
    return [replace(view, intrinsics=K * [[focal, 1, centre], [1, focal, centre], [1, 1, 1]]) for view in views]


@pytest.mark.parametrize(
    ("focal", "centre", "found"),
    [
        (1.2, 1, r"focal lengths times 0\.8[26]"),
        (1 / 1.2, 1, r"focal lengths times 1\.(16|22)"),
        (1.2, 1.2, r"intrinsics times 0\.8[26]"),
    ],
)
def test_intrinsics_of_another_size_are_told(views: list[View], rng, focal: float, centre: float, found: str):
    with pytest.raises(DataError, match=f"scan: .* within 1%, .*% with {found}: are the intrinsics"):
        check_surface(box(rng), enlarged(views, focal, centre), "scan")


def test_intrinsics_that_are_a_little_off_pass(views: list[View], rng: np.random.Generator):
    check_surface(box(rng), enlarged(views, 1.03, 1), "scan")


@pytest.mark.parametrize("factor", [1 / 1.2, 1.2])
def test_intrinsics_of_real_scans(recordings: Path, factor: float):
    folder = recordings / "scannet_real" / "scans" / "scene0113_00"
    scan = load_scan(folder)  # which passes
    wrong = [replace(view, intrinsics=view.intrinsics * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]])
             for view in scan.views]  # fmt: skip
    with pytest.raises(DataError, match=r"focal lengths times (0\.82|1\.22): are the intrinsics"):
        check_surface(scan.points, wrong, "scan")


def test_views_of_the_points_pass(views: list[View], rng: np.random.Generator):
    check_surface(box(rng), views, "scan")
    assert len(views_inside(views, box(rng))) == FRAMES
    assert not views_inside(views, box(rng) + 50)


@pytest.mark.parametrize(
    "harm",
    [
        lambda views: [replace(view, depth_scale=4000.0) for view in views],
        lambda views: [replace(view, depth_scale=500.0) for view in views],
        lambda views: moved(views, lambda pose: pose * (1, -1, -1, 1)),
        lambda views: [replace(view, cam_to_world=other.cam_to_world)
                       for view, other in zip(views, views[1:] + views[:1], strict=True)],
        lambda views: moved(views, lambda pose: pose + np.array([[0, 0, 0, 1000.0], *[[0] * 4] * 3])),
    ],
)  # fmt: skip
def test_views_of_something_else_are_refused(views: list[View], rng: np.random.Generator, harm: Callable):
    with pytest.raises(DataError, match="scan: .*expected images and points of one scene"):
        check_surface(box(rng), harm(views), "scan")


def test_depth_without_readings_is_refused(views: list[View], rng: np.random.Generator):
    for view in views:
        Image.fromarray(np.zeros((30, 40), np.uint16)).save(view.depth_path)
    with pytest.raises(DataError, match="scan: expected depth images, found no reading in any of 6"):
        check_surface(box(rng), views, "scan")


def test_few_views_and_lost_poses_say_nothing(views: list[View], rng: np.random.Generator):
    wrong = moved(views, lambda pose: pose * (1, -1, -1, 1))
    check_surface(box(rng), wrong[:3], "scan")
    check_surface(box(rng), wrong[:3] + moved(wrong[3:], lambda pose: pose * np.nan), "scan")


def test_a_scannet_scan_with_poses_of_other_frames_is_refused(
    views: list[View], rng: np.random.Generator, tmp_path: Path
):
    folder = tmp_path / "scans" / "scene0000_00"
    for kind in ("color", "depth", "pose", "intrinsic"):
        (folder / kind).mkdir(parents=True)
    vertex = np.zeros(6000, [(name, "f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue")])
    for name, column in zip("xyz", box(rng).T, strict=True):
        vertex[name] = column
    face = np.array([([0, 2, 4],)], [("vertex_indices", "i4", (3,))])
    elements = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    PlyData(elements).write(folder / "scene0000_00_vh_clean_2.ply")
    camera = np.eye(4)
    camera[:3, :3] = K
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", camera)
    for view, late in zip(views, views[1:] + views[:1], strict=True):
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / "color" / f"{view.name}.jpg")
        shutil.copy(view.depth_path, folder / "depth")
        np.savetxt(folder / "pose" / f"{view.name}.txt", view.cam_to_world)
        np.savetxt(folder / "pose" / f"late{view.name}.txt", late.cam_to_world)
    assert len(load_scene(folder).views) == FRAMES
    for view in views:
        (folder / "pose" / f"late{view.name}.txt").replace(folder / "pose" / f"{view.name}.txt")
    with pytest.raises(DataError, match=r"scene0000_00: depth images do not show the points"):
        load_scene(folder)
    assert len(load_scene(folder, frame_skip=2).views) == FRAMES // 2  # too few to tell


def test_a_real_scan_with_the_frames_of_another_is_refused(recordings: Path, tmp_path: Path):
    scans, name = recordings / "scannet_real" / "scans", "scene0113_00"
    (tmp_path / name).mkdir()
    for path in (scans / name).iterdir():
        other = scans / "scene0000_00" / path.name
        (tmp_path / name / path.name).symlink_to(other if path.is_dir() else path)
    with pytest.raises(DataError, match=rf"{name}: depth images do not show the points"):
        load_scene(tmp_path / name)
