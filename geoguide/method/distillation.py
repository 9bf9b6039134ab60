"""L_sp without USD, as the systems compared with distil: points (OpenScene), superpoint means (SAS), words (DMA)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields
from geoguide.method.batch import NO_WORD, Supervised
from geoguide.ops.arrays import as_config_error, number
from geoguide.ops.blocks import sum_over_rows
from geoguide.ops.cosine import cosine_distance, unit


@dataclass(frozen=True)
class DistillationConfig:
    """What a point learns from where USD is not in use.

    OpenScene: the default. SAS, stage 1: `point_target` superpoint and `superpoints`. GGSD, stage 1: `superpoints`
    alone. DMA's paper: `word_bce` beside the default. DMA's released code: `point_target` word.

    Attributes:
        point_target: Of the point-level cosine loss: F_2d of the point, the mean F_2d of the superpoint's seen points,
            or the text of the word that the point is painted with.
        superpoints: Whether there is a superpoint-level loss too: cosine between the mean output and the mean F_2d of
            its seen points.
        word_bce: Whether there is binary cross-entropy between a point's cosine with each class's text, divided by
            `temperature`, and the word that the point is painted with; classes are not exclusive.
        temperature: Of `word_bce`. DMA's, where 2D features are compared with words; of this loss it is not stated.
        painted_by: Within what the words of points are put to the vote, in place of SAM's masks: nothing (`points`),
            superpoints, or instance masks (points in none: their superpoint).

    Raises:
        ConfigError: Another word, or a temperature that is not positive.
    """

    point_target: Literal["lifted", "superpoint", "word"] = "lifted"
    superpoints: bool = False
    word_bce: bool = False
    temperature: float = 0.1
    painted_by: Literal["points", "superpoints", "masks"] = "masks"

    def __post_init__(self) -> None:
        check_fields(self, "objective.distillation")
        with as_config_error("objective.distillation"):
            if number("temperature", self.temperature) <= 0:
                raise InputError(f"temperature must be positive, found {self.temperature}")

    @property
    def of_words(self) -> bool:
        """Whether points have to be painted with words, and the loss has to know their text."""
        return self.word_bce or self.point_target == "word"


class Distillation(nn.Module):
    """The cosine losses of the systems compared with, each from an option; without options OpenScene's.

    Args:
        config: The options.
        text: float32 [K, C], the text of the words; only where the options ask for words.

    Raises:
        ConfigError: Words are asked for and there is no text.
    """

    text: Tensor | None

    def __init__(self, config: DistillationConfig, text: Tensor | None = None) -> None:
        super().__init__()
        if config.of_words and text is None:
            raise ConfigError("objective.distillation asks for words, but their text was not given")
        self.config = config
        self.register_buffer("text", text if config.of_words else None, persistent=False)

    def forward(self, semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the terms.

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The P points, with their 2D features, superpoints, and where asked for words.
            generator: Unused, as in `plain_distillation`.

        Returns:
            The scalar `point`, and where asked for `superpoint` and `word`; each 0 where there is nothing to compare.
            O(P C) time and memory; words: see `word_loss`.
        """
        config = self.config
        if config.point_target == "lifted":
            terms = plain_distillation(semantic, batch, generator)
        elif config.point_target == "superpoint":
            mean = batch.superpoints.to_entries(batch.mean_lifted("superpoints"))  # [P, C]
            terms = {"point": masked_mean(cosine_distance(semantic, mean), batch.seen)}
        else:
            words = _words(batch)
            assert self.text is not None
            target = self.text[words.clamp_min(0)]  # [P, C]
            terms = {"point": masked_mean(cosine_distance(semantic, target), words != NO_WORD)}
        if config.superpoints:
            terms["superpoint"] = superpoint_loss(semantic, batch)
        if config.word_bce:
            assert self.text is not None
            terms["word"] = word_loss(semantic, _words(batch), self.text, config.temperature)
        return terms


def plain_distillation(semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
    """L_sp without USD: the mean cosine distance to F_2d over the seen points (paper, Preliminary; OpenScene).

    Args:
        semantic: F_3d^sem, [P, C].
        batch: The 2D features of the P points.
        generator: Unused; it is here because every module is called with one.

    Returns:
        The scalar `point`; 0 where no point is seen.
    """
    return {"point": masked_mean(cosine_distance(semantic, batch.lifted), batch.seen)}


def superpoint_loss(semantic: Tensor, batch: Supervised) -> Tensor:
    """Cosine distance of the mean output and the mean 2D feature of each superpoint's seen points (SAS, GGSD; stage 1).

    Args:
        semantic: F_3d^sem, [P, C].
        batch: The P points.

    Returns:
        Scalar, the mean over superpoints with a seen point; 0 where there is none.
    """
    seen = batch.seen.to(semantic.dtype)  # [P]
    pooled = batch.superpoints.mean(semantic, seen)  # [S, C]
    distance = cosine_distance(pooled, batch.mean_lifted("superpoints").to(semantic.dtype))  # [S]
    return masked_mean(distance, batch.superpoints.sum(seen) > 0)


def word_loss(semantic: Tensor, words: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Binary cross-entropy of each class at the painted points; classes are not exclusive (DMA, the paper's loss).

    Args:
        semantic: F_3d^sem, [P, C].
        words: int64 [P], the class that a point is painted with; -1 for none.
        text: float [K, C].
        temperature: By which cosines are divided.

    Returns:
        Scalar, the mean over painted points and classes; 0 where no point is painted. O(P C K) time, O(P K) memory; of
        very many points no [P, K] is held (see `sum_over_rows`).
    """
    known = unit(text.to(semantic.dtype))  # [K, C]

    def total(semantic: Tensor, words: Tensor) -> Tensor:
        cosine = unit(semantic) @ known.T  # [n, K]
        target = F.one_hot(words.clamp_min(0), len(known)).to(cosine.dtype)  # [n, K]
        loss = F.binary_cross_entropy_with_logits(cosine / temperature, target, reduction="none").mean(1)  # [n]
        return (loss * (words != NO_WORD)).sum()

    return sum_over_rows(total, semantic, words) / (words != NO_WORD).sum().clamp_min(1)


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean over the true entries.

    Args:
        values: [N].
        where: bool [N].

    Returns:
        Scalar; 0 (with a gradient) where no entry is true.
    """
    return (values * where).sum() / where.sum().clamp_min(1)


def vote(labels: np.ndarray, regions: np.ndarray, classes: int) -> np.ndarray:
    """The label that most labelled points of each region have, given to all of its points.

    Args:
        labels: int64 [P], -1 for none.
        regions: int64 [P], ids from 0, with gaps or not.
        classes: K.

    Returns:
        int64 [P]: of several equally frequent labels the lowest; -1 where no point of the region has one. O(P + R K)
        memory for R region ids.

    Example:
        >>> import numpy as np
        >>> vote(np.array([2, 1, 1, -1, -1]), np.array([0, 0, 0, 0, 1]), 3).tolist()
        [1, 1, 1, 1, -1]
    """
    labels, regions = np.asarray(labels), np.asarray(regions)
    known = labels != NO_WORD
    count = int(regions.max()) + 1 if len(regions) else 0
    votes = np.bincount(regions[known] * classes + labels[known], minlength=count * classes).reshape(count, classes)
    winner = np.where(votes.any(axis=1), votes.argmax(axis=1), NO_WORD) if count else np.zeros(0, np.int64)
    return winner[regions]


def _words(batch: Supervised) -> Tensor:
    if batch.words is None:
        raise InputError("a batch of painted words must have the field words, found None")
    return batch.words
