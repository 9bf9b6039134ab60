"""Cross-domain: the floor against the confusion matrix of a constant guess; shares and claims against hand cases."""

import numpy as np
import pytest
from fake_records import fake_record, scores

from geoguide.experiments import placing
from geoguide.experiments.placing import on
from geoguide.experiments.presets import adapter_only, fusion, preset
from geoguide.experiments.records import Record, Scores, frame, only, pick
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report import cross_domain as transfer
from geoguide.report import tables
from geoguide.report.claim_tests import SEEDS, claim_tests
from geoguide.report.labels import PLACES
from geoguide.report.rows import ADAPTER, FULL, route

CLASSES = 16


def record(config: ExperimentConfig, miou: float) -> Record:
    confusion = np.diag(np.arange(1, CLASSES + 1)).tolist()
    return fake_record(config, miou, confusion=confusion, iou={f"c{i}": miou for i in range(CLASSES)})


@pytest.mark.parametrize("absent", ["zero", "skip"])
def test_floor_is_that_of_a_constant_guess(rng, absent):
    target, guess = rng.choice([0, 1, 1, 1, 3], 500), rng.integers(0, 5, 500)
    matrix, constant = ConfusionMatrix(5), ConfusionMatrix(5)
    matrix.update(target, guess)
    constant.update(target, np.ones(500, int))
    names = ["wall", "floor", "bed", "chair", "table"]
    told = scores(confusion=matrix.matrix.tolist(), iou=dict.fromkeys(names))
    name, miou, macc = transfer.chance(Scores(**told), absent)
    assert name == "floor"
    assert miou == pytest.approx(100 * constant.miou(absent)) and macc == pytest.approx(100 * constant.macc(absent))


def test_shares_pair_the_seeds_of_both():
    away = [record(placing.tested_on(adapter_only(seed), "nuscenes"), 10 + seed) for seed in range(3)]
    home = [record(on(adapter_only(seed), "nuscenes"), 40) for seed in (1, 2, 3)]
    kept = transfer.kept_elsewhere(frame([*away, *home]), ADAPTER, "nuscenes")
    assert dict(zip(kept["seed"], kept["miou"], strict=True)) == {1: 27.5, 2: 30.0}
    assert set(kept["measure"]) == {"kept"} and set(kept["trained_on"]) == {"scannet"}
    assert transfer.kept_elsewhere(frame(away), ADAPTER, "nuscenes").empty  # nothing was trained there


@pytest.fixture
def runs() -> list[Record]:
    rows = [make(seed=seed) for make in (adapter_only, preset) for seed in (0, 1)]
    away = [record(placing.tested_on(config, d), 10 + config.seed) for config in rows for d in transfer.AWAY]
    return away + [record(on(config, d), 20 + config.seed) for d in PLACES for config in rows]


def test_every_claim_compares_lines_that_there_are(runs):
    lines = transfer.claim_lines(runs).assign(over=SEEDS)
    tests = [test for test in claim_tests("small") if test.claim == "C10"]
    for test in tests:
        told = tables.differences(lines, test.first, [test.second])
        assert list(told["metric"]) == ["mIoU", "mAcc"] and (told["seeds"] == 2).all()
    better, worse = tests[0].first, tests[0].second
    mean = 10.5 - 100 * CLASSES / (CLASSES * (CLASSES + 1) / 2) / CLASSES
    assert tables.differences(lines, better, [worse])["difference"].iat[0].startswith(f"{mean:+.2f}")
    share = only(lines, FULL | route("scannet", "nuscenes") | {"measure": "kept"})
    np.testing.assert_allclose(share["miou"], [50, 100 * 11 / 21])


def test_claim_lines_bear_what_was_not_run(runs):
    lines = transfer.claim_lines([record for record in runs if not record.facts.fit(route("scannet", "nuscenes"))])
    assert len(only(lines, route("nuscenes"))) and len(only(lines, transfer.FLOOR | {"tested_on": "nuscenes"}))
    assert only(lines, route("scannet", "nuscenes")).empty
    lines = transfer.claim_lines([record for record in runs if record.facts.tested_on != "matterport3d"])
    assert only(lines, {"tested_on": "matterport3d"}).empty
    assert len(transfer.claim_lines([record(on(fusion(), "nuscenes"), 30)])) == 2  # itself, and the floor there


def test_mean_iou_and_shared_names(runs):
    assert tables.mean_iou(pick(runs, ADAPTER | route("scannet"))).eq(20.5).all()
    both = transfer.shared_names("scannet20", "matterport21")
    assert "wall" in both and "ceiling" not in both
    assert both == [n for n in load_label_set("matterport21").names if n in load_label_set("scannet20").names]
    assert transfer.shared_names("scannet20", "nuscenes16") == []
