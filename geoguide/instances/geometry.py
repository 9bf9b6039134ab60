"""Class-agnostic 3D instance masks M_i from geometry alone, or read from files (paper, IMR and IIRC).

The room's shell (floor, walls) is found as large planes with nothing behind them; what remains is merged from
superpoints that touch, at several tolerances from smooth contact to any contact. Superpoints that form the same group
at many tolerances are a likely object: the share of these tolerances, less for small groups, is its score. No labels,
no colours and no teacher are used.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields
from geoguide.instances.masks import InstanceMasks, iou_matrix
from geoguide.instances.regions import Regions, merged, room_planes
from geoguide.ops.weld import Finder, find_weld


@dataclass(frozen=True)
class InstanceConfig:
    """Not stated in the paper (it takes Mask3D's masks); chosen on the training rooms of mini-ScanNet."""

    reach: float = 0.08  # metres: points closer than this are in contact
    tolerances: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
    """Contact roughness up to which parts merge: 0 smooth, convex edges below 0.5, concave ones above."""
    typical_area: float = 0.5  # m^2: a mask of this area loses half of its score, smaller ones more
    min_points: int = 40  # smaller masks are dropped
    min_extent: float = 0.08  # metres: the longest side of a mask is at least this
    max_overlap: float = 0.7  # masks that overlap a better one by more (IoU) are dropped
    include_planes: bool = True  # the floor and the walls are masks too

    def __post_init__(self) -> None:
        check_fields(self, "instances")
        if self.reach <= 0 or self.min_points < 1 or self.min_extent < 0 or self.typical_area < 0:
            raise ConfigError("instances: reach, min_points must be positive, min_extent, typical_area at least 0")
        if not self.tolerances or not all(0 <= t <= 1 for t in self.tolerances):
            raise ConfigError(f"instances: tolerances must lie in [0, 1], found {self.tolerances}")
        if not 0 < self.max_overlap <= 1:
            raise ConfigError(f"instances: max_overlap must lie in (0, 1], found {self.max_overlap}")


def segment_instances(
    points: np.ndarray,
    normals: np.ndarray,
    superpoints: np.ndarray,
    config: InstanceConfig | None = None,
    *,
    find: Finder = find_weld,
) -> InstanceMasks:
    """Find masks of the objects of a room, and of its floor and walls; no labels are used (paper, IMR).

    Deterministic. Points of equal position in one superpoint count once, with their mean normal (see `find_weld`); a
    mask holds all of them or none.

    Args:
        points: float [P, 3] metres, z up.
        normals: float [P, 3], unit length.
        superpoints: integer [P], ids from 0.
        config: Sizes and tolerances; None takes the defaults.
        find: How equal positions are found.

    Returns:
        M masks with scores in [0, 1], best first.

    Raises:
        InputError: Other shapes or dtypes, no points, or points that are not finite.
    """
    config = config or InstanceConfig()
    points, normals, superpoints = _check(points, normals, superpoints)
    weld = find(points)
    if weld is None:
        return _segment_distinct(points, normals, superpoints, config)
    weld = weld.apart(superpoints)
    masks = _segment_distinct(weld.mean(points), weld.directions(normals), superpoints[weld.first], config)
    return InstanceMasks.from_sparse(masks.sparse()[:, weld.index], masks.scores)


def _segment_distinct(
    points: np.ndarray, normals: np.ndarray, superpoints: np.ndarray, config: InstanceConfig
) -> InstanceMasks:
    regions = Regions.measure(points, normals, superpoints, config.reach)
    shell = room_planes(points, regions)  # int64 [S], -1 where a region belongs to no plane
    groups, scores = _object_groups(regions, shell < 0, config)
    if config.include_planes:
        planes = sparse.csr_matrix(shell[None, :] == np.unique(shell[shell >= 0])[:, None], dtype=np.float32)
        groups = sparse.vstack([planes, groups]).tocsr()  # [M, S]
        scores = np.concatenate([np.ones(planes.shape[0]), scores])
    member = InstanceMasks.from_labels(regions.index).sparse()  # [S, P]
    # No name holds the masks of one step while the next makes its own: of a large scan they take more than the points.
    return suppress(
        _large_enough(InstanceMasks.from_sparse((groups @ member).tocsr(), scores), points, config), config.max_overlap
    )


def _check(points: np.ndarray, normals: np.ndarray, superpoints: np.ndarray) -> tuple[np.ndarray, ...]:
    points, normals = np.asarray(points, dtype=np.float64), np.asarray(normals, dtype=np.float64)
    superpoints = np.asarray(superpoints)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
        raise InputError(f"points must be [P, 3] with P > 0, found {list(points.shape)}")
    if not np.isfinite(points).all():
        raise InputError("points must be finite, found NaN or inf")
    if normals.shape != points.shape:
        raise InputError(f"normals must be {list(points.shape)}, found {list(normals.shape)}")
    if superpoints.shape != (len(points),) or superpoints.dtype.kind not in "iu":
        found = f"{superpoints.dtype} {list(superpoints.shape)}"
        raise InputError(f"superpoints must be integers [{len(points)}], found {found}")
    return points, np.nan_to_num(normals), superpoints


def _object_groups(regions: Regions, free: np.ndarray, config: InstanceConfig) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Connected groups of free regions over all tolerances, each once: CSR [G, S], and their scores [G] in [0, 1].

    The score is the share of the tolerances at which the group is the same, less for small groups.
    """
    member = np.flatnonzero(free)
    ones = np.ones(len(member), dtype=np.float32)
    at_tolerance = []
    for tolerance in config.tolerances:
        ids, row = np.unique(merged(regions, free, tolerance)[member], return_inverse=True)
        at_tolerance.append(sparse.csr_matrix((ones, (row, member)), shape=(len(ids), regions.count)))
    stacked = sparse.vstack(at_tolerance).tocsr()  # [G, S]
    mark = np.random.default_rng(0).random(regions.count)  # a group's fingerprint is the sum of its regions' marks
    _, keep, repeats = np.unique(np.round(stacked @ mark, 9), return_index=True, return_counts=True)
    groups = stacked[keep]
    area = groups @ regions.areas  # [G] m^2
    return groups, repeats / len(config.tolerances) * area / (area + config.typical_area)


def _large_enough(masks: InstanceMasks, points: np.ndarray, config: InstanceConfig) -> InstanceMasks:
    masks = masks.take(np.flatnonzero(masks.sizes() >= config.min_points))
    if len(masks) == 0:
        return masks
    extent, starts = np.zeros(len(masks)), masks.offsets[:-1]  # [M]
    for along in points.T:  # masks overlap: of all axes at once this is many times the points
        values = along[masks.index]  # [nnz]
        extent = np.maximum(extent, np.maximum.reduceat(values, starts) - np.minimum.reduceat(values, starts))
    return masks.take(np.flatnonzero(extent >= config.min_extent))


def suppress(masks: InstanceMasks, max_overlap: float = 0.7) -> InstanceMasks:
    """Sort masks, best first, and drop those that overlap a better one that stays.

    Args:
        masks: M masks; the better one has the higher score, on a tie the larger size.
        max_overlap: IoU above which a mask is dropped.

    Returns:
        Those that stay.
    """
    masks = masks.take(np.lexsort((-masks.sizes(), -masks.scores)))
    overlap = iou_matrix(masks, masks)  # [M, M]
    keep = np.ones(len(masks), dtype=bool)
    for i in range(len(masks)):  # over masks, a few hundred of a room
        own = slice(*overlap.indptr[i : i + 2])
        if keep[i]:
            worse = overlap.indices[own][overlap.data[own] > max_overlap]
            keep[worse[worse > i]] = False
    return masks.take(np.flatnonzero(keep))
