"""RGB-D folders: a simulated recording with a known world, and the real kitchen."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation
from simple_room import PERFECT, SIZE, distance_to_surface, simple_room, write_flat

from geoguide.datasets import rgbd
from geoguide.datasets.rgbd import estimate_up, load_rgbd, load_views, rotation_to_z
from geoguide.errors import DataError, InputError
from geoguide.scene import HeldView, Scene
from geoguide.worlds.camera import Frame, SensorConfig
from geoguide.worlds.rooms.scan import scan_room

SENSOR = SensorConfig(frames=20, image_size=(60, 80), focal=72.0, **PERFECT)
VOXEL = 0.08
TILT = Rotation.from_euler("xyz", [-97, 4, 30], degrees=True).as_matrix()  # y down, as a camera's first frame


@pytest.fixture(scope="module")
def frames() -> list:
    return scan_room(simple_room(), 1, SENSOR)


@pytest.fixture
def folder(frames: list, tmp_path: Path) -> Path:
    world = np.eye(4)
    world[:3, :3] = TILT
    return write_flat(tmp_path / "tilted", frames, SENSOR, world)


def depth_error(scene: Scene) -> float:
    """Median difference in metres between the points' depths and what the views read there."""
    errors = []
    for view in (view for view in scene.views if view.has_pose):
        world_to_cam = np.linalg.inv(view.cam_to_world)
        local = scene.points @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]
        local = local[local[:, 2] > 0.1]
        pixel = np.rint((local @ view.intrinsics.T)[:, :2] / local[:, 2:]).astype(int)
        inside = ((pixel >= 0) & (pixel < view.image_size[::-1])).all(axis=1)
        read = view.depth()[pixel[inside, 1], pixel[inside, 0]]
        errors.append(np.abs(read - local[inside, 2])[read > 0])
    return float(np.median(np.concatenate(errors)))


def test_the_room_stands_upright(folder: Path):
    scene = load_rgbd(folder, voxel=VOXEL)
    assert scene.name == "tilted"
    assert scene.provenance == "real"
    assert scene.labels is None
    height = scene.points[:, 2].max() - scene.points[:, 2].min()
    assert abs(height - SIZE[2]) < 0.15
    lowest = scene.points[:, 2] < scene.points[:, 2].min() + 0.1
    assert np.median(scene.normals[lowest, 2]) > 0.99  # the floor, facing up
    assert depth_error(scene) < 0.2 * VOXEL


def test_auto_finds_the_true_up(folder: Path):
    views = load_views(folder)
    scene = load_rgbd(folder, voxel=VOXEL, up="z")  # not turned at all
    angle = np.degrees(np.arccos(estimate_up(views, scene.normals) @ TILT[:, 2]))
    assert angle < 0.5


