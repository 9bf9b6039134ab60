"""What several seeds say: intervals, differences paired by seed, and verdicts."""

import numpy as np
import pandas as pd
from scipy import stats

from geoguide.errors import require
from geoguide.experiments.facts import Row
from geoguide.experiments.records import only

NO_VERDICT = "no verdict: not trained to convergence"


def interval(values: np.ndarray | pd.Series, confidence: float = 0.95) -> float:
    """Half width of the interval of a mean over seeds (Student's t).

    Args:
        values: One per seed.
        confidence: Of the interval.

    Returns:
        The half width; NaN for fewer than two values.

    Example:
        >>> round(interval([1.0, 2.0, 3.0]), 3)
        2.484
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * stats.sem(values))


def verdict(gap: np.ndarray, confidence: float = 0.95) -> str:
    """What paired differences say of "the first is better".

    Args:
        gap: First minus second, one per seed.
        confidence: Of the interval.

    Returns:
        'holds on mini' where the whole interval lies above zero, 'contradicted on mini' where it lies below,
        'undecided' where it contains zero, 'too few seeds' where there is none.
    """
    half = interval(gap, confidence)
    if np.isnan(half):
        return "too few seeds"
    side = 1 + int(gap.mean() > half) - int(-gap.mean() > half)
    return ("contradicted on mini", "undecided", "holds on mini")[side]


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
    scores = only(lines, row).set_index("seed")[metric].astype(float)
    require(scores.index.is_unique, f"row must name one experiment, found several with {dict(row)}")
    return scores


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
    return (by_seed(lines, row, metric) - by_seed(lines, reference, metric)).dropna().to_numpy(float)


def against(lines: pd.DataFrame, row: Row, reference: Row, metric: str = "miou") -> np.ndarray:
    """As `paired`; but where the reference trains nothing (2D fusion), its one score stands for every seed.

    Args:
        lines: See `records.frame`.
        row: Facts of the first row.
        reference: Facts of the second, of one experiment or of one for every seed.
        metric: Column.

    Returns:
        First minus second, float [seeds].
    """
    one = only(lines, reference)
    if len(one) == 1 and one["converged"].isna().all():
        return by_seed(lines, row, metric).to_numpy(float) - float(one[metric].iat[0])
    return paired(lines, row, reference, metric)


def converged(lines: pd.DataFrame) -> str:
    """How many trainings of a row had converged.

    Args:
        lines: Of one row.

    Returns:
        '4 of 5'; '' where nothing was trained (2D fusion).
    """
    trained = lines["converged"].dropna()
    return f"{int(trained.sum())} of {len(trained)}" if len(trained) else ""


def settled(lines: pd.DataFrame, *rows: Row) -> bool:
    """Whether most trainings of each row had converged; else there is no verdict.

    Args:
        lines: See `records.frame`.
        rows: Facts of each row; one without lines, or that trains nothing, does not object.

    Returns:
        True where more than half of each row's had.
    """
    trained = [only(lines, row)["converged"].dropna() for row in rows]
    return all(done.empty or done.astype(bool).mean() > 0.5 for done in trained)
