"""Names of the things in the training worlds: which are seen, a coarser name and a synonym of each (`names.csv`)."""

import functools
from dataclasses import dataclass
from pathlib import Path

from geoguide.errors import DataError
from geoguide.labels import read_rows

FILE = Path(__file__).parent / "names.csv"


@dataclass(frozen=True)
class Name:
    """A name of one kind of world.

    Attributes:
        raw: The category as the worlds call it.
        name: As the text says it.
        coarse: A name that several share.
        seen: False where no training world shows such a thing.
        synonym: Other words for it; "" for none.
    """

    raw: str
    name: str
    coarse: str
    seen: bool
    synonym: str


@functools.cache
def names_of(kind: str) -> tuple[Name, ...]:
    """The names of a kind of world, in the order that label images number them.

    Args:
        kind: "rooms" or "streets".

    Returns:
        The names.

    Raises:
        DataError: The file is broken, or knows no such kind.
    """
    try:
        found = tuple(
            Name(row["raw"], row["name"], row["coarse"], {"yes": True, "no": False}[row["seen"]], row["synonym"])
            for row in read_rows(FILE) if row["world"] == kind
        )  # fmt: skip
    except KeyError as error:
        raise DataError(f"{FILE}: need world, raw, name, coarse, seen (yes, no) and synonym ({error})") from None
    if not found:
        raise DataError(f"{FILE}: no names of {kind}")
    return found
