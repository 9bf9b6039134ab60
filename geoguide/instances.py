"""Class-agnostic 3D instance masks M_i from geometry alone, or read from files (paper, IMR and IIRC).

The room's shell (floor, walls) is found as large planes with nothing behind them; what remains is merged from
superpoints that touch, at several tolerances from smooth contact to any contact. A group that stays the same over many
tolerances is a likely object: that stability is its score. No labels, no colours and no teacher are used.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.instance_metrics import MIN_POINTS, instance_ap50, mean_best_iou
from geoguide.regions import Regions, merged, room_planes


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
        if self.reach <= 0 or self.min_points < 1 or self.min_extent < 0 or self.typical_area < 0:
            raise ConfigError("instances: reach, min_points must be positive, min_extent, typical_area at least 0")
        if not self.tolerances or not all(0 <= t <= 1 for t in self.tolerances):
            raise ConfigError(f"instances: tolerances must lie in [0, 1], found {self.tolerances}")
        if not 0 < self.max_overlap <= 1:
            raise ConfigError(f"instances: max_overlap must lie in (0, 1], found {self.max_overlap}")


@dataclass(frozen=True, eq=False)
class InstanceMasks:
    """M masks over P points that may overlap, as lists of point ids.

    Mask i holds the points `index[offsets[i]:offsets[i + 1]]`; index int64 [nnz], offsets int64 [M + 1]; `scores`
    float32 [M], higher is likelier an object (all 1 where the source gives none).
    """

    index: np.ndarray
    offsets: np.ndarray
    num_points: int
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        index, offsets = self.index, self.offsets
        if index.dtype != np.int64 or offsets.dtype != np.int64 or index.ndim != 1 or offsets.ndim != 1:
            raise InputError("instance masks: index and offsets must be int64 vectors")
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(index) or (np.diff(offsets) < 0).any():
            raise InputError(f"instance masks: offsets must rise from 0 to {len(index)}")
        if index.size and (index.min() < 0 or index.max() >= self.num_points):
            raise InputError(f"instance masks: index names points outside 0..{self.num_points - 1}")
        if self.scores is None:
            object.__setattr__(self, "scores", np.ones(len(self), dtype=np.float32))
        elif self.scores.shape != (len(self),):
            raise InputError(f"instance masks: scores must be [{len(self)}], found {list(self.scores.shape)}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sizes(self) -> np.ndarray:
        """Points in every mask, int64 [M]."""
        return np.diff(self.offsets)

    def dense(self) -> np.ndarray:
        """bool [M, P]: M * P bytes."""
        return self.sparse().toarray().astype(bool)

    def sparse(self) -> sparse.csr_matrix:
        """float32 CSR [M, P] of ones."""
        ones = np.ones(len(self.index), dtype=np.float32)
        return sparse.csr_matrix((ones, self.index, self.offsets), shape=(len(self), self.num_points))

    def take(self, which: np.ndarray) -> "InstanceMasks":
        """The masks at these positions, in this order."""
        return _from_sparse(self.sparse()[which], self.scores[which])

    @classmethod
    def from_dense(cls, masks: np.ndarray, scores: np.ndarray | None = None) -> "InstanceMasks":
        """From bool [M, P]."""
        masks = np.asarray(masks)
        if masks.ndim != 2 or masks.dtype != bool:
            raise InputError(f"masks must be bool [M, P], found {masks.dtype} {list(masks.shape)}")
        return _from_sparse(sparse.csr_matrix(masks), scores)

    @classmethod
    def from_labels(cls, instances: np.ndarray) -> "InstanceMasks":
        """One mask for each id >= 0 of int [P], in the order of ids: the oracle variant with annotated ids."""
        instances = np.asarray(instances)
        if instances.ndim != 1 or instances.dtype.kind not in "iu":
            raise InputError(f"instances must be integers [P], found {instances.dtype} {list(instances.shape)}")
        points = np.flatnonzero(instances >= 0)
        ids, row = np.unique(instances[points], return_inverse=True)
        ones = np.ones(len(points), dtype=np.float32)
        return _from_sparse(sparse.csr_matrix((ones, (row, points)), shape=(len(ids), len(instances))))


def _from_sparse(matrix: sparse.csr_matrix, scores: np.ndarray | None = None) -> InstanceMasks:
    matrix.sort_indices()
    scores = None if scores is None else np.asarray(scores, dtype=np.float32)
    return InstanceMasks(matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64), matrix.shape[1], scores)


def segment_instances(
    points: np.ndarray, normals: np.ndarray, superpoints: np.ndarray, config: InstanceConfig | None = None
) -> InstanceMasks:
    """Masks of the objects of a room (and of its floor and walls), best first; no labels are used (paper, IMR).

    points float [P, 3] metres with z up, normals float [P, 3] unit, superpoints int64 [P] ids from 0. Deterministic.
    """
    config = config or InstanceConfig()
    points, normals, superpoints = _check(points, normals, superpoints)
    regions = Regions.measure(points, normals, superpoints, config.reach)
    shell = room_planes(points, regions)  # int64 [S], -1 where a region belongs to no plane
    groups, scores = _object_groups(regions, shell < 0, config)
    if config.include_planes:
        planes = sparse.csr_matrix(shell[None, :] == np.unique(shell[shell >= 0])[:, None], dtype=np.float32)
        groups = sparse.vstack([planes, groups]).tocsr()  # [M, S]
        scores = np.concatenate([np.ones(planes.shape[0]), scores])
    member = sparse.csr_matrix(
        (np.ones(len(points), dtype=np.float32), (regions.index, np.arange(len(points)))),
        shape=(regions.count, len(points)),
    )
    masks = _from_sparse((groups @ member).tocsr(), scores)
    return _suppress(_large_enough(masks, points, config), config.max_overlap)


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
        raise InputError(
            f"superpoints must be integers [{len(points)}], found {superpoints.dtype} {list(superpoints.shape)}"
        )
    return points, np.nan_to_num(normals), superpoints


def _object_groups(regions: Regions, free: np.ndarray, config: InstanceConfig) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Connected groups of free regions at every tolerance, without repeats: CSR [G, S], and their scores [G] in [0, 1].

    The score is the share of the tolerances at which the group is the same, less for small groups.
    """
    member = np.flatnonzero(free)
    ones = np.ones(len(member), dtype=np.float32)
    found = []
    for tolerance in config.tolerances:
        ids, row = np.unique(merged(regions, free, tolerance)[member], return_inverse=True)
        found.append(sparse.csr_matrix((ones, (row, member)), shape=(len(ids), regions.count)))
    stacked = sparse.vstack(found).tocsr()  # [G, S]
    mark = np.random.default_rng(0).random(regions.count)  # a group's fingerprint is the sum of its regions' marks
    _, keep, repeats = np.unique(np.round(stacked @ mark, 9), return_index=True, return_counts=True)
    groups = stacked[keep]
    area = groups @ regions.areas
    return groups, repeats / len(config.tolerances) * area / (area + config.typical_area)


