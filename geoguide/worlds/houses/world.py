"""The world of mini-Matterport3D: `generate_house(seed, number)` draws one furnished house of several rooms.

Rooms stand in two rows, back to back, 20 cm of wall between them; every room is reached from every other through
doorways one can see through. Each room is one region of Matterport3D.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from geoguide.errors import InputError
from geoguide.worlds.houses.contents import HouseFurnisher, assemble, furnish
from geoguide.worlds.interior import FurnishedRoom, Interior
from geoguide.worlds.layout import RoomLayout
from geoguide.worlds.openings import REVEAL
from geoguide.worlds.sight import camera_places, hidden
from geoguide.worlds.things.vocabulary import deal, room_types

ROOM_SIZES = {  # metres: least and greatest width and depth
    "living": (4.2, 5.2, 3.8, 4.6), "bedroom": (3.6, 4.6, 3.4, 4.2), "bathroom": (2.6, 3.4, 2.4, 3.2),
    "kitchen": (3.4, 4.4, 3.2, 4.0), "office": (3.4, 4.4, 3.2, 4.0), "garage": (4.8, 5.4, 4.4, 5.0),
    "hall": (4.0, 5.0, 3.4, 4.2),
}  # fmt: skip
CEILING = (2.4, 2.7)  # metres: lowest and highest
ROOM_GAP = 2 * REVEAL  # metres between the wall surfaces of two neighbours: their reveals meet in the middle
MAX_REGIONS = 5
HOUSE_ATTEMPTS = 40  # houses drawn at most
DRAWS = 6  # usable houses drawn at most, of which the one that loses fewest objects is kept
CAMERA_CELLS = 12  # a house with a room of fewer connected free places for a camera is drawn again
SOUTH, EAST, NORTH, WEST = range(4)  # order of a layout's walls


@dataclass(frozen=True, eq=False)
class FurnishedHouse(Interior):
    """A furnished house of R rooms.

    Attributes:
        number: Number of the house, which decides what rare names it holds.
        rooms: The rooms, each in a frame of its own.
        offsets: Where the frames of the rooms start in that of the house, float64 [R, 3].
        missing: Names that were dealt to the house but found no place.
    """

    number: int
    rooms: tuple[FurnishedRoom, ...]
    offsets: np.ndarray
    missing: tuple[str, ...]


def generate_house(seed: int, number: int, regions: int = MAX_REGIONS) -> FurnishedHouse:
    """Draw a furnished house that depends on nothing but the arguments.

    It is drawn several times from the same seed, until no dealt object is without a place or hidden from every camera;
    of `DRAWS` usable houses the one that loses fewest objects is kept.

    Args:
        seed: Any integer >= 0.
        number: Number of the house, which decides what rare names it holds, >= 0.
        regions: Number of its rooms, 2 to `MAX_REGIONS`.

    Returns:
        The house.

    Raises:
        InputError: Arguments out of range, or no house with space for cameras in `HOUSE_ATTEMPTS` attempts.
    """
    if seed < 0 or number < 0 or not 2 <= regions <= MAX_REGIONS:
        raise InputError(f"need seed, number >= 0 and 2..{MAX_REGIONS} regions, found {seed}, {number}, {regions}")
    drawn: list[tuple[int, FurnishedHouse]] = []  # (objects lost, house)
    for attempt in range(HOUSE_ATTEMPTS):
        rng = np.random.default_rng([seed, number, attempt])
        house = _draw(rng, seed, number, regions)
        if any(len(camera_places(room)) < CAMERA_CELLS for room in house.rooms):
            continue
        drawn.append((len(house.missing) + sum(hidden(room, rng) for room in house.rooms), house))
        if drawn[-1][0] == 0 or len(drawn) == DRAWS:
            break
    if not drawn:
        raise InputError(f"seed {seed}, house {number}: no house with space for cameras in {HOUSE_ATTEMPTS} attempts")
    return min(drawn, key=lambda pair: pair[0])[1]


def _draw(rng: np.random.Generator, seed: int, number: int, regions: int) -> FurnishedHouse:
    """One furnished house; whether cameras find space and see its objects is checked by the caller."""
    kinds = room_types(number, regions)
    rooms, offsets = _plan(rng, list(rng.permutation(kinds)))
    for room in rooms:
        room.windows()
    missing = furnish(rooms, deal(number, kinds, rng), rng)
    built = tuple(assemble(rng, seed, room.kind, room.layout) for room in rooms)
    return _join(seed, number, built, offsets, missing)


def _plan(rng: np.random.Generator, kinds: list[str]) -> tuple[list[HouseFurnisher], np.ndarray]:
    """Empty rooms with their doors, and where they stand, float64 [R, 3]."""
    ceiling, layouts = float(rng.uniform(*CEILING)), []
    for kind in kinds:
        x0, x1, y0, y1 = ROOM_SIZES[kind]
        layouts.append(RoomLayout((rng.uniform(x0, x1), rng.uniform(y0, y1), ceiling), []))
    half = (len(kinds) + 1) // 2
    rows, offsets, rooms = (list(range(half)), list(range(half, len(kinds)))), np.zeros((len(kinds), 3)), {}
    for up, row in zip((True, False), rows, strict=True):
        x = 0.0
        for r in row:
            layout = layouts[r]
            offsets[r, :2] = x, ROOM_GAP / 2 if up else -ROOM_GAP / 2 - layout.size[1]
            x += layout.size[0] + ROOM_GAP
            outer = [NORTH if up else SOUTH] + [WEST] * (r == row[0]) + [EAST] * (r == row[-1])
            rooms[r] = HouseFurnisher(layout, rng, str(kinds[r]), [layout.walls[wall] for wall in outer])
    for row in rows:
        for a, b in pairwise(row):
            reach = min(layouts[a].size[1], layouts[b].size[1])
            y = (1 if row is rows[0] else -1) * (ROOM_GAP / 2 + rng.uniform(0.7, reach - 0.7))
            _connect(rng, rooms, offsets, (a, EAST), (b, WEST), np.array([offsets[b, 0] - ROOM_GAP / 2, y]))
    a, b, low, high = max(_overlaps(rows, offsets, layouts), key=lambda found: found[3] - found[2])
    at = np.array([rng.uniform(low + 0.6, high - 0.6), 0.0])
    _connect(rng, rooms, offsets, (a, SOUTH), (b, NORTH), at)
    for r in range(len(kinds)):
        if r == 0 or rng.random() < 0.4:
            rooms[r].closed_door()
    return [rooms[r] for r in range(len(kinds))], offsets


def _overlaps(
    rows: tuple[list[int], list[int]], offsets: np.ndarray, layouts: list[RoomLayout]
) -> list[tuple[int, int, float, float]]:
    """(room above, room below, x from, x to) of each pair that shares a wall of the middle line."""
    found = []
    for a in rows[0]:
        for b in rows[1]:
            low = max(offsets[a, 0], offsets[b, 0])
            high = min(offsets[a, 0] + layouts[a].size[0], offsets[b, 0] + layouts[b].size[0])
            found.append((a, b, float(low), float(high)))
    return found


def _connect(
    rng: np.random.Generator,
    rooms: dict[int, HouseFurnisher],
    offsets: np.ndarray,
    one: tuple[int, int],
    other: tuple[int, int],
    at: np.ndarray,
) -> None:
    """A doorway through the wall that two rooms (index, side) share, at a point [2] of the house's frame."""
    width, height = rng.uniform(0.85, 0.98), rng.uniform(1.98, 2.1)
    with_leaf = int(rng.integers(0, 3))  # in one room, the other, or none
    for number, (room, side) in enumerate((one, other)):
        wall = rooms[room].layout.walls[side]
        s = float((at - offsets[room, :2] - wall.start) @ wall.along)
        rooms[room].doorway(wall, s, width, height, leaf=with_leaf == number)


def _join(
    seed: int, number: int, rooms: tuple[FurnishedRoom, ...], offsets: np.ndarray, missing: tuple[str, ...]
) -> FurnishedHouse:
    """The house of some rooms: all of them as one mesh."""
    first = np.cumsum([0, *(len(room.vertices) for room in rooms)])  # [R + 1]
    first_object = np.cumsum([0, *(len(room.objects) for room in rooms)])  # [R + 1]
    return FurnishedHouse(
        seed=seed,
        number=number,
        rooms=rooms,
        offsets=offsets,
        vertices=np.concatenate([room.vertices + at for room, at in zip(rooms, offsets, strict=True)]),
        faces=np.concatenate([room.faces + start for room, start in zip(rooms, first[:-1], strict=True)]),
        face_color=np.concatenate([room.face_color for room in rooms]),
        face_object=np.concatenate([r.face_object + start for r, start in zip(rooms, first_object[:-1], strict=True)]),
        objects=tuple(item for room in rooms for item in room.objects),
        missing=missing,
    )
