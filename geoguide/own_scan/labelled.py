"""Labelled scans as files: a ply and its summary, known again by their header."""

import json
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from geoguide.own_scan.scan import Segmentation, palette
from geoguide.paths import alone_beside, replacing
from geoguide.scene import Scene


def is_labelled(path: Path) -> bool:
    """Whether a file is a labelled scan that `write_labelled` wrote.

    Args:
        path: A file that is there.

    Returns:
        True for a ply whose header names labels and their scores.
    """
    with path.open("rb") as file:
        header = file.read(1 << 20).partition(b"end_header")[0]  # a comment for each label: far less than 1 MiB
    return header.startswith(b"ply") and b"property int label\n" in header and b"property float score\n" in header


def write_labelled(path: Path, result: Segmentation) -> None:
    r"""Write a labelled scan as a binary ply, and its summary beside it as JSON.

    The ply has x y z as the scan's file has them (its unit, origin and precision), red green blue (the label's colour),
    label (int), score (cosine), with masks also superpoint and instance (int); a mesh's faces; and the words in its
    comments, where ply allows ASCII alone: other letters, backslashes and line breaks are written as Python does, "Tür"
    as T\xfcr (`codecs.decode(comment, "unicode_escape")` reads them). The JSON has the words themselves, in UTF-8.

    Args:
        path: The ply; the summary has the same name with .json. Older files are replaced when the new ones are whole.
        result: What `segment_scan` returns.
    """
    points = _as_in_file(result.scene)
    columns = {axis: points[:, number] for number, axis in enumerate("xyz")}
    colors = palette(len(result.labels))[result.ids]
    columns |= {name: colors[:, number] for number, name in enumerate(("red", "green", "blue"))}
    columns |= {"label": result.ids.astype(np.int32), "score": result.scores}
    for name, values in (("superpoint", result.superpoints), ("instance", result.instances)):
        if values is not None:
            columns[name] = values.astype(np.int32)
    vertex = np.rec.fromarrays(list(columns.values()), [(name, values.dtype) for name, values in columns.items()])
    elements = [PlyElement.describe(vertex, "vertex")]
    if result.scene.faces is not None:
        faces = np.empty(len(result.scene.faces), [("vertex_indices", "i4", (3,))])
        faces["vertex_indices"] = result.scene.faces
        elements.append(PlyElement.describe(faces, "face"))
    comments = [f"label {i} {name.encode('unicode_escape').decode('ascii')}" for i, name in enumerate(result.labels)]
    text = json.dumps(result.summary, indent=1, ensure_ascii=False) + "\n"
    # Both files or, on an error, neither.
    with alone_beside(path), replacing(path.with_suffix(".json")) as summary, replacing(path) as temporary:
        PlyData(elements, comments=comments).write(str(temporary))
        # The scan's name need not be text: its bytes become json's own escapes.
        summary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def _as_in_file(scene: Scene) -> np.ndarray:
    """A scan's points [P, 3] as its file has them, in the nearest dtype that ply knows: it holds each of them exactly.

    Integers of 64 bits are the exception above 2^53.
    """
    if scene.file_points is None:
        return scene.points
    dtype = scene.file_points.dtype
    return scene.file_points.astype(
        {"f2": "f4", "f16": "f8", "i8": "f8", "u8": "f8"}.get(dtype.str[1:], dtype), copy=False
    )
