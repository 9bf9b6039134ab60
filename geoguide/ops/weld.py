"""Points that lie at the same position: what is computed from a cloud must not depend on how often a point is there.

Meshes of separate triangles (a "soup"), clouds that were merged from several files, and a LiDAR's echoes of nothing
hold positions many times. Neighbour graphs, fitted planes, means and percentiles then see the copies and not the
surface. `find_weld` finds the different positions; callers compute on these and copy the result back.
"""

from dataclasses import dataclass

import numpy as np

RARE = 0.001
"""Share of repeated points up to which a cloud is left as it is. Marching cubes give a few vertices of equal position
by chance, which their mesh joins already: at most 3 of 18,144 (0.017 %) in the 288 generated scenes."""
_CANCELLED = 1e-6  # length of a mean of unit vectors below which it has no direction


@dataclass(frozen=True, eq=False)
class Weld:
    """P points as W different positions, numbered in the order of first appearance.

    Attributes:
        first: int64 [W], the first point at each position.
        index: int64 [P], the position of each point.
    """

    first: np.ndarray
    index: np.ndarray

    def __len__(self) -> int:
        """W."""
        return len(self.first)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average the different values at each position; equal ones count once, so that copies change nothing.

        Args:
            values: float [P, D].

        Returns:
            [W, D] of the same dtype, whatever the order of the points; exactly the value where all copies agree.
        """
        welded, place, rows = self._mixed(values)
        if len(place):
            starts = np.flatnonzero(np.diff(place, prepend=-1))
            counts = np.diff(np.r_[starts, len(place)])
            welded[place[starts]] = np.add.reduceat(rows, starts) / counts[:, None]
        return welded

    def directions(self, normals: np.ndarray) -> np.ndarray:
        """Average the different normals at each position, as `mean` does, to unit length.

        Args:
            normals: float [P, 3], unit length.

        Returns:
            [W, 3] of the same dtype. Where normals cancel (the two sides of a sheet), the last of them in the order of
            x, y, z; exactly the normal where all copies agree.
        """
        welded, place, rows = self._mixed(normals)
        if len(place):
            starts = np.flatnonzero(np.diff(place, prepend=-1))
            total = np.add.reduceat(rows, starts)
            length = np.linalg.norm(total, axis=1, keepdims=True)
            last = rows[np.r_[starts[1:], len(place)] - 1]
            welded[place[starts]] = np.where(length > _CANCELLED, total / np.maximum(length, _CANCELLED), last)
        return welded

    def faces(self, faces: np.ndarray) -> np.ndarray:
        """Renumber triangles to positions, and leave out those that repeat an earlier one, whichever way they turn.

        Args:
            faces: int64 [F, 3], numbers of points.

        Returns:
            int64 [f, 3], numbers of positions, in the faces' order.
        """
        welded = self.index[faces]
        return welded[np.sort(np.unique(np.sort(welded, axis=1), axis=0, return_index=True)[1])]

    def _mixed(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first value at each position [W, D], and all different values of the positions that have several.

        The latter are positions int64 [n] and values float64 [n, D], sorted by both.
        """
        welded = values[self.first]
        mixed = np.zeros(len(self), bool)
        mixed[self.index[(values != welded[self.index]).any(axis=1)]] = True
        chosen = mixed[self.index]
        table = np.column_stack([self.index[chosen], values[chosen]]).astype(np.float64)
        table = np.unique(table, axis=0) if len(table) else table
        return welded, table[:, 0].astype(np.int64), table[:, 1:]


def find_weld(points: np.ndarray) -> Weld | None:
    """Find the different positions of a cloud; positions are equal where all three coordinates are. O(P log P).

    Args:
        points: float [P, 3], finite.

    Returns:
        The positions; None where at most the share `RARE` of the points repeats another: such a cloud is to be used as
        it is.

    Example:
        >>> weld = find_weld(np.array([[1.0, 0, 0], [0, 0, 0], [1, 0, 0]]))
        >>> weld.first.tolist(), weld.index.tolist()
        ([0, 1], [0, 1, 0])
    """
    order = np.lexsort(points.T)  # stable: of equal points the first comes first
    new = np.r_[True, (np.diff(points[order], axis=0) != 0).any(axis=1)][: len(points)]
    if len(points) - np.count_nonzero(new) <= RARE * len(points):
        return None
    first = order[new]  # [W]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    index = np.empty(len(points), np.int64)
    index[order] = rank[np.cumsum(new) - 1]
    return Weld(np.sort(first), index)
