"""Point-MAE's encoder against a slow forward, its groups and interpolation against loops, and its files."""

import math
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from geoguide import backbones
from geoguide.backbones import BackboneConfig
from geoguide.backbones.point_mae import (
    PointMAEConfig,
    PointMAEEncoder,
    farthest_points,
    interpolate,
    load_point_mae,
)
from geoguide.errors import ConfigError, DataError
from geoguide.scene import Scene

SMALL = PointMAEConfig(trans_dim=12, depth=3, num_heads=2, group_size=5)
SIZES = '{"trans_dim": 12, "depth": 3, "num_heads": 2, "group_size": 5}'


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = PointMAEEncoder(SMALL)
        for name, value in made.state_dict().items():  # norms that do nothing would hide mistakes
            if value.is_floating_point():
                value.copy_(torch.rand_like(value) if "running_var" in name else torch.randn_like(value) * 0.3)
    return made.eval()


@pytest.fixture
def released(tmp_path, encoder):
    """The released layout: the pretraining's whole network, and numpy's numbers beside it."""
    state = {f"module.MAE_encoder.{key}": value for key, value in encoder.state_dict().items()}
    state |= {"module.mask_token": torch.zeros(1, 1, 12), "module.MAE_decoder.norm.bias": torch.zeros(12)}
    state |= {"module.decoder_pos_embed.0.bias": torch.zeros(3), "module.increase_dim.0.bias": torch.zeros(3)}
    whole = {"base_model": state, "epoch": 1, "metrics": {"acc": np.float64(0.9)}, "best_metrics": {"acc": 0.9}}
    torch.save(whole, tmp_path / "pretrain.pth")
    (tmp_path / "config.json").write_text(SIZES)
    return tmp_path / "pretrain.pth"


def slow_forward(state, groups, centres):
    """The encoder as its paper and code say it, one group, one head, one token at a time."""

    def linear(name, x):
        weight = state[f"{name}.weight"].squeeze(-1)
        bias = state.get(f"{name}.bias")
        return x @ weight.T if bias is None else x @ weight.T + bias

    def batch_norm(name, x):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return (x - mean) / torch.sqrt(var + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]

    def layer_norm(name, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        deviation = torch.sqrt((centred**2).mean(dim=-1, keepdim=True) + 1e-5)
        return centred / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]

    def pointnet(part, x):
        return linear(f"encoder.{part}.3", batch_norm(f"encoder.{part}.1", linear(f"encoder.{part}.0", x)).clamp(min=0))

    tokens = []
    for group in groups:
        feat = pointnet("first_conv", group)
        most = feat.max(dim=0).values
        tokens.append(pointnet("second_conv", torch.stack([torch.cat([most, row]) for row in feat])).max(dim=0).values)
    tokens = torch.stack(tokens)
    places = linear("pos_embed.2", functional.gelu(linear("pos_embed.0", centres)))
    levels = []
    for block in range(SMALL.depth):
        name = f"blocks.blocks.{block}"
        tokens = tokens + places
        normed = layer_norm(f"{name}.norm1", tokens)
        query, key, value = linear(f"{name}.attn.qkv", normed).chunk(3, dim=-1)
        width = SMALL.trans_dim // SMALL.num_heads
        mixed = torch.empty_like(tokens)
        for head in range(SMALL.num_heads):
            part = slice(head * width, (head + 1) * width)
            for row in range(len(tokens)):
                scores = torch.tensor([float(query[row, part] @ other) / math.sqrt(width) for other in key[:, part]])
                mixed[row, part] = scores.softmax(dim=0) @ value[:, part]
        tokens = tokens + linear(f"{name}.attn.proj", mixed)
        hidden = functional.gelu(linear(f"{name}.mlp.fc1", layer_norm(f"{name}.norm2", tokens)))
        tokens = tokens + linear(f"{name}.mlp.fc2", hidden)
        levels.append(layer_norm("norm", tokens))
    return torch.cat(levels, dim=1)


def test_the_encoder_is_the_slow_forward(encoder):
    g = torch.Generator().manual_seed(3)
    groups, centres = torch.randn(7, 5, 3, generator=g), torch.randn(7, 3, generator=g)
    with torch.inference_mode():
        told = encoder(groups, centres)
        slow = slow_forward(encoder.state_dict(), groups, centres)
    assert told.shape == (7, 36)
    torch.testing.assert_close(told, slow, atol=1e-4, rtol=1e-4)


def test_tokens_do_not_see_the_order_of_groups_or_of_points_in_them(encoder):
    g = torch.Generator().manual_seed(4)
    groups, centres = torch.randn(6, 5, 3, generator=g), torch.randn(6, 3, generator=g)
    order, inner = torch.randperm(6, generator=g), torch.randperm(5, generator=g)
    with torch.inference_mode():
        told, again = encoder(groups, centres), encoder(groups[order][:, inner], centres[order])
    torch.testing.assert_close(again, told[order], atol=1e-5, rtol=1e-4)


def test_parameter_names_are_the_released_ones():
    """Of Point_MAE.MAE_encoder in the public code (models/Point_MAE.py), with the sizes of cfgs/pretrain.yaml."""
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in PointMAEEncoder(PointMAEConfig()).state_dict().items()}
    assert shapes["encoder.first_conv.0.weight"] == (128, 3, 1)
    assert shapes["encoder.second_conv.3.weight"] == (384, 512, 1)
    assert shapes["pos_embed.2.weight"] == (384, 128)
    assert shapes["blocks.blocks.11.attn.qkv.weight"] == (1152, 384) and "blocks.blocks.0.attn.qkv.bias" not in shapes
    assert shapes["blocks.blocks.0.mlp.fc1.weight"] == (1536, 384) and shapes["norm.bias"] == (384,)
    assert len(shapes) == 2 * 9 + 4 + 12 * 11 + 2


