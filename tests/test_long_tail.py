"""Long tail: lines by number of classes and by frequency against plain loops, shares against hand cases."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from fake_records import fake_record, scores

from geoguide.datasets.config import Edition
from geoguide.errors import DataError
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import on
from geoguide.experiments.presets import adapter_only, fusion, preset
from geoguide.experiments.profiles import main_table, systems
from geoguide.experiments.records import Record, only
from geoguide.labels import load_label_set
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report import evidence, long_tail, tables
from geoguide.report.claim_tests import SEEDS
from geoguide.report.ledger import ledger
from geoguide.report.rows import ADAPTER, FULL, FUSION

BIG = "matterport160"


def metrics(label_set: str, iou: np.ndarray) -> dict:
    """Metrics as a record's file holds them; NaN: the class is absent."""
    names = load_label_set(label_set).names
    told = {name: None if np.isnan(value) else float(value) for name, value in zip(names, iou, strict=True)}
    return scores(float(np.nansum(iou) / len(iou)), miou_skip=float(np.nanmean(iou)), iou=told)


def record(config: ExperimentConfig, rng: np.random.Generator) -> Record:
    return record_in_houses(on(config, "matterport3d"), rng)


def record_in_houses(config: ExperimentConfig, rng: np.random.Generator) -> Record:
    by_set = {}
    for size, label_set in long_tail.SIZES.items():
        iou = rng.uniform(1, 100, size)
        iou[-1] = np.nan
        iou[0] = 0
        by_set[label_set] = metrics(label_set, iou)
    first = by_set.pop("matterport21")
    converged = config.seed != 1
    return fake_record(config, converged=converged, by_label_set=by_set, **first)


@pytest.fixture
def found(rng: np.random.Generator) -> list[Record]:
    rows = [record(make(seed=seed), rng) for make in (preset, adapter_only) for seed in (0, 1, 2)]
    return [*rows, record(fusion(), rng)]


def of(found: list[Record], line: pd.Series) -> Record:
    return next(record for record in found if record.id == line["id"])


def test_one_line_per_record_and_size_with_both_readings(found):
    lines = long_tail.by_size(found)
    assert len(lines) == 4 * len(found) and list(long_tail.SIZES) == [21, 40, 80, 160]
    for _, line in lines.iterrows():
        told = of(found, line).scores(f"matterport{line['K']}")
        assert (line["miou"], line["miou_skip"], line["macc"]) == (told.miou, told.miou_skip, told.macc)
        assert line["occur"] == line["K"] - 1
        assert line["miou"] == pytest.approx(line["miou_skip"] * line["occur"] / line["K"])


def test_shares_are_of_the_same_run_on_the_smallest_set(found):
    lines = long_tail.by_size(found)
    kept = long_tail.share_kept(lines)
    np.testing.assert_allclose(only(kept, {"K": 21})[["miou", "macc"]], 100)
    one = only(kept, ADAPTER | {"seed": 2, "label_set": BIG}).iloc[0]
    run = of(found, one)
    assert one["macc"] == pytest.approx(100 * run.scores(BIG).macc / run.metrics.macc)
    assert set(kept["measure"]) == {"kept"} and set(lines["measure"]) == {"score"}
    assert lines["miou"].max() < 100 and not np.allclose(lines["miou"], kept["miou"])  # the lines themselves stay


def test_bins_are_means_over_the_classes_of_each_group(found):
    bins, labels = long_tail.by_frequency(found), load_label_set(BIG)
    for _, line in bins.iterrows():
        iou = of(found, line).scores(BIG).iou
        mine = [iou[n] for n, g in zip(labels.names, labels.group, strict=True) if g == line["bin"]]
        present = [value for value in mine if value is not None]
        assert (line["classes"], line["occur"]) == (len(mine), len(present))
        assert line["miou"] == pytest.approx(sum(present) / len(mine))
        assert line["miou_skip"] == pytest.approx(sum(present) / len(present))
        assert line["hit"] == sum(value > 0 for value in present)
    assert bins.groupby("id")["classes"].sum().eq(len(labels)).all()


def test_table_and_figure_read_the_same_lines(found):
    lines, rows = long_tail.by_size(found), [FUSION, FULL]
    spread = long_tail.spread(lines, rows, "macc")
    assert list(spread) == ["2D fusion", "works-best/full"] and list(spread["2D fusion"]) == [21, 40, 80, 160]
    table = long_tail.class_table(lines, rows, "macc").set_index("row")
    assert table.loc["works-best/full", "K = 80"] == tables.mean_of(np.array(spread["works-best/full"][80]))
    assert list(table["seeds"]) == [1, 3] and list(table["converged"]) == ["", "2 of 3"]
    assert list(long_tail.class_table(long_tail.by_frequency(found), rows, over="bin"))[1:4] == [
        "head",
        "common",
        "tail",
    ]


def test_lines_tell_size_and_share_apart(found):
    lines = long_tail.by_size(found)
    lines = pd.concat([lines, long_tail.share_kept(lines)])
    assert len(lines) == 8 * len(found)
    at = {"label_set": "matterport40", "measure": "score"}
    assert evidence.paired(lines, FULL | at, ADAPTER | at).shape == (3,)
    at = {"label_set": "matterport21", "measure": "kept"}
    np.testing.assert_allclose(evidence.paired(lines, FULL | at, FULL | at), 0)
    assert only(lines, ADAPTER | at)["miou"].eq(100).all()


def test_a_record_that_was_not_scored_on_a_label_set_is_an_error(found):
    less = {name: told for name, told in found[0].by_label_set.items() if name != BIG}
    found[0] = dataclasses.replace(found[0], by_label_set=less)
    with pytest.raises(DataError, match=f"{found[0].id}: not scored on {BIG}"):
        long_tail.by_size(found)


@pytest.mark.parametrize("edition", ["small", "large"])
def test_dma_in_houses_is_judged_on_every_label_set(edition: Edition, rng: np.random.Generator):
    """Claim C7, from the rows that the profiles run."""
    ran = [*main_table("matterport3d", edition=edition), *systems("matterport3d", edition)]
    held = [record_in_houses(config, rng) for config in ran if Facts.of(config).method in ("GeoGuide", "DMA")]
    table = ledger(long_tail.by_size(held, edition).assign(over=SEEDS), edition)
    told = set(table[table["claim"] == "C7"]["test"])
    assert {f"leads DMA (K = {size})" for size in long_tail.SIZES} <= told
