"""The folders that OpenScene published for ScanNet, Matterport3D and nuScenes, and that later work reuses.

    <root>/{scannet_3d, matterport_3d, matterport_3d_40, _80, _160, nuscenes_3d}/{train, val, test}/<scene>.pth
    <root>/scannet_2d/intrinsics.txt, scannet_2d/<scene>/{color/N.jpg, depth/N.png, pose/N.txt}       every 20th frame
    <root>/matterport_2d/<building>/{color/<image>.jpg, depth/<image>.png, pose/<image>.txt, intrinsic/<image>.txt}
    <root>/nuscenes_2d/<split>/<scene>/{color/<camera>.jpg, pose/<camera>.npy, K/<camera>.npy}        last timestamp
    a folder of fused features of any name: see `fused_features`

A .pth file is the tuple (coords, colors, labels); -100 and 255 mean void. Poses are camera-to-world, OpenCV axes.
"""

import warnings
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import need_folder
from geoguide.datasets.formats.fused_features import FusedFeatures, feature_files
from geoguide.datasets.formats.ply import finite_points
from geoguide.datasets.formats.torch_files import read_torch
from geoguide.datasets.openscene_folders import _suffix, layout_of, scene_name
from geoguide.datasets.openscene_views import load_views
from geoguide.errors import DataError
from geoguide.scene import VOID, Scene

IGNORE = -100  # OpenScene's second way to write void


GREY = 0.5


def list_scenes(root: str | Path, name: str, split: str) -> tuple[Path, ...]:
    """Scene files of `<root>/<name>/<split>`, sorted; `DataError` when the folder is missing or the split is empty."""
    layout = layout_of(name)
    folder = need_folder(Path(root) / layout.name / split, f"{split} split")
    paths = tuple(sorted(folder.glob("*.pth")))
    if not paths:
        raise DataError(f"{folder}: the split is empty, expected files *{layout.suffix}")
    odd = next((path for path in paths if _suffix(path) != layout.suffix), None)
    if odd is not None:
        raise DataError(f"{odd}: mixed layouts, expected names *{layout.suffix} in {layout.name}")
    return paths


def load_scene(path: str | Path, *, views: bool = True) -> Scene:
    """Read `<root>/<name>/<split>/<scene>.pth`, with the frames of its 2D folder where that is there.

    Colours in [-1, 1] become [0, 1]; nuScenes has the scalar 0 instead, mid grey. There are no faces and no normals.
    Matterport3D: the building's images whose camera stands inside the region's bounding box, or in the test
    split, where none does, the 100 nearest to its centre (OpenScene's rule). Raises `DataError` naming file, field,
    expected and found.
    """
    path = Path(path)
    layout, name = layout_of(path.parents[1]), scene_name(path)
    value = read_torch(path)
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise DataError(f"{path}: expected a tuple (coords, colors, labels), found {type(value).__name__}")
    coords, colors, labels = (np.asarray(part) for part in value)
    points = finite_points(coords, path, "coords")
    return Scene(
        name=name,
        points=points,
        colors=_colors(colors, len(points), path),
        labels=_labels(labels, len(points), layout.classes, path),
        views=load_views(path.parents[2], layout, path.parent.name, name, points) if views else (),
    )


def open_features(folder: str | Path, path: str | Path, num_points: int) -> tuple[FusedFeatures, ...]:
    """The fused features in `folder` of the scene at `path`, checked against its number of points.

    One warning, and an empty tuple, when there is none: OpenScene leaves such scenes out.
    """
    files = feature_files(folder, scene_name(path))
    if not files:
        warnings.warn(f"{folder}: no fused features of {scene_name(path)}", stacklevel=2)
    return tuple(FusedFeatures(file, num_points) for file in files)


def _colors(values: np.ndarray, count: int, path: Path) -> np.ndarray:
    """float32 [count, 3] in [0, 1] from [-1, 1], or grey from nuScenes' scalar 0."""
    if values.ndim == 0:
        if values != 0:
            raise DataError(f"{path}: colors must be [{count}, 3] or the scalar 0, found {values}")
        return np.full((count, 3), GREY, np.float32)
    if values.shape != (count, 3) or values.dtype.kind != "f":
        raise DataError(f"{path}: colors must be floats [{count}, 3], found {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all() or np.abs(values).max() > 1 + 1e-6:
        raise DataError(f"{path}: colors must lie in [-1, 1], found {values.min()}..{values.max()}")
    return np.clip((values.astype(np.float32) + 1) / 2, 0, 1)


def _labels(values: np.ndarray, count: int, classes: int, path: Path) -> np.ndarray:
    """int64 [count], 0..classes-1 or 255; any other id than these and -100 raises `DataError`."""
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
