"""Ply files: reading them, checking the vertex properties that a scene needs, and writing them as ScanNet does.

A ply file is a table of vertices with named properties and, for a mesh, a table of faces. *Vertex records* and *face
records* are these tables as structured numpy arrays, one entry a row, with the file's own property names and types.
"""

import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from plyfile import PlyData, PlyElement, PlyElementParseError, PlyParseError

from geoguide.datasets.formats.files import need_file
from geoguide.errors import DataError, InputError
from geoguide.ops.colors import unit_colors
from geoguide.ops.weld import Finder, find_weld
from geoguide.paths import replacing

FACE_LISTS = ("vertex_indices", "vertex_index")
TAIL = 1 << 16  # bytes behind the last row that are looked at: blanks, zeros or an old end-of-file mark, or lost rows
ROWS = 1 << 18  # vertices that are read at a time
LONGEST_HEADER = 1 << 26  # bytes; a comment for each of a million labels makes some 30 MiB
END = re.compile(rb"(?:^|[\r\n])end_header[ \t]*(?:\r\n?|\n|$)")
IN_TEXT = re.compile(rb"[\r\n]format\s+ascii")
IN_ASCII = bytes(byte if byte < 128 else ord("?") for byte in range(256))  # translates bytes one for one
# How a ply header names numpy's kinds of numbers.
KINDS = dict(f4="float", f8="double", u1="uchar", i1="char", u2="ushort", i2="short", i4="int", u4="uint")


