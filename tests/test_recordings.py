"""Recordings that lie: poses of another convention, other units, odd frames. The right scene, or one clear line."""

import dataclasses
import itertools
import json
import shutil
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from simple_room import PERFECT, distance_to_surface, simple_room, views_of, write_flat

import geoguide
from geoguide import own_scan
from geoguide.cli import main
from geoguide.datasets.check.report import Report, check_scene
from geoguide.datasets.color_agreement import frame_colors
from geoguide.datasets.depth_agreement import check_depth, depth_agreement
from geoguide.datasets.formats.cameras import check_fits, checked_pose, is_cropped
from geoguide.datasets.formats.files import by_number, listed
from geoguide.datasets.frame_pairs import read_recording
from geoguide.datasets.rgbd import load_rgbd, load_views
from geoguide.errors import DataError, InputError
from geoguide.image_files import is_deep, is_turned, read_color, read_deep, read_image
from geoguide.lifting import fuse
from geoguide.scene import Scene, View
from geoguide.teachers.color import ColorTeacher
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.rooms.scan import scan_room

SENSOR = SensorConfig(frames=24, image_size=(60, 80), focal=60.0, **PERFECT)
VOXEL = 0.08
TURN = Rotation.from_euler("xyz", [20, -35, 130], degrees=True).as_matrix()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flat(tmp_path_factory.mktemp("plain") / "scan", scan_room(simple_room(), 0, SENSOR), SENSOR)


@pytest.fixture(scope="module")
def plain_scene(plain: Path) -> Scene:
    return load_rgbd(plain, voxel=VOXEL)


@pytest.fixture
def folder(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "scan"))


def each_pose(folder: Path, change: Callable[[int, np.ndarray], np.ndarray]) -> None:
    for number, path in enumerate(sorted(folder.glob("*.pose.txt"))):
        np.savetxt(path, change(number, np.loadtxt(path)))


def pose_of(folder: Path, number: int) -> np.ndarray:
    return np.loadtxt(folder / f"frame-{number:06d}.pose.txt")


def same(first: Scene, second: Scene) -> None:
    """The same points, colours and normals, so the same labels."""
    np.testing.assert_array_equal(first.points, second.points)
    np.testing.assert_array_equal(first.colors, second.colors)
    np.testing.assert_array_equal(first.normals, second.normals)


# One pose


def rigid() -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = TURN, (1.0, -2.0, 0.5)
    return pose


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pose: pose.T, r"last|end with the row 0 0 0 1, found 1 -2 0.5 1: a transposed pose\?"),
        (lambda pose: pose * [[1], [1], [1], [2]], r"end with the row 0 0 0 1, found 0 0 0 2$"),
        (lambda pose: pose * [2, 2, 2, 1], r"scaled by 2 \(a similarity\)"),
        (lambda pose: pose * [1.03, 1.03, 1.03, 1], r"scaled by 1.03 \(a similarity\)"),
        (lambda pose: pose * [1, 1, -1, 1], "reflection: one axis is mirrored"),
        (lambda pose: pose * [1, 2, 1, 1], "columns of lengths 1 2 1"),
        (lambda pose: np.hstack([pose[:, :1], pose[:, :1], pose[:, 2:]]), "not at right angles"),
    ],
)
def test_what_is_no_rigid_motion_is_named(change: Callable[[np.ndarray], np.ndarray], message: str):
    with pytest.raises(DataError, match=f"7.txt: .*{message}"):
        checked_pose(change(rigid()), "7.txt")


def test_a_pose_of_two_decimals_is_a_pose():
    for seed in range(50):
        pose = rigid()
        pose[:3, :3] = Rotation.random(random_state=seed).as_matrix()
        np.testing.assert_array_equal(checked_pose(pose.round(2), "7.txt"), pose.round(2))


@pytest.mark.parametrize("last", [0.0, 1.0])
def test_zeros_say_that_the_camera_was_lost(last: float):
    assert np.isnan(checked_pose(np.diag([0.0, 0, 0, last]), "7.txt")).all()
    view = View("7", np.eye(3), np.diag([0.0, 0, 0, last]), (4, 4))
    assert not view.has_pose


def test_real_poses_are_rigid(recordings: Path):
    paths = [*recordings.glob("rgbd_kitchen/*.pose.txt"), *recordings.glob("scannet_real/scans/*/pose/*.txt")]
    assert len(paths) == 160
    for path in paths:
        pose = np.loadtxt(path)
        np.testing.assert_array_equal(checked_pose(pose, str(path)), pose)


def test_zero_poses_are_lost_frames(folder: Path):
    whole = load_rgbd(folder, voxel=VOXEL)
    np.savetxt(folder / "frame-000004.pose.txt", np.zeros((4, 4)))
    with pytest.warns(UserWarning, match=r"1 of 24 frames skipped") as record:
        scene = load_rgbd(folder, voxel=VOXEL)
    assert len(record) == 1
    assert scene.as_read == (
        "1 of 24 frames are left out, their pose is lost (not finite or zero): frame-000004",
        *whole.as_read,
    )
    (folder / "frame-000004.pose.txt").write_text("-inf " * 4 + "\n" + ("-inf " * 4 + "\n") * 3)
    with pytest.warns(UserWarning):
        same(scene, load_rgbd(folder, voxel=VOXEL))


def test_fuse_skips_a_zero_pose(plain: Path):
    views = list(load_views(plain, frame_skip=6))
    points = load_rgbd(plain, voxel=VOXEL).points
    teacher = ColorTeacher()
    rest = Scene("rest", points, np.zeros_like(points), views=tuple(views[1:]))
    views[0] = dataclasses.replace(views[0], cam_to_world=np.zeros((4, 4)))
    with pytest.warns(UserWarning, match="1 of 4 views skipped"):
        found = fuse(points, views, teacher.features(dataclasses.replace(rest, views=tuple(views))))
    expected = fuse(points, rest.views, teacher.features(rest))
    np.testing.assert_array_equal(found.count, expected.count)
    np.testing.assert_array_equal(found.mean, expected.mean)


