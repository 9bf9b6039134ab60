"""LAS and LAZ files as they are written: of points alone, or as another such file with columns added."""

import contextlib
import io
import struct
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.formats.las_records import las_records
from geoguide.datasets.formats.surveys import COLUMNS, ROWS, check_las, extra_package, las_reading
from geoguide.errors import DataError, ReadAs

STEP, FINEST = 1e-4, 1e-6  # of written coordinates, in the file's unit, which may be km; and as a share of their extent
REACH = 2**31 - 1  # steps from the offset that LAS can say
DEEP = 257  # times a colour of 8 bits is the same one of 16
COLORED = {0: 2, 1: 3, 4: 5, 6: 7, 9: 10}  # the point format that has colours beside all that one without them has
COLORS_SINCE = 2  # the minor version
INPUT = "input_"  # before the name of a column whose own name is needed
NOTES = "geoguide"  # whose record holds the words
PLACE_OF_EXTENDED = 235  # in the header, of version 1.4
TEXTS = 26, 94  # from where to where a header says by whom, with what and when the file was made
# Records that are made anew (words, columns, packing), or tell where in their own file something lies: the order of a
# COPC's points, the pulses' wave forms.
LEFT_OUT = (NOTES, 1), ("LASF_Spec", 4), ("laszip encoded", 22204), ("copc", 1), ("copc", 1000), ("LASF_Spec", 65535)


def write_las(path: Path, points: np.ndarray, colors: np.ndarray, columns: dict[str, np.ndarray], notes: bytes) -> None:
    """Write points as a LAS or LAZ file, with further columns as extra dimensions.

    Args:
        path: The file; its suffix says which of the two.
        points: [P, 3] in the file's own coordinates; they are rounded to `STEP`, or to a millionth of their
            extent, whichever is finer, or as finely as 31 bits allow.
        colors: uint8 [P, 3].
        columns: By name, integers or floats [P] each.
        notes: What is kept as a record of the user "geoguide", of 65,535 bytes at most; a longer one is left out.

    Raises:
        DataError: The extra is not installed.
    """
    laspy = extra_package("laspy", path)
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.offsets = np.round((low + high) / 2)
    finest = 10.0 ** np.floor(np.log10(max(float((high - low).max()) * FINEST, np.finfo(np.float32).tiny)))
    header.scales = [_step(extent, min(STEP, finest)) for extent in high - low]
    for name, values in columns.items():
        header.add_extra_dim(laspy.ExtraBytesParams(name, values.dtype))
    if len(notes) < 2**16:
        header.vlrs.append(laspy.VLR(NOTES, 1, "labels", notes))
    packed = path.suffix.lower() == ".laz"
    with (
        _written(path) as file,
        laspy.open(file, mode="w", header=header, do_compress=packed, closefd=False) as writer,
    ):
        for start in range(0, len(points), ROWS):
            rows = slice(start, start + ROWS)
            part = laspy.ScaleAwarePointRecord.zeros(len(points[rows]), header=header)
            part.x, part.y, part.z = points[rows].astype(np.float64).T
            part.red, part.green, part.blue = (colors[rows].astype(np.uint16) * DEEP).T
            for name, values in columns.items():
                part[name] = values[rows]
            writer.write_points(part)


