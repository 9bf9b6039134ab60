"""Superpoints by Voxel Cloud Connectivity Segmentation, which GGSD has (Papon et al., CVPR 2013).

Points become voxels, and voxels that touch by a face, an edge or a corner are adjacent. Seeds are the occupied voxels
nearest to the centres of a coarse grid. From all seeds at once, clusters flow outward over adjacent voxels, level by
level; a voxel belongs to the cluster that came by with the least distance

    D = sqrt(w_color (|Lab - Lab_c| / 100)^2 + w_space |p - p_c|^2 / (3 R^2) + w_normal (1 - |n . n_c|)^2)

to its centre, where R is the seeds' spacing. Centres are then the means of their clusters, and all flows again.

Where we differ from the paper: its last term compares histograms of the geometry around voxels (FPFH), ours normals, as
the Point Cloud Library's program does, whose weights ours are; the unit of colour is ours (the range of L). Seeds are
not moved to smoother places and none is taken for noise. All clusters of a level move at the same time, so that their
numbers decide only between equal distances. What a neighbour's flow cuts off its cluster is a superpoint of its own,
and small ones join the most similar one that they touch: every superpoint is connected.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from geoguide.errors import InputError
from geoguide.frozen import check_fields
from geoguide.ops.arrays import as_config_error, coordinates, number, whole
from geoguide.ops.compiled import compiled
from geoguide.ops.union_find import find_root, join_roots
from geoguide.ops.voxels import unique_cells

if TYPE_CHECKING:  # scipy and scikit-image are slow to import, and the default superpoints do without
    from scipy import sparse

DEPTH = 1.8  # levels that a cluster flows, times spacing over voxel: as the Point Cloud Library
_LAB = 100.0  # the unit of colour: black to white in CIELAB
_HALF = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])[
    14:
]  # 13 of 26: (x, y, z) > 0


@dataclass(frozen=True)
class VCCSConfig:
    """Voxels, seeds and distance of `segment_voxels`; GeoGuide does not use it, and GGSD states none of the values.

    Attributes:
        voxel: Metres; at least the distance of neighbouring points, or nothing is connected.
        spacing: Metres between seeds: superpoints are about as wide.
        color: Weight of the distance of colours.
        space: Weight of the distance of positions.
        normal: Weight of the distance of normals.
        iterations: How often clusters flow, at most.

    Raises:
        ConfigError: A number is out of range.
    """

    voxel: float = 0.06
    spacing: float = 0.4
    color: float = 0.2
    space: float = 0.4
    normal: float = 1.0
    iterations: int = 5

    def __post_init__(self) -> None:
        check_fields(self, "superpoints.vccs")
        with as_config_error("superpoints.vccs"):
            for field in fields(self):
                if field.name != "iterations":
                    number(field.name, getattr(self, field.name))
            whole("iterations", self.iterations, 1)
            if not 0 < self.voxel <= self.spacing:
                raise InputError(f"voxel must be above 0 and at most spacing {self.spacing}, found {self.voxel}")


@dataclass(frozen=True, eq=False)
class _Voxels:
    """V voxels in the order of their cells, and E pairs of adjacent ones.

    `place` float64 [V, 3], `lab` float64 [V, 3], `normal` float64 [V, 3] of either sign; `points` int64 [V], how many
    points each holds; `of_point` int64 [P]; `pairs` int64 [E, 2], first < second, sorted.
    """

    place: np.ndarray
    lab: np.ndarray
    normal: np.ndarray
    points: np.ndarray
    of_point: np.ndarray
    pairs: np.ndarray

    def neighbours(self) -> "sparse.csr_matrix":
        """The pairs both ways, [V, V]."""
        from scipy import sparse

        a, b = self.pairs.T
        both = (np.ones(2 * len(a), np.int8), (np.r_[a, b], np.r_[b, a]))
        graph = sparse.csr_matrix(both, shape=(len(self.place),) * 2)
        graph.sort_indices()
        return graph


def segment_voxels(
    points: np.ndarray, colors: np.ndarray, normals: np.ndarray, config: VCCSConfig | None = None, *, min_size: int = 20
) -> np.ndarray:
    """Split a cloud into superpoints by Voxel Cloud Connectivity Segmentation (see the top of this file).

    The partition does not depend on the order of the points. O(P log P) time for the voxels; each of the iterations
    flows over 26 neighbours of each of V voxels, which the few clusters nearby reach: O(V R / voxel) at worst.

    Args:
        points: [P, 3] metres, array or tensor.
        colors: [P, 3] in [0, 1].
        normals: [P, 3], of unit length and either sign.
        config: Sizes and weights; None for the defaults.
        min_size: Points that a superpoint has at least, where it touches another.

    Returns:
        numpy int64 [P], ids 0..S-1 in the order of first appearance; points of a voxel share theirs.

    Raises:
        InputError: Wrong shapes, nan or inf, no points, colours outside [0, 1], or more than 2^62 voxels in the
            bounding box.

    Example:
        A floor and a wall beside it, of one colour:

        >>> import numpy as np
        >>> x, y = (a.ravel() for a in np.meshgrid(np.arange(0.05, 1, 0.1), np.arange(0.05, 1, 0.1)))
        >>> floor, wall = np.stack([x + 0.1, y, 0 * x], axis=1), np.stack([0 * x, y, x], axis=1)
        >>> points, normals = np.concatenate([floor, wall]), np.repeat([[0.0, 0, 1], [1.0, 0, 0]], 100, axis=0)
        >>> found = segment_voxels(points, np.ones((200, 3)), normals, VCCSConfig(0.1, 0.5))
        >>> len(np.intersect1d(found[:100], found[100:]))
        0
    """
    config = config or VCCSConfig()
    points = coordinates("points", points, filled=True)
    colors = coordinates("colors", colors, filled=True, count=len(points))
    if colors.min() < 0 or colors.max() > 1:  # in 0..255 colour alone would decide
        raise InputError(f"colors must be in [0, 1], found {colors.min():g}..{colors.max():g}")
    normals = coordinates("normals", normals, filled=True, count=len(points))
    min_size = whole("min_size", min_size, 0)
    voxels = _voxels(points, colors, normals, config.voxel)
    found = _joined(voxels, _clusters(voxels, config), config, min_size)[voxels.of_point]  # [P]
    _, first, ids = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[ids.reshape(-1)]


def _voxels(points: np.ndarray, colors: np.ndarray, normals: np.ndarray, size: float) -> _Voxels:
    cell = np.floor(points / size)
    cell = (cell - cell.min(axis=0)).astype(np.int64)  # [P, 3]
    first, of_point = unique_cells(cell)
    from skimage.color import rgb2lab

    lab = rgb2lab(colors)  # [P, 3]
    # Sums in an order of their own, so that the order of the points does not change the last bit.
    order = np.lexsort([*lab.T, *normals.T, *points.T, of_point])
    starts = np.r_[0, np.cumsum(np.bincount(of_point))[:-1]]
    count = np.bincount(of_point)
    outer = (normals[:, :, None] * normals[:, None]).reshape(-1, 9)
    place, lab, outer = (np.add.reduceat(v[order], starts) / count[:, None] for v in (points, lab, outer))
    return _Voxels(place, lab, _axes(outer), count, of_point, _adjacent(cell[first]))


def _axes(outer: np.ndarray) -> np.ndarray:
    """The direction of mean outer products of normals [n, 9], whatever their signs: unit [n, 3]."""
    return np.linalg.eigh(outer.reshape(-1, 3, 3))[1][:, :, 2]


def _adjacent(cell: np.ndarray) -> np.ndarray:
    """Pairs of voxels, sorted by cell int64 [V, 3], that touch by a face, an edge or a corner: int64 [E, 2], sorted."""
    extent = cell.max(axis=0) + 3  # a margin on both sides, so that no neighbour wraps around
    if float(np.prod(extent.astype(np.float64))) >= 2**62:
        raise InputError(f"points span {extent.tolist()} voxels: too far apart")
    step = np.array([extent[1] * extent[2], extent[2], 1])
    key = (cell + 1) @ step  # [V], ascending
    found = []
    for shift in _HALF @ step:
        place = np.minimum(np.searchsorted(key, key + shift), len(key) - 1)
        here = np.flatnonzero(key[place] == key + shift)
        found.append(np.stack([here, place[here]], axis=1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort(pairs.T[::-1])]


def _seeds(place: np.ndarray, spacing: float) -> np.ndarray:
    """The voxels nearest to the centres of the occupied cells of the seeds' grid, int64 [S], in the cells' order."""
    cell = np.floor(place / spacing)  # [V, 3]
    away = ((place - (cell + 0.5) * spacing) ** 2).sum(axis=1)  # [V]
    _, own = unique_cells((cell - cell.min(axis=0)).astype(np.int64))
    return _first_of_each(own, away)


def _first_of_each(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The row with the least value of each group int64 [V] from 0, all of them present; the lower row among equals."""
    order = np.lexsort([value, group])
    return order[np.r_[0, np.cumsum(np.bincount(group))[:-1]]]


