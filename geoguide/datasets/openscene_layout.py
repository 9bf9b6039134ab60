"""Scenes of OpenScene's 3D folders, and their fused features; see `openscene_folders` for what lies where."""

import re
import warnings
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import listed, need_folder
from geoguide.datasets.formats.fused_features import FusedFeatures, feature_files
from geoguide.datasets.formats.ply import finite_points
from geoguide.datasets.formats.torch_files import as_array, read_torch
from geoguide.datasets.normals import camera_places, sided_normals
from geoguide.datasets.openscene_folders import layout_of, scene_name, suffix_of
from geoguide.datasets.openscene_views import load_views
from geoguide.datasets.points import grey_colors
from geoguide.datasets.splits import USUAL, check_lists_apart
from geoguide.datasets.units import need_metres
from geoguide.errors import DataError
from geoguide.ops.colors import GREY, unit_colors
from geoguide.ops.origin import far_offset
from geoguide.scene import VOID, Scene, void_as_read

IGNORE = -100  # OpenScene's second way to write void


def list_scenes(root: str | Path, name: str, split: str) -> tuple[Path, ...]:
    """List the scenes of a split.

    Args:
        root: The folder that holds the 3D folder.
        name: Name of the 3D folder, such as "scannet_3d".
        split: Name of the split, a folder in it.

    Returns:
        The scenes' files, sorted.

    Raises:
        DataError: A folder is missing or unknown, the split is empty, or it holds files of another layout, or a scene
            twice.
    """
    layout = layout_of(name)
    folder = need_folder(Path(root) / layout.name / split, f"{split} split")
    paths = listed(folder, suffixes=(".pth",))
    if not paths:
        raise DataError(f"{folder}: the split is empty, expected files *{layout.suffix}")
    for path in paths:
        first = path.with_name(re.sub(r" \(\d+\)$", "", path.stem) + path.suffix)
        if first != path and first in paths:
            raise DataError(f"{path}: a second download of {first.name}? Expected one file of each scene, remove one")
    odd = next((path for path in paths if path.suffix != ".pth" or suffix_of(path) != layout.suffix), None)
    if odd is not None:
        raise DataError(f"{odd}: mixed layouts, expected names *{layout.suffix} in {layout.name}")
    return paths


def check_splits_apart(root: str | Path, name: str, scored: str) -> None:
    """Refuse a split whose scenes are scored and that shares a scene with another.

    Args:
        root: The folder that holds the 3D folder.
        name: Name of the 3D folder.
        scored: Name of the split; it need not be there.

    Raises:
        DataError: A scene's file is in another split too.
    """
    home = Path(root) / name
    check_lists_apart(
        {home / split: tuple(path.name for path in listed(home / split, suffixes=(".pth",))) for split in USUAL},
        home / scored,
    )


def load_scene(path: str | Path, *, views: bool = True) -> Scene:
    """Read one scene, with the frames of its 2D folder where that is there.

    Colours in [-1, 1] become [0, 1]; nuScenes has the scalar 0 instead, mid grey. There are no faces and no normals:
    these are estimated, and look to the side that was seen (see `normals`).

    Args:
        path: `<root>/<3D folder>/<split>/<scene>.pth`.
        views: Whether to read the frames. A region of Matterport3D has the building's images whose camera stands inside
            its bounding box, or in the test split, where none does, the 100 nearest to its centre (OpenScene's rule).

    Returns:
        The scene, named by `scene_name`, with labels of the layout's label set, 255 for void.

    Raises:
        DataError: Something is missing or broken; the message names file, field, expected and found.
    """
    path = Path(path)
    layout, name = layout_of(path.parents[1]), scene_name(path)
    value = read_torch(path)
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        found = type(value).__name__
        found += f" of {', '.join(map(str, value))}" if isinstance(value, dict) else ""
        found += f" of {len(value)} parts" if isinstance(value, (tuple, list)) else ""
        raise DataError(f"{path}: expected a tuple (coords, colors, labels), found {found:.120}")
    coords, colors, labels = (
        as_array(part, path, name) for part, name in zip(value, ("coords", "colors", "labels"), strict=True)
    )
    points = _points(coords, path)
    found = _labels(labels, len(points), layout.classes, path)
    shades, colored = _colors(colors, len(points), path)
    if layout.dataset != "nuscenes" and (shades == GREY).all():
        colored += ("no colours: all points are grey",)
    frames, unseen = load_views(path.parents[2], layout, path.parent.name, name, points) if views else ((), ())
    normals, said = sided_normals(points, None, camera_places(frames))
    return Scene(
        name=name,
        points=points,
        colors=shades,
        normals=normals,
        labels=found,
        views=frames,
        as_read=(*said, *colored, *void_as_read(found), *unseen),
    )


