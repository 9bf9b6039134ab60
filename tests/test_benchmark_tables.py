"""The main table: ours and the paper's in columns of their own, each with its source."""

from dataclasses import replace

import pandas as pd
import pytest
from fake_records import fake_record

from geoguide.benchmarks import NAMES
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import on
from geoguide.experiments.presets import TEACHERS, adapter_only, fusion, preset, system
from geoguide.experiments.profiles import main_table, occlusion, systems
from geoguide.experiments.records import Record, frame
from geoguide.report import main_table as benchmark_tables
from geoguide.report import tables
from geoguide.report.rows import ADAPTER


def made(teacher: str = "OpenSeg-like", dataset: str = "scannet") -> list[Record]:
    rows = main_table(dataset, features=teacher)
    kept = {fusion().name: 45, adapter_only().name: 50, preset().name: 53}
    named = {name if teacher == "OpenSeg-like" else f"{name}, {teacher}": miou for name, miou in kept.items()}
    return [
        fake_record(c, named[c.name] + c.seed, macc=named[c.name] + 20, converged=c.seed != 1)
        for c in rows
        if c.name in named
    ]


@pytest.mark.parametrize("teacher", list(TEACHERS))
def test_main_table_sets_ours_beside_both_of_the_papers_sources(teacher: str) -> None:
    lines, said = frame(made(teacher)), "" if teacher == "OpenSeg-like" else f", {teacher}"
    table = benchmark_tables.benchmark_table(lines, "scannet").set_index("row")
    assert list(table.index) == [f"{row}{said}" for row in ("2D fusion", "adapter only", "works-best/full")]
    full = table.loc[f"works-best/full{said}"]
    stated = tables.paper("scannet_openseg")["full"]
    assert full["paper, real ScanNet v2, OpenSeg: mIoU"] == f"{stated['miou']:.1f}"
    assert full["paper, real ScanNet v2, OpenSeg: mAcc"] == f"{stated['macc']:.1f}"
    main = tables.paper("main_miou")["GeoGuide (SAS*)"]
    assert full["paper, real ScanNet v2, main table: mIoU"] == f"{main['scannet']:.1f} (SAS*)"
    assert table.loc[f"2D fusion{said}", "paper, real ScanNet v2, main table: mIoU"] == "not available to us"
    assert table.loc[f"adapter only{said}", "paper, real ScanNet v2, main table: mIoU"] == "not available to us"
    streets = benchmark_tables.benchmark_table(lines, "nuscenes", "real")
    assert not any("OpenSeg" in column for column in streets) and "ours mIoU (real)" in streets
    for column in streets.columns:
        assert column in ("row", "seeds") or ("real nuScenes" in column) != ("(real)" in column)


def test_overview_keeps_ours_and_the_paper_apart() -> None:
    streets = [record for record in made(dataset="nuscenes") if record.facts.fit(ADAPTER)]
    table = benchmark_tables.overview({"scannet": frame(made()), "nuscenes": frame(streets)}).set_index("row")
    assert table.loc["works-best/full", "ours, mini ScanNet v2 [seeds]"].endswith("[5]")
    assert table.loc["works-best/full", "ours, mini nuScenes [seeds]"] == "not run"
    assert table.loc["SAS stage 2", "ours, mini ScanNet v2 [seeds]"] == "not run" and "GGSD" not in table.index
    stated = tables.paper("main_miou")
    assert table.loc["SAS stage 2", "paper, real nuScenes"] == f"{stated['SAS (stage 2)']['nuscenes']:.1f}"
    assert table.loc["entire network", "paper, real nuScenes"] == f"{stated['OpenScene (LSeg)']['nuscenes']:.1f} (LSeg)"


