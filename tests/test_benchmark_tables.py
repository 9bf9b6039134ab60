"""The main table: ours and the paper's in columns of their own, each with its source."""

import pandas as pd
import pytest

from geoguide.experiments.presets import DATASETS, main_table
from geoguide.report import main_table as benchmark_tables
from geoguide.report import tables


@pytest.fixture
def lines() -> pd.DataFrame:
    rows = [{"row": "2D fusion", "seed": 0, "miou": 45, "macc": 66, "converged": None}]
    for row, mean in (("adapter only", 50), ("works-best/full", 53)):
        rows += [{"row": row, "seed": s, "miou": mean + s, "macc": mean + 20, "converged": s != 1} for s in range(5)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("teacher", ["", ", LSeg-like"])
def test_main_table_sets_ours_beside_both_of_the_papers_sources(lines: pd.DataFrame, teacher: str) -> None:
    lines = lines.assign(row=lines["row"] + teacher)
    table = benchmark_tables.main_table(lines, "scannet").set_index("row")
    assert list(table.index) == [f"{row}{teacher}" for row in ("2D fusion", "adapter only", "works-best/full")]
    full = table.loc[f"works-best/full{teacher}"]
    stated = tables.paper("scannet_openseg")["full"]
    assert full["paper, real ScanNet v2, OpenSeg: mIoU"] == f"{stated['miou']:.1f}"
    assert full["paper, real ScanNet v2, OpenSeg: mAcc"] == f"{stated['macc']:.1f}"
    main = tables.paper("main_miou")["GeoGuide (SAS*)"]
    assert full["paper, real ScanNet v2, main table: mIoU"] == f"{main['scannet']:.1f} (SAS*)"
    assert table.loc[f"2D fusion{teacher}", "paper, real ScanNet v2, main table: mIoU"] == "not stated"
    assert table.loc[f"adapter only{teacher}", "paper, real ScanNet v2, main table: mIoU"] == "not stated"
    streets = benchmark_tables.main_table(lines, "nuscenes", "real")
    assert not any("OpenSeg" in column for column in streets) and "ours mIoU (real)" in streets
    for column in streets.columns:
        assert column in ("row", "seeds") or ("real nuScenes" in column) != ("(real)" in column)


def test_overview_keeps_ours_and_the_paper_apart(lines: pd.DataFrame) -> None:
    table = benchmark_tables.overview({"scannet": lines, "nuscenes": lines[lines["row"] == "adapter only"]}).set_index(
        "row"
    )
    assert table.loc["works-best/full", "ours, mini ScanNet v2 [seeds]"].endswith("[5]")
    assert table.loc["works-best/full", "ours, mini nuScenes [seeds]"] == "not run"
    assert table.loc["SAS (stage 2)", "ours, mini ScanNet v2 [seeds]"] == "not run"
    stated = tables.paper("main_miou")
    assert table.loc["SAS (stage 2)", "paper, real nuScenes"] == f"{stated['SAS (stage 2)']['nuscenes']:.1f}"
    assert table.loc["entire network", "paper, real nuScenes"] == f"{stated['OpenScene (LSeg)']['nuscenes']:.1f} (LSeg)"


def test_every_row_that_the_main_table_names_exists_and_every_run_has_a_row() -> None:
    for dataset in DATASETS:
        runs = {c.name for c in main_table(dataset)}
        assert set(benchmark_tables.MAIN_ROWS) <= runs
        assert {name for name in runs - set(benchmark_tables.MAIN_ROWS) if "without" not in name} == set()
    named = {name for pair in benchmark_tables.MAIN_ROWS.values() for name in pair if name}
    assert named <= set(tables.paper("scannet_openseg")) | set(tables.paper("main_miou"))


def test_occlusion_is_paired_with_the_row_that_knows_none() -> None:
    def record(name: str, seed: int, miou: float, seen: float) -> dict:
        metrics = {"miou": miou, "macc": 2 * miou}
        return {"id": "", "name": name, "seed": seed, "metrics": metrics, "validation": {"miou": 0.0}, "training": None,
                "source": "mini", "data": {"seen_share": seen}}  # fmt: skip

    found = [record("2D fusion", 0, 35, 0.9), record("2D fusion, z-buffer", 0, 36.5, 0.8)]
    found += [record("adapter only", s, 20 + s, 0.9) for s in range(3)]
    found += [record("adapter only, z-buffer", s, 21 + s, 0.8) for s in range(3)]
    table = benchmark_tables.occlusion_table(found).set_index(["row", "hidden by"])
    assert list(table.index.get_level_values("hidden by")) == ["nothing (OpenScene)", "z-buffer"] * 2
    assert table.loc[("2D fusion", "z-buffer"), "Δ mIoU"] == "+1.5"
    assert table.loc[("adapter only", "z-buffer"), "Δ mAcc"] == "+2.0 ± 0.0"
    assert table.loc[("adapter only", "nothing (OpenScene)"), "points with a feature (%)"] == "90.0"
