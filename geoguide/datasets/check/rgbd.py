"""Is a folder a recording of posed RGB-D frames of one's own, or does it hold some, and are they whole?"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.check.report import Report, check_empty, check_scenes
from geoguide.datasets.formats.cameras import check_alike, read_image_size, read_intrinsics, read_pose
from geoguide.datasets.formats.frame_files import of_frame
from geoguide.datasets.scannet import is_scannet
from geoguide.errors import GeoGuideError
from geoguide.image_files import read_color, read_image
from geoguide.ops.strays import named_rows
from geoguide.scene import Scene, View

HOW = ("unit", "up", "depth_scale", "max_depth")  # of `load_rgbd`'s arguments those that a user may give


def is_recordings(root: Path) -> bool:
    """Tell whether a folder is a recording of RGB-D frames, or holds some.

    Args:
        root: The folder.

    Returns:
        Whether it has a layout of `datasets.rgbd`, or folders in it have; scans of ScanNet, with a mesh, are none.
    """
    return bool(_recordings(root))


def check_recordings(root: Path, report: Report, **how: Any) -> None:
    """Check recordings one by one: each is reconstructed, as `geoguide segment` does it, and every image decoded.

    Args:
        root: The folder.
        report: Is filled.
        **how: Of `HOW` those that are given, as `geoguide segment` takes them.
    """
    folders = _recordings(root)
    tally = check_scenes(report, "RGB-D recordings", folders, functools.partial(_load, report, how), need_labels=False)
    for folder in folders:
        check_empty(report, folder)
    if tally.scenes:
        given = "".join(f" --{name.replace('_', '-')} {value}" for name, value in how.items())
        for command in ("segment", "fit-scan"):
            report.uses.append(f"geoguide {command} <recording> --labels ...{given} ({tally.scenes} recordings)")


def _load(report: Report, how: Mapping[str, Any], folder: Path) -> Scene:
    """A recording; of one that cannot be read the report names every file that is missing or broken, not the first."""
    from geoguide.datasets.rgbd import MAX_DEPTH, load_rgbd  # meshes are made by packages that are slow to import

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* frames skipped")  # `check_scenes` names them
            scene = load_rgbd(folder, **how)
    except GeoGuideError:
        _name_faults(report, folder)
        raise
    _name_lone(report, folder, scene.views, how.get("max_depth", MAX_DEPTH))
    return scene


def _name_faults(report: Report, folder: Path) -> None:
    """Name the files of a recording that are missing or broken, and images that do not fit the first depth image."""
    from geoguide.datasets.rgbd import depth_file, list_frames

    frames, camera = list_frames(folder)
    size = None
    with report.noting():
        read_intrinsics(camera)
    for frame in frames:
        with report.noting():
            read_pose(of_frame(frame.pose))
        with report.noting():
            read_color(frame.color)
        with report.noting():
            depth = depth_file(frame.depth)
            read_image(depth)
            size = size or read_image_size(depth)
            check_alike(frame.color, depth, size, camera)


def _name_lone(report: Report, folder: Path, views: Sequence[View], max_depth: float) -> None:
    """Name cameras that stand so far from all others that no point is seen by both."""
    from scipy.spatial import KDTree

    posed = [view for view in views if view.has_pose]
    if len(posed) < 2:
        return
    eyes = np.array([view.cam_to_world[:3, 3] for view in posed])  # [K, 3]
    away = KDTree(eyes).query(eyes, k=2)[0][:, 1]  # [K], metres to the nearest other camera
    rows = np.flatnonzero(away > 2 * max_depth)
    if len(rows):
        named = named_rows(rows, eyes, lambda row: posed[row].name)
        report.problem(f"{folder}: cameras that share no point with any other, are their poses wrong? {named}")


def _recordings(root: Path) -> list[Path]:
    """The recordings that lie in `root`, or `root` itself where that is one."""
    from geoguide.datasets.rgbd import is_rgbd

    if is_scannet(root):
        return []
    if is_rgbd(root):
        return [root]
    return sorted(path for path in root.iterdir() if path.is_dir() and is_rgbd(path) and not is_scannet(path))
