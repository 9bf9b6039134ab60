"""One verdict: intervals and p-values against scipy, Holm's correction by hand, coverage with few seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from geoguide.errors import ConfigError, InputError
from geoguide.experiments.run import get_all
from geoguide.report import ledger
from geoguide.report.evidence import (
    CONTRADICTED,
    NO_VERDICT,
    SUPPORTED,
    TOO_FEW,
    UNDECIDED,
    against,
    estimate,
    holm,
    interval,
    verdict,
    verdicts,
)

GAP = np.array([1.0, 2.0, 4.0, 4.5])


def test_over_seeds_alone_it_is_students_t() -> None:
    low, high = stats.t.interval(0.9, 3, loc=GAP.mean(), scale=stats.sem(GAP))
    assert estimate(GAP).bounds(0.9) == pytest.approx((low, high))
    for null in (0.0, 2.0, 2.875):
        assert estimate(GAP).p_value(null) == pytest.approx(stats.ttest_1samp(GAP, null).pvalue)
    assert np.isnan(estimate(GAP[:1]).half()) and np.isnan(estimate(GAP[:1]).p_value())


def test_p_value_and_interval_are_of_one_test() -> None:
    """An interval leaves a value out exactly where the p-value of that value is below its level."""
    for scene_error in (0.0, 0.3, 2.0):
        found = estimate(GAP, scene_error, 50)
        for confidence in (0.5, 0.9, 0.99):
            low, high = found.bounds(confidence)
            assert found.p_value(low) == pytest.approx(1 - confidence, abs=1e-6)
            assert found.p_value(high + 1e-3) < 1 - confidence < found.p_value(high - 1e-3)
    assert estimate([2.0, 2.0, 2.0]).p_value(2.0) == 1 and estimate([2.0, 2.0, 2.0]).p_value() == 0


def test_scenes_only_widen_and_add_as_squares() -> None:
    alone, both = estimate(GAP), estimate(GAP, 0.4, 50)
    assert both.half() == pytest.approx(np.hypot(alone.half(), stats.t.ppf(0.975, 49) * 0.4))
    assert both.p_value() > alone.p_value() and both.mean == alone.mean
    with pytest.raises(InputError, match="scene_error must be at least 0, found -1"):
        estimate(GAP, -1.0, 50)


def test_a_score_that_does_not_exist_decides_nothing() -> None:
    """A label set without any scored point has the score NaN, rows of equal scores a rank correlation NaN."""
    nan = float("nan")
    assert estimate([nan, 1.0, 2.0, 4.0, nan]) == estimate([1.0, 2.0, 4.0])
    assert interval([nan, 1.0, 2.0]) == interval([1.0, 2.0]) and estimate([nan, nan]).seeds == 0
    for side in ("higher", "lower"):
        assert verdict(estimate([nan, 1.0, 1.1]), side) == TOO_FEW  # three trainings, two scores
    told, corrected = verdicts([estimate([nan, nan, nan]), estimate([1.0, 1.1, 1.2])])
    assert told == [TOO_FEW, SUPPORTED] and np.isnan(corrected[0])
    assert corrected[1] == pytest.approx(stats.ttest_1samp([1.0, 1.1, 1.2], 0).pvalue)  # a family of one
    lines = pd.DataFrame({"seed": [0, 1, 2, 0], "row": [*"aaab"], "miou": [5.0, nan, 7.0, 2.0]})
    lines["converged"] = [True, True, True, None]
    assert against(lines, {"row": "a"}, {"row": "b"}).tolist() == [3.0, 5.0]


def test_of_one_scene_nothing_follows() -> None:
    found = estimate(GAP, float("inf"), 1)
    assert found.p_value() == 1 and verdict(found) == UNDECIDED and found.bounds() == (-np.inf, np.inf)


def test_a_difference_of_rounding_is_none() -> None:
    """Scores in points: 45.1 + 0.2 is not 45.3 to a computer, in every seed alike."""
    gap = np.full(3, (45.1 + 0.2) - 45.3)
    assert gap.any() and verdict(estimate(gap)) == verdict(estimate(gap), "lower") == UNDECIDED
    assert verdict(estimate(1 + gap)) == SUPPORTED and verdict(estimate(1 + gap), null=1.0) == UNDECIDED


def test_few_seeds_and_scenes_are_covered() -> None:
    """With three seeds the percentile bootstrap of seeds and scenes misses too often; this interval does not."""
    rng, tries, seeds, scenes = np.random.default_rng(5), 600, 3, 40
    held = np.zeros(2)
    for _ in range(tries):
        found = rng.normal(0, 1, (seeds, 1)) + rng.normal(0, np.sqrt(scenes / seeds), (1, scenes))
        gap, by_scene = found.mean(axis=1), found.mean(axis=0)
        drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=300) / seeds
        weights = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=300) / scenes
        bootstrap = np.percentile((drawn @ found * weights).sum(axis=1), [2.5, 97.5])
        ends = np.array([bootstrap, estimate(gap, float(stats.sem(by_scene)), scenes).bounds()])
        held += (ends[:, 0] < 0) & (ends[:, 1] > 0)
    assert held[0] / tries < 0.93 and held[1] / tries > 0.945


def test_holm_by_hand() -> None:
    # 4 x 0.005 = 0.02; 3 x 0.01 = 0.03; 2 x 0.03 = 0.06; 1 x 0.04 is raised to 0.06.
    np.testing.assert_allclose(holm([0.03, 0.005, 0.04, 0.01]), [0.06, 0.02, 0.06, 0.03])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([]).shape == (0,) and holm([0.2]).tolist() == [0.2]


def test_holm_is_between_the_plain_and_bonferronis() -> None:
    values = np.random.default_rng(0).random(20) ** 3
    corrected = holm(values)
    assert (corrected >= values).all() and (corrected <= np.minimum(1, 20 * values)).all()
    assert (np.diff(corrected[np.argsort(values)]) >= 0).all()


def test_verdicts_by_hand() -> None:
    high = estimate([3.0, 3.1, 2.9])
    assert verdict(high) == SUPPORTED and verdict(high, "lower") == CONTRADICTED
    assert verdict(high, null=5.9) == CONTRADICTED and verdict(high, "lower", null=5.9) == SUPPORTED
    assert verdict(estimate([-1.0, 1.0, 2.0])) == UNDECIDED and verdict(high, p=0.06) == UNDECIDED
    assert verdict(estimate([5.0, 5.1])) == TOO_FEW and verdict(estimate([5.0])) == TOO_FEW
    assert verdict(high, settled=False) == NO_VERDICT


def test_a_family_is_corrected_without_those_that_have_no_verdict() -> None:
    found = [estimate([1.0, 2.0, 3.0]), estimate([1.0, 1.1, 1.2]), estimate([5.0, 5.0]), estimate([1.0, 1.1, 1.2])]
    told, corrected = verdicts(found, settled=[True, True, True, False])
    alone = [one.p_value() for one in found]
    assert told == [UNDECIDED, SUPPORTED, TOO_FEW, NO_VERDICT]
    np.testing.assert_allclose(corrected, [alone[0], 2 * alone[1], np.nan, np.nan])
    assert verdicts([]) == ([], pytest.approx([]))


def test_text_never_rounds_a_bound_to_zero() -> None:
    assert estimate([-0.5, -0.2, -0.3]).text() == "-0.33 [-0.71, +0.05]" and estimate([1.25]).text() == "+1.25"
    for shift in (0.001, -0.001, 0.0004):
        found = estimate(GAP)
        near = estimate(GAP - found.bounds()[0] + shift)
        assert float(near.text().split("[")[1].split(",")[0]) * shift > 0
    assert interval(GAP) == estimate(GAP).half()


@pytest.mark.parametrize("confidence", [95, 1, 1.0, -0.1, float("nan"), "0.95", None])
def test_what_is_no_confidence_is_refused(confidence: object) -> None:
    """Of 95 for 0.95 every interval was no number, and every verdict undecided."""
    for judge in (lambda: estimate([1.0, 2.0, 3.0]).text(confidence), lambda: ledger.verdicts(("small",), confidence)):
        with pytest.raises(InputError, match="confidence must lie between 0 and 1, such as 0.95, found"):
            judge()


@pytest.mark.parametrize("confidence", [0.0, 0, 0.5, 0.9, 0.95, 0.99, 0.999999, np.float64(0.95)])
def test_a_confidence_gives_an_interval(confidence: float) -> None:
    assert estimate([1.0, 2.0, 3.0]).half(confidence) >= 0


def test_an_unknown_edition_is_refused() -> None:
    """Of a misspelt one it was said that there are no records."""
    for read in (lambda: ledger.verdicts(("huge",)), lambda: get_all([], "huge")):
        with pytest.raises(ConfigError, match="unknown edition 'huge'"):
            read()
