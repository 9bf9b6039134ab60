"""Where pieces stand in a room: its outline, its walls, and collisions between rotated boxes.

A room is its bounding rectangle minus `notches` (rectangles in its corners), which gives plain, L-shaped and alcove
rooms. Occupied boxes are rows [cx, cy, half x, half y, yaw, z0, z1]; rows collide when both their rotated rectangles
(separating axes) and their height ranges overlap. Loops run over pieces and walls, never over points. Lengths are
metres, angles radians.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from geoguide.worlds.shapes import Box, Piece, Rectangle

SLACK = 0.004  # metres by which two boxes may overlap before they collide: things that only touch do not


@dataclass(frozen=True)
class PlacedInRoom:
    """A piece at its place in a room.

    Attributes:
        piece: The piece.
        xy: Where the origin of its frame lies, float64 [2].
        yaw: How it is turned about z.
        z: Height of its origin.
    """

    piece: Piece
    xy: np.ndarray
    yaw: float
    z: float

    def to_room(self, x: float, y: float) -> np.ndarray:
        """Bring a point of the piece's frame into the room's.

        Args:
            x: Its place along the width of the piece.
            y: Its place along the depth.

        Returns:
            Float64 [2].
        """
        return self.xy + yaw_matrix(self.yaw) @ np.array([x, y])


@dataclass
class Wall:
    """A straight wall with the room on its left.

    Attributes:
        start: Where it begins, float64 [2].
        along: Its direction, unit, float64 [2].
        length: Its length.
        openings: Doors and windows as (s0, s1, z0, z1): begin and end along the wall, lowest and highest height.
    """

    start: np.ndarray
    along: np.ndarray
    length: float
    openings: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def inward(self) -> np.ndarray:
        """The unit normal into the room, float64 [2]."""
        return np.array([-self.along[1], self.along[0]])

    @property
    def yaw(self) -> float:
        """Rotation that turns a piece's back to this wall."""
        return float(np.arctan2(self.along[1], self.along[0]))

    def at(self, s: float, out: float = 0.0) -> np.ndarray:
        """A point of the wall.

        Args:
            s: How far along the wall.
            out: How far from it into the room.

        Returns:
            Float64 [2] in the room's frame.
        """
        return self.start + s * self.along + out * self.inward


def yaw_matrix(yaw: float) -> np.ndarray:
    """The matrix that turns a piece's frame into the room's.

    Args:
        yaw: Rotation about z.

    Returns:
        Float64 [2, 2].
    """
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s], [s, c]])


def rows(boxes: Sequence[Box], xy: np.ndarray, yaw: float, z: float) -> np.ndarray:
    """Bring boxes of a piece's frame into the room's.

    Args:
        boxes: n boxes x0 y0 z0 x1 y1 z1 of the piece's frame.
        xy: Where the origin of that frame lies, float [2].
        yaw: How it is turned.
        z: Height of its origin.

    Returns:
        Rows cx cy half-x half-y yaw z0 z1, float64 [n, 7].
    """
    local = np.array(boxes, np.float64).reshape(-1, 6)  # [n, 6]
    placed = np.empty((len(local), 7))
    placed[:, :2] = (local[:, :2] + local[:, 3:5]) / 2 @ yaw_matrix(yaw).T + xy  # center
    placed[:, 2:4] = (local[:, 3:5] - local[:, :2]) / 2  # half
    placed[:, 4] = yaw
    placed[:, 5:] = local[:, 2::3] + z
    return placed


def collisions(a: np.ndarray, b: np.ndarray, slack: float = SLACK) -> np.ndarray:
    """Which boxes collide.

    Args:
        a: Rows float64 [n, 7].
        b: Rows float64 [m, 7].
        slack: By how much two boxes may overlap, metres.

    Returns:
        bool [n, m].
    """
    apart = (a[:, None, 5] > b[None, :, 6] - slack) | (b[None, :, 5] > a[:, None, 6] - slack)
    delta = b[None, :, :2] - a[:, None, :2]  # [n, m, 2]
    cos, sin = np.abs(np.cos(a[:, None, 4] - b[None, :, 4])), np.abs(np.sin(a[:, None, 4] - b[None, :, 4]))
    for own, other in ((a[:, None], b[None]), (b[None], a[:, None])):
        c, s = np.cos(own[..., 4]), np.sin(own[..., 4])  # [n, 1] or [1, m] each
        for axis, distance in enumerate((c * delta[..., 0] + s * delta[..., 1], c * delta[..., 1] - s * delta[..., 0])):
            reach = other[..., 2] * (cos if axis == 0 else sin) + other[..., 3] * (sin if axis == 0 else cos)  # [n, m]
            apart |= np.abs(distance) > own[..., 2 + axis] + reach - slack
    return ~apart


def corners(boxes: np.ndarray) -> np.ndarray:
    """The corners of boxes, seen from above.

    Args:
        boxes: Rows float64 [n, 7].

    Returns:
        Float64 [n, 4, 2], counter-clockwise.
    """
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float64)
    local = signs[None] * boxes[:, None, 2:4]  # [n, 4, 2]
    c, s = np.cos(boxes[:, 4])[:, None], np.sin(boxes[:, 4])[:, None]  # [n, 1] each
    turned = np.empty(local.shape)
    turned[..., 0] = c * local[..., 0] - s * local[..., 1]
    turned[..., 1] = s * local[..., 0] + c * local[..., 1]
    return turned + boxes[:, None, :2]


