"""Where pieces stand: the room's outline, collisions between rotated boxes, and the space a camera may use.

A room is its bounding rectangle minus `notches` (rectangles in its corners), which gives plain, L-shaped and alcove
rooms. Occupied boxes are rows [cx, cy, half x, half y, yaw, z0, z1]; rows collide when both their rotated rectangles
(separating axes) and their height ranges overlap. Loops run over pieces and walls, never over points.
"""

from dataclasses import dataclass, field

import numpy as np

from geoguide.worlds.shapes import Piece

SLACK = 0.004  # metres two boxes may share before they collide: things that touch do not


@dataclass(frozen=True)
class Placed:
    """A piece at its place: origin `xy`, rotation `yaw` about z, height `z`."""

    piece: Piece
    xy: np.ndarray
    yaw: float
    z: float

    def to_room(self, x: float, y: float) -> np.ndarray:
        """Room coordinates [2] of a point of the piece's frame."""
        return self.xy + rotation(self.yaw) @ np.array([x, y])


@dataclass
class Wall:
    """A straight wall from `start` along unit `along`, the room on its left; `openings` are (s0, s1, z0, z1)."""

    start: np.ndarray
    along: np.ndarray
    length: float
    openings: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def inward(self) -> np.ndarray:
        return np.array([-self.along[1], self.along[0]])

    @property
    def yaw(self) -> float:
        """Rotation that turns a piece's back to this wall."""
        return float(np.arctan2(self.along[1], self.along[0]))

    def at(self, s: float, out: float = 0.0) -> np.ndarray:
        """The point [2] at s metres along the wall and `out` metres into the room."""
        return self.start + s * self.along + out * self.inward


def rotation(yaw: float) -> np.ndarray:
    """[2, 2] matrix that turns the local frame into the room's."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s], [s, c]])


def rows(boxes: list[tuple[float, ...]], xy: np.ndarray, yaw: float, z: float) -> np.ndarray:
    """Local boxes (x0 y0 z0 x1 y1 z1) as rows [n, 7] in the room."""
    local = np.array(boxes, np.float64).reshape(-1, 6)
    center = (local[:, :2] + local[:, 3:5]) / 2 @ rotation(yaw).T + xy
    half = (local[:, 3:5] - local[:, :2]) / 2
    return np.column_stack([center, half, np.full(len(local), yaw), local[:, 2] + z, local[:, 5] + z])


def overlaps(a: np.ndarray, b: np.ndarray, slack: float = SLACK) -> np.ndarray:
    """Which rows of a [n, 7] collide with which rows of b [m, 7]: bool [n, m]."""
    apart = (a[:, None, 5] > b[None, :, 6] - slack) | (b[None, :, 5] > a[:, None, 6] - slack)
    delta = b[None, :, :2] - a[:, None, :2]  # [n, m, 2]
    cos, sin = np.abs(np.cos(a[:, None, 4] - b[None, :, 4])), np.abs(np.sin(a[:, None, 4] - b[None, :, 4]))
    for own, other in ((a[:, None], b[None]), (b[None], a[:, None])):
        c, s = np.cos(own[..., 4]), np.sin(own[..., 4])
        for axis, distance in enumerate((c * delta[..., 0] + s * delta[..., 1], c * delta[..., 1] - s * delta[..., 0])):
            reach = other[..., 2] * (cos if axis == 0 else sin) + other[..., 3] * (sin if axis == 0 else cos)
            apart |= np.abs(distance) > own[..., 2 + axis] + reach - slack
    return ~apart


def corners(boxes: np.ndarray) -> np.ndarray:
    """Plan corners [n, 4, 2] of rows [n, 7]."""
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float64)
    local = signs[None] * boxes[:, None, 2:4]  # [n, 4, 2]
    c, s = np.cos(boxes[:, 4])[:, None], np.sin(boxes[:, 4])[:, None]
    turned = np.stack([c * local[..., 0] - s * local[..., 1], s * local[..., 0] + c * local[..., 1]], axis=-1)
    return turned + boxes[:, None, :2]


class Layout:
    """The room's outline and everything placed in it so far."""

    def __init__(self, size: tuple[float, float, float], notches: list[tuple[float, float, float, float]]) -> None:
        self.size = size
        self.notches = notches  # x0 y0 x1 y1, each in a corner of the bounding rectangle
        self.outline = _outline(size[0], size[1], notches)  # [N, 2] counter-clockwise
        edges = np.roll(self.outline, -1, axis=0) - self.outline
        lengths = np.linalg.norm(edges, axis=1)
        self.walls = [
            Wall(start, edge / length, float(length))
            for start, edge, length in zip(self.outline, edges, lengths, strict=True)
        ]
        self.placed: list[Placed] = []
        self.solid = np.array(
            [[(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2, 0, 0, size[2]] for x0, y0, x1, y1 in notches]
        ).reshape(-1, 7)
        self.clear = np.zeros((0, 7))

    def inside(self, boxes: np.ndarray, tolerance: float = 1e-6) -> bool:
        """Whether rows [n, 7] lie within the bounding box of the room (notches count as solid)."""
        points = corners(boxes)
        high = np.array(self.size[:2]) + tolerance
        return bool((points >= -tolerance).all() and (points <= high).all() and boxes[:, 6].max() <= self.size[2])

    def fits(self, piece: Piece, xy: np.ndarray, yaw: float, z: float, spare: list[tuple[float, ...]]) -> bool:
        """Whether the piece, its clear zones and, for now only, the local boxes `spare` are free there."""
        boxes = rows(piece.boxes, xy, yaw, z)
        if not self.inside(boxes) or overlaps(boxes, self.solid).any() or overlaps(boxes, self.clear).any():
            return False
        free = rows(piece.clear + spare, xy, yaw, z)
        return not overlaps(free, self.solid).any() and (not spare or self.inside(rows(spare, xy, yaw, z)))

    def put(self, piece: Piece, xy: np.ndarray, yaw: float, z: float = 0.0) -> Placed:
        """Place without asking."""
        placed = Placed(piece, np.asarray(xy, np.float64), yaw, z)
        self.placed.append(placed)
        self.solid = np.concatenate([self.solid, rows(piece.boxes, placed.xy, yaw, z)])
        self.clear = np.concatenate([self.clear, rows(piece.clear, placed.xy, yaw, z)])
        return placed

    def try_put(
        self, piece: Piece, xy: np.ndarray, yaw: float, z: float = 0.0, spare: list[tuple[float, ...]] | None = None
    ) -> Placed | None:
        """Place if it fits, else None."""
        return self.put(piece, xy, yaw, z) if self.fits(piece, xy, yaw, z, spare or []) else None


def _outline(x: float, y: float, notches: list[tuple[float, float, float, float]]) -> np.ndarray:
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
