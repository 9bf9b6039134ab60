"""What a longer training would give: against curves whose continuation is known, and against real gradient descent."""

import numpy as np
import pytest
import torch

from geoguide.pipeline.config import TrainConfig
from geoguide.pipeline.convergence import LEAST_ROWS, gain_left, has_converged

TRAIN = TrainConfig(steps=2000)
ROWS = range(100, 2001, 100)


def way(steps: int) -> float:
    """The sum of the rates of the first steps, as a share of the whole."""
    rates = [TRAIN.rate(step) for step in range(TRAIN.steps)]
    return sum(rates[:steps]) / sum(rates)


def curve(values, noise: float = 0.0, seed: int = 0) -> list[dict[str, float]]:
    generator = np.random.default_rng(seed)
    return [{"step": step, "val_miou": values(step) + noise * generator.standard_normal()} for step in ROWS]


@pytest.mark.parametrize("constant", [0.1, 0.3, 1.0, 3.0])
def test_the_continuation_of_an_exponential_is_known(constant: float) -> None:
    found = gain_left(curve(lambda step: 40 - 30 * np.exp(-way(step) / constant)), TRAIN)
    expected = 30 * (np.exp(-1 / constant) - np.exp(-2 / constant))
    assert found == pytest.approx(expected, rel=0.05, abs=0.02)


def test_the_decay_of_the_rate_hides_what_is_left() -> None:
    """A curve that rises evenly with the way looks flat at its end by steps, but has as much before it again."""
    rising = curve(lambda step: 20 + 10 * way(step))
    late = rising[-1]["val_miou"] - rising[-6]["val_miou"]
    assert late < 1 and gain_left(rising, TRAIN) > 9
    assert has_converged(rising, TRAIN) is False and has_converged(rising, TRAIN, measured=0.4)


def test_what_the_decay_itself_gives_is_not_taken_for_learning() -> None:
    """Noise of large steps goes as the rate falls: the rise of the last rows would not go on at the full rate."""
    rates = [TRAIN.rate(step) / TRAIN.learning_rate for step in range(TRAIN.steps)]
    settled = curve(lambda step: 40 - 20 * np.exp(-way(step) / 0.1) - 2 * rates[step - 1])
    assert settled[-1]["val_miou"] - settled[9]["val_miou"] > 0.9
    assert gain_left(settled, TRAIN) < 1 and has_converged(settled, TRAIN)
    assert has_converged(settled, TRAIN, measured=1.5) is False


def test_a_curve_that_falls_was_trained_for_too_long() -> None:
    """As when a second stage learns from its own answers: that it rises no more is no convergence."""
    fallen = curve(lambda step: 37.0 if step < 1000 else 37 - 4 * (step - 1000) / 1000)
    dented = curve(lambda step: 37.0 if step < 1900 else 36.5)
    assert gain_left(fallen, TRAIN) < 1 and has_converged(fallen, TRAIN) is False
    assert has_converged(fallen, TRAIN, measured=-2.0) is False and has_converged(dented, TRAIN)


def test_noise_around_a_level_is_no_gain() -> None:
    level = {step: 40 - 20 * np.exp(-way(step) / 0.1) for step in ROWS}
    found = [gain_left(curve(level.get, 0.5, seed), TRAIN) for seed in range(200)]
    assert abs(np.median(found)) < 0.2 and np.quantile(np.abs(found), 0.9) < 1


def test_gradient_descent_goes_on_as_told() -> None:
    """Least squares of uneven curvature, descended half way with the schedule and then on at the full rate."""
    torch.manual_seed(0)
    train = TrainConfig(steps=400, learning_rate=0.01)
    curvature = torch.logspace(-1, 0, 20, dtype=torch.float64)
    weights = torch.ones(20, dtype=torch.float64)
    history: list[dict[str, float]] = []

    def loss() -> float:
        return float((curvature * weights.square()).sum())

    for step in range(train.steps):
        weights -= train.rate(step) * curvature * weights
        if (step + 1) % 20 == 0:
            history.append({"step": step + 1, "total": loss()})
    expected = gain_left(history, train, "total")
    end, total = loss(), sum(train.rate(step) for step in range(train.steps))
    for _ in range(round(total / train.learning_rate)):
        weights -= train.learning_rate * curvature * weights
    assert expected is not None and expected == pytest.approx(loss() - end, rel=0.35)


def test_turns_with_the_curve_and_grows_with_the_way() -> None:
    rising = curve(lambda step: 40 - 30 * np.exp(-way(step)))
    falling = [row | {"val_miou": -row["val_miou"]} for row in rising]
    assert gain_left(falling, TRAIN) == pytest.approx(-gain_left(rising, TRAIN))
    gains = [gain_left(rising, TRAIN, longer=longer) for longer in (0.0, 0.5, 1.0, 4.0)]
    assert gains[0] == 0 and gains == sorted(gains)


def test_says_nothing_of_few_rows() -> None:
    rows = curve(lambda step: 40.0)
    assert gain_left(rows[: LEAST_ROWS - 1], TRAIN) is None and has_converged(rows[: LEAST_ROWS - 1], TRAIN) is False
    assert has_converged(rows[:3], TRAIN, measured=0.0) is False
    assert has_converged([{"step": 2000, "total": 1.0}], TRAIN) is None
    assert gain_left(rows, TRAIN, "train_miou") is None and gain_left(rows, TRAIN) == pytest.approx(0)
