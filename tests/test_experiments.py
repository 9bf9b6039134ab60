"""The experiments of the book: rows differ from each other where they say so and nowhere else."""

import pytest

from geoguide.benchmarks import NAMES
from geoguide.errors import ConfigError
from geoguide.experiments.facts import Facts
from geoguide.experiments.presets import (
    CHAPTER_TEACHERS,
    DEFAULT_TEACHER,
    OTHER_BACKBONES,
    SEEDS,
    TEACHERS,
    adapter_only,
    fusion,
    openscene,
    preset,
)
from geoguide.experiments.profiles import PROFILES, preliminary, profile
from geoguide.frozen import config_hash, to_dict


def differences(a: dict, b: dict, where: str = "") -> set[str]:
    """Dotted names of the fields in which two configs differ."""
    found = set()
    for key in a.keys() | b.keys():
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            found |= differences(x, y, f"{where}{key}.")
        elif x != y:
            found.add(where + key)
    return found


def test_no_experiment_of_a_profile_is_there_twice():
    for name in PROFILES:
        hashes = [config_hash(config) for config in profile(name)]
        assert len(set(hashes)) == len(hashes)
    everything = {config_hash(c) for c in profile("all")}
    for name in ("quick", "full", *NAMES, "occlusion", "cross-domain", "protocols"):
        assert {config_hash(c) for c in profile(name)} <= everything
    assert {config_hash(c) for c in preliminary()} <= {config_hash(c) for c in profile("full")}


def test_a_2d_model_changes_the_teacher_alone():
    for make in (fusion, adapter_only, openscene):
        plain, other = make(1), make(1, "LSeg-like")
        changed = differences(to_dict(plain), to_dict(other))
        assert changed and all(name.startswith(("name", "teacher.", "train.steps")) for name in changed)
        assert other.name == f"{plain.name}, LSeg-like"
    assert tuple(TEACHERS) == (*CHAPTER_TEACHERS, "persistent errors")
    assert TEACHERS[DEFAULT_TEACHER] == preset().teacher
    with pytest.raises(ConfigError, match="unknown teacher 'SAS': known are OpenSeg-like, LSeg-like, persistent"):
        adapter_only(0, "SAS")


def test_frozen_features_change_the_backbone_alone():
    for name in OTHER_BACKBONES:
        assert differences(to_dict(adapter_only()), to_dict(adapter_only(backbone=name))) == {"name", "backbone.name"}


def test_lineage_is_as_written_but_for_what_its_ancestors_code_does():
    """And few profiles run it: the chapters compare the presets that they always compared."""
    changed = differences(to_dict(preset("as-written")), to_dict(preset("lineage")))
    settings = {"superpoints.min_size", "train.points_per_step"}
    assert changed == {"name", "objective.usd.point_target"} | settings
    run_by = ("systems", "systems-elsewhere", "large")
    for name in PROFILES:
        assert any(Facts.of(config).preset == "lineage" for config in profile(name)) == (name in run_by)
    assert config_hash(preset("as-written")) == "331a8a3030" and config_hash(preset("works-best")) == "163cd90e52"


def test_frozen_and_entire_share_rooms_teacher_and_seeds():
    rows = preliminary()
    for config in rows:
        assert (config.data, config.lifting, config.protocol.prompt) == (
            rows[0].data,
            rows[0].lifting,
            "a photo of a {}",
        )
    seeds = {c.seed for c in rows if c.train.model == "openscene"}
    assert seeds <= set(SEEDS) and len(seeds) >= 3
