"""The vocabulary of the generated houses: one row of `vocabulary.csv` for each of Matterport3D's 160 classes.

A row says by which shape program (`family`) a name is built, its sizes, palettes, where it stands and how often. Sizes
and colours of one family overlap between names, so that unlike objects share shapes. Small things are drawn a little
larger than life: a light switch of 8 cm leaves no trace in a mesh of 5 cm voxels.

Frequencies follow Zipf's law over Matterport3D's own order (15 / rank^0.85 a house). What is expected less than once a
house is dealt round-robin over house numbers, at least once in every `PERIOD` of them: any `PERIOD` consecutive houses
hold all 160 names, and houses stay the same when a split gets more of them.

The NYU40 ids of the names are our choice, after ScanNet's table.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.errors import ConfigError
from geoguide.labels import load_label_set
from geoguide.worlds import palette

VOCABULARY_TABLE = Path(__file__).with_name("vocabulary.csv")
LABELS = "matterport160"  # label set of the names, which gives their order
PERIOD = 6  # houses within which every name comes at least once
BASE_ROOMS = ("living", "bedroom", "bathroom", "kitchen")
EXTRA_ROOMS = ("office", "garage", "hall")  # house number n has EXTRA_ROOMS[n % 3]
PLACE_KINDS = ("shell", "back", "floor", "free", "wall", "ceiling", "top", "soft")
PALETTES = {name.lower(): getattr(palette, name) for name in dir(palette) if name.isupper() and name != "RAW_TO_NYU40"}
Range = tuple[float, float]  # metres


@dataclass(frozen=True)
class Entry:
    """One name of the vocabulary.

    Attributes:
        name: The name, one of Matterport3D's 160 classes.
        nyu40: Its NYU40 id.
        family: The shape program that builds it.
        place: "back" (with its back to a wall), "floor" (there or free), "free", "wall" (hung), "ceiling", "top" (on
            furniture), "soft" (on beds and sofas) or "shell" (part of the building, made with the rooms).
        rooms: Types of the rooms it suits, or "any".
        per_house: Expected number of objects in a house.
        width: Smallest and largest width, metres.
        depth: Smallest and largest depth, metres.
        height: Smallest and largest height, metres.
        bottom: Smallest and largest height that it hangs at, metres.
        colors: Its palettes.
    """

    name: str
    nyu40: int
    family: str
    place: str
    rooms: tuple[str, ...]
    per_house: float
    width: Range
    depth: Range
    height: Range
    bottom: Range
    colors: tuple[tuple[palette.Color, ...], ...]

    def turn(self, house: int) -> tuple[int, float]:
        """Where a house stands among those that have a room for the name.

        Args:
            house: Number of the house.

        Returns:
            How many of the houses before it have a room for the name, and what share of all houses does.
        """
        if {*self.rooms} & {*BASE_ROOMS, "any"}:
            return house, 1.0
        having = [number for number, kind in enumerate(EXTRA_ROOMS) if kind in self.rooms]
        rounds, position = divmod(house, len(EXTRA_ROOMS))
        return rounds * len(having) + sum(n < position for n in having), len(having) / len(EXTRA_ROOMS)

    def suits(self, room: str) -> bool:
        """Whether objects of the name belong in a room.

        Args:
            room: Type of the room.

        Returns:
            True where they do.
        """
        return room in self.rooms or "any" in self.rooms


def room_types(house: int, regions: int) -> tuple[str, ...]:
    """The types of a house's rooms.

    Args:
        house: Number of the house.
        regions: How many rooms it has.

    Returns:
        The first `regions` - 1 of `BASE_ROOMS`, and its extra room.
    """
    return (*BASE_ROOMS[: regions - 1], EXTRA_ROOMS[house % len(EXTRA_ROOMS)])


@functools.cache
def load_vocabulary(path: Path = VOCABULARY_TABLE) -> tuple[Entry, ...]:
    """Read the vocabulary.

    Args:
        path: The table, a csv file with one row a name.

    Returns:
        All entries, in the order of the 160 classes.

    Raises:
        ConfigError: The table does not hold exactly these names in this order, or names an unknown place or room.
    """
    with path.open(newline="") as file:
        entries = tuple(map(_entry, csv.DictReader(file)))
    expected = load_label_set(LABELS).raw_names
    if tuple(entry.name for entry in entries) != expected:
        raise ConfigError(f"{path}: must hold the {len(expected)} names of {LABELS} in their order")
    return entries


def _entry(row: dict[str, str]) -> Entry:
    """One row of the table."""
    rooms, place = tuple(row["rooms"].split("|")), row["place"]
    unknown = {*rooms} - {*BASE_ROOMS, *EXTRA_ROOMS, "any"} | {place} - {*PLACE_KINDS}
    if unknown:
        raise ConfigError(f"vocabulary: {row['name']}: unknown {', '.join(sorted(unknown))}")
    sizes = (_metres(row[column]) for column in ("width", "depth", "height", "bottom"))
    colors = tuple(PALETTES[name] for name in row["colors"].split("|"))
    return Entry(row["name"], int(row["nyu40"]), row["family"], place, rooms, float(row["per_house"]), *sizes, colors)


def _metres(text: str) -> Range:
    """A range of the table, "35-60" or "40" centimetres; empty for parts of the building."""
    low, _, high = (text or "0").partition("-")
    return float(low) / 100, float(high or low) / 100


def deal(house: int, rooms: tuple[str, ...], rng: np.random.Generator) -> list[Entry]:
    """Deal out the objects of a house.

    Args:
        house: Number of the house, which decides what rare names it holds.
        rooms: Types of its rooms.
        rng: Source of the numbers of frequent names.

    Returns:
        One entry for each object that the house is to hold; parts of the building are left out.
    """
    dealt: list[Entry] = []
    for rank, entry in enumerate(load_vocabulary()):
        if entry.place != "shell" and any(map(entry.suits, rooms)):
            dealt += [entry] * _count(entry, rank, house, rng)
    return dealt


def _count(entry: Entry, rank: int, house: int, rng: np.random.Generator) -> int:
    """How many of an entry: drawn around its frequency when that is one or more, else one in each n-th house."""
    turn, share = entry.turn(house)
    expected = entry.per_house / share  # it can only be where its room is
    if expected >= 1:
        return int(expected) + int(rng.random() < expected % 1)
    period = min(round(1 / expected), int(PERIOD * share))
    return int(turn % period == rank % period)
