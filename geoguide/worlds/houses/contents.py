"""What stands in a house of mini-Matterport3D: where each dealt name goes, and how a furnished layout becomes a room.

Which names a house holds is dealt by the vocabulary (`things.vocabulary`), so that all houses together show the long
tail of Matterport3D's 160 classes.
"""

from functools import partial

import numpy as np

from geoguide.worlds import openings
from geoguide.worlds.interior import FurnishedRoom, join
from geoguide.worlds.layout import PlacedInRoom, RoomLayout, Wall
from geoguide.worlds.palette import FABRIC, WALL, darker, pick_color
from geoguide.worlds.placement import Furnisher
from geoguide.worlds.shapes import PieceMaker
from geoguide.worlds.shell import ceiling_item, floor_item, floor_kind, wall_item
from geoguide.worlds.things.build import build_entry
from geoguide.worlds.things.vocabulary import Entry

SOFT = ("bed", "sofa")  # what carries pillows and blankets; everything else with a top carries the rest
LOW = 0.08  # metres: what is lower (rugs, for example) does not keep a camera from standing there
TRIES = 8  # places tried for a thing under the ceiling; pieces tried that might carry a thing
CURTAINS = {"bedroom": 0.5, "living": 0.5, "office": 0.3}  # share of windows with them


class HouseFurnisher(Furnisher):
    """A `Furnisher` for one room of a house.

    Args:
        layout: The room, which is changed.
        rng: Source of all that is random.
        kind: Type of the room.
        outer: The walls with nothing behind them.

    Attributes:
        kind: As given.
        outer: As given.
    """

    def __init__(self, layout: RoomLayout, rng: np.random.Generator, kind: str, outer: list[Wall]) -> None:
        super().__init__(layout, rng)
        self.kind, self.outer = kind, outer

    def doorway(self, wall: Wall, s: float, width: float, height: float, *, leaf: bool) -> None:
        """Make a way to the next room.

        Args:
            wall: The wall between the two.
            s: Where along it the middle of the way lies, metres.
            width: Width of the way, metres.
            height: Its height, metres.
            leaf: Whether a door's leaf stands open into this room, where it fits.
        """
        wall.openings.append((s - width / 2, s + width / 2, 0.0, height))
        if leaf:
            door = openings.door(self.rng, width - 0.02, height - 0.02)
            hinge = wall.at(s - width / 2 + 0.01, 0.06)
            self.layout.try_put(door, hinge, wall.yaw + self.rng.uniform(1.2, 1.6))
        self._way(wall, s, width, height)

    def closed_door(self) -> None:
        """Make a shut door in an outer wall, where it is long enough: to the street or a closet."""
        width, height = self.rng.uniform(0.78, 0.92), self.rng.uniform(1.98, 2.1)
        wall = self.outer[int(self.rng.integers(len(self.outer)))]
        if wall.length < width + 0.6:
            return
        s = self.rng.uniform(0.3 + width / 2, wall.length - 0.3 - width / 2)
        wall.openings.append((s - width / 2, s + width / 2, 0.0, height))
        door = openings.door(self.rng, width - 0.02, height - 0.02)
        self.layout.put(door, wall.at(s - width / 2 + 0.01, -0.03), wall.yaw)
        self._way(wall, s, width, height)

    def _way(self, wall: Wall, s: float, width: float, height: float) -> None:
        """Put the trim around a door's hole."""
        frame = openings.doorframe(self.rng, width, height)
        frame.items[0].category = "door way"  # Matterport3D's name for it
        self.layout.put(frame, wall.at(s), wall.yaw)

    def windows(self) -> None:
        """Make one or two windows in outer walls; in bathrooms and garages a small one or none."""
        small = self.kind in ("bathroom", "garage")
        self.walls = self.outer
        for _ in range(int(self.rng.integers(0, 2) if small else self.rng.integers(1, 3))):
            low, high = (1.3, 1.9) if small else (self.rng.uniform(0.75, 1.05), self.rng.uniform(1.95, 2.2))
            openings.put_window(self, low, high, small=small, curtain=CURTAINS.get(self.kind, 0.0))
        self.walls = self.layout.walls

    def place(self, entry: Entry) -> bool:
        """Put one object of a name where its kind of thing goes.

        Args:
            entry: The name's row of the vocabulary.

        Returns:
            Whether it found a place.
        """
        make, before = partial(build_entry, entry, ceiling=self.layout.size[2]), len(self.layout.placed)
        if entry.place == "wall":
            self.on_wall(make)
        elif entry.place == "ceiling":
            self._overhead(make)
        elif entry.place in ("top", "soft"):
            self._carried(make, entry.place == "soft")
        elif entry.place == "back" or (entry.place == "floor" and self.chance(0.7)):
            self.against_wall(make, front=0.3 if entry.width[1] > 0.5 else 0.0)
        else:
            self.free(make)
        if len(self.layout.placed) == before and entry.place in ("floor", "free"):
            self.against_wall(make)
        return len(self.layout.placed) > before

    def _overhead(self, make: PieceMaker) -> None:
        """Hang a piece from the ceiling."""
        piece = make(self.rng)
        low, high = piece.extent()
        reach = float(np.abs(np.stack([low, high])[:, :2]).max()) + 0.05
        size = np.array(self.layout.size[:2])
        for _ in range(TRIES):
            xy = reach + self.rng.random(2) * np.maximum(size - 2 * reach, 0)
            if self.layout.try_put(piece, xy, float(self.rng.integers(4) * np.pi / 2)):
                return

    def _carried(self, make: PieceMaker, soft: bool) -> None:
        """Put a piece on the top of something; where it is soft, on a bed or sofa."""
        carriers = [p for p in self.layout.placed if p.piece.supports and _is_soft(p) == soft]
        before = len(self.layout.placed)
        for index in self.rng.permutation(len(carriers))[:TRIES]:
            self.on_top(carriers[index], (make,), 1)
            if len(self.layout.placed) > before:
                return


