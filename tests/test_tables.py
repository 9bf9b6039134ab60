"""Tables: intervals against scipy, pairing by seed, the README between its markers."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from geoguide.errors import DataError
from geoguide.pipeline.protocols import STRICT
from geoguide.report import tables


@pytest.fixture
def lines() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 3, 5)  # what the seeds share cancels in a paired difference
    rows = []
    for row, mean in (("adapter only", 50), ("works-best/full", 53), ("works-best/without usd", 52)):
        for seed in range(5):
            scores = {"miou": mean + shared[seed], "macc": mean + 20 + shared[seed]}
            rows.append({"row": row, "seed": seed, **scores, "converged": seed != 1})
    rows.append({"row": "2D fusion", "seed": 0, "miou": 45, "macc": 66, "converged": None})
    return pd.DataFrame(rows)


def test_interval_is_scipys() -> None:
    values = np.array([1.0, 2.0, 4.0, 4.5])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert tables.interval(values) == pytest.approx((high - low) / 2)
    assert np.isnan(tables.interval(np.array([1.0])))


def test_differences_are_paired(lines: pd.DataFrame) -> None:
    summary = tables.summary(lines, "full").set_index("row")
    gap = summary.loc["works-best/without usd"]
    assert gap["miou_gap"] == pytest.approx(-1) and gap["miou_gap_ci"] == pytest.approx(0, abs=1e-9)
    assert gap["miou_ci"] > 1
    assert np.isnan(summary.loc["works-best/full"].get("miou_gap", np.nan))


def test_paper_and_mini_stand_in_marked_columns(lines: pd.DataFrame) -> None:
    table = tables.ablation_table(lines).set_index("row")
    assert table.loc["works-best/full", "paper mIoU (ScanNet v2)"] == tables.paper("scannet_openseg")["full"]["miou"]
    assert table.loc["works-best/without usd", "paper mIoU (ScanNet v2)"] == "not stated"
    assert table.loc["works-best/full", "converged (mini)"] == "4 of 5" and table.loc["2D fusion"].iat[-1] == ""
    assert all("mini" in c or "paper" in c or "Δ" in c or c == "seeds" for c in table.columns)


def test_no_records_is_an_error() -> None:
    with pytest.raises(DataError, match="no records"):
        tables.frame([])


def test_preliminary_rows_stand_by_2d_model_and_only_openseg_beside_the_paper(lines: pd.DataFrame) -> None:
    more = lines[lines["row"] == "adapter only"].assign(row="adapter only, LSeg-like", miou=60.0)
    table = tables.preliminary_table(pd.concat([lines, more]))
    assert list(table["row"]) == ["2D fusion", "adapter only", "adapter only"]
    assert list(table["2D model (simulated)"]) == ["OpenSeg-like", "OpenSeg-like", "LSeg-like"]
    stated = tables.paper("scannet_openseg")["adapter only"]
    assert list(table["paper mIoU (ScanNet v2)"]) == ["not stated", stated["miou"], "not stated"]
    assert table["ours mIoU (mini)"].iat[2] == "60.0 ± 0.0" and table["converged"].iat[1] == "4 of 5"


def test_paired_differences_and_their_verdict(lines: pd.DataFrame) -> None:
    gap = tables.paired(lines, "works-best/full", "adapter only")
    np.testing.assert_allclose(gap, 3.0)
    assert tables.paired(lines, "2D fusion", "adapter only").shape == (1,)  # one seed in common
    assert tables.verdict(gap) == "holds on mini" and tables.verdict(-gap) == "contradicted on mini"
    assert tables.verdict(np.array([-1.0, 1.0, 2.0])) == "undecided"
    assert tables.verdict(np.array([5.0])) == "too few seeds"


def test_one_untrained_score_stands_for_every_seed(lines: pd.DataFrame) -> None:
    mine = lines.loc[lines["row"] == "adapter only", "miou"].to_numpy()
    np.testing.assert_allclose(tables.against(lines, "adapter only", "2D fusion"), mine - 45)
    np.testing.assert_allclose(tables.against(lines, "works-best/full", "adapter only"), 3.0)
    assert tables.against(lines, "works-best/full", "entire network").size == 0


def test_differences_carry_their_verdict_and_none_where_most_runs_go_on_improving(lines: pd.DataFrame) -> None:
    table = tables.differences(lines, "works-best/full", ["adapter only", "entire network"]).set_index("metric")
    assert list(table.index) == ["mIoU", "mAcc"] and set(table["minus"]) == {"adapter only"}
    assert table.loc["mIoU", "difference"] == "+3.0 ± 0.0" and table.loc["mIoU", "seeds"] == 5
    assert set(table["the row scores higher"]) == {"holds on mini"}
    young = lines.assign(converged=lines["converged"].where(lines["row"] != "adapter only", False))
    assert not tables.settled(young, "works-best/full", "adapter only") and tables.settled(young, "2D fusion")
    told = tables.differences(young, "works-best/full", ["adapter only"])["the row scores higher"]
    assert set(told) == {tables.NO_VERDICT}
    assert tables.differences(lines, "works-best/full", []).empty


def test_rows_are_called_after_where_they_were_scored_and_without_their_2d_model(lines: pd.DataFrame) -> None:
    assert set(tables.labelled(lines, "houses")["row"]) == {f"{row} (houses)" for row in lines["row"]}
    assert tables.base_row("works-best/full, LSeg-like") == "works-best/full" == tables.base_row("works-best/full")


def test_protocols_are_paired_with_the_books_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences hold for the seeds that both have; a protocol without records is not listed."""

    def find(config, folder=None):
        if config.protocol.mode == "ensemble" or (config.protocol == STRICT and config.seed == 2):
            return None
        miou = 40 + 3 * config.seed + (5 if config.protocol == STRICT else 0)
        return {"seed": config.seed, "metrics": {"miou": miou, "macc": miou + 10}}

    monkeypatch.setattr(tables.records, "find", find)
    table = tables.protocol_table().set_index("protocol")
    assert not any("ensemble" in name for name in table.index)
    strict = table.loc["absent classes left out (strict)"]
    assert (strict["Δ mIoU"], strict["Δ mAcc"], strict["seeds"]) == ("+5.0 ± 0.0", "+5.0 ± 0.0", 2)
    assert (table.loc["this book's default", "Δ mIoU"], table.loc["this book's default", "seeds"]) == ("", 3)