def _large_enough(masks: InstanceMasks, points: np.ndarray, config: InstanceConfig) -> InstanceMasks:
    sizes = masks.sizes()
    masks = masks.take(np.flatnonzero(sizes >= config.min_points))
    if len(masks) == 0:
        return masks
    values = points[masks.index]
    starts = masks.offsets[:-1]
    extent = np.maximum.reduceat(values, starts) - np.minimum.reduceat(values, starts)
    return masks.take(np.flatnonzero(extent.max(axis=1) >= config.min_extent))


def _suppress(masks: InstanceMasks, max_overlap: float) -> InstanceMasks:
    """Keep masks from the best score down (the larger first on a tie), none overlapping a kept one by more in IoU."""
    masks = masks.take(np.lexsort((-masks.sizes(), -masks.scores)))
    clash = iou_matrix(masks, masks) > max_overlap  # [M, M]
    keep = np.ones(len(masks), dtype=bool)
    for i in range(len(masks)):  # over masks, a few hundred
        if keep[i]:
            keep[i + 1 :] &= ~clash[i, i + 1 :]
    return masks.take(np.flatnonzero(keep))


def iou_matrix(masks: InstanceMasks, others: InstanceMasks) -> np.ndarray:
    """Intersection over union of every pair, float64 [M, N]; through one sparse product."""
    if masks.num_points != others.num_points:
        raise InputError(f"masks must be of {masks.num_points} points, found {others.num_points}")
    both = (masks.sparse() @ others.sparse().T).toarray().astype(np.float64)
    union = masks.sizes()[:, None] + others.sizes()[None, :] - both
    return both / np.maximum(union, 1.0)


def mask_quality(masks: InstanceMasks, instances: np.ndarray, *, min_points: int = MIN_POINTS) -> dict[str, float]:
    """How well masks fit the annotated instances int64 [P] (-1 none): class-agnostic AP50, mean best IoU, and counts.

    Instances and masks under `min_points` points are left out, as in ScanNet's benchmark; see `instance_metrics`.
    """
    truth = InstanceMasks.from_labels(instances)
    best = iou_matrix(masks, truth).max(axis=0, initial=0.0)
    asked = truth.sizes() >= min_points
    return {
        "ap50": instance_ap50(masks, instances, masks.scores, min_points=min_points),
        "mean_best_iou": mean_best_iou(masks, instances, min_points=min_points),
        "recall50": float((best[asked] > 0.5).mean()) if asked.any() else float("nan"),
        "masks": len(masks),
        "instances": int(asked.sum()),
    }


def read_mask_index(path: str | Path, num_points: int | None = None) -> InstanceMasks:
    """Masks written as Mask3D writes them: an index of lines "relative/mask.txt class score", a mask one 0/1 a line.

    `num_points` is the scene's point count; without it the first mask's length is taken. DataError names the mask file
    of another length, and any line that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: mask index not found")
    masks, scores = [], []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.rsplit(maxsplit=2)
        try:
            name, score = fields[0], float(fields[2])
        except (IndexError, ValueError):
            raise DataError(f"{path}: line {number} must be 'mask.txt class score', found {line!r}") from None
        mask = _read_mask(path.parent / name)
        num_points = len(mask) if num_points is None else num_points
        if len(mask) != num_points:
            raise DataError(f"{path.parent / name}: mask must have {num_points} lines, found {len(mask)}")
        masks.append(mask)
        scores.append(score)
    if num_points is None:
        raise DataError(f"{path}: mask index is empty and no point count is given")
    return InstanceMasks.from_dense(np.array(masks, dtype=bool).reshape(len(masks), num_points), np.array(scores))


def _read_mask(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DataError(f"{path}: mask file not found")
    try:
        values = np.array(path.read_text().split(), dtype=np.float64)
    except ValueError:
        raise DataError(f"{path}: mask must hold one 0 or 1 a line") from None
    if not np.isin(values, (0, 1)).all():
        raise DataError(f"{path}: mask must hold one 0 or 1 a line")
    return values.astype(bool)
