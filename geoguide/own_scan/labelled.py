"""Labelled scans as files: a ply and its summary, known again by their header."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from geoguide.datasets.formats.las_writer import INPUT, write_las, write_las_like
from geoguide.datasets.formats.ply import FACE_LISTS, ply_header, read_ply_records, respelled_columns
from geoguide.datasets.formats.surveys import LAS, ROWS, is_labelled_las, las_columns, need_laspy
from geoguide.errors import DataError, ReadAs
from geoguide.own_scan.scan import Segmentation, palette
from geoguide.paths import alone_beside, replacing
from geoguide.scene import Scene

PLY = ".ply"
COLORS = ("red", "green", "blue")


def default_name(scan: Path) -> Path:
    """The labelled file of a scan where the user names none: of the scan's own kind if that is LAS or LAZ, else a ply.

    Args:
        scan: The scan's file or folder.

    Returns:
        `<scan>_labelled` with its suffix, in the working directory.
    """
    scan = Path(os.path.abspath(scan))
    return Path(f"{scan.stem}_labelled{scan.suffix.lower() if scan.suffix.lower() in LAS else PLY}")


def need_writer(path: Path) -> None:
    """Make sure, before the work, that a labelled scan can be written as this kind of file.

    Args:
        path: The file.

    Raises:
        DataError: It needs the extra `scans`, which is not installed.
    """
    if path.suffix.lower() in LAS:
        need_laspy(path)


def is_labelled(path: Path) -> bool:
    """Whether a file is a labelled scan that `write_labelled` wrote.

    Args:
        path: A file that is there.

    Returns:
        True for a ply whose header names labels and their scores, or a LAS or LAZ file with these dimensions.
    """
    if path.suffix.lower() in LAS:
        return is_labelled_las(las_columns(path))
    header = ply_header(path)  # it has a comment for each label, before the properties
    return header.startswith(b"ply") and b"property int label\n" in header and b"property float score\n" in header


def write_labelled(path: Path, result: Segmentation, source: Path | None = None) -> None:
    r"""Write a labelled scan as a binary ply, or as LAS or LAZ, and its summary beside it as JSON.

    The file has x y z as the scan's file has them (its unit, origin and precision), red green blue (the label's
    colour), label (int), score (cosine), with masks also superpoint and instance (int). A ply also has a mesh's faces,
    and the words in its comments, where ply allows ASCII alone: other letters, backslashes and line breaks are written
    as Python does, "Tür" as T\xfcr (`codecs.decode(comment, "unicode_escape")` reads them). In LAS the last four are
    extra dimensions, x y z are rounded (see `write_las`), and a record of the user "geoguide" has the words as JSON. Of
    a scan in a file of the same kind all else is kept: of a ply the other numbers of its vertices, of LAS and LAZ all
    of `write_las_like`, x y z to the bit; its colours are input_red, input_green, input_blue, unless they are those of
    labels that are replaced. What else a ply file holds (lists, what faces have beside their vertices, other elements)
    stays behind, and one `ReadAs` warning names it. The JSON beside has the words themselves, in UTF-8.

    Args:
        path: The file, .ply, .las or .laz; the summary has the same name with .json. Older files are replaced when the
            new ones are whole.
        result: What `segment_scan` returns.
        source: The scan's own file or folder, from which a file of its kind takes what else it holds; None: nothing.

    Raises:
        DataError: The extra `scans` is not installed, and the file is no ply; or `source` was changed meanwhile.
    """
    columns = {"label": result.ids.astype(np.int32), "score": result.scores}
    for name, values in (("superpoint", result.superpoints), ("instance", result.instances)):
        if values is not None:
            columns[name] = values.astype(np.int32)
    colors = palette(len(result.labels))[result.ids]
    points, kind = _as_in_file(result.scene)
    text = json.dumps(result.summary, indent=1, ensure_ascii=False) + "\n"
    # Both files or, on an error, neither.
    with alone_beside(path), replacing(path.with_suffix(".json")) as summary, replacing(path) as temporary:
        if path.suffix.lower() in LAS:
            notes = json.dumps(result.labels).encode()
            if source is not None and source.suffix.lower() in LAS:
                write_las_like(temporary, source, points, colors, columns, notes)
            else:
                write_las(temporary, points, colors, columns, notes)
        else:
            named = {axis: points[:, number] for number, axis in enumerate("xyz")}
            named |= {name: colors[:, number] for number, name in enumerate(COLORS)}
            named |= columns
            if source is not None and source.suffix.lower() == PLY:
                named |= _kept(source, points, {*COLORS, *columns})
                if lost := _unkept(source):
                    warnings.warn(f"{source}: not in the labelled file: {', '.join(lost):.200}", ReadAs, stacklevel=2)
            kinds = {name: values.dtype.newbyteorder("=") for name, values in named.items()}
            kinds |= dict.fromkeys("xyz", kind)
            _write_ply(temporary, named, list(kinds.items()), result.scene.faces, result.labels)
        # The scan's name need not be text: its bytes become json's own escapes.
        summary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def _kept(source: Path, points: np.ndarray, written: set[str]) -> dict[str, np.ndarray]:
    """The other numbers [P] of a ply file's vertices, by the names that they have beside those that are `written`."""
    vertices, _ = read_ply_records(source)
    found, _ = respelled_columns(vertices, ("x", "y", "z"), (), source)
    if found is None or not np.array_equal(found, points):
        raise DataError(f"{source}: was changed while it was labelled")
    fields = vertices.dtype.names or ()
    replaced = written if is_labelled(source) else set()
    kept: dict[str, np.ndarray] = {}
    for field in fields:
        if field.lower() in ("x", "y", "z") or field in replaced or vertices[field].dtype.kind not in "iuf":
            continue
        name = field
        while name in kept or name in written or (name != field and name in fields):
            name = INPUT + name
        kept[name] = vertices[field]
    return kept