# All poses, one way

FLIP = np.diag([1.0, -1, -1, 1])
ROBOT = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])  # from x forward, y left, z up


def transposed(pose: np.ndarray) -> np.ndarray:
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3].T
    return turned


def reordered(pose: np.ndarray, order: list[int]) -> np.ndarray:
    """What a reader makes of a pose's quaternion that takes its numbers for others."""
    turned, read = pose.copy(), Rotation.from_matrix(pose[:3, :3]).as_quat()[order]  # x y z w
    turned[:3, :3] = Rotation.from_quat(read).as_matrix()
    return turned


def scaled(pose: np.ndarray, factor: float) -> np.ndarray:
    return np.vstack([np.hstack([pose[:3, :3], pose[:3, 3:] * factor]), pose[3:]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _, pose: np.linalg.inv(pose), "poses look like world-to-camera, expected camera-to-world"),
        (lambda _, pose: transposed(pose), "rotations look transposed"),
        (lambda _, pose: pose @ FLIP, r"look like OpenGL's \(y up, z back\)"),
        (lambda _, pose: np.linalg.inv(pose @ FLIP), "world-to-camera with OpenGL's axes"),
        (lambda _, pose: pose @ np.diag([-1.0, -1, 1, 1]), "look like PyTorch3D's"),
        (lambda _, pose: pose @ ROBOT, "look like x forward, y left, z up"),
        (lambda _, pose: reordered(pose, [1, 2, 3, 0]), "quaternions x y z w that were read as w x y z"),
        (lambda _, pose: reordered(pose, [3, 0, 1, 2]), "quaternions w x y z that were read as x y z w"),
        (lambda _, pose: scaled(pose, 1000), "under these poses hardly any frames overlap .* --unit mm"),
        (lambda _, pose: scaled(pose, 100), "under these poses hardly any frames overlap .* --unit cm"),
        (lambda _, pose: scaled(pose, 1 / 0.3048), "contradicts their poses.* --unit ft"),
    ],
)
def test_poses_of_another_convention_are_named(folder: Path, change: Callable, message: str):
    each_pose(folder, change)
    with pytest.raises(DataError, match=f"scan: .*{message}"):
        load_rgbd(folder, voxel=VOXEL)


@pytest.mark.parametrize(
    "other", [lambda number: 0, lambda number: (number + 1) % 24, lambda number: (7 * number + 3) % 24]
)
def test_poses_of_other_frames_are_refused(plain: Path, folder: Path, other: Callable[[int], int]):
    """One pose for all frames, poses late by one frame, poses in any order."""
    each_pose(folder, lambda number, _: pose_of(plain, other(number)))
    with pytest.raises(DataError, match="contradicts their poses: [0-9]+ % of what frames measure is seen through"):
        load_rgbd(folder, voxel=VOXEL)


def test_a_single_wrong_pose_is_said(plain: Path):
    """In a line beside the labels, or, where it is one of few, as the reason why there are none."""
    views = list(load_views(plain))
    views[4] = dataclasses.replace(views[4], cam_to_world=views[0].cam_to_world)
    sentence = "depth of frames frame-000004 contradicts that of the others: are their poses wrong"
    assert any(sentence in text for text in check_depth(views, "scan", 5.0))
    with pytest.raises(DataError, match=sentence):
        check_depth(views[:8], "scan", 5.0)


def test_a_single_pose_that_looks_elsewhere_is_said(plain: Path):
    """Nothing there is seen by another frame, so that nothing contradicts it."""
    views = [dataclasses.replace(load_views(plain)[0], name=str(number)) for number in range(6)]  # a camera that stands
    assert check_depth(views, "scan", 5.0) == ()
    pose = views[0].cam_to_world.copy()
    pose[:3, 3] += (30, 0, 0)
    for number in (0, 3, 5):
        harmed = [dataclasses.replace(view, cam_to_world=pose) if view.name == str(number) else view for view in views]
        sentence = f"no other frame confirms the depth of frames {number}: are their poses wrong?"
        assert check_depth(harmed, "scan", 5.0) == (sentence,)


def test_a_turned_or_moved_world_is_no_fault(plain: Path):
    views = load_views(plain)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = TURN, (3, -2, 1)
    moved = [dataclasses.replace(view, cam_to_world=world @ view.cam_to_world) for view in views]
    found, expected = depth_agreement(moved), depth_agreement(views)
    assert expected.confirmed and expected.share > 0.97
    assert found.pairs == expected.pairs and found.share == pytest.approx(expected.share, abs=0.01)


def test_frames_that_do_not_overlap_are_taken_and_it_is_said(plain: Path):
    """Each camera sees a place of its own: nothing contradicts, nothing confirms."""
    views = load_views(plain, frame_skip=4)
    apart = []
    for number, view in enumerate(views):
        pose = view.cam_to_world.copy()
        pose[0, 3] += 8.0 * number
        apart.append(dataclasses.replace(view, cam_to_world=pose))
    (sentence,) = check_depth(apart, "scan", 5.0)
    assert sentence == (
        "whether poses, intrinsics and depth fit together could not be checked: 0 of 22 pairs of frames overlap, "
        "4 are needed"
    )


def test_a_single_frame_says_that_nothing_could_be_checked(plain: Path):
    assert "0 of 0 pairs" in check_depth(load_views(plain)[:1], "scan", 5.0)[0]


