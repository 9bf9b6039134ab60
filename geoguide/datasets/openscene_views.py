"""Frames of OpenScene's 2D folders (see `openscene_layout`) as views; pixels stay on disk."""

from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import check_camera, check_fits, read_image_size, read_intrinsics, warn_lost
from geoguide.datasets.formats.files import need_file, read_matrix
from geoguide.datasets.formats.matterport_cameras import region_views
from geoguide.datasets.openscene_folders import Layout
from geoguide.errors import DataError
from geoguide.scene import View

NUSCENES_CAMERAS = ("back", "back_left", "back_right", "front", "front_left", "front_right")


def load_views(root: Path, layout: "Layout", split: str, name: str, points: np.ndarray) -> tuple[View, ...]:
    """Views of scene `name`; empty where its 2D folder is absent. points [P, 3] decide on Matterport3D."""
    home = root / layout.folder_2d
    if layout.dataset == "nuscenes":
        folder = home / split / name
        return _nuscenes_views(folder, layout) if folder.is_dir() else ()
    folder = home / (name if layout.dataset == "scannet" else name.split("_")[0])
    if not (folder / "color").is_dir():
        return ()
    if layout.dataset == "scannet":
        return _scannet_views(folder, home / "intrinsics.txt", layout)
    return _matterport_views(folder, split, name, points, layout)


def _scannet_views(folder: Path, camera: Path, layout: "Layout") -> tuple[View, ...]:
    intrinsics = read_intrinsics(camera)
    paths = sorted((folder / "color").glob("*.jpg"), key=lambda path: (len(path.stem), path.stem))
    odd = next((path for path in paths if not path.stem.isdigit()), None)
    if odd is not None:
        raise DataError(f"{odd}: frame files are named by number, as 120.jpg")
    views = []
    for color in paths:
        depth = need_file(folder / "depth" / f"{color.stem}.png", "depth image")
        pose = read_matrix(folder / "pose" / f"{color.stem}.txt", ((4, 4),), "pose")
        views.append(_view(color, depth, pose, intrinsics, camera, layout))
    return tuple(views)


def _matterport_views(folder: Path, split: str, name: str, points: np.ndarray, layout: "Layout") -> tuple[View, ...]:
    paths = sorted((folder / "color").glob("*.jpg"))
    if not paths:
        return ()
    poses = np.stack([read_matrix(folder / "pose" / f"{path.stem}.txt", ((4, 4),), "pose") for path in paths])
    warn_lost(poses, (path.stem for path in paths), folder)
    views = []
    for number in region_views(poses[:, :3, 3], points, split):
        color = paths[number]
        depth = need_file(folder / "depth" / matterport_depth_name(color), "depth image")
        camera = folder / "intrinsic" / f"{color.stem}.txt"
        views.append(_view(color, depth, poses[number], read_intrinsics(camera), camera, layout))
    return tuple(views)


def matterport_depth_name(color: Path) -> str:
    """`<panorama>_d1_3.png` of `<panorama>_i1_3.jpg`."""
    parts = color.stem.rsplit("_", 2)
    if len(parts) != 3 or not parts[1].startswith("i"):
        raise DataError(f"{color}: image files are named <panorama>_i<camera>_<yaw>.jpg")
    return f"{parts[0]}_d{parts[1][1:]}_{parts[2]}.png"


def _nuscenes_views(folder: Path, layout: "Layout") -> tuple[View, ...]:
    views = []
    for name in NUSCENES_CAMERAS:
        color = need_file(folder / "color" / f"{name}.jpg", "image")
        pose = _read_npy(folder / "pose" / f"{name}.npy", (4, 4), "pose")
        camera = folder / "K" / f"{name}.npy"
        intrinsics = check_camera(_read_npy(camera, (3, 3), "intrinsics"), camera)
        views.append(_view(color, None, pose, intrinsics, camera, layout))
    return tuple(views)


def _view(
    color: Path, depth: Path | None, pose: np.ndarray, intrinsics: np.ndarray, camera: Path, layout: "Layout"
) -> View:
    """A view whose images must have the published size, and whose intrinsics, of the file `camera`, must fit it."""
    for path in (color, *(() if depth is None else (depth,))):
        size = read_image_size(path)
        if size != layout.image_size:  # resizing in silence would hide that the intrinsics hold for another size
            raise DataError(
                f"{path}: image must be {list(layout.image_size)} (H, W), for which {layout.folder_2d}'s intrinsics "
                f"hold, found {list(size)}"
            )
    check_fits(intrinsics, layout.image_size, color, camera)
    return View(
        name=color.stem,
        intrinsics=intrinsics,
        cam_to_world=pose,
        image_size=layout.image_size,
        color_path=color,
        depth_path=depth,
        depth_scale=layout.depth_scale or 1.0,
    )


def _read_npy(path: Path, shape: tuple[int, int], what: str) -> np.ndarray:
    """A float64 matrix of `shape` from an .npy file."""
    path = need_file(path, what)
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: {what} is not a readable npy file, truncated? ({error})") from None
    if matrix.shape != shape or matrix.dtype.kind not in "fiu":
        raise DataError(f"{path}: {what} must be numbers {list(shape)}, found {matrix.dtype} {list(matrix.shape)}")
    return matrix.astype(np.float64)
