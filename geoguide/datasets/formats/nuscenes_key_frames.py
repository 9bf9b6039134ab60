"""Are a key frame's file, pose, sample and scene those of its sensor, its moment and its drive?"""

import re
from pathlib import Path

from geoguide.datasets.formats.files import load_json
from geoguide.datasets.formats.nuscenes_records import time_of, wrong_field
from geoguide.errors import DataError

# Microseconds between what a record and its file's name or its pose say of one moment: they are equal in the dataset,
# and half the time between two sweeps of the LiDAR is the most that cannot be another one's.
MOMENT = 25_000
SCENE = re.compile(r"scene-\d{4}")  # what scenes are called, and no log
KEY_FRAME = 250_000  # microseconds; half the time between two key frames


def check_filed(record: dict, channel: str, channels: set[str], path: Path) -> None:
    """Refuse the file of another sensor: the folder that it lies in is named by its channel.

    Args:
        record: A record of `sample_data`.
        channel: The channel of its calibration.
        channels: All channels.
        path: The table's json file, for the message.

    Raises:
        DataError: The file lies in the folder of another channel.
    """
    for part in record["filename"].split("/")[:-1]:
        if part in channels and part != channel:
            expected = f"a file of {channel}, the channel of its calibrated_sensor_token"
            raise DataError(wrong_field(path, record, "filename", expected, record["filename"]))


def check_moments(
    frames: dict[str, dict[str, dict]], samples: dict[str, dict], poses: dict[str, dict], path: Path
) -> None:
    """Refuse key frames whose file, pose or sample is of another moment, as far as the records tell a time.

    Args:
        frames: Token of a sample -> channel -> record of `sample_data`.
        samples: Token -> record of `sample`.
        poses: Token -> record of `ego_pose`.
        path: The json file of `sample_data`, for the message.

    Raises:
        DataError: Two times differ.
    """
    for token, frame in frames.items():
        for record in frame.values():
            now, pose = time_of(record), poses.get(record["ego_pose_token"], {})
            named = re.search(r"__(\d{16})\.", record["filename"])
            said = (
                ("filename", int(named[1]) if named else None, MOMENT),
                ("ego_pose_token", time_of(pose), MOMENT),
                ("sample_token", time_of(samples.get(token, {})), KEY_FRAME),
            )
            for field, time, most in said:
                if now is not None and time is not None and abs(time - now) > most:
                    found = f"one of {time}, {abs(time - now) / 1e6:g} s from it"
                    raise DataError(f"{path}: record {record['token']}: field {field}: expected one of its timestamp, "
                                    f"{now}, found {found}")  # fmt: skip


def check_drives(
    frames: dict[str, dict[str, dict]], samples: dict[str, dict], scenes: list[dict], folder: Path
) -> None:
    """Refuse key frames that were recorded in another drive than their scene's: files are called <drive>__<channel>__.

    A drive is named by the `logfile` of the scene's log; in generated data by the scene. Two scenes of one real log
    whose names are exchanged cannot be told: no file holds a scene's name.

    Args:
        frames: Token of a sample -> channel -> record of `sample_data`.
        samples: Token -> record of `sample`.
        scenes: Records of `scene`.
        folder: The folder of the tables; without log.json in it, only names of scenes are compared.

    Raises:
        DataError: A key frame's file is named by another drive or scene.
    """
    logs = {log["token"]: log["logfile"] for log in _logs(folder / "log.json")}
    drives = {scene["token"]: (scene["name"], logs.get(str(scene.get("log_token")))) for scene in scenes}
    for token, frame in frames.items():
        name, log = drives.get(samples.get(token, {}).get("scene_token", ""), (None, None))
        for record in frame.values():
            drive, mark, _ = record["filename"].rsplit("/", 1)[-1].partition("__")
            named = name if SCENE.fullmatch(drive) else log
            if mark and named and drive != named:
                path, expected = folder / "sample_data.json", f"a file of {named}, the drive of scene {name}"
                raise DataError(wrong_field(path, record, "filename", expected, record["filename"]))


def _logs(path: Path) -> list[dict]:
    """The records of the table of logs that say what they are of; that table is not needed."""
    logs = load_json(path, "table") if path.is_file() else []
    logs = logs if isinstance(logs, list) else []
    return [log for log in logs if isinstance(log, dict) and log.get("logfile") and isinstance(log.get("token"), str)]