def open_features(folder: str | Path, path: str | Path, num_points: int) -> tuple[FusedFeatures, ...]:
    """Open the fused features of one scene, with one warning when it has none: OpenScene leaves such scenes out.

    Args:
        folder: The folder of fused features.
        path: The scene's `.pth` file.
        num_points: The scene's number of points, P, against which the features are checked.

    Returns:
        The features, one for each file; empty when there is none.

    Raises:
        DataError: The folder is missing, or a file is broken or of another cloud.
    """
    files = feature_files(folder, scene_name(path))
    if not files:
        warnings.warn(f"{folder}: no fused features of {scene_name(path)}", stacklevel=2)
    return tuple(FusedFeatures(file, num_points) for file in files)


def _points(values: np.ndarray, path: Path) -> np.ndarray:
    """Points float32 [P, 3] in metres near the origin, which the poses of the 2D folder count from too."""
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        raise DataError(
            f"{path}: coords must be float32 or float64, found {values.dtype}: rounded, or numbers of voxels?"
        )
    points = finite_points(values, path, "coords")
    need_metres(points, path)
    offset = far_offset(points)
    if offset.any():
        found = " ".join(f"{value:g}" for value in np.median(values, axis=0))
        raise DataError(f"{path}: coords must lie near the origin, as published, found {found} in the middle")
    return points


def _colors(values: np.ndarray, count: int, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Colours float32 [count, 3] in [0, 1], from [-1, 1]; grey from nuScenes' scalar 0; what was read otherwise."""
    if values.ndim == 0:
        if values != 0:
            raise DataError(f"{path}: colors must be [{count}, 3] or the scalar 0, found {values}")
        return grey_colors(count), ()
    if values.shape != (count, 3) or values.dtype.kind != "f":
        raise DataError(f"{path}: colors must be floats [{count}, 3], found {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all() or np.abs(values).max() > 1 + 1e-6:
        raise DataError(f"{path}: colors must lie in [-1, 1], found {values.min()}..{values.max()}")
    if values.min() >= 0 and values.max() > 0:  # no point darker than mid grey: that is no picture in -1..1
        shades, said = unit_colors(values, signed=True)
        return shades, () if said is None else (said,)
    return np.clip((values.astype(np.float32) + 1) / 2, 0, 1), ()


def _labels(values: np.ndarray, count: int, classes: int, path: Path) -> np.ndarray:
    """Class ids int64 [count], 0..classes-1 or 255; any other id in the file than these and -100 is a `DataError`."""
    if values.shape != (count,) or values.dtype.kind not in "fiu":
        raise DataError(f"{path}: labels must be class ids [{count}], found {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        raise DataError(f"{path}: labels must be whole numbers, found nan, inf or fractions")
    labels = values.astype(np.int64)
    labels[labels == IGNORE] = VOID
    outside = labels[(labels != VOID) & ((labels < 0) | (labels >= classes))]
    if outside.size:
        raise DataError(f"{path}: labels holds {outside[0]}, expected 0..{classes - 1}, 255 or -100")
    return labels
