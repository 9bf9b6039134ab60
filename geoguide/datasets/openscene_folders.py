"""The folders that OpenScene published for ScanNet, Matterport3D and nuScenes, and that later work reuses.

    <root>/{scannet_3d, matterport_3d, matterport_3d_40, _80, _160, nuscenes_3d}/{train, val, test}/<scene>.pth
    <root>/scannet_2d/intrinsics.txt, scannet_2d/<scene>/{color/N.jpg, depth/N.png, pose/N.txt}       every 20th frame
    <root>/matterport_2d/<building>/{color/<image>.jpg, depth/<image>.png, pose/<image>.txt, intrinsic/<image>.txt}
    <root>/nuscenes_2d/<split>/<scene>/{color/<camera>.jpg, pose/<camera>.npy, K/<camera>.npy}        last timestamp
    a folder of fused features of any name: see `formats.fused_features`

A .pth file is the tuple (coords, colors, labels); -100 and 255 mean void. Poses are camera-to-world, OpenCV axes.
"""

from dataclasses import dataclass
from pathlib import Path

from geoguide.errors import DataError


@dataclass(frozen=True)
class Layout:
    """One of the published 3D folders, with its 2D folder.

    Attributes:
        name: Name of the 3D folder.
        dataset: Which benchmark it is of: "scannet", "matterport3d" or "nuscenes".
        classes: Number of classes, C, that its labels count.
        label_set: Name of the label set of these classes.
        suffix: What a scene's file name ends with after the scene's name.
        folder_2d: Name of the 2D folder.
        image_size: (H, W) of the images, which their intrinsics hold for.
        depth_scale: Units of the depth images per metre, None without depth.
    """

    name: str
    dataset: str
    classes: int
    label_set: str
    suffix: str
    folder_2d: str
    image_size: tuple[int, int]
    depth_scale: float | None


def _matterport(name: str, classes: int) -> Layout:
    return Layout(name, "matterport3d", classes, f"matterport{classes}", ".pth", "matterport_2d", (512, 640), 4000.0)


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("scannet_3d", "scannet", 20, "scannet20", "_vh_clean_2.pth", "scannet_2d", (240, 320), 1000.0),
        _matterport("matterport_3d", 21),
        *(_matterport(f"matterport_3d_{classes}", classes) for classes in (40, 80, 160)),
        Layout("nuscenes_3d", "nuscenes", 16, "nuscenes16", ".pth", "nuscenes_2d", (450, 800), None),
    )
}


def layout_of(folder: str | Path) -> Layout:
    """Look up the layout of a 3D folder by its name.

    Args:
        folder: The folder, or its name alone.

    Returns:
        Its layout.

    Raises:
        DataError: OpenScene published no folder of this name.

    Example:
        >>> layout_of("data/matterport_3d_40").label_set
        'matterport40'
    """
    name = Path(folder).name
    if name not in LAYOUTS:
        raise DataError(f"{folder}: not a 3D folder of OpenScene's layout; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def scene_name(path: str | Path) -> str:
    """Name a scene as its 2D folder and its files of fused features do.

    Args:
        path: `<3D folder>/<split>/<file>.pth`; it need not exist.

    Returns:
        The file's name without the layout's suffix.

    Raises:
        DataError: OpenScene published no 3D folder of this name.

    Example:
        >>> scene_name("scannet_3d/val/scene0011_00_vh_clean_2.pth")
        'scene0011_00'
    """
    path = Path(path)
    return path.name.removesuffix(layout_of(path.parents[1]).suffix)


def suffix_of(path: Path) -> str:
    """Tell by which layout's suffix a scene's file is named.

    Args:
        path: A `.pth` file.

    Returns:
        The longest of the suffixes that its name ends with: ScanNet's ends with the others' too.
    """
    return max((one.suffix for one in LAYOUTS.values() if path.name.endswith(one.suffix)), key=len)
