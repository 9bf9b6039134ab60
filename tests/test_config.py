"""Configs: identity, round trip, unknown fields, types of values against a slow look at each."""

import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide.errors import ConfigError
from geoguide.experiments.presets import DROPS, SEEDS, fusion, preset, row_name
from geoguide.experiments.profiles import ablation, profile
from geoguide.frozen import check_types, config_hash, from_dict, to_dict
from geoguide.method.objective import MODULES, ObjectiveConfig, parse_drop
from geoguide.pipeline.config import ExperimentConfig, TrainConfig


def test_round_trip_through_json() -> None:
    config = preset("works-best", drop="imr", seed=3).replace(adapter__hidden=(64, 32), data__root="elsewhere")
    again = from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(config))))
    assert again == config


def test_hash_names_the_result_not_the_label() -> None:
    config = ExperimentConfig()
    assert config_hash(config) == config_hash(config.replace(name="other", data__root="elsewhere"))
    changes = [{"seed": 1}, {"objective__usd__weight": "raw"}, {"teacher__pixel_noise": 0.77}, {"train__steps": 7}]
    hashes = {config_hash(config.replace(**change)) for change in changes}
    assert len(hashes) == len(changes) and config_hash(config) not in hashes


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ConfigError, match=r"objective\.usd\.wieght"):
        ExperimentConfig().replace(objective__usd__wieght="raw")
    with pytest.raises(ConfigError, match=r"config\.train\.epochs"):
        from_dict(ExperimentConfig, {"train": {"epochs": 3}})
    with pytest.raises(ConfigError, match="works-better"):
        preset("works-better")
    with pytest.raises(ConfigError, match="unknown profile"):
        profile("slow")


@pytest.mark.parametrize(
    ("drop", "left"), [("none", MODULES), ("iirc", ("usd", "imr")), ("usd+imr", ("iirc",)), (" USD + IIRC ", ("imr",))]
)
def test_drop(drop: str, left: tuple[str, ...]) -> None:
    assert parse_drop(drop) == left


def test_unknown_drop_names_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"'foo'.*usd, imr, iirc"):
        parse_drop("usd+foo")


def test_every_row_has_the_same_seeds_scenes_and_teacher() -> None:
    rows = ablation()
    seeds: dict[str, list[int]] = {}
    for config in rows:
        seeds.setdefault(config.name, []).append(config.seed)
        assert (config.data, config.teacher, config.lifting) == (rows[0].data, rows[0].teacher, rows[0].lifting)
    assert seeds.pop(fusion().name) == [0]  # trains nothing
    assert {tuple(s) for s in seeds.values()} == {SEEDS} and len(rows) == len({config_hash(c) for c in rows})
    assert {row_name(parse_drop(d)) for d in DROPS["works-best"]} == {
        n.split("/")[1] for n in seeds if n.startswith("works-best")
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("train__steps", 0),
        ("train__evaluate_every", 0),
        ("train__points_per_step", 1.5),
        ("train__learning_rate", float("nan")),
        ("train__power", -1.0),
        ("data__room_seed", -1),
    ],
)
def test_numbers_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{field.split('_', 2)[-1]} must be .*found {value}"):
        ExperimentConfig().replace(**{field: value})