def test_agreement_equals_a_slow_loop(plain: Path):
    """Two frames: every second pixel of one, looked up in the other."""
    views = load_views(plain)[:2]
    agree = through = 0
    for one, other in (views, views[::-1]):
        motion = np.linalg.inv(other.cam_to_world) @ one.cam_to_world
        depth, target = one.depth().astype(np.float64), other.depth().astype(np.float64)
        for row, col in zip(*np.nonzero(depth), strict=True):
            if (row + col) % 2:
                continue
            ray = np.linalg.solve(one.intrinsics, (col, row, 1.0))
            x, y, z = motion[:3, :3] @ (ray * depth[row, col]) + motion[:3, 3]
            if z <= 1e-3:
                continue
            u, v, _ = np.rint(other.intrinsics @ (x, y, z) / z).astype(int)
            if 0 <= v < 60 and 0 <= u < 80 and target[v, u] > 0:
                agree += abs(target[v, u] - z) <= 0.05 * target[v, u]
                through += target[v, u] > 1.1 * z
    assert agree > 100
    assert depth_agreement(views).share == pytest.approx(agree / (agree + through), abs=1e-12)


def test_real_recordings_agree(recordings: Path):
    scannet = recordings / "scannet_real" / "scans"
    for folder in (recordings / "rgbd_kitchen", scannet / "scene0000_00", scannet / "scene0113_00"):
        for skip in (1, 2):
            views = load_views(folder, frame_skip=skip)
            assert check_depth(views, "scan", 5.0) == ()
            for harm in (np.linalg.inv, transposed, lambda pose: pose @ FLIP):
                harmed = [dataclasses.replace(view, cam_to_world=harm(view.cam_to_world)) for view in views]
                assert not depth_agreement(harmed).confirmed
                with pytest.raises(DataError, match="looks? (like|transposed)"):
                    check_depth(harmed, "scan", 5.0)


def test_data_check_names_a_scene_whose_frames_contradict_one_another(plain: Path, plain_scene: Scene):
    for harm, problems in ((np.array, 0), (np.linalg.inv, 1)):
        views = (dataclasses.replace(view, cam_to_world=harm(view.cam_to_world)) for view in load_views(plain))
        scene, report = dataclasses.replace(plain_scene, views=tuple(views)), Report("a folder")
        assert check_scene(report, Path("scene0000_00"), lambda _, scene=scene: scene, False, True) is scene
        assert len(report.problems) == problems
    assert report.problems[0].startswith("scene0000_00: the frames' depth contradicts their poses")
    assert "world-to-camera" in report.problems[0]


# Units and places


@pytest.mark.parametrize("scale", [5000, 256, 4000, 6553.5])
def test_depth_of_another_unit_is_named_and_read(folder: Path, plain_scene: Scene, scale: float):
    for path in folder.glob("*.depth.png"):
        depth = np.asarray(Image.open(path)).astype(np.float64)
        Image.fromarray(np.rint(depth * scale / 1000).astype(np.uint16)).save(path)
    with pytest.raises(DataError, match=f"depth looks like {scale} units a metre, not 1000: try --depth-scale {scale}"):
        load_rgbd(folder, voxel=VOXEL)
    scene = load_rgbd(folder, voxel=VOXEL, depth_scale=scale)
    assert np.median(distance_to_surface(load_rgbd(folder, voxel=VOXEL, depth_scale=scale, up="z").points)) < 0.01
    if scale % 1000 == 0:
        same(scene, plain_scene)


def test_the_command_takes_the_depth_scale_that_it_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for path in folder.glob("*.depth.png"):
        Image.fromarray((np.asarray(Image.open(path)) * 5).astype(np.uint16)).save(path)
    given = ["segment", str(folder), "--labels", "wall, floor", "--voxel", str(VOXEL), "--out", str(tmp_path / "o.ply")]
    for more, code in (([], 2), (["--depth-scale", "5000"], 0)):
        with pytest.raises(SystemExit) as stop:
            main([*given, *more])
        assert (stop.value.code or 0) == code
    assert "try --depth-scale 5000" in capsys.readouterr().err
    checked = json.loads((tmp_path / "o.json").read_text())["lifting_check"]
    assert checked["depth_pairs"] >= 4 and checked["depth_agreement"] > 0.97


@pytest.mark.parametrize("missing", [0.0, np.nan, np.inf, -1.0])
def test_depth_in_metres_in_arrays(folder: Path, plain_scene: Scene, missing: float):
    for path in folder.glob("*.depth.png"):
        depth = np.asarray(Image.open(path)).astype(np.float32) / np.float32(1000)
        np.save(path.with_suffix(".npy"), np.where(depth > 0, depth, missing).astype(np.float32))
        path.unlink()
    same(load_rgbd(folder, voxel=VOXEL), plain_scene)


