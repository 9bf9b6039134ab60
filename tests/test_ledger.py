"""The claims ledger: its tests name rows that exist, in order, and each verdict is that of the paired scores."""

import pandas as pd
import pytest

from geoguide.experiments import facts
from geoguide.report.evidence import NO_VERDICT, against, verdict
from geoguide.report.ledger import COLUMNS, by_claim, claim_tests, ledger, ledger_lines


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return ledger_lines("small")


@pytest.fixture(scope="module")
def small(lines: pd.DataFrame) -> pd.DataFrame:
    return ledger(lines, "small")


def test_every_test_of_the_small_edition_has_its_rows(small: pd.DataFrame) -> None:
    """A fact that no record has would take a claim out of the table without a word."""
    assert tuple(small.columns) == COLUMNS
    shown = set(zip(small["claim"], small["what"], strict=True))
    left_out = [test for test in claim_tests("small") if (test.claim, test.what) not in shown]
    assert len(small) == 2 * len(shown)
    assert all(test.worse["method"] in (facts.SCRATCH, facts.TUNED) for test in left_out)  # nobody ran these there


def test_verdicts_are_those_of_the_paired_scores(lines: pd.DataFrame, small: pd.DataFrame) -> None:
    told = small[small["metric"] == "mIoU"].set_index(["claim", "what"])
    for test in claim_tests("small"):
        if (test.claim, test.what) in told.index:
            gap, line = against(lines, test.better, test.worse), told.loc[(test.claim, test.what)]
            assert line["seeds"] == len(gap) and line["verdict"] in (verdict(gap), NO_VERDICT)


def test_editions_are_never_mixed() -> None:
    for edition, model in (("small", "OpenSeg-like"), ("large", "lseg-mini")):
        lines = ledger_lines(edition)
        assert set(ledger(lines, edition)["edition"]) == {edition} == set(lines["edition"].dropna())
        assert {test.better["teacher"] for test in claim_tests(edition) if test.claim == "C3"} == {model}


def test_the_order_is_that_of_the_claims() -> None:
    table = pd.DataFrame({"claim": ["C10", "C2", "C10", "C1"], "what": list("abcd")})
    assert by_claim(table)["what"].tolist() == ["d", "b", "a", "c"]
