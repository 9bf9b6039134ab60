"""Files of laser scanners and surveys: LAS and LAZ (laspy, lazrs), E57 (pye57), by the extra `scans`.

Coordinates come as float64, as the file's scale and offset or a scan's pose give them: nothing is rounded before
`cloud_scene` has moved the origin. Classes that a file may hold are not read.
"""

import contextlib
import struct
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from geoguide.datasets.formats.files import need_file
from geoguide.datasets.formats.las_records import LONGEST_HEADER
from geoguide.errors import DataError, InputError, first_line, pass_on_shortage
from geoguide.ops.colors import GREY, unit_colors

LAS = (".las", ".laz")
COORDINATES = (("cartesianX", "cartesianY", "cartesianZ"), ("sphericalRange", "sphericalAzimuth", "sphericalElevation"))
COLUMNS, INTENSITY = ("red", "green", "blue"), ("intensity",)  # of LAS
COLORS = ("colorRed", "colorGreen", "colorBlue")
INVALID = {COLORS: "isColorInvalid", INTENSITY: "isIntensityInvalid"}  # of E57: which points have none
BRIGHT = 99  # percentile of the intensities that is shown as white: scanners use 8, 11, 12 or all 16 bits, or decibels
SHOWN_AS_GREY = "no colours: intensity is shown as grey"
DARKEST = 1 / 255  # share of the way to white that the brightest colour must reach: else the limits are not its own
ROWS = 1 << 18  # points that are read or written at a time: no second copy of a file is in memory
HEADER = 227  # bytes of a LAS header, of version 1.0
RECORD, EXTENDED_RECORD = 54, 60  # bytes of what precedes the content of a variable length record
COMPRESSED = 0x80  # of the point format, in LAZ
NEWEST, FORMATS = 4, 10  # the minor version, and the highest point format
_DAMAGES = (RuntimeError, ValueError, OSError, MemoryError, OverflowError, LookupError, TypeError, struct.error)


class Survey(NamedTuple):
    """What such a file holds.

    Attributes:
        points: float64 [P, 3] in the file's own coordinates.
        colors: uint16 [P, 3], or float32 in [0, 1] of an E57 file with fractions; None where there are none.
        said: What was decided, one sentence each.
    """

    points: np.ndarray
    colors: np.ndarray | None
    said: tuple[str, ...]


def read_las(path: Path) -> Survey:
    """Read a LAS or LAZ file.

    Args:
        path: The file.

    Returns:
        Points and colours; without colours, or where all of them are zero, the intensity as grey, if there is any.

    Raises:
        DataError: The extra is not installed, or the file is missing, truncated or of another kind.
    """
    laspy = extra_package("laspy", path)
    path = need_file(path, "LAS file")
    check_las(path)
    with las_reading(laspy, path):
        with laspy.open(path) as reader:
            names = set(reader.header.point_format.dimension_names)
        columns = COLUMNS if set(COLUMNS) <= names else INTENSITY
        points, colors, found = _las_rows(laspy, path, columns)
        if columns is COLUMNS and not colors.any():  # fields that nobody filled
            columns = INTENSITY
            points, colors, found = _las_rows(laspy, path, columns)
        if columns is INTENSITY:
            colors = grey_of(colors[:, 0])
    if found != len(points):
        raise DataError(f"{path}: truncated: its header counts {len(points)} points, found {found}")
    said = ("a labelled scan: its colours are those of its labels",) if is_labelled_las(names) else ()
    if not colors.any():
        return Survey(points, None, said)
    return Survey(points, colors, said + ((SHOWN_AS_GREY,) if columns is INTENSITY else ()))


@contextlib.contextmanager
def las_reading(laspy: Any, path: Path) -> Generator[None]:
    """Say of what laspy raises that a file is damaged.

    Args:
        laspy: The package.
        path: The file.

    Yields:
        Nothing; the file is read within.

    Raises:
        DataError: It is.
    """
    try:
        yield
    except (laspy.errors.LaspyException, *_DAMAGES) as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable LAS file, truncated? ({first_line(error)})") from None


