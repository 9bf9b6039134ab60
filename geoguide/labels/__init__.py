"""Label sets: the names a benchmark scores, the raw ids its files hold, and ScanNet's table of raw category names."""

import csv
import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.errors import ConfigError, DataError, InputError, ReadAs
from geoguide.scene import VOID
from geoguide.text_files import read_table, whole_cell

FOLDER = Path(__file__).parent
# The columns and rows of ScanNet's own table that mini rooms need; ids from 2001 on are ours, for raw names whose
# official id we could not check. Real scans come with the whole table.
CATEGORY_TABLE = FOLDER / "scannetv2-labels.combined.tsv"
LARGEST_ID = 65535  # label images hold 16 bits
GROUPS = ("head", "common", "tail")
RAW_COLUMNS = ("nyu40", "scannet_id", "raw_id")  # columns of a set's csv that hold the ids of the benchmark's files
RAW_NAMES = "nyu_class"  # the column of sets that are defined by names: Matterport3D's K most frequent


def label_set_names() -> tuple[str, ...]:
    """The label sets that there are.

    Returns:
        Names that `load_label_set` takes, sorted.
    """
    return tuple(sorted(path.stem for path in FOLDER.glob("*.csv")))


@dataclass(frozen=True, eq=False)
class LabelSet:
    """The classes of one benchmark in their official order (class id = position).

    Attributes:
        name: The label set's name, such as "scannet20".
        names: C class names.
        raw_ids: C ids of the benchmark's files, of the kind that `raw` says; empty where classes are defined by names.
        colors: uint8 [C, 3], the benchmark's own (OpenScene draws Matterport3D's "photo" black).
        group: C times "head", "common" or "tail": official for scannet200; for scannet20 and nuscenes16 our rough
            ranking by share of points in the training scenes; for Matterport3D our thirds by number of annotated
            objects.
        raw: What identifies a class in the files: "nyu40" (ids in ScanNet's `labels.ply`, Matterport3D's 21 classes),
            "scannet_id" (ids of ScanNet's raw categories, for ScanNet200), "raw_id" (1..16 of nuScenes' lidarseg
            challenge, while `labels.nuscenes` maps the 32 categories of its files), or "nyu_class" (names:
            Matterport3D's 40, 80 and 160 classes).
        raw_names: C names, where `raw` is "nyu_class"; otherwise empty.
    """

    name: str
    names: tuple[str, ...]
    raw_ids: tuple[int, ...]
    colors: np.ndarray
    group: tuple[str, ...]
    raw: str = "nyu40"
    raw_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def from_raw(self, ids: np.ndarray) -> np.ndarray:
        """Turn the ids of a benchmark's files into class ids.

        Args:
            ids: Integers of any shape.

        Returns:
            int64 of the same shape: 0..C-1, or 255 (void) for ids outside the set.

        Raises:
            InputError: No integers, or a label set that is defined by names.
        """
        self._need_ids()
        return _looked_up(ids, dict(zip(self.raw_ids, range(len(self)), strict=True)), VOID)

    def to_raw(self, labels: np.ndarray) -> np.ndarray:
        """Turn class ids into the ids of a benchmark's files, as a submission needs them.

        Args:
            labels: Integers of any shape.

        Returns:
            int64 of the same shape; 0 for void and for ids outside 0..C-1.

        Raises:
            InputError: No integers, or a label set that is defined by names.
        """
        self._need_ids()
        return _looked_up(labels, dict(enumerate(self.raw_ids)), 0)

    def from_raw_names(self, names: Sequence[str]) -> np.ndarray:
        """Turn the names of a benchmark's files into class ids; only where `raw` is "nyu_class".

        Args:
            names: n names.

        Returns:
            int64 [n]: 0..C-1, or 255 (void) for names outside the set.

        Raises:
            InputError: A label set that is defined by ids.
        """
        if not self.raw_names:
            raise InputError(f"label set {self.name} is defined by {self.raw} ids, not by names")
        position = {name: number for number, name in enumerate(self.raw_names)}
        return np.array([position.get(name, VOID) for name in names], dtype=np.int64)

    def _need_ids(self) -> None:
        if not self.raw_ids:
            raise InputError(f"label set {self.name} is defined by {self.raw} names, not by ids")


