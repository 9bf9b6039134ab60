"""Facts: every experiment of the book has its own, read from the config alone, and its label is today's row name."""

import itertools
from dataclasses import replace

import pytest

from geoguide.datasets.config import DataConfig
from geoguide.experiments import facts, placing
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import on
from geoguide.experiments.presets import (
    DROPS,
    ENTIRE_IN_BUDGET,
    LARGE_PRESETS,
    ON_FROZEN,
    ON_LABELS,
    PRESETS,
    STILL,
    SYSTEMS,
    TEACHERS,
    TRANSFORMERS,
    adapter_only,
    fusion,
    in_whole_rooms,
    linear_probe,
    on_labels,
    openscene,
    openscene_in_budget,
    point_transformer,
    pooled,
    preset,
    system,
    with_teacher,
)
from geoguide.experiments.profiles import (
    STUDIES,
    cross_domain,
    main_table,
    occlusion,
    profile,
    study,
    systems,
    under_protocols,
)
from geoguide.experiments.records import read_all
from geoguide.frozen import config_hash
from geoguide.lifting import LiftingConfig
from geoguide.method.objective import MODULES
from geoguide.pipeline.config import EvaluationConfig, ExperimentConfig, Protocol
from geoguide.pipeline.protocols import PROTOCOLS, STEPS
from geoguide.report.labels import row_label


def test_methods_presets_and_modules() -> None:
    rows = {facts.FUSION: fusion(), facts.ENTIRE: openscene(), facts.ADAPTER: adapter_only(), facts.POOLED: pooled()}
    for method, config in rows.items():
        found = Facts.of(config)
        assert (found.method, found.preset, found.changed) == (method, None, ())
        assert (found.backbone is None) == (method in (facts.FUSION, facts.ENTIRE))
    for name in PRESETS:
        for drop in (*DROPS["works-best"], "usd+imr+iirc"):
            found = Facts.of(preset(name, drop=drop, seed=3))
            assert (found.method, found.preset, found.changed, found.seed) == (facts.GEOGUIDE, name, (), 3)
            assert found.dropped == (() if drop == "none" else tuple(drop.split("+")))
            assert set(found.modules) | set(found.dropped) == set(MODULES)


@pytest.mark.parametrize("dataset", ["scannet", "matterport3d", "nuscenes"])
def test_other_systems_are_methods(dataset: str) -> None:
    for name in SYSTEMS:
        for frozen, edition in itertools.product((True, False), ("small", "large")):
            config = on(system(name, 3, frozen=frozen, dataset=dataset, edition=edition), dataset, edition)
            found = Facts.of(config)
            assert (found.method, found.changed) == (name + ON_FROZEN if frozen else name, ()) and found.plain
            assert (found.backbone is None) != frozen and found.modules == ()
            one_point = name.startswith("SAS") and dataset == "nuscenes"
            assert (config.superpoints.method == "points") == one_point
            assert config.pooling.means == ("exact" if frozen and not one_point else "sampled")
    rows = [Facts.of(config) for config in systems(dataset)]
    assert len(set(rows)) == len(rows)
    odd = Facts.of(system("SAS stage 2").replace(train__self_distillation__storage="float32"))
    assert (odd.method, odd.changed) == ("SAS stage 2", (("train.self_distillation.storage", "float32"),))


@pytest.mark.parametrize("dataset", ["scannet", "matterport3d", "nuscenes"])
@pytest.mark.parametrize("teacher", list(TEACHERS))
def test_benchmark_and_2d_model_whatever_its_severity_there(dataset: str, teacher: str) -> None:
    for make in (fusion, adapter_only, openscene):
        found = Facts.of(on(make(0, teacher), dataset))
        assert (found.teacher, found.trained_on, found.tested_on, found.changed) == (teacher, dataset, dataset, ())
        assert found.plain and found.data == "mini"
    if dataset != "scannet":
        moved = Facts.of(placing.tested_on(with_teacher(preset(), teacher), dataset))
        assert (moved.trained_on, moved.tested_on, moved.teacher, moved.changed) == ("scannet", dataset, teacher, ())
        assert not moved.plain


def test_protocols_have_their_names() -> None:
    for name, protocol in STEPS.items():
        found = Facts.of(preset().replace(protocol=protocol))
        assert (found.protocol, found.mode, found.changed) == (name, protocol.mode, ())
        assert found.plain == (name == facts.BOOK_PROTOCOL)
    fused = Facts.of(fusion().replace(protocol=PROTOCOLS["openscene"]).replace(protocol__mode="fusion"))
    assert (fused.method, fused.protocol, fused.mode, fused.changed) == (facts.FUSION, "openscene", "fusion", ())
    other = Facts.of(preset().replace(protocol=Protocol(mode="ensemble", repeats=3)))
    assert (other.protocol, other.mode, other.changed) == ("other", "ensemble", (("protocol.repeats", 3),))


def test_what_else_is_changed_is_listed_with_its_value() -> None:
    for option, (drop, changes) in STUDIES.items():
        base, changed = (Facts.of(config) for config in study(option))
        assert base.plain and not changed.plain and changed.preset == "works-best"
        assert changed.dropped == base.dropped == Facts.of(preset(drop=drop)).dropped
        fields = {name.replace("__", ".") for name in changes}
        assert all(any(name.startswith(field) for field in fields) for name, _ in changed.changed) and changed.changed
    odd = preset().replace(data__rooms=(1, 1, 1), adapter__hidden=(8,), teacher__drift=0.31, seed=2)
    assert Facts.of(odd).changed == (("adapter.hidden", (8,)), ("data.rooms", (1, 1, 1)), ("teacher.drift", 0.31))


