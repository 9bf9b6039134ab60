"""nuScenes' json tables: scenes, samples, calibrations and poses, checked once and indexed by token.

A *record* is one row of a table, a dictionary. A *sample* is a moment of a scene; its *key frame* of a *channel* is the
`sample_data` record of what that sensor saw then: the LiDAR (`LIDAR`) or one of the six `CAMERAS`.
"""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.formats.files import load_json, need_folder, provenance_of, read_json
from geoguide.errors import DataError
from geoguide.labels.nuscenes import category_classes

LIDAR = "LIDAR_TOP"
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
# What generated data have beside the official files: a folder for each scene with images for the simulated teacher.
MINI_HOME, MINI_IMAGES, MINI_DEPTH_SCALE = "mini", ("label", "instance", "depth"), 256.0
APART = ("train", "val", "test")  # splits that share no scene; others may be parts of them
UNKNOWN = -1  # class of a category id that category.json does not list
# Microseconds between what a record and its file's name or its pose say of one moment: they are equal in the dataset,
# and half the time between two sweeps of the LiDAR is the most that cannot be another one's.
MOMENT = 25_000
KEY_FRAME = 250_000  # microseconds; half the time between two key frames
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


@dataclass(frozen=True, eq=False)
class Tables:
    """What key frames need of one version of the dataset.

    Attributes:
        root: The folder that holds the version's folder, and the files that the tables name.
        version: Name of the folder of the tables: v1.0-mini, v1.0-trainval or v1.0-test.
        scenes: Name of a scene -> its record.
        samples: Token of a sample -> its record.
        frames: Token of a sample -> channel -> the record of its key frame.
        calibrations: Token -> record of `calibrated_sensor`.
        ego_poses: Token -> record of `ego_pose`, of key frames only.
        label_files: Token of a LiDAR key frame -> its file of labels, below root; None where lidarseg is not installed.
        class_of: Class id (0..15, or 255 for ignored ones) of each category id of lidarseg, int64 [256]; -1 for ids
            that `category.json` does not list.
        splits: Split -> names of its scenes, of the data's own `splits.json`; empty where there is no such file.
        provenance: "mini" for generated data, which `mini.json` in root marks, else "real".
    """

    root: Path
    version: str
    scenes: dict[str, dict]
    samples: dict[str, dict]
    frames: dict[str, dict[str, dict]]
    calibrations: dict[str, dict]
    ego_poses: dict[str, dict]
    label_files: dict[str, str] | None
    class_of: np.ndarray
    splits: dict[str, tuple[str, ...]]
    provenance: str

    def path(self, table: str) -> Path:
        """Say where a table lies, for messages.

        Args:
            table: Name of the table.

        Returns:
            Its json file.
        """
        return self.root / self.version / f"{table}.json"

    def scene_of(self, sample: str) -> str:
        """Find the scene that a sample belongs to.

        Args:
            sample: Token of the sample.

        Returns:
            Name of the scene.

        Raises:
            DataError: The tables hold no such scene.
        """
        record = self.samples[sample]
        token = record["scene_token"]
        for name, scene in self.scenes.items():
            if scene["token"] == token:
                return name
        raise DataError(_wrong(self.path("sample"), record, "scene_token", "a token of scene.json", token))

    def pose(self, table: str, token: str) -> np.ndarray:
        """Look up a pose.

        Args:
            table: "calibrated_sensor" (sensor to ego vehicle) or "ego_pose" (ego vehicle to the world).
            token: Token of the record.

        Returns:
            The pose, float64 [4, 4], as `pose_matrix` makes it.

        Raises:
            DataError: There is no such record, or it is broken.
        """
        records = self.calibrations if table == "calibrated_sensor" else self.ego_poses
        if token not in records:
            raise DataError(f"{self.path(table)}: expected a record with token {token!r}, found none")
        return pose_matrix(records[token], self.path(table))