def _unkept(source: Path) -> tuple[str, ...]:
    """What a ply file holds beside numbers of its vertices and vertices of its faces, by its header."""
    found: dict[str, None] = {}
    element = ""
    for line in ply_header(source).decode("ascii", "replace").splitlines():
        kind, *words = line.split() or [""]
        if kind == "element":
            element = words[0].lower()
        elif kind == "property" and element in ("vertex", "face"):
            if words[-1] not in FACE_LISTS if element == "face" else words[0] == "list":
                found[f"{words[-1]} of {element}"] = None
        elif kind == "property" and element != "tristrips":
            found[f"element {element}"] = None
    return tuple(found)


def _write_ply(
    path: Path,
    columns: dict[str, np.ndarray],
    kinds: list[tuple[str, np.dtype]],
    faces: np.ndarray | None,
    labels: tuple[str, ...],
) -> None:
    """Write columns [P] and triangles [F, 3], `ROWS` of them at a time: no second copy of either is in memory."""
    count = len(columns["x"])
    # A row that is repeated without memory says to the header what there will be.
    elements = [PlyElement.describe(np.broadcast_to(np.zeros(1, kinds), count), "vertex")]
    if faces is not None:
        lists = np.zeros(1, [("vertex_indices", "i4", (3,))])
        elements.append(PlyElement.describe(np.broadcast_to(lists, len(faces)), "face"))
    comments = [f"label {i} {name.encode('unicode_escape').decode('ascii')}" for i, name in enumerate(labels)]
    with path.open("wb") as file:
        file.write(f"{PlyData(elements, comments=comments).header}\n".encode("ascii"))
        for start in range(0, count, ROWS):
            rows = np.empty(min(ROWS, count - start), kinds)
            for name, values in columns.items():
                rows[name] = values[start : start + ROWS]
            file.write(rows.tobytes())
        faces = np.empty((0, 3), np.int64) if faces is None else faces
        for start in range(0, len(faces), ROWS):
            rows = np.empty(min(ROWS, len(faces) - start), [("count", "u1"), ("corners", "i4", (3,))])
            rows["count"], rows["corners"] = 3, faces[start : start + ROWS]
            file.write(rows.tobytes())


def _as_in_file(scene: Scene) -> tuple[np.ndarray, np.dtype]:
    """A scan's points [P, 3] as its file has them, and the nearest dtype that ply knows: it holds each of them exactly.

    Integers of 64 bits are the exception above 2^53.
    """
    points = scene.points if scene.file_points is None else scene.file_points
    nearest = {"f2": "f4", "f16": "f8", "i8": "f8", "u8": "f8"}
    return points, np.dtype(nearest.get(points.dtype.str[1:], points.dtype))
