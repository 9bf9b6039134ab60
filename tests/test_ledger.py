"""The claims ledger: its tests name rows that exist, in order, and each verdict is that of the paired scores."""

from dataclasses import replace

import pandas as pd
import pytest
from fake_records import fake_record
from scipy import stats

from geoguide.experiments import facts, regime
from geoguide.experiments.presets import SYSTEMS, adapter_only, preset
from geoguide.experiments.records import find, only, read_all
from geoguide.experiments.regime import in_regime
from geoguide.report import ledger_page
from geoguide.report.claim_tests import HERE, LONG, PAIRS, SEEDS, TOGETHER, WORLDS, claim_tests, own_models
from geoguide.report.claims import CLAIMS, NOT_TESTABLE, paper_concordance, paper_says
from geoguide.report.evidence import (
    CONTRADICTED,
    DECIDED,
    NO_VERDICT,
    SUPPORTED,
    TOO_FEW,
    UNDECIDED,
    against,
    estimate,
    holm,
    settled,
)
from geoguide.report.ledger import COLUMNS, by_claim, ledger, ledger_lines, together, verdicts
from geoguide.report.rows import ADAPTER, FULL, geoguide
from geoguide.report.tables import METRICS


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    return ledger_lines("small")


@pytest.fixture(scope="module")
def small(lines: pd.DataFrame) -> pd.DataFrame:
    return ledger(lines, "small")


def test_every_test_of_the_small_edition_has_its_rows(small: pd.DataFrame) -> None:
    """A fact that no record has would take a claim out of the table without a word."""
    assert tuple(small.columns) == COLUMNS
    shown = set(zip(small["claim"], small["test"], small["metric"], strict=True))
    every = [(test, metric) for test in claim_tests("small") for metric in test.metrics]
    left_out = [test for test, metric in every if (test.claim, test.what, metric) not in shown]
    assert len(small) == len(shown) == len(every) - len(left_out) + 1  # and C6's pairs of rows
    unrun = (facts.SCRATCH, facts.TUNED, facts.STILL, *SYSTEMS)  # entire networks that nobody ran there
    assert all(test.second["method"] in unrun for test in left_out)


def test_verdicts_are_those_of_the_paired_scores_after_holm(lines: pd.DataFrame, small: pd.DataFrame) -> None:
    """From the scores again, family by family: C3 has tests of both metrics, C1 tests of both directions."""
    for claim in ("C1", "C3", "C5", "C9"):
        told = small[(small["claim"] == claim) & ~small["aside"]].set_index(["test", "metric"])
        judged, said = [], []
        for test in claim_tests("small"):
            for metric in test.metrics if test.claim == claim and not test.aside else ():
                gap, row = against(lines, test.first, test.second, METRICS[metric]), told.loc[(test.what, metric)]
                if len(gap) < 3:
                    assert row["verdict"] == TOO_FEW
                elif not settled(lines, test.first, test.second):
                    assert row["verdict"] == NO_VERDICT
                else:
                    judged.append(stats.ttest_1samp(gap, test.least).pvalue)
                    said.append((row, (gap.mean() > test.least) == (test.says == "higher")))
        for p, (row, agrees) in zip(holm(judged), said, strict=True):
            assert row["p"] == pytest.approx(p)
            assert row["verdict"] == (UNDECIDED if p >= 0.05 else SUPPORTED if agrees else CONTRADICTED)


def test_no_verdict_from_fewer_than_three_seeds(small: pd.DataFrame) -> None:
    few = small["over"].str.split().str[0].astype(int) < 3
    assert few.any() and not small[few]["verdict"].isin(DECIDED).any()


def test_a_frozen_win_under_an_lseg_like_model_contradicts(small: pd.DataFrame) -> None:
    """The paper's second half of C1: with LSeg the adapter does not win."""
    half = small[(small["claim"] == "C1") & small["test"].str.contains("LSeg-like")].iloc[0]
    assert half["says"].startswith("lower") and half["difference"].startswith("+") and half["verdict"] == CONTRADICTED


