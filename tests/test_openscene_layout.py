"""OpenScene's published folders: hand-made ones field by field, broken files."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoguide.datasets.formats.fused_features import FusedFeatures
from geoguide.datasets.formats.matterport_cameras import check_upright
from geoguide.datasets.openscene_folders import layout_of, scene_name
from geoguide.datasets.openscene_layout import list_scenes, load_scene, open_features
from geoguide.errors import DataError, InputError
from geoguide.lifting import fuse

NAME = "scene0011_01"
COORDS = np.array([[0, 0, 0], [1, 0, 2], [1, 1, 0], [0, 1, 0], [2, 2, 2.5]])  # float64, as published
COLORS = np.linspace(-1, 1, 15).reshape(5, 3)
LABELS = np.array([0.0, 19, -100, 255, 7])
K = np.array([[288.9, 0, 159.5], [0, 288.9, 119.5], [0, 0, 1]])  # of ScanNet's 240 x 320
K_MATTERPORT = np.array([[538.2, 0, 315.4], [0, 538.6, 254.5], [0, 0, 1]])  # 512 x 640
K_NUSCENES = np.array([[633.2, 0, 407.9], [0, 633.2, 245.6], [0, 0, 1]])  # 450 x 800


def save_image(path: Path, size: tuple[int, int], depth: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full(size, 2000, np.uint16) if depth else np.full((*size, 3), 90, np.uint8)
    Image.fromarray(image).save(path)


def save_text(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix)


def at(x: float, y: float, z: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def looking(degrees: float, x: float) -> np.ndarray:
    """A level camera at (x, 0, 0) that looks so many degrees to the left of the x axis."""
    pose, (c, s) = np.eye(4), (np.cos(np.radians(degrees)), np.sin(np.radians(degrees)))
    pose[:3] = [[s, 0, c, x], [-c, 0, s, 0], [0, -1, 0, 0]]
    return pose


def scannet(root: Path) -> Path:
    path = root / "scannet_3d" / "train" / f"{NAME}_vh_clean_2.pth"
    path.parent.mkdir(parents=True)
    torch.save((COORDS, COLORS, LABELS), path)
    home = root / "scannet_2d"
    for number, pose in ((0, at(0, 0, -2)), (20, np.full((4, 4), -np.inf)), (100, at(0, 0, -3))):
        save_image(home / NAME / "color" / f"{number}.jpg", (240, 320))
        save_image(home / NAME / "depth" / f"{number}.png", (240, 320), depth=True)
        save_text(home / NAME / "pose" / f"{number}.txt", pose)
    save_text(home / "intrinsics.txt", np.pad(K, (0, 1)) + np.diag([0, 0, 0, 1]))
    return path


def matterport(root: Path, split: str = "val", poses: tuple[np.ndarray, ...] = (at(1, 1, 1), at(9, 9, 9))) -> Path:
    path = root / "matterport_3d_40" / split / "2t7WUuJeko7_region3.pth"
    path.parent.mkdir(parents=True)
    torch.save((COORDS, COLORS, np.array([39, 0, 255, 1, 2])), path)
    home = root / "matterport_2d" / "2t7WUuJeko7"
    for yaw, pose in enumerate(poses):
        save_image(home / "color" / f"abc_i1_{yaw}.jpg", (512, 640))
        save_image(home / "depth" / f"abc_d1_{yaw}.png", (512, 640), depth=True)
        save_text(home / "pose" / f"abc_i1_{yaw}.txt", pose)
        save_text(home / "intrinsic" / f"abc_i1_{yaw}.txt", K_MATTERPORT + np.diag([yaw, yaw, 0]))
    return path


def nuscenes(root: Path) -> Path:
    path = root / "nuscenes_3d" / "val" / "scene-0003.pth"
    path.parent.mkdir(parents=True)
    torch.save((COORDS, 0, np.array([0.0, 15, 255, 255, 3])), path)
    home = root / "nuscenes_2d" / "val" / "scene-0003"
    for kind in ("pose", "K"):
        (home / kind).mkdir(parents=True)
    looks = {"back": 180, "back_left": 120, "back_right": -120, "front": 0, "front_left": 60, "front_right": -60}
    for number, (camera, degrees) in enumerate(looks.items()):
        save_image(home / "color" / f"{camera}.jpg", (450, 800))
        np.save(home / "pose" / f"{camera}.npy", looking(degrees, number))
        np.save(home / "K" / f"{camera}.npy", K_NUSCENES)
    return path


def test_scannet(tmp_path: Path):
    path = scannet(tmp_path)
    assert list_scenes(tmp_path, "scannet_3d", "train") == (path,)
    scene = load_scene(path)
    assert scene.name == scene_name(path) == NAME
    assert scene.points.dtype == np.float32 and np.array_equal(scene.points, COORDS)
    np.testing.assert_allclose(scene.colors, (COLORS + 1) / 2, atol=1e-6)
    assert scene.labels.tolist() == [0, 19, 255, 255, 7]
    assert [view.name for view in scene.views] == ["0", "20", "100"]
    assert [view.has_pose for view in scene.views] == [True, False, True]
    assert scene.views[0].intrinsics.tolist() == K.tolist()
    assert scene.views[0].depth()[0, 0] == 2.0
    assert load_scene(path, views=False).views == ()


def test_a_lost_pose_is_skipped_with_one_warning(tmp_path: Path):
    scene = load_scene(scannet(tmp_path))
    with pytest.warns(UserWarning, match=r"1 of 3 views skipped, pose holds nan or inf: 20") as caught:
        _, count = fuse(scene.points, scene.views, lambda view: view.color() / np.float32(255))
    assert len(caught) == 1
    assert count[0] == 1  # frame 0 stands 2 m off, where its depth says 2 m; frame 100 one metre further away


def test_matterport_takes_the_images_inside_the_region(tmp_path: Path):
    scene = load_scene(matterport(tmp_path))
    assert scene.name == "2t7WUuJeko7_region3"
    assert scene.labels.tolist() == [39, 0, 255, 1, 2]
    (view,) = scene.views
    assert (view.name, view.image_size, view.depth_scale) == ("abc_i1_0", (512, 640), 4000.0)
    assert view.depth_path.name == "abc_d1_0.png"
    assert view.intrinsics.tolist() == K_MATTERPORT.tolist()  # per image
    assert view.depth()[0, 0] == 0.5


@pytest.mark.parametrize(("split", "expected"), [("train", []), ("test", ["abc_i1_1", "abc_i1_0"])])
def test_matterport_region_without_images_inside(tmp_path: Path, split: str, expected: list[str]):
    scene = load_scene(matterport(tmp_path, split, (at(9, 9, 9), at(-1, 1, 1))))
    assert [view.name for view in scene.views] == expected  # the nearest first


def test_matterport_lost_pose_is_named_once(tmp_path: Path):
    lost = at(1, 1, 1)
    lost[2, 2] = np.nan
    path = matterport(tmp_path, poses=(at(1, 1, 1), lost, at(1, 1, np.inf)))
    with pytest.warns(UserWarning, match=r"2 frames skipped, pose holds nan or inf: abc_i1_1, abc_i1_2") as caught:
        scene = load_scene(path)
        with pytest.raises(InputError, match=r"no point is visible"):  # all stand behind the only good camera's depth
            fuse(scene.points, scene.views[:1], lambda view: view.color())
    assert len([one for one in caught if "frames skipped" in str(one.message)]) == 1


def test_nuscenes_has_no_colours_and_no_depth(tmp_path: Path):
    scene = load_scene(nuscenes(tmp_path))
    assert scene.colors.tolist() == [[0.5] * 3] * 5
    assert scene.labels.tolist() == [0, 15, 255, 255, 3]
    assert [view.name for view in scene.views][:2] == ["back", "back_left"]
    assert {view.image_size for view in scene.views} == {(450, 800)}
    with pytest.raises(DataError, match=r"has no depth image"):
        scene.views[0].depth()


def test_2d_folders_may_be_absent(tmp_path: Path):
    path = tmp_path / "nuscenes_3d" / "train" / "a.pth"
    path.parent.mkdir(parents=True)
    torch.save((torch.from_numpy(COORDS), 0, torch.zeros(5)), path)
    assert load_scene(path).views == ()


def test_open_features_checks_the_cloud(tmp_path: Path):
    path, folder = scannet(tmp_path), tmp_path / "scannet_multiview_openseg"
    folder.mkdir()
    with pytest.warns(UserWarning, match=rf"no fused features of {NAME}"):
        assert open_features(folder, path, 5) == ()
    mask = torch.tensor([True, False, True, True])
    torch.save({"feat": torch.ones(3, 2).half(), "mask_full": mask}, folder / f"{NAME}_0.pt")
    with pytest.raises(DataError, match=rf"{NAME}_0.pt: mask_full holds 4 points, the cloud has 5"):
        open_features(folder, path, 5)
    assert len(open_features(folder, path, 4)[0]) == 4


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def saving(*value: object) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "torch file not found"),
        (truncate, "not a readable file of plain arrays, truncated"),
        (saving(COORDS, COLORS), r"expected a tuple \(coords, colors, labels\), found tuple of 2 parts"),
        (lambda path: torch.save({"coord": COORDS, "color": COLORS}, path), "found dict of coord, color"),
        (saving(COORDS[:, :2], COLORS, LABELS), r"coords must be numbers \[P, 3\]"),
        (saving(COORDS * np.nan, COLORS, LABELS), "coords holds NaN or inf in 5 of 5 rows"),
        (saving(COORDS, COLORS[:4], LABELS), r"colors must be floats \[5, 3\], found float64 \[4, 3\]"),
        (saving(COORDS, (COLORS * 255).astype(np.int64), LABELS), r"colors must be floats \[5, 3\], found int64"),
        (saving(COORDS, COLORS * 255, LABELS), r"colors must lie in \[-1, 1\], found -255"),
        (saving(COORDS, 1, LABELS), "or the scalar 0, found 1"),
        (saving(COORDS, COLORS, LABELS[:4]), r"labels must be class ids \[5\], found float64 \[4\]"),
        (saving(COORDS, COLORS, LABELS + 0.5), "labels must be whole numbers"),
        (saving(COORDS, COLORS, LABELS * 0 + 20), r"labels holds 20, expected 0..19, 255 or -100"),
        (saving(COORDS, COLORS, LABELS * 0 - 1), r"labels holds -1, expected 0..19"),
        (saving(COORDS, COLORS, LABELS > 0), r"labels must be class ids \[5\], found bool"),
    ],
)
def test_broken_scene_files_are_named(tmp_path: Path, damage: Callable[[Path], None], message: str):
    path = scannet(tmp_path)
    damage(path)
    with pytest.raises(DataError, match=f"{path.name}: .*{message}"):
        load_scene(path)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("intrinsics.txt", Path.unlink, "intrinsics not found"),
        (f"{NAME}/color/0.jpg", truncate, None),  # pixels are read when asked for
        (f"{NAME}/depth/20.png", Path.unlink, "depth image not found"),
        (f"{NAME}/depth/20.png", lambda path: path.write_bytes(b"png"), "not a readable image"),
        (f"{NAME}/pose/0.txt", Path.unlink, "pose not found"),
        (f"{NAME}/pose/0.txt", lambda path: save_text(path, np.eye(3)), r"pose must be \[4, 4\], found \[3, 3\]"),
        (f"{NAME}/color/0.jpg", lambda path: save_image(path, (480, 640)), r"\[240, 320\].*found \[480, 640\]"),
        (f"{NAME}/depth/100.png", lambda path: save_image(path, (120, 160), True), r"found \[120, 160\]"),
    ],
)
def test_broken_frames_are_named(tmp_path: Path, file: str, damage: Callable[[Path], None], message: str | None):
    path = scannet(tmp_path)
    damage(tmp_path / "scannet_2d" / file)
    if message is None:
        with pytest.raises(DataError, match=r"0.jpg: not a readable image"):
            load_scene(path).views[0].color()
        return
    with pytest.raises(DataError, match=f"{Path(file).name}: .*{message}"):
        load_scene(path)


HOUSE_2D, STREET_2D = "matterport_2d/2t7WUuJeko7", "nuscenes_2d/val/scene-0003"


def save_npy(value: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, value)


@pytest.mark.parametrize(
    ("make", "file", "damage", "message"),
    [
        (
            scannet,
            "scannet_2d/intrinsics.txt",
            lambda path: save_text(path, np.diag([2, 2, 1]) @ K),
            "intrinsics.txt hold for about",
        ),
        (matterport, f"{HOUSE_2D}/depth/abc_d1_0.png", Path.unlink, "depth image not found"),
        (matterport, f"{HOUSE_2D}/pose/abc_i1_1.txt", Path.unlink, "pose not found"),
        (matterport, f"{HOUSE_2D}/pose/abc_i1_1.txt", truncate, "pose must be|not a matrix"),
        (matterport, f"{HOUSE_2D}/intrinsic/abc_i1_0.txt", Path.unlink, "intrinsics not found"),
        (matterport, f"{HOUSE_2D}/intrinsic/abc_i1_0.txt", lambda path: save_text(path, K), "hold for about"),
        (
            matterport,
            f"{HOUSE_2D}/color/abc_i1_0.jpg",
            lambda path: save_image(path, (1024, 1280)),
            "found .1024, 1280",
        ),
        (nuscenes, f"{STREET_2D}/color/back.jpg", Path.unlink, "image not found"),
        (nuscenes, f"{STREET_2D}/color/back.jpg", lambda path: save_image(path, (900, 1600)), "found .900, 1600"),
        (nuscenes, f"{STREET_2D}/pose/back.npy", Path.unlink, "pose not found"),
        (
            nuscenes,
            f"{STREET_2D}/pose/back.npy",
            save_npy(np.eye(4) > 0),
            r"pose must be numbers .*found bool \[4, 4\]",
        ),
        (
            nuscenes,
            f"{STREET_2D}/K/front.npy",
            save_npy(np.eye(4)),
            r"must be numbers \[3, 3\], found float64 \[4, 4\]",
        ),
        (nuscenes, f"{STREET_2D}/K/front.npy", save_npy(np.diag([2, 2, 1]) @ K_NUSCENES), "front.npy hold for about"),
        (nuscenes, f"{STREET_2D}/K/front.npy", truncate, "intrinsics is not a readable npy file"),
    ],
)
def test_broken_frames_of_every_set_are_named(
    tmp_path: Path, make: Callable[[Path], Path], file: str, damage: Callable[[Path], None], message: str
):
    path = make(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(DataError, match=f"/[^/]*: .*{message}"):
        load_scene(path)


def test_nuscenes_lost_pose_is_skipped_with_one_warning(tmp_path: Path):
    path = nuscenes(tmp_path)
    np.save(tmp_path / STREET_2D / "pose" / "front.npy", np.full((4, 4), np.nan))
    scene = load_scene(path)
    assert [view.name for view in scene.views if not view.has_pose] == ["front"]
    with pytest.warns(UserWarning, match=r"1 of 6 views skipped, pose holds nan or inf: front") as caught:
        fuse(scene.points, scene.views, lambda view: view.color(), use_depth=False, border=5)
    assert len(caught) == 1


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.int32, torch.bfloat16, torch.float16, "grad", ">i2"])
def test_parts_of_every_type(tmp_path: Path, kind: torch.dtype | str):
    """Tensors and arrays as people save them: small integers, half floats, tensors still tied to a network."""
    path = matterport(tmp_path)
    expected = load_scene(path)
    labels = torch.tensor([39, 0, -100, 1, 2])
    colors = torch.tensor(COLORS)
    if kind == "grad":
        colors, labels = colors.requires_grad_(), torch.nn.Parameter(labels.float())
    elif isinstance(kind, str):
        labels = labels.numpy().astype(kind)
    else:
        labels = labels.to(kind)
        colors = colors.to(kind) if kind.is_floating_point else colors
    torch.save((torch.tensor(COORDS), colors, labels), path)
    scene = load_scene(path)
    assert np.array_equal(scene.points, expected.points) and np.array_equal(scene.labels, expected.labels)
    np.testing.assert_allclose(scene.colors, expected.colors, atol=2e-3)  # half of bfloat16's step below 1


@pytest.mark.parametrize(
    "part", [torch.ones(5, 3).to_sparse(), torch.ones(5, 3).cfloat(), torch.ones(5, 3, device="meta"), [[1.0], [1, 2]]]
)
def test_parts_that_are_no_plain_numbers(tmp_path: Path, part: object):
    path = matterport(tmp_path)
    torch.save((COORDS, part, np.zeros(5)), path)
    with pytest.raises(
        DataError,
        match=r"region3.pth: .*(expected plain|colors must hold|must be a plain|different lengths)",
    ):
        load_scene(path)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, "grad"])
def test_features_of_every_type(tmp_path: Path, kind: torch.dtype | str):
    feat = torch.arange(12.0).reshape(3, 4)
    feat = feat.requires_grad_() if kind == "grad" else feat.to(kind)
    torch.save({"feat": feat, "mask_full": torch.tensor([True, False, True, True, False])}, tmp_path / "a.pt")
    rows, seen = FusedFeatures(tmp_path / "a.pt", 5).rows(np.arange(5))
    assert seen.tolist() == [True, False, True, True, False]
    assert rows.dtype == np.float16 and rows[seen].ravel().tolist() == list(range(12))


def test_splits_and_names(tmp_path: Path):
    path = scannet(tmp_path)
    with pytest.raises(DataError, match=r"val: val split not found"):
        list_scenes(tmp_path, "scannet_3d", "val")
    (tmp_path / "scannet_3d" / "val").mkdir()
    with pytest.raises(DataError, match=r"val: the split is empty"):
        list_scenes(tmp_path, "scannet_3d", "val")
    with pytest.raises(DataError, match=r"replica_3d: not a 3D folder.*matterport_3d_160"):
        list_scenes(tmp_path, "replica_3d", "val")
    (path.parent / "2t7WUuJeko7_region3.pth").touch()
    with pytest.raises(DataError, match=r"2t7WUuJeko7_region3.pth: mixed layouts"):
        list_scenes(tmp_path, "scannet_3d", "train")
    path.rename(nuscenes(tmp_path).with_name(path.name))
    with pytest.raises(DataError, match=rf"{path.name}: mixed layouts, expected names \*.pth in nuscenes_3d"):
        list_scenes(tmp_path, "nuscenes_3d", "val")
    assert layout_of("matterport_3d").classes == 21


@pytest.mark.parametrize(
    ("coords", "colors", "message"),
    [
        (COORDS + np.array([448000, 5411000, 0]), COLORS, "coords must lie near the origin, as published, found 448"),
        ((COORDS * 50).astype(np.int32), COLORS, "coords must be float32 or float64, found int32"),
        (
            np.random.default_rng(0).uniform(0, 5000, (600, 3)),
            COLORS,
            "do not look like metres.*this dataset is in metres",
        ),
    ],
)
def test_coordinates_of_another_kind_are_told(tmp_path: Path, coords: np.ndarray, colors: np.ndarray, message: str):
    path = scannet(tmp_path)
    torch.save((coords, colors, LABELS), path)
    with pytest.raises(DataError, match=message):
        load_scene(path)


def test_colours_from_zero_to_one_are_read_so_and_said(tmp_path: Path):
    path = scannet(tmp_path)
    torch.save((COORDS, (COLORS + 1) / 2, LABELS), path)
    scene = load_scene(path)
    np.testing.assert_allclose(scene.colors, (COLORS + 1) / 2, atol=1e-6)
    assert "read as 0..1, not as -1..1" in " ".join(scene.as_read)


@pytest.mark.parametrize("ending", [".png", None])
def test_a_frame_whose_image_is_lost_is_told(tmp_path: Path, ending: str | None):
    path = scannet(tmp_path)
    image = tmp_path / "scannet_2d" / NAME / "color" / "20.jpg"
    image.unlink() if ending is None else image.rename(image.with_suffix(ending))
    with pytest.raises(DataError, match="20.jpg: image not found, its pose is there"):
        load_scene(path)


@pytest.mark.parametrize(
    ("write", "home"), [(scannet, "scannet_2d"), (matterport, "matterport_2d"), (nuscenes, "nuscenes_2d")]
)
def test_images_with_suffixes_in_capitals_are_the_same(tmp_path: Path, write: Callable[[Path], Path], home: str):
    path = write(tmp_path)
    before = load_scene(path).views
    for image in [*(tmp_path / home).rglob("*.jpg"), *(tmp_path / home).rglob("*.png")]:
        image.rename(image.with_suffix(image.suffix.upper()))
    for one, other in zip(load_scene(path).views, before, strict=True):
        assert (one.name, one.cam_to_world.tolist()) == (other.name, other.cam_to_world.tolist())
        assert one.color_path.suffix == ".JPG" and one.color().shape == (*other.image_size, 3)
        assert other.depth_path is None or one.depth_path == other.depth_path.with_suffix(".PNG")


@pytest.mark.parametrize("write", [scannet, matterport])
def test_two_images_of_a_frame_are_refused(tmp_path: Path, write: Callable[[Path], Path]):
    path = write(tmp_path)
    image = next(tmp_path.rglob("*.jpg"))
    image.with_suffix(".JPG").write_bytes(image.read_bytes())
    with pytest.raises(DataError, match=rf"{image.stem}.(JPG|jpg): a second image of the same frame lies beside it"):
        load_scene(path)


def test_a_scene_file_in_capitals_is_told(tmp_path: Path):
    path = scannet(tmp_path)
    path.with_name("scene0012_00_vh_clean_2.PTH").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="scene0012_00_vh_clean_2.PTH: mixed layouts"):
        list_scenes(tmp_path, "scannet_3d", "train")


def test_points_without_colours_are_said(tmp_path: Path):
    path = scannet(tmp_path)
    for colors in (0, np.zeros((5, 3))):
        torch.save((COORDS, colors, LABELS), path)
        scene = load_scene(path)
        assert (scene.colors == 0.5).all() and "no colours: all points are grey" in scene.as_read


@pytest.mark.parametrize(
    ("write", "home"), [(scannet, f"scannet_2d/{NAME}"), (matterport, "matterport_2d/2t7WUuJeko7")]
)
def test_a_folder_of_no_images_is_not_said_to_hold_cameras(tmp_path: Path, write, home: str):
    path = write(tmp_path)
    for part in ("color", "pose"):
        shutil.rmtree(tmp_path / home / part)
    scene = load_scene(path)
    assert not scene.views and scene.as_read[-1] == f"{home}/color holds no .jpg: no images"


def test_a_house_of_tilted_cameras_is_told(tmp_path: Path):
    """A tripod's three cameras look up, level and down; inverted poses lie on their side, other axes upside down."""
    poses = []
    for yaw, tilt in itertools.product(range(0, 360, 60), (-30, 0, 30)):
        pose, (c, s) = looking(yaw, 1.0), (np.cos(np.radians(tilt)), np.sin(np.radians(tilt)))
        pose[:3, :3] = pose[:3, :3] @ [[1, 0, 0], [0, c, -s], [0, s, c]]
        pose[:3, 3] = 1, 1, 1
        poses.append(pose)
    assert len(load_scene(matterport(tmp_path / "right", poses=tuple(poses))).views) == 18
    for name, change in (("inverted", np.linalg.inv), ("axes", lambda pose: pose @ np.diag([1.0, -1, -1, 1]))):
        path = matterport(tmp_path / name, poses=tuple(map(change, poses)))
        with pytest.raises(DataError, match=r"2t7WUuJeko7/pose: expected camera-to-world poses of upright cameras"):
            load_scene(path)
    check_upright(np.stack(poses[:11]) @ np.diag([1.0, -1, -1, 1]), "of fewer than 12 nothing is said")


@pytest.mark.parametrize("name", ["matterport_3d/val/{}.pth", "scannet_3d/val/{}_vh_clean_2.pth"])
def test_a_scene_that_was_downloaded_twice_is_none_more(tmp_path: Path, name: str) -> None:
    """A browser names the second file so; it counted as a further scene."""
    first = tmp_path / name.format("a_region0")
    first.parent.mkdir(parents=True)
    twice, other = first.with_stem(f"{first.stem} (1)"), first.with_name(first.name.replace("a_", "room (2) "))
    for path in (first, other):
        path.write_bytes(b"x")
    layout = first.parents[1].name
    assert set(list_scenes(tmp_path, layout, "val")) == {first, other}
    twice.write_bytes(b"x")
    with pytest.raises(DataError, match=rf"\(1\).pth: a second download of {first.name}\?"):
        list_scenes(tmp_path, layout, "val")
