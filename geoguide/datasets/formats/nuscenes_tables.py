"""nuScenes' json tables: scenes, samples, calibrations and poses, checked once and indexed by token.

A *record* is one row of a table, a dictionary. A *sample* is a moment of a scene; its *key frame* of a *channel* is the
`sample_data` record of what that sensor saw then: the LiDAR (`LIDAR`) or one of the six `CAMERAS`.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import need_folder, provenance_of, read_json
from geoguide.datasets.formats.nuscenes_key_frames import check_drives, check_filed, check_moments
from geoguide.datasets.formats.nuscenes_labels import UNKNOWN, check_label_files, check_official, class_table
from geoguide.datasets.formats.nuscenes_records import (
    SMALL,
    index_records,
    pose_matrix,
    read_table,
    time_of,
    wrong_field,
)
from geoguide.errors import DataError

LIDAR = "LIDAR_TOP"
CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
# What generated data have beside the official files: a folder for each scene with images for the simulated teacher.
MINI_HOME, MINI_IMAGES, MINI_DEPTH_SCALE = "mini", ("label", "instance", "depth"), 256.0
OFFICIAL = ("v1.0-mini", "v1.0-trainval", "v1.0-test")  # versions that nuScenes published
APART = ("train", "val", "test")  # splits that share no scene; others may be parts of them


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
        raise DataError(wrong_field(self.path("sample"), record, "scene_token", "a token of scene.json", token))

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
    scenes, samples, sensors, calibrations = (read_table(folder / f"{name}.json") for name in SMALL)
    calibrations = index_records(calibrations, "token", folder / "calibrated_sensor.json")
    sensors = index_records(sensors, "token", folder / "sensor.json")
    channels = {token: record["channel"] for token, record in sensors.items()}
    index_records(scenes, "token", folder / "scene.json")
    samples = index_records(samples, "token", folder / "sample.json")
    frames = _key_frames(read_table(folder / "sample_data.json"), calibrations, channels, folder)
    wanted = {record["ego_pose_token"] for frame in frames.values() for record in frame.values()}
    poses = [record for record in read_table(folder / "ego_pose.json") if record["token"] in wanted]
    poses = index_records(poses, "token", folder / "ego_pose.json")
    check_moments(frames, samples, poses, folder / "sample_data.json")
    check_drives(frames, samples, scenes, folder)
    labels = folder / "lidarseg.json"
    rows = read_table(labels) if labels.is_file() else []  # v1.0-test's file is empty: its labels are withheld
    label_files = {
        token: row["filename"] for token, row in index_records(rows, "sample_data_token", labels).items()
    } or None
    check_label_files(label_files or {}, labels)
    provenance = provenance_of(Path(root))
    class_of = class_table(folder / "category.json") if label_files else np.full(256, UNKNOWN, dtype=np.int64)
    if label_files and (version in OFFICIAL or provenance == "mini"):
        check_official(folder / "category.json")
    return Tables(
        root=Path(root),
        version=version,
        scenes=index_records(scenes, "name", folder / "scene.json"),
        samples=samples,
        frames=frames,
        calibrations=calibrations,
        ego_poses=poses,
        label_files=label_files,
        class_of=class_of,
        splits=_own_splits(folder / "splits.json"),
        provenance=provenance,
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
            raise DataError(wrong_field(tables.path("sample"), sample, "scene_token", expected, sample["scene_token"]))
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
    earlier, now = time_of(tables.samples[before] if before is not None else {}), time_of(sample)
    if earlier is not None and now is not None and now <= earlier:
        expected = f"a time after that of the sample before, {earlier}"
        raise DataError(wrong_field(tables.path("sample"), sample, "timestamp", expected, now))


def _key_frames(
    records: list[dict], calibrations: dict[str, dict], channels: dict[str, str], folder: Path
) -> dict[str, dict[str, dict]]:
    """Token of a sample -> channel -> record of its key frame, of the LiDAR and the cameras."""
    wanted = {LIDAR, *CAMERAS}
    frames: dict[str, dict[str, dict]] = {}
    path = folder / "sample_data.json"
    for record in records:
        if not isinstance(record["is_key_frame"], bool):
            raise DataError(wrong_field(path, record, "is_key_frame", "true or false", record["is_key_frame"]))
        if not record["is_key_frame"]:
            continue
        calibration = calibrations.get(record["calibrated_sensor_token"], {})
        channel = channels.get(calibration.get("sensor_token", ""))
        if channel is None:
            found = record["calibrated_sensor_token"]
            expected = "a token of calibrated_sensor.json whose sensor_token is in sensor.json"
            raise DataError(wrong_field(path, record, "calibrated_sensor_token", expected, found))
        if channel not in wanted:
            continue
        check_filed(record, channel, set(channels.values()), path)
        frame = frames.setdefault(record["sample_token"], {})
        if channel in frame:
            expected = f"one key frame of {channel} in sample {record['sample_token']}"
            raise DataError(wrong_field(path, record, "is_key_frame", expected, f"also {frame[channel]['token']}"))
        frame[channel] = record
    return frames


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
