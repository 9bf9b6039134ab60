"""How far a difference between two experiments depends on which scenes were scored, and on the training's seed.

Both experiments are scored on scenes drawn anew, the same for both: rooms, and houses and drives as a whole, since the
regions of a house and the key frames of a drive are alike. Records keep what that needs since scores hold the counts of
every scene: those of the large edition do, most of the small edition are older.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from geoguide.benchmarks import benchmark_of
from geoguide.errors import DataError, require
from geoguide.experiments.records import Record
from geoguide.metrics import AbsentRule, ClassSums

Metric = Literal["miou", "macc"]
DRAWS = 10_000  # the ends of a 95 % interval then move by 1 % of its width from seed to seed (100 rooms, 20 classes)


@dataclass(frozen=True, eq=False)
class TwoLevel:
    """A difference of two rows over the seeds that both have, on scenes drawn anew.

    Attributes:
        gap: First minus second on the scenes as they are, points, float [seeds].
        scene_error: Standard error of the mean over the seeds as the scenes vary.
        scenes: How many rooms, houses or drives were drawn from.
        low: Lower end of the percentile interval of draws of seeds and scenes (see `two_level`).
        high: Upper end.
    """

    gap: np.ndarray
    scene_error: float
    scenes: int
    low: float
    high: float


def keeps_scenes(found: Sequence[Record], label_set: str | None = None) -> bool:
    """Whether every record keeps the counts of its scenes.

    Args:
        found: Records, at least one.
        label_set: Which scores; None for each record's own.

    Returns:
        True where all do.
    """
    return all(
        record.confusions if label_set in (None, record.facts.label_set) else record.class_sums.get(str(label_set))
        for record in found
    )


def two_level(
    first: Sequence[Record],
    second: Sequence[Record],
    label_set: str | None = None,
    metric: Metric = "miou",
    *,
    draws: int = DRAWS,
    confidence: float = 0.95,
    seed: int = 0,
) -> TwoLevel:
    """Resample seeds and test scenes of two rows, both the same way (Owen, 2007, "The pigeonhole bootstrap").

    Rooms, or whole houses or drives, are drawn with replacement, the same for both rows and all seeds, and each record
    is scored on their scenes by its own protocol: what makes a scene hard for both cancels. The mean difference varies
    with what is drawn by `scene_error`, to which the factor S / (S - 1) of a bootstrap's variance belongs. For `low`
    and `high` the seeds are drawn with replacement too; with 3 to 5 of them that interval is too narrow (see
    `evidence.Estimate`, which takes `scene_error` in its place), and with one it is the paired percentile interval over
    scenes (Efron, 1979).

    Cost: O(draws scenes classes) for each record.

    Args:
        first: A record for each seed, which keep the counts of their scenes.
        second: Likewise, in the order of the same seeds; or a single one for all of them, which trains nothing.
        label_set: Which scores; None for each record's own.
        metric: miou or macc.
        draws: How often scenes and seeds are drawn, at least 2.
        confidence: Of the percentile interval, within 0..1.
        seed: Of the draws.

    Returns:
        The differences and what they vary by.

    Raises:
        InputError: The rows have no or different numbers of records, or an option is out of range.
        DataError: A record does not keep the counts of its scenes, or they are not the same scenes.
    """
    require(draws >= 2, f"draws must be at least 2, found {draws}")
    require(0 < confidence < 1, f"confidence must lie within 0 and 1, found {confidence}")
    count = len(first)
    paired = count > 0 and len(second) in (1, count)
    require(paired, f"rows must have a record for each seed, found {count} and {len(second)}")
    names = first[0].scene_sums(label_set)[0]
    drawn_with = benchmark_of(first[0].config.tested().data).drawn_with
    scenes = _Draws(len({drawn_with(name) for name in names}), draws, seed)

    def scores(record: Record) -> np.ndarray:
        held, sums = record.scene_sums(label_set)
        _same_scenes(first[0], names, record, held)
        places = tuple(map(drawn_with, held))
        return _means(sums, places, record.config.protocol.absent_class, scenes, metric)  # [1 + draws]

    gaps = np.stack([scores(record) for record in first], axis=1)  # [1 + draws, seeds]
    gaps = gaps - np.stack([scores(record) for record in second], axis=1)
    rng = np.random.default_rng(seed)
    rng.bit_generator.state = _scene_weights(scenes)[1]
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=draws) / count  # [draws, seeds]
    tail = 100 * (1 - confidence) / 2
    low, high = np.nanpercentile((gaps[1:] * drawn).sum(axis=1), [tail, 100 - tail])
    many = scenes.scenes
    error = float("inf") if many < 2 else np.nanstd(gaps[1:].mean(axis=1), ddof=1) * np.sqrt(many / (many - 1))
    return TwoLevel(gaps[0], float(error), many, float(low), float(high))


class _Draws(NamedTuple):
    """What is drawn: of how many rooms, houses or drives, how often, and from which seed."""

    scenes: int
    draws: int
    seed: int


@functools.lru_cache(maxsize=4)
def _scene_weights(drawn: _Draws) -> tuple[np.ndarray, Any]:
    """How often each scene is drawn, float64 [1 + draws, S], first the scenes as they are; the generator's state."""
    rng, count = np.random.default_rng(drawn.seed), drawn.scenes
    weights = rng.multinomial(count, np.full(count, 1 / count), size=drawn.draws)
    return np.concatenate([np.ones((1, count)), weights]), rng.bit_generator.state


def _same_scenes(first: Record, names: tuple[str, ...], second: Record, others: tuple[str, ...]) -> None:
    """Refuse two records of other scenes."""
    if set(names) != set(others):
        lacking = sorted({*names} ^ {*others})
        raise DataError(f"records {first.id} and {second.id}: scored on other scenes, only one of them on {lacking[0]}")


@functools.lru_cache(maxsize=256)
def _means(
    sums: ClassSums, places: tuple[str, ...], absent: AbsentRule, scenes: _Draws, metric: Metric = "miou"
) -> np.ndarray:
    """Scores of each draw in %, float64 [1 + draws]; kept, since many tests share a row.

    Drawn are places in the order of their names; `places` has that of the sums, a place for each scene.
    """
    index = np.unique(places, return_inverse=True)[1]
    held = [np.zeros((scenes.scenes, part.shape[1]), part.dtype) for part in (sums.hits, sums.union, sums.totals)]
    for total, part in zip(held, (sums.hits, sums.union, sums.totals), strict=True):
        np.add.at(total, index, part)
    drawn = ClassSums(*held).weighted(_scene_weights(scenes)[0])
    return 100 * drawn.mean(drawn.iou() if metric == "miou" else drawn.class_accuracy(), absent)
