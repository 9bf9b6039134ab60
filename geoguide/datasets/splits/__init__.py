"""The split lists of every benchmark, committed, so that what is evaluated can be told from what was trained on.

`DATASET_SPLIT.txt` holds one name a line; README.md beside it says where each list comes from.
"""

from pathlib import Path

from geoguide.errors import ConfigError

FOLDER = Path(__file__).parent


_USUAL = ("train", "val", "test")


SPLITS = {
    "scannet": _USUAL,
    "matterport3d": _USUAL,
    "nuscenes": (*_USUAL, "mini_train", "mini_val"),
    "mini-scannet": _USUAL,
    "mini-matterport3d": _USUAL,
    "mini-nuscenes": _USUAL,
}


def load_split(dataset: str, split: str) -> tuple[str, ...]:
    """Names of a split's scenes (of Matterport3D: houses), in the list's order.

    Raises `ConfigError` for an unknown data set or split.
    """
    if dataset not in SPLITS:
        raise ConfigError(f"dataset must be one of {', '.join(SPLITS)}, found {dataset!r}")
    if split not in SPLITS[dataset]:
        raise ConfigError(f"split of {dataset} must be one of {', '.join(SPLITS[dataset])}, found {split!r}")
    return tuple((FOLDER / f"{dataset}_{split}.txt").read_text().split())
