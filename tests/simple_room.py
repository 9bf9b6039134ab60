"""A plain box room with two boxes in it, whose true surface is known by formula: the oracle of the scanning tests."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from geoguide.scene import View
from geoguide.worlds.camera import Frame, SensorConfig

SIZE = (4.0, 3.5, 2.6)
BOXES = {"table": ((1.5, 1.5, 0.4), (1.0, 0.7, 0.8)), "cabinet": ((3.7, 2.0, 0.9), (0.5, 1.0, 1.8))}  # centre, extent
COLORS = {"wall": (200, 190, 180), "floor": (120, 90, 60), "ceiling": (230, 230, 230)}
COLORS |= {"table": (90, 60, 30), "cabinet": (40, 80, 160)}
# No fault of any kind: what a perfect camera would record.
PERFECT = {
    "noise_floor": 0.0,
    "noise_growth": 0.0,
    "grazing_cosine": 1e-9,
    "edge_dropout": 0.0,
    "random_dropout": 0.0,
    "color_noise": 0.0,
    "exposure_drift": 0.0,
    "position_error": 0.0,
    "rotation_error": 0.0,
}


@dataclass(frozen=True)
class SimpleObject:
    category: str


@dataclass(frozen=True, eq=False)
class SimpleRoom:
    vertices: np.ndarray
    faces: np.ndarray
    face_color: np.ndarray
    face_object: np.ndarray
    objects: tuple[SimpleObject, ...] = field(default_factory=lambda: tuple(SimpleObject(name) for name in COLORS))
    size: tuple[float, float, float] = SIZE
    room_type: str = "box"

    def camera_free(self, xy: np.ndarray) -> np.ndarray:
        inside = ((xy > 0.3) & (xy < np.array(SIZE[:2]) - 0.3)).all(axis=1)
        for center, extent in BOXES.values():
            inside &= (np.abs(xy - center[:2]) > np.array(extent[:2]) / 2 + 0.2).any(axis=1)
        return inside


def simple_room() -> SimpleRoom:
    shell = trimesh.creation.box(SIZE)
    shell.apply_translation(np.array(SIZE) / 2)
    owner = np.where(np.abs(shell.face_normals[:, 2]) < 0.5, 0, np.where(shell.triangles_center[:, 2] < 1, 1, 2))
    vertices, faces, owners = [np.array(shell.vertices)], [np.array(shell.faces)], [owner]
    for number, (center, extent) in enumerate(BOXES.values(), start=3):
        box = trimesh.creation.box(extent)
        box.apply_translation(center)
        faces.append(np.array(box.faces) + sum(map(len, vertices)))
        vertices.append(np.array(box.vertices))
        owners.append(np.full(len(box.faces), number))
    owner = np.concatenate(owners)
    palette = np.array(list(COLORS.values()), dtype=np.uint8)
    return SimpleRoom(np.concatenate(vertices), np.concatenate(faces).astype(np.int64), palette[owner], owner)


def distance_to_surface(points: np.ndarray) -> np.ndarray:
    """True distance [P] in metres from points [P, 3] to the nearest wall, floor, ceiling or box face."""
    points = np.asarray(points, dtype=np.float64)
    nearest = np.abs(np.concatenate([points, np.array(SIZE) - points], axis=1)).min(axis=1)
    for center, extent in BOXES.values():
        excess = np.abs(points - center) - np.array(extent) / 2
        outside = np.linalg.norm(np.maximum(excess, 0), axis=1)
        nearest = np.minimum(nearest, np.abs(outside + np.minimum(excess.max(axis=1), 0)))
    return nearest


def write_flat(folder: Path, frames: list[Frame], sensor: SensorConfig, world: np.ndarray | None = None) -> Path:
    """Frames in the layout `frame-N.color.jpg`, ..., their world moved by the rigid motion `world` [4, 4]."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "camera-intrinsics.txt", sensor.intrinsics)
    for number, frame in enumerate(frames):
        Image.fromarray(frame.color).save(folder / f"frame-{number:06d}.color.jpg", quality=95)
        Image.fromarray(frame.depth).save(folder / f"frame-{number:06d}.depth.png")
        pose = frame.cam_to_world if world is None else world @ frame.cam_to_world
        np.savetxt(folder / f"frame-{number:06d}.pose.txt", pose)
    return folder


def views_of(folder: Path, frames: list[Frame], sensor: SensorConfig) -> list[View]:
    """Views of frames written by `write_flat`."""
    return [
        View(
            name=str(number),
            intrinsics=sensor.intrinsics,
            cam_to_world=frame.cam_to_world,
            image_size=sensor.image_size,
            color_path=folder / f"frame-{number:06d}.color.jpg",
            depth_path=folder / f"frame-{number:06d}.depth.png",
        )
        for number, frame in enumerate(frames)
    ]
