"""Rows that many points share, stored once."""

from dataclasses import dataclass

import numpy as np

WORTH = 0.7  # share of different rows below which an index pays


@dataclass(frozen=True, eq=False)
class IndexedRows:
    """An array [P, ...] whose row i is `rows[index[i]]`. Both parts may be memory-mapped.

    Frozen features of a coarse level are the same for all points of a voxel: Sonata's, at 8 cm, are one row for about
    ten points of a scan. Of a scene of which some points are kept, what all points have is read through their numbers.

    Attributes:
        rows: [R, ...], the different rows.
        index: int32 or int64 [P], the row of each point.
    """

    rows: np.ndarray
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """(P, ...)."""
        return len(self.index), *self.rows.shape[1:]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: np.ndarray | slice) -> np.ndarray:
        """Rows [p, ...] of an index array, a mask or a slice that chooses p points; no other is looked at."""
        return self.rows[self.index[chosen]]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    @staticmethod
    def compress(values: np.ndarray) -> dict[str, np.ndarray]:
        """Find the different rows of an array, where storing them once pays.

        Rows are compared by a 64-bit hash of their bytes, and then exactly. Time is O(P D + P log P).

        Args:
            values: [P, D].

        Returns:
            {"rows": [R, D], "index": int32 [P]}; {"rows": [P, D]} alone where the share of different rows is `WORTH` or
            more.
        """
        first, index = _different(values)
        if len(first) >= WORTH * len(values):
            return {"rows": values}
        return {"rows": values[first], "index": index.astype(np.int32)}

    def compressed(self) -> dict[str, np.ndarray]:
        """What `compress` gives of all P rows, of which only the R that are held are looked at.

        Returns:
            As `compress`, for rows that all have a point.
        """
        first, index = _different(self.rows)
        if len(first) >= WORTH * len(self):
            return {"rows": self[:]}
        return {"rows": self.rows[first], "index": index[self.index].astype(np.int32)}


def _different(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different rows of [N, D], in the order of a hash: the first of each, and which of these each row is.

    All rows as they are, where two that differ have the same hash.
    """
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
    raw = np.pad(raw, ((0, 0), (0, -raw.shape[1] % 8))) if raw.shape[1] % 8 else raw
    raw = raw.view(np.uint64)  # [N, words]
    factor = np.random.default_rng(0).integers(2**63, size=raw.shape[1], dtype=np.uint64) | np.uint64(1)
    _, first, index = np.unique(raw @ factor, return_index=True, return_inverse=True)
    if not np.array_equal(raw[first][index], raw):
        return np.arange(len(values)), np.arange(len(values))
    return first, index
