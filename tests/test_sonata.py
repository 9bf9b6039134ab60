"""The Sonata backbone: its input against the official transform, its checkpoints, and what a scene may look like."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from geoguide import backbones
from geoguide.backbones.checkpoints import HOW_TO, REVISION, SHA256
from geoguide.backbones.point_transformer import PointTransformerV3, upcast
from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.backbones.sonata import encoder_input
from geoguide.errors import DataError, InputError
from geoguide.scene import Scene

TINY = {
    "stride": [2, 2],
    "enc_depths": [1, 1, 1],
    "enc_channels": [8, 12, 16],
    "enc_num_head": [1, 2, 4],
    "enc_patch_size": [32, 32, 32],
}


@pytest.fixture(scope="module")
def tiny_state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PointTransformerV3(**TINY).state_dict()


@pytest.fixture
def checkpoint(tmp_path, tiny_state):
    """The official layout: configuration and weights in one .pth."""
    torch.save({"config": TINY, "state_dict": tiny_state}, tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def make_scene(points, normals=None):
    points = np.asarray(points, np.float32)
    colors = np.tile(np.array([0.2, 0.4, 0.6], np.float32), (len(points), 1))
    return Scene("made", points, colors, normals)


@pytest.fixture
def room(rng):
    points = rng.random((400, 3)) * [1.0, 0.8, 0.05] + [5, -3, 1]
    return make_scene(points, np.tile(np.array([0, 0, 1], np.float32), (400, 1)))


# --- input ---


@pytest.fixture(scope="module")
def official(golden):
    """The official input; the raw points in an order in which the first of a voxel is the one that the official code
    drew at random: `order` [P], and the official number of our voxels, which are sorted by x, y, z: `number` [V]."""
    given = dict(np.load(golden / "sonata" / "dev" / "input.npz"))
    kept = given["scene0_selected_raw_index"]
    given["order"] = np.concatenate([kept, np.setdiff1d(np.arange(len(given["raw0_coord"])), kept)])
    given["number"] = np.lexsort(given["scene0_grid_coord"].T[::-1])
    return given


def test_input_equals_the_official_transform(official):
    order, number = official["order"], official["number"]
    points, colors, normals = (official[f"raw0_{name}"][order] for name in ("coord", "color", "normal"))
    made = encoder_input(points, colors / np.float32(255), normals)
    np.testing.assert_array_equal(made.grid_coord, official["grid_coord"][number])
    np.testing.assert_array_equal(number[made.inverse], official["scene0_inverse"][order])
    np.testing.assert_array_equal(order[made.selected], official["scene0_selected_raw_index"][number])
    np.testing.assert_array_equal(made.coord, official["coord"][number])
    np.testing.assert_array_equal(made.feat, official["feat"][number])


def test_input_equals_a_loop(rng):
    points = (rng.random((300, 3)) * [0.3, 0.2, 0.1] + [10, 20, 30]).astype(np.float32)
    colors, normals = rng.random((2, 300, 3)).astype(np.float32)
    made = encoder_input(points, colors, normals)
    low, high = points.min(0), points.max(0)
    coord = points - np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
    cells = [tuple(int(value // 0.02) for value in row) for row in coord.astype(float).tolist()]
    first = {}
    for point, cell in enumerate(cells):
        first.setdefault(cell, point)
    voxels = sorted(first)
    assert made.selected.tolist() == [first[cell] for cell in voxels]
    assert made.inverse.tolist() == [voxels.index(cell) for cell in cells]
    np.testing.assert_array_equal(made.grid_coord, np.array(voxels) - np.array(voxels).min(0))
    np.testing.assert_array_equal(made.feat, np.concatenate([coord, colors, normals], 1)[made.selected])
    assert made.feat.dtype == made.coord.dtype == np.float32 and made.grid_coord.dtype == np.int64


def test_missing_normals_are_fitted(room):
    flat = room.points * np.array([1, 1, 0], np.float32)
    made = encoder_input(flat, room.colors)
    np.testing.assert_allclose(made.feat[:, 6:], np.tile([0, 0, 1], (len(made.feat), 1)), atol=1e-5)


def test_input_refuses(room):
    points, colors = room.points, room.colors
    nan = points.copy()
    nan[7, 1] = np.nan
    far = points.copy()
    far[0, 0] = 2000
    bad = [
        ((nan, colors), "points holds nan or inf in 1 of 400 rows"),
        ((points, colors, nan), "normals holds nan or inf in 1 of 400 rows"),
        ((points[:0], colors[:0]), "points is empty"),
        ((points[:, :2], colors), r"points must be \[P, 3\], found \[400, 2\]"),
        ((points, colors[:9]), r"colors must be \[400, 3\] as points are, found \[9, 3\]"),
        ((points, colors * 255), r"colors must be in \[0, 1\], found 51..153"),
        ((far, colors), "points must span at most 1310.64 m at this grid, found 199"),
    ]
    for values, message in bad:
        with pytest.raises(InputError, match=message):
            encoder_input(*values)
    with pytest.raises(InputError, match="grid must be above 0"):
        encoder_input(points, colors, grid=0.0)


# --- encoding ---


@pytest.mark.parametrize("concat", [0, 1, 2])
def test_encode_is_the_encoder_upcast_to_points(checkpoint, room, device, concat):
    backbone = backbones.load("sonata", weights=checkpoint, concat=concat, device=device)
    features = backbone.encode(room)
    assert backbone.name == "sonata" and backbone.width == [16, 28, 36][concat]
    assert features.shape == (400, backbone.width) and features.dtype == np.float32
    made = encoder_input(room.points, room.colors, room.normals)
    inputs = (torch.tensor(a, device=device) for a in (made.coord, made.grid_coord, made.feat))
    stages = backbone.model(*inputs, torch.tensor([len(made.coord)], device=device))
    np.testing.assert_allclose(features, upcast(stages, concat).cpu()[made.inverse], atol=1e-5)


def test_encode_again_and_in_another_order_is_the_same(checkpoint, rng, device):
    cells = rng.choice(20 * 20 * 5, 300, replace=False)  # a point a voxel: none is dropped, whatever the order
    points = np.stack([cells // 100, cells // 5 % 20, cells % 5], axis=1) * 0.02 + 0.01
    corners = np.array([[0, 0, 0], [0.4, 0.4, 0]])
    scene = make_scene(np.concatenate([corners, points]), np.ones((302, 3), np.float32))
    order = rng.permutation(302)
    turned = Scene("turned", scene.points[order], scene.colors[order], scene.normals[order])
    backbone = backbones.load("sonata", weights=checkpoint, device=device)
    features = backbone.encode(scene)
    if device.type == "cpu":
        np.testing.assert_array_equal(backbone.encode(scene), features)
    np.testing.assert_allclose(backbone.encode(turned), features[order], atol=1e-5)


@pytest.mark.parametrize("points", [[[3, 4, 5]], np.full((40, 3), 7.5), [[0, 0, 0], [900, 0, 0]]])
def test_one_point_one_voxel_and_far_points(checkpoint, points, device):
    scene = make_scene(points)
    features = backbones.load("sonata", weights=checkpoint, device=device).encode(scene)
    assert features.shape == (len(scene), 36) and np.isfinite(features).all()


def test_scene_beyond_the_curves(checkpoint):
    scene = make_scene([[0, 0, 0], [5000, 0, 0]])
    with pytest.raises(InputError, match="points must span at most 1310.64 m at this grid, found 5000 m"):
        backbones.load("sonata", weights=checkpoint).encode(scene)


def test_equals_the_official_features_from_points_to_points(golden, official, tmp_path, device):
    folder, order = golden / "sonata" / "dev", official["order"]
    config = {k: v for k, v in json.loads((folder / "config.json").read_text()).items() if not k.startswith("_")}
    torch.save({"config": config, "state_dict": load_file(folder / "weights.safetensors")}, tmp_path / "dev.pth")
    points, colors, normals = (official[f"raw0_{name}"][order] for name in ("coord", "color", "normal"))
    scene = Scene("dev", points, colors / np.float32(255), normals)
    features = backbones.load("sonata", weights=tmp_path / "dev.pth", device=device).encode(scene)
    np.testing.assert_allclose(features, np.load(folder / "expected.npz")["upcast_raw"][order], atol=3e-5, rtol=0)


# --- checkpoints ---


def test_layouts_of_a_checkpoint(checkpoint, tiny_state, tmp_path, room):
    expected = backbones.load("sonata", weights=checkpoint).encode(room)
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "config.json").write_text(json.dumps({**TINY, "_note": "dropped"}))
    save_file(tiny_state, tmp_path / "meta.safetensors", metadata={"config": json.dumps(TINY)})
    save_file(tiny_state, tmp_path / "beside" / "w.safetensors")
    torch.save(tiny_state, tmp_path / "beside" / "bare.pth")
    torch.save({"state_dict": {k: v.double() for k, v in tiny_state.items()}}, tmp_path / "beside" / "double.pt")
    for name in ("meta.safetensors", "beside/w.safetensors", "beside/bare.pth", "beside/double.pt"):
        np.testing.assert_array_equal(backbones.load("sonata", weights=str(tmp_path / name)).encode(room), expected)


def test_without_a_configuration_it_is_the_released_model(golden, tiny_state, tmp_path):
    config = json.loads((golden / "sonata" / "full" / "config.json").read_text())
    assert PointTransformerConfig.checked({k: v for k, v in config.items() if k[0] != "_"}) == PointTransformerConfig()
    torch.save(tiny_state, tmp_path / "bare.pth")
    with pytest.raises(DataError, match=r"387 missing|missing \(.*enc.enc0.block1.cpe.0.weight"):
        backbones.load("sonata", weights=tmp_path / "bare.pth")


def test_mismatches_are_named(tiny_state, tmp_path):
    state = dict(tiny_state)
    state["extra.weight"] = state.pop("enc.enc0.block0.attn.qkv.weight")
    state["embedding.stem.linear.bias"] = torch.zeros(9)
    state["enc.enc1.down.proj.bias"] = torch.full((12,), torch.nan)
    torch.save({"config": TINY, "state_dict": state}, tmp_path / "bad.pth")
    with pytest.raises(DataError) as raised:
        backbones.load("sonata", weights=tmp_path / "bad.pth")
    assert str(raised.value) == (
        f"{tmp_path / 'bad.pth'}: does not fit the encoder: 1 missing (enc.enc0.block0.attn.qkv.weight); "
        "1 unexpected (extra.weight); 1 wrong shape (embedding.stem.linear.bias must be [8], found [9]); "
        "1 not finite (enc.enc1.down.proj.bias)"
    )


class _Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (_Bomb, "exploded", True))


def test_pickled_code_is_refused_and_not_run(tmp_path, tiny_state):
    torch.save({"config": TINY, "state_dict": tiny_state, "extra": _Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(DataError, match="holds more than plain tensors, which could run code: refused"):
        backbones.load("sonata", weights=tmp_path / "bomb.pth")
    assert not _Bomb.exploded


@pytest.mark.parametrize("name", ["cut.pth", "text.pth", "empty.pth", "cut.safetensors", "text.safetensors"])
def test_damaged_files(name, tmp_path, checkpoint, tiny_state):
    save_file(tiny_state, tmp_path / "whole.safetensors")
    whole = (checkpoint if name.endswith("pth") else tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / name).write_bytes({"cut": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[name.split(".")[0]])
    with pytest.raises(DataError, match=f"{name}: not a .*truncated"):
        backbones.load("sonata", weights=tmp_path / name)


def test_wrong_contents(tmp_path, tiny_state):
    cases = [
        ([1, 2], "expected a dictionary with 'config' and 'state_dict', found list"),
        ({"model": 3}, r"expected tensors by name under 'state_dict', found keys \['model'\]"),
        ({"config": 3, "state_dict": tiny_state}, "config must be a dictionary, found int"),
        ({"config": {**TINY, "enable_rpe": True}, "state_dict": tiny_state}, "enable_rpe must be False, found True"),
        ({"config": {**TINY, "decoder": 1}, "state_dict": tiny_state}, "unknown keys decoder"),
    ]
    for value, message in cases:
        torch.save(value, tmp_path / "odd.pth")
        with pytest.raises(DataError, match=rf"odd.pth: .*{message}"):
            backbones.load("sonata", weights=tmp_path / "odd.pth")
    save_file(tiny_state, tmp_path / "odd.safetensors", metadata={"config": "{"})
    with pytest.raises(DataError, match="odd.safetensors: config is not JSON"):
        backbones.load("sonata", weights=tmp_path / "odd.safetensors")


def test_other_channels_and_concat(tmp_path, checkpoint):
    config = {**TINY, "in_channels": 6}
    torch.save({"config": config, "state_dict": PointTransformerV3(**config).state_dict()}, tmp_path / "six.pth")
    with pytest.raises(InputError, match=r"in_channels must be 9 \(coord, colour, normal\), found 6"):
        backbones.load("sonata", weights=tmp_path / "six.pth")
    with pytest.raises(InputError, match="concat must be 0..2, found 3"):
        backbones.load("sonata", weights=checkpoint, concat=3)


def test_checksum(checkpoint):
    digest = backbones.load("sonata", weights=checkpoint).sha256
    assert backbones.load("sonata", weights=checkpoint, sha256=digest.upper()).sha256 == digest
    with pytest.raises(DataError, match=rf"tiny.pth: SHA-256 must be {'0' * 64}, found {digest}"):
        backbones.load("sonata", weights=checkpoint, sha256="0" * 64)
    with pytest.raises(InputError, match="revision is for the hub"):
        backbones.load("sonata", weights=checkpoint, revision="main")


def test_missing_file_says_how_to_fetch(tmp_path):
    with pytest.raises(DataError, match="none.pth: weights file not found; fetch the weights .CC BY-NC 4.0"):
        backbones.load("sonata", weights=tmp_path / "none.pth")
    assert "hf download facebook/sonata sonata.pth" in HOW_TO and "weights='weights/sonata.pth'" in HOW_TO


def test_a_download_is_of_the_pinned_revision_and_checksum(monkeypatch, checkpoint):
    hub = pytest.importorskip("huggingface_hub")
    asked, digest = [], backbones.load("sonata", weights=checkpoint).sha256
    monkeypatch.setattr(hub, "hf_hub_download", lambda *names, revision: asked.append(revision) or checkpoint)
    with pytest.raises(DataError, match=f"tiny.pth: SHA-256 must be {SHA256}, found {digest}"):
        backbones.load("sonata")
    assert backbones.load("sonata", sha256=digest).width == 36
    assert backbones.load("sonata", revision="main").sha256 == digest  # another revision is the caller's own affair
    assert asked == [REVISION, REVISION, "main"]


def test_the_released_file_has_the_size_of_the_encoders_tensors(golden):
    """434,008,287 bytes, as the repositories record that the checksum was taken from; the rest is torch's headers."""
    shapes = json.loads((golden / "sonata" / "full" / "state_dict_shapes.json").read_text())
    tensors = 4 * sum(math.prod(shape) for shape in shapes.values())
    assert 0 < 434_008_287 - tensors < 1e6


def test_no_network(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def offline(*_names, revision):
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    with pytest.raises(DataError) as raised:
        backbones.load("sonata")
    assert str(raised.value) == f"sonata: cannot download facebook/sonata/sonata.pth (no route); {HOW_TO}"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match="sonata: huggingface_hub is not installed; fetch the weights"):
        backbones.load("sonata")
