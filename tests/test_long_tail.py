"""Long tail: lines by number of classes and by frequency against plain loops, shares against hand cases."""

import numpy as np
import pytest

from geoguide.errors import DataError
from geoguide.labels import load_label_set
from geoguide.report import long_tail, tables

BIG = "matterport160"


def metrics(names, scores: np.ndarray) -> dict:
    """Metrics as a record holds them; NaN: the class is absent."""
    present = np.isfinite(scores)
    zero = float(np.nansum(scores) / len(scores))
    iou = {name: float(s) if ok else None for name, s, ok in zip(names, scores, present, strict=True)}
    return {"miou": zero, "macc": zero + 10, "miou_skip": float(np.nanmean(scores)), "iou": iou}


def record(name: str, seed: int, rng: np.random.Generator, trained: bool = True) -> dict:
    by_set = {}
    for size, label_set in long_tail.SIZES.items():
        scores = rng.uniform(1, 100, size)
        scores[-1] = np.nan
        scores[0] = 0
        by_set[label_set] = metrics(load_label_set(label_set).names, scores)
    first = by_set.pop("matterport21")
    training = {"converged": seed != 1} if trained else None
    protocol = {"label_set": "matterport21"}
    return {"id": f"{name}{seed}", "name": name, "seed": seed, "training": training, "protocol": protocol} | {
        "metrics": first,
        "by_label_set": by_set,
    }


@pytest.fixture
def found(rng) -> list[dict]:
    rows = [record(name, seed, rng) for name in ("works-best/full", "adapter only") for seed in (0, 1, 2)]
    return [*rows, record("2D fusion", 0, rng, trained=False)]


def test_one_line_per_record_and_size_with_both_readings(found):
    lines = long_tail.by_size(found)
    assert len(lines) == 4 * len(found) and list(long_tail.SIZES) == [21, 40, 80, 160]
    for _, line in lines.iterrows():
        mine = next(r for r in found if (r["name"], r["seed"]) == (line["row"], line["seed"]))
        told = mine["metrics"] if line["K"] == 21 else mine["by_label_set"][f"matterport{line['K']}"]
        assert (line["miou"], line["miou_skip"], line["macc"]) == (told["miou"], told["miou_skip"], told["macc"])
        assert line["occur"] == line["K"] - 1
        assert line["miou"] == pytest.approx(line["miou_skip"] * line["occur"] / line["K"])


def test_shares_are_of_the_same_run_on_the_smallest_set(found):
    lines = long_tail.by_size(found)
    kept = long_tail.kept(lines)
    np.testing.assert_allclose(long_tail.at(kept, 21)[["miou", "macc"]], 100)
    one = kept.query("row == 'adapter only' and seed == 2 and K == 160")["macc"].iat[0]
    run = next(r for r in found if r["name"] == "adapter only" and r["seed"] == 2)
    assert one == pytest.approx(100 * run["by_label_set"][BIG]["macc"] / run["metrics"]["macc"])
    assert lines["miou"].max() < 100 and not np.allclose(lines["miou"], kept["miou"])  # the lines themselves stay


def test_bins_are_means_over_the_classes_of_each_group(found):
    bins, labels = long_tail.by_frequency(found), load_label_set(BIG)
    for _, line in bins.iterrows():
        run = next(r for r in found if (r["name"], r["seed"]) == (line["row"], line["seed"]))
        mine = [
            run["by_label_set"][BIG]["iou"][n]
            for n, g in zip(labels.names, labels.group, strict=True)
            if g == line["bin"]
        ]
        present = [value for value in mine if value is not None]
        assert (line["classes"], line["occur"]) == (len(mine), len(present))
        assert line["miou"] == pytest.approx(sum(present) / len(mine))
        assert line["miou_skip"] == pytest.approx(sum(present) / len(present))
        assert line["hit"] == sum(value > 0 for value in present)
    assert bins.groupby(["row", "seed"])["classes"].sum().eq(len(labels)).all()


def test_table_and_figure_read_the_same_lines(found):
    lines, rows = long_tail.by_size(found), ["2D fusion", "works-best/full"]
    spread = long_tail.spread(lines, rows, "macc")
    assert list(spread) == rows and list(spread["2D fusion"]) == [21, 40, 80, 160]
    table = long_tail.table(lines, rows, "macc").set_index("row")
    values = np.array(spread["works-best/full"][80])
    assert table.loc["works-best/full", "K = 80"] == tables.with_interval(values.mean(), tables.interval(values))
    assert list(table["seeds"]) == [1, 3] and list(table["converged"]) == ["", "2 of 3"]
    assert list(long_tail.table(long_tail.by_frequency(found), rows, over="bin"))[1:4] == ["head", "common", "tail"]


def test_claim_lines_name_size_and_share(found):
    lines = long_tail.claim_lines(found)
    assert len(lines) == 8 * len(found)
    assert tables.paired(lines, "works-best/full (K = 40)", "adapter only (K = 40)").shape == (3,)
    np.testing.assert_allclose(tables.paired(lines, *["works-best/full (kept at K = 21)"] * 2), 0)
    assert lines.loc[lines["row"] == "adapter only (kept at K = 21)", "miou"].eq(100).all()


def test_a_record_that_was_not_scored_on_a_label_set_is_an_error(found):
    del found[0]["by_label_set"][BIG]
    with pytest.raises(DataError, match=f"{found[0]['id']}: not scored on {BIG}"):
        long_tail.by_size(found)
