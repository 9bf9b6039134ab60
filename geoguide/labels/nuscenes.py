"""nuScenes' labels: 32 lidarseg categories to the 16 scored classes, and the finer names that stand for each class.

`nuscenes16.csv` holds the classes in the lidarseg challenge's order with OpenScene's prompt names, the devkit's names
and colours, and the categories of each; `nuscenes16/finer_names.csv` OpenScene's 43 names.
"""

import functools
from dataclasses import dataclass

import numpy as np

from geoguide.errors import DataError, InputError
from geoguide.labels import FOLDER, load_label_set, read_rows
from geoguide.ops.arrays import Array
from geoguide.scene import VOID

NAME = "nuscenes16"
# Categories that the challenge ignores; they are written out so that a category nobody knows is noticed.
IGNORED = (
    *("noise", "animal", "static.other", "vehicle.ego", "static_object.bicycle_rack"),
    *("human.pedestrian.personal_mobility", "human.pedestrian.stroller", "human.pedestrian.wheelchair"),
    *("movable_object.debris", "movable_object.pushable_pullable"),
    *("vehicle.emergency.ambulance", "vehicle.emergency.police"),
)
DISPUTED = (25, 26, 27)  # numbers of flat.other, flat.sidewalk and flat.terrain, in one order or another


@functools.cache
def category_classes() -> dict[str, int]:
    """The class of each of nuScenes' 32 lidarseg categories.

    By name, not by number: the devkit's own documents disagree on the numbers of three categories (25, 26 and 27), so
    the numbers come from the `category.json` that lies with the data.

    Returns:
        Official category name to class id: 0..15, or 255 (void).
    """
    path = FOLDER / f"{NAME}.csv"
    try:
        classes = {name: int(row["id"]) for row in read_rows(path) for name in row["categories"].split()}
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: need whole numbers as id, and categories ({error!r})") from None
    return classes | dict.fromkeys(IGNORED, VOID)


@functools.cache
def category_ids() -> dict[str, tuple[int, ...]]:
    """The numbers by which nuScenes' lidarseg files know its scored categories.

    Returns:
        Official category name to its number, 0..31; to three numbers for the three about which the documents disagree
        (see `category_classes`).

    Example:
        >>> category_ids()["vehicle.car"], category_ids()["flat.sidewalk"]
        ((17,), (25, 26, 27))
    """
    path, ids = FOLDER / f"{NAME}.csv", {}
    try:
        for row in read_rows(path):
            ids |= zip(row["categories"].split(), map(int, row["category_ids"].split()), strict=True)
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: need a whole number in category_ids for each category ({error!r})") from None
    return {name: DISPUTED if number in DISPUTED else (number,) for name, number in ids.items()}


@dataclass(frozen=True, eq=False)
class FinerNames:
    """Several text names for each class.

    Attributes:
        names: F names.
        owner: int64 [F], the class id 0..C-1 of each name.
        classes: C.
    """

    names: tuple[str, ...]
    owner: np.ndarray
    classes: int

    def __len__(self) -> int:
        return len(self.names)

    def pool(self, similarity: Array) -> Array:
        """Turn similarities to names into similarities to classes: the maximum over a class's names.

        This is how OpenScene scores nuScenes: the class of the best name is the class of the best maximum. A maximum of
        similarities is not the similarity to any pooled embedding, so embeddings [F, D] are compared with features
        first, `finer.pool(features @ embeddings.T)`.

        Args:
            similarity: [..., F], numpy array or tensor.

        Returns:
            [..., C] of the same dtype: numpy for numpy, a tensor on its device for a tensor.

        Raises:
            InputError: The last axis is not F long.
        """
        import torch  # a second; the categories above do without

        values = torch.as_tensor(similarity)
        if values.ndim == 0 or values.shape[-1] != len(self):
            raise InputError(f"similarity must be [..., {len(self)}], found {list(values.shape)}")
        owner = torch.tensor(self.owner, device=values.device).expand(values.shape)  # [..., F]
        pooled = values.new_full((*values.shape[:-1], self.classes), -torch.inf)  # [..., C]
        pooled = pooled.scatter_reduce(-1, owner, values, "amax")
        return pooled if isinstance(similarity, torch.Tensor) else pooled.numpy()


def has_finer_names(label_set: str) -> bool:
    """Whether a label set has finer names; only nuScenes' has.

    Args:
        label_set: The name of a label set.

    Returns:
        Whether `load_finer_names` takes it.
    """
    return (FOLDER / label_set / "finer_names.csv").is_file()


@functools.cache
def load_finer_names(label_set: str = NAME) -> FinerNames:
    """Read OpenScene's finer names of a label set's classes; they are read once, and shared by all callers.

    Args:
        label_set: The name of a label set for which `has_finer_names`.

    Returns:
        The names, in the order of OpenScene's file; every class has at least one.

    Raises:
        ConfigError: An unknown label set.
        DataError: The label set has no finer names, or its file does not fit its classes.
    """
    classes = load_label_set(label_set).names
    path = FOLDER / label_set / "finer_names.csv"
    if not has_finer_names(label_set):
        raise DataError(f"{path}: label set {label_set!r} has no finer names")
    rows = read_rows(path)
    absent = [column for column in ("class", "name") if column not in rows[0]]
    if absent:
        raise DataError(f"{path}: expected the columns class and name, found none called {absent[0]}")
    unknown = [row["class"] for row in rows if row["class"] not in classes]
    missing = [name for name in classes if name not in {row["class"] for row in rows}]
    if unknown or missing:
        raise DataError(f"{path}: field class: expected each class of {label_set}; unknown {unknown}, absent {missing}")
    owner = np.array([classes.index(row["class"]) for row in rows], dtype=np.int64)
    owner.setflags(write=False)  # [F], shared by every caller
    return FinerNames(tuple(row["name"] for row in rows), owner, len(classes))
