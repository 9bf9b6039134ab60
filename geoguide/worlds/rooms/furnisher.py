"""Furnishing as a `RoomRecipe` asks for it: more things, and pieces that touch; by default a plain `Furnisher`."""

from collections.abc import Iterator, Sequence

import numpy as np

from geoguide.worlds.layout import PlacedInRoom, RoomLayout
from geoguide.worlds.placement import Furnisher
from geoguide.worlds.rooms.recipe import RoomRecipe
from geoguide.worlds.shapes import Piece, PieceMaker

PRESS = 0.003  # metres that pieces in contact press into each other: less than what counts as a collision
NEIGHBOURS = 4  # pieces that another is tried against before it is put elsewhere
SEATS = ("chair", "office chair", "armchair", "couch", "bed", "bench", "ottoman")  # what things are left on
LEFT = 0.4  # share of the seats on which things lie, for each unit of clutter above 1
SIDES, ROUND = ((-1, 0), (1, 0)), ((-1, 0), (1, 0), (0, 1))  # sides of a piece in its frame: beside; before it too


class RoomFurnisher(Furnisher):
    """A `Furnisher` that follows a recipe's clutter, contacts and rare things.

    Args:
        layout: The room, which is changed.
        rng: Source of all that is random.
        recipe: What is asked for.

    Attributes:
        recipe: As given.
        standing: What stands on the floor so far and may be touched.
    """

    def __init__(self, layout: RoomLayout, rng: np.random.Generator, recipe: RoomRecipe) -> None:
        super().__init__(layout, rng)
        self.recipe = recipe
        self.standing: list[PlacedInRoom] = []

    def often(self, probability: float) -> float:
        """Raise the chance of a rare thing.

        Args:
            probability: Its chance where nothing is asked for.

        Returns:
            Its chance under the recipe.
        """
        return probability + (1.0 - probability) * self.recipe.rare

    def against_wall(self, make: PieceMaker, *, front: float = 0.0, corner: float = 0.3) -> PlacedInRoom | None:
        """Put a piece with its back to a wall, at the recipe's chance flush beside what stands there.

        Args:
            make: Builds the piece.
            front: As in `Furnisher`; not asked for beside another piece.
            corner: As in `Furnisher`.

        Returns:
            Where it stands, or None.
        """
        placed = self._flush(make, self.standing, SIDES) if self._touches() else None
        placed = placed or super().against_wall(make, front=front, corner=corner)
        if placed:
            self.standing.append(placed)
        return placed

    def free(self, make: PieceMaker, *, margin: float = 0.0, middle: bool = False) -> PlacedInRoom | None:
        """Put a piece away from the walls.

        Args:
            make: As in `Furnisher`.
            margin: As in `Furnisher`.
            middle: As in `Furnisher`.

        Returns:
            Where it stands, or None.
        """
        placed = super().free(make, margin=margin, middle=middle)
        if placed:
            self.standing.append(placed)
        return placed

    def tucks(self) -> Iterator[float]:
        """How far a chair is pushed under its table, try by try: at the recipe's chance as far as it goes.

        Yields:
            Metres.
        """
        if self._touches():
            yield from np.arange(0.5, 0.0, -0.06)
        yield from super().tucks()

    def on_top(self, of: PlacedInRoom | None, makers: Sequence[PieceMaker], count: int) -> None:
        """Put things on the tops of a piece, at the recipe's chance flush against one another.

        Args:
            of: As in `Furnisher`.
            makers: As in `Furnisher`.
            count: How many at most, before the recipe's factor.
        """
        if of is None or not of.piece.supports:
            return
        first = len(self.layout.placed)
        for _ in range(self._scaled(count)):
            there = self.layout.placed[first:]
            if not (there and self._touches() and self._flush(self.one_of(makers), there, ROUND, of)):
                super().on_top(of, makers, 1)

    def scatter(self, makers: Sequence[PieceMaker], count: int) -> None:
        """Leave things on the floor, at the recipe's chance leaning on what stands there, and on seats.

        Args:
            makers: As in `Furnisher`.
            count: How many at most, before the recipe's factor.
        """
        for _ in range(self._scaled(count)):
            if not (self._touches() and self._flush(self.one_of(makers), self.standing, ROUND)):
                super().scatter(makers, 1)
        if self.recipe.clutter > 1:
            for seat in [placed for placed in self.layout.placed if placed.piece.items[0].category in SEATS]:
                if self.chance(min(1.0, LEFT * (self.recipe.clutter - 1))):
                    self._leave_on(seat, self.one_of(makers)(self.rng))

    def _scaled(self, count: int) -> int:
        return round(count * self.recipe.clutter)

    def _touches(self) -> bool:
        """Whether the next piece is to touch another; nothing is drawn where none ever does."""
        return self.recipe.touching > 0 and self.chance(self.recipe.touching)

    def _flush(
        self,
        make: PieceMaker,
        others: Sequence[PlacedInRoom],
        sides: Sequence[tuple[int, int]],
        top: PlacedInRoom | None = None,
    ) -> PlacedInRoom | None:
        """Put a piece in contact with one of others, on the floor or, where `top` is given, within that piece's top."""
        piece = make(self.rng)
        for index in self.rng.permutation(len(others))[:NEIGHBOURS]:
            to = others[index]
            for side in self.rng.permutation(len(sides)):
                xy = to.to_room(*_beside(to.piece, piece, sides[side], self.rng))
                if (top is None or _within(top, piece, xy)) and (
                    placed := self.layout.try_put(piece, xy, to.yaw, to.z)
                ):
                    return placed
        return None

    def _leave_on(self, seat: PlacedInRoom, piece: Piece) -> None:
        """Put a thing on the largest level part of a seat or bed."""
        x0, y0, _, x1, y1, z = max(seat.piece.boxes, key=lambda box: (box[3] - box[0]) * (box[4] - box[1]))
        low, high = piece.extent()
        x, y = (self.rng.uniform(0.3, 0.7, 2) * (x1 - x0, y1 - y0)) + (x0, y0) - (low[:2] + high[:2]) / 2
        self.set_on(seat, piece, float(x), float(y), z - PRESS)


def _beside(to: Piece, piece: Piece, side: tuple[int, int], rng: np.random.Generator) -> tuple[float, float]:
    """Where in the frame of `to` a piece lies that touches its side; beside it the backs are level."""
    (low, high), (own_low, own_high) = to.extent(), piece.extent()
    if side[1]:
        return float(rng.uniform(low[0], high[0]) - (own_low[0] + own_high[0]) / 2), float(high[1] - own_low[1] - PRESS)
    x = high[0] - own_low[0] - PRESS if side[0] > 0 else low[0] - own_high[0] + PRESS
    return float(x), float(low[1] - own_low[1])


def _within(top: PlacedInRoom, piece: Piece, xy: np.ndarray) -> bool:
    """Whether the middle of a piece at a place of the room lies over one of the tops of another."""
    low, high = piece.extent()
    turn = np.array([[np.cos(top.yaw), -np.sin(top.yaw)], [np.sin(top.yaw), np.cos(top.yaw)]])
    x, y = (xy - top.xy) @ turn + (low[:2] + high[:2]) / 2
    return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1, _ in top.piece.supports)
