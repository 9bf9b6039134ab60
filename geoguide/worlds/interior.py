"""Deterministic furnished rooms, the world behind mini-ScanNet: `generate_room(seed, room_type) -> Room`."""

from dataclasses import dataclass

import numpy as np

from geoguide.errors import InputError
from geoguide.worlds.layout import Layout, rotation
from geoguide.worlds.palette import Color
from geoguide.worlds.shapes import Item

CAMERA_MARGIN = 0.2  # metres between a hand-held camera and furniture or walls


CAMERA_HEIGHT = 1.9  # obstacles that begin above this do not matter to a camera at 1.2 to 1.7 m


@dataclass(frozen=True)
class RoomObject:
    """One object: its raw ScanNet category name and its base colour."""

    category: str
    color: Color


@dataclass(frozen=True, eq=False)
class Room:
    """A furnished room as a coloured triangle mesh whose faces name their objects.

    vertices float64 [V, 3] metres, z up, floor at 0; faces int64 [F, 3]; face_color uint8 [F, 3]; face_object int64 [F]
    index into `objects`; size (x, y, z) of the bounding box of the space inside the walls, which starts at the origin
    (windows and doors sit up to 0.12 m outside it). Walls, floor and ceiling are single-sided sheets that face inwards.
    `outline` [N, 2] is the floor's counter-clockwise polygon, `obstacles` [B, 7] rows cx cy half-x half-y yaw z0 z1.
    """

    seed: int
    room_type: str
    size: tuple[float, float, float]
    vertices: np.ndarray
    faces: np.ndarray
    face_color: np.ndarray
    face_object: np.ndarray
    objects: tuple[RoomObject, ...]
    outline: np.ndarray
    obstacles: np.ndarray

    def camera_free(self, xy: np.ndarray) -> np.ndarray:
        """Bool [K]: positions [K, 2] where a hand-held camera at 1.2 to 1.7 m may stand.

        Free means `CAMERA_MARGIN` away from walls and from everything that does not hang above `CAMERA_HEIGHT`.
        """
        xy = np.asarray(xy, np.float64)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise InputError(f"xy must be [K, 2], found {list(xy.shape)}")
        return _free(xy, self.obstacles, self.size)


def _free(xy: np.ndarray, obstacles: np.ndarray, size: tuple[float, float, float]) -> np.ndarray:
    inside = ((xy >= CAMERA_MARGIN) & (xy <= np.array(size[:2]) - CAMERA_MARGIN)).all(axis=1)
    rows = obstacles[obstacles[:, 5] < CAMERA_HEIGHT]
    delta = xy[:, None] - rows[None, :, :2]  # [K, B, 2]
    cos, sin = np.cos(rows[:, 4]), np.sin(rows[:, 4])
    along = np.abs(cos * delta[..., 0] + sin * delta[..., 1]) - rows[:, 2]
    across = np.abs(cos * delta[..., 1] - sin * delta[..., 0]) - rows[:, 3]
    return inside & ~((along < CAMERA_MARGIN) & (across < CAMERA_MARGIN)).any(axis=1)


def join(seed: int, room_type: str, layout: Layout, shell: list[Item], obstacles: np.ndarray) -> Room:
    """The shell's items and the placed pieces as one mesh; obstacles: rows of `layout.solid` that block a camera."""
    items = list(shell)
    vertices = [np.concatenate(item.vertices) for item in items]
    for placed in layout.placed:
        turn = rotation(placed.yaw).T
        for item in placed.piece.items:
            points = np.concatenate(item.vertices)
            points = np.column_stack([points[:, :2] @ turn + placed.xy, points[:, 2] + placed.z])
            items.append(item)
            vertices.append(points)
    offsets = np.cumsum([0, *map(len, vertices)])
    faces = [np.concatenate(item.faces) + offset for item, offset in zip(items, offsets, strict=False)]
    return Room(
        seed=seed,
        room_type=room_type,
        size=tuple(float(s) for s in layout.size),
        vertices=np.concatenate(vertices),
        faces=np.concatenate(faces).astype(np.int64),
        face_color=np.concatenate([c for item in items for c in item.colors]),
        face_object=np.repeat(np.arange(len(items)), [len(f) for f in faces]),
        objects=tuple(RoomObject(item.category, item.color) for item in items),
        outline=layout.outline,
        obstacles=obstacles,
    )
