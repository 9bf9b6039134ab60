"""The variable length records of LAS and LAZ files, and the unit that their coordinate system says."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

LONGEST_HEADER = 375  # bytes of a LAS header, of version 1.4
PLAIN, EXTENDED = "<2x16sHH32s", "<2x16sHQ32s"  # what precedes the content of a record: user, number, length, words
# The coordinate system: as GeoTIFF (with the names that its keys point at), as well-known text.
PROJECTION, KEYS, NAMES, TEXT = "LASF_Projection", 34735, 34737, 2112
LINEAR, VERTICAL = 3076, 4099  # GeoTIFF's keys of the unit of x and y, and of z
SYSTEM, HEIGHTS, CITED = 3072, 4096, (3073, 1026)  # of EPSG's numbers of both systems, and of the name of the first
EPSG = range(1024, 32767)  # what such a key can hold that is a number of EPSG's
# Of the names of EPSG's 5,636 systems 801 hold this: 777 of the 977 in feet, and 24 long withdrawn whose metres were a
# mistake. Those in feet without it are of NAD27 and older, or local.
IN_FEET = re.compile(r"\(ft(US)?\)|[_ ]feet(?![a-z])", re.IGNORECASE)
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


class LasUnit(NamedTuple):
    """What the coordinate system of a file says of its unit.

    Attributes:
        across: Metres of the unit of x and y; None where that is not known.
        upwards: Likewise of z.
        system: EPSG's number of the coordinate system, where nothing else is said of x and y, and that did not do.
    """

    across: float | None = None
    upwards: float | None = None
    system: int | None = None


def las_unit(path: Path) -> LasUnit:
    """Tell how many metres a file's unit is, as its coordinate system says.

    Where that is named by its number alone, as laspy writes it, pyproj knows the unit if it is installed; else its name
    may tell feet.

    Args:
        path: A LAS or LAZ file that `surveys.check_las` has checked.

    Returns:
        The unit.
    """
    try:
        plain, extended = las_records(path)
    except struct.error:
        return LasUnit()  # the reader of the points says what is wrong
    found = {one.number: one.content for one in (*plain, *extended) if one.user == PROJECTION}
    if TEXT not in found:
        return _unit_of_keys(found.get(KEYS, b""), found.get(NAMES, b""))
    nodes = list(_nodes(found[TEXT].split(b"\0")[0].decode("utf-8", "replace")))
    across, upwards = (next((inside for name, inside in nodes if name in kinds), []) for kinds in (ACROSS, UPWARDS))
    return LasUnit(_metres_of_node(across), _metres_of_node(upwards))


def _records(file: BinaryIO, place: int, count: int, form: str) -> Iterator[Record]:
    for _ in range(count):
        file.seek(place)
        head = file.read(struct.calcsize(form))
        user, number, length, words = struct.unpack(form, head)
        content = file.read(length)
        place += len(head) + length
        name = user.split(b"\0")[0].decode("utf-8", "surrogateescape")
        yield Record(name, number, words.split(b"\0")[0], content, head + content)


def _unit_of_keys(content: bytes, names: bytes) -> LasUnit:
    """Of GeoTIFF's keys: four numbers each behind the first four, the last a value, or where its text begins."""
    numbers = struct.unpack(f"<{len(content) // 2}H", content[: len(content) // 2 * 2])[4:]
    rows = [*zip(*[iter(numbers)] * 4, strict=False)]
    codes = {key: value for key, place, _, value in rows if place == 0}
    across, upwards = (CODES.get(codes.get(key, 0)) for key in (LINEAR, VERTICAL))
    system = codes.get(SYSTEM, 0)
    if LINEAR in codes or system not in EPSG:
        return LasUnit(across, upwards)
    across, above = _metres_by_epsg(system)
    upwards = upwards or above or _metres_by_epsg(codes.get(HEIGHTS, 0))[0]
    told = [names[value : value + count].decode("latin-1") for key, _, count, value in rows if key in CITED]
    if across is None and any(IN_FEET.search(name.partition(" + ")[0]) for name in told):  # behind it: of heights
        across = CODES[9003]
    return LasUnit(across, upwards, system if across is None else None)


def _metres_by_epsg(number: int) -> tuple[float | None, float | None]:
    """Of the first axis of a coordinate system, and of its third; None where pyproj is missing or knows none."""
    if number not in EPSG:
        return None, None
    try:
        import pyproj
    except ImportError:
        return None, None
    try:
        axes = pyproj.CRS.from_epsg(number).axis_info
    except pyproj.exceptions.CRSError:
        return None, None
    factors = [axis.unit_conversion_factor for axis in axes]
    return factors[0] if factors else None, factors[2] if len(factors) > 2 else None


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
