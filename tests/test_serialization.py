"""Curves against plain readings of their definitions, and patches against the official rule written as a loop."""

import numpy as np
import pytest
import torch

from geoguide.backbones.serialization import ORDERS, curve_code, curve_depth, cut_patches, serialize
from geoguide.errors import InputError


def cube(depth, device):
    """Every cell of a cube of 2^depth cells a side, int64 [8^depth, 3]."""
    side = torch.arange(2**depth, device=device)
    return torch.cartesian_prod(side, side, side)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_curve_visits_every_cell_once(order, depth, device):
    code = curve_code(cube(depth, device), order, depth)
    assert torch.equal(code.sort().values, torch.arange(8**depth, device=device))


@pytest.mark.parametrize("order", ["hilbert", "hilbert-trans"])
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_hilbert_steps_to_a_neighbour(order, depth, device):
    """The property that defines it: following cells share a face; it starts in the corner of the origin."""
    cells = cube(depth, device)
    path = cells[curve_code(cells, order, depth).argsort()]
    assert (path.diff(dim=0).abs().sum(1) == 1).all() and path[0].tolist() == [0, 0, 0]


def test_z_order_equals_bit_strings(rng, device):
    cells = rng.integers(0, 2**16, (200, 3))
    strings = [[f"{value:016b}" for value in cell] for cell in cells.tolist()]
    expected = [int("".join(x + y + z for x, y, z in zip(*cell, strict=True)), 2) for cell in strings]
    assert curve_code(torch.tensor(cells, device=device), "z", 16).tolist() == expected


@pytest.mark.parametrize("order", ["z", "hilbert"])
def test_trans_swaps_x_and_y(order, rng, device):
    cells = torch.tensor(rng.integers(0, 500, (100, 3)), device=device)
    assert torch.equal(curve_code(cells, order + "-trans", 9), curve_code(cells[:, [1, 0, 2]], order, 9))


def test_hilbert_of_sixteen_bits_steps_to_a_neighbour(device):
    """Around a far corner of the largest cube: cells whose numbers follow each other share a face."""
    cells = cube(3, device) + 2**15 - 4
    code, order = curve_code(cells, "hilbert", 16).sort()
    steps = cells[order].diff(dim=0).abs().sum(1)
    assert (steps[code.diff() == 1] == 1).all() and (code.diff() == 1).sum() > 400


def test_serialization_of_a_batch(rng, device):
    grid = torch.tensor(rng.integers(0, 30, (80, 3)), device=device)
    batch = torch.tensor(np.repeat([0, 1, 2], [30, 1, 49]), device=device)
    curves = serialize(grid, batch, ORDERS, 3)
    assert curves.depth == 5 and curves.code.shape == (4, 80)
    for k in range(4):
        assert torch.equal(batch[curves.order[k]], batch)  # scenes stay together, in turn
        assert torch.equal(curves.order[k][curves.inverse[k]], torch.arange(80, device=device))
        assert (curves.code[k][curves.order[k]].diff() >= 0).all()


def test_scene_depth_orders_a_scene_as_alone(rng, device):
    """A Hilbert curve turns its axes with each bit (three bits: once around): 5 bits alone, 7 in the batch differ."""
    small, large = (torch.tensor(rng.integers(0, side, (60, 3)), device=device) for side in (30, 100))
    zeros = torch.zeros(60, dtype=torch.int64, device=device)
    grid, batch = torch.cat([small, large]), torch.cat([zeros, zeros + 1])
    alone = serialize(small, zeros, ORDERS, 1).order
    assert torch.equal(serialize(grid, batch, ORDERS, 2, scene_depth=True).order[:, :60], alone)
    official = serialize(grid, batch, ORDERS, 2).order[:, :60]
    assert torch.equal(official[:2], alone[:2]) and not torch.equal(official[2:], alone[2:])


def official_patches(counts, size):
    """The rule of the facts, slot by slot."""
    pad, unpad, runs = [], [], []
    start = 0
    for count in counts:
        filled = count if count <= size else -(-count // size) * size
        unpad += [len(pad) + i for i in range(count)]
        pad += [start + (slot if slot < count else slot - size) for slot in range(filled)]
        runs += [min(count, size)] * (1 if count <= size else filled // size)
        start += count
    return pad, unpad, runs


@pytest.mark.parametrize("counts", [[1], [5], [8], [9], [16], [17, 3, 8, 8, 25], [3, 3, 40], [8, 1, 8]])
def test_patches_equal_the_rule(counts, device):
    patches = cut_patches(counts, 8, device)
    pad, unpad, runs = official_patches(counts, 8)
    assert patches.pad.tolist() == pad and patches.unpad.tolist() == unpad
    assert [length for number, length in patches.runs for _ in range(number)] == runs
    assert torch.equal(patches.pad[patches.unpad], torch.arange(sum(counts), device=device))


def test_depth_and_its_limits(device):
    def depth(largest, scenes=1):
        return curve_depth(torch.tensor([[0, 0, largest]], device=device), scenes)

    assert [depth(n) for n in (0, 1, 2, 3, 6, 7, 2**16 - 2)] == [1, 2, 2, 3, 3, 4, 16]
    assert depth(2**16 - 2, scenes=2**15 - 1) == 16
    with pytest.raises(InputError, match="grid_coord must be at most 65534 .* found 65535"):
        depth(2**16 - 1)
    with pytest.raises(InputError, match="32768 scenes of 16 bits"):
        depth(2**16 - 2, scenes=2**15)


def test_unknown_curve(device):
    with pytest.raises(InputError, match="order must be one of z, .* found 'peano'"):
        curve_code(cube(1, device), "peano", 1)


def test_equals_official_codes(golden, device):
    given, expected = (np.load(golden / "sonata" / "dev" / f"{name}.npz") for name in ("input", "expected"))
    grid = torch.tensor(given["grid_coord"], device=device)
    curves = serialize(grid, torch.zeros(len(grid), dtype=torch.int64, device=device), ORDERS, 1)
    assert curves.depth == expected["stage0_serialized_depth"]
    for k, order in enumerate(ORDERS):
        for name in ("code", "order", "inverse"):
            np.testing.assert_array_equal(getattr(curves, name)[k].cpu(), expected[f"{name}_{order}"])