def read_ply(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a point cloud or a mesh.

    Args:
        path: The ply file, text or binary.

    Returns:
        The vertex records [P], and the faces int64 [F, 3] or None where the file has no faces. A polygon of more than
        three corners becomes a fan of triangles around its first corner; one of fewer is left out.

    Raises:
        DataError: The file is missing, truncated or no ply file, has no element "vertex", or a face names a vertex
            that is not there.

    Example:
        >>> import tempfile
        >>> colors = np.full((3, 3), 128, dtype=np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "triangle.ply"
        ...     write_ply(path, np.eye(3), colors, faces=np.array([[0, 1, 2]]), label=np.array([7, 7, 2], np.uint16))
        ...     vertices, faces = read_ply(path)
        >>> vertices["x"].tolist(), vertices["label"].tolist(), faces.tolist()
        ([1.0, 0.0, 0.0], [7, 7, 2], [[0, 1, 2]])
    """
    vertices, records = read_ply_records(path)
    vertices = np.array(vertices)
    return vertices, None if records is None else checked_faces(records, len(vertices), Path(path))[0]


def read_ply_triangles(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a mesh whose faces carry properties of their own, as Matterport3D's do; they must be triangles.

    Args:
        path: The ply file.

    Returns:
        The vertex records [P], the faces int64 [F, 3] and the face records [F].

    Raises:
        DataError: As `read_ply`; also where there are no faces, or one has other than three corners.
    """
    vertices, records = read_ply_records(path)
    vertices = np.array(vertices)
    if records is None:
        raise DataError(f"{path}: element 'face' is missing")
    faces, dropped = checked_faces(records, len(vertices), Path(path))
    if dropped or len(faces) != len(records):
        found = f"{len(records)} polygons of {len(faces)} triangles, {dropped} of fewer than three corners"
        raise DataError(f"{path}: faces must be triangles, found {found}")
    return vertices, faces, records


def read_ply_records(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the tables of a ply file as they are, the faces unchecked.

    Args:
        path: The ply file.

    Returns:
        The vertex records [P], and the face records [F] or None where the file has no faces. Those of a binary file
        may be the mapped file itself, which is let go with them: take copies of what is to stay.

    Raises:
        DataError: The file is missing, truncated or no ply file, or has no element "vertex".
    """
    path = need_file(path, "ply file")
    triangles = {"face": {"vertex_indices": 3, "vertex_index": 3}}  # fixed lengths are read at once, not row by row
    try:
        try:
            data = _read_elements(path, triangles)
        except PlyElementParseError as error:
            if error.element is None or error.element.name != "face":
                raise
            data = _read_elements(path, {})
    except (PlyParseError, ValueError, OverflowError) as error:  # OverflowError: 300 in a column of bytes
        raise DataError(f"{path}: not a readable ply file, truncated? ({error}{_row_of(error, path)})") from None
    elements = {element.name: element for element in data.elements}
    elements |= {name.lower(): element for name, element in elements.items() if name.lower() not in elements}
    if "vertex" not in elements:
        names = ", ".join(element.name for element in data.elements) or "none"
        raise DataError(f"{path}: element 'vertex' is missing, found {names:.200}")
    return elements["vertex"].data, _face_records(elements)


def _row_of(error: Exception, path: Path) -> str:
    """The row of a text file at which plyfile stopped, for its message; nothing where there is none."""
    element, row = getattr(error, "element", None), getattr(error, "row", None)
    header = ply_header(path)
    if element is None or row is None or not IN_TEXT.search(header):
        return ""
    counts = re.findall(rb"[\r\n]element\s+(\S+)\s+(\d+)", header)
    names = [name.decode("ascii", "replace") for name, _ in counts]
    before = sum(int(count) for _, count in counts[: names.index(element.name)])
    with path.open("rb") as file:
        file.seek(len(header))
        lines = io.TextIOWrapper(file, "ascii", "backslashreplace")
        found = next(itertools.islice(lines, before + row, None), "").rstrip()
    return f", found {found[:80]!r}"


def _face_records(elements: dict[str, PlyElement]) -> np.ndarray | None:
    """The element "face", or what else lists vertices: the triangles of strips, or faces of another name ("Face")."""
    if "face" in elements:
        return elements["face"].data
    for name, element in elements.items():
        field = _vertex_lists(element.data)
        if name != "vertex" and field is not None and element.data[field].dtype == object:
            return _unrolled(element.data[field]) if name == "tristrips" else element.data
    return None


def _unrolled(strips: np.ndarray) -> np.ndarray:
    """Face records of triangle strips, lists of vertices in which -1 begins the next strip.

    Every second triangle of a strip is turned round; one that names a vertex twice only leads on.
    """
    runs = np.concatenate([np.append(np.asarray(strip, np.int64), (-1, -1, -1)) for strip in (*strips, [])])  # [n]
    corners = np.lib.stride_tricks.sliding_window_view(runs, 3).copy()  # [n - 2, 3]
    place = np.arange(len(runs))
    since = place - np.maximum.accumulate(np.where(runs < 0, place, -1))  # [n], 1 for the first vertex of a strip
    odd = since[:-2] % 2 == 0
    corners[odd] = corners[odd][:, [0, 2, 1]]
    a, b, c = corners.T
    kept = corners[(corners >= 0).all(axis=1) & (a != b) & (b != c) & (a != c)]
    records = np.empty(len(kept), [("vertex_indices", np.int64, (3,))])
    records["vertex_indices"] = kept
    return records


def _read_elements(path: Path, known_list_len: dict[str, dict[str, int]]) -> PlyData:
    """All elements of a ply file. Bytes beyond ASCII in its header, which people write into comments, become "?"."""
    header = ply_header(path)
    if header[:3] != b"ply":
        with path.open("rb") as file:
            raise DataError(f"{path}: no ply file: expected 'ply' at its start, found {file.read(16)!r}")
    _check_counts(header, path)
    with path.open("rb") if header.isascii() else io.BufferedReader(_HeaderInAscii(path, len(header))) as file:
        stream = io.TextIOWrapper(file, "ascii") if IN_TEXT.search(header) else file
        data = PlyData.read(stream, known_list_len=known_list_len)
        rest = stream.read(TAIL)
    if data.elements and (rest.encode() if isinstance(rest, str) else rest).strip(b" \t\r\n\0\x1a"):
        last = data.elements[-1]
        found = f"data follow the {last.count} rows of the last element {last.name!r}"
        raise DataError(f"{path}: {found}: does the header count too few?")
    return data


class _HeaderInAscii(io.FileIO):
    """A file whose first `length` bytes are read with "?" for what is beyond ASCII; the rest can be mapped as it is."""

    def __init__(self, path: Path, length: int) -> None:
        super().__init__(str(path))  # numpy keeps names that are strings
        self.length = length

    def readinto(self, buffer: Any) -> int | None:
        start = self.tell()
        count = super().readinto(buffer)
        part = memoryview(buffer)[: max(min(count or 0, self.length - start), 0)]
        part[:] = bytes(part).translate(IN_ASCII)
        return count


def ply_header(path: Path) -> bytes:
    """Read the header of a ply file, however many comments it has.

    Args:
        path: A file that is there.

    Returns:
        The lines up to end_header; where that does not come, the first `LONGEST_HEADER` bytes, and of a file of another
        kind the first three.
    """
    with path.open("rb") as file:
        lines = [file.read(3)]
        left = LONGEST_HEADER if lines[0] == b"ply" else 0
        while left > 0 and (line := file.readline(left)):
            end = END.search(line)
            lines.append(line[: end.end()] if end else line)
            left = 0 if end else left - len(line)
    return b"".join(lines)


def _check_counts(header: bytes, path: Path) -> None:
    """`DataError` for a header that says more rows than the file has bytes, before memory is asked for."""
    size = path.stat().st_size
    for name, count in re.findall(rb"[\r\n]element\s+(\S+)\s+(\d+)", header):
        if len(count) > len(str(size)) or int(count) > size:
            shown = f"{name.decode('ascii', 'replace')} {count.decode()[:20]}"
            raise DataError(f"{path}: element {shown} does not fit into {size} bytes, truncated?")


def checked_faces(records: np.ndarray, count: int, path: Path) -> tuple[np.ndarray, int]:
    """Take the triangles of face records, as `read_ply` gives them.

    Args:
        records: Face records [n].
        count: Number of vertices.
        path: The ply file, for the message.

    Returns:
        Faces int64 [F, 3], and how many records were left out: those of fewer than three corners.

    Raises:
        DataError: There is no list of vertices, or it names one that is not there.
    """
    field = _vertex_lists(records)
    if field is None:
        names = ", ".join(records.dtype.names or ()) or "nothing"
        raise DataError(f"{path}: element 'face' has no list vertex_indices, found {names:.200}")
    faces, dropped = _triangles(records[field])
    if faces.size and (faces.min() < 0 or faces.max() >= count):
        hint = ": does it count them from 1?" if faces.min() == 1 and faces.max() == count else ""
        raise DataError(f"{path}: field vertex_indices names vertices outside 0..{count - 1}{hint}")
    return faces, dropped


def _vertex_lists(records: np.ndarray) -> str | None:
    """The name of the property that lists a face's vertices."""
    return next((name for name in FACE_LISTS if name in (records.dtype.names or ())), None)


def _triangles(lists: np.ndarray) -> tuple[np.ndarray, int]:
    """Triangles int64 [F, 3] of lists of vertices (an array [F, 3], or any lengths), and how many lists make none."""
    if lists.dtype != object:
        return np.array(lists, dtype=np.int64).reshape(-1, 3), 0
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    fans = [np.empty((0, 3), dtype=np.int64)]
    for length in np.unique(lengths[lengths >= 3]):
        polygons = np.stack(lists[lengths == length]).astype(np.int64)  # [n, length]
        fans += [polygons[:, [0, corner, corner + 1]] for corner in range(1, length - 1)]
    return np.concatenate(fans), int((lengths < 3).sum())


def vertex_columns(records: np.ndarray, names: tuple[str, ...], path: Path) -> np.ndarray | None:
    """Take vertex properties that only make sense together, such as red, green and blue.

    Args:
        records: Vertex records [P].
        names: The properties.
        path: The ply file, for the message.

    Returns:
        The values [P, len(names)], None when all of them are absent.

    Raises:
        DataError: Some are there and some are not.
    """
    present = [name for name in names if name in (records.dtype.names or ())]
    if not present:
        return None
    if len(present) < len(names):
        missing = ", ".join(name for name in names if name not in present)
        raise DataError(f"{path}: vertex property {missing} is missing")
    values = np.empty((len(records), len(names)), np.result_type(*(records.dtype[name] for name in names)))
    for rows, part in _in_parts(records):
        for column, name in enumerate(names):
            values[rows, column] = part[name]
    return values


def _in_parts(records: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Records `ROWS` at a time, where they are a mapped file: read from it, no more of it than that is in memory."""
    if not isinstance(records, np.memmap):
        yield slice(None), records
        return
    with open(str(records.filename), "rb") as file:
        file.seek(records.offset)
        for start in range(0, len(records), ROWS):
            part = np.fromfile(file, records.dtype, min(ROWS, len(records) - start))
            yield slice(start, start + len(part)), part


def respelled_columns(
    records: np.ndarray, names: tuple[str, ...], others: tuple[tuple[str, ...], ...], path: Path
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Take vertex properties as `vertex_columns`, or the same under names that other programs give them.

    Args:
        records: Vertex records [P].
        names: The properties.
        others: Their other names, each in lower case; letters in upper case count as the same, of `names` too.
        path: The ply file, for the message.

    Returns:
        The values [P, len(names)], None when there are none under any name; and a sentence where another name was read.

    Raises:
        DataError: Some of `names` are there and some are not.
    """
    values = vertex_columns(records, names, path)
    if values is not None:
        return values, ()
    found = {name.lower(): name for name in records.dtype.names or ()}
    for spelling in (names, *others):
        if all(name in found for name in spelling):
            taken = tuple(found[name] for name in spelling)
            return vertex_columns(records, taken, path), (f"{', '.join(names)} are taken from {', '.join(taken)}",)
    return None, ()


def checked_points(records: np.ndarray, path: Path) -> np.ndarray:
    """Take the coordinates of vertex records.

    Args:
        records: Vertex records [P].
        path: The ply file, for the message.

    Returns:
        x, y, z as float32 [P, 3].

    Raises:
        DataError: x, y or z is missing, the cloud is empty, or a value is not finite.
    """
    points = vertex_columns(records, ("x", "y", "z"), path)
    if points is None:
        raise DataError(f"{path}: vertex properties x, y, z are missing")
    return finite_points(points, path, "x, y, z")


def checked_colors(records: np.ndarray, path: Path) -> np.ndarray:
    """Take the colours of vertex records.

    Args:
        records: Vertex records [P].
        path: The ply file, for the message.

    Returns:
        red, green, blue as float32 [P, 3] in [0, 1].

    Raises:
        DataError: A colour is missing or not of 8 bits.
    """
    rgb = vertex_columns(records, ("red", "green", "blue"), path)
    if rgb is None:
        raise DataError(f"{path}: vertex properties red, green, blue are missing")
    if rgb.dtype != np.uint8:
        raise DataError(f"{path}: vertex properties red, green, blue must be uint8, found {rgb.dtype}")
    return unit_colors(rgb)[0]


def finite_points(points: np.ndarray, path: Path, field: str) -> np.ndarray:
    """Check coordinates that were read from a file of any format.

    Args:
        points: The coordinates, numbers of any dtype, which should be [P, 3].
        path: The file, for the message.
        field: What the file calls them, for the message.

    Returns:
        The coordinates as float32 [P, 3], contiguous.

    Raises:
        DataError: They have another shape, there are none, or one is NaN, inf or beyond float32.
    """
    points = np.ascontiguousarray(exact_points(points, path, field), dtype=np.float32)
    _need_finite(points, path, field)
    return points


def exact_points(points: np.ndarray, path: Path, field: str) -> np.ndarray:
    """`finite_points` in the file's own precision, for who moves the origin or changes the unit first.

    Args:
        points: As there.
        path: As there.
        field: As there.

    Returns:
        The coordinates [P, 3], contiguous, of the file's dtype in this machine's byte order.

    Raises:
        DataError: They have another shape, there are none, or one is NaN or inf.
    """
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "fiu":
        raise DataError(f"{path}: {field} must be numbers [P, 3], found {points.dtype} {list(points.shape)}")
    if len(points) == 0:
        raise DataError(f"{path}: {field}: the cloud is empty")
    points = np.ascontiguousarray(points, dtype=points.dtype.newbyteorder("="))
    _need_finite(points, path, field)
    return points


def _need_finite(points: np.ndarray, path: Path, field: str) -> None:
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        where = f"{int(bad.sum())} of {len(points)} rows, first row {int(bad.argmax())} (counted from 0)"
        raise DataError(f"{path}: {field} holds NaN or inf in {where}")


def vertex_normals(vertices: np.ndarray, faces: np.ndarray, find: Finder = find_weld) -> np.ndarray:
    """Compute the normal of each vertex of a mesh: the mean of its faces' normals, weighted by their areas.

    Vertices of equal position are one (see `find_weld`), so that separate triangles give the normals of a joined mesh.
    A vertex without any face (or with faces of no area) has no normal of its own: it gets straight up, (0, 0, 1).
    `datasets.normals.mesh_normals` estimates it instead.

    Args:
        vertices: Coordinates [P, 3].
        faces: Vertices of each triangle [F, 3].
        find: How equal positions are found.

    Returns:
        Unit normals, float32 [P, 3].
    """
    return known_vertex_normals(vertices, faces, find)[0]


def known_vertex_normals(
    vertices: np.ndarray, faces: np.ndarray, find: Finder = find_weld
) -> tuple[np.ndarray, np.ndarray]:
    """Compute `vertex_normals`, and say which of them the faces tell.

    Args:
        vertices: Coordinates [P, 3].
        faces: Vertices of each triangle [F, 3].
        find: As in `vertex_normals`.

    Returns:
        Unit normals, float32 [P, 3]; and bool [P], False for a vertex of no face with an area.
    """
    weld = find(vertices)
    if weld is None:
        return _known_vertex_normals(vertices, faces)
    normals, known = _known_vertex_normals(weld.mean(vertices), weld.faces(faces))
    return normals[weld.index], known[weld.index]


def _known_vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = vertices.astype(np.float64)[faces]  # [F, 3, 3]
    area_normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # [F, 3]
    normals = np.empty((len(vertices), 3))  # [P, 3]
    for axis in range(3):
        weight = np.repeat(area_normal[:, axis], 3)  # [3 F], for each corner its face's
        normals[:, axis] = np.bincount(faces.reshape(-1), weight, minlength=len(vertices))
    length = np.linalg.norm(normals, axis=1, keepdims=True)  # [P, 1]
    flat = length[:, 0] <= 1e-12
    normals[flat], length[flat] = (0.0, 0.0, 1.0), 1.0
    return (normals / length).astype(np.float32), ~flat


def write_ply(
    path: str | Path,
    vertices: np.ndarray,
    colors: np.ndarray,
    faces: np.ndarray | None = None,
    **properties: np.ndarray,
) -> None:
    """Write a binary little-endian ply file with ScanNet's properties; a kill leaves the old file or the new one.

    Args:
        path: The file.
        vertices: Coordinates [P, 3], written as float x, y, z.
        colors: uint8 [P, 3], written as red, green, blue; alpha is 255.
        faces: Vertices of each triangle [F, 3], written as lists of int; None for a cloud.
        **properties: Further properties of the vertices by name, each [P]: integers of at most 32 bits, or floats of
            32 or 64.

    Raises:
        InputError: A shape or dtype does not fit.
    """
    count = len(vertices)
    if np.shape(vertices) != (count, 3) or np.shape(colors) != (count, 3) or colors.dtype != np.uint8:
        found = f"{list(np.shape(vertices))} and {colors.dtype} {list(np.shape(colors))}"
        raise InputError(f"write_ply needs vertices [P, 3] and uint8 colors [P, 3], found {found}")
    columns = {axis: vertices[:, number].astype("<f4") for number, axis in enumerate("xyz")}
    columns |= {name: colors[:, number] for number, name in enumerate(("red", "green", "blue"))}
    columns["alpha"] = np.full(count, 255, dtype=np.uint8)
    for name, values in properties.items():
        if np.shape(values) != (count,) or values.dtype.str[1:] not in KINDS:
            raise InputError(f"write_ply: {name} must be [{count}], found {values.dtype} {list(np.shape(values))}")
        columns[name] = values.astype(values.dtype.newbyteorder("<"))
    kinds = [(name, values.dtype) for name, values in columns.items()]
    records = np.rec.fromarrays(list(columns.values()), dtype=kinds)  # [P]
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