def _clusters(voxels: _Voxels, config: VCCSConfig) -> np.ndarray:
    """The cluster of each voxel, int64 [V]; -1 where none came by."""
    graph = voxels.neighbours()
    weights = _weights(config)
    features = np.concatenate([voxels.lab, voxels.place, voxels.normal], axis=1)  # [V, 9]
    seeds = _seeds(voxels.place, config.spacing)
    centres = features[seeds].copy()  # [S, 9]
    levels = int(DEPTH * config.spacing / config.voxel)
    owner = np.full(len(features), -1)
    for _ in range(config.iterations):
        before = owner
        owner = _flow(graph.indptr, graph.indices, features, centres, seeds, weights, levels)
        if np.array_equal(owner, before):
            break
        centres, seeds = _moved(voxels, owner)
    return owner


def _weights(config: VCCSConfig) -> np.ndarray:
    """Of the squares of the three terms of D, float64 [3]."""
    return np.array([config.color / _LAB**2, config.space / (3 * config.spacing**2), config.normal])


def _moved(voxels: _Voxels, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the clusters, and the voxel of each that is nearest to its mean; clusters without voxels are no more."""
    held = np.flatnonzero(owner >= 0)
    _, group = np.unique(owner[held], return_inverse=True)
    count = np.bincount(group)[:, None]
    outer = (voxels.normal[held, :, None] * voxels.normal[held, None]).reshape(-1, 9)
    values = np.concatenate([voxels.lab[held], voxels.place[held], outer], axis=1)
    means = np.stack([np.bincount(group, column) for column in values.T], axis=1) / count  # [S, 15]
    away = ((voxels.place[held] - means[group, 3:6]) ** 2).sum(axis=1)
    return np.concatenate([means[:, :6], _axes(means[:, 6:])], axis=1), held[_first_of_each(group, away)]


@compiled(nogil=True)
def _distance(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """D of two rows of colour, position and normal (see the top of this file)."""
    color = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2
    space = (a[3] - b[3]) ** 2 + (a[4] - b[4]) ** 2 + (a[5] - b[5]) ** 2
    bend = 1.0 - abs(a[6] * b[6] + a[7] * b[7] + a[8] * b[8])
    return np.sqrt(weights[0] * color + weights[1] * space + weights[2] * bend * bend)


@compiled(nogil=True)
def _flow(
    starts: np.ndarray,
    neighbours: np.ndarray,
    features: np.ndarray,
    centres: np.ndarray,
    seeds: np.ndarray,
    weights: np.ndarray,
    levels: int,
) -> np.ndarray:
    """Flow all clusters outward from their seeds, level by level; the cluster of each voxel, -1 for none."""
    count = len(features)
    owner, least = np.full(count, -1), np.full(count, np.inf)
    claim, price = np.full(count, -1), np.full(count, np.inf)  # of the level that is being flowed
    front = np.full(count, -1)
    front[: len(seeds)] = seeds  # they differ: two clusters have no voxel in common
    fresh = len(seeds)
    for s in range(fresh):
        owner[seeds[s]], least[seeds[s]] = s, _distance(features[seeds[s]], centres[s], weights)
    for _ in range(levels):
        claimed = _claimed(starts, neighbours, features, centres, weights, owner, least, claim, price, front[:fresh])
        fresh = len(claimed)
        for c in range(fresh):
            v = claimed[c]
            owner[v], least[v] = claim[v], price[v]
            claim[v], front[c] = -1, v
        if fresh == 0:
            break
    return owner


@compiled(nogil=True)
def _claimed(
    starts: np.ndarray,
    neighbours: np.ndarray,
    features: np.ndarray,
    centres: np.ndarray,
    weights: np.ndarray,
    owner: np.ndarray,
    least: np.ndarray,
    claim: np.ndarray,
    price: np.ndarray,
    front: np.ndarray,
) -> np.ndarray:
    """Voxels that the clusters of the front claim in one level; `claim` and `price` say which and at what distance."""
    found, many = np.empty(len(owner), np.int64), 0
    for v in front:
        s = owner[v]
        for u in neighbours[starts[v] : starts[v + 1]]:
            if owner[u] == s:
                continue
            distance = _distance(features[u], centres[s], weights)
            if distance >= least[u]:
                continue
            if claim[u] < 0:
                found[many] = u
                many += 1
            if claim[u] < 0 or distance < price[u] or (distance == price[u] and s < claim[u]):
                claim[u], price[u] = s, distance
    return found[:many]


def _joined(voxels: _Voxels, owner: np.ndarray, config: VCCSConfig, min_size: int) -> np.ndarray:
    """Connected superpoints, int64 [V]: the connected parts of the clusters, small ones joined to a similar one."""
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    a, b = voxels.pairs.T
    same = owner[a] == owner[b]
    count = len(owner)
    inside = sparse.coo_matrix((np.ones(same.sum(), np.int8), (a[same], b[same])), shape=(count, count))
    _, part = connected_components(inside, directed=False)
    parts = part[voxels.pairs[~same]].astype(np.int64)  # pairs within a cluster lie in one part
    if not len(parts):
        return part
    parts = np.unique(np.sort(parts, axis=1), axis=0)  # [B, 2]
    size = np.bincount(part, voxels.points).astype(np.int64)
    centres, _ = _moved(voxels, part)
    unlike = np.sqrt(_squares(centres[parts[:, 0]], centres[parts[:, 1]]) @ _weights(config))  # [B]
    order = np.lexsort([parts[:, 1], parts[:, 0], unlike])
    return _absorbed(size, parts[order], min_size)[part]


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The three terms of D squared, without weights, of rows [n, 9]: [n, 3]."""
    off = (a - b)[:, :6].reshape(-1, 2, 3)
    bend = 1 - np.abs((a[:, 6:] * b[:, 6:]).sum(axis=1))
    return np.column_stack([(off**2).sum(axis=2), bend**2])


@compiled(nogil=True)
def _absorbed(size: np.ndarray, pairs: np.ndarray, min_size: int) -> np.ndarray:
    """Join parts of fewer than `min_size` points with one that they touch, in the order of the pairs; a part's root."""
    count = len(size)
    parent, rank, size = np.arange(count), np.zeros(count, np.int64), size.copy()
    for p in range(len(pairs)):
        a, b = find_root(parent, pairs[p, 0]), find_root(parent, pairs[p, 1])
        if a != b and (size[a] < min_size or size[b] < min_size):
            join_roots(parent, rank, size, a, b)
    for i in range(count):
        parent[i] = find_root(parent, i)
    return parent
