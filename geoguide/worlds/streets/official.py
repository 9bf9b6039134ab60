"""The files of mini-nuScenes: `write_street` writes one recorded street as a nuScenes scene.

`official/` holds what nuScenes has: samples/CHANNEL/*, lidarseg/VERSION/*. Beside it lie `tables.json`, the scene's
records, and, for the simulated teacher, label/, instance/ and depth/: one png for each camera image, named as it, at
the size it was ray-cast in. label: id of the lidarseg challenge, 1..16 (0 none), uint8, as `LabelSet.from_raw` reads;
instance: 1 + number of the object (0 none), uint16; depth: 1/256 m (0 none), uint16.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from geoguide.datasets.formats.nuscenes_tables import CAMERAS, LIDAR, MINI_DEPTH_SCALE, MINI_IMAGES
from geoguide.labels import load_label_set
from geoguide.labels.nuscenes import NAME, category_classes
from geoguide.worlds.car import IMAGE_SIZE, MountedCamera, Sensor
from geoguide.worlds.jobs import write_stamp
from geoguide.worlds.streets.scan import KeyFrame, Picture, Sweep
from geoguide.worlds.streets.world import Street, StreetObject
from geoguide.worlds.things.categories import CATEGORIES, NOISE

OFFICIAL, TABLES = "official", "tables.json"
STREETS_VERSION = "v1.0-streets"  # unlike any real version's name, so that nobody takes one for the other
MAP = "maps/mini-streets.png"
ATTRIBUTES = (
    *("vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider", "cycle.without_rider"),
    *("pedestrian.sitting_lying_down", "pedestrian.standing", "pedestrian.moving"),
)
VISIBILITY = ("v0-40", "v40-60", "v60-80", "v80-100")
PER_SCENE = (  # tables with records of every scene's own
    *("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "log", "instance", "sample_annotation"),
    "lidarseg",
)
START = 1_600_000_000_000_000  # microseconds: the first scene's time 0

TableRecord = dict[str, Any]


def write_street(
    folder: Path,
    name: str,
    number: int,
    street: Street,
    sensors: list[Sensor],
    key_frames: Iterable[KeyFrame],
    quality: int,
    recipe: TableRecord,
) -> None:
    """Write a recorded street as a scene, its stamp last.

    The stamp `mini.json` holds the recipe, a SHA-256 over all other files, and the number of echoes of each category.

    Args:
        folder: An empty folder.
        name: Name of the scene.
        number: Number of the scene in the data set, which decides its time stamps.
        street: The street.
        sensors: The car's sensors, the LiDAR first.
        key_frames: What they recorded.
        quality: Quality of the jpg images, 1 to 95.
        recipe: What the scene was made by.
    """
    records, raw = _SceneRecords(name, START + number * 100_000_000), category_ids(street)
    records.add_log(sensors)
    lidar, scored = sensors[0], _challenge_ids(raw)
    points = np.zeros(256, dtype=np.int64)  # [256] echoes of each category id
    for kind in MINI_IMAGES:
        (folder / kind).mkdir()
    for index, frame in enumerate(key_frames):
        time, turn = frame.time, frame.sweep
        sample = records.add_sample(index, time)
        file = f"samples/{lidar.channel}/{name}__{lidar.channel}__{records.timestamp(time)}.pcd.bin"
        data = records.add_data(sample, lidar, time, street.origin @ street.ego_pose(time), file)
        _write_sweep(folder / OFFICIAL, file, data, turn, raw, records)
        points += np.bincount(raw[turn.object], minlength=256)
        for k, (echoes, seen) in frame.things.items():
            item = street.objects[k]
            records.add_annotation(sample, k, item, street.origin @ item.pose(time), echoes, seen)
        for camera, image in frame.pictures:
            moment = time + camera.delay
            file = f"samples/{camera.channel}/{name}__{camera.channel}__{records.timestamp(moment)}.jpg"
            records.add_data(sample, camera, moment, street.origin @ street.ego_pose(moment), file)
            _write_picture(folder, file, image, scored, quality)
    records.finish(street)
    (folder / TABLES).write_text(json.dumps(records.tables, indent=0))
    counts = {int(k): int(points[k]) for k in np.flatnonzero(points)}  # by category
    write_stamp(folder, recipe, {"kind": street.kind, "objects": len(street.objects), "points": counts})


def category_ids(street: Street) -> np.ndarray:
    """The lidarseg categories of a street's objects.

    Args:
        street: The street.

    Returns:
        Category id of each object, uint8 [O + 1]; the last entry, which object -1 finds, is noise.
    """
    return np.array([CATEGORIES.index(item.category) for item in street.objects] + [NOISE], dtype=np.uint8)


def _challenge_ids(raw: np.ndarray) -> np.ndarray:
    """Challenge ids of lidarseg, uint8 (1..16, 0 where ignored) of category ids, same shape."""
    classes = np.array([category_classes()[name] for name in CATEGORIES])  # [32]
    return load_label_set(NAME).to_raw(classes[raw]).astype(np.uint8)


@dataclass
class _SceneRecords:
    """The records of one scene, filled key frame by key frame.

    Attributes:
        name: Name of the scene.
        start: Time stamp of time 0, microseconds.
        tables: Its records of each table.
    """

    name: str
    start: int
    tables: dict[str, list[TableRecord]] = field(default_factory=lambda: {name: [] for name in PER_SCENE})

    def timestamp(self, time: float) -> int:
        """The time stamp of a time in seconds, microseconds."""
        return self.start + round(time * 1e6)

    def add_log(self, sensors: list[Sensor]) -> None:
        """Add the records of log and calibrated_sensor."""
        log = {
            "token": _token(self.name, "log"),
            "logfile": self.name,
            "vehicle": "mini",
            "date_captured": "2020-09-13",
        }
        self.tables["log"].append(log | {"location": "mini-streets"})
        for sensor in sensors:
            intrinsics = sensor.intrinsics.tolist() if isinstance(sensor, MountedCamera) else []
            record: TableRecord = {"token": self.calibration(sensor.channel)}
            record |= {"sensor_token": _token("sensor", sensor.channel)}
            record |= _pose_fields(sensor.to_ego) | {"camera_intrinsic": intrinsics}
            self.tables["calibrated_sensor"].append(record)

    def calibration(self, channel: str) -> str:
        """Token of a sensor's calibrated_sensor record."""
        return _token(self.name, "calibrated_sensor", channel)

    def add_sample(self, number: int, time: float) -> str:
        """Add the sample record of key frame `number`; returns its token."""
        token = _token(self.name, "sample", number)
        record = {"token": token, "timestamp": self.timestamp(time), "prev": "", "next": ""}
        self.tables["sample"].append(record | {"scene_token": _token(self.name, "scene")})
        return token

    def add_data(self, sample: str, sensor: Sensor, time: float, ego: np.ndarray, file: str) -> str:
        """Add sample_data and ego_pose (to global, `ego` [4, 4]) of the reading in `file`; returns their token."""
        camera = isinstance(sensor, MountedCamera)
        name = _token(self.name, "sample_data", sensor.channel, sample)
        self.tables["ego_pose"].append({"token": name, "timestamp": self.timestamp(time)} | _pose_fields(ego))
        self.tables["sample_data"].append(
            {
                "token": name,
                "sample_token": sample,
                "ego_pose_token": name,
                "calibrated_sensor_token": self.calibration(sensor.channel),
                "timestamp": self.timestamp(time),
                "fileformat": "jpg" if camera else "pcd",
                "is_key_frame": True,
                "height": IMAGE_SIZE[0] if camera else 0,
                "width": IMAGE_SIZE[1] if camera else 0,
                "filename": file,
                "prev": "",
                "next": "",
            }
        )
        return name

    def add_annotation(
        self, sample: str, number: int, item: StreetObject, pose: np.ndarray, points: int, seen: float
    ) -> None:
        """Add the sample_annotation of object `number`: the LiDAR has `points` echoes of it and sees the share `seen`.

        pose [4, 4]: the object to the global frame at the key frame's time.
        """
        low, high = item.mesh.vertices[:, 2].min(), item.mesh.vertices[:, 2].max()
        middle = np.eye(4)
        middle[2, 3] = (low + high) / 2
        attribute = [_token("attribute", item.attribute)] if item.attribute else []
        record: TableRecord = {"token": _token(self.name, "sample_annotation", sample, number), "sample_token": sample}
        record |= {"instance_token": _token(self.name, "instance", number), "attribute_tokens": attribute}
        record |= {"visibility_token": str(1 + int(np.digitize(seen, [0.4, 0.6, 0.8])))}
        record |= _pose_fields(pose @ middle) | {"size": [float(side) for side in item.size or ()]}
        record |= {"num_lidar_pts": points, "num_radar_pts": 0, "prev": "", "next": ""}
        self.tables["sample_annotation"].append(record)

    def finish(self, street: Street) -> None:
        """Add the records of scene and instance, and link the chains prev - next."""
        samples = self.tables["sample"]
        _chain(samples)
        for group in _groups(self.tables["sample_data"], "calibrated_sensor_token").values():
            _chain(group)
        category = {_token(self.name, "instance", k): item.category for k, item in enumerate(street.objects)}
        for instance, group in _groups(self.tables["sample_annotation"], "instance_token").items():
            _chain(group)
            record: TableRecord = {"token": instance, "category_token": _token("category", category[instance])}
            record |= {"nbr_annotations": len(group), "first_annotation_token": group[0]["token"]}
            self.tables["instance"].append(record | {"last_annotation_token": group[-1]["token"]})
        record: TableRecord = {
            "token": _token(self.name, "scene"),
            "log_token": _token(self.name, "log"),
            "name": self.name,
        }
        record |= {"nbr_samples": len(samples), "description": f"generated street: {street.kind}"}
        record |= {"first_sample_token": samples[0]["token"], "last_sample_token": samples[-1]["token"]}
        self.tables["scene"].append(record)


