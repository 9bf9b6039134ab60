"""How good class-agnostic instance masks are: average precision and mean best IoU, by the rules of ScanNet's benchmark.

Masks may overlap. The ground truth is one instance id for each point, negative where there is none. Instances of at
least `min_points` points are asked for; smaller ones cost nothing when they are missed.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from geoguide.errors import InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.ops.arrays import host, number, whole

MIN_POINTS = 100  # ScanNet: smaller ground-truth instances are not asked for, smaller masks are not looked at


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Sizes and intersections of M masks and G instances of the ground truth.

    Attributes:
        mask: int64 [n], the mask of each pair that shares a point.
        instance: int64 [n], the instance of each pair, 0..G-1 in the order of ids.
        shared: int64 [n], the number of points that each pair shares, above 0.
        mask_size: int64 [M], points of each mask.
        instance_size: int64 [G], points of each instance.
        mask_void: int64 [M], points of each mask that belong to no instance.
    """

    mask: np.ndarray
    instance: np.ndarray
    shared: np.ndarray
    mask_size: np.ndarray
    instance_size: np.ndarray
    mask_void: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """float64 [n], IoU of each pair."""
        return self.shared / (self.mask_size[self.mask] + self.instance_size[self.instance] - self.shared)


@dataclass(frozen=True, eq=False)
class Matches:
    """One scene's contribution to average precision: the n masks that count, and the instances without one.

    Attributes:
        correct: bool [n], whether a mask is the one that gets its instance.
        score: float64 [n].
        missed: The number of instances that were asked for and that no mask gets.
    """

    correct: np.ndarray
    score: np.ndarray
    missed: int


def overlaps(masks: InstanceMasks, instances: np.ndarray) -> Overlaps:
    """Intersect masks with the ground truth, by one sparse product; O(nnz) time and memory.

    Args:
        masks: M masks over P points; a point named twice in a mask counts once.
        instances: integer [P], instance ids, negative for none; they need not be consecutive.

    Returns:
        Sizes, and the pairs that share a point.

    Raises:
        InputError: Other shapes or dtypes, or masks that do not fit P points.
    """
    instances = host("instances", instances, "iu")
    if instances.ndim != 1:
        raise InputError(f"instances must be [P], found {list(instances.shape)}")
    if masks.num_points != len(instances):
        raise InputError(f"masks are over {masks.num_points} points, instances over {len(instances)}")
    member = masks.sparse().astype(np.int64)  # [M, P]
    member.sum_duplicates()
    member.data[:] = 1
    truth = InstanceMasks.from_labels(instances)  # [G, P]
    shared = (member @ truth.sparse().T.astype(np.int64)).tocoo()  # [M, G]
    mask, instance = shared.row.astype(np.int64), shared.col.astype(np.int64)  # [n] each
    mask_size, inside = (np.asarray(part.sum(axis=1)).reshape(-1) for part in (member, shared))  # [M] each
    return Overlaps(mask, instance, shared.data, mask_size, truth.sizes(), mask_size - inside)


def match_instances(
    masks: InstanceMasks,
    instances: np.ndarray,
    *,
    scores: np.ndarray | None = None,
    threshold: float = 0.5,
    min_points: int = MIN_POINTS,
) -> Matches:
    """Decide which masks are right (ScanNet's evaluate_semantic_instance, with one class).

    An instance goes to the mask of highest score whose IoU exceeds `threshold`; further masks on it are wrong. A mask
    that fits nothing is wrong, unless more than `threshold` of it lies on points without instance or on instances under
    `min_points`: then it is ignored. Under 0.5 a mask may fit several instances: the first mask that fits an instance,
    in the masks' own order, fits no later one (the benchmark's rule, so that AP25 depends on that order a little).

    Args:
        masks: M masks over P points.
        instances: integer [P], instance ids, negative for none.
        scores: [M], or None for equal ones: precision and recall then have a single point.
        threshold: IoU, above 0.
        min_points: Smaller instances are not asked for, smaller masks are not looked at.

    Returns:
        The masks that count, and the number of instances that none gets.

    Raises:
        InputError: As `overlaps`; scores of another shape or not finite, a threshold outside (0, 1], `min_points`
            below 0.
    """
    if not 0 < number("threshold", threshold) <= 1:
        raise InputError(f"threshold must be in (0, 1], found {threshold}")
    min_points = whole("min_points", min_points, 0)
    over = overlaps(masks, instances)
    scores = np.ones(len(over.mask_size)) if scores is None else host("scores", scores).astype(np.float64)
    if scores.shape != over.mask_size.shape or not np.isfinite(scores).all():
        raise InputError(f"scores must be finite [{len(over.mask_size)}], one a mask, found {list(scores.shape)}")
    asked, used = over.instance_size >= min_points, over.mask_size >= max(min_points, 1)  # [G], [M]
    fits = (over.iou > threshold) & used[over.mask]
    fits_any = np.zeros(len(scores), np.bool_)
    fits_any[over.mask[fits]] = True
    good = fits & asked[over.instance]
    mask, instance = over.mask[good], over.instance[good]
    if threshold < 0.5:
        mask, instance = _in_turn(mask, instance)
    order = np.lexsort((mask, -scores[mask], instance))  # by instance, best score first
    correct = np.diff(instance[order], prepend=-1) != 0
    unasked = over.shared * ~asked[over.instance]  # [n] points
    ignored = over.mask_void + np.bincount(over.mask, unasked, minlength=len(scores))  # [M] points
    false = used & ~fits_any & (ignored <= threshold * over.mask_size)
    correct = np.concatenate([correct, np.zeros(int(false.sum()), np.bool_)])
    score = np.concatenate([scores[mask[order]], scores[false]])
    return Matches(correct, score, int(asked.sum() - correct.sum()))


