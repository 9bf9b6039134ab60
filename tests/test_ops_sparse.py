"""Sparse convolutions against dense ones, and their gradients against finite differences."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import conv3d, conv_transpose3d

from geoguide.errors import InputError
from geoguide.ops.sparse import (
    _common,
    _spconv,
    _spconv_layer,
    neighbor_table,
    sparse_conv,
    strided_table,
    submanifold_conv,
)

SIZE = 8


@pytest.fixture
def make(rng, device):
    """make(width, occupied) -> coordinates int64 [V, 3], batch int64 [V] of two items in random order, features."""

    def made(width: int = 4, occupied: float = 0.3):
        where = torch.from_numpy(rng.permutation(SIZE**3 * 2)[: int(occupied * SIZE**3 * 2)]).to(device)
        coord = torch.stack([where // SIZE**2 % SIZE, where // SIZE % SIZE, where % SIZE], dim=1)
        return coord, where // SIZE**3, torch.from_numpy(rng.normal(size=(len(where), width))).to(device)

    return made


def random(rng, device, *shape):
    return torch.from_numpy(rng.normal(size=shape)).to(device)


def dense(features, coord, batch, size=SIZE):
    """[2, C, size, size, size], zero where there is no voxel."""
    grid = features.new_zeros(2, features.shape[1], size, size, size)
    grid[batch, :, coord[:, 0], coord[:, 1], coord[:, 2]] = features
    return grid


def read(grid, coord, batch):
    return grid[batch, :, coord[:, 0], coord[:, 1], coord[:, 2]]


def channels_first(weight):
    return weight.permute(0, 4, 1, 2, 3)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("occupied", [0.02, 0.3, 1.0])
def test_submanifold_equals_dense(make, rng, device, kernel, occupied):
    coord, batch, features = make(4, occupied)
    weight, bias = random(rng, device, 6, kernel, kernel, kernel, 4), random(rng, device, 6)
    found = submanifold_conv(features, weight, bias, neighbor_table(coord, batch, kernel))
    expected = conv3d(dense(features, coord, batch), channels_first(weight), bias, padding=kernel // 2)
    torch.testing.assert_close(found, read(expected, coord, batch))


@pytest.mark.parametrize("kernel", [2, 3])
def test_strided_equals_dense(make, rng, device, kernel):
    coord, batch, features = make(occupied=0.1)
    table, coarse, items = strided_table(coord, batch, kernel)
    weight = random(rng, device, 6, kernel, kernel, kernel, 4)
    assert torch.equal(torch.cat([items[:, None], coarse], 1), torch.cat([batch[:, None], coord // 2], 1).unique(dim=0))
    expected = conv3d(dense(features, coord, batch), channels_first(weight), stride=2, padding=(kernel - 1) // 2)
    torch.testing.assert_close(sparse_conv(features, weight, None, table), read(expected, coarse, items))


def test_transposed_equals_dense(make, rng, device):
    coord, batch, _ = make(occupied=0.1)
    table, coarse, items = strided_table(coord, batch)
    features, weight, bias = (random(rng, device, *s) for s in ((len(coarse), 4), (6, 2, 2, 2, 4), (6,)))
    expected = conv_transpose3d(
        dense(features, coarse, items, SIZE // 2), weight.permute(4, 0, 1, 2, 3), bias=bias, stride=2
    )
    found = sparse_conv(features, weight, bias, table.transposed())
    torch.testing.assert_close(found, read(expected, coord, batch))


def test_blocks_do_not_matter(make, rng, device, monkeypatch):
    """A grid of many blocks gives what a grid of one block per offset gives."""
    coord, batch, features = make(occupied=1.0)
    coord = torch.cat([coord, coord + SIZE])  # larger than one span of 1024 voxels
    batch, features = batch.repeat(2), features.repeat(2, 1)
    weight = random(rng, device, 6, 3, 3, 3, 4)
    several = neighbor_table(coord, batch)
    monkeypatch.setattr("geoguide.ops.sparse._BLOCK_PAIRS", 10**9)
    one = neighbor_table(coord, batch)
    assert len(one.blocks) == 26 and (device.type == "cuda" or len(several.blocks) > 26)
    torch.testing.assert_close(
        submanifold_conv(features, weight, None, several), submanifold_conv(features, weight, None, one)
    )


def test_order_of_voxels_and_place_of_the_grid_do_not_matter(make, rng, device):
    coord, batch, features = make()
    weight, order = random(rng, device, 6, 3, 3, 3, 4), torch.from_numpy(rng.permutation(len(batch))).to(device)
    expected = submanifold_conv(features, weight, None, neighbor_table(coord, batch))[order]
    moved = coord[order] + torch.tensor([-100, 7, 2**15], device=device)
    found = submanifold_conv(features[order], weight, None, neighbor_table(moved, batch[order]))
    torch.testing.assert_close(found, expected)


def test_batch_items_do_not_meet(make, rng, device):
    coord, batch, features = make()
    weight, one = random(rng, device, 6, 3, 3, 3, 4), batch == 1
    together = submanifold_conv(features, weight, None, neighbor_table(coord, batch))[one]
    alone = submanifold_conv(features[one], weight, None, neighbor_table(coord[one], batch[one] * 0))
    torch.testing.assert_close(together, alone)
    table, _, items = strided_table(coord, batch)
    alone_table, _, _ = strided_table(coord[one], batch[one] * 0)
    torch.testing.assert_close(
        sparse_conv(features, weight[:, :2, :2, :2], None, table)[items == 1],
        sparse_conv(features[one], weight[:, :2, :2, :2], None, alone_table),
    )


@pytest.mark.parametrize("kind", ["submanifold", "strided", "transposed"])
def test_gradients(make, rng, device, kind):
    coord, batch, _ = make(occupied=0.05)
    table = neighbor_table(coord, batch) if kind == "submanifold" else strided_table(coord, batch)[0]
    table = table.transposed() if kind == "transposed" else table
    k = table.kernel_size
    inputs = [random(rng, device, *s).requires_grad_() for s in ((table.inputs, 2), (3, k, k, k, 2), (3,))]
    assert torch.autograd.gradcheck(lambda *tensors: sparse_conv(*tensors, table), inputs)


def test_only_the_gradients_asked_for(make, rng, device):
    coord, batch, features = make()
    weight = random(rng, device, 6, 3, 3, 3, 4).requires_grad_()
    submanifold_conv(features, weight, None, neighbor_table(coord, batch)).sum().backward()
    assert features.grad is None and weight.grad is not None


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_precisions(make, rng, device, kind):
    coord, batch, features = make()
    weight, table = random(rng, device, 6, 3, 3, 3, 4), neighbor_table(coord, batch)
    found = submanifold_conv(features.to(kind), weight.to(kind), None, table)
    assert found.dtype == kind
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if kind == torch.float32 else {"rtol": 0.1, "atol": 0.3}
    torch.testing.assert_close(found.double(), submanifold_conv(features, weight, None, table), **tolerance)


@pytest.mark.parametrize("kernel", [1, 3, 5])  # of one voxel: torch on both sides
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_spconv_equals_torch(make, rng, device, monkeypatch, kind, kernel):
    """Values and gradients; tables are kept from one layer to the next."""
    if device.type != "cuda":
        pytest.skip("spconv is for GPUs")
    pytest.importorskip("spconv")
    coord, batch, _ = make()
    table, found = neighbor_table(coord, batch, kernel), {}
    inputs = [random(rng, device, *s) for s in ((len(batch), 16), (32, *(kernel,) * 3, 16), (32,), (len(batch), 32))]
    for installed in (True, False):
        monkeypatch.setattr("geoguide.ops.sparse._HAS_SPCONV", installed)
        *leaves, above = (tensor.to(kind).requires_grad_() for tensor in inputs)
        out = submanifold_conv(*leaves, table)
        found[installed] = [out, *torch.autograd.grad(out, leaves, above)]
    tolerance = 1e-5 if kind == torch.float32 else 3e-3
    for ours, theirs in zip(found[False], found[True], strict=True):
        assert ours.dtype == theirs.dtype == kind
        assert (ours - theirs).abs().max() <= tolerance * ours.abs().max()


class FakeTensor:
    """spconv's as far as it is used: what is noted of a layer's input is shared by whatever has its other features."""

    def __init__(self, features, indices, spatial_shape, batch_size):
        self.features, self.indices, self.indice_dict = features, indices, {}
        self.shape = [batch_size, *spatial_shape]

    def replace_feature(self, features):
        made = FakeTensor(features, self.indices, self.shape[1:], self.shape[0])
        made.indice_dict = self.indice_dict
        return made


class FakeConv(torch.nn.Module):
    """spconv 2.3.8: a layer notes its pairs in a copy of the input's dictionary, which its output gets."""

    built = 0

    def __init__(self, inputs, outputs, kernel_size, *, bias, indice_key):
        super().__init__()
        self.key, self.kernel = indice_key, kernel_size
        self.weight = torch.nn.Parameter(torch.zeros(outputs, *(kernel_size,) * 3, inputs))
        self.bias = torch.nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, voxels):
        known = voxels.indice_dict.copy()
        if self.key not in known:
            FakeConv.built += 1
            known[self.key] = neighbor_table(voxels.indices[:, 1:].long(), voxels.indices[:, 0].long(), self.kernel)
        out = voxels.replace_feature(submanifold_conv(voxels.features, self.weight, self.bias, known[self.key]))
        out.indice_dict = known
        return out


