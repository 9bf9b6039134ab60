"""The ladder of frozen features: which experiments it is, whose records are reused, and its table from records."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from geoguide.experiments import ladder, presets
from geoguide.experiments.facts import Facts
from geoguide.experiments.profiles import ablation, ceilings, preliminary, profile
from geoguide.experiments.records import find, stored
from geoguide.frozen import config_hash
from geoguide.method.objective import MODULES
from geoguide.paths import results_root
from geoguide.report.evidence import estimate, interval
from geoguide.report.ladder import (
    BOUND,
    BY_GRADIENT,
    NO_RECORD,
    RAW,
    climbed,
    cost_of_freezing,
    ladder_table,
    module_gaps,
    steps_up,
    weights_story,
)
from geoguide.report.rows import ADAPTER, FULL

PROBES = {
    "random": {"width": 336, "linear": {"test_miou": 19.04}},
    "descriptors": {"width": 130, "linear": {"test_miou": 50.0}},
}


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Some of the committed records: the adapter on two rungs, and works-best on one of them."""
    configs = [ladder.rung(name, seed, ()) for name in ("descriptors", "sonata-mini") for seed in range(5)]
    configs += [ladder.rung("sonata-mini", seed) for seed in range(3)]
    for config in configs:
        (path,) = stored(config)
        target = tmp_path / path.relative_to(results_root())
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_rows_of_other_chapters_are_the_same_experiments() -> None:
    mine = {config_hash(config) for config in profile("ladder")}
    few, rungs = len(presets.LONG_SEEDS), len(ladder.RUNGS)
    # Of each rung the adapter, works-best, its modules alone, both with IIRC alone by other weights; and the bound.
    assert len(mine) == rungs * (len(presets.SEEDS) + (3 + len(MODULES)) * few) + few
    others = {config_hash(config) for config in [*ablation(), *preliminary(), *ceilings()]}
    # Adapters on three rungs, works-best and its modules on the default one, and the bound.
    assert len(mine & others) == 3 * len(presets.SEEDS) + (2 + len(MODULES)) * few


def test_works_best_on_another_rung_is_not_the_tables_works_best() -> None:
    for name in ladder.RUNGS:
        usual = name == presets.DEFAULT_BACKBONE
        assert Facts.of(ladder.rung(name, 0)).fit(FULL) == usual
        assert Facts.of(ladder.rung(name, 0, ())).fit(ADAPTER) == usual
        assert Facts.of(ladder.rung(name, 0)).backbone == name
        weighed = ladder.balanced(name, 0)
        assert (
            Facts.of(weighed).backbone == name
            and Facts.of(weighed).changed
            and weighed.train == ladder.rung(name, 0).train
        )


def test_the_table_is_the_records_means(few: Path) -> None:
    table = ladder_table(PROBES, few).set_index("frozen features")
    assert list(table.index) == [*ladder.RUNGS, BOUND]
    found = [find(ladder.rung("descriptors", seed, ()), few) for seed in range(5)]
    scores = np.array([record.scores().miou for record in found])
    row = table.loc["descriptors"]
    assert row["adapter mIoU"] == f"{scores.mean():.1f} ± {interval(scores):.1f}" and row["seeds"] == 5
    assert (row["width"], row["linear probe mIoU"], row["works-best mIoU"]) == (130, "50.0", NO_RECORD)
    assert row["works-best less adapter"] == NO_RECORD and row["seeds "] == 0
    assert table.loc["sonata-mini", "seeds "] == 3 and "±" in table.loc["sonata-mini", "works-best less adapter"]
    assert table.loc["sonata-mini-tenth", "adapter mIoU"] == NO_RECORD == table.loc["sonata-mini", "linear probe mIoU"]
    assert table.loc[BOUND, "adapter mIoU"] == NO_RECORD and table.loc[BOUND, "works-best mIoU"] == ""


def test_steps_go_over_rungs_that_were_not_run(few: Path, tmp_path: Path) -> None:
    (line,) = steps_up(few).to_dict("records")
    assert line["step"] == "sonata-mini minus descriptors" and line["seeds"] == 5
    scores = climbed(few)
    gap = np.mean([scores["sonata-mini"]["adapter"][s] - scores["descriptors"]["adapter"][s] for s in range(5)])
    assert line["mIoU"].startswith(f"{gap:+.2f} [")
    (tmp_path / "empty").mkdir()
    assert steps_up(tmp_path / "empty").empty


def test_what_modules_add_is_paired_with_the_adapter_of_the_same_rung(few: Path) -> None:
    gaps, settled = module_gaps(few)
    assert {rung for rung, _ in gaps} == set(ladder.RUNGS) and set(settled) <= gaps.keys()
    assert weights_story(gaps) == ""
    full, plain = (
        [find(ladder.rung("sonata-mini", seed, modules), few).scores().miou for seed in range(3)]
        for modules in (MODULES, ())
    )
    assert gaps.pop(("sonata-mini", RAW)) == pytest.approx(np.subtract(full, plain))
    assert not any(len(gap) for gap in gaps.values())  # nothing else was copied: no cell is filled from other rungs


def test_the_weights_story_names_the_least_and_the_most() -> None:
    gaps = {
        (rung, title): np.array([number, number + 0.5]) * factor
        for number, rung in enumerate(ladder.RUNGS)
        for title, factor in ((RAW, -1.0), (BY_GRADIENT, 0.5))
    }
    first, *_, last = ladder.RUNGS
    raw, even = weights_story(gaps).split(" with the raw λ, and ")
    assert f"{estimate([-4.0, -4.5]).text()} (on {last}) to {estimate([-0.0, -0.5]).text()} (on {first})" in raw
    assert f"{estimate([0.0, 0.25]).text()} (on {first}) to {estimate([2.0, 2.25]).text()} (on {last})" in even


def test_what_freezing_costs_is_told_apart_from_the_schedule(few: Path) -> None:
    assert cost_of_freezing(few) == ""  # no network that was trained whole
    names = (presets.STILL, presets.TUNED)
    rows = {name: [presets.point_transformer(name, seed) for seed in presets.LONG_SEEDS] for name in names}
    if any(find(config) is None for configs in rows.values() for config in configs):
        pytest.skip("the committed records are not here")
    still, tuned = (np.array([find(config).scores().miou for config in rows[name]]) for name in names)
    adapter = np.array([find(presets.adapter_only(seed)).scores().miou for seed in presets.LONG_SEEDS])
    told = cost_of_freezing()
    assert f"- that network fine-tuned: {tuned.mean():.1f} ± {interval(tuned):.1f}, of 3\n" in told
    assert f"are worth {(still - adapter).mean():+.2f} [" in told
    assert f"freezing then costs it {(tuned - still).mean():+.2f} [" in told
    full = [find(presets.in_whole_rooms(presets.preset(seed=seed))) for seed in presets.LONG_SEEDS]
    if all(full):
        gap = np.array([record.scores().miou for record in full]) - still
        assert told.endswith(f"and {estimate(gap).text()} in augmented rooms.")
