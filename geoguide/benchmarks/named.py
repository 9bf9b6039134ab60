"""Splits whose scenes are named one by one, in place of a benchmark's own (see `datasets.config.Splits`)."""

from collections.abc import Callable, Iterable, Sequence

from geoguide.datasets.config import Splits, check_apart
from geoguide.datasets.sources import SceneSource
from geoguide.datasets.splits import USUAL
from geoguide.errors import DataError

SHOWN = 5  # names in a message


def named_splits(splits: Splits, found: Sequence[SceneSource]) -> dict[str, tuple[SceneSource, ...]]:
    """Find the scenes of each split by their names.

    Args:
        splits: The names.
        found: Every scene of the data, whatever split it lies in.

    Returns:
        The scenes by split: train, val, test; in the order of the names.

    Raises:
        DataError: There is no scene of some name.
        ConfigError: A scene lies in test and in another split, once by the name of its house or drive.
    """
    by_name: dict[str, list[SceneSource]] = {}
    for source in found:
        for name in {source.name, source.listed_as}:
            by_name.setdefault(name, []).append(source)
    chosen = {split: _named(split, getattr(splits, split), by_name) for split in USUAL}
    check_apart(*(tuple(source.name for source in sources) for sources in chosen.values()))
    return chosen


def shared_rooms(
    train: Iterable[SceneSource], test: Iterable[SceneSource], room: Callable[[SceneSource], str]
) -> tuple[str, ...]:
    """Find the rooms that are trained on in one scan and scored in another.

    Args:
        train: The training scenes.
        test: The scored scenes.
        room: Which room a scene shows.

    Returns:
        The rooms, sorted.
    """
    return tuple(sorted({room(source) for source in train} & {room(source) for source in test}))


def shown(names: Sequence[str]) -> str:
    """Write names for a message of one line.

    Args:
        names: Any number of them.

    Returns:
        The first few, and how many more there are.
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _named(split: str, names: Sequence[str], by_name: dict[str, list[SceneSource]]) -> tuple[SceneSource, ...]:
    """The scenes of the names, in order; each name may stand for several."""
    unknown = [name for name in names if name not in by_name]
    if unknown:
        there = shown(sorted(by_name)) if by_name else "no scene"
        raise DataError(f"data.splits.{split}: no scene {shown(unknown)!r}; the data hold {there}")
    return tuple(dict.fromkeys(source for name in names for source in by_name[name]))
