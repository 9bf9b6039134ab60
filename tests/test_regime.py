"""The rows of the large editions: what they are by their facts, and that no table mixes them with the small ones."""

from dataclasses import replace

import pytest

from geoguide.errors import DataError
from geoguide.experiments import records, regime
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import on
from geoguide.experiments.presets import adapter_only, openscene, point_transformer, preset
from geoguide.pipeline.pooling import PoolingConfig


def test_rows_are_what_they_are_called_and_differ_from_the_presets_only_as_said() -> None:
    rows = regime.anchors() + regime.ablation(seeds=(0,))
    assert len({str(config) for config in rows}) == len(rows) - 1  # the adapter stands in both
    for config in rows:
        facts = Facts.of(config)
        assert facts.edition == "large" and facts.trained_on == facts.tested_on == "scannet"
        assert facts.teacher == ("no fault" if "no fault" in config.name else "lseg-mini")
        told = {name for name, _ in facts.changed}
        assert not told & {"pooling.means", "pooling.kept_points", "train.steps", "backbone.name"}, config.name
        assert ("objective.iirc.scale" in told) == (facts.preset in ("works-best", "lineage")), config.name
    controls = {name: Facts.of(rows[-len(regime.CONTROLS) + n]).changed for n, name in enumerate(regime.CONTROLS)}
    for name, changes in regime.CONTROLS.items():
        assert {field.replace("__", ".") for field in changes} <= {field for field, _ in controls[name]}


def test_a_large_edition_keeps_exact_means_and_some_points_where_a_student_can_do_with_them() -> None:
    kept = PoolingConfig(means="exact", kept_points=20_000)
    assert on(preset(), "scannet", "large").pooling == kept and on(preset(), "scannet").pooling == PoolingConfig()
    for whole in (openscene(), point_transformer()):
        there = on(whole, "scannet", "large")
        assert there.pooling == PoolingConfig() and there.train.steps == whole.train.steps


def test_no_frame_mixes_editions() -> None:
    found = [records.find(adapter_only(seed)) for seed in (0, 1)]
    if None in found:
        pytest.skip("the committed records are not here")
    first, second = found
    assert first is not None and second is not None
    other = replace(second, facts=replace(second.facts, edition="large"))
    assert list(records.frame([first, other])["seed"]) == [0]
    assert list(records.frame([first, other], edition="large")["seed"]) == [1]
    with pytest.raises(DataError, match="no records"):
        records.frame([first], edition="large")
