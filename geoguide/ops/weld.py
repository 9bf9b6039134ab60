"""Points that lie at the same position: what is computed from a cloud must not depend on how often a point is there.

Meshes of separate triangles (a "soup"), clouds that were merged from several files, and a LiDAR's echoes of nothing
hold positions many times. Neighbour graphs, fitted planes, means and percentiles then see the copies and not the
surface. `find_weld` finds the different positions; callers compute on these and copy the result back.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.ops.neighbors import nearest_points

RARE = 0.001
"""Share of repeated points up to which a generated scene is left as it is (see `welding`). Marching cubes give a few
vertices of equal position by chance, which their mesh joins already: at most 3 of 18,144 (0.017 %) in the 288 generated
scenes, whose committed results were computed so. Of a real scan every repeat counts once."""
NEAR = 0.0002  # metres: positions that differ by less may be the same, registered or rounded twice
NEAR_SHARE = 0.05
"""Share of positions with another within `NEAR` above which that is no chance. Surfaces of marching cubes have vertices
so near by chance: 0.7 % of a real kitchen, 1.1 % of a real mesh of 9 mm, less in the generated scenes."""
SPARSE = 10  # times `NEAR`: median distance of joined positions below which the cloud is a scan of small things
_FACTORS = np.random.default_rng(0).integers(2**63, size=3, dtype=np.uint64) | np.uint64(1)
_CANCELLED = 1e-6  # length of a mean of unit vectors below which it has no direction


@dataclass(frozen=True, eq=False)
class Weld:
    """P points as W different positions, numbered in the order of first appearance.

    Attributes:
        first: int64 [W], the first point at each position.
        index: int64 [P], the position of each point.
        tolerance: Metres within which positions were taken as the same; 0 where only equal ones were.
    """

    first: np.ndarray
    index: np.ndarray
    tolerance: float = 0.0

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
        return each_once(self.index[faces])

    def apart(self, groups: np.ndarray) -> "Weld":
        """Keep points of different groups apart, though they lie at the same position.

        Args:
            groups: integer [P], any ids.

        Returns:
            The weld of each position's points of the same group.
        """
        ids = np.unique(groups, return_inverse=True)[1]  # [P] from 0
        return _numbered(self.index * (ids.max() + 1) + ids, self.tolerance)

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


def each_once(faces: np.ndarray) -> np.ndarray:
    """Leave out triangles that repeat an earlier one, whichever way they turn.

    Args:
        faces: int64 [F, 3].

    Returns:
        int64 [f, 3], in the same order.

    Example:
        >>> each_once(np.array([[0, 1, 2], [1, 2, 3], [2, 1, 0]])).tolist()
        [[0, 1, 2], [1, 2, 3]]
    """
    return faces[np.sort(np.unique(np.sort(faces, axis=1), axis=0, return_index=True)[1])]


Finder = Callable[[np.ndarray], Weld | None]  # of the different positions of points [P, 3], as `find_weld`


def find_weld(points: np.ndarray, rare: float = 0.0) -> Weld | None:
    """Find the different positions of a cloud. O(P log P).

    Positions are equal where all three coordinates are. Where more than `NEAR_SHARE` of the positions then still have
    another within `NEAR`, as in scans that were merged or triangles that were written with rounding, these are one too,
    unless the cloud is so dense that they may be its surface. All copies of a position lie within a few `NEAR`.

    Args:
        points: float [P, 3] metres, finite.
        rare: Share of the points that may repeat another without a word; 0 or `RARE`.

    Returns:
        The positions; None where no more than that repeats: such a cloud is to be used as it is.

    Example:
        >>> weld = find_weld(np.array([[1.0, 0, 0], [0, 0, 0], [1, 0, 0]]))
        >>> weld.first.tolist(), weld.index.tolist()
        ([0, 1], [0, 1, 0])
    """
    equal = _equal(points)
    weld = _joined(points, equal) if _crowded(points[equal.first]) else equal
    return None if len(points) - len(weld) <= rare * len(points) else weld


def _equal(points: np.ndarray) -> Weld:
    order = np.lexsort(points.T)
    new = np.r_[True, (np.diff(points[order], axis=0) != 0).any(axis=1)][: len(points)]
    if new.all():
        return Weld(np.arange(len(points)), np.arange(len(points)))
    group = np.empty(len(points), np.int64)
    group[order] = np.cumsum(new) - 1
    return _numbered(group)


def _numbered(group: np.ndarray, tolerance: float = 0.0) -> Weld:
    """The weld of any group ids int64 [P]."""
    first, index = np.unique(group, return_index=True, return_inverse=True)[1:]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return Weld(np.sort(first), rank[index], tolerance)


def _crowded(points: np.ndarray) -> bool:
    """Whether many points share a cell of four times `NEAR`: far cheaper than to look for neighbours, and rarely true.

    Of two points within `NEAR` at least 0.75 ** 3 share a cell, and one of them repeats it.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # beyond int64, where float32 itself is coarser than any cell
        cell = np.floor(points / (4 * NEAR)).astype(np.int64).astype(np.uint64)  # [W, 3]
    key = np.sort(cell @ _FACTORS)  # [W] a hash: a chance repeat is one in 2^64 or so
    return bool(np.count_nonzero(np.diff(key) == 0) > 0.75**3 * NEAR_SHARE / 2 * len(points))


def _joined(points: np.ndarray, weld: Weld) -> Weld:
    """Join positions within `NEAR`, each with its nearest, until none is left; as given where that would be wrong."""
    from scipy import sparse  # slow to import, and few clouds come here
    from scipy.sparse.csgraph import connected_components

    joined, rounds = weld, 0
    while True:
        places = points[joined.first]  # [W, 3]
        distance, nearest = nearest_points(KDTree(places), places, 2)
        near = np.flatnonzero(distance[:, -1] <= NEAR)
        if rounds == 0 and len(near) <= NEAR_SHARE * len(places):
            return weld
        if len(near) == 0 or len(places) == 1:
            return joined if np.median(distance[:, -1]) >= SPARSE * NEAR else weld
        links = sparse.coo_matrix((np.ones(len(near)), (near, nearest[near, 1])), shape=(len(places),) * 2)
        joined = _numbered(connected_components(links, directed=False)[1][joined.index], NEAR)
        rounds += 1
