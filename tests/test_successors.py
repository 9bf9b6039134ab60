"""Concerto and Utonia: Sonata's encoder at other sizes, rotary positions, and how their files are found and checked."""

import math

import numpy as np
import pytest
import torch

from geoguide import backbones
from geoguide.backbones import BackboneConfig, identity
from geoguide.backbones.checkpoints import RELEASES
from geoguide.backbones.point_transformer import PointTransformerV3, upcast
from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.backbones.point_transformer_layers import RotaryPosition
from geoguide.backbones.sonata import encoder_input
from geoguide.backbones.successors import UtoniaBackbone
from geoguide.errors import ConfigError, DataError
from geoguide.experiments.placing import placed
from geoguide.experiments.presets import adapter_only
from geoguide.scene import Scene
from geoguide.students.point_transformer import network_of

TINY = {
    "stride": [2],
    "enc_depths": [1, 1],
    "enc_channels": [12, 24],
    "enc_num_head": [2, 2],
    "enc_patch_size": [32, 32],
}
ROTARY = {**TINY, "rope_base": 10, "shift_coords": None, "jitter_coords": 1.1, "rescale_coords": 1.2}


def saved(path, config, **network):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save({"config": config, "state_dict": PointTransformerV3(**config, **network).state_dict()}, path)
    return path


@pytest.fixture
def room(rng):
    points = (rng.random((300, 3)) * [1.0, 0.8, 0.05]).astype(np.float32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (300, 1))
    return Scene("made", points, rng.random((300, 3), dtype=np.float32), normals)


