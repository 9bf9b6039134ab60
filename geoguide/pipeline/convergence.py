"""Would a longer training have learned more? Judged apart from the decay of the rate, which flattens every curve."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from geoguide.pipeline.config import TrainConfig

# Time constants that are tried, as shares of the whole training: at 16 a curve cannot be told from a straight line; at
# 1/16 two rows of a curve of twenty are one time constant apart.
CONSTANTS = np.geomspace(1 / 16, 16, 33)
LONGER = 2  # times the steps: whether a training was long enough is measured so, or foretold
TOLERANCE = 1.0  # percentage points of validation mIoU
LEAST_ROWS = 8  # of a curve with three unknowns and noise


def gain_left(
    history: Sequence[Mapping[str, float]], train: TrainConfig, name: str = "val_miou", longer: float = 1.0
) -> float | None:
    """Estimate how much a quantity would still change if the training went on at its full rate.

    A decaying rate forces the end of every curve to be flat: the last quarter of the steps makes 7 % of the way. So the
    curve is taken over the *way*, the sum of the learning rates until each row, in which gradient descent with small
    steps does not see the schedule. y = a - b exp(-way / c) is fitted by least squares, each row with the weight of its
    rate, so that what the decay itself gives (the noise of large steps goes) counts little; best where the rate was
    constant for most of the steps (`train.decay` below 1). The fit is read off at a way that is longer. Neither further
    steps nor a checkpoint are needed.

    It is an extrapolation, and knows nothing of what has not begun: of a training in few rooms it foretells 1.8 points
    of validation mIoU more where twice the steps gave 1.1 less, from overfitting. Chapter 07 sets the forecasts beside
    what the committed trainings of twice the steps gave.

    Args:
        history: Rows with `step` and the quantity, as in `Fit` and in records.
        train: The training's config: its schedule.
        name: The quantity: val_miou, train_miou or a loss term.
        longer: How much longer the way is, as a share: 1 is the whole training again, at the highest rate.

    Returns:
        What the fit changes by from the end of the training to there; above 0 where the quantity rises. None where
        rows are fewer than `LEAST_ROWS`, or lack the quantity.

    Example:
        A curve that is straight in the way has as much before it as behind it:

        >>> train = TrainConfig(steps=1000)
        >>> way = np.cumsum([train.rate(step) for step in range(1000)]) / train.learning_rate
        >>> rows = [{"step": step, "val_miou": 0.05 * way[step - 1]} for step in range(50, 1001, 50)]
        >>> bool(gain_left(rows, train) > 0.8 * rows[-1]["val_miou"])
        True
    """
    if len(history) < LEAST_ROWS or not all(name in row for row in history):
        return None
    return _gain_left(tuple(int(row["step"]) for row in history), tuple(row[name] for row in history), train, longer)


@functools.lru_cache(maxsize=4096)
def _gain_left(steps: tuple[int, ...], values: tuple[float, ...], train: TrainConfig, longer: float) -> float:
    """See `gain_left`; kept, since every table of a page asks it of the same records."""
    rates, last = _rates(train), np.array(steps) - 1  # [steps]; [n]
    ways, weights = rates.cumsum()[last] / rates.sum(), np.sqrt(rates[last])  # [n] each; shares of the whole
    falls = -np.exp(-ways / CONSTANTS[:, None])  # [constants, n]
    columns = np.stack([np.ones_like(falls), falls], axis=2) * weights[:, None]  # [constants, n, 2]
    target = np.array(values) * weights  # [n]
    fitted = np.linalg.pinv(columns, rcond=len(last) * np.finfo(float).eps) @ target  # a and b, [constants, 2]
    errors = np.square((columns @ fitted[..., None])[..., 0] - target).sum(axis=1)  # [constants]
    best = errors.argmin()
    slope, constant = fitted[best, 1], CONSTANTS[best]
    return float(slope * (np.exp(-1 / constant) - np.exp(-(1 + longer) / constant)))


@functools.lru_cache(maxsize=64)
def _rates(train: TrainConfig) -> np.ndarray:
    """The learning rate of every step; many trainings share a schedule."""
    return np.array([train.rate(step) for step in range(train.steps)])


def has_converged(
    history: Sequence[Mapping[str, float]], train: TrainConfig, measured: float | None = None
) -> bool | None:
    """Say whether a training was long enough: a longer one does not lift validation mIoU, and it did not lower it.

    Args:
        history: Rows with `step` and `val_miou` in %.
        train: The training's config.
        measured: By what a training of `LONGER` times the steps ended higher; None: `gain_left` foretells it.

    Returns:
        True where that is less than `TOLERANCE`, and the last quarter of the curve lies less than `TOLERANCE` below the
        best stretch of its length. False also where there are too few rows to say; None without a validation curve,
        from which alone it can be told: over 172 committed trainings the loss fell by 5 % (median) between the last two
        quarters whether mIoU rose or not.
    """
    if not all("val_miou" in row for row in history):
        return None
    gain = gain_left(history, train, longer=LONGER - 1) if measured is None else measured
    if gain is None or len(history) < LEAST_ROWS:
        return False
    stretch = np.ones(len(history) // 4) / (len(history) // 4)
    means = np.convolve([row["val_miou"] for row in history], stretch, mode="valid")
    return bool(gain < TOLERANCE and means.max() - means[-1] < TOLERANCE)