@pytest.mark.parametrize("roll", [-90, 90])
def test_images_held_on_their_side_stand_upright(frames: list, tmp_path: Path, roll: int):
    turn, sensor = np.eye(4), replace(SENSOR, image_size=SENSOR.image_size[::-1])
    turn[:3, :3] = Rotation.from_euler("z", roll, degrees=True).as_matrix()
    turned = [
        replace(
            frame,
            color=np.rot90(frame.color, roll // 90).copy(),
            depth=np.rot90(frame.depth, roll // 90).copy(),
            cam_to_world=frame.cam_to_world @ turn,
        )
        for frame in frames
    ]
    scene = load_rgbd(write_flat(tmp_path / "portrait", turned, sensor), voxel=VOXEL)
    assert any("held on their side (portrait)" in said for said in scene.as_read)
    upright = load_rgbd(write_flat(tmp_path / "plain", frames, SENSOR), voxel=VOXEL)
    assert not any("portrait" in said for said in upright.as_read)
    assert np.allclose(np.ptp(scene.points, axis=0), np.ptp(upright.points, axis=0), atol=2 * VOXEL)
    assert (scene.normals[scene.points[:, 2] < scene.points[:, 2].min() + 0.1, 2] > 0.9).mean() > 0.5


def test_a_camera_that_hung_upside_down_is_doubted(frames: list, tmp_path: Path):
    half, below = np.diag([-1.0, -1.0, 1.0, 1.0]), [without_ceiling(frame) for frame in frames]
    hung = [
        replace(
            f, color=f.color[::-1, ::-1].copy(), depth=f.depth[::-1, ::-1].copy(), cam_to_world=f.cam_to_world @ half
        )
        for f in below
    ]
    folder = write_flat(tmp_path / "hung", hung, SENSOR)
    doubt = "hung upside down; if the latter, give --up z"
    assert sum(doubt in said for said in load_rgbd(folder, voxel=VOXEL).as_read) == 1
    given = load_rgbd(folder, voxel=VOXEL, up="z")
    right = load_rgbd(write_flat(tmp_path / "right", below, SENSOR), voxel=VOXEL)
    assert not any("upside down" in said for said in (*given.as_read, *right.as_read))


def test_given_axes_turn_exactly(frames: list, tmp_path: Path):
    plain = load_rgbd(write_flat(tmp_path / "plain", frames, SENSOR), voxel=VOXEL, up="z")
    assert np.percentile(distance_to_surface(plain.points), 90) < VOXEL
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()  # z up becomes -y up
    turned = load_rgbd(write_flat(tmp_path / "turned", frames, SENSOR, world), voxel=VOXEL, up="-y")
    assert np.percentile(distance_to_surface(turned.points), 90) < VOXEL
    np.testing.assert_allclose(turned.views[3].cam_to_world, plain.views[3].cam_to_world, atol=1e-9)


def without_ceiling(frame: Frame) -> Frame:
    """The frame without depth 2 m above the floor and higher."""
    rows, columns = np.indices(frame.depth.shape)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(SENSOR.intrinsics).T  # [H, W, 3]
    height = (rays * frame.depth[..., None] / 1000) @ frame.cam_to_world[2, :3] + frame.cam_to_world[2, 3]
    return replace(frame, depth=np.where(height < 2, frame.depth, 0).astype(frame.depth.dtype))


def test_a_direction_that_the_shape_contradicts_is_doubted(frames: list[Frame], tmp_path: Path) -> None:
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()  # z up becomes -y up
    folder = write_flat(tmp_path / "open", [without_ceiling(frame) for frame in frames], SENSOR, world)
    for up, doubted in (("-y", False), ("auto", False), ("y", True), ("z", True)):
        said = load_rgbd(folder, voxel=VOXEL, up=up).as_read
        assert any(f"{up} is taken as up, but the cloud looks as if -y" in each for each in said) == doubted, (up, said)


@pytest.mark.parametrize("direction", [[0, 0, 1], [0, 0, -1], [0, -1, 0], [0.6, 0, 0.8], [0.36, 0.48, -0.8]])
def test_rotation_to_z(direction: list[float]):
    turn = rotation_to_z(np.array(direction, dtype=float))
    np.testing.assert_allclose(turn @ direction, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_both_layouts_give_the_same_scene(frames: list, folder: Path, tmp_path: Path):
    other = tmp_path / "scannet"
    for kind in ("color", "depth", "pose", "intrinsic"):
        (other / kind).mkdir(parents=True)
    np.savetxt(other / "intrinsic" / "intrinsic_depth.txt", np.pad(SENSOR.intrinsics, (0, 1)) + np.diag([0, 0, 0, 1]))
    for number in range(len(frames)):
        for kind, ending in (("color", "jpg"), ("depth", "png"), ("pose", "txt")):
            source = folder / f"frame-{number:06d}.{kind}.{ending}"
            (other / kind / f"{number}.{ending}").write_bytes(source.read_bytes())
    first, second = load_rgbd(folder, voxel=VOXEL), load_rgbd(other, voxel=VOXEL)
    assert np.array_equal(first.points, second.points)
    assert np.array_equal(first.colors, second.colors)
    assert [view.name for view in second.views] == [str(number) for number in range(20)]


def test_a_lost_pose_stays_a_view_and_warns_once(folder: Path):
    np.savetxt(folder / "frame-000004.pose.txt", np.full((4, 4), -np.inf))
    with pytest.warns(UserWarning, match=r"1 of 20 frames skipped") as record:
        scene = load_rgbd(folder, voxel=VOXEL)
    assert len(record) == 1
    assert [number for number, view in enumerate(scene.views) if not view.has_pose] == [4]


def test_frame_skip_and_image_size(folder: Path):
    views = load_views(folder, frame_skip=7, image_size=(30, 40))
    assert [view.name for view in views] == ["frame-000000", "frame-000007", "frame-000014"]
    assert views[0].depth().shape == (30, 40)
    assert views[0].intrinsics[0, 0] == SENSOR.focal / 2


def remove(pattern: str) -> Callable[[Path], object]:
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("*.color.jpg"), "tilted: no RGB-D frames"),
        (remove("frame-000003.depth.png"), "frame-000003.depth.png: depth image not found"),
        (remove("frame-000003.pose.txt"), "frame-000003.pose.txt: pose not found"),
        (remove("camera-intrinsics.txt"), "camera-intrinsics.txt: intrinsics not found"),
        (lambda folder: (folder / "frame-000003.pose.txt").write_text("1 2 3"), "frame-000003.pose.txt: pose must be"),
        (lambda folder: truncate(folder / "frame-000003.depth.png"), "frame-000003.depth.png: not a readable image"),
        (lambda folder: truncate(folder / "frame-000003.color.jpg"), "frame-000003.color.jpg: not a readable image"),
        (
            lambda folder: (folder / "color").mkdir(),
            "tilted: mixed layouts, holds both frame-000000.color.jpg and color/",
        ),
        (
            lambda folder: resize(folder / "frame-000000.depth.png", (40, 30)),
            r"000000.depth.png: image is .30, 40. .* hold",
        ),
        (
            lambda folder: resize(folder / "frame-000003.depth.png", (40, 30)),
            r"000003.depth.png: image is .30, 40. .* are for",
        ),
        (lambda folder: resize(folder / "frame-000003.color.jpg", (80, 45)), r"000003.color.jpg: .* not of the shape"),
        (
            lambda folder: double(folder / "frame-000003.color.png"),
            "000003.color.png: a second colour image of the same",
        ),
        (
            lambda folder: double(folder / "frame-000003.depth.npy"),
            "000003.depth.npy: a second depth image of the same",
        ),
    ],
)
def test_broken_folders_are_named(folder: Path, damage: Callable[[Path], object], message: str):
    damage(folder)
    with pytest.raises(DataError, match=message):
        load_rgbd(folder, voxel=VOXEL)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def resize(path: Path, size: tuple[int, int]) -> None:
    Image.open(path).resize(size).save(path)