def test_farthest_points_are_the_slow_search(rng):
    points = rng.random((40, 3))
    chosen = [0]
    while len(chosen) < 9:
        gaps = [min(math.dist(p, points[c]) for c in chosen) for p in points]
        chosen.append(gaps.index(max(gaps)))
    assert farthest_points(points, 9).tolist() == chosen
    assert sorted(farthest_points(points, 100)) == list(range(40))


def test_interpolation_is_the_slow_sum_and_a_centre_keeps_its_own(rng):
    centres, points = rng.random((8, 3)), rng.random((20, 3))
    values = rng.random((8, 4), dtype=np.float32)
    told = interpolate(values, centres, points)
    for point, row in zip(points, told, strict=True):
        near = sorted((math.dist(point, c), i) for i, c in enumerate(centres))[:3]
        weights = [1 / (distance**2 + 1e-8) for distance, _ in near]
        slow = sum(w * values[i] for w, (_, i) in zip(weights, near, strict=True)) / sum(weights)
        np.testing.assert_allclose(row, slow, rtol=1e-5)
    np.testing.assert_allclose(interpolate(values, centres, centres), values, atol=1e-5)


@pytest.fixture
def room(rng):
    points = (rng.random((900, 3)) * [4.0, 3.0, 0.1]).astype(np.float32)
    return Scene("made", points, np.full((900, 3), 0.5, np.float32))


def test_a_room_in_another_order_place_and_size_of_voxels(released, room, rng):
    backbone = backbones.load("point-mae", weights=released)
    told = backbone.encode(room)
    assert told.shape == (900, backbone.width) == (900, 36) and told.dtype == np.float32 and np.isfinite(told).all()
    order = rng.permutation(900)
    shuffled = Scene("made", room.points[order], room.colors[order])
    np.testing.assert_allclose(backbone.encode(shuffled), told[order], atol=1e-4)
    one = Scene("one", room.points[:1], room.colors[:1])
    assert np.isfinite(backbone.encode(one)).all()


def test_three_layouts_of_a_file_are_the_same_network(released, encoder, tmp_path):
    bare = encoder.state_dict()
    torch.save(bare, tmp_path / "bare.pth")
    save_file({f"MAE_encoder.{key}": value.contiguous() for key, value in bare.items()}, tmp_path / "bare.safetensors")
    for path in (released, tmp_path / "bare.pth", tmp_path / "bare.safetensors"):
        state = load_point_mae(path).state_dict()
        assert state.keys() == bare.keys() and all(torch.equal(state[key], bare[key]) for key in bare)
    assert not any(value.requires_grad for value in load_point_mae(released).parameters())


def test_numbers_under_the_name_that_older_numpy_gave_them(released, tmp_path):
    """As the released file was written; the name inside the archive is what differs."""
    old = tmp_path / "old.pth"
    with zipfile.ZipFile(released) as whole, zipfile.ZipFile(old, "w") as renamed:
        for part in whole.infolist():
            name = b"cnumpy._core.multiarray\n"
            renamed.writestr(part, whole.read(part).replace(name, b"cnumpy.core.multiarray\n"))
    assert b"cnumpy.core.multiarray" in old.read_bytes() and b"cnumpy.core" not in released.read_bytes()
    assert torch.equal(load_point_mae(old).norm.bias, load_point_mae(released).norm.bias)


def test_keys_are_checked(released, encoder, tmp_path):
    state = dict(encoder.state_dict())
    del state["norm.weight"]
    state |= {"cls_token": torch.zeros(1, 1, 12), "pos_embed.0.bias": torch.zeros(3)}
    torch.save({"base_model": state}, tmp_path / "odd.pth")
    with pytest.raises(DataError) as raised:
        backbones.load("point-mae", weights=tmp_path / "odd.pth")
    told = str(raised.value)
    assert "does not fit the encoder of Point-MAE: 1 missing (norm.weight); 1 unexpected (cls_token)" in told
    assert "1 wrong shape (pos_embed.0.bias must be [128], found [3])" in told
    (tmp_path / "config.json").unlink()  # then the released sizes are taken
    with pytest.raises(DataError, match=r"pretrain.pth: does not fit .* missing \(blocks.blocks.3.norm1.weight"):
        backbones.load("point-mae", weights=released)


class _Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (_Bomb, "exploded", True))


def test_pickled_code_is_refused_and_not_run(released):
    torch.save({"base_model": {"norm.weight": torch.zeros(12)}, "metrics": _Bomb()}, released)
    with pytest.raises(DataError, match="holds more than plain tensors, which could run code: refused"):
        backbones.load("point-mae", weights=released)
    assert not _Bomb.exploded


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"depth": 4}', "expected depth a multiple of 3 up to 300"),
        ('{"num_heads": 0}', "num_heads"),
        ('{"depth": 3000000000}', "up to 300"),
        ('{"trans_dim": 120000000000000000000}', "Overflow"),
        ('{"mask_ratio": 0.6}', "mask_ratio"),
    ],
)
def test_impossible_sizes(released, text, message):
    released.with_name("config.json").write_text(text)
    with pytest.raises(DataError, match=f"config: .*{message}"):
        backbones.load("point-mae", weights=released)


def test_config_refuses_concat():
    with pytest.raises(ConfigError, match="backbone.concat must be None for point-mae, which pools nothing, found 1"):
        BackboneConfig("point-mae", concat=1)
    assert BackboneConfig("point-mae+descriptors").trained
