"""One recorded street as the files of a nuScenes scene, and mini's own images beside them.

`official/` holds what nuScenes has: samples/CHANNEL/*, lidarseg/VERSION/*. Beside it lie `tables.json`, the scene's
records, and, for the simulated teacher, label/, instance/ and depth/: one png for each camera image, named as it, at
the size it was ray-cast in. label: id of the lidarseg challenge, 1..16 (0 none), uint8, as `LabelSet.from_raw` reads;
instance: 1 + number of the object (0 none), uint16; depth: 1/256 m (0 none), uint16.
"""

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from geoguide.datasets.formats.files import MINI_STAMP
from geoguide.datasets.formats.nuscenes_tables import CAMERAS, LIDAR, MINI_DEPTH_SCALE, MINI_IMAGES
from geoguide.labels import load_label_set
from geoguide.labels.nuscenes import NAME, category_classes
from geoguide.worlds.jobs import fingerprint
from geoguide.worlds.streets.scan import (
    IMAGE_SIZE,
    DriveConfig,
    Picture,
    Sensor,
    Sweep,
    World,
    category_ids,
    mount_sensors,
    picture,
    sweep,
)
from geoguide.worlds.streets.world import Street, StreetObject
from geoguide.worlds.things.categories import CATEGORIES

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
    """Translation and rotation (w, x, y, z) of a pose [4, 4]."""
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
        """Log and calibrated_sensor."""
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
        """Scene and instance records, and the chains prev - next."""
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


OFFICIAL, TABLES = "official", "tables.json"


START = 1_600_000_000_000_000  # microseconds: the first scene's time 0


PROBES = 48  # points of an object that are tested for visibility


def write_scene(
    folder: Path, name: str, number: int, street: Street, seed: int, config: DriveConfig, recipe: dict
) -> None:
    """Drive through a street and write scene `name`, the data set's `number`-th, into `folder`, its stamp last."""
    rng = np.random.default_rng(seed)
    lidar, cameras = mount_sensors(rng)
    records = SceneRecords(name, START + number * 100_000_000)
    records.add_log(street, [lidar, *cameras.values()])
    world, raw = World(street), category_ids(street)
    scored = challenge_ids(raw)
    points = np.zeros(256, dtype=np.int64)
    for kind in MINI_IMAGES:
        (folder / kind).mkdir()
    for index, time in enumerate(config.times.tolist()):
        sample = records.add_sample(index, time)
        turn = sweep(street, world, lidar, time, config, rng)
        ego = street.origin @ street.ego_pose(time)
        file = f"samples/{lidar.channel}/{name}__{lidar.channel}__{records.timestamp(time)}.pcd.bin"
        data = records.add_data(sample, lidar, time, ego, file)
        _write_sweep(folder / OFFICIAL, file, data, turn, raw, records)
        points += np.bincount(raw[turn.object], minlength=256)
        _annotate(records, sample, street, world, lidar, time, turn)
        for camera in cameras.values():
            moment = time + camera.delay
            image = picture(street, world, camera, moment, config, rng)
            file = f"samples/{camera.channel}/{name}__{camera.channel}__{records.timestamp(moment)}.jpg"
            records.add_data(sample, camera, moment, street.origin @ street.ego_pose(moment), file)
            _write_picture(folder, file, image, scored, config.jpeg_quality)
    records.finish(street)
    (folder / TABLES).write_text(json.dumps(records.tables, indent=0))
    stamp = {"recipe": recipe, "fingerprint": fingerprint(folder), "kind": street.kind, "objects": len(street.objects)}
    stamp["points"] = {int(k): int(points[k]) for k in np.flatnonzero(points)}  # by category
    (folder / MINI_STAMP).write_text(json.dumps(stamp, indent=1) + "\n")


def _write_sweep(home: Path, file: str, data: str, turn: Sweep, raw: np.ndarray, records: SceneRecords) -> None:
    """The LiDAR file, float32 x y z intensity ring, and its lidarseg labels, one byte a point."""
    labels = f"lidarseg/{VERSION}/{data}_lidarseg.bin"
    for path in (home / file, home / labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    np.column_stack([turn.points, turn.intensity, turn.ring]).astype("<f4").tofile(home / file)
    raw[turn.object].tofile(home / labels)
    records.tables["lidarseg"].append({"token": data, "sample_data_token": data, "filename": labels})


def challenge_ids(raw: np.ndarray) -> np.ndarray:
    """Lidarseg challenge ids uint8 (1..16, 0 where ignored) of category ids, same shape."""
    classes = np.array([category_classes()[name] for name in CATEGORIES])  # [32]
    return load_label_set(NAME).to_raw(classes[raw]).astype(np.uint8)


def _write_picture(folder: Path, file: str, image: Picture, scored: np.ndarray, quality: int) -> None:
    path = folder / OFFICIAL / file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.color).save(path, quality=quality)
    depth = np.rint(np.clip(image.depth * MINI_DEPTH_SCALE, 0, 65534)).astype(np.uint16)
    images = (scored[image.object], (image.object + 1).astype(np.uint16), depth)
    for kind, pixels in zip(MINI_IMAGES, images, strict=True):
        Image.fromarray(pixels).save(folder / kind / f"{path.stem}.png")


def _annotate(
    records: SceneRecords, sample: str, street: Street, world: World, lidar: Sensor, time: float, turn: Sweep
) -> None:
    """Boxes of all things that the LiDAR meets. Visibility is counted from the LiDAR's place, not in the images."""
    count = np.bincount(turn.object[turn.object >= 0], minlength=len(street.objects))  # [O]
    things = [k for k, item in enumerate(street.objects) if item.size is not None and count[k] > 0]
    if not things:
        return
    eye = (street.ego_pose(time) @ lidar.to_ego)[:3, 3]
    probes, poses = [], [street.objects[k].pose(time) for k in things]
    for k, pose in zip(things, poses, strict=True):
        mesh = street.objects[k].mesh
        centers = mesh.vertices[mesh.faces[np.linspace(0, len(mesh.faces) - 1, PROBES).astype(int)]].mean(axis=1)
        probes.append(centers @ pose[:3, :3].T + pose[:3, 3])
    hits = world.cast(eye, np.concatenate(probes) - eye, time)
    seen = (hits.object.reshape(-1, PROBES) == np.array(things)[:, None]).mean(axis=1)
    for k, pose, share in zip(things, poses, seen.tolist(), strict=True):
        records.add_annotation(sample, k, street.objects[k], street.origin @ pose, count[k], share)