@pytest.mark.parametrize(
    ("field", "given", "held"),
    [
        ("seed", np.int64(3), 3),
        ("train__steps", 1e4, 10000),
        ("train__learning_rate", np.float32(0.5), 0.5),
        ("pooling__kept_points", np.float64(20), 20),
        ("adapter__hidden", [np.int64(64), 32.0], (64, 32)),
        ("objective__modules", ["usd", "imr"], ("usd", "imr")),
        ("evaluation__label_sets", ["scannet20"], ("scannet20",)),
        ("data__first", [1, 2.0, 3], (1, 2, 3)),
        ("data__root", Path("elsewhere"), "elsewhere"),
        ("train__watch_train", np.bool_(True), True),
    ],
)
def test_values_in_another_form_name_the_same_experiment(field: str, given: Any, held: Any) -> None:
    """A run of `steps=1e4` wrote a record that nobody could read, and a seed of `np.arange` had no hash."""
    config, plain = (ExperimentConfig().replace(**{field: value}) for value in (given, held))
    assert config == plain and config_hash(config) == config_hash(plain)
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert hash(config) == hash(plain)  # lists had none, found out after the training


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("seed", True, "experiment.seed must be int, found True"),
        ("seed", "1", "experiment.seed must be int, found '1'"),
        ("seed", 2**43, "experiment.seed must be 0 to"),  # torch's generator had no such, a traceback at the first step
        ("train__steps", 10.5, "train.steps must be int, found 10.5"),
        ("train__model", "pointnet", "train.model must be one of adapter, openscene, point_transformer"),
        ("train__watch_train", "no", "train.watch_train must be bool, found 'no'"),  # counted as yes
        ("train__decay", "a", "train.decay must be float, found 'a'"),
        ("train__self_distillation", None, "train.self_distillation must be SelfDistillationConfig, found None"),
        ("objective__lambda_sp", -1.0, "objective.lambda_sp must be at least 0, found -1.0"),
        ("objective__lambda_mask", float("nan"), "objective.lambda_mask must be finite, found nan"),
        ("objective__modules", {"usd"}, "objective.modules must be tuple"),
        ("objective__usd__hidden", 0, "usd.hidden must be at least 1, found 0"),
        ("objective__imr__temperature", float("nan"), "imr.temperature must be finite, found nan"),
        ("objective__imr__masks_per_step", 2.5, "imr.masks_per_step must be int, found 2.5"),
        ("objective__iirc__diagonal", "no", "iirc.diagonal must be bool, found 'no'"),
        ("adapter__hidden", (64, 0), "adapter.hidden must hold widths of at least 1"),
        ("adapter__norm", "batch", "adapter.norm must be one of layer, none, found 'batch'"),
        ("lifting__occlusion", "Depth", "lifting.occlusion must be one of depth, splat, none, found 'Depth'"),
        ("lifting__border", -1, "lifting: border must be a finite number >= 0, found -1"),
        ("superpoints__k", -0.1, "superpoints: k must be a finite number >= 0, found -0.1"),
        ("protocol__prompt", 3, "protocol.prompt must be str, found 3"),
        ("protocol__repeats", 2.5, "protocol.repeats must be int, found 2.5"),
        ("evaluation__label_sets", ("scannet",), "unknown label set 'scannet'"),  # found out after the training
        ("evaluation__label_sets", "scannet20", "evaluation.label_sets must be tuple"),
        ("openscene__voxel", float("nan"), "openscene.voxel must be finite, found nan"),
        ("teacher__seed", 0.5, "simulated teacher.seed must be int, found 0.5"),
        ("masks__geometry__tolerances", (0.1, float("inf")), "instances.tolerances must be finite"),
        ("text__encoder", 3, "text.encoder must be str, found 3"),
    ],
)
def test_values_that_no_field_has_are_refused_before_the_work(field: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        ExperimentConfig().replace(**{field: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"masks__source": "files", "masks__folder": "masks", "masks__made_by": "Mask3D"},
        {"protocol__pooled": "instances", "protocol__mode": "fusion"},
        {"objective__distillation__superpoints": True, "objective__modules": ()},
        {"objective__lambda_sp": 0.0, "objective__modules": ("imr",)},
        {"data__dataset": "scannet", "data__root": "scans"},
        {"train__steps": 5, "train": TrainConfig(decay=0.5)},
    ],
)
def test_what_goes_together_is_changed_together(changes: dict[str, Any]) -> None:
    """One after another, what stood between was refused: masks of files could not be asked for at all."""
    config = ExperimentConfig(objective=ObjectiveConfig(modules=("usd",))).replace(**changes)
    assert config == config.replace(**dict(reversed(changes.items())))
    assert config.train.decay == (0.5 if "train" in changes else 1) and config.train.steps in (5, 2000)


def test_ratios_to_a_gradient_of_nothing_are_refused() -> None:
    """All factors were 0 then: a training of no loss at all, to its end."""
    with pytest.raises(ConfigError, match=r"objective\.lambda_sp must be above 0"):
        ObjectiveConfig(lambda_by="gradient", lambda_sp=0.0)
    assert ObjectiveConfig(lambda_sp=0.0).lambda_sp == 0  # the other modules alone
    with pytest.raises(ConfigError, match="every λ in use is 0"):
        ObjectiveConfig(modules=("usd",), lambda_sp=0.0)


def slowly(hint: Any, value: Any) -> bool:
    """Whether a value is of a hint's type, by looking at each part of it."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return value in kinds
    if origin is types.UnionType:
        return any(slowly(kind, value) for kind in kinds)
    if origin in (list, Sequence):
        return isinstance(value, list) and all(slowly(kinds[0], part) for part in value)
    if origin is tuple and kinds[-1] is Ellipsis:
        return isinstance(value, tuple) and all(slowly(kinds[0], part) for part in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(slowly, kinds, value))
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(slowly(kinds[0], a) and slowly(kinds[1], b) for a, b in value.items())
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)


HINTS = [
    *(Any, int, float, bool, str, float | None, Literal["a", "b"], list[int], list[float | None], dict[str, Any]),
    *(list[list[int]], tuple[int, ...], tuple[float, str], tuple[int, ...] | None, dict[str, float | None]),
    *(Mapping[str, float], Sequence[Mapping[str, float]], list[Literal["a", "b"]], dict[str, list[bool]]),
]
NUMBERS = st.integers(-3, 3) | st.floats(width=16)
LEAVES = st.none() | st.booleans() | NUMBERS | st.sampled_from(["a", "b", "c"]) | st.just(np.float64(1))
NESTED = st.recursive(
    LEAVES, lambda part: st.lists(part) | st.dictionaries(st.sampled_from("ab"), part) | st.tuples(part, part)
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(HINTS), NESTED | st.lists(NUMBERS) | st.dictionaries(st.sampled_from("ab"), NUMBERS))
def test_values_are_told_from_others_as_by_a_look_at_each(hint: Any, value: Any) -> None:
    one = make_dataclass("One", [("field", hint)])
    if slowly(hint, value):
        check_types(one, {"field": value}, "one")
    else:
        with pytest.raises(ConfigError, match=r"one\.field(\.\w+)* must be .*, found "):
            check_types(one, {"field": value}, "one")
