"""Writing binary ply files, whole or not at all."""

from pathlib import Path

import numpy as np

from geoguide.errors import InputError
from geoguide.files import replacing

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