def grey_of(intensity: np.ndarray) -> np.ndarray:
    """Show how strong the echoes were, which every scanner says in a unit of its own.

    Args:
        intensity: Integers or floats [P]; what is not finite counts as no echo.

    Returns:
        uint16 [P, 3], from black for 0 (or for the weakest, where some are negative) to white for percentile `BRIGHT`.
    """
    found = np.isfinite(intensity)
    if not found.any():
        return np.zeros((len(intensity), 3), np.uint16)
    low, high = min(0, intensity[found].min()), np.percentile(intensity[found], BRIGHT)
    high = high if high > low else intensity[found].max()  # nearly all are the weakest
    grey = (np.where(found, intensity, low) - low) / max(high - low, np.finfo(float).tiny)
    return np.repeat(np.rint(np.minimum(grey, 1) * np.iinfo(np.uint16).max).astype(np.uint16)[:, None], 3, axis=1)


def _las_rows(laspy: Any, path: Path, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Coordinates float64 [P, 3] of a LAS or LAZ file, some of its columns uint16 [P, K], and how many rows it has.

    They are read `ROWS` points at a time.
    """
    with laspy.open(path) as reader:
        count, found = reader.header.point_count, 0
        points, colors = np.empty((count, 3)), np.empty((count, len(columns)), np.uint16)
        with np.errstate(over="ignore", invalid="ignore"):  # of a damaged scale: such points are refused later
            for chunk in reader.chunk_iterator(ROWS):
                rows = slice(found, found + len(chunk))
                for place, axis in enumerate("xyz"):
                    points[rows, place] = chunk[axis]
                for place, name in enumerate(columns):
                    colors[rows, place] = chunk[name]
                found += len(chunk)
    return points, colors, found


def check_las(path: Path) -> None:
    """Refuse counts of a LAS or LAZ header that the file cannot hold: readers loop over them, or ask for the memory.

    A file that is too short for a header, or of another kind, is left to the reader.

    Args:
        path: The file.

    Raises:
        DataError: A count is too large, or version or point format are none that there are.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
        if len(head) < HEADER or not head.startswith(b"LASF"):
            return
        if head[24] != 1 or head[25] > NEWEST:
            raise DataError(f"{path}: version must be 1.0 to 1.{NEWEST}, found {head[24]}.{head[25]}")
        length, begin, records = struct.unpack_from("<HII", head, 94)
        kind, width, points = struct.unpack_from("<BHI", head, 104)
        if kind & ~COMPRESSED > FORMATS:
            raise DataError(f"{path}: point format must be 0 to {FORMATS}, found {kind & ~COMPRESSED}")
        _fits(path, "start of the points", begin, size)
        _fits(path, "number of variable length records", records, max(begin - length, 0) // RECORD)
        if head[25] >= 4 and len(head) == LONGEST_HEADER:
            begin_extended, extended, points = struct.unpack_from("<QIQ", head, 235)
            _fits(path, "number of extended records", extended, max(size - begin_extended, 0) // EXTENDED_RECORD)
        if not kind & COMPRESSED:
            _fits(path, "number of points (truncated?)", points, (size - begin) // max(width, 1))
            return
        file.seek(begin)
        table = _unpacked("<q", file)
        if table == -1:  # as written to what cannot be gone back in: the place stands at the end
            file.seek(max(size - 8, 0))
            table = _unpacked("<q", file)
        if table is not None and begin < table < size:
            file.seek(table + 4)
            _fits(path, "number of compressed chunks", _unpacked("<I", file) or 0, table - begin)


def _fits(path: Path, field: str, found: int, most: int) -> None:
    if found > most:
        raise DataError(f"{path}: {field} must be at most {most}, by the size of the file, found {found}")


def _unpacked(kind: str, file: BinaryIO) -> int | None:
    """The next number of a file; None where it ends."""
    content = file.read(struct.calcsize(kind))
    return struct.unpack(kind, content)[0] if len(content) == struct.calcsize(kind) else None


def read_e57(path: Path) -> Survey:
    """Read all scans of an E57 file, each placed by its pose; points that the scanner marks as invalid are left out.

    Args:
        path: The file.

    Returns:
        Points and colours; without, the intensity as grey; None for these unless every scan has one or the other.
        Points whose colour or intensity is marked as invalid are mid grey, or black as without an echo.
        Colours with fractions are scaled by their scans' `colorLimits`. All others are left to `unit_colors`, whole
        numbers and fractions apart, as are fields of 8 bits: the whole file decides, however a scan of it looks.

    Raises:
        DataError: The extra is not installed, the file is missing, truncated or of another kind, or its colours are on
            no known scale.
    """
    pye57 = extra_package("pye57", path)
    path = need_file(path, "E57 file")
    try:
        file = pye57.E57(str(path))
        try:
            headers = [file.get_header(number) for number in range(file.scan_count)]
            lost = next((n for n, one in enumerate(headers) if one.has_pose() and not np.any(one.rotation)), None)
            if lost is not None:
                raise DataError(f"{path}: scan {lost}: the rotation of its pose must be a quaternion, found only zeros")
            most = sum(header.point_count for header in headers)
            every = set.intersection(*({*header.point_fields} for header in headers)) if headers else set()
            shown = next((names for names in (COLORS, INTENSITY) if set(names) <= every), ())
            points, colors, known, found, sizes = _e57_rows(pye57, file, headers, shown)
            if shown is COLORS and not colors.any() and set(INTENSITY) <= every:  # fields that nobody filled
                shown = INTENSITY
                points, colors, known, found, sizes = _e57_rows(pye57, file, headers, shown)
            scales = [_color_scale(pye57, header) for header in headers] if shown is COLORS else []
        finally:
            file.close()
    except (pye57.libe57.E57Exception, *_DAMAGES) as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable E57 file, truncated? ({first_line(error)})") from None
    if not headers:
        raise DataError(f"{path}: holds no scan")
    if found != most:
        raise DataError(f"{path}: truncated: its scans count {most} points, found {found}")
    said = () if len(points) == found else ("points that the scanner marks as invalid are left out",)
    if len(headers) > 1:
        said = (f"{len(headers)} scans, each where its pose says", *said)
    colored = sum(set(COLORS) <= set(header.point_fields) for header in headers)
    if 0 < colored < len(headers):
        said += (f"{colored} of {len(headers)} scans have colours: they are not used, as the others would have none",)
    colors = grey_of(colors[:, 0]) if shown is INTENSITY else colors
    if not colors.any():
        return Survey(points, None, said)
    if scales and not (known.all() and {*scales} == {_ColorScale(False, scales[0].eight_bits, None)}):
        colors, told = _unit_scans(path, colors, known, sizes, scales)
        said += told
    return Survey(points, colors, said + ((SHOWN_AS_GREY,) if shown is INTENSITY else ()))


class _ColorScale(NamedTuple):
    """What an E57 scan says of its colours.

    Attributes:
        fractions: Whether its fields hold more than whole numbers.
        eight_bits: Whether its fields are of whole numbers 0..255.
        limits: Its black and white, three numbers each, if it has fractions and they can be used.
    """

    fractions: bool
    eight_bits: bool
    limits: tuple[tuple[float, ...], tuple[float, ...]] | None


def _color_scale(pye57: Any, header: Any) -> _ColorScale:
    """The scale of a scan that has colours, by the types of its fields and its `colorLimits`."""
    prototype = pye57.libe57.StructureNode(header.points.prototype())
    fields = [prototype[name] for name in COLORS]
    if not any(_has_fractions(pye57, field) for field in fields):
        whole = [field for field in fields if isinstance(field, pye57.libe57.IntegerNode)]
        bounds = [(field.minimum(), field.maximum()) for field in whole]
        return _ColorScale(False, bounds == [(0, 255)] * len(fields), None)
    if not header.node.isDefined("colorLimits"):
        return _ColorScale(True, False, None)
    limits, ends = header.node["colorLimits"], []
    for end in ("Minimum", "Maximum"):
        if not all(limits.isDefined(name + end) for name in COLORS):
            return _ColorScale(True, False, None)
        nodes = [limits[name + end] for name in COLORS]
        scaled = pye57.libe57.ScaledIntegerNode
        ends.append(tuple(float(n.scaledValue() if isinstance(n, scaled) else n.value()) for n in nodes))
    usable = np.isfinite(ends).all() and (np.array(ends[1]) > ends[0]).all()
    return _ColorScale(True, False, (ends[0], ends[1]) if usable else None)


def _has_fractions(pye57: Any, field: Any) -> bool:
    """Whether a field of an E57 file holds more than whole numbers."""
    if isinstance(field, pye57.libe57.ScaledIntegerNode):
        return field.scale() % 1 != 0 or field.offset() % 1 != 0
    return isinstance(field, pye57.libe57.FloatNode)


def _unit_scans(
    path: Path, colors: np.ndarray, known: np.ndarray, sizes: Sequence[int], scales: Sequence[_ColorScale]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Colours float32 [P, 3] of all scans in [0, 1], and what was decided; nan is left as it is, and unknown are grey.

    Scans that say the same of their colours are judged as one. Limits are not believed where colours lie beyond them,
    or all are nearly black by them: writers fill in 0..255 beside floats of 0..1.
    """
    lost = int((~known).sum())
    said = [f"{lost} points whose colour the scanner marks as invalid are mid grey"] * (lost > 0)
    result, kinds = np.full(colors.shape, GREY, np.float32), list(dict.fromkeys(scales))
    kind_of = np.repeat([kinds.index(scale) for scale in scales], sizes)  # [P]
    kind_of[~known] = -1
    for kind, scale in enumerate(kinds):
        if scale.limits is None or not (kind_of == kind).any():
            continue
        rows, scans = kind_of == kind, [number for number, one in enumerate(scales) if one == scale]
        black, white = np.array(scale.limits)
        shares = (colors[rows] - black) / (white - black)
        if shares.min() >= -DARKEST and DARKEST < shares.max() <= 1 + DARKEST:
            result[rows] = np.clip(shares, 0, 1)
            continue
        found = f"{colors[rows].min():.4g}..{colors[rows].max():.4g} of {_named(scans)}"
        said.append(f"colours {found} do not fit {'its' if len(scans) == 1 else 'their'} colorLimits")
        kind_of[rows] = len(kinds) + 1  # judged with those that have none
    for fractions, eight_bits in dict.fromkeys(scale[:2] for scale in scales):
        alike = [kind for kind, one in enumerate(kinds) if one == (fractions, eight_bits, None)]
        rows = np.isin(kind_of, [*alike, len(kinds) + 1] if fractions else alike)
        values = colors[rows]
        if not rows.any() or not np.isfinite(values).all():
            result[rows] = values  # refused where the cloud is checked
            continue
        try:
            result[rows], told = unit_colors(values if fractions else values.astype(np.uint16))
        except InputError as error:
            scans = [number for number, one in enumerate(scales) if one[:2] == (fractions, eight_bits)]
            raise DataError(f"{path}: {_named(scans)}: {error}") from None
        said += [] if told is None else [told]
    return result, tuple(dict.fromkeys(said))


def _named(scans: Sequence[int]) -> str:
    return f"scan {scans[0]}" + (f" and {len(scans) - 1} more" if len(scans) > 1 else "")


class _Rows(NamedTuple):
    """What an E57 file's scans hold.

    Attributes:
        points: The valid ones, float64 [P, 3].
        colors: Their columns [P, K].
        known: Whose columns are not marked as invalid, bool [P]; of the others they hold 0, an intensity nan.
        found: How many rows all scans have.
        sizes: How many valid points each scan has.
    """

    points: np.ndarray
    colors: np.ndarray
    known: np.ndarray
    found: int
    sizes: list[int]


def _e57_rows(pye57: Any, file: Any, headers: Sequence[Any], shown: tuple[str, ...]) -> _Rows:
    """Read points and some columns of all scans."""
    most, found, valid, sizes = sum(header.point_count for header in headers), 0, 0, []
    kind = _kind(pye57, headers, shown)
    points, colors, known = np.empty((most, 3)), np.empty((most, len(shown)), kind), np.empty(most, bool)
    for number, header in enumerate(headers):
        start = valid
        for part in _scan_parts(pye57, file, number, header, dict.fromkeys(shown, kind)):
            rows = slice(valid, valid + len(part.points))
            points[rows], colors[rows], known[rows] = part.points, part.colors, part.known
            found, valid = found + part.read, rows.stop
        sizes.append(valid - start)
    colors[:valid][~known[:valid]] = np.nan if shown is INTENSITY else 0
    return _Rows(points[:valid], colors[:valid], known[:valid], found, sizes)


def _kind(pye57: Any, headers: Sequence[Any], shown: tuple[str, ...]) -> str:
    """The type that columns of an E57 file are read as: scanners write whole numbers or others.

    All scans share it; 16 bits hold every whole colour.
    """
    whole = shown is not INTENSITY and not (shown and any(_color_scale(pye57, one).fractions for one in headers))
    return "u2" if whole else "f4"


class _Read(NamedTuple):
    """Some points of a scan: how many were read, and those of them that are valid; which of these are colored."""

    read: int
    points: np.ndarray
    colors: np.ndarray
    known: np.ndarray


def _scan_parts(pye57: Any, file: Any, number: int, header: Any, shown: dict[str, str]) -> Iterator[_Read]:
    """One scan of an E57 file, `ROWS` points at a time; `shown` says of columns as which type they are read."""
    names = header.point_fields
    columns = next((each for each in COORDINATES if set(each) <= set(names)), None)
    if columns is None:
        raise ValueError(f"scan {number} has no coordinates, only {', '.join(names)}")
    state = "cartesianInvalidState" if columns is COORDINATES[0] else "sphericalInvalidState"
    unknown = INVALID.get(tuple(shown), "")
    kinds = dict.fromkeys(columns, "f8") | shown | {name: "i1" for name in (state, unknown) if name in names}
    if not header.point_count:
        return
    arrays = {name: np.zeros(min(header.point_count, ROWS), kind) for name, kind in kinds.items()}
    buffers = pye57.libe57.VectorSourceDestBuffer()
    for name, array in arrays.items():
        buffers.append(pye57.libe57.SourceDestBuffer(file.image_file, name, array, len(array), True, True))
    reader = header.points.reader(buffers)
    while count := reader.read():
        points = np.stack([arrays[name][:count] for name in columns], axis=1)  # [n, 3]
        points = _cartesian(points) if columns is COORDINATES[1] else points
        if header.has_pose():
            points = file.to_global(points, header.rotation, header.translation)
        colors = np.stack([arrays[name][:count] for name in shown], axis=1) if shown else np.empty((count, 0))
        valid, known = (
            arrays[name][:count] == 0 if name in arrays else np.ones(count, bool) for name in (state, unknown)
        )
        yield _Read(count, points[valid], colors[valid], known[valid])


def _cartesian(places: np.ndarray) -> np.ndarray:
    """Range, azimuth and elevation [P, 3] (metres, radians) as x, y, z."""
    reach, azimuth, elevation = places.T
    flat = reach * np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), reach * np.sin(elevation)], axis=1)


def is_labelled_las(names: Collection[str]) -> bool:
    """Whether a LAS or LAZ file is a labelled scan.

    Args:
        names: Of its dimensions.

    Returns:
        True where labels and their scores are among them.
    """
    return {"label", "score"} <= set(names)


def need_laspy(path: Path) -> None:
    """Refuse a LAS or LAZ file where the extra is missing.

    Args:
        path: The file.

    Raises:
        DataError: The extra is not installed.
    """
    extra_package("laspy", path)


def las_columns(path: Path) -> set[str]:
    """Name the dimensions of a LAS or LAZ file.

    Args:
        path: A file that is there.

    Returns:
        The names; none of a file that is of another kind, or damaged.

    Raises:
        DataError: The extra is not installed.
    """
    laspy = extra_package("laspy", path)
    try:
        check_las(path)
        with laspy.open(path) as reader:
            return set(reader.header.point_format.dimension_names)
    except (laspy.errors.LaspyException, DataError, *_DAMAGES):
        return set()


def extra_package(name: str, path: Path) -> Any:
    """Import a package of the extra.

    Args:
        name: laspy or pye57.
        path: The file that it is needed for.

    Returns:
        The package.

    Raises:
        DataError: The extra is not installed.
    """
    try:
        if name == "laspy":
            import laspy
            import lazrs  # noqa: F401 (laspy finds it by itself, or says nothing before it is too late)

            return laspy
        import pye57

        return pye57
    except ImportError:
        kinds = "E57" if name == "pye57" else "LAS and LAZ"
        raise DataError(f"{path}: {kinds} files need the extra `scans`: pip install 'geoguide[scans]'") from None
