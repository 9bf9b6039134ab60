"""Frames of OpenScene's 2D folders as views, their pixels left on disk; see `openscene_folders` for what lies where."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import check_fits, read_image_size, read_intrinsics, read_pose, warn_lost
from geoguide.datasets.formats.files import by_number, listed, need_file
from geoguide.datasets.formats.frame_files import frame_key, of_frame
from geoguide.datasets.formats.matterport_cameras import check_upright, depth_name, region_views
from geoguide.datasets.nuscenes_car import check_amid, check_around, warn_gaps
from geoguide.datasets.openscene_folders import Layout
from geoguide.datasets.surface_agreement import check_surface, views_inside
from geoguide.errors import DataError
from geoguide.scene import View

NUSCENES_CAMERAS = ("back", "back_left", "back_right", "front", "front_left", "front_right")


def load_views(
    root: Path, layout: Layout, split: str, name: str, points: np.ndarray
) -> tuple[tuple[View, ...], tuple[str, ...]]:
    """List the views of a scene.

    Args:
        root: The folder that holds the 2D folder.
        layout: The scene's layout.
        split: The scene's split.
        name: The scene's name, of `scene_name`.
        points: The scene's points [P, 3], which decide on Matterport3D which of the building's images it has.

    Returns:
        The views, empty where the scene has no 2D folder; and a sentence for `Scene.as_read` where it has no views
        though there is a 2D folder.

    Raises:
        DataError: A file is missing or broken, an image is not of the published size, the depth images show other
            points, or the cameras of nuScenes are not those of one car amid the points.
    """
    home = root / layout.folder_2d
    folder = home / {"nuscenes": f"{split}/{name}", "scannet": name}.get(layout.dataset, name.split("_")[0])
    if not folder.is_dir():
        return (), (f"{layout.folder_2d} holds no folder of it: no images",) * home.is_dir()
    if layout.dataset == "nuscenes":
        return _whole_ring(tuple(_nuscenes_views(folder, layout)), points, folder), ()
    _check_whole(folder, layout)
    if not _colors(folder):
        return (), (f"{layout.folder_2d}/{folder.name}/color holds no .jpg: no images",)
    if layout.dataset == "scannet":
        views = seen = tuple(_scannet_views(folder, home / "intrinsics.txt", layout))
    else:
        views = tuple(_matterport_views(folder, split, points, layout))
        seen = views_inside(views, points)
    check_surface(points, seen, str(folder))
    return views, (f"no camera of {layout.folder_2d}/{folder.name} stands inside the region: no images",) * (not views)


def _colors(folder: Path) -> tuple[Path, ...]:
    """The colour images of a 2D folder."""
    return listed(folder / "color", suffixes=(".jpg",))


def _check_whole(folder: Path, layout: Layout) -> None:
    """Refuse a 2D folder that lacks the colour image of a pose, whose frame would be lost, or has two of a frame."""
    colors = Counter(frame_key(path.stem) for path in _colors(folder))
    twice = next((path for path in _colors(folder) if colors[frame_key(path.stem)] > 1), None)
    if twice is not None:
        raise DataError(f"{twice}: a second image of the same frame lies beside it, expected one")
    lost = [path for path in listed(folder / "pose", "*.txt") if frame_key(path.stem) not in colors]
    if lost:
        what = f"{len(lost)} poses of {layout.folder_2d} have no image" if len(lost) > 1 else "its pose is there"
        raise DataError(f"{folder / 'color' / lost[0].stem}.jpg: image not found, {what}")


def _scannet_views(folder: Path, camera: Path, layout: Layout) -> Iterator[View]:
    """All frames of a scan, in order; one file of intrinsics, `camera`, serves every scan."""
    intrinsics = read_intrinsics(camera)
    for color in by_number(_colors(folder)):
        depth = need_file(of_frame(folder / "depth" / f"{color.stem}.png"), "depth image")
        yield _view(
            color, depth, read_pose(of_frame(folder / "pose" / f"{color.stem}.txt")), intrinsics, camera, layout
        )


def _matterport_views(folder: Path, split: str, points: np.ndarray, layout: Layout) -> Iterator[View]:
    """The images of a building that belong to the region of points [P, 3], each with intrinsics of its own."""
    paths = _colors(folder)
    poses = np.stack([read_pose(folder / "pose" / f"{path.stem}.txt") for path in paths])  # [K, 4, 4]
    warn_lost(poses, (path.stem for path in paths), folder)
    check_upright(poses, f"{folder / 'pose'}")
    for number in region_views(poses[:, :3, 3], points, split):
        color = paths[number]
        depth = need_file(of_frame(folder / "depth" / matterport_depth_name(color)), "depth image")
        camera = folder / "intrinsic" / f"{color.stem}.txt"
        yield _view(color, depth, poses[number], read_intrinsics(camera), camera, layout)


def matterport_depth_name(color: Path) -> str:
    """Name the depth image that belongs to a colour image of Matterport3D.

    Args:
        color: The colour image, `<panorama>_i<camera>_<yaw>.jpg`.

    Returns:
        `<panorama>_d<camera>_<yaw>.png`.

    Raises:
        DataError: The colour image is named otherwise.

    Example:
        >>> matterport_depth_name(Path("0b1ed7f2_i1_3.jpg"))
        '0b1ed7f2_d1_3.png'
    """
    name = depth_name(color.name)
    if name is None:
        raise DataError(f"{color}: image files are named <panorama>_i<camera>_<yaw>.jpg")
    return name


def _nuscenes_views(folder: Path, layout: Layout) -> Iterator[View]:
    """The six cameras of a key frame, each with intrinsics of its own, without depth."""
    for name in NUSCENES_CAMERAS:
        color = need_file(of_frame(folder / "color" / f"{name}.jpg"), "image")
        pose, camera = read_pose(folder / "pose" / f"{name}.npy"), folder / "K" / f"{name}.npy"
        yield _view(color, None, pose, read_intrinsics(camera), camera, layout)


def _whole_ring(views: tuple[View, ...], points: np.ndarray, folder: Path) -> tuple[View, ...]:
    """The views of nuScenes, checked to be those of one car, amid the points [P, 3] of its sweep."""
    channels = {f"CAM_{view.name.upper()}": view for view in views}
    check_around(channels, f"{folder / 'pose'}")
    check_amid(points, views, f"{folder / 'pose'}")
    warn_gaps(channels, f"{folder / 'K'}")
    return views


def _view(
    color: Path, depth: Path | None, pose: np.ndarray, intrinsics: np.ndarray, camera: Path, layout: Layout
) -> View:
    """A view, its images checked to have the published size and its intrinsics, read from `camera`, to fit them."""
    for path in (color,) if depth is None else (color, depth):
        size = read_image_size(path)
        if size != layout.image_size:  # resizing in silence would hide that the intrinsics hold for another size
            expected = f"{list(layout.image_size)} (H, W), for which {layout.folder_2d}'s intrinsics hold"
            raise DataError(f"{path}: image must be {expected}, found {list(size)}")
    check_fits(intrinsics, layout.image_size, color, camera)
    return View(color.stem, intrinsics, pose, layout.image_size, color, depth, layout.depth_scale or 1.0)
