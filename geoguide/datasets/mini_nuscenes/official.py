"""One recorded street as the files of a nuScenes scene, and mini's own images beside them.

`official/` holds what nuScenes has: samples/CHANNEL/*, lidarseg/VERSION/*. Beside it lie `tables.json`, the scene's
records, and, for the simulated teacher, label/, instance/ and depth/: one png for each camera image, named as it, at
the size it was ray-cast in. label: id of the lidarseg challenge, 1..16 (0 none), uint8, as `LabelSet.from_raw` reads;
instance: 1 + number of the object (0 none), uint16; depth: 1/256 m (0 none), uint16.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from geoguide.datasets.mini.official import fingerprint
from geoguide.datasets.mini_nuscenes.categories import CATEGORIES
from geoguide.datasets.mini_nuscenes.drive import DriveConfig, Picture, Sweep, World, category_ids, picture, sweep
from geoguide.datasets.mini_nuscenes.records import VERSION, SceneRecords
from geoguide.datasets.mini_nuscenes.rig import Sensor, mount_sensors
from geoguide.datasets.mini_nuscenes.street import Street
from geoguide.datasets.nuscenes_tables import MINI_DEPTH_SCALE, MINI_IMAGES
from geoguide.datasets.reading import MINI_STAMP
from geoguide.labels import load_label_set
from geoguide.labels.nuscenes import NAME, category_classes

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
    """lidarseg challenge ids uint8 (1..16, 0 where ignored) of category ids, same shape."""
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