def with_gaps(folder: Path, value: float, dtype: type = np.float64) -> Path:
    """The recording with a fifth of each depth image as an array of `value`, the rest in millimetres."""
    for path in folder.glob("*.depth.png"):
        depth = np.asarray(Image.open(path)).astype(dtype)
        depth[:, : depth.shape[1] // 5] = value
        np.save(path.with_suffix(".npy"), depth)
        path.unlink()
    return folder


@pytest.mark.parametrize(("value", "dtype"), [(4000, np.int32), (4000, np.uint16), (4500, np.float32)])
def test_a_value_that_fills_gaps_makes_no_wall(folder: Path, value: int, dtype: type):
    with_gaps(folder, value, dtype)
    named = rf"scan: 2\d % of the depth readings are one and the same, {value / 1000:g} m, stored as {value}"
    with pytest.raises(DataError, match=rf"{named}, in (\d+) of \1 frames looked at: .*write 0 where"):
        load_rgbd(folder, voxel=VOXEL, depth_scale=1000)
    assert len(load_rgbd(folder, voxel=VOXEL, depth_scale=1000, max_depth=3.9).points)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(65535, np.int32), (65535, np.uint16), (-1, np.int16), (8191, np.uint16), (2**32 - 1, np.uint32), (1e300, float)],
)
def test_a_value_beyond_the_range_that_fills_gaps_is_no_reading(
    folder: Path, tmp_path: Path, value: float, dtype: type
):
    gaps = load_rgbd(with_gaps(Path(shutil.copytree(folder, tmp_path / "0" / "scan")), 0), voxel=VOXEL, depth_scale=1e3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = load_rgbd(with_gaps(folder, value, dtype), voxel=VOXEL, depth_scale=1e3)
    same(filled, gaps)
    assert depth_agreement(filled.views) == depth_agreement(gaps.views)


def test_depth_that_would_all_be_cut_off_is_refused(folder: Path):
    for path in sorted(folder.glob("*.depth.png"))[1:]:
        path.with_name(path.name.replace("depth.png", "color.jpg")).unlink()
    with pytest.raises(DataError, match=r"beyond 5 m, where they are not used.*--depth-scale.*--unit"):
        load_rgbd(folder, voxel=VOXEL, depth_scale=100.0)


def test_cameras_of_a_giant_are_spoken_of(folder: Path):
    """Depth and poses in one wrong unit agree with each other; their size is what remains to see."""
    each_pose(folder, lambda _, pose: scaled(pose, 5))
    said = load_rgbd(folder, voxel=0.2, depth_scale=200.0, max_depth=30.0).as_read
    assert any("cameras stand" in text and "--unit" in text for text in said)


@pytest.mark.parametrize("unit", ["mm", "cm", "km", "ft", "in"])
def test_poses_in_another_unit(folder: Path, plain_scene: Scene, unit: str):
    metres = {"mm": 0.001, "cm": 0.01, "km": 1000.0, "ft": 0.3048, "in": 0.0254}[unit]
    each_pose(folder, lambda _, pose: scaled(pose, 1 / metres))
    scene = load_rgbd(folder, voxel=VOXEL, unit=unit)
    np.testing.assert_allclose(scene.points, plain_scene.points, atol=1e-4)
    assert f"poses are read in {unit}, as asked for" in scene.as_read
    assert scene.file_points is not None
    assert np.ptp(scene.file_points) * metres == pytest.approx(np.ptp(plain_scene.points), rel=0.2)


def test_poses_far_from_the_origin_give_the_same_labels(folder: Path, plain_scene: Scene):
    offset = np.array([448_000.0, 5_411_000.0, 200.0])
    move = np.eye(4)
    move[:3, 3] = offset
    each_pose(folder, lambda _, pose: move @ pose)
    scene = load_rgbd(folder, voxel=VOXEL)
    np.testing.assert_allclose(scene.points, plain_scene.points, atol=1e-5)
    assert any("far from the origin: (448000, 5411000, 200) m" in text for text in scene.as_read)
    assert scene.file_points is not None and scene.file_points.dtype == np.float64
    assert plain_scene.file_points is None
    where = load_rgbd(folder, voxel=VOXEL, up="z").points + offset
    np.testing.assert_allclose(scene.file_points, where, atol=1e-3)
    model, words = geoguide.load("mini"), ("wall", "floor", "table")
    found, expected = (own_scan.segment_scan(own_scan.Scan(each), model, words) for each in (scene, plain_scene))
    np.testing.assert_array_equal(found.ids, expected.ids)


def test_unknown_units_and_scales(folder: Path):
    with pytest.raises(InputError, match=r"unit must be one of m, cm, mm, km, ft, in, found 'yd'"):
        load_rgbd(folder, unit="yd")
    with pytest.raises(InputError, match=r"depth_scale must be positive, found 1 and -5"):
        load_rgbd(folder, depth_scale=-5.0)
    with pytest.raises(InputError, match=r"--depth-scale is for folders of depth images"):
        own_scan.open_scan(folder / "frame-000000.pose.txt", depth_scale=5000.0)


# Frames


def test_unpadded_numbers_are_in_their_order(folder: Path, plain: Path):
    for path in folder.glob("frame-*"):
        number, rest = path.name.removeprefix("frame-").split(".", 1)
        path.rename(folder / f"frame-{int(number)}.{rest}")
    for skip in (1, 5):
        found = load_rgbd(folder, voxel=VOXEL, frame_skip=skip)
        same(found, load_rgbd(plain, voxel=VOXEL, frame_skip=skip))
        assert [view.name for view in found.views] == [f"frame-{number}" for number in range(0, 24, skip)]


@pytest.mark.parametrize("kind", [".png", ".npy"])
def test_files_of_a_frame_are_known_by_its_number(tmp_path: Path, plain: Path, kind: str):
    """Zeros before the number, and suffixes in upper case, differ between the programs that write frames."""
    for part in ("color", "depth", "pose"):
        (tmp_path / "room" / part).mkdir(parents=True)
        for path in plain.glob(f"frame-*.{part}.*"):
            number = int(path.name.removeprefix("frame-").split(".")[0])
            stem = f"{number}" if part == "color" else f"{number:05d}"
            new = tmp_path / "room" / part / f"{stem}{path.suffix if part == 'color' else path.suffix.upper()}"
            if part == "depth" and kind == ".npy":
                with new.with_suffix(".NPY").open("wb") as file:
                    np.save(file, np.asarray(Image.open(path)))
            else:
                shutil.copy(path, new)
    (tmp_path / "room" / "intrinsic").mkdir()
    shutil.copy(plain / "camera-intrinsics.txt", tmp_path / "room" / "intrinsic" / "intrinsic_depth.txt")
    found = load_rgbd(tmp_path / "room", voxel=VOXEL)
    assert [view.name for view in found.views] == [str(number) for number in range(24)]
    same(found, load_rgbd(plain, voxel=VOXEL))


def test_what_file_managers_leave_is_no_frame(folder: Path, plain_scene: Scene):
    for path in list(folder.iterdir()):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (folder / name).write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    same(load_rgbd(folder, voxel=VOXEL), plain_scene)


def test_listed(tmp_path: Path):
    for name in ("10.jpg", "9.JPG", "._9.jpg", "Thumbs.db", "b2.jpg", "b10.jpg", "x.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in listed(tmp_path, suffixes=(".jpg",))] == ["9.JPG", "10.jpg", "b2.jpg", "b10.jpg"]
    assert listed(tmp_path / "nothing") == ()
    assert [path.name for path in by_number([tmp_path / "10.jpg", tmp_path / "._1.jpg", tmp_path / "9.JPG"])] == [
        "9.JPG",
        "10.jpg",
    ]


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [("RGBA", "png", 0), ("P", "png", 12), ("CMYK", "jpg", 12), ("CMYK", "tif", 1), ("L", "png", 0), ("LA", "png", 0)],
)
def test_colours_of_every_kind_become_rgb(tmp_path: Path, mode: str, suffix: str, tolerance: int):
    ramp = np.linspace(20, 230, 40).astype(np.uint8)
    grey = np.broadcast_to(ramp, (30, 40))
    pixels = np.stack([grey] * 3, axis=2) if mode in ("L", "LA") else np.stack([grey, grey[:, ::-1], grey // 2], axis=2)
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    image.save(tmp_path / f"0.{suffix}", **options)
    found = read_color(tmp_path / f"0.{suffix}")
    assert found.dtype == np.uint8 and found.shape == (30, 40, 3)
    assert np.abs(found.astype(int) - pixels).max() <= tolerance


def test_grey_of_sixteen_bits(tmp_path: Path):
    Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16)).save(tmp_path / "0.png")
    assert read_color(tmp_path / "0.png")[0].tolist() == [[0, 0, 0], [100, 100, 100], [255, 255, 255]]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_fewer_bits_in_sixteen(tmp_path: Path, bits: int):
    ramp = np.linspace(0, 2**bits - 1, 3000).astype(np.uint16).reshape(50, 60)
    pixels = ramp.copy()
    pixels[7, 9] = 65535  # a bad pixel
    Image.fromarray(pixels).save(tmp_path / "0.png")
    found = read_color(tmp_path / "0.png")
    expected = np.floor(ramp * (255.0 / (2**bits - 1)))
    assert np.delete(np.abs(found[..., 0] - expected), 7 * 60 + 9).max() <= 1 and found[7, 9, 0] == 255


def save_deep(path: Path, pixels: np.ndarray, kind: int) -> None:
    """Write uint16 [H, W, channels] as a png of 16 bits, by hand: pillow writes none but grey."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content).to_bytes(4)
        return len(content).to_bytes(4) + name + content + check

    height, width, _ = pixels.shape
    head = width.to_bytes(4) + height.to_bytes(4) + bytes([16, kind, 0, 0, 0])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])  # RGB, grey and opacity, RGB and opacity
def test_colours_of_fewer_bits_in_sixteen(
    tmp_path: Path, bits: int, kind: int, channels: int, rng: np.random.Generator
):
    pixels = rng.integers(0, 2**bits, (30, 40, channels)).astype(np.uint16)
    colors = min(channels, 3) if channels > 2 else 1
    if channels != colors:
        pixels[..., -1] = 65535  # opaque
    save_deep(tmp_path / "0.png", pixels, kind)
    assert is_deep(tmp_path / "0.png")
    np.testing.assert_array_equal(read_deep(tmp_path / "0.png"), pixels[..., :colors])
    found = read_color(tmp_path / "0.png")
    assert found.shape == (30, 40, 3) and found.dtype == np.uint8
    expected = pixels[..., :colors] * (255.0 / (2**bits - 1))
    assert np.abs(found - expected).max() <= 0.5
    upper = np.asarray(Image.open(tmp_path / "0.png").convert("RGB"))  # what pillow makes of them
    assert np.abs(found.astype(int) // 2 ** (16 - bits) - upper).max() <= 1
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:300])
    with pytest.raises(DataError, match=r"0.png: not a readable image"):
        read_color(tmp_path / "0.png")


def test_colours_of_twelve_bits_of_a_recording_share_one_white(folder: Path, plain_scene: Scene):
    plain = load_views(folder)
    for number, path in enumerate(sorted(folder.glob("*.color.jpg"))):
        with Image.open(path) as image:
            deep = np.asarray(image).astype(np.uint16) * 16  # 12 bits
        save_deep(path.with_suffix(".png"), deep // 40 if number == 3 else deep, 2)  # a dark frame among them
    bright = [view.color() for view in plain[:3]]
    for path in folder.glob("*.color.jpg"):
        path.unlink()
    scene = load_rgbd(folder, voxel=VOXEL)
    assert "24 colour images hold 16 bits: read as 0 (black) to 4095 (white) by their range" in scene.as_read
    for view, expected in zip(scene.views, bright, strict=False):
        assert np.abs(view.color() - expected.astype(int)).max() <= 1
    assert scene.views[3].color().max() < 10
    np.testing.assert_array_equal(scene.points, plain_scene.points)


def test_frames_of_a_recording_share_one_white(folder: Path, plain_scene: Scene):
    for number, path in enumerate(sorted(folder.glob("*.color.jpg"))):
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L")).astype(np.uint16) * 16  # 12 bits
        Image.fromarray(grey // 40 if number == 3 else grey).save(path.with_suffix(".png"))  # a dark frame among them
        path.unlink()
    scene = load_rgbd(folder, voxel=VOXEL)
    assert "24 colour images hold 16 bits: read as 0 (black) to 4095 (white) by their range" in scene.as_read
    assert {view.color_white for view in scene.views} == {4095}
    np.testing.assert_array_equal(scene.points, plain_scene.points)
    assert scene.views[3].color().max() < 10 and np.median(scene.views[2].color()) > 40


def test_floats_are_no_colours(tmp_path: Path):
    Image.fromarray(np.zeros((3, 4), np.float32)).save(tmp_path / "0.tif")
    with pytest.raises(DataError, match=r"0.tif: expected a colour image, found floats"):
        read_color(tmp_path / "0.tif")


def crop(folder: Path, top: int, bottom: int, left: int, right: int) -> None:
    for path in (*folder.glob("*.depth.png"), *folder.glob("*.color.jpg")):
        with Image.open(path) as image:
            pixels = np.asarray(image)
        cut = pixels[top : pixels.shape[0] - bottom, left : pixels.shape[1] - right]
        Image.fromarray(np.ascontiguousarray(cut)).save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    camera = np.loadtxt(folder / "camera-intrinsics.txt")
    camera[:2, 2] -= (left, top)
    np.savetxt(folder / "camera-intrinsics.txt", camera)


@pytest.mark.parametrize("sides", [(0, 0, 24, 0), (0, 0, 0, 24), (18, 0, 0, 0), (0, 18, 0, 0), (15, 0, 20, 0)])
def test_cropped_images_are_read(folder: Path, plain_scene: Scene, sides: tuple[int, int, int, int]):
    """At one side; or, in the last case, alike along both axes, which the frames' depth alone tells from resizing."""
    crop(folder, *sides)
    scene = load_rgbd(folder, voxel=VOXEL)
    assert any("images are taken as cropped" in text for text in scene.as_read)
    low, high = plain_scene.points.min(axis=0), plain_scene.points.max(axis=0)
    height = scene.points[:, 2].min(), scene.points[:, 2].max()
    assert len(scene) > 0.4 * len(plain_scene)
    assert height[0] > low[2] - 0.2 and height[1] < high[2] + 0.2


@pytest.mark.parametrize("size", [(160, 120), (40, 30), (60, 80)])
def test_images_of_another_size_are_not_cropped(folder: Path, size: tuple[int, int]):
    for path in (*folder.glob("*.depth.png"), *folder.glob("*.color.jpg")):
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)
    with pytest.raises(DataError, match=r"depth.png: image is .* hold for about \[60, 80\]"):
        load_rgbd(folder, voxel=VOXEL)