def double(path: Path) -> None:
    path.write_bytes(b"whatever")


@pytest.mark.parametrize(("held", "times"), [(rgbd.HELD, 1), (0, 3)])
def test_pixels_of_depth_are_read_once_as_long_as_memory_is_given(
    frames: list, folder: Path, monkeypatch: pytest.MonkeyPatch, held: int, times: int
):
    """Sizes and types come from headers; intrinsics in doubt need no reading of their own."""
    monkeypatch.setattr(rgbd, "HELD", held)
    for path in sorted(folder.glob("*.depth.png")):
        np.save(path.with_suffix(".npy"), np.asarray(Image.open(path)).astype(np.float32) / 1000)
        path.unlink()
    read: list[Path] = []
    load = np.load

    def counted(path: Path, mmap_mode: str | None = None, **how: object) -> np.ndarray:
        read.extend([] if mmap_mode else [Path(path)])
        return load(path, mmap_mode=mmap_mode, **how)

    monkeypatch.setattr(np, "load", counted)
    load_views(folder)
    assert read == []
    matrix = SENSOR.intrinsics.copy()
    matrix[:2, 2] += (12, 9)  # off the middle by more than a tenth, and no crop: the frames decide
    np.savetxt(folder / "camera-intrinsics.txt", matrix)
    with pytest.raises(DataError, match="but the intrinsics in camera-intrinsics.txt hold for"):
        load_rgbd(folder, voxel=VOXEL)
    assert 0 < len(read) == len({*read}) <= SENSOR.frames
    read.clear()
    np.savetxt(folder / "camera-intrinsics.txt", SENSOR.intrinsics)
    scene = load_rgbd(folder, voxel=VOXEL)
    assert max(read.count(path) for path in read) == times and len(scene.views) == SENSOR.frames
    assert not any(isinstance(view, HeldView) for view in scene.views)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("rgb/1.5.png", "depth/1.5.png", "groundtruth.txt"), ("TUM's", "nearest in time", "--depth-scale 5000")),
        (("images/0.png", "transforms.json"), ("Nerfstudio's", "diag(1, -1, -1, 1)")),
        (("keyframes/images/7.jpg", "keyframes/cameras/7.json"), ("Polycam's", "diag(1, -1, -1, 1)")),
        (("lowres_wide/1_2.5.png", "lowres_wide.traj"), ("ARKitScenes'", "invert each")),
        (("images/0.jpg", "sparse/0/images.txt"), ("COLMAP's", "invert each", "fused.ply")),
        (("rgbd/0.jpg", "rgbd/0.depth", "metadata"), ("Record3D's", "by columns")),
        (("results/frame000000.jpg", "traj.txt"), ("Replica's", "--depth-scale 6553.5")),
        (("color/0.jpg", "depth/0.png", "intrinsic.json", "scene/trajectory.log"), ("Open3D's", "by columns")),
        (("color/0.jpg", "depth/0.png", "intrinsic.json"), ("as Open3D records", "no poses yet")),
        (("scene0000_00.sens",), ("ScanNet", "SensReader")),
        (("rgb.mp4", "odometry.csv"), ("Stray Scanner's", "camera-to-world")),
        (("output.mkv",), ("Azure Kinect", "no poses")),
        (("seq-01/frame-000000.color.png", "seq-01/frame-000000.depth.png"), ("its folders hold some: seq-01",)),
    ],
)
def test_layouts_of_other_programs_are_explained(tmp_path: Path, files: tuple, words: tuple):
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError) as error:
        load_rgbd(tmp_path)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_depth_images_may_end_in_capitals(folder: Path) -> None:
    expected = [view.depth() for view in load_views(folder)]
    for path in folder.glob("*.depth.png"):
        path.rename(path.with_suffix(".PNG"))
    for view, depth in zip(load_views(folder), expected, strict=True):
        np.testing.assert_array_equal(view.depth(), depth)


