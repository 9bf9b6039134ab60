"""Reading ply, json, matrices and intrinsics so that a broken file gives one line that names it."""

from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElementParseError, PlyParseError

from geoguide.datasets.formats.files import need_file
from geoguide.errors import DataError, InputError
from geoguide.paths import replacing
from geoguide.scene import unit_colors


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


KINDS = {"f4": "float", "f8": "double", "u1": "uchar", "i1": "char", "u2": "ushort", "i2": "short"}


KINDS |= {"i4": "int", "u4": "uint"}


def write_ply(
    path: str | Path,
    vertices: np.ndarray,
    colors: np.ndarray,
    faces: np.ndarray | None = None,
    **properties: np.ndarray,
) -> None:
    """Write a binary little-endian ply with ScanNet's properties, atomically.

    vertices [P, 3] as float x y z; colors uint8 [P, 3] as red green blue, alpha 255; faces [F, 3] as lists of int;
    further per-vertex properties by keyword, each [P] of at most 32-bit integers or floats. Raises `InputError` when a
    shape or dtype does not fit.
    """
    count = len(vertices)
    if np.shape(vertices) != (count, 3) or np.shape(colors) != (count, 3) or colors.dtype != np.uint8:
        raise InputError(
            f"write_ply needs vertices [P, 3] and uint8 colors [P, 3], found {list(np.shape(vertices))} and "
            f"{colors.dtype} {list(np.shape(colors))}"
        )
    columns = {axis: vertices[:, number].astype("<f4") for number, axis in enumerate("xyz")}
    columns |= {name: colors[:, number] for number, name in enumerate(("red", "green", "blue"))}
    columns["alpha"] = np.full(count, 255, dtype=np.uint8)
    for name, values in properties.items():
        if np.shape(values) != (count,) or values.dtype.str[1:] not in KINDS:
            raise InputError(f"write_ply: {name} must be [{count}], found {values.dtype} {list(np.shape(values))}")
        columns[name] = values.astype(values.dtype.newbyteorder("<"))
    records = np.zeros(count, dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        records[name] = values
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property {KINDS[values.dtype.str[1:]]} {name}" for name, values in columns.items()]
    body = records.tobytes()
    if faces is not None:
        triangles = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
        triangles["count"], triangles["corners"] = 3, faces
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        body += triangles.tobytes()
    with replacing(path) as temporary:
        temporary.write_bytes(("\n".join([*header, "end_header"]) + "\n").encode("ascii") + body)
