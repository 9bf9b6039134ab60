"""nuScenes' json records: those that every data set shares, and those of one recorded street."""

import hashlib
import itertools
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from geoguide.datasets.mini_nuscenes.categories import CATEGORIES
from geoguide.datasets.mini_nuscenes.rig import IMAGE_SIZE, Sensor
from geoguide.datasets.mini_nuscenes.street import Street, StreetObject
from geoguide.datasets.nuscenes_tables import CAMERAS, LIDAR

VERSION = "v1.0-streets"  # none of the real versions' names, so that nobody takes one for the other
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


def token(*parts: object) -> str:
    """A token as nuScenes has them, 32 hexadecimal digits, from what it stands for."""
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def shared_records(logs: list[str]) -> dict[str, list[dict]]:
    """The tables that hold no scene: sensor, category, attribute, visibility, map; `logs` are all logs' tokens."""
    sensors = [{"token": token("sensor", name), "channel": name, "modality": "camera"} for name in CAMERAS]
    sensors.append({"token": token("sensor", LIDAR), "channel": LIDAR, "modality": "lidar"})
    named = {"category": CATEGORIES, "attribute": ATTRIBUTES}
    tables: dict[str, list[dict]] = {
        table: [{"token": token(table, name), "name": name, "description": ""} for name in names]
        for table, names in named.items()
    }
    for index, record in enumerate(tables["category"]):
        record["index"] = index
    tables["visibility"] = [
        {"token": str(number), "level": level, "description": f"share of the object that is seen: {level}"}
        for number, level in enumerate(VISIBILITY, start=1)
    ]
    tables["sensor"] = sensors
    tables["map"] = [{"token": token("map"), "log_tokens": logs, "category": "semantic_prior", "filename": MAP}]
    return tables


def pose_fields(pose: np.ndarray) -> dict[str, list[float]]:
    """translation and rotation (w, x, y, z) of a pose [4, 4]."""
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat(canonical=True).tolist()
    return {"translation": pose[:3, 3].tolist(), "rotation": [w, x, y, z]}


@dataclass
class SceneRecords:
    """The records of one scene, filled key frame by key frame."""

    name: str
    start: int  # timestamp of time 0, microseconds
    tables: dict[str, list[dict]] = field(default_factory=lambda: {name: [] for name in PER_SCENE})

    def timestamp(self, time: float) -> int:
        return self.start + round(time * 1e6)

    def add_log(self, street: Street, sensors: list[Sensor]) -> None:
        """log and calibrated_sensor."""
        log = {"token": token(self.name, "log"), "logfile": self.name, "vehicle": "mini", "date_captured": "2020-09-13"}
        self.tables["log"].append(log | {"location": "mini-streets"})
        for sensor in sensors:
            intrinsics = [] if sensor.intrinsics is None else sensor.intrinsics.tolist()
            record = {"token": self.calibration(sensor.channel), "sensor_token": token("sensor", sensor.channel)}
            record |= pose_fields(sensor.to_ego) | {"camera_intrinsic": intrinsics}
            self.tables["calibrated_sensor"].append(record)

    def calibration(self, channel: str) -> str:
        return token(self.name, "calibrated_sensor", channel)

    def add_sample(self, number: int, time: float) -> str:
        """sample; returns its token."""
        record = {
            "token": token(self.name, "sample", number),
            "timestamp": self.timestamp(time),
            "prev": "",
            "next": "",
        }
        self.tables["sample"].append(record | {"scene_token": token(self.name, "scene")})
        return record["token"]

    def add_data(self, sample: str, sensor: Sensor, time: float, ego: np.ndarray, file: str) -> str:
        """sample_data and ego_pose of one sensor's key frame in `file`; returns their token. ego [4, 4]: to global."""
        camera = sensor.intrinsics is not None
        name = token(self.name, "sample_data", sensor.channel, sample)
        self.tables["ego_pose"].append({"token": name, "timestamp": self.timestamp(time)} | pose_fields(ego))
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
        """sample_annotation of object `number`, of which the LiDAR has `points` echoes and sees the share `seen`.

        pose [4, 4]: the object to the global frame at the key frame's time.
        """
        low, high = item.mesh.vertices[:, 2].min(), item.mesh.vertices[:, 2].max()
        middle = np.eye(4)
        middle[2, 3] = (low + high) / 2
        attribute = [token("attribute", item.attribute)] if item.attribute else []
        record = {"token": token(self.name, "sample_annotation", sample, number), "sample_token": sample}
        record |= {"instance_token": token(self.name, "instance", number), "attribute_tokens": attribute}
        record |= {"visibility_token": str(1 + int(np.digitize(seen, [0.4, 0.6, 0.8])))}
        record |= pose_fields(pose @ middle) | {"size": [float(side) for side in item.size]}
        record |= {"num_lidar_pts": int(points), "num_radar_pts": 0, "prev": "", "next": ""}
        self.tables["sample_annotation"].append(record)

    def finish(self, street: Street) -> None:
        """scene and instance records, and the chains prev - next."""
        samples = self.tables["sample"]
        _chain(samples)
        for group in _groups(self.tables["sample_data"], "calibrated_sensor_token").values():
            _chain(group)
        category = {token(self.name, "instance", k): item.category for k, item in enumerate(street.objects)}
        for instance, group in _groups(self.tables["sample_annotation"], "instance_token").items():
            _chain(group)
            record = {"token": instance, "category_token": token("category", category[instance])}
            record |= {"nbr_annotations": len(group), "first_annotation_token": group[0]["token"]}
            self.tables["instance"].append(record | {"last_annotation_token": group[-1]["token"]})
        record = {"token": token(self.name, "scene"), "log_token": token(self.name, "log"), "name": self.name}
        record |= {"nbr_samples": len(samples), "description": f"generated street: {street.kind}"}
        record |= {"first_sample_token": samples[0]["token"], "last_sample_token": samples[-1]["token"]}
        self.tables["scene"].append(record)


def _groups(records: list[dict], key: str) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for record in records:
        groups.setdefault(record[key], []).append(record)
    return groups


def _chain(records: list[dict]) -> None:
    """Link records in their order."""
    for first, second in itertools.pairwise(records):
        first["next"], second["prev"] = second["token"], first["token"]