def test_layers_of_a_grid_share_the_pairs_of_spconv(make, rng, monkeypatch, device):
    if device.type == "cuda":
        pytest.skip("a fake spconv, which works on the CPU")
    fake = SimpleNamespace(SparseConvTensor=FakeTensor, SubMConv3d=FakeConv)
    monkeypatch.setitem(sys.modules, "spconv", SimpleNamespace(pytorch=fake))
    monkeypatch.setitem(sys.modules, "spconv.pytorch", fake)
    monkeypatch.setattr(FakeConv, "built", 0)
    _spconv_layer.cache_clear()
    for grids in (1, 2):
        coord, batch, features = make(8)
        table = neighbor_table(coord, batch)
        indices = torch.cat([batch[:, None], coord], 1).int()
        for width in (16, 8, 16):
            weight, bias = random(rng, device, width, 3, 3, 3, features.shape[1]), random(rng, device, width)
            found = _spconv(features, weight, bias, table, indices)
            torch.testing.assert_close(found, submanifold_conv(features, weight, bias, table))
            features = found
        assert FakeConv.built == grids and table.cache["tensor"].features.shape[1] == 1  # no layer's own are kept
    _spconv_layer.cache_clear()


def test_no_voxels(device):
    coord, batch = (
        torch.zeros((0, 3), dtype=torch.int64, device=device),
        torch.zeros(0, dtype=torch.int64, device=device),
    )
    empty, weight = torch.zeros((0, 4), device=device), torch.zeros(6, 3, 3, 3, 4, device=device)
    assert submanifold_conv(empty, weight, None, neighbor_table(coord, batch)).shape == (0, 6)
    table, coarse, _ = strided_table(coord, batch, 3)
    assert sparse_conv(empty, weight, None, table).shape == (0, 6) and coarse.shape == (0, 3)