def test_size_and_pairs_have_tests_of_their_own(small: pd.DataFrame) -> None:
    (size,) = [test for test in claim_tests("small") if test.claim == "C9"]
    assert size.least == pytest.approx(5.9) and "+5.9" in size.what
    pairs = small[small["test"] == TOGETHER].iloc[0]
    assert (pairs["claim"], pairs["metric"], pairs["of"]) == ("C6", "both", PAIRS) and 0 <= pairs["p"] <= 1
    assert paper_concordance() == (2, 3)  # by hand: 47.5 / 70.7, 50.4 / 75.2, 53.4 / 74.8
    assert "-0.4 mAcc" in paper_says("C6") and paper_says("C4") == "not available to us"


def test_a_row_with_more_miou_and_less_macc_refutes_that_they_rise_together(lines: pd.DataFrame) -> None:
    """By hand, of the pairs themselves: what the ranks have in common over seeds says nothing of other rows."""
    rooms = only(lines, HERE | {"teacher": own_models("small")["scannet"]})
    told = together(rooms, "small")
    assert told is not None and told["verdict"] == UNDECIDED and "[" not in told["difference"]
    full, adapter, least = (only(rooms, row) for row in (FULL, ADAPTER, geoguide("works-best", "iirc")))

    def of(*parts: pd.DataFrame) -> dict:
        told = together(pd.concat(parts), "small")
        assert told is not None
        return told

    alike, mirrored = full.assign(macc=full["miou"]), full.assign(macc=-full["miou"])
    low = adapter.assign(macc=adapter["miou"])
    assert of(alike, low)["verdict"] == SUPPORTED
    p = stats.ttest_1samp(against(rooms, ADAPTER, FULL), 0).pvalue
    assert of(alike, low)["p"] == pytest.approx(p) and "1 of 1 pairs alike, 0 opposite" in of(alike, low)["difference"]
    refuted = of(mirrored, adapter.assign(macc=-adapter["miou"]), least.assign(macc=-least["miou"]))
    assert refuted["verdict"] == CONTRADICTED and refuted["difference"].startswith("0 of 3 pairs alike, ")
    assert " less " in refuted["of"] and refuted["p"] < 0.05
    still = of(full.assign(macc=[1.0, -1.0, 1.0, -1.0, 0.5]), adapter.assign(macc=0.0))  # mIoU alone is decided
    assert still["verdict"] == UNDECIDED and together(full, "small") is None


@pytest.fixture(scope="module")
def large() -> pd.DataFrame:
    return ledger_lines("large")


def test_scenes_widen_the_intervals_of_records_that_keep_them(large: pd.DataFrame) -> None:
    from geoguide.experiments.records import read_all

    found = [record for record in read_all() if record.facts.edition == "large"]
    plain, both = (ledger(large, "large", held) for held in ((), found))
    assert both["over"].str.contains(" x ").any() and not plain["over"].str.contains(" x ").any()
    kept = both["over"].str.contains(" x ") & both["difference"].str.contains(r"\[")
    for narrow, wide in zip(plain[kept]["difference"], both[kept]["difference"], strict=True):
        ends = [[float(x) for x in text[text.index("[") + 1 : -1].split(", ")] for text in (narrow, wide)]
        assert narrow.split()[0] == wide.split()[0] and ends[1][1] - ends[1][0] > ends[0][1] - ends[0][0]


def test_every_test_says_what_is_drawn_anew() -> None:
    """A score whose row does not say so would never get the error of its scenes."""
    for edition in ("small", "large"):
        assert {test.first.get("over") for test in claim_tests(edition)} <= {SEEDS, WORLDS}


def test_editions_are_never_mixed(lines: pd.DataFrame, large: pd.DataFrame) -> None:
    for edition, model, held in (("small", "OpenSeg-like", lines), ("large", "lseg-mini", large)):
        assert set(ledger(held, edition)["edition"]) == {edition} == set(held["edition"].dropna())
        rooms = [test for test in claim_tests(edition) if test.claim == "C3" and test.first["tested_on"] == "scannet"]
        assert {test.first["teacher"] for test in rooms} == {model}