def test_which_principal_points_look_cropped():
    camera = np.array([[585.0, 0, 160], [0, 585.0, 240], [0, 0, 1]])
    assert is_cropped(camera, (480, 480))
    check_fits(camera, (480, 480), Path("0.png"), Path("camera.txt"))
    for size in ((240, 160), (960, 640), (320, 480)):  # halved, doubled, turned by 90 degrees
        assert not is_cropped(camera, size)
    camera[0, 2] = 700
    assert not is_cropped(camera, (480, 480))  # outside the image


def with_exif(path: Path, exif: Image.Exif) -> None:
    data, block = path.read_bytes(), exif.tobytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:])


@pytest.mark.parametrize("value", [0, 1, 9])
def test_exif_data_that_ask_for_no_rotation_are_not_spoken_of(folder: Path, value: int):
    exif = Image.Exif()
    exif[0x0112] = value
    path = folder / "frame-000000.color.jpg"
    with_exif(path, exif)
    assert not is_turned(path)


def test_exif_rotations_are_not_done_and_said(folder: Path, plain_scene: Scene):
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in folder.glob("*.color.jpg"):
        with_exif(path, exif)
    scene = load_rgbd(folder, voxel=VOXEL)
    same(scene, plain_scene)
    assert any("EXIF" in text and "not done" in text for text in scene.as_read)
    path = folder / "frame-000002.color.jpg"
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    with pytest.raises(DataError, match=r"000002.color.jpg: .* not of the shape.*EXIF data ask for a rotation"):
        load_rgbd(folder, voxel=VOXEL)


