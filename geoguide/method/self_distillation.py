"""Self-distillation: a trained student goes on, with pseudo labels of its own (SAS, stage 2; GGSD, stage 2)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoguide.errors import InputError
from geoguide.frozen import check_fields
from geoguide.method.batch import NO_WORD
from geoguide.method.distillation import vote
from geoguide.ops.arrays import as_config_error, number
from geoguide.ops.blocks import sum_over_rows
from geoguide.ops.cosine import unit
from geoguide.ops.groups import Groups


@dataclass(frozen=True)
class SelfDistillationConfig:
    """The second stage of a training, in which cross-entropy with pseudo labels takes the place of the objective.

    SAS: `history`, dot products, temperature 1, both levels. GGSD: `mean_teacher`, cosines, temperature 0.01, points.

    Attributes:
        teacher: Who gives the pseudo labels. `history`: the running mean of what the student has said of each point,
            averaged over each superpoint. `mean_teacher`: a network whose weights are the running mean of the
            student's; the labels of its points are put to the vote within each superpoint. `none`: no second stage.
        begins: Share of the steps before the second stage. SAS and GGSD: 70 of 100 epochs.
        keep: What is kept of a running mean at each visit. SAS: 0.9999; GGSD does not state its own.
        storage: How the history is kept. SAS: float16, in which a change of one part in 10,000 is rounded away.
        similarity: What is compared with the text: the output as it is, or its direction.
        temperature: By which similarities are divided.
        superpoints: Whether the mean output of each superpoint has to have its label too.

    Raises:
        ConfigError: Another word, or a number out of range.
    """

    teacher: Literal["none", "history", "mean_teacher"] = "none"
    begins: float = 0.7
    keep: float = 0.9999
    storage: Literal["float16", "float32"] = "float16"
    similarity: Literal["dot", "cosine"] = "dot"
    temperature: float = 1.0
    superpoints: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "train.self_distillation")
        with as_config_error("train.self_distillation"):
            for name in ("begins", "keep"):
                if not 0 <= number(name, getattr(self, name)) <= 1:
                    raise InputError(f"{name} must be in 0..1, found {getattr(self, name)}")
            if number("temperature", self.temperature) <= 0:
                raise InputError(f"temperature must be positive, found {self.temperature}")


def running_mean(old: Tensor, new: Tensor, keep: float) -> Tensor:
    """Take a step of a running mean, rounded to how it is stored (SAS, stage 2).

    Args:
        old: float16 or float32, any shape.
        new: float32, the same shape.
        keep: In 0..1.

    Returns:
        keep * old + (1 - keep) * new, of the dtype of `old`.

    Example:
        >>> import torch
        >>> old, new = torch.tensor([0.5]), torch.tensor([0.7])
        >>> [running_mean(old.to(kind), new, 0.9999).item() - 0.5 > 0 for kind in (torch.float16, torch.float32)]
        [False, True]
    """
    return (keep * old.float() + (1 - keep) * new).to(old.dtype)


def superpoint_labels(scores: Tensor, superpoints: np.ndarray) -> np.ndarray:
    """The class of largest mean score of each superpoint, given to its points (SAS, stage 2).

    The mean of dot products is the dot product of the mean feature, so no feature has to be kept.

    Args:
        scores: float [P, K], dot products with the text of K classes.
        superpoints: int64 [P], ids from 0.

    Returns:
        int64 [P]. There is no threshold: every point has a label.
    """
    groups = Groups.partition(torch.from_numpy(np.array(superpoints, np.int64)))
    return groups.to_entries(groups.mean(scores.float()).argmax(1)).numpy()


def voted_labels(scores: Tensor, superpoints: Groups) -> Tensor:
    """The class that most points of a superpoint are nearest to, given to its points (GGSD, stage 2).

    Args:
        scores: float [P, K], similarities with the text of K classes.
        superpoints: A partition of the P points.

    Returns:
        int64 [P], on the device of the scores.
    """
    labels = vote(scores.argmax(1).cpu().numpy(), superpoints.group.cpu().numpy(), scores.shape[1])
    return torch.from_numpy(labels).to(scores.device)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, keep: float) -> None:
    """Move a mean teacher's weights towards the student's (Tarvainen and Valpola, 2017; GGSD, stage 2).

    Args:
        teacher: Changed in place; counts and statistics, which are no weights, become the student's.
        student: Of the same shape.
        keep: What is kept of the teacher's weights.
    """
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new, 1 - keep)
    for old, new in zip(teacher.buffers(), student.buffers(), strict=True):
        old.copy_(new)


def pseudo_label_loss(
    semantic: Tensor, labels: Tensor, superpoints: Groups, text: Tensor, config: SelfDistillationConfig
) -> dict[str, Tensor]:
    """Cross-entropy between what the student says and pseudo labels (SAS and GGSD, stage 2).

    Args:
        semantic: F_3d^sem, [P, C].
        labels: int64 [P], equal within a superpoint; -1 for none.
        superpoints: A partition of the P points.
        text: float [K, C].
        config: Similarity, temperature and levels.

    Returns:
        The scalars `pseudo_point`, where asked for `pseudo_superpoint`, and their sum `total`; each 0 where there is no
        label. O(P C K) time, O(P (C + K)) memory; of very many points no [P, K] is held (see
        `sum_over_rows`).
    """
    known = labels != NO_WORD
    terms = {"pseudo_point": _entropy(semantic, labels, text, config)}
    if config.superpoints:
        pooled = superpoints.mean(semantic, known.to(semantic.dtype))  # [S, C]
        of_superpoint = torch.full((superpoints.count,), NO_WORD, device=labels.device)
        of_superpoint.scatter_reduce_(0, superpoints.group, labels, "amax")  # its points have the same, or none
        terms["pseudo_superpoint"] = _entropy(pooled, of_superpoint, text, config)
    return terms | {"total": torch.stack(list(terms.values())).sum()}


def similarities(semantic: Tensor, text: Tensor, config: SelfDistillationConfig) -> Tensor:
    """What of each class a point says, before any temperature.

    Args:
        semantic: F_3d^sem, [P, C].
        text: float [K, C].
        config: Which similarity.

    Returns:
        [P, K].
    """
    return (unit(semantic) if config.similarity == "cosine" else semantic) @ text.to(semantic).T


def _entropy(semantic: Tensor, labels: Tensor, text: Tensor, config: SelfDistillationConfig) -> Tensor:
    def total(semantic: Tensor, labels: Tensor) -> Tensor:
        scores = similarities(semantic, text, config) / config.temperature  # [n, K]
        return F.cross_entropy(scores, labels, ignore_index=NO_WORD, reduction="sum")

    return sum_over_rows(total, semantic, labels) / (labels != NO_WORD).sum().clamp_min(1)
