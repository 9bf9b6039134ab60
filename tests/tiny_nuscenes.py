"""A hand-made data set in nuScenes' official layout: one scene, two samples, eight sensors, 300 points, tiny images."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from geoguide.datasets.formats.nuscenes_tables import CAMERAS

VERSION = "v1.0-mini"
SCENE = "scene-0103"
SIZE = (90, 160)  # a tenth of the real cameras'
INTRINSICS = [[126.6, 0.0, 81.6], [0.0, 126.6, 49.2], [0.0, 0.0, 1.0]]
CATEGORIES = (
    *("noise", "animal", "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.construction_worker"),
    *("human.pedestrian.personal_mobility", "human.pedestrian.police_officer", "human.pedestrian.stroller"),
    *("human.pedestrian.wheelchair", "movable_object.barrier", "movable_object.debris"),
    *("movable_object.pushable_pullable", "movable_object.trafficcone", "static_object.bicycle_rack"),
    *("vehicle.bicycle", "vehicle.bus.bendy", "vehicle.bus.rigid", "vehicle.car", "vehicle.construction"),
    *("vehicle.emergency.ambulance", "vehicle.emergency.police", "vehicle.motorcycle", "vehicle.trailer"),
    *("vehicle.truck", "flat.driveable_surface", "flat.other", "flat.sidewalk", "flat.terrain", "static.manmade"),
    *("static.other", "static.vegetation", "vehicle.ego"),
)
POINTS = 300


def quaternion(axis: tuple[float, float, float], degrees: float) -> list[float]:
    half = np.radians(degrees) / 2
    unit = np.asarray(axis) / np.linalg.norm(axis)
    return [float(np.cos(half)), *(float(value) for value in np.sin(half) * unit)]


def product(a: list[float], b: list[float]) -> list[float]:
    """Hamilton product of two quaternions (w, x, y, z)."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a, b
    return [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def edit_table(root: Path, table: str, change: Callable[[list[dict]], object]) -> None:
    """Apply `change` to a table's list of records in place."""
    path = root / VERSION / f"{table}.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


def write_dataset(root: Path, rng: np.random.Generator) -> Path:
    """Write everything; returns root."""
    sensors = [{"token": f"s-{name}", "channel": name, "modality": "camera"} for name in CAMERAS]
    sensors += [{"token": "s-LIDAR_TOP", "channel": "LIDAR_TOP", "modality": "lidar"}]
    sensors += [{"token": "s-RADAR_FRONT", "channel": "RADAR_FRONT", "modality": "radar"}]
    samples = [
        {"token": "a", "timestamp": 0, "prev": "", "next": "b", "scene_token": "scene"},
        {"token": "b", "timestamp": 500000, "prev": "a", "next": "", "scene_token": "scene"},
    ]
    scene = {"token": "scene", "name": SCENE, "log_token": "log", "nbr_samples": 2, "description": ""}
    scene |= {"first_sample_token": "a", "last_sample_token": "b"}
    category = [{"token": f"c{i}", "name": name, "description": "", "index": i} for i, name in enumerate(CATEGORIES)]
    tables = {"sensor": sensors, "sample": samples, "scene": [scene], "category": category}
    tables |= {name: [] for name in ("attribute", "visibility", "instance", "sample_annotation")}
    tables["log"] = [{"token": "log", "logfile": "", "vehicle": "", "date_captured": "", "location": "nowhere"}]
    tables["map"] = [{"token": "m", "log_tokens": ["log"], "category": "", "filename": "maps/m.png"}]
    (root / "maps").mkdir(exist_ok=True)
    Image.new("L", (4, 4)).save(root / "maps/m.png")  # the devkit, where a test compares with it, opens one
    tables |= {"calibrated_sensor": _calibrations(), "ego_pose": [], "sample_data": [], "lidarseg": []}
    for number, sample in enumerate("ab"):
        _write_sample(root, tables, sample, number, rng)
    for name, records in tables.items():
        write_json(root / VERSION / f"{name}.json", records)
    return root


def _calibrations() -> list[dict]:
    """The LiDAR looks as the real one does (x right, y forward); the cameras look around, each a little tilted."""
    optical = [0.5, -0.5, 0.5, -0.5]  # camera axes (x right, y down, z forward) in the car's (x forward, y left, z up)
    records = []
    for number, name in enumerate(CAMERAS):
        turn = product(quaternion((0, 0, 1), -60.0 * number), quaternion((0, 1, 0), 3.0 + number))
        place = [1.5 * np.cos(np.radians(60 * number)), -0.5 * np.sin(np.radians(60 * number)), 1.5]
        records.append((name, place, product(turn, optical), INTRINSICS))
    records.append(("LIDAR_TOP", [0.94, 0.0, 1.84], product(quaternion((0, 0, 1), -89.9), [1.0, 0.0, 0.0, 0.0]), []))
    records.append(("RADAR_FRONT", [3.4, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0], []))
    return [
        {"token": f"k-{name}", "sensor_token": f"s-{name}", "translation": place, "rotation": turn}
        | {"camera_intrinsic": intrinsic}
        for name, place, turn, intrinsic in records
    ]


def _write_sample(root: Path, tables: dict, sample: str, number: int, rng: np.random.Generator) -> None:
    """Files and records of one sample; every camera shutters at its own time, so the car has moved a little."""
    for delay, name in enumerate(("LIDAR_TOP", *CAMERAS, "RADAR_FRONT")):
        token, camera = f"{sample}-{name}", name.startswith("CAM")
        way, heading = 5.0 * number + 0.13 * delay, np.radians(112)
        place = [float(1010.5 + way * np.cos(heading)), float(640.25 + way * np.sin(heading)), 0.0]
        turn = product(quaternion((0, 0, 1), 112.0 + 0.4 * delay), quaternion((0.3, 1, 0), 0.8))
        pose = {"token": f"e-{token}", "timestamp": 500000 * number + delay, "translation": place, "rotation": turn}
        tables["ego_pose"].append(pose)
        suffix = "jpg" if camera else "pcd.bin"
        record = {
            "token": token,
            "sample_token": sample,
            "ego_pose_token": f"e-{token}",
            "calibrated_sensor_token": f"k-{name}",
            "filename": f"samples/{name}/{token}.{suffix}",
            "fileformat": suffix.split(".")[0],
            "width": SIZE[1] if camera else 0,
            "height": SIZE[0] if camera else 0,
            "timestamp": 500000 * number + delay,
            "is_key_frame": True,
            "next": "",
            "prev": "",
        }
        sweep = record | {"token": f"{token}-sweep", "is_key_frame": False, "filename": f"sweeps/{name}/{token}"}
        tables["sample_data"] += [sweep, record]
        path = root / record["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if camera:
            Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
        elif name == "LIDAR_TOP":
            write_lidar(path, rng)
            label = f"lidarseg/{VERSION}/{token}_lidarseg.bin"
            (root / label).parent.mkdir(parents=True, exist_ok=True)
            (np.arange(POINTS) % 32).astype(np.uint8).tofile(root / label)
            tables["lidarseg"].append({"token": token, "sample_data_token": token, "filename": label})


def write_lidar(path: Path, rng: np.random.Generator) -> None:
    rows = rng.uniform([-30, -30, -2, 0, 0], [30, 30, 4, 255, 0], (POINTS, 5))
    rows[:, 3] = np.rint(rows[:, 3])
    rows[:, 4] = rng.integers(0, 32, POINTS)
    rows.astype("<f4").tofile(path)


def write_key_frame(folder: Path, rng: np.random.Generator) -> Path:
    """A folder with calibration.json, one LiDAR file and one image of one colour; returns it."""
    folder.mkdir()
    write_lidar(folder / "lidar.bin", rng)
    Image.new("RGB", (160, 90), (10, 20, 30)).save(folder / "front.png")
    pose = np.eye(4)
    pose[:3] = [[1, 0, 0, 0.1], [0, 0, -1, 0.2], [0, 1, 0, 0.3]]
    camera = {
        "file": "front.png",
        "intrinsics": INTRINSICS,
        "lidar_to_camera": pose.tolist(),
        "width": 160,
        "height": 90,
    }
    lidar = {"file": "lidar.bin", "columns": ["x", "y", "z", "intensity", "ring"], "dtype": "float32"}
    write_json(folder / "calibration.json", {"lidar": lidar, "cameras": {"CAM_FRONT": camera}})
    return folder
