"""Which backbone an experiment uses: its options reach the network, its weights' content decides the cache."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide import backbones
from geoguide.backbones import BackboneConfig, identity, open_backbone
from geoguide.backbones.joined import join
from geoguide.benchmarks.scenes import list_sources
from geoguide.errors import ConfigError, DataError
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare
from geoguide.pretraining.config import NetworkConfig, PretrainConfig
from geoguide.pretraining.loop import Pretraining, build


def write_weights(path: Path, seed: int) -> str:
    """Weights of an untrained network small enough for a test."""
    network = NetworkConfig(
        voxel=0.2, enc_depths=(1, 1), enc_channels=(8, 12), enc_num_head=(1, 2), enc_patch_size=(32, 32), stride=(2,),
        concat=1,
    )  # fmt: skip
    plain = PretrainConfig(network=network, seed=seed)
    return str(Pretraining(build(plain)["encoder"].eval(), [], plain, 0).save(path, []))


def test_options_reach_the_network(tmp_path):
    config = BackboneConfig("sonata-mini", weights=write_weights(tmp_path / "a.safetensors", 0), concat=0)
    assert open_backbone(config).width == 12 and open_backbone(config) is open_backbone(config)
    found = identity(config)
    assert found == {"name": "sonata-mini", "sha256": open_backbone(config).sha256, "concat": 0}
    with pytest.raises(DataError, match="SHA-256 must be 00, found " + found["sha256"]):
        open_backbone(BackboneConfig("sonata-mini", weights=config.weights, sha256="00"))


def test_cached_features_follow_the_weights_not_their_path(tmp_path, tiny, monkeypatch):
    whole = list_sources(tiny.data, "val")[0].load()
    scene, path = dataclasses.replace(whole, views=whole.views[:2]), tmp_path / "a.safetensors"
    config = tiny.replace(backbone__name="sonata-mini", backbone__weights=write_weights(path, 0))
    first = np.array(prepare(scene, config, tmp_path / "cache").geometry)
    copy = tmp_path / "b.safetensors"
    copy.write_bytes(path.read_bytes())
    with monkeypatch.context() as patch:  # the same content under another name: no network is opened
        patch.setattr(backbones, "open_backbone", None)
        again = prepare(scene, config.replace(backbone__weights=str(copy)), tmp_path / "cache")
    np.testing.assert_array_equal(again.geometry, first)
    write_weights(path, 1)  # other content under the same name: stale
    assert not np.array_equal(prepare(scene, config, tmp_path / "cache").geometry, first)


def test_where_weights_lie_is_no_part_of_an_experiment():
    config = ExperimentConfig().replace(backbone__name="sonata-mini")
    assert config_hash(config) == config_hash(config.replace(backbone__weights="elsewhere"))
    assert config_hash(config) != config_hash(config.replace(backbone__concat=1))
    assert from_dict(ExperimentConfig, to_dict(config)) == config


def test_the_untrained_control_differs_in_its_weights_alone(tiny):
    scene = list_sources(tiny.data, "val")[0].load()
    trained, control = (open_backbone(BackboneConfig(name)) for name in ("sonata-mini", "sonata-mini-untrained"))
    assert (control.width, control.grid, control.concat) == (trained.width, trained.grid, trained.concat)
    shapes = [{k: v.shape for k, v in b.model.state_dict().items()} for b in (trained, control)]
    assert shapes[0] == shapes[1]
    state = torch.random.get_rng_state()
    again = backbones.load("sonata-mini-untrained")
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's random numbers are left alone
    states = (backbone.model.state_dict().values() for backbone in (control, again))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    np.testing.assert_allclose(control.encode(scene), again.encode(scene), atol=1e-4)  # a GPU adds in any order
    assert not np.allclose(control.encode(scene), trained.encode(scene), atol=0.1)
    other = backbones.load("sonata-mini-untrained", seed=1)
    assert not np.allclose(control.encode(scene), other.encode(scene), atol=0.1)


def test_bad_fields():
    with pytest.raises(
        ConfigError,
        match="backbone.name must be one of concerto, descriptors, point-mae, sonata, sonata-mini, .*, found 'x'",
    ):
        BackboneConfig("x")
    with pytest.raises(ConfigError, match="backbone.concat must be None for descriptors"):
        BackboneConfig("descriptors", concat=2)
    with pytest.raises(DataError, match="weights file not found"):
        identity(BackboneConfig("sonata-mini", weights="missing.safetensors"))


def test_joined_backbones_are_both_at_unit_length(tiny: ExperimentConfig):
    """The oracle is each part alone; the same bits for a scene among others and, where a part has no say, by subset."""
    scene = list_sources(tiny.data, "val")[0].load()
    config = BackboneConfig("sonata-mini+descriptors")
    joined = open_backbone(config)
    features, start = joined.encode(scene), 0
    assert features.shape == (len(scene), joined.width) and joined.width == 336 + 130
    for part in config.parts:
        alone = open_backbone(part).encode(scene)
        block = features[:, start : (start := start + alone.shape[1])]
        np.testing.assert_allclose(block, alone / np.linalg.norm(alone, axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(join([np.zeros((2, 3)), np.eye(2)]), np.hstack([np.zeros((2, 3)), np.eye(2)]))


def test_the_identity_of_joined_backbones_covers_both(tmp_path):
    path = write_weights(tmp_path / "a.safetensors", 0)
    one, other = (
        BackboneConfig(f"sonata-mini+{name}", weights=path) for name in ("descriptors", "sonata-mini-untrained")
    )
    alone = identity(BackboneConfig("sonata-mini", weights=path))
    assert identity(one)["sha256"] == alone["sha256"] and alone in identity(one)["parts"]
    assert identity(one) != identity(other) and config_hash(one) != config_hash(BackboneConfig("descriptors"))
    write_weights(tmp_path / "a.safetensors", 1)
    assert identity(one)["sha256"] != alone["sha256"]
    with pytest.raises(DataError, match="SHA-256 must be 00"):
        identity(dataclasses.replace(one, sha256="00"))
    assert BackboneConfig("sonata-mini+descriptors", concat=1).parts[0].concat == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "sonata-mini+x"}, r"must be one of concerto, .* or several joined by \+, found 'x'"),
        ({"name": "sonata+sonata-mini"}, "at most one of them with trained weights"),
        ({"name": "descriptors+descriptors"}, "must join different backbones"),
        ({"name": "descriptors+sonata-mini-untrained", "concat": 1}, "concat must be None for descriptors"),
    ],
)
def test_backbones_that_cannot_be_joined(options, message):
    with pytest.raises(ConfigError, match=message):
        BackboneConfig(**options)
