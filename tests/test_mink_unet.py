"""MinkUNet18A: its size by hand, a dense twin, and the symmetries of a sparse U-Net."""

import pytest
import torch
from torch.nn.functional import conv3d

from geoguide.backbones.mink_unet import BasicBlock, MinkUNet
from geoguide.errors import InputError
from geoguide.ops.sparse import neighbor_table

SIZE = 24


@pytest.fixture
def case(rng, device):
    """Voxels of two items in random order: coordinates, items, three features; and a small network in eval mode."""
    where = torch.from_numpy(rng.permutation(2 * SIZE**3)[:1500]).to(device)
    coord = torch.stack([where // SIZE**2 % SIZE, where // SIZE % SIZE, where % SIZE], dim=1)
    features = torch.from_numpy(rng.normal(size=(len(where), 3))).to(device)
    torch.manual_seed(0)
    network = MinkUNet(3, 7, width=0.25).to(device).double()
    network(coord, where // SIZE**3, features)  # batch statistics other than 0 and 1
    return network.eval(), coord, where // SIZE**3, features


def test_parameters_of_minkunet18a():
    """Counted by hand: every convolution without bias k^3 in out, every normalisation 2 out, head 96 C + C."""

    def block(inputs, outputs):
        skip = inputs * outputs + 2 * outputs if inputs != outputs else 0
        return 27 * inputs * outputs + 27 * outputs**2 + 4 * outputs + skip

    expected = 125 * 3 * 32 + 2 * 32
    for inputs, outputs in ((32, 32), (32, 64), (64, 128), (128, 256)):
        expected += 8 * inputs**2 + 2 * inputs + block(inputs, outputs) + block(outputs, outputs)
    for inputs, outputs, skip in ((256, 128, 128), (128, 128, 64), (128, 96, 32), (96, 96, 32)):
        expected += 8 * inputs * outputs + 2 * outputs + block(outputs + skip, outputs) + block(outputs, outputs)
    expected += 96 * 768 + 768
    assert sum(p.numel() for p in MinkUNet(3, 768).parameters()) == expected


def test_block_equals_dense_layers(rng, device):
    torch.manual_seed(0)
    block = BasicBlock(4, 6).to(device).double().eval()
    grid = torch.from_numpy(rng.normal(size=(1, 4, 5, 5, 5))).to(device)
    coord = torch.cartesian_prod(*(torch.arange(5, device=device),) * 3)
    x = grid[0].flatten(1).T.contiguous()

    def dense(conv, value):
        value = value.T.reshape(1, -1, 5, 5, 5)
        return conv3d(value, conv.weight.permute(0, 4, 1, 2, 3), padding=1)[0].flatten(1).T

    middle = block.first.norm(dense(block.first.conv, x)).relu()
    expected = (block.norm(dense(block.conv, middle)) + block.skip(x)).relu()
    torch.testing.assert_close(block(x, neighbor_table(coord, coord[:, 0] * 0)), expected)


def test_order_of_voxels_does_not_matter(case, rng):
    network, coord, batch, features = case
    order = torch.from_numpy(rng.permutation(len(batch))).to(batch.device)
    found = network(coord[order], batch[order], features[order])
    torch.testing.assert_close(found, network(coord, batch, features)[order])


def test_scenes_of_a_batch_do_not_meet(case):
    network, coord, batch, features = case
    one = batch == 1
    torch.testing.assert_close(network(coord, batch, features)[one], network(coord[one], batch[one] * 0, features[one]))


def test_moving_by_the_coarsest_stride_changes_nothing(case):
    """Four halvings: grids coincide after a shift of 16 voxels, and not after one of 1."""
    network, coord, batch, features = case
    expected = network(coord, batch, features)
    shift = torch.tensor([16, -32, 48], device=coord.device)
    torch.testing.assert_close(network(coord + shift, batch, features), expected)
    assert not torch.allclose(network(coord + 1, batch, features), expected)


def test_every_parameter_learns(case):
    network, coord, batch, features = case
    network.train()(coord, batch, features).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_refuses(case):
    network, coord, batch, features = case
    with pytest.raises(InputError, match="features must be"):
        network(coord, batch, features[:, :2])
    with pytest.raises(InputError, match="unique within a batch item"):
        network(coord * 0, batch, features)
    with pytest.raises(InputError, match="must be positive"):
        MinkUNet(3, 0)