def read_tables(root: str | Path, version: str = "v1.0-trainval") -> Tables:
    """Read the tables of one version, and of sensor data only the key frames of the LiDAR and the six cameras.

    The full dataset's two largest tables hold 2.6 million records each: they are read whole, then cut.

    Args:
        root: The folder that holds the folder of the version.
        version: v1.0-mini, v1.0-trainval or v1.0-test.

    Returns:
        The tables.

    Raises:
        DataError: Something is missing or broken; the message names file, record and field.
    """
    folder = need_folder(need_folder(root, "data root") / version, f"tables of {version}")
    scenes, samples, sensors, calibrations = (_read_table(folder / f"{name}.json") for name in SMALL)
    calibrations = _index(calibrations, "token", folder / "calibrated_sensor.json")
    sensors = _index(sensors, "token", folder / "sensor.json")
    channels = {token: record["channel"] for token, record in sensors.items()}
    _index(scenes, "token", folder / "scene.json")
    samples = _index(samples, "token", folder / "sample.json")
    frames = _key_frames(_read_table(folder / "sample_data.json"), calibrations, channels, folder)
    wanted = {record["ego_pose_token"] for frame in frames.values() for record in frame.values()}
    poses = [record for record in _read_table(folder / "ego_pose.json") if record["token"] in wanted]
    poses = _index(poses, "token", folder / "ego_pose.json")
    _check_moments(frames, samples, poses, folder / "sample_data.json")
    labels = folder / "lidarseg.json"
    rows = _read_table(labels) if labels.is_file() else []  # v1.0-test's file is empty: its labels are withheld
    label_files = {token: row["filename"] for token, row in _index(rows, "sample_data_token", labels).items()} or None
    _check_label_files(label_files or {}, labels)
    return Tables(
        root=Path(root),
        version=version,
        scenes=_index(scenes, "name", folder / "scene.json"),
        samples=samples,
        frames=frames,
        calibrations=calibrations,
        ego_poses=poses,
        label_files=label_files,
        class_of=_class_table(folder / "category.json") if label_files else np.full(256, UNKNOWN, dtype=np.int64),
        splits=_own_splits(folder / "splits.json"),
        provenance=provenance_of(Path(root)),
    )


def list_samples(tables: Tables, scene: str) -> tuple[str, ...]:
    """List the key frames of a scene in order of time (2 per second, about 40).

    Args:
        tables: The tables.
        scene: Name of the scene.

    Returns:
        Tokens of its samples.

    Raises:
        DataError: There is no such scene, or the samples do not follow one another as the tables say.
    """
    if scene not in tables.scenes:
        raise DataError(f"{tables.path('scene')}: field name: expected {scene!r}, found none of that name")
    record = tables.scenes[scene]
    tokens: dict[str, None] = {}
    token = record["first_sample_token"]
    while token:
        if token not in tables.samples or token in tokens:
            found = "it twice" if token in tokens else "no such record"
            raise DataError(f"{tables.path('sample')}: field next: expected sample {token!r} once, found {found}")
        sample = tables.samples[token]
        if sample["scene_token"] != record["token"]:
            expected = f"{record['token']!r} of {scene}, whose chain it is in"
            raise DataError(_wrong(tables.path("sample"), sample, "scene_token", expected, sample["scene_token"]))
        _check_order(next(reversed(tokens), None), sample, tables)
        tokens[token] = None
        token = sample["next"]
    if len(tokens) != record["nbr_samples"]:
        where = f"{tables.path('scene')}: record {scene}: field nbr_samples"
        raise DataError(f"{where}: expected {record['nbr_samples']} samples, found a chain of {len(tokens)}")
    held = sum(sample["scene_token"] == record["token"] for sample in tables.samples.values())
    if held != len(tokens):
        expected = f"a chain of all {held} samples of {scene}"
        raise DataError(f"{tables.path('sample')}: field next: expected {expected}, found one of {len(tokens)}")
    return tuple(tokens)


def _check_order(before: str | None, sample: dict, tables: Tables) -> None:
    """Refuse a sample that is earlier than the one before it in its scene."""
    earlier, now = _time(tables.samples[before] if before is not None else {}), _time(sample)
    if earlier is not None and now is not None and now <= earlier:
        expected = f"a time after that of the sample before, {earlier}"
        raise DataError(_wrong(tables.path("sample"), sample, "timestamp", expected, now))


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
            raise DataError(_wrong(path, record, field, f"{size} numbers", record[field]))
    finite = np.isfinite(parts["translation"]).all() and np.isfinite(parts["rotation"]).all()
    if not finite or not parts["rotation"].any():  # both are written where a pose is not known
        return np.full((4, 4), np.nan)
    pose = np.eye(4)
    pose[:3, 3] = parts["translation"]
    length = np.linalg.norm(parts["rotation"])
    if abs(length - 1) > _UNIT:
        raise DataError(_wrong(path, record, "rotation", "a quaternion of length 1", record["rotation"]))
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


def _wrong(path: Path, record: dict, field: str, expected: str, found: Any) -> str:
    """The message about a field of a record that does not hold what it should."""
    return f"{path}: record {record['token']}: field {field}: expected {expected}, found {found!r}"


def _read_table(path: Path) -> list[dict]:
    """The records of a table, each with the table's `FIELDS`, which must be text unless listed in `VALUES`."""
    records = load_json(path, "table")
    if not isinstance(records, list) or (not records and path.stem != "lidarseg"):
        found = "an empty list" if records == [] else type(records).__name__
        raise DataError(f"{path}: expected a list of records, found {found}")
    for number, record in enumerate(records):
        need_fields(record, FIELDS[path.stem], f"{path}: record {number}: field ")
    return records


def _index(records: list[dict], field: str, path: Path) -> dict[str, dict]:
    """The records by the value of a field, which must be different in each."""
    index = {record[field]: record for record in records}
    if len(index) != len(records):
        raise DataError(f"{path}: field {field}: expected {len(records)} different values, found {len(index)}")
    return index


