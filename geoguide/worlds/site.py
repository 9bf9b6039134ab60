"""A street being furnished: what stands where, what moves, and which ground is taken."""

from dataclasses import dataclass, field

import numpy as np

from geoguide.worlds.shapes import Piece

HALF_TIME = 2.0  # seconds before and after time 0 in which nothing that moves may meet anything else


HALF_LENGTH = 80.0  # metres of street on either side of the car


SIDEWALK_HEIGHT = 0.14


@dataclass(frozen=True, eq=False)
class Placed:
    """A piece in the street: position (x, y, z) at time 0, heading, speed along it [m/s]; attribute None: no thing."""

    piece: Piece
    xyz: tuple[float, float, float]
    yaw: float = 0.0
    speed: float = 0.0
    attribute: str | None = None


@dataclass
class Site:
    """The pieces placed so far and the axis-aligned rectangles x0 y0 x1 y1 that they occupy or sweep."""

    rng: np.random.Generator
    placed: list[Placed] = field(default_factory=list)
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def footprint(self, item: Placed, margin: float) -> tuple[float, float, float, float]:
        """The rectangle that a piece covers within `HALF_TIME` of time 0."""
        low, high = item.piece.extent()
        corners = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])])
        cos, sin = np.cos(item.yaw), np.sin(item.yaw)
        corners = corners @ np.array([[cos, sin], [-sin, cos]]) + np.array(item.xyz[:2])
        travel = abs(item.speed) * HALF_TIME * np.abs([cos, sin])
        low, high = corners.min(axis=0) - travel - margin, corners.max(axis=0) + travel + margin
        return (*low.tolist(), *high.tolist())

    def free(self, rectangle: tuple[float, float, float, float]) -> bool:
        """True where nothing has been placed yet."""
        x0, y0, x1, y1 = rectangle
        return not any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in self.taken)

    def put(self, item: Placed, *, margin: float = 0.15, check: bool = True) -> bool:
        """Place a piece where the ground is free (or anyway, without `check`); says whether it was placed."""
        rectangle = self.footprint(item, margin)
        if check and not self.free(rectangle):
            return False
        self.placed.append(item)
        self.taken.append(rectangle)
        return True


def centred(piece: Piece) -> Piece:
    """A piece of one object moved so that the middle of its extent lies over the origin, as a box's centre does."""
    low, high = piece.extent()
    shift = np.array([*(low + high)[:2] / 2, 0.0])
    (item,) = piece.items
    item.vertices = [points - shift for points in item.vertices]
    piece.boxes = [(*(np.array(box[:3]) - shift), *(np.array(box[3:]) - shift)) for box in piece.boxes]
    return piece
