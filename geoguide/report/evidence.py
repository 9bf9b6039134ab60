"""What several seeds say: intervals, differences paired by seed, Holm's correction, and the one verdict of the book."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import optimize, stats

from geoguide.errors import require
from geoguide.experiments.facts import Row
from geoguide.experiments.records import only

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
NO_VERDICT = "no verdict: not converged"
TOO_FEW = "no verdict: fewer than three seeds"
DECIDED = (SUPPORTED, CONTRADICTED, UNDECIDED)
LEAST_SEEDS = 3
ROUNDING = 1e-9  # points: equal scores that were summed in another order differ by less
Side = Literal["higher", "lower"]


def check_confidence(confidence: float) -> None:
    """Refuse what is no confidence, such as 95 for 0.95: of it every interval would be no number.

    Args:
        confidence: Any value.

    Raises:
        InputError: It is no number from 0 to below 1.
    """
    met = isinstance(confidence, int | float) and 0 <= confidence < 1
    require(met, f"confidence must lie between 0 and 1, such as 0.95, found {confidence!r}")


def interval(values: np.ndarray | pd.Series | Sequence[float], confidence: float = 0.95) -> float:
    """Half width of the interval of a mean over seeds (Student's t).

    Args:
        values: One per seed; NaN is no value.
        confidence: Of the interval.

    Returns:
        The half width; NaN for fewer than two values.

    Example:
        >>> round(interval([1.0, 2.0, 3.0]), 3)
        2.484
    """
    return estimate(values).half(confidence)


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and how far it may be off.

    The trainings and the scored scenes are both samples, crossed: every seed is scored on the same scenes. A percentile
    bootstrap that draws both anew (Owen, 2007, "The pigeonhole bootstrap") is too narrow for 3 to 5 seeds, since draws
    of so few hardly vary and know nothing of Student's t. Satterthwaite's t is better, but where scenes dominate its
    degrees of freedom jump up and the interval may be narrower than that over seeds alone. So the two half widths, each
    of its own t, are added as squares: coverage is then at least the nominal one (Banerjee, 1961, Sankhya 23), and no
    verdict becomes bolder because scenes were looked at. What seeds and scenes have together is in both errors, which
    errs on the careful side too. `benchmarks/interval_coverage.py` measures all of this.

    Attributes:
        mean: Over the seeds.
        seeds: How many.
        seed_error: Standard error over seeds; NaN for fewer than two.
        scene_error: Standard error over scenes (see `scene_bootstrap.two_level`); 0 where none is known.
        scenes: How many; 0 where the records do not keep their counts, so that the interval is over seeds alone.
    """

    mean: float
    seeds: int
    seed_error: float
    scene_error: float = 0.0
    scenes: int = 0

    def half(self, confidence: float = 0.95) -> float:
        """Half width of the interval.

        Args:
            confidence: Of the interval.

        Returns:
            The half width; NaN for fewer than two seeds.

        Raises:
            InputError: See `check_confidence`.
        """
        check_confidence(confidence)
        if self.seeds < 2:
            return float("nan")
        errors = ((self.seeds - 1, self.seed_error), (self.scenes - 1, self.scene_error))
        halves = [stats.t.ppf(0.5 + confidence / 2, max(freedom, 1)) * error for freedom, error in errors if error > 0]
        return float(np.hypot.reduce([0.0, *halves]))

    def bounds(self, confidence: float = 0.95) -> tuple[float, float]:
        """The ends of the interval.

        Args:
            confidence: Of the interval.

        Returns:
            Lower and upper end; NaN for fewer than two seeds.
        """
        return self.mean - self.half(confidence), self.mean + self.half(confidence)

    def p_value(self, null: float = 0.0) -> float:
        """The probability of so large a distance to a value, were this the true one: two-sided, of the same interval.

        Args:
            null: The value.

        Returns:
            The least share by which a confidence must fall short of 1 for the interval to leave the value out; NaN for
            fewer than two seeds.
        """
        distance = abs(self.mean - null)
        if self.seeds < 2:
            return float("nan")
        if not np.isfinite(self.scene_error):  # of a single scene nothing is known
            return 1.0
        if distance <= ROUNDING or self.half() == 0:
            return float(distance <= ROUNDING)
        if self.scene_error == 0:
            return float(2 * stats.t.sf(distance / self.seed_error, self.seeds - 1))
        tiny = 1e-12
        if self.half(1 - tiny) <= distance:
            return tiny
        return float(optimize.brentq(lambda share: self.half(1 - share) - distance, tiny, 1.0, xtol=tiny))

    def text(self, confidence: float = 0.95) -> str:
        """The mean and the bounds of its interval.

        Args:
            confidence: Of the interval.

        Returns:
            '-0.34 [-0.63, -0.05]', with so many decimals that no bound is rounded to zero or across it; the mean alone
            where there is one seed.
        """
        if self.seeds < 2:
            return f"{self.mean:+z.2f}"
        bounds = self.bounds(confidence)
        least = min((abs(bound) for bound in bounds if bound), default=1.0)
        digits = int(np.clip(np.ceil(-np.log10(2 * least)), 2, 6))
        mean, low, high = (f"{value:+z.{digits}f}" for value in (self.mean, *bounds))
        return f"{mean} [{low}, {high}]"


def estimate(values: np.ndarray | pd.Series | Sequence[float], scene_error: float = 0.0, scenes: int = 0) -> Estimate:
    """What values over seeds say of their mean.

    Args:
        values: One per seed; NaN, a score that does not exist, is no value.
        scene_error: Standard error over scenes; 0 where none is known.
        scenes: How many scenes; 0 where the records do not keep their counts.

    Returns:
        The estimate; without any value of no seed, its mean NaN.

    Raises:
        InputError: `scene_error` is below 0.

    Example:
        >>> estimate([-0.5, -0.2, -0.3]).text()
        '-0.33 [-0.71, +0.05]'
    """
    require(scene_error >= 0, f"scene_error must be at least 0, found {scene_error}")
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    error = float(stats.sem(values)) if len(values) > 1 else float("nan")
    return Estimate(float(values.mean()) if len(values) else float("nan"), len(values), error, scene_error, scenes)


def holm(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's correction of the p-values of a family of tests (Holm, 1979, Scand. J. Statistics 6).

    Whatever the tests have in common, the probability that any true null is rejected stays below the level.

    Args:
        values: p-values, within 0..1.

    Returns:
        The corrected ones, float64 in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(values, float)
    order = np.argsort(values, kind="stable")
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order]))
    return corrected


