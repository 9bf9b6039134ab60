"""Matterport3D's category_mapping.tsv: what an annotated category is in NYU40, by name, and in a label set."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.errors import ConfigError, DataError
from geoguide.labels import LabelSet
from geoguide.scene import VOID
from geoguide.text_files import need_file, read_table, whole_cell

LARGEST = 65535  # label images hold 16 bits; the official table ends at 1659


@dataclass(frozen=True, eq=False)
class CategoryMapping:
    """The official table of N categories.

    Attributes:
        path: The file.
        index: Number of each category, by which the files name it (1, 2, ...), int64 [N].
        raw: Raw name of each category [N].
        nyu40: NYU40 id of each category, 0 for none, int64 [N].
        nyu_class: Its nyuClass, a name [N].
    """

    path: Path
    index: np.ndarray
    raw: tuple[str, ...]
    nyu40: np.ndarray
    nyu_class: tuple[str, ...]

    def classes(self, labels: LabelSet) -> np.ndarray:
        """Map the categories to the classes of a label set.

        Args:
            labels: A label set that is defined by NYU40 ids (matterport21) or by nyuClass (matterport40, 80, 160).

        Returns:
            Class id of each index, int64 [largest index + 1], 255 for void; index 0 and gaps are void.

        Raises:
            ConfigError: The label set is defined otherwise.
            DataError: The most frequent classes, which have the first numbers, are not those of the label set.
        """
        if labels.raw == "nyu40":
            classes = labels.from_raw(self.nyu40)
            self._check_nyu40(classes, labels)
        elif labels.raw == "nyu_class":
            classes = labels.from_raw_names(self.nyu_class)
            ordered = [self.nyu_class[row] for row in np.argsort(self.index, kind="stable")]  # also of a sorted table
            first = list(dict.fromkeys(name for name in ordered if name not in ("", "void", "unknown")))
            expected = labels.raw_names[: len(first)]
            if tuple(first[: len(labels)]) != expected:
                classes_there = f"the first {len(expected)} classes of column nyuClass"
                raise DataError(f"{self.path}: {classes_there} are not those of {labels.name}")
        else:
            raise ConfigError(f"label set {labels.name!r} is defined by {labels.raw}, which Matterport3D does not have")
        table = np.full(int(self.index.max()) + 1, VOID, dtype=np.int64)  # [largest index + 1]
        table[self.index] = classes
        return table

    def _check_nyu40(self, classes: np.ndarray, labels: LabelSet) -> None:
        """Refuse ids by which many categories that are called as a class of the label set belong to another one."""
        meant = {name: number for number, name in enumerate(labels.names)}
        named = [row for row, raw in enumerate(self.raw) if raw in meant and self.nyu40[row] != 0]
        wrong = [row for row in named if classes[row] != meant[self.raw[row]]]
        if len(wrong) * 4 > len(named):  # of ids modulo 20, a third
            row = wrong[0]
            found = f"{len(wrong)} of {len(named)} categories called as a class have another id than that class"
            raise DataError(f"{self.path}: column nyu40id: {found}, first {self.raw[row]!r} with {self.nyu40[row]}")


def load_category_mapping(path: Path) -> CategoryMapping:
    """Read the official category_mapping.tsv; its columns index, raw_category, nyu40id and nyuClass are used.

    Args:
        path: The file.

    Returns:
        The table; the same object for the same unchanged file, as long as it is among the last four.

    Raises:
        DataError: The file is missing, a line lacks a column or a number, an index is beyond 0..65535, or two
            categories have one index.
    """
    stat = need_file(path, "category mapping").stat()
    return _load(Path(path), (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@functools.lru_cache(maxsize=4)
def _load(path: Path, stamp: tuple[int, ...]) -> CategoryMapping:
    """The mapping in a file; `stamp` tells the versions of the file apart."""
    rows = read_table(path, "category mapping", ("index", "raw_category", "nyu40id", "nyuClass"))
    index, nyu40 = np.zeros((2, len(rows)), np.int64)  # each [N]
    for number, (line, row) in enumerate(rows):
        index[number] = whole_cell(row, "index", f"{path}: line {line}")
        nyu40[number] = whole_cell(row, "nyu40id", f"{path}: line {line}", 0)
    if not rows or index.min() < 0 or index.max() > LARGEST:
        raise DataError(f"{path}: holds no category, or an index outside 0..{LARGEST}")
    raw, nyu_class = tuple(row["raw_category"] for _, row in rows), tuple(row["nyuClass"] for _, row in rows)
    lines: dict[int, tuple[object, ...]] = {}
    for line in zip(index.tolist(), raw, nyu40.tolist(), nyu_class, strict=True):
        if lines.setdefault(line[0], line) != line:
            raise DataError(f"{path}: column index: expected one category of each number, found {line[0]} for "
                            f"{lines[line[0]][1]!r} and {line[1]!r}")  # fmt: skip
    return CategoryMapping(path, index, raw, nyu40, nyu_class)
