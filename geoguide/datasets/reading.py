"""Reading ply, json, matrices and intrinsics so that a broken file gives one line that names it."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from plyfile import PlyData, PlyElementParseError, PlyParseError

from geoguide.errors import DataError
from geoguide.scene import unit_colors

MINI_STAMP = "mini.json"  # generated data carry this file beside the official ones
OFF_CENTRE = 0.1  # of the image's extent; real cameras' principal points lie within 0.03 of the middle
STRETCH = 0.02  # relative; ScanNet's colour, 968 x 1296, is wider by 0.004 than its depth, 480 x 640


def need_file(path: str | Path, what: str) -> Path:
    """`path` as a Path when it is a file; otherwise `DataError`."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {what} not found")
    return path


def need_folder(path: str | Path, what: str) -> Path:
    """`path` as a Path when it is a folder; otherwise `DataError`."""
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: {what} not found or not a folder")
    return path


def read_json(path: str | Path, fields: tuple[str, ...]) -> dict:
    """A json object with at least `fields`; truncated or otherwise broken raises `DataError`."""
    path = need_file(path, "json file")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid json, truncated? ({error})") from None
    for field in fields:
        if not isinstance(value, dict) or field not in value:
            raise DataError(f"{path}: field {field!r} is missing")
    return value


def integers(value: Any, path: Path, field: str) -> np.ndarray:
    """A json value as an int64 array; `DataError` naming `field` where it is not a list of integers, not of floats."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.empty(1, dtype=object)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"{path}: {field} must be a list of integers, found {array.dtype}")
    return array.astype(np.int64)


def read_matrix(path: str | Path, shapes: tuple[tuple[int, int], ...], what: str) -> np.ndarray:
    """A text matrix float64 of one of `shapes`; inf and nan are kept (a lost pose)."""
    path = need_file(path, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "input contained no data": reported below by shape
            matrix = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {what} is not a matrix of numbers ({error})") from None
    if matrix.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise DataError(f"{path}: {what} must be {expected}, found {list(matrix.shape)}")
    return matrix


def read_intrinsics(path: str | Path) -> np.ndarray:
    """Camera matrix float64 [3, 3] from a 3x3 or 4x4 text file, checked to be finite with positive focal lengths."""
    return check_camera(read_matrix(path, ((3, 3), (4, 4)), "intrinsics")[:3, :3], Path(path))


def check_camera(matrix: np.ndarray, path: Path) -> np.ndarray:
    """The camera matrix [3, 3] itself; `DataError` naming `path` unless finite with positive focal lengths."""
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(f"{path}: intrinsics need finite values and positive focal lengths")
    return matrix


def check_fits(intrinsics: np.ndarray, size: tuple[int, int], image: Path, source: Path) -> None:
    """`DataError` naming `image` where its size (H, W) cannot be the one that intrinsics [3, 3] of `source` hold for.

    The principal point must lie near the middle. Images halved, or colour intrinsics for depth images, are found so;
    lifting would otherwise put every feature on the wrong point without a word.
    """
    extent = np.array(size[::-1], dtype=np.float64)  # (W, H)
    principal = intrinsics[:2, 2]
    if (np.abs(principal - (extent - 1) / 2) > OFF_CENTRE * extent).any():
        width, height = 2 * principal + 1
        raise DataError(
            f"{image}: image is {list(size)} (H, W), but the intrinsics in {source.name} hold for about "
            f"[{height:.0f}, {width:.0f}]"
        )


def check_frame(color: Path, depth: Path, size: tuple[int, int], source: Path) -> None:
    """`DataError` naming the image of a frame that intrinsics in `source`, for depth of `size` (H, W), do not hold for.

    Depth must have that size; colour, which will be resized to it, only its shape.
    """
    found = read_image_size(depth)
    if found != tuple(size):
        raise DataError(
            f"{depth}: image is {list(found)} (H, W), but the frames before and {source.name} are for {list(size)}"
        )
    check_shape(read_image_size(color), size, color)


def check_shape(found: tuple[int, int], size: tuple[int, int], image: Path) -> None:
    """`DataError` naming `image` where its colour, `found` (H, W), would be stretched when resized to `size`."""
    if abs(found[1] * size[0] / (found[0] * size[1]) - 1) > STRETCH:
        raise DataError(f"{image}: image is {list(found)} (H, W), not of the shape of the depth images, {list(size)}")


def resize_intrinsics(intrinsics: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """Camera matrix [3, 3] for images resized from `size` to `new_size`, both (H, W) (OpenScene's rule).

    fx by the width ratio, fy by the height ratio, cx by (w' - 1) / (w - 1), cy likewise.
    """
    (height, width), (new_height, new_width) = size, new_size
    resized = np.array(intrinsics, dtype=np.float64)
    resized[0, 0] *= new_width / width
    resized[1, 1] *= new_height / height
    resized[0, 2] *= (new_width - 1) / (width - 1)
    resized[1, 2] *= (new_height - 1) / (height - 1)
    return resized


def read_image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) from an image's header, without decoding its pixels."""
    path = need_file(path, "image")
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a readable image ({error})") from None


def read_ply(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """(vertex records [P], faces int64 [F, 3] or None) of a ply file; polygons are fanned into triangles."""
    vertices, records = read_ply_records(path)
    if records is None:
        return vertices, None
    return vertices, _checked_faces(records, len(vertices), Path(path))


def read_ply_triangles(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertex records [P], faces int64 [F, 3], face records [F]) of a ply file whose faces carry properties."""
    vertices, records = read_ply_records(path)
    if records is None:
        raise DataError(f"{path}: element 'face' is missing")
    faces = _checked_faces(records, len(vertices), Path(path))
    if len(faces) != len(records):
        raise DataError(f"{path}: faces must be triangles, found {len(records)} polygons of {len(faces)} triangles")
    return vertices, faces, records


def read_ply_records(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Vertex records [P] and face records [F] (or None) of a ply file as they are."""
    path = need_file(path, "ply file")
    triangles = {"face": {"vertex_indices": 3, "vertex_index": 3}}  # fixed lengths are read at once, not row by row
    try:
        try:
            data = PlyData.read(path, known_list_len=triangles)
        except PlyElementParseError as error:
            if "unexpected list length" not in str(error):
                raise
            data = PlyData.read(path)
    except (PlyParseError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: not a readable ply file, truncated? ({error})") from None
    elements = {element.name: element for element in data.elements}
    if "vertex" not in elements:
        raise DataError(f"{path}: element 'vertex' is missing")
    vertices = np.array(elements["vertex"].data)
    return vertices, elements["face"].data if "face" in elements else None


def _checked_faces(records: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Faces int64 [F, 3] of face records, checked to name vertices below `count`."""
    field = next((name for name in ("vertex_indices", "vertex_index") if name in (records.dtype.names or ())), None)
    if field is None:
        raise DataError(f"{path}: element 'face' has no list vertex_indices")
    faces = _triangles(records[field])
    if faces.size and (faces.min() < 0 or faces.max() >= count):
        raise DataError(f"{path}: field vertex_indices names vertices outside 0..{count - 1}")
    return faces


def _triangles(lists: np.ndarray) -> np.ndarray:
    """Faces int64 [F, 3] of polygon vertex lists: [F, 3] already, or F lists of any lengths."""
    if lists.dtype != object:
        return np.array(lists, dtype=np.int64).reshape(-1, 3)
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    fans = [np.empty((0, 3), dtype=np.int64)]
    for length in np.unique(lengths[lengths >= 3]):
        polygons = np.stack(lists[lengths == length]).astype(np.int64)  # [n, length]
        fans += [polygons[:, [0, corner, corner + 1]] for corner in range(1, length - 1)]
    return np.concatenate(fans)


def vertex_columns(records: np.ndarray, names: tuple[str, ...], path: Path) -> np.ndarray | None:
    """The named vertex properties as [P, len(names)], None when all are absent, `DataError` when only some are."""
    present = [name for name in names if name in (records.dtype.names or ())]
    if not present:
        return None
    if len(present) < len(names):
        missing = ", ".join(name for name in names if name not in present)
        raise DataError(f"{path}: vertex property {missing} is missing")
    return np.stack([np.asarray(records[name]) for name in names], axis=1)


def checked_points(records: np.ndarray, path: Path) -> np.ndarray:
    """x, y, z of vertex records as float32 [P, 3]; empty or not finite raises `DataError`."""
    points = vertex_columns(records, ("x", "y", "z"), path)
    if points is None:
        raise DataError(f"{path}: vertex properties x, y, z are missing")
    return finite_points(points, path, "x, y, z")


def checked_colors(records: np.ndarray, path: Path) -> np.ndarray:
    """red, green, blue of vertex records as float32 [P, 3] in [0, 1]; missing or not of 8 bits raises `DataError`."""
    rgb = vertex_columns(records, ("red", "green", "blue"), path)
    if rgb is None:
        raise DataError(f"{path}: vertex properties red, green, blue are missing")
    if rgb.dtype != np.uint8:
        raise DataError(f"{path}: vertex properties red, green, blue must be uint8, found {rgb.dtype}")
    return unit_colors(rgb)


def finite_points(points: np.ndarray, path: Path, field: str) -> np.ndarray:
    """Coordinates as float32 [P, 3], contiguous; wrong shape, empty, NaN or inf raise `DataError` naming `field`."""
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise DataError(f"{path}: {field} must be numbers [P, 3], found {points.dtype} {list(points.shape)}")
    if len(points) == 0:
        raise DataError(f"{path}: {field}: the cloud is empty")
    points = np.ascontiguousarray(points, dtype=np.float32)
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise DataError(f"{path}: {field} holds NaN or inf in {int(bad.sum())} of {len(points)} rows")
    return points


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted vertex normals float32 [P, 3] of vertices [P, 3] and faces [F, 3].

    A vertex without any face (or with faces of no area) has no normal of its own: it gets straight up, (0, 0, 1).
    """
    corners = vertices.astype(np.float64)[faces]  # [F, 3, 3]
    area_normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # [F, 3]
    normals = np.empty((len(vertices), 3))
    for axis in range(3):
        weight = np.repeat(area_normal[:, axis], 3)
        normals[:, axis] = np.bincount(faces.reshape(-1), weight, minlength=len(vertices))
    length = np.linalg.norm(normals, axis=1, keepdims=True)  # [P, 1]
    flat = length[:, 0] <= 1e-12
    normals[flat], length[flat] = (0.0, 0.0, 1.0), 1.0
    return (normals / length).astype(np.float32)