def verdict(
    found: Estimate,
    claimed: Side = "higher",
    *,
    null: float = 0.0,
    p: float | None = None,
    settled: bool = True,
    confidence: float = 0.95,
) -> str:
    """The one verdict of the book: what an estimate says of a statement about it.

    Args:
        found: Of a difference.
        claimed: On which side of `null` the statement says that it lies.
        null: The value.
        p: The p-value as corrected for its family (see `holm`); None for that of the test alone.
        settled: Whether the trainings had converged (see `settled`).
        confidence: Below a p-value of 1 less this there is a decision.

    Returns:
        'supported' or 'contradicted' where the estimate clearly lies on the claimed or on the other side, else
        'undecided'; `TOO_FEW` for fewer than three seeds, `NO_VERDICT` where trainings had not converged.
    """
    if found.seeds < LEAST_SEEDS:
        return TOO_FEW
    if not settled:
        return NO_VERDICT
    p = found.p_value(null) if p is None else p
    if not p < 1 - confidence:
        return UNDECIDED
    return SUPPORTED if (found.mean > null) == (claimed == "higher") else CONTRADICTED


def verdicts(
    found: Sequence[Estimate],
    claimed: Sequence[Side] | None = None,
    nulls: Sequence[float] | None = None,
    settled: Sequence[bool] | None = None,
    confidence: float = 0.95,
) -> tuple[list[str], np.ndarray]:
    """The verdicts of a family of tests, corrected by `holm`.

    Args:
        found: Of each test.
        claimed: See `verdict`; None: higher.
        nulls: See `verdict`; None: 0.
        settled: See `verdict`; None: all were.
        confidence: See `verdict`.

    Returns:
        The verdicts, and the corrected p-values; NaN for tests on which there is no verdict: they are not in the
        family.
    """
    count = len(found)
    sides: Sequence[Side] = ["higher"] * count if claimed is None else claimed
    against_ = [0.0] * count if nulls is None else nulls
    done = [True] * count if settled is None else settled
    judged = np.array([one.seeds >= LEAST_SEEDS and ready for one, ready in zip(found, done, strict=True)], bool)
    corrected = np.full(count, np.nan)
    corrected[judged] = holm([found[n].p_value(against_[n]) for n in np.flatnonzero(judged)])
    told = [
        verdict(one, side, null=null, p=float(p), settled=ready, confidence=confidence)
        for one, side, null, p, ready in zip(found, sides, against_, corrected, done, strict=True)
    ]
    return told, corrected