def turned_slowly(vector, place, base):
    """One head at one place, as the formula reads: a plane for each axis and frequency."""
    part = len(vector) // 3
    out = list(vector)
    for axis in range(3):
        for j in range(part // 2):
            angle = place[axis] * base ** (-2 * j / part)
            a, b = axis * part + j, axis * part + part // 2 + j
            out[a] = vector[a] * math.cos(angle) - vector[b] * math.sin(angle)
            out[b] = vector[b] * math.cos(angle) + vector[a] * math.sin(angle)
    return out


def test_rotary_positions_are_the_slow_loop():
    g = torch.Generator().manual_seed(1)
    heads, coord = torch.randn(2, 3, 4, 12, generator=g), torch.randn(2, 4, 3, generator=g)
    told = RotaryPosition(12, 10.0)(heads, coord)
    for n, head, length in np.ndindex(2, 3, 4):
        slow = turned_slowly(heads[n, head, length].tolist(), coord[n, length].tolist(), 10.0)
        np.testing.assert_allclose(told[n, head, length], slow, atol=1e-5)


def test_the_product_of_query_and_key_sees_only_where_they_are_to_each_other():
    g = torch.Generator().manual_seed(2)
    rope = RotaryPosition(18, 10.0)
    query, key, coord = (torch.randn(*shape, generator=g) for shape in ((1, 2, 5, 18), (1, 2, 5, 18), (1, 5, 3)))
    scores, moved = (rope(query, at) @ rope(key, at).transpose(-1, -2) for at in (coord, coord + 3.5))
    torch.testing.assert_close(scores, moved, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(rope(query, coord).norm(dim=-1), query.norm(dim=-1))


def test_places_decide_what_a_rotary_encoder_says(rng):
    """The same voxels and input further apart: without rotary positions nothing but `feat` and the grid would count."""
    grid = torch.from_numpy(rng.permutation(64)[:40])[:, None].repeat(1, 3)
    feat, offset = torch.from_numpy(rng.random((40, 9), dtype=np.float32)), torch.tensor([40])
    for config, same in ((TINY, True), (ROTARY, False)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = PointTransformerV3(**config).eval()
        near, far = (model(grid * step, grid, feat, offset)[0].feat for step in (0.02, 0.2))
        assert torch.equal(near, far) == same


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [({}, 108), ({"enc_channels": [64, 128, 256, 512, 768], "enc_num_head": [4, 8, 16, 32, 48]}, 208)],
)
def test_concertos_public_sizes_have_as_many_parameters_as_it_says(sizes, millions):
    """Its README: base has 108 million, large 208."""
    with torch.device("meta"):
        model = PointTransformerV3(**sizes)
    assert round(sum(value.numel() for value in model.parameters()) / 1e6) == millions


def test_utonias_public_sizes_give_the_width_of_its_evaluation():
    """backbone_out_channels of its linear probe on ScanNet."""
    config = PointTransformerConfig.checked(UtoniaBackbone._defaults)
    assert sum(config.enc_channels) == 1386
    with torch.device("meta"):
        state = PointTransformerV3(**UtoniaBackbone._defaults).state_dict()
    assert state["enc.enc0.block0.attn.rope.inv_freq"].shape == (3,)  # a head is 18 wide: 6 an axis


def test_concerto_is_sonata_with_other_weights(tmp_path, room):
    path = saved(tmp_path / "concerto_tiny.pth", TINY)
    told = backbones.load("concerto", weights=path, concat=1)
    assert told.name == "concerto" and told.width == 36
    assert np.array_equal(told.encode(room), backbones.load("sonata", weights=path, concat=1).encode(room))


def test_utonia_sees_half_the_room_in_voxels_of_a_centimetre(tmp_path, room):
    path = saved(tmp_path / "utonia_tiny.pth", ROTARY)
    backbone = backbones.load("utonia", weights=path, concat=1)
    made = encoder_input(room.points * np.float32(0.5), room.colors, room.normals, grid=0.01)
    arrays = (torch.from_numpy(a) for a in (made.coord, made.grid_coord, made.feat))
    with torch.inference_mode():
        stages = backbone.model(*arrays, torch.tensor([len(made.coord)]))
    np.testing.assert_allclose(backbone.encode(room), upcast(stages, 1).numpy()[made.inverse], atol=1e-5)


def test_decoders_sizes_in_a_configuration_say_nothing(tmp_path, room):
    path = saved(tmp_path / "plain.pth", TINY)
    held = torch.load(path, weights_only=True)
    torch.save(held | {"config": TINY | {"dec_depths": [3], "enc_mode": True}}, tmp_path / "more.pth")
    first, second = (backbones.load("concerto", weights=tmp_path / f, concat=1) for f in ("plain.pth", "more.pth"))
    assert np.array_equal(first.encode(room), second.encode(room))


@pytest.mark.parametrize("name", ["concerto", "utonia", "point-mae"])
def test_absent_weights_say_in_one_line_how_to_get_them_and_their_licence(name, tmp_path):
    release = RELEASES[name]
    for weights, begins in ((None, f"{name}: no weights file is named; "), (tmp_path / "none.pth", "")):
        with pytest.raises(DataError) as raised:
            backbones.load(name, weights=weights)
        told = str(raised.value)
        assert told.startswith(begins) and release.how_to in told and "\n" not in told
        with pytest.raises(DataError, match="fetch the weights"):
            identity(BackboneConfig(name, weights=None if weights is None else str(weights)))
    assert release.licence in release.how_to and f"load('{name}'" in release.how_to


def test_keys_are_checked(tmp_path):
    path = saved(tmp_path / "whole.pth", ROTARY)
    held = torch.load(path, weights_only=True)
    state = dict(held["state_dict"])
    del state["enc.enc1.block0.attn.rope.inv_freq"]
    state["student.head"] = torch.zeros(1)
    torch.save({"config": ROTARY, "state_dict": state}, tmp_path / "odd.pth")
    message = r"1 missing \(enc.enc1.block0.attn.rope.inv_freq\); 1 unexpected \(student.head\)"
    with pytest.raises(DataError, match=f"odd.pth: does not fit the encoder: {message}"):
        backbones.load("utonia", weights=tmp_path / "odd.pth", concat=1)


def test_a_network_saved_by_several_gpus_is_the_same(tmp_path, room):
    path = saved(tmp_path / "one.pth", TINY)
    state = torch.load(path, weights_only=True)["state_dict"]
    wrapped = torch.nn.DataParallel(PointTransformerV3(**TINY))
    wrapped.module.load_state_dict(state)
    assert all(name.startswith("module.") for name in wrapped.state_dict())
    torch.save({"config": TINY, "state_dict": wrapped.state_dict()}, tmp_path / "several.pth")
    one, several = (backbones.load("concerto", weights=tmp_path / f"{n}.pth", concat=1) for n in ("one", "several"))
    assert np.array_equal(one.encode(room), several.encode(room))
    torch.save({"config": TINY, "state_dict": {**state, "module.head": torch.zeros(1)}}, tmp_path / "mixed.pth")
    with pytest.raises(DataError, match=r"mixed.pth: does not fit the encoder: 1 unexpected \(module.head\)"):
        backbones.load("concerto", weights=tmp_path / "mixed.pth", concat=1)
    torch.save({"config": TINY, "state_dict": dict(enumerate(state.values()))}, tmp_path / "numbers.pth")
    with pytest.raises(DataError, match=r"numbers.pth: expected tensors by name under 'state_dict', found keys"):
        backbones.load("concerto", weights=tmp_path / "numbers.pth", concat=1)


def test_one_family_does_not_take_the_others_file(tmp_path):
    plain, rotary = saved(tmp_path / "plain.pth", TINY), saved(tmp_path / "rotary.pth", ROTARY)
    with pytest.raises(DataError, match="plain.pth: config: utonia must have a rope_base, found rope_base None"):
        backbones.load("utonia", weights=plain, concat=1)
    for name in ("sonata", "concerto"):
        with pytest.raises(DataError, match=f"rotary.pth: config: {name} must have rope_base None"):
            backbones.load(name, weights=rotary, concat=1)


def test_a_network_that_sees_scaled_rooms_is_not_trained_whole(tmp_path):
    config = BackboneConfig("utonia", weights=str(saved(tmp_path / "rotary.pth", ROTARY)), concat=1)
    with pytest.raises(ConfigError, match="backbone.name must be a backbone"):
        network_of(config, "pretrained")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_base": 1}, "rope_base must be above 1, found 1"),
        ({"rope_base": 10, "enc_channels": [48, 96, 192, 384, 512]}, "multiples of 6 with a rope_base"),
        ({"jitter_coords": "much"}, "jitter_coords"),
    ],
)
def test_impossible_rotary_configurations(values, message):
    with pytest.raises(ConfigError, match=message):
        PointTransformerConfig.checked(values)


def test_a_named_backbone_takes_its_weights_on_generated_data_too():
    config = placed(adapter_only(), "scannet", backbone="utonia", weights="utonia.pth")
    assert config.backbone == BackboneConfig("utonia", weights="utonia.pth")
    with pytest.raises(ConfigError, match="weights are those of a backbone that is named, or Sonata's"):
        placed(adapter_only(), "scannet", weights="utonia.pth")
    with pytest.raises(ConfigError, match="backbone.weights must be None for descriptors"):
        placed(adapter_only(), "scannet", backbone="descriptors", weights="utonia.pth")
