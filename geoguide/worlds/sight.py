"""What can be seen of a room's objects from which place: the basis for the tripod's places and for redrawing houses.

Places are positions [2] of the room's frame, metres; O is the number of the room's objects.
"""

import numpy as np
from scipy import ndimage

from geoguide.worlds.casting import RayCaster
from geoguide.worlds.interior import FurnishedRoom, floor_grid

STEP = 0.2  # metres between the places where a tripod may stand
EYE_HEIGHT = 1.5  # metres: the height that places are judged from
CANDIDATES = 60  # places weighed per room
TARGETS = 24  # points per object whose visibility is tested
IN_SIGHT = 0.15  # share of them from which an object counts as seen


def camera_places(room: FurnishedRoom) -> np.ndarray:
    """Where a tripod may stand: the largest connected part of the free floor, on a 20 cm grid.

    Args:
        room: The room.

    Returns:
        Places float64 [N, 2]; N may be 0.
    """
    counts = int(room.size[0] / STEP), int(room.size[1] / STEP)
    cells = floor_grid(counts, STEP)  # [X Y, 2]
    part, count = ndimage.label(room.camera_free(cells).reshape(counts))  # [X, Y] connected part of each cell
    if count == 0:
        return np.zeros((0, 2))
    largest = 1 + np.bincount(part.ravel())[1:].argmax()
    return cells[part.ravel() == largest]


def sight(room: FurnishedRoom, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which surface points of a room's objects each place sees.

    Args:
        room: The room.
        rng: Source of the places (at most `CANDIDATES` of them) and of the T surface points.

    Returns:
        The places float64 [N, 2]; sees, bool [N, T]; share, float64 [T, O], the part of an object that a point stands
        for. `sees @ share` is the part of each object in sight of each place, 0 to 1.
    """
    cells = camera_places(room)
    cells = cells[rng.permutation(len(cells))[:CANDIDATES]]
    targets, owner = _targets(room, rng)  # [T, 3], [T]
    eyes = np.column_stack([cells, np.full(len(cells), EYE_HEIGHT)])  # [N, 3]
    offset = targets[None] - eyes[:, None]  # [N, T, 3]
    caster = RayCaster(room.vertices, room.faces)
    _, first = caster.cast(np.repeat(eyes, len(targets), axis=0), offset.reshape(-1, 3))
    sees = (first > 0.98).reshape(len(cells), -1)  # 1 is the target itself
    return cells, sees, np.eye(len(room.objects))[owner] / TARGETS


def hidden(room: FurnishedRoom, rng: np.random.Generator) -> int:
    """Count the objects of a room that no place sees enough of.

    Args:
        room: The room.
        rng: Source of the places and points that are looked at.

    Returns:
        How many objects have less than the share `IN_SIGHT` of their surface points in sight of every place.
    """
    _, sees, share = sight(room, rng)
    return int(((sees @ share).max(axis=0) < IN_SIGHT).sum())


def _targets(room: FurnishedRoom, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`TARGETS` points on the surface of each object, by area: float64 [T, 3], and their objects int64 [T]."""
    corners = room.vertices[room.faces]  # [F, 3, 3]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)  # [F]
    area = area / np.bincount(room.face_object, area)[room.face_object]  # sums to 1 over each object
    order = np.argsort(room.face_object, kind="stable")
    owner = np.repeat(np.arange(len(room.objects)), TARGETS)  # [T]
    at = owner + rng.random(len(owner)) * (1 - 1e-9)
    face = order[np.searchsorted(np.cumsum(area[order]), at).clip(max=len(order) - 1)]  # [T]
    return (rng.dirichlet((1.0, 1.0, 1.0), len(face))[:, :, None] * corners[face]).sum(axis=1), owner