def _in_turn(mask: np.ndarray, instance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pairs [n] that are left where the first mask of each instance, in the order of masks, fits no later one."""
    order = np.lexsort((mask, instance))
    mask, instance = mask[order], instance[order]
    taken, kept = set(), np.zeros(len(mask), np.bool_)
    starts = np.flatnonzero(np.diff(instance, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(mask)], strict=False):  # over instances, some dozens
        kept[start:stop] = [one not in taken for one in mask[start:stop].tolist()]
        taken.update(mask[start:stop][kept[start:stop]][:1].tolist())
    return mask[kept], instance[kept]


def average_precision(matches: Iterable[Matches]) -> float:
    """Area under precision over recall of all scenes together, integrated as ScanNet's benchmark does.

    Args:
        matches: One for each scene.

    Returns:
        A number in [0, 1]; NaN where no instance is asked for, 0 where no mask counts.
    """
    matches = list(matches)
    correct = np.concatenate([np.zeros(0, np.bool_), *(one.correct for one in matches)])
    score = np.concatenate([np.zeros(0), *(one.score for one in matches)])
    asked = int(correct.sum()) + sum(one.missed for one in matches)
    if asked == 0:
        return float("nan")
    if len(score) == 0:
        return 0.0
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)  # where each threshold starts, ascending
    hits = np.append(np.cumsum(correct[order][::-1])[::-1][first], 0)  # right masks at or above it; last: none
    counted = np.append(len(score) - first, 1)  # masks at or above it
    precision = np.where(np.arange(len(counted)) == len(counted) - 1, 1.0, hits / counted)
    recall = hits / asked
    step = np.convolve(np.concatenate([recall[:1], recall, [0.0]]), [-0.5, 0.0, 0.5], "valid")
    return float(precision @ step)


def instance_ap50(
    masks: InstanceMasks, instances: np.ndarray, scores: np.ndarray | None = None, *, min_points: int = MIN_POINTS
) -> float:
    """Class-agnostic average precision at IoU 0.5 of one scene.

    For several scenes: `average_precision` over the `match_instances` of each.

    Args:
        masks: M masks over P points.
        instances: integer [P], instance ids, negative for none.
        scores: [M], or None for equal ones.
        min_points: Smaller instances are not asked for, smaller masks are not looked at.

    Returns:
        A number in [0, 1]; NaN where no instance is asked for.

    Raises:
        InputError: As `match_instances`.
    """
    return average_precision([match_instances(masks, instances, scores=scores, min_points=min_points)])


def mask_quality(masks: InstanceMasks, instances: np.ndarray, *, min_points: int = MIN_POINTS) -> dict[str, float]:
    """How well the masks of one scene fit its annotated instances, as a record holds it.

    Args:
        masks: M masks over P points, with scores.
        instances: integer [P], instance ids, negative for none.
        min_points: Smaller instances are left out, and for "ap50" smaller masks too, as in ScanNet's benchmark.

    Returns:
        "ap50" (see `instance_ap50`), "mean_best_iou" (the best IoU that any mask has with an instance, as a mean over
        instances), "recall50" (the share of instances with which some mask has an IoU above 0.5), "masks" and
        "instances" (their numbers); the means are nan where no instance is large enough.

    Raises:
        InputError: As `match_instances`.
    """
    min_points = whole("min_points", min_points, 0)
    over = overlaps(masks, instances)
    best = np.zeros(len(over.instance_size))  # [G]
    np.maximum.at(best, over.instance, over.iou)
    best = best[over.instance_size >= min_points]
    return {
        "ap50": instance_ap50(masks, instances, masks.scores, min_points=min_points),
        "mean_best_iou": float(best.mean()) if len(best) else float("nan"),
        "recall50": float((best > 0.5).mean()) if len(best) else float("nan"),
        "masks": len(masks),
        "instances": len(best),
    }
