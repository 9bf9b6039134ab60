"""What could a module gain at best? Measurements that need the truth, so for looking only, never for training."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.method.batch import Batch
from geoguide.method.superpoint_distillation import SuperpointDistillation, refine
from geoguide.metrics import ConfusionMatrix
from geoguide.ops.groups import Groups
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID

ORACLE_SHARPNESS = 30.0  # weights exp(-30 (1 - cos)): a point twice as wrong as its neighbours is all but left out


def oracle_weights(batch: Batch, truth: Tensor, known: Tensor) -> Tensor:
    """Weights that know the error of every 2D feature: the ceiling of what USD's W could do.

    Args:
        batch: P points with F_2d.
        truth: [P, C], text feature of each point's true class.
        known: bool [P], which points have a class; the others weigh little.

    Returns:
        [P]; 0 where unseen.
    """
    error = 1 - F.cosine_similarity(batch.lifted, truth, dim=-1)  # [P]
    return torch.exp(-ORACLE_SHARPNESS * torch.where(known, error, 1.0)) * batch.seen


@torch.inference_mode()
def target_quality(
    scenes: Sequence[PreparedScene], text: Tensor, learned: dict[str, SuperpointDistillation]
) -> pd.DataFrame:
    """How good the 2D target itself is, classified without any 3D network (paper, USD).

    Args:
        scenes: Prepared scenes with labels.
        text: Text features of the classes, float32 [classes, C].
        learned: Trained USD modules by name.

    Returns:
        A line per way to pool: F_2d per point, plain mean of the superpoint, S̄_2d with each learned W, and with
        weights that know the truth; mIoU and mAcc in %, over all labelled points.
    """
    matrices = defaultdict[str, ConfusionMatrix](lambda: ConfusionMatrix(len(text)))
    for scene in scenes:
        batch = scene.batch(np.arange(len(scene)), torch.device("cpu"))
        labels = np.asarray(scene.labels)
        known = torch.from_numpy(labels < len(text))  # [P]
        truth = text[torch.from_numpy(np.where(labels < len(text), labels, 0))]  # [P, C]
        matrices["no pooling"].update(labels, (batch.lifted @ text.T).argmax(1).numpy())
        weights = {"mean of the superpoint": batch.seen.float()}  # [P] each
        weights |= {f"weighted by W, {name}": usd.weights(batch) for name, usd in learned.items()}
        weights |= {"weighted by the true error (ceiling)": oracle_weights(batch, truth, known)}
        for name, weight in weights.items():
            refined = refine(batch.lifted, weight, batch.superpoints)  # [superpoints, C]
            matrices[name].update(labels, batch.superpoints.to_entries((refined @ text.T).argmax(1)).numpy())
    rows = [{"target": n, "mIoU": 100 * m.miou(absent="zero"), "mAcc": 100 * m.macc()} for n, m in matrices.items()]
    return pd.DataFrame(rows)


def error_inside_superpoints(scenes: Sequence[PreparedScene], text: Tensor) -> float:
    """How much of the variance of the 2D error (1 - cos to the true class) lies inside superpoints.

    USD can act on this part only; the rest is wrong for a superpoint as a whole.

    Args:
        scenes: Prepared scenes with labels.
        text: Text features of the classes, float32 [classes, C].

    Returns:
        The share, from 0 to 1.
    """
    inside, total = 0.0, 0.0
    for scene in scenes:
        labels = np.asarray(scene.labels)
        keep = np.flatnonzero(labels < len(text))
        lifted, seen = scene.features(keep)  # [K, C], bool [K]
        keep, lifted = keep[seen], torch.from_numpy(lifted[seen]).float()  # [S], [S, C]
        error = 1 - F.cosine_similarity(lifted, text[torch.from_numpy(labels[keep])], dim=-1)  # [S]
        names, index = np.unique(scene.superpoints[keep], return_inverse=True)
        superpoints = Groups.partition(torch.from_numpy(index), len(names))
        mean = superpoints.to_entries(superpoints.mean(error))  # [S], of each point's superpoint
        inside += float((error - mean).square().sum())
        total += float((error - error.mean()).square().sum())
    return inside / total


# Points. In eight generated rooms of some 37,000 points a tenth of these lie in superpoints below 60 (the smallest that
# SAS allows), half in superpoints below 250, and a quarter, walls and floors, in superpoints above 1,000 to 4,000.
SIZES = (60, 250, 1000)


def votes(lifted: Tensor, seen: Tensor, superpoints: Groups, text: Tensor) -> tuple[Tensor, Tensor]:
    """Classify points by their own 2D feature, and by the mean 2D feature of their superpoint.

    Args:
        lifted: F_2d, [P, C].
        seen: bool [P].
        superpoints: A partition of the points.
        text: Text features of the classes, [classes, C].

    Returns:
        Two int64 [P]; -1 where there is no such feature: the point, or all of its superpoint, is unseen.
    """
    weight = seen.to(lifted.dtype)  # [P]
    own = torch.where(seen, (lifted @ text.T).argmax(1), -1)
    pooled = (superpoints.mean(lifted, weight) @ text.T).argmax(1)  # [S]
    return own, superpoints.to_entries(torch.where(superpoints.sum(weight) > 0, pooled, -1))


def changes_by_size(
    before: np.ndarray, after: np.ndarray, superpoints: np.ndarray, labels: np.ndarray, edges: Sequence[int] = SIZES
) -> pd.DataFrame:
    """What a change of prediction does to small superpoints and to large ones: thin and rare things are small ones.

    The two predictions may be `votes`, or those of two students.

    Args:
        before: Class of each point, integer [P].
        after: The same after the change; points with a negative class in either are left out.
        superpoints: int64 [P].
        labels: True class of each point, 255 void, integer [P].
        edges: Sizes in points, ascending, from which a superpoint counts as larger.

    Returns:
        A line per range of sizes: its `superpoints`, its `points`, and in % of its points that are not void: `changed`;
        `won`, wrong before and right after; `lost`, right before and wrong after. NaN where a range has no such point.
    """
    sizes = np.bincount(superpoints)
    bins = np.searchsorted(edges, sizes[superpoints], side="right")  # [P]
    counted = (before >= 0) & (after >= 0) & (labels != VOID)
    right = np.stack([before == labels, after == labels])  # [2, P]
    shares = {"changed": before != after, "won": ~right[0] & right[1], "lost": right[0] & ~right[1]}
    names = [f"below {edges[0]}", *(f"{low} to {high - 1}" for low, high in pairwise(edges)), f"{edges[-1]} and more"]
    rows = []
    for number, name in enumerate(names):
        here = bins == number
        row = {"superpoint size": name, "superpoints": len(np.unique(superpoints[here])), "points": int(here.sum())}
        of = here & counted
        rows.append(row | {k: 100 * float(v[of].mean()) if of.any() else np.nan for k, v in shares.items()})
    return pd.DataFrame(rows)
