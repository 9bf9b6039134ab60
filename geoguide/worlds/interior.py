"""Furnished interiors as coloured meshes: what a scan of a room or a house reads, and where a camera may stand."""

from dataclasses import dataclass

import numpy as np

from geoguide.errors import InputError
from geoguide.worlds.layout import RoomLayout, yaw_matrix
from geoguide.worlds.palette import Color
from geoguide.worlds.shapes import ObjectParts

CAMERA_MARGIN = 0.2  # metres between a hand-held camera and furniture or walls
CAMERA_HEIGHT = 1.9  # obstacles that begin above this do not matter to a camera at 1.2 to 1.7 m


@dataclass(frozen=True)
class RoomObject:
    """One object of a room or house.

    Attributes:
        category: Its raw category name, as the benchmark's annotators write it.
        color: Its base colour.
    """

    category: str
    color: Color


@dataclass(frozen=True, eq=False)
class Interior:
    """A coloured triangle mesh each of whose faces belongs to one object; metres, z up, the floor at 0.

    Attributes:
        seed: What it was drawn from.
        vertices: float64 [N, 3].
        faces: int64 [F, 3], rows of `vertices`.
        face_color: uint8 [F, 3].
        face_object: int64 [F], index into `objects`.
        objects: All O objects, the walls, floor and ceiling among them.
    """

    seed: int
    vertices: np.ndarray
    faces: np.ndarray
    face_color: np.ndarray
    face_object: np.ndarray
    objects: tuple[RoomObject, ...]


@dataclass(frozen=True, eq=False)
class FurnishedRoom(Interior):
    """One furnished room. Walls, floor and ceiling are single-sided sheets that face inwards.

    Attributes:
        room_type: What kind of room it is, "bedroom" for example.
        size: (x, y, z) of the bounding box of the space inside the walls, which starts at the origin; windows and doors
            sit up to 0.12 m outside it.
        outline: The floor's counter-clockwise polygon, float64 [N, 2].
        obstacles: Boxes that block a camera, float64 [B, 7]: rows cx cy half-x half-y yaw z0 z1.
    """

    room_type: str
    size: tuple[float, float, float]
    outline: np.ndarray
    obstacles: np.ndarray

    def camera_free(self, xy: np.ndarray) -> np.ndarray:
        """Where a hand-held camera at 1.2 to 1.7 m may stand.

        Free means `CAMERA_MARGIN` away from walls and from everything that does not hang above `CAMERA_HEIGHT`.

        Args:
            xy: Positions on the floor, float [K, 2].

        Returns:
            bool [K].

        Raises:
            InputError: `xy` has another shape.
        """
        xy = np.asarray(xy, np.float64)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise InputError(f"xy must be [K, 2], found {list(xy.shape)}")
        return free_floor(xy, self.obstacles, self.size)


def free_floor(xy: np.ndarray, obstacles: np.ndarray, size: tuple[float, float, float]) -> np.ndarray:
    """Where a camera may stand in a room that is given by its obstacles and its size (see `FurnishedRoom.camera_free`).

    Args:
        xy: Positions, float64 [K, 2].
        obstacles: Boxes float64 [B, 7]: rows cx cy half-x half-y yaw z0 z1.
        size: (x, y, z) of the room, metres.

    Returns:
        bool [K].
    """
    inside = ((xy >= CAMERA_MARGIN) & (xy <= np.array(size[:2]) - CAMERA_MARGIN)).all(axis=1)  # [K]
    rows = obstacles[obstacles[:, 5] < CAMERA_HEIGHT]  # those that are low enough, [B, 7]
    delta = xy[:, None] - rows[None, :, :2]  # [K, B, 2]
    cos, sin = np.cos(rows[:, 4]), np.sin(rows[:, 4])
    along = np.abs(cos * delta[..., 0] + sin * delta[..., 1]) - rows[:, 2]  # [K, B], metres; negative within its length
    across = np.abs(cos * delta[..., 1] - sin * delta[..., 0]) - rows[:, 3]
    return inside & ~((along < CAMERA_MARGIN) & (across < CAMERA_MARGIN)).any(axis=1)


def floor_grid(counts: tuple[int, int], step: float) -> np.ndarray:
    """Centres of the cells of a square grid over a room's floor, from its corner at the origin.

    Args:
        counts: Number of cells along x and y.
        step: Edge of a cell, metres.

    Returns:
        Float64 [counts[0] * counts[1], 2], metres; y changes fastest.
    """
    axes = (np.arange(count) for count in counts)
    return (np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float64) + 0.5) * step


def join(
    seed: int, room_type: str, layout: RoomLayout, shell: list[ObjectParts], obstacles: np.ndarray
) -> FurnishedRoom:
    """Make one mesh of a room's shell and of the pieces placed in it.

    Args:
        seed: What the room was drawn from.
        room_type: What kind of room it is.
        layout: Its outline and the placed pieces.
        shell: Floor, walls and ceiling.
        obstacles: The rows of `layout.solid` that block a camera, float64 [B, 7].

    Returns:
        The room; its objects are the shell's items, then those of the pieces in the order they were placed.
    """
    items = list(shell)
    vertices = [np.concatenate(item.vertices) for item in items]
    for placed in layout.placed:
        turn = yaw_matrix(placed.yaw).T  # [2, 2]
        for item in placed.piece.items:
            points = np.concatenate(item.vertices)  # [N, 3]
            points = np.column_stack([points[:, :2] @ turn + placed.xy, points[:, 2] + placed.z])
            items.append(item)
            vertices.append(points)
    offsets = np.cumsum([0, *map(len, vertices)])  # [O + 1] first vertex of each object
    faces = [np.concatenate(item.faces) + offset for item, offset in zip(items, offsets, strict=False)]
    x, y, z = map(float, layout.size)
    return FurnishedRoom(
        seed=seed,
        room_type=room_type,
        size=(x, y, z),
        vertices=np.concatenate(vertices),
        faces=np.concatenate(faces).astype(np.int64),
        face_color=np.concatenate([c for item in items for c in item.colors]),
        face_object=np.repeat(np.arange(len(items)), [len(f) for f in faces]),
        objects=tuple(RoomObject(item.category, item.color) for item in items),
        outline=layout.outline,
        obstacles=obstacles,
    )
