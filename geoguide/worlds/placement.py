"""Putting pieces into a room: against a wall, free in the middle, around a table, on a top, on a wall.

Every method of `Furnisher` tries random places until the piece fits and returns where it landed, or None when it never
did. For a piece that a room cannot do without, `required` turns None into `NoSpaceError`, on which the whole room is
drawn again. Lengths are metres, angles radians.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from geoguide.worlds.layout import PlacedInRoom, RoomLayout, Wall, yaw_matrix
from geoguide.worlds.shapes import Box, Piece, PieceMaker

WALL_GAP = 0.01  # metres between a piece and its wall


class NoSpaceError(Exception):
    """A piece that defines the room's type found no place."""


def required(placed: PlacedInRoom | None) -> PlacedInRoom:
    """Insist that a piece has found a place.

    Args:
        placed: What a method of `Furnisher` returned.

    Returns:
        The same.

    Raises:
        NoSpaceError: The piece found no place.
    """
    if placed is None:
        raise NoSpaceError
    return placed


class Furnisher:
    """Places things in one room.

    Args:
        layout: The room, which is changed.
        rng: Source of all that is random.

    Attributes:
        layout: As given.
        rng: As given.
        walls: The walls that things are put against or hung on: all of the room's, unless a caller narrows them.
    """

    def __init__(self, layout: RoomLayout, rng: np.random.Generator) -> None:
        self.layout = layout
        self.rng = rng
        self.walls = layout.walls

    def chance(self, probability: float) -> bool:
        """Draw whether something happens.

        Args:
            probability: How likely it is, 0 to 1.

        Returns:
            Whether it does.
        """
        return bool(self.rng.random() < probability)

    def against_wall(self, make: PieceMaker, *, front: float = 0.0, corner: float = 0.3) -> PlacedInRoom | None:
        """Put a piece with its back to a wall.

        Args:
            make: Builds the piece; up to three are tried.
            front: How much space must be free in front of it when it is placed; later pieces may stand there.
            corner: Share of the tries that go into a corner.

        Returns:
            Where it stands, or None.
        """
        for _ in range(3):
            piece = make(self.rng)
            low, high = piece.extent()
            spare: list[Box] = [(low[0], high[1], 0.0, high[0], high[1] + front, 1.0)] if front else []
            for _ in range(12):
                wall = self.random_wall()
                start, end = WALL_GAP - low[0], wall.length - high[0] - WALL_GAP
                if end < start:
                    continue
                s = self.rng.choice([start, end]) if self.chance(corner) else self.rng.uniform(start, end)
                placed = self.layout.try_put(piece, wall.at(s, WALL_GAP - min(0.0, low[1])), wall.yaw, 0.0, spare)
                if placed:
                    return placed
        return None

    def on_wall(self, make: PieceMaker) -> PlacedInRoom | None:
        """Hang a piece on a wall; its own frame says how high above the floor it hangs.

        Args:
            make: Builds the piece; up to two are tried.

        Returns:
            Where it hangs, or None.
        """
        for _ in range(2):
            piece = make(self.rng)
            low, high = piece.extent()
            for _ in range(10):
                wall = self.random_wall()
                start, end = 0.05 - low[0], wall.length - high[0] - 0.05
                if end < start:
                    continue
                placed = self.layout.try_put(piece, wall.at(self.rng.uniform(start, end), 0.001), wall.yaw)
                if placed:
                    return placed
        return None

    def free(self, make: PieceMaker, *, margin: float = 0.0, middle: bool = False) -> PlacedInRoom | None:
        """Put a piece away from the walls, parallel to one of them.

        Args:
            make: Builds the piece; up to three are tried.
            margin: How much space must be free around it when it is placed; later pieces may stand there.
            middle: Whether it must stand near the middle of the room.

        Returns:
            Where it stands, or None.
        """
        for _ in range(3):
            piece = make(self.rng)
            low, high = piece.extent()
            near, far = low[:2] - margin, high[:2] + margin
            spare: list[Box] = [(*near, 0.0, *far, 0.5)] if margin else []
            center = (low[:2] + high[:2]) / 2
            for _ in range(15):
                yaw = float(np.pi / 2 * self.rng.integers(4) + self.rng.normal(0, 0.04))
                size = np.array(self.layout.size[:2])
                share = self.rng.uniform(0.4, 0.6, 2) if middle else self.rng.uniform(0.1, 0.9, 2)
                at = size * share - yaw_matrix(yaw) @ center
                placed = self.layout.try_put(piece, at, yaw, 0.0, spare)
                if placed:
                    return placed
        return None

    def attach(
        self,
        to: PlacedInRoom,
        make: PieceMaker,
        x: float,
        y: float,
        turn: float = 0.0,
        *,
        jitter: float = 0.05,
        twist: float = 0.1,
    ) -> PlacedInRoom | None:
        """Put a piece on the floor, at a place of another piece's frame.

        Args:
            to: The other piece.
            make: Builds the piece, once.
            x: Its place along the other's width.
            y: Its place along the other's depth.
            turn: How it is turned against the other.
            jitter: Standard deviation of its place, drawn anew in each of eight tries.
            twist: Standard deviation of its direction.

        Returns:
            Where it stands, or None.
        """
        piece = make(self.rng)
        for _ in range(8):
            dx, dy = self.rng.normal(0, jitter, 2) if jitter else (0.0, 0.0)
            yaw = to.yaw + turn + (self.rng.normal(0, twist) if twist else 0.0)
            placed = self.layout.try_put(piece, to.to_room(x + dx, y + dy), yaw)
            if placed:
                return placed
        return None

    def beside(self, to: PlacedInRoom, make: PieceMaker, side: int, gap: float = 0.04) -> PlacedInRoom | None:
        """Put a piece next to another, its back to the same wall.

        Args:
            to: The other piece.
            make: Builds the piece, once.
            side: -1 (towards -x of the other's frame) or 1.
            gap: Space between the two.

        Returns:
            Where it stands, or None.
        """
        low, high = to.piece.extent()
        piece = make(self.rng)
        own_low, own_high = piece.extent()
        x = high[0] + gap - own_low[0] if side > 0 else low[0] - gap - own_high[0]
        return self.attach(to, lambda rng: piece, x, -min(0.0, own_low[1]), jitter=0.0, twist=0.0)

    def facing(self, to: PlacedInRoom, make: PieceMaker, distance: float, x: float = 0.0) -> PlacedInRoom | None:
        """Put a piece before the front of another, turned towards it.

        Args:
            to: The other piece.
            make: Builds the piece, once.
            distance: Space between the two; a negative one tucks the piece in.
            x: Its place along the other's width.

        Returns:
            Where it stands, or None.
        """
        _, high = to.piece.extent()
        piece = make(self.rng)
        depth = piece.extent()[1][1]
        return self.attach(to, lambda rng: piece, x, high[1] + distance + depth, np.pi, twist=0.15)

    def around(self, table: PlacedInRoom, make: PieceMaker, count: int, *, round_: bool = False) -> int:
        """Put chairs of one kind around a table, tucked in or drawn back.

        Args:
            table: The table.
            make: Builds a chair.
            count: How many at most.
            round_: Whether the table is round.

        Returns:
            How many fitted.
        """
        low, high = table.piece.extent()
        center, half = (low[:2] + high[:2]) / 2, (high[:2] - low[:2]) / 2  # [2] each
        seats = _round_seats(half, count, self.rng.uniform(0, 6)) if round_ else _seats(half)
        order = self.rng.permutation(len(seats))[:count]
        state, fitted = self.rng.integers(2**32), 0
        for index in order:
            piece = make(np.random.default_rng(state))  # same seed: the chairs of a table are alike
            depth = piece.extent()[1][1]
            edge, outward = seats[index]
            for tuck in self.tucks():
                at = center + edge + outward * (depth - tuck)
                turn = np.arctan2(outward[0], -outward[1]) + self.rng.normal(0, 0.15)
                if self.layout.try_put(piece, table.to_room(*at), table.yaw + turn):
                    fitted += 1
                    break
        return fitted

    def tucks(self) -> Iterator[float]:
        """How far a chair is pushed under its table, try by try.

        Yields:
            Metres; negative where it is drawn back.
        """
        for _ in range(5):
            yield self.rng.uniform(-0.2, 0.25)

    def on_top(self, of: PlacedInRoom | None, makers: Sequence[PieceMaker], count: int) -> None:
        """Put things on the tops of a piece.

        Args:
            of: The piece; nothing happens where it is None or has no top.
            makers: Build the things; one is drawn for each.
            count: How many at most.
        """
        if of is None or not of.piece.supports:
            return
        for _ in range(count):
            piece = self.one_of(makers)(self.rng)
            x0, y0, x1, y1, z = of.piece.supports[self.rng.integers(len(of.piece.supports))]
            low, high = piece.extent()
            width, depth = x1 - x0 - (high[0] - low[0]), y1 - y0 - (high[1] - low[1])
            if width < 0 or depth < 0:
                continue
            for _ in range(5):
                x = x0 - low[0] + self.rng.uniform() * width
                y = y0 - low[1] + self.rng.uniform() * depth
                if self.set_on(of, piece, x, y, z):
                    break

    def set_on(self, of: PlacedInRoom, piece: Piece, x: float, y: float, z: float) -> PlacedInRoom | None:
        """Put a piece at a place of another piece's frame, a little askew.

        Args:
            of: The other piece.
            piece: The piece.
            x: Its place along the other's width.
            y: Its place along the other's depth.
            z: Its height above the other's origin.

        Returns:
            Where it stands, or None.
        """
        yaw = of.yaw + self.rng.normal(0, 0.12)
        return self.layout.try_put(piece, of.to_room(x, y), yaw, of.z + z)

    def scatter(self, makers: Sequence[PieceMaker], count: int) -> None:
        """Leave things on the floor, mostly along walls.

        Args:
            makers: Build the things; one is drawn for each.
            count: How many at most.
        """
        for _ in range(count):
            make = self.one_of(makers)
            if self.chance(0.75):
                self.against_wall(make)
            else:
                self.free(make)

    def one_of(self, makers: Sequence[PieceMaker]) -> PieceMaker:
        """Draw one of several makers.

        Args:
            makers: Among which.

        Returns:
            The one drawn.
        """
        return makers[int(self.rng.integers(len(makers)))]

    def random_wall(self) -> Wall:
        """Draw one of `walls`, long ones more often.

        Returns:
            The wall.
        """
        lengths = np.array([w.length for w in self.walls])  # [number of walls]
        reach = (lengths / lengths.sum()).cumsum()
        # What `rng.choice` does with these shares, without its checks of them, which take ten times as long.
        return self.walls[int((reach / reach[-1]).searchsorted(self.rng.random(), side="right"))]


def _seats(half: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Edge point (from the centre) and outward direction, float64 [2] each, of each seat of a rectangular table."""
    seats = []
    for axis in (0, 1):
        along = np.eye(2)[axis]
        outward = np.eye(2)[1 - axis]
        number = int((2 * half[axis] + 0.05) / 0.62)
        for k in range(number):
            offset = (k - (number - 1) / 2) * 2 * half[axis] / max(number, 1)
            for sign in (-1, 1):
                seats.append((along * offset + sign * outward * half[1 - axis], sign * outward))
    return seats


def _round_seats(half: np.ndarray, count: int, start: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same of `count` seats of a round table, the first at angle `start`."""
    angles = start + 2 * np.pi * np.arange(count) / count
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # [count, 2]
    return [(half * d, d) for d in directions]