def _groups(records: list[TableRecord], key: str) -> dict[str, list[TableRecord]]:
    """Records by what they hold under a key, in their order."""
    groups: dict[str, list[TableRecord]] = {}
    for record in records:
        groups.setdefault(record[key], []).append(record)
    return groups


def _chain(records: list[TableRecord]) -> None:
    """Link records in their order."""
    for first, second in itertools.pairwise(records):
        first["next"], second["prev"] = second["token"], first["token"]


def _token(*parts: object) -> str:
    """A token as nuScenes has them, 32 hexadecimal digits, from what it stands for."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def _pose_fields(pose: np.ndarray) -> dict[str, list[float]]:
    """A pose [4, 4] as the fields translation and rotation (w, x, y, z)."""
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True).tolist()
    return {"translation": pose[:3, 3].tolist(), "rotation": [w, x, y, z]}


def _write_sweep(home: Path, file: str, data: str, turn: Sweep, raw: np.ndarray, records: _SceneRecords) -> None:
    """Write the LiDAR file, float32 x y z intensity ring, and its lidarseg labels, one byte a point."""
    labels = f"lidarseg/{STREETS_VERSION}/{data}_lidarseg.bin"
    for path in (home / file, home / labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    np.column_stack([turn.points, turn.intensity, turn.ring]).astype("<f4").tofile(home / file)
    raw[turn.object].tofile(home / labels)
    records.tables["lidarseg"].append({"token": data, "sample_data_token": data, "filename": labels})


def _write_picture(folder: Path, file: str, image: Picture, scored: np.ndarray, quality: int) -> None:
    """Write a camera's image, and what it shows at the size it was ray-cast in: label, instance, depth."""
    path = folder / OFFICIAL / file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.color).save(path, quality=quality)
    depth = np.rint(np.clip(image.depth * MINI_DEPTH_SCALE, 0, 65534)).astype(np.uint16)
    images = (scored[image.object], (image.object + 1).astype(np.uint16), depth)
    for kind, pixels in zip(MINI_IMAGES, images, strict=True):
        Image.fromarray(pixels).save(folder / kind / f"{path.stem}.png")


def shared_records(logs: list[str]) -> dict[str, list[TableRecord]]:
    """The tables that no scene has of its own: sensor, category, attribute, visibility, map.

    Args:
        logs: Tokens of all logs.

    Returns:
        The records of each table.
    """
    sensors = [{"token": _token("sensor", name), "channel": name, "modality": "camera"} for name in CAMERAS]
    sensors.append({"token": _token("sensor", LIDAR), "channel": LIDAR, "modality": "lidar"})
    named = {"category": CATEGORIES, "attribute": ATTRIBUTES}
    tables: dict[str, list[TableRecord]] = {
        table: [{"token": _token(table, name), "name": name, "description": ""} for name in names]
        for table, names in named.items()
    }
    for index, record in enumerate(tables["category"]):
        record["index"] = index
    tables["visibility"] = [
        {"token": str(number), "level": level, "description": f"share of the object that is seen: {level}"}
        for number, level in enumerate(VISIBILITY, start=1)
    ]
    tables["sensor"] = sensors
    tables["map"] = [{"token": _token("map"), "log_tokens": logs, "category": "semantic_prior", "filename": MAP}]
    return tables