@pytest.mark.parametrize("level", [0, 255])
def test_colour_images_that_show_nothing_are_said(folder: Path, level: int):
    for number in (3, 5):
        Image.new("RGB", (80, 60), (level,) * 3).save(folder / f"frame-{number:06d}.color.jpg")
    said = load_rgbd(folder, voxel=VOXEL).as_read
    sentence = "2 of 24 colour images show one colour only, and give it to what they see: frame-000003.color.jpg, frame"
    assert any(text.startswith(sentence) for text in said), said


def test_a_direction_that_the_cameras_contradict_is_doubted(plain: Path):
    for up, nearest in (("x", "z"), ("-z", "z"), ("z", None)):
        said = [text for text in load_rgbd(plain, voxel=VOXEL, up=up).as_read if "tops" in text]
        expected = f"{up} is taken as up, but the images' tops point to {nearest}: were the cameras held so? See --up"
        assert said == ([] if nearest is None else [expected])


@pytest.mark.parametrize("place", [(0, 3), (2, 3), (3, 1)])
def test_a_projection_matrix_is_no_camera_matrix(folder: Path, place: tuple[int, int]):
    """Of the first three columns alone its baseline would be lost without a word."""
    path = folder / "camera-intrinsics.txt"
    matrix = np.eye(4)
    matrix[:3, :3] = np.loadtxt(path)
    np.savetxt(path, matrix)
    load_views(folder)
    matrix[place] = -379.5
    np.savetxt(path, matrix)
    with pytest.raises(
        DataError, match="intrinsics must have zeros beyond the first three rows and columns, found .*-379.5"
    ):
        load_views(folder)


