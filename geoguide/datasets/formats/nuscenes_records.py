"""Records of nuScenes' json tables: one is a row, a dictionary with the table's `FIELDS`."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.formats.files import load_json
from geoguide.errors import DataError

_UNIT = 1e-3  # how far from 1 a rotation quaternion may be: the files hold about 16 digits
FIELDS = {
    "scene": ("token", "name", "first_sample_token", "nbr_samples"),
    "sample": ("token", "next", "scene_token"),
    "sensor": ("token", "channel"),
    "calibrated_sensor": ("token", "sensor_token", "translation", "rotation", "camera_intrinsic"),
    "ego_pose": ("token", "translation", "rotation"),
    "sample_data": (
        *("token", "sample_token", "ego_pose_token", "calibrated_sensor_token", "filename", "is_key_frame"),
        *("width", "height"),
    ),
    "lidarseg": ("sample_data_token", "filename"),
    "category": ("token", "name", "index"),
}
SMALL = ("scene", "sample", "sensor", "calibrated_sensor")
# Fields that are not text: of the tables, and of a key frame's `calibration.json`.
VALUES = (
    *("nbr_samples", "translation", "rotation", "camera_intrinsic", "is_key_frame", "width", "height", "index"),
    *("columns", "dtype", "intrinsics", "lidar_to_camera"),
)


def read_table(path: Path) -> list[dict]:
    """Read a table.

    Args:
        path: Its json file; the name says which table it is.

    Returns:
        Its records, each with the table's `FIELDS`, which are text unless listed in `VALUES`.

    Raises:
        DataError: The file is missing or broken, the table is empty (but for lidarseg), or a field is missing.
    """
    records = load_json(path, "table")
    if not isinstance(records, list) or (not records and path.stem != "lidarseg"):
        found = "an empty list" if records == [] else type(records).__name__
        raise DataError(f"{path}: expected a list of records, found {found}")
    for number, record in enumerate(records):
        need_fields(record, FIELDS[path.stem], f"{path}: record {number}: field ")
    return records


def index_records(records: list[dict], field: str, path: Path) -> dict[str, dict]:
    """Look records up by a field, which must be different in each.

    Args:
        records: The records.
        field: The field.
        path: The table's json file, for the message.

    Returns:
        Value of the field -> record.

    Raises:
        DataError: Two records hold the same value.
    """
    index = {record[field]: record for record in records}
    if len(index) != len(records):
        twice, times = Counter(record[field] for record in records).most_common(1)[0]
        expected = f"{len(records)} different values"
        raise DataError(f"{path}: field {field}: expected {expected}, found {len(index)}: {twice!r} {times} times")
    return index


def time_of(record: dict) -> int | None:
    """Tell a record's time.

    Args:
        record: A record of any table.

    Returns:
        Microseconds; None where the record tells no time.
    """
    time = record.get("timestamp")
    return time if isinstance(time, int) and not isinstance(time, bool) else None


def pose_matrix(record: dict, path: Path) -> np.ndarray:
    """Turn a record's rotation and translation into a matrix.

    Args:
        record: A record of `calibrated_sensor` or `ego_pose`: `rotation` is a quaternion (w, x, y, z), `translation`
            (x, y, z) in metres.
        path: The table's json file, for the message.

    Returns:
        The pose float64 [4, 4], sensor to ego vehicle or ego vehicle to the world, the quaternion scaled to length 1;
        all nan where the record holds nan or inf, or a rotation of zeros.

    Raises:
        DataError: A field holds other than 3 or 4 numbers, or the quaternion's length is not 1.
    """
    parts = {}
    for field, size in (("translation", 3), ("rotation", 4)):
        value = parts[field] = numbers(record[field])
        if value is None or value.shape != (size,):
            raise DataError(wrong_field(path, record, field, f"{size} numbers", record[field]))
    finite = np.isfinite(parts["translation"]).all() and np.isfinite(parts["rotation"]).all()
    if not finite or not parts["rotation"].any():  # both are written where a pose is not known
        return np.full((4, 4), np.nan)
    pose = np.eye(4)
    pose[:3, 3] = parts["translation"]
    length = np.linalg.norm(parts["rotation"])
    if abs(length - 1) > _UNIT:
        raise DataError(wrong_field(path, record, "rotation", "a quaternion of length 1", record["rotation"]))
    w, x, y, z = parts["rotation"] / length
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return pose


def numbers(value: Any) -> np.ndarray | None:
    """Turn a json value into an array of numbers.

    Args:
        value: What json holds there.

    Returns:
        The numbers, float64, nan and inf among them; None where the value is not a number or lists of numbers.
    """
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiu" else None


def need_fields(record: Any, fields: tuple[str, ...], where: str) -> None:
    """Check that a json value is a record with some fields, each of them text unless `VALUES` lists it.

    Args:
        record: What json holds there.
        fields: The fields.
        where: What stands before a field's name in the message.

    Raises:
        DataError: A field is missing or not text.
    """
    for field in fields:
        if not isinstance(record, dict) or field not in record:
            raise DataError(f"{where}{field}: expected a value, found none")
        if field not in VALUES and not isinstance(record[field], str):
            raise DataError(f"{where}{field}: expected text, found {record[field]!r}")


def wrong_field(path: Path, record: dict, field: str, expected: str, found: Any) -> str:
    """Word the message about a field of a record that does not hold what it should.

    Args:
        path: The table's json file.
        record: The record, with its token.
        field: The field.
        expected: What it should hold.
        found: What it holds.

    Returns:
        The message.
    """
    return f"{path}: record {record['token']}: field {field}: expected {expected}, found {found!r}"