def _is_soft(placed: PlacedInRoom) -> bool:
    return placed.piece.items[0].category in SOFT


def furnish(rooms: list[HouseFurnisher], dealt: list[Entry], rng: np.random.Generator) -> tuple[str, ...]:
    """Spread objects over the rooms of a house, large ones first.

    An object goes to the emptiest room that suits it, and where none of these has space to any other.

    Args:
        rooms: The rooms, with doors and windows.
        dealt: The objects, one entry each.
        rng: Source of the choice among rooms that are about equally empty.

    Returns:
        The names that found no place anywhere, one for each object.
    """
    missing = []
    for entry in sorted(dealt, key=_order):
        crowd = [len(room.layout.placed) / np.prod(room.layout.size[:2]) + rng.uniform(0, 0.7) for room in rooms]
        order = sorted(range(len(rooms)), key=lambda r: (not entry.suits(rooms[r].kind), crowd[r]))
        if not any(rooms[r].place(entry) for r in order):
            missing.append(entry.name)
    return tuple(missing)


def _order(entry: Entry) -> tuple[int, float]:
    """Sort key: what carries comes before what is carried, the large before the small."""
    stage = 2 if entry.place in ("top", "soft") else 1 if entry.place == "ceiling" else 0
    return stage, -entry.width[1] * max(entry.depth[1], entry.height[1])


def assemble(rng: np.random.Generator, seed: int, kind: str, layout: RoomLayout) -> FurnishedRoom:
    """Make a room of a furnished layout, in the room's own frame.

    Args:
        rng: Source of the shell's colours.
        seed: What the house was drawn from.
        kind: Type of the room.
        layout: The room's outline and the pieces in it.

    Returns:
        The room: its shell, the ceiling included, and its pieces as one mesh.
    """
    height, color = layout.size[2], pick_color(rng, WALL)
    accent = int(rng.integers(len(layout.walls))) if rng.random() < 0.2 else -1
    other, tiled = darker(pick_color(rng, WALL, FABRIC), 0.9), 1.25 if kind == "bathroom" else 0.0
    walls = [
        wall_item(rng, wall, height, other if number == accent else color, tiled)
        for number, wall in enumerate(layout.walls)
    ]
    shell = [floor_item(rng, layout, floor_kind(rng, kind)), *walls, ceiling_item(rng, layout)]
    return join(seed, kind, layout, shell, layout.solid[layout.solid[:, 6] > LOW])
