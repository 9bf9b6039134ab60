"""nuScenes' json tables: scenes, samples, calibrations and poses, checked once and indexed by token."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.formats.files import MINI_STAMP, need_file, need_folder, read_json
from geoguide.datasets.splits import SPLITS, load_split
from geoguide.errors import DataError, InputError
from geoguide.labels.nuscenes import category_classes

LIDAR = "LIDAR_TOP"


CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")


# What generated data have beside the official files: a folder for each scene with images for the simulated teacher.
MINI_HOME, MINI_IMAGES, MINI_DEPTH_SCALE = "mini", ("label", "instance", "depth"), 256.0


UNKNOWN = -1  # class of a category id that category.json does not list


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


# Fields that are not text.
VALUES = ("nbr_samples", "translation", "rotation", "camera_intrinsic", "is_key_frame", "width", "height", "index")


@dataclass(frozen=True, eq=False)
class Tables:
    """What key frames need of one version of the data set.

    scenes by name; samples, calibrations and ego_poses by token; frames: sample token -> channel -> its key frame's
    `sample_data` record. label_files: lidar `sample_data` token -> file below root; None where lidarseg is not
    installed. class_of int64 [256]: class id (0..15 or 255) of each lidarseg category id, -1 for ids that
    `category.json` does not list. splits: scene names by split, of `splits.json` where there is one. source: "mini" for
    generated data, which `mini.json` in root marks, else "real".
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
    source: str

    def path(self, table: str) -> Path:
        """The json file of a table, for messages."""
        return self.root / self.version / f"{table}.json"

    def scene_of(self, sample: str) -> str:
        """Name of the scene that a sample belongs to."""
        token = self.samples[sample]["scene_token"]
        for name, record in self.scenes.items():
            if record["token"] == token:
                return name
        raise DataError(
            _wrong(self.path("sample"), self.samples[sample], "scene_token", "a token of scene.json", token)
        )

    def pose(self, table: str, token: str) -> np.ndarray:
        """The pose [4, 4] of a record of `calibrated_sensor` or `ego_pose`: see `pose_matrix`."""
        records = self.calibrations if table == "calibrated_sensor" else self.ego_poses
        if token not in records:
            raise DataError(f"{self.path(table)}: expected a record with token {token!r}, found none")
        return pose_matrix(records[token], self.path(table))


def read_tables(root: str | Path, version: str = "v1.0-trainval") -> Tables:
    """Read the tables in `root/version` (v1.0-mini, v1.0-trainval or v1.0-test), keeping key frames only.

    Raises `DataError` naming file, record and field for anything missing or broken. The full set's two largest tables
    hold 2.6 million records each: they are read whole, then cut to the key frames of the LiDAR and the six cameras.
    """
    folder = need_folder(need_folder(root, "data root") / version, f"tables of {version}")
    scenes, samples, sensors, calibrations = (_read_table(folder / f"{name}.json") for name in SMALL)
    calibrations = _index(calibrations, "token", folder / "calibrated_sensor.json")
    channels = {record["token"]: record["channel"] for record in sensors}
    frames = _key_frames(_read_table(folder / "sample_data.json"), calibrations, channels, folder)
    wanted = {record["ego_pose_token"] for frame in frames.values() for record in frame.values()}
    poses = [record for record in _read_table(folder / "ego_pose.json") if record["token"] in wanted]
    labels = folder / "lidarseg.json"
    rows = _read_table(labels) if labels.is_file() else []  # v1.0-test's file is empty: its labels are withheld
    label_files = {row["sample_data_token"]: row["filename"] for row in rows} or None
    return Tables(
        root=Path(root),
        version=version,
        scenes=_index(scenes, "name", folder / "scene.json"),
        samples=_index(samples, "token", folder / "sample.json"),
        frames=frames,
        calibrations=calibrations,
        ego_poses=_index(poses, "token", folder / "ego_pose.json"),
        label_files=label_files,
        class_of=_class_table(folder / "category.json") if label_files else np.full(256, UNKNOWN, dtype=np.int64),
        splits=_own_splits(folder / "splits.json"),
        source="mini" if (Path(root) / MINI_STAMP).is_file() else "real",
    )


def list_scenes(tables: Tables, split: str | None = None) -> tuple[str, ...]:
    """Scene names of an official split ("train", "val", "test", "mini_train", "mini_val"), sorted; None: all there are.

    `splits.json` beside the tables, which the devkit knows as custom splits, adds splits; in generated data it decides
    what the official names mean. Raises `InputError` for another split and `DataError` when any scene of it is not in
    the tables.
    """
    if split is None:
        return tuple(sorted(tables.scenes))
    official = {name: load_split("nuscenes", name) for name in SPLITS["nuscenes"]}
    splits = {**official, **tables.splits} if tables.source == "mini" else {**tables.splits, **official}
    if split not in splits:
        raise InputError(f"split must be one of {', '.join(splits)}, found {split!r}")
    if not splits[split]:
        raise DataError(f"{tables.path('splits')}: field {split}: expected at least one scene, found an empty split")
    missing = [name for name in splits[split] if name not in tables.scenes]
    if missing:
        raise DataError(
            f"{tables.path('scene')}: field name: expected the {len(splits[split])} scenes of split {split!r}, "
            f"found {len(splits[split]) - len(missing)}, first missing {missing[0]}"
        )
    return splits[split]