class RoomLayout:
    """A room being furnished: its outline and everything placed in it so far.

    Args:
        size: (x, y, z) of the bounding box, which starts at the origin.
        notches: Rectangles x0 y0 x1 y1 that are cut out, each in a corner of the bounding rectangle.

    Attributes:
        size: As given.
        notches: As given.
        outline: The floor's polygon, counter-clockwise, float64 [N, 2].
        walls: One wall for each edge of the outline, in its order.
        placed: The pieces, in the order they were placed.
        solid: Rows of all that is occupied, the notches among them, float64 [B, 7].
        clear: Rows of what must stay empty, float64 [B, 7].
    """

    def __init__(self, size: tuple[float, float, float], notches: list[Rectangle]) -> None:
        self.size = size
        self.notches = notches
        self.outline = _outline(size[0], size[1], notches)
        edges = np.roll(self.outline, -1, axis=0) - self.outline  # [N, 2]
        lengths = np.linalg.norm(edges, axis=1)  # [N]
        self.walls = [
            Wall(start, edge / length, float(length))
            for start, edge, length in zip(self.outline, edges, lengths, strict=True)
        ]
        self.placed: list[PlacedInRoom] = []
        self.solid = np.array(
            [[(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, 0, 0, size[2]] for x0, y0, x1, y1 in notches]
        ).reshape(-1, 7)
        self.clear = np.zeros((0, 7))

    def inside(self, boxes: np.ndarray, tolerance: float = 1e-6) -> bool:
        """Whether boxes lie within the bounding box of the room; its notches count as solid.

        Args:
            boxes: Rows float64 [n, 7].
            tolerance: How far they may stand out sideways.

        Returns:
            True where all of them do.
        """
        points = corners(boxes)  # [n, 4, 2]
        high = np.array(self.size[:2]) + tolerance
        return bool((points >= -tolerance).all() and (points <= high).all() and boxes[:, 6].max() <= self.size[2])

    def fits(self, piece: Piece, xy: np.ndarray, yaw: float, z: float, spare: Sequence[Box] = ()) -> bool:
        """Whether a piece may stand at a place.

        Args:
            piece: The piece.
            xy: Where its origin would lie, float [2].
            yaw: How it would be turned.
            z: Height of its origin.
            spare: Boxes of its frame that must be free too when it is placed; later pieces may stand there.

        Returns:
            True where the piece, what it keeps clear and the spare boxes are free.
        """
        boxes = rows(piece.boxes, xy, yaw, z)  # [n, 7]
        if not self.inside(boxes) or collisions(boxes, self.solid).any() or collisions(boxes, self.clear).any():
            return False
        free = rows([*piece.clear, *spare], xy, yaw, z)
        return not collisions(free, self.solid).any() and (not spare or self.inside(rows(spare, xy, yaw, z)))

    def put(self, piece: Piece, xy: np.ndarray, yaw: float, z: float = 0.0) -> PlacedInRoom:
        """Place a piece without asking whether it fits.

        Args:
            piece: The piece.
            xy: Where its origin lies, float [2].
            yaw: How it is turned.
            z: Height of its origin.

        Returns:
            The piece at its place.
        """
        placed = PlacedInRoom(piece, np.asarray(xy, np.float64), yaw, z)
        self.placed.append(placed)
        self.solid = np.concatenate([self.solid, rows(piece.boxes, placed.xy, yaw, z)])
        self.clear = np.concatenate([self.clear, rows(piece.clear, placed.xy, yaw, z)])
        return placed

    def try_put(
        self, piece: Piece, xy: np.ndarray, yaw: float, z: float = 0.0, spare: Sequence[Box] = ()
    ) -> PlacedInRoom | None:
        """Place a piece where it fits.

        Args:
            piece: The piece.
            xy: Where its origin lies, float [2].
            yaw: How it is turned.
            z: Height of its origin.
            spare: See `fits`.

        Returns:
            The piece at its place; None where it does not fit.
        """
        return self.put(piece, xy, yaw, z) if self.fits(piece, xy, yaw, z, spare) else None


def _outline(x: float, y: float, notches: list[Rectangle]) -> np.ndarray:
    """Corners [N, 2] of the rectangle x by y, counter-clockwise, with each notch cut out of its corner."""
    points: list[tuple[float, float]] = []
    for cx, cy in ((0.0, 0.0), (x, 0.0), (x, y), (0.0, y)):
        cut = [n for n in notches if cx in (n[0], n[2]) and cy in (n[1], n[3])]
        if not cut:
            points.append((cx, cy))
            continue
        x0, y0, x1, y1 = cut[0]
        ix, iy = (x1 if cx == x0 else x0), (y1 if cy == y0 else y0)
        along_y = (cx == 0.0) == (cy == 0.0)  # the outline reaches this corner along y
        points += [(cx, iy), (ix, iy), (ix, cy)] if along_y else [(ix, cy), (ix, iy), (cx, iy)]
    return np.array(points)
