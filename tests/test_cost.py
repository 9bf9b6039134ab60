"""`geoguide cost`: by hand from made-up rates; packaged rates against measurements that they were not made from."""

import json
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from geoguide.benchmarks import benchmarks
from geoguide.cli import main
from geoguide.datasets.splits import load_split
from geoguide.errors import DataError, InputError
from geoguide.experiments.cost import (
    RATES,
    Line,
    Rates,
    Work,
    bytes_per_point,
    compared,
    estimate,
    rates,
    real_costs,
    runs,
)

MADE_UP = Rates(
    frozen_seconds=0.01,
    step_seconds=Line(0.1, 1e-6),
    module_seconds=Line(0.2, 2e-6),
    score_seconds=1e-6,
    memory_mb=Line(512, 1e-4),
    other_bytes=40.0,
    frozen_share=0.1,
    step_flop=1e3,
    point_seconds=0.002,
    frame_seconds=0.5,
    program_mb=256,
    scene_bytes=2**20 / 1000,
)
WORK = Work(
    scenes=10, points=1000, scored=5, channels=30, frozen=70, classes=20, steps=3600, points_per_step=500, runs=4
)
CHECKS = json.loads(RATES.read_text())["checks"]
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def test_by_hand() -> None:
    """500 points of 100 values a step: 0.2 + 0.1 s with modules, 0.1 + 0.05 s without; four runs on two GPUs: two."""
    found = estimate(WORK, MADE_UP, gpus=2, gpu_tflops=0.5)
    assert found.training_hours == pytest.approx(2 * 0.3)
    assert estimate(replace(WORK, modules=False), MADE_UP, gpus=2).training_hours == pytest.approx(2 * 0.15)
    assert found.gpu_hours == pytest.approx(2 * 50_000 * 1e3 / 0.5e12)
    assert found.frozen_hours == pytest.approx(15_000 * 0.01 / 3600)
    assert found.scoring_hours == pytest.approx(2 * 5000 * (100 + 30 * 20 / 50) * 1e-6 / 3600)
    assert found.memory_gib == pytest.approx((512 + 5 + 256 + 15) / 1024)  # 15 open scenes of 1,000 points
    assert found.prepared_hours == pytest.approx(15_000 * 0.002 / 3600)
    assert found.disk_gib == pytest.approx(15_000 * (2 * (30 + 7) + 40) / 2**30)
    assert estimate(WORK, MADE_UP).gpu_hours is None


def test_validation_and_images_by_hand() -> None:
    """Two scenes more, whole once and twenty times 1,000 points each (fewer than 1,500), and four images of a scene."""
    more, found = replace(WORK, validated=2, frames=4, runs=1), estimate(replace(WORK, runs=1), MADE_UP)
    added = estimate(more, MADE_UP)
    assert added.prepared_hours == pytest.approx(17 * (1000 * 0.002 + 4 * 0.5) / 3600)
    value = (100 + 30 * 20 / 50) * 1e-6 / 3600
    assert added.scoring_hours - found.scoring_hours == pytest.approx((2000 + 20 * 2 * 1000) * value)
    assert estimate(replace(WORK, scenes=900), MADE_UP).memory_gib == pytest.approx((512 + 5 + 256 + 205) / 1024)


def test_a_scene_smaller_than_a_step_is_the_step() -> None:
    assert replace(WORK, points=200).step_values == 200 * 100
    assert estimate(replace(WORK, steps=None), MADE_UP).training_hours == pytest.approx(4 * 200 * 0.3 / 3600)


@pytest.mark.parametrize("row", CHECKS, ids=lambda row: f"{row['what']}, {row['values']} values")
def test_predictions_hold_within_30_percent(row: dict) -> None:
    assert row["predicted"] == pytest.approx(row["measured"], rel=0.3)


def test_committed_checks_are_the_formula_of_the_packaged_rates() -> None:
    """Nobody edits a prediction: each is recomputed here."""
    found = rates()
    lines = {
        "seconds of a step, adapter only": found.step_seconds,
        "seconds of a step, all modules": found.module_seconds,
        "seconds of a step at real size": found.module_seconds,
        "megabytes of a training at real size": found.memory_mb,
    }
    for row in CHECKS:
        if row["what"] in lines:
            assert row["predicted"] == pytest.approx(lines[row["what"]].at(row["values"]))
    assert set(lines) <= {row["what"] for row in CHECKS} and sum("disk" in row["what"] for row in CHECKS) >= 3


def test_measurements_are_those_of_the_other_benchmarks() -> None:
    """The encoder, real-size training and disk figures are read from their files, and are still what stands there."""
    found = rates()
    encoder = json.loads((BENCHMARKS / "backbone.json").read_text())["rows"][0]
    assert found.frozen_seconds == pytest.approx(encoder["seconds"]["ours"] / encoder["points"])
    rooms = json.loads((BENCHMARKS / "kept_points.json").read_text())["rows"]
    whole = {room["room"]: room["megabytes"]["all"] for room in rooms if room.get("room") and room["kept"] is None}
    for row in CHECKS:
        if "disk" in row["what"]:
            assert row["measured"] == whole[row["what"].split(", ")[1]]
    assert bytes_per_point(Work(1, 1), found) > 2 * 768