def test_nothing_is_said_of_a_recording_without_faults(plain: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_rgbd(plain, voxel=VOXEL).as_read == ()
    assert depth_agreement(views_of(plain, scan_room(simple_room(), 0, SENSOR), SENSOR)).confirmed


# Intrinsics and depth files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda camera: camera + np.eye(3, k=1) * [[5], [0], [0]], "without skew, found 60 5 39.5 and 0 60 29.5"),
        (lambda camera: camera.T, r"end with the row 0 0 1, found 39.5 29.5 1: a transposed matrix\?"),
        (lambda camera: camera * [[1], [1], [0]], "end with the row 0 0 1, found 0 0 0$"),
        (lambda camera: np.diag([1 / 80, 1 / 60, 1]) @ camera, r"found 0.75 1: normalised by the image's size\?"),
    ],
)
def test_what_is_no_camera_matrix_is_named(folder: Path, change: Callable[[np.ndarray], np.ndarray], message: str):
    camera = folder / "camera-intrinsics.txt"
    np.savetxt(camera, change(np.loadtxt(camera)))
    with pytest.raises(DataError, match=f"camera-intrinsics.txt: .*{message}"):
        load_rgbd(folder, voxel=VOXEL)


@pytest.mark.parametrize(("row", "column", "off"), [(0, 1, 0.05), (1, 0, -0.05), (2, 2, 5e-5), (2, 0, 5e-5)])
def test_a_camera_matrix_that_is_read_is_also_lifted_with(folder: Path, row: int, column: int, off: float):
    scene = load_rgbd(folder, voxel=VOXEL)
    expected = fuse(scene.points, scene.views, ColorTeacher().features(scene))
    path = folder / "camera-intrinsics.txt"
    camera = np.loadtxt(path)
    camera[row, column] += off  # within the rounding that `camera_fault` allows
    np.savetxt(path, camera)
    views = load_views(folder)
    assert (views[0].intrinsics == camera).all()
    views = [dataclasses.replace(old, intrinsics=camera) for old in scene.views]
    found = fuse(scene.points, views, ColorTeacher().features(scene))
    np.testing.assert_array_equal(found.mean, expected.mean)


@pytest.mark.parametrize("first", [0, 1])
def test_images_and_arrays_of_depth_in_one_recording(folder: Path, plain_scene: Scene, first: int):
    for path in sorted(folder.glob("*.depth.png"))[first::2]:
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)).astype(np.float32) / np.float32(1000))
        path.unlink()
    same(load_rgbd(folder, voxel=VOXEL), plain_scene)


def test_an_array_without_rows_is_no_depth_image(folder: Path):
    path = folder / "frame-000000.depth.png"
    np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)).ravel())
    path.unlink()
    with pytest.raises(DataError, match=r"000000.depth.npy: expected an image \[H, W\], found an array \[4800\]"):
        load_rgbd(folder, voxel=VOXEL)


@pytest.mark.parametrize("lost", ["-1.#IND", "-1.#INF", "1.#QNAN", "1.#INF00", "-nan(ind)", "nan(snan)"])
def test_lost_poses_as_old_windows_programs_write_them(folder: Path, lost: str):
    (folder / "frame-000004.pose.txt").write_text((f"{lost} " * 4 + "\n") * 4)
    with pytest.warns(UserWarning, match="1 of 24 frames skipped"):
        assert not load_rgbd(folder, voxel=VOXEL).views[4].has_pose


def test_distances_along_the_rays_are_no_depth(folder: Path):
    """Renderers write either; the frames agree by 0.9 then, as with slightly wrong poses."""
    row, column = np.indices(SENSOR.image_size)
    rays = np.linalg.inv(SENSOR.intrinsics) @ np.stack([column, row, np.ones_like(row)]).reshape(3, -1)
    lengths = np.linalg.norm(rays, axis=0).reshape(SENSOR.image_size)
    for path in folder.glob("*.depth.png"):
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)) / 1000 * lengths)
        path.unlink()
    with pytest.raises(DataError, match=r"scan: the frames' depth agrees by .* if it is taken for distances from the"):
        load_rgbd(folder, voxel=VOXEL)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (lambda images: [image[:, ::-1] for image in images], "when mirrored left to right: are they stored so"),
        (lambda images: [image[::-1, ::-1] for image in images], "when turned by 180 degrees: are they stored so"),
        (lambda images: images[5:] + images[:5], "are they mirrored, or of other frames"),
    ],
)
def test_colours_that_are_not_of_their_frames(folder: Path, turn: Callable, message: str):
    """A cloud that is fused from them agrees with them; the frames do not agree with one another."""
    paths = sorted(folder.glob("*.color.jpg"))
    for path, image in zip(paths, turn([np.asarray(Image.open(path)) for path in paths]), strict=True):
        Image.fromarray(np.ascontiguousarray(image)).save(path, quality=95)
    with pytest.raises(DataError, match=rf"scan: colour images differ from one another .*{message}"):
        load_rgbd(folder, voxel=VOXEL)


@pytest.mark.parametrize(("step", "where"), [(-1, "late"), (1, "early")])
@pytest.mark.parametrize("name", ["rgbd_kitchen", "scannet_real/scans/scene0113_00"])
def test_colours_out_of_step_by_one_frame(recordings: Path, name: str, step: int, where: str):
    """Too near to their places for the measure alone: of one of the rooms half as far off as a wrong one."""
    views = load_views(recordings / name)[:24]
    colors = [view.color_path for view in views]
    shifted = [
        dataclasses.replace(view, color_path=path) for view, path in zip(views, np.roll(colors, -step), strict=True)
    ]
    assert frame_colors(read_recording(views))[0] == ()
    (said,) = frame_colors(read_recording(shifted))[0]
    assert f"if all are {where} by one frame: are they out of step?" in said