def test_every_row_that_the_main_table_names_exists_and_every_run_has_a_row() -> None:
    rows = [row for row, _ in benchmark_tables.LINES]
    for dataset in NAMES:
        found = [Facts.of(config) for config in (*main_table(dataset), *systems(dataset))]
        assert all(any(facts.fit(row) for facts in found) for row in rows)
        for facts in found:
            assert sum(facts.fit(row) for row in rows) == (0 if facts.preset and facts.dropped == ("iirc",) else 1)
    told = [stated for _, stated in benchmark_tables.LINES]
    assert {stated.main for stated in told} - {None} == set(tables.paper("main_miou"))
    assert {stated.openseg for stated in told} - {None} <= set(tables.paper("scannet_openseg"))
    assert all(stated.model is None or f"({stated.model})" in str(stated.main) for stated in told)


def test_systems_are_beside_the_student_that_they_have() -> None:
    """On their own network beside OpenScene's, on the adapter beside the adapter; what was not run has no line."""
    scores = {"entire network": 30, "adapter only": 40, "SAS stage 1": 33, "SAS stage 1, frozen backbone": 41.5}
    configs = [*main_table("scannet"), *systems()]
    ran = [fake_record(c, scores[c.name] + c.seed) for c in configs if c.name in scores and c.seed < 3]
    ran += [fake_record(c, 50.0 if c.protocol.pooled == "none" else 61.0) for c in configs if "2D fusion" in c.name]
    table = benchmark_tables.systems_table(frame(ran)).set_index("row")
    assert list(table.index) == [
        "2D fusion, protocol.pooled = superpoints",
        "SAS stage 1",
        "SAS stage 1, frozen backbone",
    ]
    assert list(table["minus"]) == ["2D fusion", "entire network", "adapter only"]
    assert list(table["Δ mIoU"]) == ["+11.00", "+3.00 ± 0.00", "+1.50 ± 0.00"]


def test_a_second_stage_is_judged_by_its_own_curve() -> None:
    """Two rows of the curve up to its begin, and the last two; what has no second stage has no line."""
    made = []
    for seed in range(2):
        curve = [{"step": step, "val_miou": 30.0 + seed + step / 100} for step in range(100, 2001, 100)]
        ran = [fake_record(system(name, seed, frozen=True), 40) for name in ("GGSD", "SAS stage 1")]
        made += [replace(record, history=curve) for record in ran]
    (line,) = benchmark_tables.second_stages(made).to_dict("records")
    assert line["row"] == "GGSD, frozen backbone" and line["seeds"] == 2
    assert line["change"].startswith("+6.00 ± 0.00") and line["at its end"].startswith("50.0")


def test_rows_of_a_frame_name_their_2d_model() -> None:
    rows = benchmark_tables.rows_of(frame(made("LSeg-like")))
    assert [row["method"] for row in rows] == ["2D fusion", "adapter only", "GeoGuide"]
    assert {row["teacher"] for row in rows} == {"LSeg-like"}


def test_occlusion_is_paired_with_the_row_that_knows_none() -> None:
    plain = [fake_record(on(adapter_only(seed), "nuscenes"), 20 + seed, seen_share=0.9) for seed in range(3)]
    plain += [fake_record(on(fusion(), "nuscenes"), 35, seen_share=0.9), fake_record(on(preset(), "nuscenes"), 99)]
    splat = [config for config in occlusion() if config.lifting.occlusion == "splat" and config.seed < 3]
    hidden = [
        fake_record(c, 36.5 if c.protocol.mode == "fusion" else 21 + c.seed, macc=50, seen_share=0.8) for c in splat
    ]
    table = benchmark_tables.occlusion_table([*plain, *hidden]).set_index(["row", "hidden by"])
    assert list(table.index.get_level_values("hidden by")) == ["nothing (OpenScene)", "z-buffer"] * 2
    assert table.loc[("2D fusion", "z-buffer"), "Δ mIoU"] == "+1.50"
    assert table.loc[("adapter only", "z-buffer"), "Δ mIoU"] == "+1.00 ± 0.00"
    assert table.loc[("adapter only", "z-buffer"), "mAcc (mini)"] == "50.0 ± 0.0"
    assert table.loc[("adapter only", "nothing (OpenScene)"), "points with a feature (%)"] == "90.0"
    assert isinstance(benchmark_tables.occlusion_table([]), pd.DataFrame)  # real data have none