def test_an_archive_is_no_depth_image(folder: Path):
    path = sorted(folder.glob("*.depth.png"))[0]
    np.savez(path.with_suffix(".npz"), np.zeros((60, 80), np.uint16))
    path.with_suffix(".npz").rename(path.with_suffix(".npy"))
    path.unlink()
    with pytest.raises(DataError, match=r"depth.npy: not a readable npy file, but an archive"):
        load_views(folder)


def test_bad_arguments(folder: Path):
    with pytest.raises(DataError, match=r"nowhere: RGB-D folder not found"):
        load_rgbd(folder / "nowhere")
    with pytest.raises(InputError, match=r"up must be 'auto' or one of x, y, z, -x, -y, -z, found 'north'"):
        load_rgbd(folder, up="north")
    with pytest.raises(InputError, match=r"frame_skip and depth_scale must be positive"):
        load_rgbd(folder, frame_skip=0)


def test_cameras_without_a_common_up(folder: Path):
    views = load_views(folder)[:2]
    views[1].cam_to_world[:3, :3] = views[0].cam_to_world[:3, :3] @ np.diag([-1.0, -1, 1])  # rolled by half a turn
    with pytest.raises(InputError, match=r"give up='z'"):
        estimate_up(views, np.array([[0, 0, 1]], np.float32))


def test_the_real_kitchen(recordings: Path):
    scene = load_rgbd(recordings / "rgbd_kitchen", voxel=0.05, frame_skip=2)
    assert len(scene.views) == 20
    assert 5_000 < len(scene) < 60_000
    floor = (scene.points[:, 2] < scene.points[:, 2].min() + 0.15) & (scene.normals[:, 2] > 0.9)
    assert floor.mean() > 0.03  # it stands on its floor
    eyes = np.array([view.cam_to_world[2, 3] for view in scene.views]) - scene.points[:, 2].min()
    assert 0.8 < np.median(eyes) < 2.0  # held by a person
    rises = np.array([-view.cam_to_world[2, 1] for view in scene.views])
    assert np.median(rises) > 0.7
    assert depth_error(scene) < 0.03