@pytest.mark.parametrize(
    "light",
    [
        lambda image, number, rng: image * (0.3, 1.8)[number % 2],
        lambda image, number, rng: 0.02 * image + rng.normal(0, 3, image.shape),
        lambda image, number, rng: 235 + 0.03 * (image - 128) + rng.normal(0, 2, image.shape),
        lambda image, number, rng: image * rng.uniform(0.5, 1.6, 3),
        lambda image, number, rng: image * (number % 2),
    ],
    ids=["exposures in turn", "dark", "bare wall", "white balance", "every second black"],
)
def test_colours_in_any_light_are_of_their_frames(folder: Path, light: Callable):
    rng = np.random.default_rng(0)
    for number, path in enumerate(sorted(folder.glob("*.color.jpg"))):
        image = light(np.asarray(Image.open(path)).astype(np.float64), number, rng)
        Image.fromarray(image.round().clip(0, 255).astype(np.uint8)).save(path, quality=95)
    assert frame_colors(read_recording(load_views(folder)))[0] == ()


def test_a_principal_point_with_its_numbers_exchanged_is_no_crop(folder: Path):
    matrix = SENSOR.intrinsics.copy()
    matrix[:2, 2] = matrix[1::-1, 2]
    np.savetxt(folder / "camera-intrinsics.txt", matrix)
    with pytest.raises(DataError, match=r"image is \[60, 80\] .*-intrinsics.txt hold for about \[80, 60\]"):
        load_rgbd(folder, voxel=VOXEL)


def test_focal_lengths_in_millimetres(folder: Path):
    matrix = SENSOR.intrinsics.copy()
    matrix[0, 0] = matrix[1, 1] = 3.5
    np.savetxt(folder / "camera-intrinsics.txt", matrix)
    with pytest.raises(
        DataError, match=r"000000.depth.png: .* found focal lengths of 3.5 and 3.5 pixels in camera-intr"
    ):
        load_rgbd(folder, voxel=VOXEL)


def test_floats_of_a_tiff_under_the_name_of_a_png_are_metres(folder: Path, plain_scene: Scene):
    for path in folder.glob("*.depth.png"):
        metres = np.asarray(Image.open(path)).astype(np.float32) / np.float32(1000)
        Image.fromarray(metres).save(path, format="TIFF")
    same(load_rgbd(folder, voxel=VOXEL), plain_scene)


def test_the_encoding_of_poses_is_no_news(folder: Path, plain_scene: Scene):
    """As PowerShell writes them: a warning for each of a thousand frames would bury all others."""
    for path in folder.glob("*.pose.txt"):
        path.write_bytes(path.read_text().encode("utf-16"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(load_rgbd(folder, voxel=VOXEL), plain_scene)


@pytest.mark.parametrize("file", ["frame-000003.color.jpg", "frame-000003.depth.png", "frame-000003.pose.txt"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n",
            "a git-lfs pointer",
        ),
        (b"\n<html><body>404</body></html>", "a web page, not the file itself"),
    ],
)
def test_what_is_often_found_in_place_of_a_file(folder: Path, file: str, content: bytes, message: str):
    (folder / file).write_bytes(content)
    with pytest.raises(DataError, match=rf"{file}: .* expected, found {message}"):
        load_rgbd(folder, voxel=VOXEL)


def test_photos_of_phones_are_named(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 20)
    with pytest.raises(DataError, match=r"a.jpg: not a readable image \(heic, which is not read here: convert it\)"):
        read_color(tmp_path / "a.jpg")


def test_a_depth_image_without_readings_and_a_copied_colour_image_are_said(folder: Path):
    Image.fromarray(np.zeros(SENSOR.image_size, np.uint16)).save(folder / "frame-000002.depth.png")
    shutil.copy(folder / "frame-000004.color.jpg", folder / "frame-000005.color.jpg")
    with pytest.warns(UserWarning, match="1 of 24 depth images hold no reading up to 5 m: frame-000002"):
        scene = load_rgbd(folder, voxel=VOXEL)
    assert scene.as_read == ("1 of 24 colour images are copies of another frame's: did the camera stop?",)


@pytest.mark.parametrize("far", [1e5, 1e30])
def test_a_pose_that_lies_out_of_the_world(folder: Path, far: float):
    pose = pose_of(folder, 4)
    pose[:3, 3] += far
    np.savetxt(folder / "frame-000004.pose.txt", pose)
    with pytest.raises(DataError, match=r"scan: the pose of frame frame-000004 at \(.*\) lies .* m from the others"):
        load_rgbd(folder, voxel=VOXEL)


def test_depth_without_colour_is_said(folder: Path):
    path = folder / "frame-000004.color.jpg"
    path.unlink()
    path.symlink_to("nowhere")
    assert load_rgbd(folder, voxel=VOXEL).as_read == (
        "1 depth images have no colour image and are left out: frame-000004",
    )


def test_few_frames_of_a_real_recording_are_taken(recordings: Path):
    """Four far-apart frames, whose thin overlap agrees by 0.73 only."""
    views = {view.name: view for view in load_views(recordings / "scannet_real" / "scans" / "scene0113_00")}
    for order in itertools.permutations(("0", "95", "195", "295")):
        check_depth([views[name] for name in order], "scan", 5.0)


def test_an_image_that_says_it_is_larger_than_its_file_can_hold(tmp_path: Path) -> None:
    """A damaged header: decoding it would take seconds and a quarter of a gigabyte."""
    path = tmp_path / "color.png"
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(path)
    content = path.read_bytes()
    header = b"IHDR" + (1).to_bytes(4, "big") + (88_000_000).to_bytes(4, "big") + content[24:29]
    path.write_bytes(content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:])
    with pytest.raises(DataError, match=r"color.png: 1 x 88000000 pixels do not fit into \d+ bytes"):
        read_image(path)