def by_seed(lines: pd.DataFrame, row: Row, metric: str = "miou") -> pd.Series:
    """The scores of a row.

    Args:
        lines: See `records.frame`.
        row: Facts that pick the lines of one experiment.
        metric: Column.

    Returns:
        float, indexed by seed.

    Raises:
        InputError: The facts fit several experiments, so that a seed has several scores.
    """
    return _by_seed(only(lines, row), metric)


def _by_seed(mine: pd.DataFrame, metric: str) -> pd.Series:
    """The scores of a row's lines, float indexed by seed."""
    unique = mine["seed"].is_unique
    require(unique, "" if unique else f"row must name one experiment, found {', '.join(mine['id'].map(str))}")
    return pd.Series(mine[metric].to_numpy(float), mine["seed"], name=metric)


def paired(lines: pd.DataFrame, row: Row, reference: Row, metric: str = "miou") -> np.ndarray:
    """Differences of two rows, so that what the seeds share cancels.

    Args:
        lines: See `records.frame`.
        row: Facts of the first row.
        reference: Facts of the second.
        metric: Column.

    Returns:
        First minus second, float [seeds that both have].
    """
    return _paired(only(lines, row), only(lines, reference), metric)


def _paired(mine: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> np.ndarray:
    return (_by_seed(mine, metric) - _by_seed(theirs, metric)).dropna().to_numpy(float)


def against(lines: pd.DataFrame, row: Row, reference: Row, metric: str = "miou") -> np.ndarray:
    """As `paired`; but where the reference trains nothing (2D fusion), its one score stands for every seed.

    Args:
        lines: See `records.frame`.
        row: Facts of the first row.
        reference: Facts of the second, of one experiment or of one for every seed.
        metric: Column.

    Returns:
        First minus second, float [seeds that have both scores].
    """
    return gap_of(only(lines, row), only(lines, reference), metric)


def gap_of(mine: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> np.ndarray:
    """As `against`, of rows whose lines were picked before.

    Args:
        mine: The lines of the first row.
        theirs: The lines of the second.
        metric: Column.

    Returns:
        First minus second, float [seeds that have both scores].
    """
    if trains_nothing(theirs):
        return (_by_seed(mine, metric) - float(theirs[metric].iat[0])).dropna().to_numpy(float)
    return _paired(mine, theirs, metric)


def trains_nothing(mine: pd.DataFrame) -> bool:
    """Whether a row is a single experiment without a training, whose score stands for every seed.

    Args:
        mine: The lines of the row.

    Returns:
        True for 2D fusion, say.
    """
    return len(mine) == 1 and bool(mine["converged"].isna().all())


def converged(lines: pd.DataFrame) -> str:
    """How many trainings of a row had converged.

    Args:
        lines: Of one row.

    Returns:
        '4 of 5', of those that `settled` judges by; '' where nothing was trained (2D fusion).
    """
    trained = _judged(lines)
    return f"{int(trained.sum())} of {len(trained)}" if len(trained) else ""


def settled(lines: pd.DataFrame, *rows: Row) -> bool:
    """Whether most trainings of each row had converged; else there is no verdict.

    Of a row of which any training was repeated with twice the steps, those alone count: what was measured there says
    more of the others than what their curves foretell.

    Args:
        lines: See `records.frame`.
        rows: Facts of each row; one without lines, or that trains nothing, does not object.

    Returns:
        True where more than half of each row's had.
    """
    return all(has_settled(only(lines, row)) for row in rows)


def has_settled(mine: pd.DataFrame) -> bool:
    """As `settled`, of one row whose lines were picked before.

    Args:
        mine: The lines of the row.

    Returns:
        True where more than half had.
    """
    done = _judged(mine)
    return done.empty or bool(done.astype(bool).mean() > 0.5)


def _judged(lines: pd.DataFrame) -> pd.Series:
    """Of the trainings of a row, whether each had converged: of those that were measured, if there are any."""
    measured = lines["measured"].eq(True)
    return (lines[measured] if measured.any() else lines)["converged"].dropna()
