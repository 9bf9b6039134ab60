"""The split lists of every benchmark, committed, so that what is evaluated can be told from what was trained on.

`DATASET_SPLIT.txt` holds one name a line; README.md beside it says where each list comes from.
"""

from collections.abc import Mapping
from pathlib import Path

from geoguide.errors import ConfigError, DataError

FOLDER = Path(__file__).parent
USUAL = ("train", "val", "test")


def _lists() -> dict[str, tuple[str, ...]]:
    """The splits of each dataset whose lists lie here, the usual ones first."""
    found: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*_*.txt"), key=lambda path: (path.stem.startswith("mini-"), path.stem)):
        dataset, _, split = path.stem.partition("_")
        found.setdefault(dataset, []).append(split)
    return {name: (*USUAL, *(split for split in splits if split not in USUAL)) for name, splits in found.items()}


SPLITS = _lists()


def load_split(dataset: str, split: str) -> tuple[str, ...]:
    """Read the committed list of a split.

    Args:
        dataset: A name in `SPLITS`.
        split: A split of this dataset.

    Returns:
        Names of the split's scenes (of Matterport3D: houses), in the list's order.

    Raises:
        ConfigError: The dataset or the split is unknown.

    Example:
        >>> load_split("nuscenes", "mini_val")
        ('scene-0103', 'scene-0916')
    """
    if dataset not in SPLITS:
        raise ConfigError(f"dataset must be one of {', '.join(SPLITS)}, found {dataset!r}")
    if split not in SPLITS[dataset]:
        raise ConfigError(f"split of {dataset} must be one of {', '.join(SPLITS[dataset])}, found {split!r}")
    return tuple((FOLDER / f"{dataset}_{split}.txt").read_text().split())


def check_lists_apart(lists: Mapping[Path, tuple[str, ...]], scored: Path) -> None:
    """Refuse lists of which one, whose scenes are scored, shares a scene with another.

    Args:
        lists: A dataset's own lists and the names in each.
        scored: That whose scenes are scored; it may be none of them.

    Raises:
        DataError: A scene of it is in another list.
    """
    for other in [path for path in lists if path != scored]:
        names = {*lists[other]}
        both = [name for name in lists.get(scored, ()) if name in names]
        if both:
            found = f"{both[0]} is in {other.name} too" + f", and {len(both) - 1} more are" * (len(both) > 1)
            raise DataError(f"{scored}: expected scenes that are in no other list, as they are scored; {found}")