def test_whole_runs_are_compared_with_their_records() -> None:
    """By hand for one kind; and where predictions hold today, so that a change of the rates is seen."""
    table, kinds = compared(), {kind.name: kind for kind in runs()}
    assert list(table.index) == list(kinds)
    for name, kind in kinds.items():
        found, row = estimate(kind.work), table.loc[name]
        assert row["seconds, predicted"] == round(3600 * (found.training_hours + found.scoring_hours))
        assert row["seconds, fastest"] <= row["seconds, median"] and row["records"] == len(kind.seconds) >= 3
        seconds = 3600 * (found.training_hours + found.scoring_hours) / statistics.median(kind.seconds)
        megabytes = 1024 * found.memory_gib / statistics.median(kind.megabytes)
        for unit, share in {"seconds": seconds, "MB": megabytes}.items():
            assert row[f"{unit} within 30 %"] == ("yes" if 0.7 <= share <= 1.3 else "no")
            assert row[f"{unit}, times"] == round(1 / share, 2)
    large = "mini-scannet, 200 scenes, 8,000 steps of 1,000 points, adapter, sonata-mini-5cm+descriptors, scored on 120"
    streets = "mini-nuscenes, 60 scenes, 2,000 steps of 1,000 points, adapter, sonata-mini, scored on 40"
    for name in (large, streets):  # a record's seconds tell what else the machine did: that they are met, no more
        assert table.loc[name, "MB within 30 %"] == "yes"
        assert 0.7 * min(kinds[name].seconds) <= table.loc[name, "seconds, predicted"] <= 1.3 * max(kinds[name].seconds)
    assert (table["MB within 30 %"] == "yes").mean() > 0.8  # seconds: the book says where they do not


def test_preparation_is_read_from_its_benchmark() -> None:
    """Rooms, with the mini 2D model: points and images take what all stages but frozen features took."""
    rows = json.loads((BENCHMARKS / "preparation.json").read_text())["rows"]
    room = next(row for row in rows if row["dataset"] == "mini-scannet" and row["model"] == "mini:lseg-mini")
    record = json.loads(min((BENCHMARKS.parents[1] / "results" / "mini-scannet").glob("2d-fusion-s0-*")).read_text())
    data, found = record["data"], rates()
    count = sum(data["scenes"].values())
    told = found.point_seconds * data["points"] / count + found.frame_seconds * data["frames"] / count
    assert told == pytest.approx((1 - room["share"]["geometry"]) / room["scenes_per_cpu_second"], rel=0.01)


def test_real_benchmarks() -> None:
    """One row each, with the scenes of the split lists; twice the speed halves the GPU's hours."""
    table = real_costs(10.0)
    assert list(table.index) == [there.title for there in benchmarks()]
    assert list(table["scenes"]) == [len(load_split(there.name, "train")) for there in benchmarks()]
    assert (table > 0).all(axis=None)
    column = "training, GPU hours at least"
    assert real_costs(0.1)[column].tolist() == pytest.approx((2 * real_costs(0.2)[column]).tolist(), rel=0.02)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["cost", "--scenes", "1201", "--points", "150000", "--gpu-tflops", "20", "--gpus", "2", "--runs", "2"])
    assert not end.value.code
    told = capsys.readouterr().out
    expected = estimate(Work(1201, 150_000, runs=2), gpus=2, gpu_tflops=20.0)
    assert f"disk: {expected.disk_gib:.4g} GiB" in told and "training on 2 GPU(s): at least" in told
    assert float(re.findall(r"training: ([\d.]+) hours", told)[0]) == pytest.approx(expected.training_hours, rel=0.01)


def test_bad_input(tmp_path: Path) -> None:
    counts = ("scenes", "points", "scored", "validated", "frames", "channels", "frozen", "classes", "steps", "runs")
    for name in (*counts, "points_per_step"):
        for wrong in (-1, 1.5, float("nan"), float("inf"), 10**400, "many"):
            with pytest.raises(InputError, match=f"^{name} must be a (finite|whole) number >= [01], found"):
                replace(WORK, **{name: wrong})
    assert estimate(replace(WORK, scenes=10.0, points="1000"), MADE_UP) == estimate(WORK, MADE_UP)
    for wrong, said in (
        ({"gpu_tflops": 0.0}, "gpu_tflops must be positive, found 0.0"),
        ({"gpu_tflops": float("nan")}, "gpu_tflops must be a finite number"),
        ({"gpus": 0}, "gpus must be a finite number >= 1, found 0"),
        ({"gpus": 1.5}, "gpus must be a whole number >= 1, found 1.5"),
    ):
        with pytest.raises(InputError, match=said):
            estimate(WORK, MADE_UP, **wrong)
    (tmp_path / "cost.json").write_text("{}")
    with pytest.raises(DataError, match=r"cost.json: must hold rates of benchmarks/cost.py \('rates'\)"):
        rates(tmp_path / "cost.json")
