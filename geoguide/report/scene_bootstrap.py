"""How far a difference between two experiments depends on which scenes were scored: both on scenes drawn anew."""

from dataclasses import dataclass

import numpy as np

from geoguide.errors import DataError, require
from geoguide.experiments.records import Record
from geoguide.metrics import AbsentRule, ClassSums

DRAWS = 10_000  # the ends of a 95 % interval then move by 1 % of its width from seed to seed (100 rooms, 20 classes)


@dataclass(frozen=True)
class SceneDifference:
    """A difference of two mIoU, and its interval over scenes.

    Attributes:
        difference: First minus second on the scenes as they are, points of mIoU.
        low: Lower end of the interval.
        high: Upper end.
        scenes: How many were drawn from.
    """

    difference: float
    low: float
    high: float
    scenes: int

    @property
    def decided(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def scene_difference(
    first: Record,
    second: Record,
    label_set: str | None = None,
    *,
    draws: int = DRAWS,
    confidence: float = 0.95,
    seed: int = 0,
) -> SceneDifference:
    """Resample the test scenes of two records, both the same way (paired percentile bootstrap; Efron, 1979).

    As many scenes as there are, are drawn with replacement; each record's mIoU is computed from the points of all that
    were drawn, by its own protocol. What makes a scene hard for both cancels. The seed of a training and the draw of
    the training scenes are fixed: `evidence.interval` has the one, only further records the other. A class that lies
    in few scenes is absent from some draws, where the rule "zero" counts 0 for both.

    Cost: O(draws scenes classes); 0.2 s for 10,000 draws of 100 scenes and 20 classes.

    Args:
        first: A record that keeps the counts of its scenes.
        second: Another one, scored on the same scenes.
        label_set: Which scores; None for each record's own.
        draws: How often the scenes are drawn.
        confidence: Of the interval, within 0..1.
        seed: Of the draws.

    Returns:
        The difference, first minus second, and its interval.

    Raises:
        InputError: `draws` is below 1, or `confidence` outside 0..1.
        DataError: A record does not keep the counts of its scenes, or they are not the same scenes.
    """
    require(draws >= 1, f"draws must be at least 1, found {draws}")
    require(0 < confidence < 1, f"confidence must lie within 0 and 1, found {confidence}")
    (names, ours), (others, theirs) = (record.scene_sums(label_set) for record in (first, second))
    if set(names) != set(others):
        lacking = sorted({*names} ^ {*others})
        raise DataError(f"records {first.id} and {second.id}: scored on other scenes, only one of them on {lacking[0]}")
    count = len(names)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    weights = np.concatenate([np.ones((1, count), np.int64), weights])  # [1 + draws, S], first the scenes as they are
    rules = [record.config.protocol.absent_class for record in (first, second)]
    gap = _means(ours, names, rules[0], weights) - _means(theirs, others, rules[1], weights)  # [1 + draws]
    tail = 100 * (1 - confidence) / 2
    low, high = np.nanpercentile(gap[1:], [tail, 100 - tail])
    return SceneDifference(float(gap[0]), float(low), float(high), count)


def _means(sums: ClassSums, names: tuple[str, ...], absent: AbsentRule, weights: np.ndarray) -> np.ndarray:
    """Scores of each draw: mIoU in %, float64 [B]; `weights` [B, S] for the scenes in the order of their names."""
    drawn = sums.weighted(weights[:, np.argsort(np.argsort(names))])
    return 100 * drawn.mean(drawn.iou(), absent)