def _key_frames(
    records: list[dict], calibrations: dict[str, dict], channels: dict[str, str], folder: Path
) -> dict[str, dict[str, dict]]:
    """Token of a sample -> channel -> record of its key frame, of the LiDAR and the cameras."""
    wanted = {LIDAR, *CAMERAS}
    frames: dict[str, dict[str, dict]] = {}
    path = folder / "sample_data.json"
    for record in records:
        if not isinstance(record["is_key_frame"], bool):
            raise DataError(_wrong(path, record, "is_key_frame", "true or false", record["is_key_frame"]))
        if not record["is_key_frame"]:
            continue
        calibration = calibrations.get(record["calibrated_sensor_token"], {})
        channel = channels.get(calibration.get("sensor_token", ""))
        if channel is None:
            found = record["calibrated_sensor_token"]
            expected = "a token of calibrated_sensor.json whose sensor_token is in sensor.json"
            raise DataError(_wrong(path, record, "calibrated_sensor_token", expected, found))
        if channel not in wanted:
            continue
        _check_filed(record, channel, set(channels.values()), path)
        frame = frames.setdefault(record["sample_token"], {})
        if channel in frame:
            expected = f"one key frame of {channel} in sample {record['sample_token']}"
            raise DataError(_wrong(path, record, "is_key_frame", expected, f"also {frame[channel]['token']}"))
        frame[channel] = record
    return frames


def _check_filed(record: dict, channel: str, channels: set[str], path: Path) -> None:
    """Refuse the file of another sensor: the folder that it lies in is named by its channel."""
    for part in record["filename"].split("/")[:-1]:
        if part in channels and part != channel:
            expected = f"a file of {channel}, the channel of its calibrated_sensor_token"
            raise DataError(_wrong(path, record, "filename", expected, record["filename"]))


def _check_moments(
    frames: dict[str, dict[str, dict]], samples: dict[str, dict], poses: dict[str, dict], path: Path
) -> None:
    """Refuse key frames whose file, pose or sample is of another moment, as far as the records tell a time."""
    for token, frame in frames.items():
        for record in frame.values():
            now, pose = _time(record), poses.get(record["ego_pose_token"], {})
            named = re.search(r"__(\d{16})\.", record["filename"])
            said = (
                ("filename", int(named[1]) if named else None, MOMENT),
                ("ego_pose_token", _time(pose), MOMENT),
                ("sample_token", _time(samples.get(token, {})), KEY_FRAME),
            )
            for field, time, most in said:
                if now is not None and time is not None and abs(time - now) > most:
                    found = f"one of {time}, {abs(time - now) / 1e6:g} s from it"
                    raise DataError(f"{path}: record {record['token']}: field {field}: expected one of its timestamp, "
                                    f"{now}, found {found}")  # fmt: skip


def _time(record: dict) -> int | None:
    """A record's time in microseconds; None where it tells none."""
    time = record.get("timestamp")
    return time if isinstance(time, int) and not isinstance(time, bool) else None


def _check_label_files(files: dict[str, str], path: Path) -> None:
    """Refuse labels of another key frame: their files are called <token>_lidarseg.bin."""
    for token, name in files.items():
        stem = Path(name).name.removesuffix("_lidarseg.bin")
        if stem != Path(name).name and stem != token:
            expected = f"{token}_lidarseg.bin for sample_data_token {token}"
            raise DataError(f"{path}: field filename: expected {expected}, found {name!r}")


def _class_table(path: Path) -> np.ndarray:
    """`Tables.class_of` by category.json, whose field index came with lidarseg."""
    known, table = category_classes(), np.full(256, UNKNOWN, dtype=np.int64)
    for record in _read_table(path):
        if record["name"] not in known:
            raise DataError(_wrong(path, record, "name", "one of the 32 lidarseg categories", record["name"]))
        index = record["index"]
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(table):
            raise DataError(_wrong(path, record, "index", "a whole number 0..255", index))
        if table[index] != UNKNOWN:
            raise DataError(_wrong(path, record, "index", "a number that no other category has", index))
        table[record["index"]] = known[record["name"]]
    table.setflags(write=False)
    return table


def _own_splits(path: Path) -> dict[str, tuple[str, ...]]:
    """`Tables.splits` by the data's own `splits.json`; empty where there is no such file."""
    if not path.is_file():
        return {}
    splits = read_json(path, ())
    for split, names in splits.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}: field {split}: expected a list of scene names, found {names!r}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(
                f"{path}: field {split}: expected each scene once, found {twice} {names.count(twice)} times"
            )
    for one, other in itertools.combinations([split for split in APART if split in splits], 2):
        both = sorted({*splits[one]} & {*splits[other]})
        if both:
            raise DataError(f"{path}: field {other}: expected scenes that {one} does not hold, found {both[0]}")
    return {split: tuple(names) for split, names in splits.items()}