def test_refuses_grids(make):
    coord, batch, _ = make()
    twice = torch.cat([coord, coord[:1]])
    for bad_coord, bad_batch, words in (
        (coord.int(), batch, "grid_coord must be int64"),
        (coord[:, :2], batch, "grid_coord must be int64"),
        (coord, batch[:-1], "batch must be int64"),
        (coord, batch - 5, "batch must not be negative"),
        (twice, torch.cat([batch, batch[:1]]), "unique within a batch item"),
        (coord * 2**28, batch, "fewer than 2\\^62 voxels"),
    ):
        for build in (neighbor_table, strided_table):
            with pytest.raises(InputError, match=words):
                build(bad_coord, bad_batch)
    with pytest.raises(InputError, match="must be odd"):
        neighbor_table(coord, batch, 2)
    with pytest.raises(InputError, match="must be positive"):
        strided_table(coord, batch, 2, 0)


def test_refuses_tensors(make, rng, device):
    coord, batch, features = make()
    table, weight = neighbor_table(coord, batch), random(rng, device, 6, 3, 3, 3, 4)
    for bad, words in (
        ((features[:-1], weight, None), "features must be"),
        ((features, weight[..., :2], None), "weight must be"),
        ((features, weight[:, :2], None), "weight must be"),
        ((features, weight, weight.new_zeros(5)), "bias must be"),
        ((features.float(), weight, None), "must share a dtype"),
    ):
        with pytest.raises(InputError, match=words):
            submanifold_conv(*bad, table)
    with pytest.raises(InputError, match="strided"):
        submanifold_conv(features, weight, None, strided_table(coord, batch)[0])


def test_one_walk_finds_what_two_sets_share(rng):
    for keys, wanted in ((50, 60), (1, 200), (200, 1), (0, 5), (5, 0)):
        mine, asked = (np.unique(rng.integers(-30, 60, size)) for size in (keys, wanted))
        _, rank, where = np.intersect1d(mine, asked, return_indices=True)
        np.testing.assert_array_equal(_common(mine, asked), (where, rank))
