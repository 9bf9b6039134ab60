"""Replicates that draw rooms and 2D model anew: what they are, and how their differences are paired."""

import numpy as np

from geoguide.experiments.presets import adapter_only, preset
from geoguide.experiments.profiles import WORLDS, ablation, in_world, worlds
from geoguide.experiments.records import find, find_all
from geoguide.frozen import config_hash
from geoguide.report.evidence import paired
from geoguide.report.rows import ADAPTER, FULL
from geoguide.report.tables import mean_of
from geoguide.report.worlds import COLUMNS, world_lines, world_table


def test_each_world_has_a_folder_and_a_2d_model_of_its_own() -> None:
    rows = worlds()
    drawn = {(config.data.room_seed, config.teacher.seed, config.data.folder.name) for config in rows}
    assert drawn == {(world, world, f"mini-scannet-seed{world}") for world in WORLDS}
    assert len({config_hash(config) for config in rows}) == len(rows)
    assert config_hash(in_world(preset(), 0)) == config_hash(preset())


def test_differences_are_paired_within_each_world() -> None:
    found = find_all([*ablation(), *worlds()])
    table = world_table(found).set_index(COLUMNS[0])
    gaps = []
    for world in (0, *WORLDS):
        pair = find_all([in_world(config, world) for config in (preset(seed=world), adapter_only(world))])
        if len(pair) == 2:
            gaps.append(pair[0].metrics.miou - pair[1].metrics.miou)
    line = table.loc["works-best/full less adapter only"]
    assert line["worlds drawn anew"] == mean_of(np.array(gaps), signed=True) and line["worlds"] == len(gaps) > 2
    less = table.loc["works-best/without usd less works-best/full"]
    assert less["worlds"] == len(gaps) and less["worlds drawn anew"].startswith("-")
    home = [find(preset(seed=seed)).metrics.miou - find(adapter_only(seed)).metrics.miou for seed in range(5)]
    assert line["one world"] == mean_of(np.array(home), signed=True) and line["seeds"] == len(home)


def test_lines_of_worlds_are_paired_by_world() -> None:
    found = find_all([*ablation(), *worlds()])
    lines = world_lines(found)
    assert set(lines["changed"]) == {()} and {0, 1} < set(lines["seed"])
    gap = paired(lines, FULL, ADAPTER)
    assert mean_of(gap, signed=True) == world_table(found).set_index(COLUMNS[0]).loc[
        "works-best/full less adapter only", "worlds drawn anew"]  # fmt: skip


def test_without_other_worlds_there_is_nothing_to_show() -> None:
    assert world_table(find_all(ablation())).empty
