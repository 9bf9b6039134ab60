"""A large cloud in square tiles of its plan, each with a halo of its neighbours' points, so that memory is a tile's.

Tiles and halos are whole numbers of *steps*, the coarsest cell of whatever grid is laid over the points: no cell is
ever cut by an edge.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MOST = 600_000  # points, or voxels, of a tile with its halo: this bounds what is computed of them
FROM = 1_000_000  # points from which a cloud is cut into tiles, where nobody says (measured: results/large_cloud.json)
ROWS = 1 << 18  # points whose steps are computed at a time


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile of a cloud.

    Attributes:
        rows: int64 [n], the points of the tile and its halo, ascending.
        own: bool [n], which of them lie in the tile itself.
    """

    rows: np.ndarray
    own: np.ndarray


@dataclass(frozen=True, eq=False)
class Tiling:
    """A cloud's points by tile.

    Attributes:
        edge: Steps along a tile's side.
        halo: Steps around a tile.
        step: int32 [P, 2], the step of each point in the plan, from 0.
    """

    edge: int
    halo: int
    step: np.ndarray

    def __iter__(self) -> Iterator[Tile]:
        """The tiles that hold points, by x, then y. O(P) beside the points, O(n) for a tile."""
        wide = int(self.step.max()) + 1
        edge, halo = min(self.edge, wide), min(self.halo, wide)  # what reaches over all points is as good as any larger
        tile = self.step // edge  # [P, 2]
        lines, columns = (tile.max(axis=0) + 1).tolist()
        key = tile[:, 0] * columns + tile[:, 1]  # [P]
        order = np.argsort(key, kind="stable").astype(np.int32)
        found, starts = np.unique(key[order], return_index=True)
        ends = dict(zip(found.tolist(), zip(starts, np.append(starts[1:], len(order)), strict=True), strict=True))
        reach = -(-halo // edge)
        for number in found.tolist():
            x, y = divmod(number, columns)
            across, along = (range(max(k - reach, 0), min(k + reach + 1, n)) for k, n in ((x, lines), (y, columns)))
            near = [i * columns + j for i in across for j in along]
            rows = np.concatenate([order[slice(*ends[other])] for other in near if other in ends])
            low = np.array([x, y]) * edge - halo
            step = self.step[rows]
            rows = np.sort(rows[((step >= low) & (step < low + edge + 2 * halo)).all(axis=1)])
            yield Tile(rows.astype(np.int64), (self.step[rows] // edge == (x, y)).all(axis=1))

    def __len__(self) -> int:
        """How many tiles hold points."""
        tile = self.step // min(self.edge, int(self.step.max()) + 1)
        return len(np.unique(tile[:, 0].astype(np.int64) << 32 | tile[:, 1]))


def plan_steps(points: np.ndarray, corner: np.ndarray, size: float) -> np.ndarray:
    """Number the steps of points in the plan.

    Args:
        points: float [P, 3] metres.
        corner: float [2], the lowest x and y that a step may begin at.
        size: Edge of a step, metres.

    Returns:
        int32 [P, 2], at least 0.
    """
    found = np.empty((len(points), 2), np.int32)
    for start in range(0, len(points), ROWS):
        part = points[start : start + ROWS, :2].astype(np.float64)
        found[start : start + ROWS] = np.floor((part - corner) / size)
    return found


def tiling(
    step: np.ndarray,
    halo: int,
    edge: int | None = None,
    *,
    counted: np.ndarray | None = None,
    most: int = MOST,
    shrink: bool = False,
) -> Tiling:
    """Choose the size of tiles.

    Args:
        step: int32 [P, 2], the step of each point in the plan, from 0.
        halo: Steps around a tile.
        edge: Steps along a tile's side; None for the largest power of two with which no tile holds more than `most`,
            its halo included, but at least the halo.
        counted: int [V, 2], the steps of what takes the memory, such as voxels; None for the points.
        most: Of them in a tile.
        shrink: Whether the halo may be smaller where the smallest tile would hold more: as large as it can be then.

    Returns:
        The tiling.
    """
    if edge is not None:
        return Tiling(edge, halo, step)
    counted = step if counted is None else counted
    width = counted.max(axis=0).astype(np.int64) + 1
    count = np.bincount(counted[:, 0].astype(np.int64) * width[1] + counted[:, 1], minlength=int(width.prod()))
    total = np.zeros(width + 1, np.int64)  # of the steps below and left of each corner
    total[1:, 1:] = count.reshape(width).cumsum(0).cumsum(1)
    wide = int(width.max())
    near = min(halo, wide)  # one that reaches over everything holds as much as any larger
    while shrink and near > 0 and _fullest(total, _smallest(near), near) > most:
        near -= 1
    halo = near if near < wide else halo
    edge = 1 << (wide - 1).bit_length()
    while edge // 2 >= max(halo, 1) and _fullest(total, edge, near) > most:
        edge //= 2
    return Tiling(edge, halo, step)


def _smallest(halo: int) -> int:
    """The smallest edge beside a halo, in steps."""
    return 1 << (max(halo, 1) - 1).bit_length()


def _fullest(total: np.ndarray, edge: int, halo: int) -> int:
    """Points of the fullest tile, its halo included, by the sums `total` [X + 1, Y + 1]."""
    ends = []
    for width in np.array(total.shape) - 1:
        starts = np.arange(0, width, edge)
        ends.append((np.maximum(starts - halo, 0), np.minimum(starts + edge + halo, width)))
    (left, right), (low, high) = ends
    inside = total[np.ix_(right, high)] - total[np.ix_(left, high)] - total[np.ix_(right, low)]
    return int((inside + total[np.ix_(left, low)]).max())