def test_what_hides_points_is_a_fact() -> None:
    hidden = {Facts.of(config).occlusion for config in occlusion()}
    assert hidden == {"depth", "splat"} and facts.own_occlusion("nuscenes") == "none"
    for config in occlusion():
        assert Facts.of(config).changed == () and not Facts.of(config).plain


def test_real_data_need_no_disk() -> None:
    data = DataConfig("nuscenes", "nuscenes16", frame_skip=20, features="openseg", root="/nowhere")
    config = preset(seed=1).replace(data=data, lifting=LiftingConfig(border=5, occlusion="none"), train__steps=7)
    found = Facts.of(config)
    assert (found.data, found.trained_on, found.teacher, found.changed) == ("real", "nuscenes", "openseg", ())
    assert row_label(found) == "works-best/full" and found.plain


def test_names_and_folders_are_no_facts() -> None:
    for config in profile("quick"):
        assert Facts.of(config.replace(name="2D fusion, LSeg-like", data__root="/elsewhere")) == Facts.of(config)


def test_different_experiments_differ_in_a_fact() -> None:
    configs = [*profile("all"), *profile("studies")]
    assert len({Facts.of(config) for config in configs}) == len(configs)


def test_rows_choose_by_value_or_by_a_set_of_values() -> None:
    found = Facts.of(preset("as-written", drop="imr"))
    assert found.fit({"preset": "as-written", "dropped": ("imr",), "plain": True})
    assert found.fit({"preset": frozenset(PRESETS)}) and found.fit({})
    assert not found.fit({"preset": "works-best"}) and not found.fit({"backbone": frozenset({"sonata"})})
    assert Facts.of(fusion()).fit({"backbone": None, "preset": None})


def test_every_committed_record_is_labelled_as_it_was_named() -> None:
    """The names that rows had when they were run; single-option studies are called after what they change."""
    found = [record for record in read_all() if record.facts.data == "mini"]
    for record in found:
        label = row_label(record.facts)
        if record.facts.changed:
            (name, value), *_ = record.facts.changed
            assert f", {name} = {value}" in label
        elif record.facts.edition == "large":
            told = f", {record.facts.teacher}"  # which labels leave out where it is the large edition's own
            assert record.name == label.removesuffix(", large edition").removesuffix(told) + told
        else:
            assert label == record.name
    assert len({record.facts for record in found}) == len(found) > 200


def test_every_config_that_presets_make_is_labelled_by_its_name() -> None:
    rows = [c for features in TEACHERS for c in main_table("matterport3d", features=features)]
    for config in (*rows, *cross_domain(), *occlusion(), *under_protocols()):
        assert row_label(Facts.of(config)) == config.name


def test_the_plainest_config_has_facts() -> None:
    found = Facts.of(ExperimentConfig(evaluation=EvaluationConfig(("scannet20",))))
    assert found.method == facts.GEOGUIDE and ("evaluation.label_sets", ("scannet20",)) in found.changed


def test_entire_transformers_and_oracles_have_their_own_methods() -> None:
    for method in TRANSFORMERS:
        for teacher in ("OpenSeg-like", "LSeg-like"):
            found = Facts.of(point_transformer(method, 2, teacher))
            assert (found.method, found.teacher, found.backbone, found.changed) == (method, teacher, "sonata-mini", ())
    assert Facts.of(linear_probe()).method == facts.PROBE and Facts.of(linear_probe()).changed == ()
    assert Facts.of(linear_probe(backbone="descriptors")).backbone == "descriptors"
    for make in (adapter_only, openscene, point_transformer):
        config = on_labels(make())
        found = Facts.of(config)
        assert (found.method, found.changed) == (Facts.of(make()).method + ON_LABELS, ()) and found.plain
        assert row_label(found) == config.name
    for size in ENTIRE_IN_BUDGET:
        config = openscene_in_budget(*size, teacher="LSeg-like")
        assert (Facts.of(config).method, Facts.of(config).changed) == (openscene_in_budget(*size).name, ())
    odd = Facts.of(adapter_only().replace(train__supervision="classes"))
    assert odd.method == "adapter only on labels" and odd.changed == (("train.supervision", "classes"),)


def test_the_schedule_of_a_network_trained_whole_is_all_that_differs() -> None:
    still, plain = (in_whole_rooms(adapter_only(2), augmented=augmented) for augmented in (True, False))
    assert config_hash(still) == config_hash(point_transformer(STILL, 2))
    assert Facts.of(plain).changed == (("point_transformer.augmented", False),)
    full = in_whole_rooms(preset(seed=2))
    assert full.objective == preset(seed=2).objective and full.train == still.train


@pytest.mark.parametrize("name", ["entire-networks", "ceilings", "ladder"])
def test_rows_of_the_profiles_are_told_apart(name: str) -> None:
    rows = profile(name)
    assert len({Facts.of(row) for row in rows}) == len(rows)
    plain = [row for row in rows if not row.name.endswith("weights by gradient")]
    assert all(Facts.of(row).changed == () and row_label(Facts.of(row)) in row.name for row in plain)
    weighed = {replace(row.objective, modules=MODULES) for row in rows if row not in plain}
    assert weighed <= {LARGE_PRESETS["works-best"]}
