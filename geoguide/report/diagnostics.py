"""What could a module gain at best? Measurements that need the truth, so for looking only, never for training."""

from collections import defaultdict
from collections.abc import Sequence

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
