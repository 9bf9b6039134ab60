"""The variable length records of LAS and LAZ files, and the unit that their coordinate system says."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

LONGEST_HEADER = 375  # bytes of a LAS header, of version 1.4
PLAIN, EXTENDED = "<2x16sHH32s", "<2x16sHQ32s"  # what precedes the content of a record: user, number, length, words
PROJECTION, KEYS, TEXT = "LASF_Projection", 34735, 2112  # the coordinate system: as GeoTIFF, as well-known text
LINEAR, VERTICAL = 3076, 4099  # GeoTIFF's keys of the unit of x and y, and of z
CODES = {9001: 1.0, 9002: 0.3048, 9003: 1200 / 3937, 9036: 1000.0}  # metres of EPSG's units: m, ft, US survey ft, km
# Kinds of coordinate systems in well-known text, versions 1 and 2: of x and y (on a map, of a site), and of z.
ACROSS = ("PROJCS", "PROJCRS", "PROJECTEDCRS", "LOCAL_CS", "ENGCRS", "ENGINEERINGCRS")
UPWARDS = ("VERT_CS", "VERTCRS", "VERTICALCRS")
_TOKEN = re.compile(r'"(?P<text>[^"]*)"|(?P<node>\w+)\s*[\[(]|(?P<end>[\])])|(?P<value>[^\s,\[\]()"]+)')


class Record(NamedTuple):
    """A variable length record: who made it, its number for them, what it is in words, what it holds, and all of it."""

    user: str
    number: int
    words: bytes
    content: bytes
    whole: bytes


def las_records(path: Path) -> tuple[list[Record], list[Record]]:
    """Read the records of a file that `surveys.check_las` has checked.

    Args:
        path: The file.

    Returns:
        Those before the points, and the extended ones behind them.

    Raises:
        OSError: The file cannot be read.
        struct.error: It ends within a record.
    """
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
        place, _, count = struct.unpack_from("<HII", head, 94)
        behind, more = struct.unpack_from("<QI", head, 235) if head[25] >= 4 else (0, 0)
        return [*_records(file, place, count, PLAIN)], [*_records(file, behind, more, EXTENDED)]


def las_metres(path: Path) -> tuple[float | None, float | None]:
    """Tell how many metres a file's unit is, as its coordinate system says.

    Args:
        path: A LAS or LAZ file that `surveys.check_las` has checked.

    Returns:
        Of x and y, and of z; None where nothing is said, or only the number of a coordinate system.
    """
    try:
        plain, extended = las_records(path)
    except struct.error:
        return None, None  # the reader of the points says what is wrong
    found = {one.number: one.content for one in (*plain, *extended) if one.user == PROJECTION}
    if TEXT not in found:
        return _metres_of_keys(found.get(KEYS, b""))
    nodes = list(_nodes(found[TEXT].split(b"\0")[0].decode("utf-8", "replace")))
    across, upwards = (next((inside for name, inside in nodes if name in kinds), []) for kinds in (ACROSS, UPWARDS))
    return _metres_of_node(across), _metres_of_node(upwards)


def _records(file: BinaryIO, place: int, count: int, form: str) -> Iterator[Record]:
    for _ in range(count):
        file.seek(place)
        head = file.read(struct.calcsize(form))
        user, number, length, words = struct.unpack(form, head)
        content = file.read(length)
        place += len(head) + length
        name = user.split(b"\0")[0].decode("utf-8", "surrogateescape")
        yield Record(name, number, words.split(b"\0")[0], content, head + content)


def _metres_of_keys(content: bytes) -> tuple[float | None, float | None]:
    """Of GeoTIFF's keys: four numbers for each after the first four, the last is the value."""
    numbers = struct.unpack(f"<{len(content) // 2}H", content[: len(content) // 2 * 2])[4:]
    codes = {key: value for key, place, _, value in zip(*[iter(numbers)] * 4, strict=False) if place == 0}
    return CODES.get(codes.get(LINEAR, 0)), CODES.get(codes.get(VERTICAL, 0))


def _metres_of_node(inside: list) -> float | None:
    """Of the unit that a coordinate system names, or its first axis; not of the ellipsoid and parameters in it."""
    nodes = [part for part in inside if isinstance(part, tuple)]
    nodes += [part for name, axis in nodes if name == "AXIS" for part in axis if isinstance(part, tuple)]
    unit = next((values for name, values in nodes if name in ("UNIT", "LENGTHUNIT")), [])
    try:
        return float(unit[1])
    except (IndexError, TypeError, ValueError):
        return None


def _nodes(text: str) -> Iterator[tuple[str, list]]:
    """The nodes NAME[...] of well-known text, each with its values and nodes."""
    top: list = []
    inside = [top]
    for found in _TOKEN.finditer(text):
        if found["node"] is not None:
            node = (found["node"].upper(), [])
            inside[-1].append(node)
            inside.append(node[1])
            yield node
        elif found["end"] is None:
            inside[-1].append(found["value"] if found["text"] is None else found["text"])
        elif len(inside) > 1:
            inside.pop()