def write_las_like(
    path: Path, source: Path, points: np.ndarray, colors: np.ndarray, columns: dict[str, np.ndarray], notes: bytes
) -> None:
    """Write a LAS or LAZ file once more, with colours and further columns: all else stays as it is, to the bit.

    That is the point format with every column, scale and offset, header fields, and the (extended) variable length
    records, the coordinate system among them. Columns that it has under a name that is written (its colours too) are
    kept as `INPUT` and that name; those that this package wrote are replaced. A format without colours becomes the one
    that adds them. Records of `LEFT_OUT` are made anew, or point at what lies elsewhere in the new file. So the wave
    forms of pulses stay behind, those in a file beside (.wdp) too: one `ReadAs` warning says so.

    Args:
        path: The new file; its suffix says which of the two.
        source: The old one.
        points: [P, 3] as `read_las` gave them of it, by which it is known to be the same still.
        colors: As in `write_las`.
        columns: Likewise.
        notes: Likewise.

    Raises:
        DataError: The extra is not installed, or the old file can no longer be read or was changed.
    """
    laspy = extra_package("laspy", path)
    with las_reading(laspy, source):
        check_las(source)
        reader = laspy.open(source, read_evlrs=False)
        texts, plain, extended = _kept_bytes(source)
    if "wavepacket_offset" in reader.header.point_format.dimension_names:
        warnings.warn(f"{source}: wave forms of its pulses are not in the labelled file", ReadAs, stacklevel=2)
    with reader, _written(path) as file:
        header, names = _header_like(laspy, reader.header, columns)
        header.vlrs = [laspy.VLR(*record) for record in plain]
        if len(notes) < 2**16:
            header.vlrs.append(laspy.VLR(NOTES, 1, "labels", notes))
        how = {"do_compress": path.suffix.lower() == ".laz", "encoding_errors": "ignore", "closefd": False}
        with laspy.open(file, mode="w", header=header, **how) as writer:
            for start in range(0, max(len(points), reader.header.point_count), ROWS):
                with las_reading(laspy, source):
                    old = reader.read_points(ROWS)
                rows = slice(start, start + len(old))
                if not np.array_equal(np.stack([old[axis] for axis in "xyz"], axis=1), points[start : start + ROWS]):
                    raise DataError(f"{source}: was changed while it was labelled")
                part = laspy.ScaleAwarePointRecord.zeros(len(old), header=header)
                for name, new in names.items():
                    part.array[new] = old.array[name]
                part.red, part.green, part.blue = (colors[rows].astype(np.uint16) * DEEP).T
                for name, values in columns.items():
                    part[name] = values[rows]
                writer.write_points(part)
        file.seek(TEXTS[0])
        file.write(texts)
        if extended:
            place = file.seek(0, io.SEEK_END)
            file.write(b"".join(extended))
            file.seek(PLACE_OF_EXTENDED)
            file.write(struct.pack("<QI", place, len(extended)))


def _kept_bytes(source: Path) -> tuple[bytes, list[tuple[str, int, bytes, bytes]], list[bytes]]:
    """The texts of a file's header, its records (user, number, words, content), and its extended ones as they are.

    laspy writes its own records, not those that it read: of some it leaves out what it does not know.
    """
    plain, extended = (
        [record for record in records if (record.user, record.number) not in LEFT_OUT]
        for records in las_records(source)
    )
    with source.open("rb") as file:
        texts = file.read(TEXTS[1])[TEXTS[0] :]
    records = [(record.user, record.number, record.words, record.content) for record in plain]
    return texts, records, [record.whole for record in extended]


def _header_like(laspy: Any, old: Any, columns: dict[str, np.ndarray]) -> tuple[Any, dict[str, str]]:
    """The header of a file with further columns, and under which names it keeps the fields of the old one's rows."""
    header, known = old.copy(), set(old.point_format.dimension_names)
    own = any(one.user_id == NOTES for one in old.vlrs)  # a labelled scan: its colours are those of its labels
    replaced, taken = (set(columns), set(columns)) if own else (set(), {*columns, *COLUMNS})
    names = {name: name for name in old.point_format.dtype().names if name not in replaced}
    for name in taken & names.keys():
        while names[name] in known | taken:
            names[name] = INPUT + names[name]
    kind = COLORED.get(old.point_format.id, old.point_format.id)
    version = laspy.header.Version(1, max(old.version.minor, COLORS_SINCE))
    header.set_version_and_point_format(version, laspy.PointFormat(kind))
    for dimension in old.point_format.dimensions:
        new = names.get(dimension.name)
        if new is not None and (not dimension.is_standard or new != dimension.name):
            about = dimension.description, dimension.offsets, dimension.scales, dimension.no_data
            header.add_extra_dim(laspy.ExtraBytesParams(new, dimension.dtype, *about))
    for name, values in columns.items():
        header.add_extra_dim(laspy.ExtraBytesParams(name, values.dtype))
    header.start_of_waveform_data_packet_record = 0
    header.global_encoding.waveform_data_packets_internal = False
    return header, names


class _File(io.BufferedWriter):
    """A file that remembers why it could not be written, or Ctrl-C: what compresses says only that a write failed."""

    refused: BaseException | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BaseException as error:
            self.refused = error
            raise


@contextlib.contextmanager
def _written(path: Path) -> Generator[_File]:
    """A new file; where it cannot be written, its own error takes the place of what is raised because of it."""
    with _File(io.FileIO(path, "w")) as file:
        try:
            yield file
        except RuntimeError:
            if file.refused is not None:
                raise file.refused from None
            raise


def _step(extent: float, wanted: float) -> float:
    """The step of one axis: the one that is wanted, or the least power of ten in which 31 bits span half its extent."""
    return max(wanted, 10.0 ** np.ceil(np.log10((extent / 2 + 1) / REACH)))
