"""Putting pieces into a room: against a wall, free in the middle, around a table, on a top, on a wall.

Every method tries random places until the piece fits and returns where it landed, or None when it never did; with
`must` it raises `NoSpaceError`, on which the whole room is drawn again.
"""

from collections.abc import Callable, Sequence

import numpy as np

from geoguide.worlds import openings
from geoguide.worlds.layout import Layout, Placed, Wall
from geoguide.worlds.shapes import Piece

Maker = Callable[[np.random.Generator], Piece]


GAP = 0.01  # metres between a piece and its wall


class NoSpaceError(Exception):
    """A piece that defines the room's type found no place."""


class Furnisher:
    """A layout, its generator, and the ways to place things."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout = layout
        self.rng = rng

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def against_wall(
        self, make: Maker, *, front: float = 0.0, must: bool = False, corner: float = 0.3
    ) -> Placed | None:
        """With its back to a wall and, for now, `front` metres free before it; `corner` is the share put in corners."""
        for _ in range(3):
            piece = make(self.rng)
            low, high = piece.extent()
            spare = [(low[0], high[1], 0.0, high[0], high[1] + front, 1.0)] if front else []
            for _ in range(12):
                wall = self._wall()
                start, end = GAP - low[0], wall.length - high[0] - GAP
                if end < start:
                    continue
                s = self.rng.choice([start, end]) if self.chance(corner) else self.rng.uniform(start, end)
                placed = self.layout.try_put(piece, wall.at(s, GAP - min(0.0, low[1])), wall.yaw, 0.0, spare)
                if placed:
                    return placed
        return self._failed(must)

    def on_wall(self, make: Maker, *, must: bool = False) -> Placed | None:
        """Hung on a wall; the piece carries its own height."""
        for _ in range(2):
            piece = make(self.rng)
            low, high = piece.extent()
            for _ in range(10):
                wall = self._wall()
                start, end = 0.05 - low[0], wall.length - high[0] - 0.05
                if end < start:
                    continue
                placed = self.layout.try_put(piece, wall.at(self.rng.uniform(start, end), 0.001), wall.yaw)
                if placed:
                    return placed
        return self._failed(must)

    def free(self, make: Maker, *, margin: float = 0.0, must: bool = False, middle: bool = False) -> Placed | None:
        """Standing free, parallel to a wall, with `margin` metres around it for now."""
        for _ in range(3):
            piece = make(self.rng)
            low, high = piece.extent()
            spare = [(low[0] - margin, low[1] - margin, 0.0, high[0] + margin, high[1] + margin, 0.5)] if margin else []
            center = (low[:2] + high[:2]) / 2
            for _ in range(15):
                yaw = np.pi / 2 * self.rng.integers(4) + self.rng.normal(0, 0.04)
                size = np.array(self.layout.size[:2])
                share = self.rng.uniform(0.4, 0.6, 2) if middle else self.rng.uniform(0.1, 0.9, 2)
                turned = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]) @ center
                placed = self.layout.try_put(piece, size * share - turned, float(yaw), 0.0, spare)
                if placed:
                    return placed
        return self._failed(must)

    def attach(
        self,
        to: Placed,
        make: Maker,
        x: float,
        y: float,
        turn: float = 0.0,
        *,
        jitter: float = 0.05,
        twist: float = 0.1,
    ) -> Placed | None:
        """On the floor at (x, y) of another piece's frame, turned by `turn` against it."""
        piece = make(self.rng)
        for _ in range(8):
            dx, dy = self.rng.normal(0, jitter, 2) if jitter else (0.0, 0.0)
            yaw = to.yaw + turn + (self.rng.normal(0, twist) if twist else 0.0)
            placed = self.layout.try_put(piece, to.to_room(x + dx, y + dy), yaw)
            if placed:
                return placed
        return None

    def beside(self, to: Placed, make: Maker, side: int, gap: float = 0.04) -> Placed | None:
        """Next to a piece, back to the same wall; side is -1 or 1."""
        low, high = to.piece.extent()
        piece = make(self.rng)
        own_low, own_high = piece.extent()
        x = high[0] + gap - own_low[0] if side > 0 else low[0] - gap - own_high[0]
        return self.attach(to, lambda rng: piece, x, -min(0.0, own_low[1]), jitter=0.0, twist=0.0)

    def facing(self, to: Placed, make: Maker, distance: float, x: float = 0.0) -> Placed | None:
        """Before the front of a piece, `distance` metres away, turned towards it; negative distances tuck it in."""
        _, high = to.piece.extent()
        piece = make(self.rng)
        depth = piece.extent()[1][1]
        return self.attach(to, lambda rng: piece, x, high[1] + distance + depth, np.pi, twist=0.15)

    def around(self, table: Placed, make: Maker, count: int, *, round_: bool = False) -> int:
        """Up to `count` alike chairs around a table, tucked in or drawn back; returns how many fitted."""
        low, high = table.piece.extent()
        center, half = (low[:2] + high[:2]) / 2, (high[:2] - low[:2]) / 2
        seats = _round_seats(half, count, self.rng.uniform(0, 6)) if round_ else _seats(half)
        order = self.rng.permutation(len(seats))[:count]
        state, fitted = self.rng.integers(2**32), 0
        for index in order:
            piece = make(np.random.default_rng(state))  # the chairs of one table are of one kind
            depth = piece.extent()[1][1]
            edge, outward = seats[index]
            for _ in range(5):
                at = center + edge + outward * (depth - self.rng.uniform(-0.2, 0.25))
                turn = np.arctan2(outward[0], -outward[1]) + self.rng.normal(0, 0.15)
                if self.layout.try_put(piece, table.to_room(*at), table.yaw + turn):
                    fitted += 1
                    break
        return fitted

    def on_top(self, of: Placed | None, makers: Sequence[Maker], count: int) -> None:
        """Up to `count` of the given things on the tops of a piece."""
        if of is None or not of.piece.supports:
            return
        for _ in range(count):
            piece = makers[self.rng.integers(len(makers))](self.rng)
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

    def set_on(self, of: Placed, piece: Piece, x: float, y: float, z: float, twist: float = 0.12) -> Placed | None:
        """A piece at (x, y, z) of another piece's frame, a little askew."""
        yaw = of.yaw + self.rng.normal(0, twist)
        return self.layout.try_put(piece, of.to_room(x, y), yaw, of.z + z)

    def scatter(self, makers: Sequence[Maker], count: int) -> None:
        """Things left on the floor, mostly along walls."""
        for _ in range(count):
            make = makers[self.rng.integers(len(makers))]
            if self.chance(0.75):
                self.against_wall(make)
            else:
                self.free(make)

    def door(self) -> None:
        """One door; in a third of the rooms it stands open into the room."""
        width, height = self.rng.uniform(0.78, 0.92), self.rng.uniform(1.98, 2.1)
        walls = [w for w in self.layout.walls if w.length > width + 0.5]
        wall = walls[self.rng.integers(len(walls))]
        ends = (0.2 + width / 2, wall.length - 0.2 - width / 2)
        s = float(self.rng.choice(ends) if self.chance(0.6) else self.rng.uniform(*ends))
        wall.openings.append((s - width / 2, s + width / 2, 0.0, height))
        leaf, hinge, yaw = (
            openings.door(self.rng, width - 0.02, height - 0.02),
            wall.at(s - width / 2 + 0.01, 0.0),
            wall.yaw,
        )
        open_yaw = yaw + self.rng.uniform(1.1, 1.6)
        if self.chance(0.35) and self.layout.fits(leaf, hinge + 0.06 * wall.inward, open_yaw, 0.0, []):
            self.layout.put(leaf, hinge + 0.06 * wall.inward, open_yaw)
        else:
            self.layout.put(leaf, hinge - 0.03 * wall.inward, yaw)
        self.layout.put(openings.doorframe(self.rng, width, height), wall.at(s), yaw)

    def window(self, low: float, high: float, *, small: bool = False, curtain: float = 0.0) -> Placed | None:
        """A window of the given height range, with curtains at probability `curtain`, else sometimes blinds."""
        width = self.rng.uniform(0.5, 0.8) if small else self.rng.uniform(0.9, 2.0)
        for _ in range(10):
            wall = self._wall()
            if wall.length < width + 1.0:
                continue
            s = self.rng.uniform(width / 2 + 0.4, wall.length - width / 2 - 0.4)
            if any(s - width / 2 - 0.4 < o[1] and o[0] < s + width / 2 + 0.4 for o in wall.openings):
                continue
            piece = openings.window(self.rng, width, low, high)
            if self.chance(curtain):
                openings.add_curtains(piece, width, 0.05 if self.chance(0.6) else low - 0.1, high + 0.06)
            elif self.chance(0.12):
                openings.add_blinds(piece, width, self.rng.uniform(low, (low + high) / 2), high)
            boxes = [b for b in piece.boxes if b[4] > 0.06]
            if boxes and not self._empty(boxes, wall.at(s), wall.yaw):
                continue
            wall.openings.append((s - width / 2, s + width / 2, low, high))
            return self.layout.put(piece, wall.at(s), wall.yaw)
        return None

    def _empty(self, boxes: list[tuple[float, ...]], xy: np.ndarray, yaw: float) -> bool:
        probe = Piece(self.rng)
        probe.boxes = boxes
        return self.layout.fits(probe, xy + 0.001, yaw, 0.0, [])

    def _wall(self) -> Wall:
        """A wall at random, long ones more often."""
        lengths = np.array([w.length for w in self.layout.walls])
        return self.layout.walls[self.rng.choice(len(lengths), p=lengths / lengths.sum())]

    def _failed(self, must: bool) -> None:
        if must:
            raise NoSpaceError


def _seats(half: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(edge point, outward direction) of the seats of a rectangular table, relative to its centre."""
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
    angles = start + 2 * np.pi * np.arange(count) / count
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [(half * d, d) for d in directions]
