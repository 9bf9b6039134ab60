"""Tables: intervals against scipy, pairing by seed, verdicts, ours and the paper's in marked columns."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_records import fake_record
from scipy import stats

from geoguide.errors import DataError, InputError
from geoguide.experiments.presets import LARGE_PRESETS, PRESETS, adapter_only, fusion, preset
from geoguide.experiments.profiles import study, under_protocols
from geoguide.experiments.records import Record, frame, only
from geoguide.frozen import to_dict
from geoguide.method.objective import MODULES
from geoguide.paths import results_root
from geoguide.pipeline.protocols import STRICT
from geoguide.report import evidence, tables
from geoguide.report.key_frame import key_frame_recall
from geoguide.report.labels import labelled, row_label
from geoguide.report.rows import ABLATION, ADAPTER, AS_WRITTEN, ENTIRE, FULL, FUSION, geoguide, route

LESS = geoguide("works-best", "usd")


@pytest.fixture
def found() -> list[Record]:
    shared = np.random.default_rng(0).normal(0, 3, 5)  # what the seeds share cancels in a paired difference
    rows = []
    for seed in range(5):
        for config, mean in ((adapter_only(seed), 50), (preset(seed=seed), 53), (preset(drop="usd", seed=seed), 52)):
            miou = mean + shared[seed]
            rows.append(fake_record(config, miou, macc=miou + 20, converged=seed != 1))
    return [*rows, fake_record(fusion(), 45, macc=66)]


@pytest.fixture
def lines(found: list[Record]) -> pd.DataFrame:
    return frame(found)


def test_interval_is_scipys() -> None:
    values = np.array([1.0, 2.0, 4.0, 4.5])
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert evidence.interval(values) == pytest.approx((high - low) / 2)
    assert np.isnan(evidence.interval(np.array([1.0])))
    assert tables.mean_of(values) == f"{values.mean():.1f} ± {(high - low) / 2:.1f}"
    assert tables.mean_of(values[:1], signed=True) == "+1.00" and tables.mean_of(values[:0]) == ""


def test_differences_are_paired_with_the_full_preset(lines: pd.DataFrame) -> None:
    table = tables.ablation_table(lines).set_index("row")
    less = table.loc["works-best/without usd"]
    assert (less["Δ mIoU to full"], less["Δ mAcc to full"]) == ("-1.00 ± 0.00", "-1.00 ± 0.00")
    mine = only(lines, LESS)["miou"].to_numpy()
    assert evidence.interval(mine) > 1
    assert less["ours mIoU (mini)"] == f"{mine.mean():.1f} ± {evidence.interval(mine):.1f}"
    assert table.loc["works-best/full", "Δ mIoU to full"] == "" == table.loc["adapter only", "Δ mIoU to full"]
    assert list(table.index) == ["2D fusion", "adapter only", "works-best/full", "works-best/without usd"]


def test_paper_and_mini_stand_in_marked_columns(lines: pd.DataFrame) -> None:
    table = tables.ablation_table(lines).set_index("row")
    assert (
        table.loc["works-best/full", "paper mIoU (ScanNet v2, OpenSeg)"]
        == tables.paper("scannet_openseg")["full"]["miou"]
    )
    assert (
        table.loc["works-best/full", "paper mAcc (ScanNet v2, OpenSeg)"]
        == tables.paper("scannet_openseg")["full"]["macc"]
    )
    assert table.loc["works-best/without usd", "paper mIoU (ScanNet v2, OpenSeg)"] == "not available to us"
    assert table.loc["works-best/full", "converged (mini)"] == "4 of 5" and table.loc["2D fusion"].iat[-1] == ""
    assert all("mini" in c or "paper" in c or "Δ" in c or c == "seeds" for c in table.columns)


def test_every_name_of_the_papers_table_is_a_row_of_the_ablation() -> None:
    names = {row_label(row).removeprefix("works-best/") for row in ABLATION}
    assert set(tables.paper("scannet_openseg")) <= names


def test_preliminary_rows_stand_by_2d_model_and_only_openseg_beside_the_paper(found: list[Record]) -> None:
    more = [fake_record(adapter_only(seed, "LSeg-like"), 60.0) for seed in range(5)]
    table = tables.preliminary_table(frame([*found, *more]))
    assert list(table["row"]) == ["2D fusion", "adapter only", "adapter only"]
    assert list(table["2D model"]) == ["OpenSeg-like", "OpenSeg-like", "LSeg-like"]
    stated = tables.paper("scannet_openseg")["adapter only"]
    assert list(table["paper mIoU (ScanNet v2, OpenSeg)"]) == [
        "not available to us",
        stated["miou"],
        "not available to us",
    ]
    assert table["ours mIoU (mini)"].iat[2] == "60.0 ± 0.0" and table["converged"].iat[1] == "4 of 5"


def test_paired_differences(lines: pd.DataFrame) -> None:
    gap = evidence.paired(lines, FULL, ADAPTER)
    np.testing.assert_allclose(gap, 3.0)
    assert evidence.paired(lines, FUSION, ADAPTER).shape == (1,)  # one seed in common


def test_facts_that_fit_several_experiments_are_refused(found: list[Record]) -> None:
    both = frame([*found, fake_record(adapter_only(0, "LSeg-like"))])
    with pytest.raises(InputError, match="must name one experiment"):
        evidence.paired(both, FULL, ADAPTER)
    assert evidence.paired(both, FULL, ADAPTER | {"teacher": "OpenSeg-like"}).shape == (5,)


def test_one_untrained_score_stands_for_every_seed(lines: pd.DataFrame) -> None:
    mine = only(lines, ADAPTER)["miou"].to_numpy()
    np.testing.assert_allclose(evidence.against(lines, ADAPTER, FUSION), mine - 45)
    np.testing.assert_allclose(evidence.against(lines, FULL, ADAPTER), 3.0)
    assert evidence.against(lines, FULL, ENTIRE).size == 0


def test_differences_have_bounds_and_most_of_both_rows_must_have_converged(lines: pd.DataFrame) -> None:
    table = tables.differences(lines, FULL, [ADAPTER, ENTIRE]).set_index("metric")
    assert list(table.index) == ["mIoU", "mAcc"] and set(table["minus"]) == {"adapter only"}
    assert table.loc["mIoU", "difference"] == "+3.00 [+3.00, +3.00]" and table.loc["mIoU", "seeds"] == 5
    assert set(table["row"]) == {"works-best/full"}
    young = lines.assign(converged=lines["converged"].where(lines["method"] != ADAPTER["method"], False))
    assert not evidence.settled(young, FULL, ADAPTER) and evidence.settled(young, FUSION)
    assert tables.differences(lines, FULL, []).empty


def test_a_label_says_the_facts_that_it_is_given() -> None:
    assert row_label(FULL) == "works-best/full" and row_label(AS_WRITTEN | route("nuscenes")) == "as-written/full"
    assert row_label({"method": "GeoGuide", "preset": "as-written", "dropped": ("imr",)}) == "as-written/without imr"
    assert row_label(FULL | {"teacher": "LSeg-like"}) == "works-best/full, LSeg-like"
    assert row_label(ADAPTER | route("scannet", "nuscenes")) == "adapter only on nuscenes"
    assert row_label(FUSION | route("nuscenes") | {"occlusion": "splat"}) == "2D fusion, z-buffer"
    assert row_label(FULL | {"teacher": "scannet_openseg"}) == "works-best/full"  # the folder of real features


def test_labelled_lines_are_those_of_the_rows_in_their_order(lines: pd.DataFrame) -> None:
    told = labelled(lines, [LESS, FUSION])
    assert list(told["row"]) == ["works-best/without usd"] * 5 + ["2D fusion"]
    assert list(told["id"]) == [*only(lines, LESS)["id"], *only(lines, FUSION)["id"]]


def test_protocols_are_paired_with_the_books_own() -> None:
    """Differences hold for the seeds that both have; a protocol without records is not listed."""
    found = []
    for config in under_protocols():
        if config.protocol.mode != "ensemble" and not (config.protocol == STRICT and config.seed == 2):
            found.append(fake_record(config, 40 + 3 * config.seed + (5 if config.protocol == STRICT else 0)))
    table = tables.protocol_table(found).set_index("protocol")
    assert not any("ensemble" in name for name in table.index)
    strict = table.loc["absent classes left out (strict)"]
    assert (strict["Δ mIoU"], strict["Δ mAcc"], strict["seeds"]) == ("+5.00 ± 0.00", "+5.00 ± 0.00", 2)
    assert (table.loc["this book's default", "Δ mIoU"], table.loc["this book's default", "seeds"]) == ("", 3)


def test_studies_are_compared_with_the_unchanged_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    base, changed = (
        fake_record(config, miou, validation=2 * miou)
        for config, miou in zip(study("imr.centre = no"), (40, 42.5), strict=True)
    )

    def find_all(configs: Sequence, folder: object = None) -> list[Record]:
        return [record for record in (base, changed) if record.config in configs]

    monkeypatch.setattr(tables, "find_all", find_all)
    table = tables.study_table(tables.study_effects())
    assert table.to_dict("records") == [
        {
            "option": "imr.centre = no",
            "compared with": "works-best/only imr",
            "Δ mIoU, validation (mini)": "+5.00",
            "Δ mIoU, test (mini)": "+2.50",
            "seeds": 1,
        }
    ]


def test_options_that_nobody_varied() -> None:
    """A module's options count in the records that use it."""
    plain, other = preset("works-best"), preset("works-best").replace(objective__imr__share=0.3, adapter__hidden=(8,))
    named = tables.never_varied(map(fake_record, (plain, other)))
    assert "imr.share" not in named and "adapter.hidden" not in named
    assert {"imr.masks_per_step", "usd.hidden", "adapter.activation"} <= {*named}
    unused = tables.never_varied(map(fake_record, (plain, other.replace(objective__modules=("usd",)))))
    assert "imr.share" in unused


def test_where_we_differ_names_every_option_in_which_works_best_departs() -> None:
    page = (Path(__file__).resolve().parents[1] / "book" / "where_we_differ.md").read_text()
    written, every = PRESETS["as-written"], []
    for best in (PRESETS["works-best"], LARGE_PRESETS["works-best"]):
        for part in MODULES:
            one, other = to_dict(getattr(written, part)), to_dict(getattr(best, part))
            every += [f"`{part}.{name}`" for name in one if one[name] != other[name]]
    assert len(every) > 10 and not [name for name in every if name not in page]


@pytest.mark.parametrize("name, read", [("paper", lambda: tables.paper("main_miou")), ("key_frame", key_frame_recall)])
def test_a_cut_file_of_the_committed_results_is_named(
    name: str, read: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (results_root() / f"{name}.json").read_bytes()
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path))
    (tmp_path / f"{name}.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{name}.json: not valid json, truncated"):
        read()


def test_paper_tables_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path))
    for held in ("[]", '{"main_miou": 3}'):
        (tmp_path / "paper.json").write_text(held)
        with pytest.raises(DataError, match="main_miou must hold rows by name, found"):
            tables.paper("main_miou")