def test_the_order_is_that_of_the_claims() -> None:
    table = pd.DataFrame({"claim": ["C10", "C2", "C10", "C1"], "what": list("abcd")})
    assert by_claim(table)["what"].tolist() == ["d", "b", "a", "c"]
    assert [claim.name for claim in CLAIMS] == [f"C{number}" for number in range(1, 13)]


def test_a_claim_asserts_all_of_its_tests() -> None:
    def told(*said: str, complete: bool = True) -> str:
        return ledger_page.claim_verdict(pd.DataFrame({"verdict": said}), complete)

    assert told(SUPPORTED, SUPPORTED) == SUPPORTED and told(SUPPORTED, CONTRADICTED, NO_VERDICT) == CONTRADICTED
    assert told(SUPPORTED, SUPPORTED, complete=False) == told(SUPPORTED, NO_VERDICT) == told(UNDECIDED) == UNDECIDED
    assert told(TOO_FEW, TOO_FEW) == TOO_FEW and told() == ledger_page.PENDING


def test_the_page_has_every_claim_once_with_its_verdict_and_tests(small: pd.DataFrame) -> None:
    rows = {row["claim"]: row for row in ledger_page.claim_rows(small, ("small",))}
    assert list(rows) == [claim.name for claim in CLAIMS] and rows["C8"]["verdict"] == "holds by construction"
    assert rows["C1"]["verdict"] == CONTRADICTED and "LSeg-like" in rows["C1"]["test"]
    assert rows["C11"]["verdict"] == ledger_page.ELSEWHERE and rows["C11"]["effect"] == ""
    page, folds = ledger_page.page(small, ("small",)), ledger_page.folds(small, ("small",))
    assert page.count("<tr>") == 13 and folds.count("<details") == folds.count("</details>") == 12
    assert all(f'href="#{name}"' in page and f'id="{name}"' in folds for name in rows)
    assert folds.count("<td>") == len(small) * len(ledger_page.SHOWN) and "No test of it was run" in folds
    one = {"ratio": 0.9674, "low": 0.9307, "high": 1.0055, "pairs": 24}
    cost = {"seconds": one, "processor_seconds": one, "peak_mb": one, "same_graph": True, "same_tensors": True}
    told = ledger_page.cost_effect(cost)
    assert told.count("0.967 [0.931, 1.006] times the ") == 3 and "NOT" not in told
    assert "graphs NOT identical" in ledger_page.cost_effect(cost | {"same_tensors": False})
    page, folds = (make(small, ("small",), {"C8": told}) for make in (ledger_page.page, ledger_page.folds))
    assert f"<td>{told}</td>" in page and f"Measured: {told}." in folds


def test_a_claim_that_the_other_edition_tests_is_testable(small: pd.DataFrame) -> None:
    """Regions of other quality were run on the large edition alone; that C8 is tested by no rows holds for both."""
    said = {row["claim"]: row["by edition"] for row in ledger_page.claim_rows(small, ("large", "small"))}
    assert said["C11"] == {"large": ledger_page.PENDING, "small": ledger_page.ELSEWHERE}
    assert set(said["C8"].values()) == {"holds by construction"}
    assert all(NOT_TESTABLE not in verdicts.values() for verdicts in said.values())


def test_other_chapters_quote_the_ledger(small: pd.DataFrame) -> None:
    told = ledger_page.story(small, "C3")
    mine = small[small["claim"] == "C3"]
    assert len(told) == mine["test"].nunique() and all("C3" in line and "**" in line for line in told)
    assert all(f"**{x['verdict']}** in {x['metric']}: {x['difference']}" in "\n".join(told) for _, x in mine.iterrows())
    assert ledger_page.story(small, "C8") == []
    assert estimate([1.0]).text() == "+1.00"


