"""One file of points as a scene: ply, npz, bin (float32 columns) or OpenScene's .pth tuple; z is taken as up."""

import warnings
import zipfile
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import need_file
from geoguide.datasets.formats.ply import checked_points, finite_points, read_ply, vertex_columns, vertex_normals
from geoguide.datasets.formats.torch_files import read_torch
from geoguide.errors import DataError, InputError
from geoguide.scene import VOID, Scene, unit_colors

SUFFIXES = (".ply", ".npz", ".bin", ".pth", ".pt")
KEYS = {
    "points": ("points", "coord", "coords", "xyz"),
    "colors": ("colors", "color", "rgb"),
    "normals": ("normals", "normal"),
    "labels": ("labels", "label", "segment"),
}
GREY = 0.5
Field = np.ndarray | None  # of a cloud that need not have it


def load_points(path: str | Path, *, columns: int | None = None) -> Scene:
    """Read one file as a cloud (or mesh) without views.

    The suffix decides what is read:
    - ply: x y z, optional red green blue, nx ny nz, faces (which give normals when the file has none);
    - npz: points (or coord, coords, xyz), optional colors, normals, labels (or similar names, see `KEYS`);
    - bin: rows of float32, see `columns`;
    - pth, pt: OpenScene's (coords, colors, labels) with colours in [-1, 1] and labels -100 or 255 for void; no pickled
      code is run.

    Without colours the cloud is grey, with one warning; intensity is shown as grey.

    Args:
        path: The file.
        columns: Values in a row of a bin file: 3 (x y z), 4 (x y z intensity), 5 (nuScenes: x y z intensity ring) or 6
            (x y z r g b, 0..255). None: 5 or 6, when exactly one of them fits the values.

    Returns:
        The scene, named as the file without its suffix.

    Raises:
        DataError: Something is missing, truncated, empty or not finite; the message names file and field.
        InputError: `columns` is another number, or is given for a file that is no bin file.
    """
    path = need_file(path, "point file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown point format {suffix!r}; known: {', '.join(SUFFIXES)}")
    if columns is not None and suffix != ".bin":
        raise InputError(f"columns is only for .bin files, found {path.name}")
    if suffix == ".bin":
        return _load_bin(path, columns)
    return {".ply": _load_ply, ".npz": _load_npz}.get(suffix, _load_pth)(path)


def grey_colors(count: int) -> np.ndarray:
    """Give points that have no colour one: mid grey.

    Args:
        count: Number of points, P.

    Returns:
        Colours, float32 [P, 3].
    """
    return np.full((count, 3), GREY, dtype=np.float32)


def _load_ply(path: Path) -> Scene:
    records, faces = read_ply(path)
    points = checked_points(records, path)
    rgb = vertex_columns(records, ("red", "green", "blue"), path)
    normals = vertex_columns(records, ("nx", "ny", "nz"), path)
    faces = faces if faces is not None and len(faces) else None
    if normals is None and faces is not None:
        normals = vertex_normals(points, faces)
    return _scene(path, points, rgb, normals, faces)


def _load_npz(path: Path) -> Scene:
    try:
        with np.load(path, allow_pickle=False) as archive:
            key_of = {field: next((key for key in keys if key in archive), None) for field, keys in KEYS.items()}
            arrays = {field: archive[key] for field, key in key_of.items() if key is not None}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable npz file, truncated? ({error})") from None
    if "points" not in arrays:
        raise DataError(f"{path}: field 'points' is missing (or {', '.join(KEYS['points'][1:])})")
    points = finite_points(arrays["points"], path, str(key_of["points"]))
    return _scene(path, points, arrays.get("colors"), arrays.get("normals"), labels=arrays.get("labels"))


def _load_bin(path: Path, count: int | None) -> Scene:
    values = np.frombuffer(path.read_bytes()[: path.stat().st_size // 4 * 4], dtype="<f4")
    if path.stat().st_size % 4 or len(values) == 0:
        raise DataError(f"{path}: {path.stat().st_size} bytes are not float32 values, truncated or empty?")
    if count is None:
        count = _infer_columns(values, path)
    if count not in (3, 4, 5, 6):
        raise InputError(f"columns must be 3, 4, 5 or 6, found {count}")
    if len(values) % count:
        raise DataError(f"{path}: {len(values)} float32 values are not rows of {count} columns, truncated?")
    rows = values.reshape(-1, count)  # [P, count]
    points = finite_points(rows[:, :3], path, "columns 0..2 (x, y, z)")
    if count == 6:
        return _scene(path, points, rows[:, 3:6])
    return _scene(path, points, np.repeat(rows[:, 3:4], 3, axis=1) if count > 3 else None)


def _infer_columns(values: np.ndarray, path: Path) -> int:
    """How many values a row has: 6 when columns 3..5 are whole numbers 0..255, 5 when column 4 is one 0..127 (a ring).

    `DataError` when both fit or none does: it is never guessed.
    """
    fits = []
    for count, last, top in ((6, slice(3, 6), 255), (5, slice(4, 5), 127)):
        if len(values) % count == 0:
            part = values.reshape(-1, count)[:, last]  # [P, 3] or [P, 1]
            if np.isfinite(part).all() and (part == np.rint(part)).all() and part.min() >= 0 and part.max() <= top:
                fits.append(count)
    if len(fits) != 1:
        raise DataError(f"{path}: cannot tell how many columns a row of these {len(values)} values has; give columns=")
    return fits[0]


def _load_pth(path: Path) -> Scene:
    value = read_torch(path)
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        raise DataError(f"{path}: expected a tuple (coords, colors, labels), found {type(value).__name__}")
    coords, rgb, *rest = (np.asarray(part) for part in value)
    points = finite_points(coords, path, "coords")
    colors = None if rgb.ndim == 0 else (_floats(rgb, len(points), path, "colors") + 1) / 2
    return _scene(path, points, colors, labels=rest[0] if rest else None)


def _scene(
    path: Path, points: np.ndarray, colors: Field, normals: Field = None, faces: Field = None, labels: Field = None
) -> Scene:
    """Check the optional fields against the points [P, 3] and build the scene."""
    count = len(points)
    if colors is None:
        warnings.warn(f"{path}: has no colours, all points are grey", stacklevel=4)
        unit = grey_colors(count)
    else:
        _floats(colors, count, path, "colors")
        unit = unit_colors(colors)
    if normals is not None:
        normals = _floats(normals, count, path, "normals")
        length = np.linalg.norm(normals, axis=1, keepdims=True)  # [P, 1]
        normals = np.where(length > 0, normals / np.where(length > 0, length, 1), (0.0, 0.0, 1.0)).astype(np.float32)
    labels = None if labels is None else _labels(labels, count, path)
    return Scene(path.name[: -len(path.suffix)], points, unit, normals, faces, labels)


def _floats(values: np.ndarray, count: int, path: Path, field: str) -> np.ndarray:
    """Values as float64 [count, 3]; another shape or anything not finite raises `DataError`."""
    values = np.asarray(values)
    if values.shape != (count, 3) or values.dtype.kind not in "fiu":
        raise DataError(f"{path}: {field} must be numbers [{count}, 3], found {values.dtype} {list(values.shape)}")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: {field} holds NaN or inf")
    return values.astype(np.float64)


def _labels(values: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Class ids int64 [count]; negative (OpenScene's -100) and above 255 become void."""
    values = np.asarray(values)
    if values.shape != (count,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise DataError(f"{path}: labels must be class ids [{count}], found {values.dtype} {list(values.shape)}")
    labels = values.astype(np.int64)
    return np.where((labels < 0) | (labels > VOID), VOID, labels)