def list_samples(tables: Tables, scene: str) -> tuple[str, ...]:
    """Sample tokens of a scene's key frames in order of time (2 per second, about 40)."""
    if scene not in tables.scenes:
        raise DataError(f"{tables.path('scene')}: field name: expected {scene!r}, found none of that name")
    record = tables.scenes[scene]
    tokens: dict[str, None] = {}
    token = record["first_sample_token"]
    while token:
        if token not in tables.samples or token in tokens:
            found = "it twice" if token in tokens else "no such record"
            raise DataError(f"{tables.path('sample')}: field next: expected sample {token!r} once, found {found}")
        tokens[token] = None
        token = tables.samples[token]["next"]
    if len(tokens) != record["nbr_samples"]:
        raise DataError(
            f"{tables.path('scene')}: record {scene}: field nbr_samples: expected {record['nbr_samples']} samples, "
            f"found a chain of {len(tokens)}"
        )
    return tuple(tokens)


def pose_matrix(record: dict, path: Path) -> np.ndarray:
    """A record's pose float64 [4, 4], sensor (or ego) to its parent frame, metres; all nan where it holds nan or inf.

    `rotation` is a quaternion (w, x, y, z), scaled to length 1; `translation` (x, y, z).
    """
    parts = {}
    for field, size in (("translation", 3), ("rotation", 4)):
        value = parts[field] = numbers(record[field])
        if value is None or value.shape != (size,):
            raise DataError(_wrong(path, record, field, f"{size} numbers", record[field]))
    if not (np.isfinite(parts["translation"]).all() and np.isfinite(parts["rotation"]).all()):
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
    """A json value as a float64 array, None where it is not one of numbers; nan and inf are kept."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiu" else None


def _wrong(path: Path, record: dict, field: str, expected: str, found: Any) -> str:
    return f"{path}: record {record['token']}: field {field}: expected {expected}, found {found!r}"


def _read_table(path: Path) -> list[dict]:
    """A json list of records that each have the table's `FIELDS`, as text where they are text."""
    need_file(path, "table")
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid json, truncated? ({error})") from None
    if not isinstance(records, list) or (not records and path.stem != "lidarseg"):
        found = "an empty list" if records == [] else type(records).__name__
        raise DataError(f"{path}: expected a list of records, found {found}")
    for number, record in enumerate(records):
        for field in FIELDS[path.stem]:
            if not isinstance(record, dict) or field not in record:
                raise DataError(f"{path}: record {number}: field {field}: expected a value, found none")
            if field not in VALUES and not isinstance(record[field], str):
                raise DataError(f"{path}: record {number}: field {field}: expected text, found {record[field]!r}")
    return records


def _index(records: list[dict], field: str, path: Path) -> dict[str, dict]:
    index = {record[field]: record for record in records}
    if len(index) != len(records):
        raise DataError(f"{path}: field {field}: expected {len(records)} different values, found {len(index)}")
    return index


def _key_frames(
    records: list[dict], calibrations: dict[str, dict], channels: dict[str, str], folder: Path
) -> dict[str, dict[str, dict]]:
    """sample token -> channel -> record, of the LiDAR and the cameras."""
    wanted = {LIDAR, *CAMERAS}
    frames: dict[str, dict[str, dict]] = {}
    for record in records:
        if not record["is_key_frame"]:
            continue
        calibration = calibrations.get(record["calibrated_sensor_token"], {})
        channel = channels.get(calibration.get("sensor_token", ""))
        if channel is None:
            found = record["calibrated_sensor_token"]
            expected = "a token of calibrated_sensor.json whose sensor_token is in sensor.json"
            raise DataError(_wrong(folder / "sample_data.json", record, "calibrated_sensor_token", expected, found))
        if channel in wanted:
            frames.setdefault(record["sample_token"], {})[channel] = record
    return frames


def _class_table(path: Path) -> np.ndarray:
    """`Tables.class_of` from category.json, whose field index exists since lidarseg does."""
    known, table = category_classes(), np.full(256, UNKNOWN, dtype=np.int64)
    for record in _read_table(path):
        if record["name"] not in known:
            raise DataError(_wrong(path, record, "name", "one of the 32 lidarseg categories", record["name"]))
        if not isinstance(record["index"], int) or not 0 <= record["index"] < len(table):
            raise DataError(_wrong(path, record, "index", "a whole number 0..255", record["index"]))
        table[record["index"]] = known[record["name"]]
    table.setflags(write=False)
    return table


def _own_splits(path: Path) -> dict[str, tuple[str, ...]]:
    """The splits of a data set's own `splits.json`, split -> list of scene names; none where there is no such file."""
    if not path.is_file():
        return {}
    splits = read_json(path, ())
    for split, names in splits.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{path}: field {split}: expected a list of scene names, found {names!r}")
    return {split: tuple(names) for split, names in splits.items()}
