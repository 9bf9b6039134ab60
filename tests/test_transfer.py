"""Cross-domain: the floor against the confusion matrix of a constant guess; shares and claims against hand cases."""

import numpy as np
import pytest

from geoguide.experiments.profiles import cross_domain
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.report import cross_domain as transfer
from geoguide.report import tables

CLASSES = 16


def record(name: str, seed: int, miou: float, trained: bool = True) -> dict:
    matrix = np.diag(np.arange(1, CLASSES + 1))
    metrics = {
        "miou": miou,
        "macc": miou + 10,
        "confusion": matrix.tolist(),
        "iou": {f"c{i}": miou for i in range(CLASSES)},
    }
    return {
        "id": f"{name}{seed}",
        "name": name,
        "seed": seed,
        "source": "mini",
        "metrics": metrics,
        "validation": {"miou": miou},
        "training": {"converged": True} if trained else None,
        "protocol": {"absent_class": "zero"},
    }


@pytest.mark.parametrize("absent", ["zero", "skip"])
def test_floor_is_that_of_a_constant_guess(rng, absent):
    target, guess = rng.choice([0, 1, 1, 1, 3], 500), rng.integers(0, 5, 500)
    matrix, constant = ConfusionMatrix(5), ConfusionMatrix(5)
    matrix.update(target, guess)
    constant.update(target, np.ones(500, int))
    names = ["wall", "floor", "bed", "chair", "table"]
    metrics = {"confusion": matrix.matrix.tolist(), "iou": dict.fromkeys(names)}
    name, miou, macc = transfer.chance(metrics, absent)
    assert name == "floor"
    assert miou == pytest.approx(100 * constant.miou(absent)) and macc == pytest.approx(100 * constant.macc(absent))


def test_shares_pair_the_seeds_of_both():
    away = tables.frame([record("adapter only on nuscenes", seed, 10 + seed) for seed in range(3)])
    home = tables.frame([record("adapter only", seed, 40) for seed in (1, 2, 3)])
    away = away.assign(row="adapter only")
    assert dict(transfer.kept(away, home, "adapter only")) == {1: 27.5, 2: 30.0}


@pytest.fixture
def runs() -> tuple[list, dict]:
    rows = ("adapter only", "works-best/full")
    away = [record(f"{row} on {d}", s, 10 + s) for row in rows for d in ("matterport3d", "nuscenes") for s in (0, 1)]
    home = {d: [record(row, s, 20 + s) for row in rows for s in (0, 1)] for d in transfer.PLACES}
    return away, home


def test_transferred_lines_are_called_as_at_home(runs):
    lines = transfer.transferred(runs[0], "nuscenes")
    assert set(lines["row"]) == {"adapter only", "works-best/full"} and len(lines) == 4
    assert {c.name for c in cross_domain()} >= {f"works-best/full on {d}" for d in ("matterport3d", "nuscenes")}


def test_every_claim_compares_rows_that_there_are(runs):
    lines = transfer.claim_lines(*runs)
    for better, worse, _ in transfer.CLAIMS:
        told = tables.differences(lines, better, [worse])
        assert list(told["metric"]) == ["mIoU", "mAcc"] and (told["seeds"] == 2).all()
    floor = tables.differences(lines, "works-best/full (rooms to houses)", ["floor (houses)"]).iloc[0]
    mean = 10.5 - 100 * CLASSES / (CLASSES * (CLASSES + 1) / 2) / CLASSES
    assert floor["difference"].startswith(f"{mean:+.1f}")
    share = lines[lines["row"] == "works-best/full (kept in streets)"]
    np.testing.assert_allclose(share["miou"], [50, 100 * 11 / 21])


def test_claim_lines_bear_what_was_not_run(runs):
    away, home = runs
    lines = transfer.claim_lines([r for r in away if "nuscenes" not in r["name"]], home)
    assert lines["row"].str.contains("streets to streets").any()
    assert not lines["row"].str.contains("rooms to streets|kept in streets").any()
    del home["matterport3d"]
    assert not transfer.claim_lines(away, home)["row"].str.contains("houses").any()


def test_mean_iou_and_shared_names(runs):
    assert transfer.mean_iou(runs[1]["scannet"], "adapter only").eq(20.5).all()
    both = transfer.shared_names("scannet20", "matterport21")
    assert "wall" in both and "ceiling" not in both
    assert both == [n for n in load_label_set("matterport21").names if n in load_label_set("scannet20").names]
    assert transfer.shared_names("scannet20", "nuscenes16") == []