@functools.cache
def load_label_set(name: str) -> LabelSet:
    """Read a label set; it is read once, and shared by all callers.

    Args:
        name: One of `label_set_names`.

    Returns:
        The label set.

    Raises:
        ConfigError: An unknown name; the message lists the known ones.
        DataError: Its file is broken.

    Example:
        >>> labels = load_label_set("scannet20")
        >>> len(labels), labels.names[:3]
        (20, ('wall', 'floor', 'cabinet'))
        >>> labels.from_raw([1, 0, 39])  # NYU40 ids of wall, of nothing, and of "otherfurniture"
        array([  0, 255,  19])
        >>> labels.to_raw([19, 255])
        array([39,  0])
    """
    known = label_set_names()
    if name not in known:
        raise ConfigError(f"unknown label set {name!r}; known: {', '.join(known)}")
    path = FOLDER / f"{name}.csv"
    rows = read_rows(path)
    try:
        return _label_set(name, sorted(rows, key=lambda row: int(row["id"])))
    except (KeyError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a label set ({error!r})") from None


def _label_set(name: str, rows: list[dict[str, str]]) -> LabelSet:
    """The label set of these rows; KeyError names a missing column, ValueError or OverflowError a wrong number."""
    ids = [int(row["id"]) for row in rows]
    if ids != list(range(len(rows))):
        raise ValueError(f"field id must be 0..{len(rows) - 1}, each once, found {ids!r:.60}")
    colors = np.array([[int(row[channel]) for channel in ("red", "green", "blue")] for row in rows], dtype=np.uint8)
    colors.setflags(write=False)  # [C, 3], shared by every caller
    raw = next((column for column in (*RAW_COLUMNS, RAW_NAMES) if column in rows[0]), None)
    if raw is None:
        raise KeyError(f"one of {', '.join((*RAW_COLUMNS, RAW_NAMES))}")
    return LabelSet(
        name=name,
        names=tuple(row["name"] for row in rows),
        raw_ids=() if raw == RAW_NAMES else tuple(int(row[raw]) for row in rows),
        colors=colors,
        group=tuple(row["group"] for row in rows),
        raw=raw,
        raw_names=tuple(row[raw] for row in rows) if raw == RAW_NAMES else (),
    )


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a csv file of this folder.

    Args:
        path: The file, in UTF-8.

    Returns:
        Its rows, at least one, each with a value for every column.

    Raises:
        DataError: The file is missing, is no text, has no row, or a row of another length than its first line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a readable csv file ({error})") from None
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f"{path}: line {number}: expected a value for each column of the first line")
    if not rows:
        raise DataError(f"{path}: holds no row")
    return rows


@dataclass(frozen=True, eq=False)
class CategoryTable:
    """ScanNet's raw categories.

    Attributes:
        ids: Raw category name to its id.
        nyu40_of: Id of a raw category to its NYU40 id.
    """

    ids: dict[str, int]
    nyu40_of: dict[int, int]

    def nyu40(self, raw_ids: np.ndarray) -> np.ndarray:
        """Turn the ids of a `label-filt` image into NYU40 ids.

        Args:
            raw_ids: Integers of any shape.

        Returns:
            int64 of the same shape; 0 for unknown ids.

        Raises:
            InputError: No integers.
        """
        return _looked_up(raw_ids, self.nyu40_of, 0)


def _looked_up(ids: np.ndarray, values: dict[int, int], otherwise: int) -> np.ndarray:
    """The value of each id, int64 of the same shape; `otherwise` for ids without one."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise InputError(f"label ids must be integers, found {ids.dtype}")
    table = np.full(max(values) + 2, otherwise, dtype=np.int64)  # the last entry catches every unknown id
    table[list(values)] = list(values.values())
    known = (ids >= 0) & (ids < len(table) - 1)
    return table[np.where(known, ids, len(table) - 1).astype(np.int64)]


def load_category_table(path: str | Path = CATEGORY_TABLE) -> CategoryTable:
    """Read ScanNet's table of raw categories; the same file is read once, until it changes.

    Args:
        path: `scannetv2-labels.combined.tsv`: the official file, or by default the subset shipped here.

    Returns:
        The table.

    Raises:
        DataError: The file is missing, holds no category or a row that cannot be read.
    """
    try:
        state = Path(path).stat()
    except OSError:
        return _read_category_table(path, None)  # which says what is wrong with it
    return _read_category_table(path, (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=8)
def _read_category_table(path: str | Path, _state: tuple[int, int] | None) -> CategoryTable:
    """The table, once for each state of the file."""
    ids: dict[str, int] = {}
    nyu40_of: dict[int, int] = {}
    twice: list[str] = []
    for number, row in read_table(path, "category table", ("id", "raw_category", "nyu40id")):
        raw_id, nyu40 = (whole_cell(row, "id", f"{path}: line {number}"),
                         whole_cell(row, "nyu40id", f"{path}: line {number}", 0))  # fmt: skip
        twice += [row["raw_category"]] if ids.get(row["raw_category"], raw_id) != raw_id else []
        ids[row["raw_category"]], nyu40_of[raw_id] = raw_id, nyu40
        if not 0 <= raw_id <= LARGEST_ID:
            raise DataError(f"{path}: line {number}: id must be 0..{LARGEST_ID}, found {raw_id}")
    if not ids:
        raise DataError(f"{path}: holds no category")
    if twice:
        found = f"{len(twice)} names stand there again with another id, first {twice[0]!r}: the last of them counts"
        warnings.warn(f"{path}: category table: {found}", ReadAs, stacklevel=3)
    return CategoryTable(ids, nyu40_of)
