"""What the proposer is taught: which instance each query is for, and how far its mask is from it (after Mask3D)."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geoguide.instances.proposer import Proposals

MAJORITY = 0.5  # share of a part's points above which it lies in an instance


@dataclass(frozen=True, eq=False)
class Truth:
    """How S parts and G annotated instances overlap.

    Attributes:
        shared: float32 [S, G], points that are in both.
        sizes: float32 [S], points of each part.
    """

    shared: Tensor
    sizes: Tensor

    @classmethod
    def count(cls, index: np.ndarray, instances: np.ndarray, min_points: int) -> "Truth":
        """Count the overlaps.

        Args:
            index: int64 [P], the part of each point, all of 0..S-1.
            instances: int64 [P], ids, negative for none.
            min_points: Smaller instances are left out.

        Returns:
            The counts, instances in the order of ids.
        """
        parts, held = int(index.max()) + 1, instances >= 0
        ids, column = np.unique(instances[held], return_inverse=True)
        shared = np.bincount(index[held] * len(ids) + column, minlength=parts * len(ids)).reshape(parts, len(ids))
        large = shared.sum(axis=0) >= min_points
        sizes = np.bincount(index, minlength=parts)
        return cls(torch.from_numpy(shared[:, large]).float(), torch.from_numpy(sizes).float())

    @property
    def inside(self) -> Tensor:
        """float32 [S, G], the share of each part's points that lie in an instance: what a mask should be."""
        return self.shared / self.sizes[:, None]


def cross_entropy(logits: Tensor, target: Tensor, sizes: Tensor) -> Tensor:
    """Binary cross-entropy of every mask with its target; a part counts by the root of its points.

    Args:
        logits: float32 [Q, S].
        target: float32 [Q, S] in [0, 1].
        sizes: float32 [S].

    Returns:
        float32 [Q], means over parts.
    """
    weight = sizes.sqrt() / sizes.sqrt().mean()
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).mean(1)


def dice(logits: Tensor, target: Tensor, sizes: Tensor) -> Tensor:
    """Dice loss of every mask with its target, over points: 1 - 2 |A B| / (|A| + |B|), one point added below.

    Args:
        logits: float32 [Q, S].
        target: float32 [Q, S] in [0, 1].
        sizes: float32 [S].

    Returns:
        float32 [Q] in [0, 1].
    """
    mask = logits.sigmoid()
    return 1 - 2 * (mask * target) @ sizes / (mask @ sizes + target @ sizes + 1)


def match(cost: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Give each instance a query of its own at the least cost in all (Hungarian matching, as Mask3D).

    Args:
        cost: float32 [Q, G].

    Returns:
        Queries and instances of the min(Q, G) pairs, int64 each.
    """
    return linear_sum_assignment(cost.detach().double().numpy())


def assign(logits: Tensor, queries: Tensor, truth: Truth, weights: tuple[float, float], *, matched: bool) -> Tensor:
    """Which instance each query is for: the one that its part lies in, or that it was matched with.

    Mask3D's queries may be for any object, and one query learns from each. Here a query is a place: wherever it lies in
    an object, that object is what it is asked for, so that all queries learn. Matching serves objects in whose parts
    most points are of others, which no query lies in.

    Args:
        logits: float32 [Q, S], masks of the last round.
        queries: int64 [Q], parts.
        truth: The scene's instances.
        weights: Of cross-entropy and dice in the cost.
        matched: Whether instances that no query lies in get one by matching.

    Returns:
        int64 [Q], -1 for none.
    """
    most, instance = truth.inside[queries].max(1)
    chosen = torch.where(most > MAJORITY, instance, -1)
    lost = np.setdiff1d(np.arange(truth.shared.shape[1]), chosen.unique().numpy())
    free = (chosen < 0).nonzero()[:, 0]
    if matched and len(lost) and len(free):
        target = truth.inside.T[lost]  # [g, S]
        count = len(free), len(lost)
        pairs = logits[free].repeat_interleave(count[1], 0), target.repeat(count[0], 1)
        cost = weights[0] * cross_entropy(*pairs, truth.sizes) + weights[1] * dice(*pairs, truth.sizes)
        query, which = match(cost.view(count))
        chosen[free[query]] = torch.from_numpy(lost[which])
    return chosen


def mask_iou(logits: Tensor, truth: Truth) -> Tensor:
    """The best IoU of each mask with an instance, over points.

    Args:
        logits: float32 [Q, S]; a part is inside above 0.
        truth: The scene's instances, at least one.

    Returns:
        float32 [Q].
    """
    mask = (logits > 0).float()
    both = mask @ truth.shared  # [Q, G]
    union = (mask @ truth.sizes)[:, None] + truth.shared.sum(0) - both
    return (both / union).max(1).values


def loss_terms(
    found: Proposals, queries: Tensor, truth: Truth, weights: tuple[float, float, float], *, matched: bool = True
) -> dict[str, Tensor]:
    """The loss of one scene.

    Args:
        found: What the network proposes.
        queries: int64 [Q], parts.
        truth: The scene's instances, at least one.
        weights: Of cross-entropy, dice and score.
        matched: See `assign`.

    Returns:
        Scalars: "total"; "cross_entropy" and "dice" of the last round, over queries that are for an instance; "score",
        cross-entropy of the scores with the IoU that the last masks have; and "iou", the mean of these.
    """
    instance = assign(found.logits[-1].detach(), queries, truth, weights[:2], matched=matched)
    asked = instance >= 0
    target = truth.inside.T[instance[asked]]  # [q, S]
    terms: dict[str, Tensor] = {}
    total = found.score.new_zeros(())
    for logits in found.logits:
        for name, loss, weight in (("cross_entropy", cross_entropy, weights[0]), ("dice", dice, weights[1])):
            terms[name] = loss(logits[asked], target, truth.sizes).sum() / max(1, len(target))
            total = total + weight * terms[name]
    iou = mask_iou(found.logits[-1].detach(), truth)
    terms["score"] = F.binary_cross_entropy_with_logits(found.score, iou)
    return terms | {"iou": iou.mean(), "total": total + weights[2] * terms["score"]}
