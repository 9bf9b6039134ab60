"""Scenes as Pointcept preprocesses them, each a folder of arrays.

    <root>/{train, val, test}/<scene>/{coord, color, normal, segment20, segment200, instance}.npy        ScanNet
    any folder with coord.npy and, if there are any, color.npy and normal.npy                             other data

ScanNet's points are the vertices of the mesh, in order and unmoved: fused features of OpenScene are features of them.
Labels count the benchmark's classes from 0, in its order; -1 is void, as it is for instances. There are no faces and no
frames.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import is_junk, load_npy, need_folder
from geoguide.datasets.formats.ply import exact_points
from geoguide.datasets.points import Cloud, cloud_scene
from geoguide.datasets.splits import USUAL, check_lists_apart
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import load_label_set
from geoguide.scene import NO_INSTANCE, VOID, Scene, void_as_read

POINTS = "coord.npy"
LABELS = {"scannet20": "segment20.npy", "scannet200": "segment200.npy"}
SCORED = "val"


def is_scene(folder: Path) -> bool:
    """Tell whether a folder is one scene.

    Args:
        folder: The folder.

    Returns:
        Whether it holds an array of points.
    """
    return (folder / POINTS).is_file()


def is_layout(root: Path) -> bool:
    """Tell whether a folder is a dataset in this layout.

    Args:
        root: The folder.

    Returns:
        Whether one of its splits holds a scene.
    """
    return any(is_scene(folder) for split in USUAL for folder in _folders(root / split))


def list_scenes(root: str | Path, split: str) -> tuple[Path, ...]:
    """List the scenes of a split.

    Args:
        root: The folder that holds the splits.
        split: Name of the split, a folder in it.

    Returns:
        The scenes' folders, sorted.

    Raises:
        DataError: The folder is missing or empty, or a scene of the split `SCORED` is in another one too.
    """
    root = Path(root)
    folder = need_folder(root / split, f"{split} split")
    found = _folders(folder)
    if not found:
        raise DataError(f"{folder}: the split is empty, expected folders <scene>/{POINTS}")
    check_lists_apart({root / each: tuple(f.name for f in _folders(root / each)) for each in USUAL}, root / SCORED)
    return found


def load_scene(folder: str | Path, *, labels: str | None = None, unit: str | None = None, up: str = "z") -> Scene:
    """Read one scene.

    Args:
        folder: The scene's folder.
        labels: The label set, a key of `LABELS`; None reads neither labels nor instances.
        unit: Of the coordinates, as in `points.load_points`.
        up: Which direction points up, likewise.

    Returns:
        The scene, named as its folder; without labels where their file is not there (test scenes).

    Raises:
        DataError: An array is missing, truncated, no array of numbers, or of another number of points; or the cloud
            cannot be in metres.
        ConfigError: The layout does not have this label set.
        InputError: An unknown unit or direction.
    """
    folder = need_folder(folder, "scene")
    if labels is not None and labels not in LABELS:
        raise ConfigError(f"Pointcept's layout has the label sets {', '.join(LABELS)}; found {labels!r}")
    points = exact_points(load_npy(folder / POINTS, "points"), folder / POINTS, "coord")
    color, normal = (_array(folder / f"{name}.npy", (len(points), 3)) for name in ("color", "normal"))
    try:
        scene = cloud_scene(folder.name, Cloud(points, color, normal), unit, up)
    except InputError as error:
        raise DataError(f"{folder}: {error}") from None
    if labels is None:
        return scene
    ids = _labels(folder / LABELS[labels], len(points), len(load_label_set(labels)))
    instances = _array(folder / "instance.npy", (len(points),))
    if instances is not None:
        instances = np.maximum(_whole(instances, folder / "instance.npy"), NO_INSTANCE)
    return replace(scene, labels=ids, instances=instances, as_read=(*scene.as_read, *void_as_read(ids)))


def _folders(split: Path) -> tuple[Path, ...]:
    """The folders of a split, sorted, without a file manager's."""
    return tuple(sorted(path for path in split.glob("*/") if not is_junk(path.name)))


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """An array of one scene's points; None where the file is not there."""
    if not path.is_file():
        return None
    found = load_npy(path, path.stem)
    found = found.reshape(-1) if len(shape) == 1 and found.shape == (*shape, 1) else found  # as older versions wrote it
    if found.shape != shape or found.dtype.kind not in "fiu":
        expected = f"expected numbers {list(shape)}, a row for each point of {POINTS}"
        raise DataError(f"{path}: {expected}, found {found.dtype} {list(found.shape)}")
    return found


def _whole(values: np.ndarray, path: Path) -> np.ndarray:
    """Numbers as int64, or a `DataError`."""
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        raise DataError(f"{path}: expected whole numbers, found NaN, inf or fractions")
    return values.astype(np.int64)


def _labels(path: Path, count: int, classes: int) -> np.ndarray | None:
    """Class ids int64 [count], 0..classes-1 or 255; -1 and 255 in the file are void."""
    found = _array(path, (count,))
    if found is None:
        return None
    ids = _whole(found, path)
    ids[ids == -1] = VOID
    outside = ids[(ids != VOID) & ((ids < 0) | (ids >= classes))]
    if outside.size:
        raise DataError(f"{path}: expected class ids 0..{classes - 1}, -1 or 255 for void, found {outside[0]}")
    return ids
