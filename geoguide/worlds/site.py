"""A street being furnished: what stands where, what moves, and which ground is taken.

x runs along the street, y to the left, z up; metres, seconds, radians. At time 0 the car passes x = 0.
"""

from dataclasses import dataclass, field

import numpy as np

from geoguide.worlds.shapes import Piece, Rectangle

HALF_TIME = 2.0  # seconds before and after time 0 in which nothing that moves may meet anything else
HALF_LENGTH = 80.0  # metres of street on either side of the car
GROUND_DEPTH = 62.0  # metres of ground beyond the middle of the street
SIDEWALK_HEIGHT = 0.14  # metres


@dataclass(frozen=True, eq=False)
class PlacedInStreet:
    """A piece at its place in a street.

    Attributes:
        piece: The piece.
        xyz: Where the origin of its frame lies at time 0.
        yaw: Its heading.
        speed: Its speed along the heading, metres per second.
        attribute: nuScenes' attribute of it, "" for an annotated object without one; None for what has no such box.
    """

    piece: Piece
    xyz: tuple[float, float, float]
    yaw: float = 0.0
    speed: float = 0.0
    attribute: str | None = None


@dataclass
class Site:
    """The pieces placed so far and the ground they take.

    Attributes:
        rng: Source of all that is random in the street.
        placed: The pieces, in the order they were placed.
        taken: Axis-aligned rectangles x0 y0 x1 y1 that are occupied, or swept by what moves.
    """

    rng: np.random.Generator
    placed: list[PlacedInStreet] = field(default_factory=list)
    taken: list[Rectangle] = field(default_factory=list)

    def footprint(self, item: PlacedInStreet, margin: float) -> Rectangle:
        """The rectangle that a piece covers within `HALF_TIME` of time 0.

        Args:
            item: The piece at its place.
            margin: Added on all sides.

        Returns:
            x0 y0 x1 y1.
        """
        low, high = item.piece.extent()
        corners = np.array([(x, y) for x in (low[0], high[0]) for y in (low[1], high[1])])  # [4, 2]
        cos, sin = np.cos(item.yaw), np.sin(item.yaw)
        corners = corners @ np.array([[cos, sin], [-sin, cos]]) + np.array(item.xyz[:2])
        travel = abs(item.speed) * HALF_TIME * np.abs([cos, sin])
        low, high = corners.min(axis=0) - travel - margin, corners.max(axis=0) + travel + margin
        return (*low.tolist(), *high.tolist())

    def free(self, rectangle: Rectangle) -> bool:
        """Whether ground is free.

        Args:
            rectangle: The ground, x0 y0 x1 y1.

        Returns:
            True where nothing has been placed on it yet.
        """
        x0, y0, x1, y1 = rectangle
        return not any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in self.taken)

    def put(self, item: PlacedInStreet, *, margin: float = 0.15, check: bool = True) -> bool:
        """Place a piece where the ground is free.

        Args:
            item: The piece at its place.
            margin: Free space that it needs on all sides.
            check: Whether it is placed only where the ground is free.

        Returns:
            Whether it was placed.
        """
        rectangle = self.footprint(item, margin)
        if check and not self.free(rectangle):
            return False
        self.placed.append(item)
        self.taken.append(rectangle)
        return True


def centred(piece: Piece) -> Piece:
    """Move a piece so that the middle of its extent lies over the origin, as the centre of an annotated box does.

    Args:
        piece: A piece of one object; it is changed.

    Returns:
        The same piece.
    """
    low, high = piece.extent()
    shift = np.array([*(low + high)[:2] / 2, 0.0])
    (item,) = piece.items
    item.vertices = [points - shift for points in item.vertices]
    piece.boxes = [(*(np.array(box[:3]) - shift), *(np.array(box[3:]) - shift)) for box in piece.boxes]
    return piece