def test_some_claims_have_the_lines_of_the_whole_table():
    """Each claim's tests are families of their own, so what a page leaves out changes nothing of what it shows."""
    whole = verdicts()
    for claims in (["C3"], ("C1", "C12"), ("C2", "C5", "C9"), ["C6"], ["C10"], ("C4", "C11")):
        for editions in (["small"], ["large"], ["large", "small"]):
            told = whole[whole["claim"].isin(claims) & whole["edition"].isin(editions)]
            if len(told):
                pd.testing.assert_frame_equal(verdicts(editions, claims=claims), told.reset_index(drop=True))
    assert verdicts(claims=["C8"]).empty and set(verdicts(["small"], claims=["C7"])["claim"]) <= {"C7"}
    assert ledger_page.story(whole[whole["claim"] == "C3"]) == ledger_page.story(whole, "C3")


def test_trainings_for_longer_are_judged_and_told():
    if any(find(config) is None for config in regime.longer()):
        pytest.skip("the committed records are not here")
    table = verdicts(["large"])
    lines = table[table["test"] == LONG]
    assert set(lines["metric"]) == {"mIoU", "mAcc"} and lines["aside"].all()
    (told,) = ledger_page.longer(table)
    assert all(difference in told for difference in lines["difference"])
    assert ledger_page.longer(table[table["test"] != LONG]) == []


def test_findings_tell_each_test_up_to_the_first_edition_that_decides() -> None:
    question, (first, second, third) = next(
        (question, [*tests.items()]) for question, tests in ledger_page.FINDINGS.items() if len(tests) == 3
    )
    rows = [
        (first[1], "large", NO_VERDICT, "+1.00", "mIoU"),
        (first[1], "small", SUPPORTED, "+2.00", "mIoU"),
        (second[1], "large", UNDECIDED, "+0.10", "mIoU"),
        (second[1], "large", CONTRADICTED, "-3.00", "mAcc"),
        (second[1], "small", SUPPORTED, "+4.00", "mIoU"),
    ]
    table = pd.DataFrame(rows, columns=["test", "edition", "verdict", "difference", "metric"])
    table = table.assign(claim="C3", aside=False, over="3 seeds")
    assert ledger_page.findings(table).splitlines()[2:] == [
        f"| **{question}** |  |  |",
        f"| {first[0]} | **{NO_VERDICT}**, +1.00 mIoU | **{SUPPORTED}**, +2.00 mIoU |",
        f"| {second[0]} | **{UNDECIDED}**, +0.10 mIoU<br>**{CONTRADICTED}**, -3.00 mAcc |  |",
    ]
    assert ledger_page.findings(table[table["edition"] == "small"]).splitlines()[3:] == [
        f"| {first[0]} |  | **{SUPPORTED}**, +2.00 mIoU |",
        f"| {second[0]} |  | **{SUPPORTED}**, +4.00 mIoU |",
    ]
    assert len(ledger_page.findings(table[:0]).splitlines()) == 2 and third[1] not in set(table["test"])
    assert len(ledger_page.against(table)) == 1 and "-3.00 mAcc" in ledger_page.against(table)[0]
    assert ledger_page.against(table, told=False) == ["- No other test was contradicted."]
    later = table.assign(verdict=[NO_VERDICT, SUPPORTED, UNDECIDED, SUPPORTED, CONTRADICTED])
    assert "+4.00 mIoU" in ledger_page.against(later, told=False)[0]  # the large edition was told, not the small one


def test_every_finding_names_tests_that_exist() -> None:
    known = {test.what for edition in ("small", "large") for test in claim_tests(edition)}
    assert {what for tests in ledger_page.FINDINGS.values() for what in tests.values()} <= known


def test_an_experiment_of_no_profile_moves_no_verdict(small: pd.DataFrame, lines: pd.DataFrame) -> None:
    """Its facts may be those of a row of the book: a further seed, a 2D model of a known name, another backbone."""
    config = preset("works-best")
    model = in_regime(config).image_model
    own = [
        config.replace(seed=77),
        config.replace(backbone__name="sonata"),
        in_regime(config.replace(backbone__name="sonata-mini")),
        adapter_only().replace(backbone__name="sonata-mini-5cm+descriptors"),
        in_regime(adapter_only()).replace(image_model=replace(model, identity="0")),
    ]
    own = [fake_record(one, 99.0) for one in own]
    assert any(record.facts.plain for record in own)
    pd.testing.assert_frame_equal(ledger_lines("small", [*read_all(), *own]), lines)
