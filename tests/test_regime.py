"""The rows of the large editions: what they are by their facts, and that no table mixes them with the small ones."""

from dataclasses import replace

import pytest

from geoguide.benchmarks import NAMES
from geoguide.datasets.config import Edition
from geoguide.errors import DataError
from geoguide.experiments import records, regime
from geoguide.experiments.facts import Facts, _flat
from geoguide.experiments.placing import on
from geoguide.experiments.presets import SYSTEMS, TRANSFORMERS, adapter_only, openscene, point_transformer, preset
from geoguide.experiments.profiles import profile, systems
from geoguide.frozen import config_hash, to_dict
from geoguide.pipeline.pooling import PoolingConfig
from geoguide.report.claim_tests import own_models
from geoguide.report.rows import route, system


def test_rows_are_what_they_are_called_and_differ_from_the_presets_only_as_said() -> None:
    rows = profile("large")
    controls = {f"works-best/full, {name}, lseg-mini": changes for name, changes in regime.CONTROLS.items()}
    for config in rows:
        facts = Facts.of(config)
        assert facts.edition == "large" and facts.method != facts.preset
        if "no fault" in config.name:
            assert facts.teacher == "no fault"
        else:
            assert facts.teacher in config.name and facts.teacher in (*regime.MODELS.values(), *regime.OTHER_MODELS)
        told = {name for name, _ in facts.changed}
        if config.name in controls:
            said = tuple(field.replace("__", ".") for field in controls[config.name])
            assert told and all(name.startswith(said) for name in told)
        elif "slow mean" in config.name:
            assert facts.changed == (("train.self_distillation.keep", regime.SLOW_MEAN),)
        elif config.name.endswith("class names"):
            assert facts.changed == (("protocol.finer_names", False),)
        elif config.name.endswith("2 times the steps"):
            assert facts.changed == (("train.steps", 16_000),) and facts.method in ("adapter only", "GeoGuide")
        else:
            assert told == ({"protocol.pooled"} if config.protocol.pooled != "none" else set()), config.name
    kinds = {Facts.of(config).method for config in rows}
    assert {"entire network", "Point Transformer from scratch", "Point Transformer fine-tuned"} <= kinds


def test_what_decides_a_claim_by_itself_comes_right_after_what_the_regime_is() -> None:
    methods = [Facts.of(config).method for config in profile("large")]
    first = methods[len(regime.anchors()) : len(regime.anchors()) + 2 * len(regime.transformers())]
    assert set(first) == {*TRANSFORMERS}
    assert not set(first) & {*methods[: len(regime.anchors())], *methods[len(regime.anchors()) + len(first) :]}


@pytest.mark.parametrize("edition", ["small", "large"])
def test_the_other_systems_can_be_run_on_every_benchmark(edition: Edition) -> None:
    known = {config_hash(row) for name in ("systems", "systems-elsewhere", "large") for row in profile(name)}
    for dataset in NAMES:
        rows = systems(dataset, edition)
        assert {config_hash(config) for config in rows} <= known
        at = route(dataset) | {"edition": edition, "teacher": own_models(edition)[dataset], "plain": True}
        found = [Facts.of(config) for config in rows]
        for name in SYSTEMS:
            for frozen in (True, False):
                here = [facts for facts in found if facts.fit(system(name, frozen=frozen) | at)]
                assert {facts.seed for facts in here} == {*regime.FEW}


def test_a_search_is_judged_by_validation_rooms_and_changes_what_it_says() -> None:
    rows = regime.search()
    assert len({config_hash(config) for config in rows}) == len(rows) == len(regime.SEARCH)
    for config, (option, changes) in zip(rows, regime.SEARCH.items(), strict=True):
        assert config.data.first == regime.SEARCH_ROOMS
        flat = [_flat(to_dict(one, hashed_only=True)) for one in (config, rows[0])]
        told = {name for name in flat[0].keys() | flat[1].keys() if flat[0].get(name) != flat[1].get(name)}
        assert told <= {name.replace("__", ".") for name in changes} and bool(told) == bool(changes), option


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
