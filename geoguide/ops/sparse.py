"""Convolutions over the occupied voxels of a grid: one function, spconv on CUDA where it is installed, else torch.

Weights are [Cout, kx, ky, kz, Cin] as in spconv; cross-correlation over the existing voxels of the same batch item.
"""

import functools
import importlib.util
import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.compiled import compiled

_HAS_SPCONV = importlib.util.find_spec("spconv") is not None
_SPCONV_DTYPES = (torch.float32, torch.float16)  # 2.3.8: no kernel for bfloat16, and wrong sums for float64
_BLOCK_PAIRS = 1000  # pairs per matrix product on a CPU: long enough for the product, short enough for its cache
_MAX_KEYS = 2**62
_Pairs = tuple[Tensor, Tensor, Tensor]  # source, target, ascending rank: int64 [n] each, of one kernel offset


@dataclass(frozen=True, eq=False)
class NeighborTable:
    """Which rows a convolution reads and writes, for every offset of its kernel. Computed once, shared by layers.

    Attributes:
        source: int64 [N], the input row that each pair reads, grouped by kernel offset (x slowest).
        target: int64 [N], the output row that each pair adds to.
        blocks: Runs (offset, start, stop) of the pairs, in the order in which they are worked off: a block's rows are
            near in space, so that they stay in the cache.
        identity: The offset whose pairs are every voxel with itself (not listed); None for strided tables.
        kernel_size: k, the kernel's edge in voxels.
        inputs: Number of input rows.
        outputs: Number of output rows.
        indices: int32 [V, 4], batch, x, y, z from 0: of submanifold tables on CUDA only, for spconv.
        cache: What spconv keeps between layers.
    """

    source: Tensor
    target: Tensor
    blocks: tuple[tuple[int, int, int], ...]
    identity: int | None
    kernel_size: int
    inputs: int
    outputs: int
    indices: Tensor | None = None
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @functools.cached_property
    def pieces(self) -> list[tuple[int, Tensor, Tensor]]:
        """Kernel offset, source and target of each block: all layers of a grid work them off, forward and backward."""
        return [(offset, self.source[start:stop], self.target[start:stop]) for offset, start, stop in self.blocks]

    def transposed(self) -> Self:
        """The table of the transposed convolution.

        Returns:
            The same pairs, which read outputs and add to inputs.
        """
        source, target = self.target, self.source
        return replace(self, source=source, target=target, inputs=self.outputs, outputs=self.inputs, indices=None)


def neighbor_table(grid_coord: Tensor, batch: Tensor, kernel_size: int = 3) -> NeighborTable:
    """Find every voxel's neighbours within an odd kernel, for `submanifold_conv`.

    Cost O(kernel_size^3 V log V) once per grid; 16 bytes per pair.

    Args:
        grid_coord: int64 [V, 3], any sign, in any order; each voxel once per batch item.
        batch: int64 [V] at least 0, the batch item of each voxel.
        kernel_size: k, odd.

    Returns:
        The table, whose inputs and outputs are the V voxels.

    Raises:
        InputError: An even kernel, another shape or dtype, a negative batch item, a voxel that occurs twice, or a
            bounding box that cannot be numbered in 62 bits.
    """
    _check_grid(grid_coord, batch)
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise InputError(f"kernel_size of a submanifold convolution must be odd and positive, found {kernel_size}")
    grid = _Grid(grid_coord, batch, kernel_size // 2)
    center = kernel_size**3 // 2
    deltas = grid.deltas(kernel_size, kernel_size // 2)[:center]
    ranks = [grid.find(grid.keys + delta) for delta in deltas]  # (target, source) as ranks, both ascending
    pairs = [(grid.order[source], grid.order[target], target) for target, source in ranks]
    # The other half of the kernel is the first one seen from its neighbours.
    mirrored = [(grid.order[target], grid.order[source], source) for target, source in reversed(ranks)]
    empty = grid.order[:0]
    table = _table([*pairs, (empty, empty, empty), *mirrored], kernel_size, len(batch), len(batch), center)
    if not grid_coord.is_cuda:
        return table
    indices = torch.cat([batch[:, None], grid_coord - grid_coord.amin(0)], dim=1).int() if len(batch) else None
    return replace(table, indices=indices)


def strided_table(
    grid_coord: Tensor, batch: Tensor, kernel_size: int = 2, stride: int = 2
) -> tuple[NeighborTable, Tensor, Tensor]:
    """Find what every voxel of a coarser grid reads, for a strided convolution (MinkowskiEngine's convention).

    Output voxel u reads inputs u stride + 0..1 for kernel 2, u stride - 1..1 for kernel 3.

    Args:
        grid_coord: int64 [V, 3], any sign, in any order; each voxel once per batch item.
        batch: int64 [V] at least 0, the batch item of each voxel.
        kernel_size: k, positive.
        stride: Input voxels to one output voxel, along each axis.

    Returns:
        The table; the output voxels int64 [U, 3], which are the unique grid_coord // stride, sorted by batch item, x,
        y, z, in units of the coarser grid; and their batch items int64 [U].

    Raises:
        InputError: `kernel_size` or `stride` below 1, and as `neighbor_table`.
    """
    _check_grid(grid_coord, batch)
    if kernel_size < 1 or stride < 1:
        raise InputError(f"kernel_size and stride must be positive, found {kernel_size} and {stride}")
    grid, before = _Grid(grid_coord, batch, kernel_size + stride), (kernel_size - 1) // 2
    corners = torch.div(grid_coord, stride, rounding_mode="floor") * stride
    corner = torch.unique(grid.key_of(corners, batch))  # [U]; many times faster than torch.unique of rows
    corners, coarse_batch = grid.voxels(corner)
    coarse_coord = torch.div(corners, stride, rounding_mode="floor")
    found = (grid.find(corner + delta) for delta in grid.deltas(kernel_size, before))
    pairs = [(grid.order[rank], row, row) for row, rank in found]
    return _table(pairs, kernel_size, len(batch), len(corner), None), coarse_coord, coarse_batch


def submanifold_conv(features: Tensor, weight: Tensor, bias: Tensor | None, table: NeighborTable) -> Tensor:
    """Convolution whose outputs are the input voxels (spconv's SubMConv3d).

    Differentiable once in features, weight and bias; keeps nothing but its inputs for the backward pass. On CUDA with
    spconv installed its implicit GEMM runs where it has a kernel (float32 and float16, k above 1, widths that are
    multiples of 8); else torch: on a CPU about N/V matrix products of [V, Cin] x [Cin, Cout] for N pairs.

    Args:
        features: float [V, Cin].
        weight: float [Cout, k, k, k, Cin].
        bias: float [Cout], or None.
        table: From `neighbor_table`.

    Returns:
        float [V, Cout]; under autocast in its precision.

    Raises:
        InputError: A table of a strided convolution, or shapes or dtypes that do not fit together.
    """
    if table.identity is None:
        raise InputError("submanifold_conv needs a table of neighbor_table, found one of a strided convolution")
    features, weight, bias = _checked(features, weight, bias, table)
    if table.indices is not None and _HAS_SPCONV and _fits_spconv(features, weight):
        return _spconv(features, weight, bias, table, table.indices)
    return _PairConv.apply(features, weight, bias, table)


def sparse_conv(features: Tensor, weight: Tensor, bias: Tensor | None, table: NeighborTable) -> Tensor:
    """Convolution over any table: of `strided_table` the strided one, of its `transposed()` the transposed one.

    As `submanifold_conv`, but by torch on every device.

    Args:
        features: float [table.inputs, Cin].
        weight: float [Cout, k, k, k, Cin].
        bias: float [Cout], or None.
        table: Which rows are read and written.

    Returns:
        float [table.outputs, Cout]; under autocast in its precision.

    Raises:
        InputError: Shapes or dtypes that do not fit together.
    """
    return _PairConv.apply(*_checked(features, weight, bias, table), table)


class _Grid:
    """Voxels numbered by (batch, x, y, z) within their bounding box, widened by `margin` so that no step wraps."""

    def __init__(self, grid_coord: Tensor, batch: Tensor, margin: int) -> None:
        if len(batch) == 0:
            self.low, self.strides = grid_coord.new_zeros(3), (1, 1, 1, 1)
        else:
            self.low = grid_coord.amin(0) - margin
            box = zip(grid_coord.amin(0).tolist(), grid_coord.amax(0).tolist(), strict=True)
            extent = [high - low + 2 * margin + 1 for low, high in box]
            if math.prod(extent) * (int(batch.max()) + 1) >= _MAX_KEYS:
                raise InputError(f"grid_coord must span a box of fewer than 2^62 voxels over the batch, found {extent}")
            self.strides = (math.prod(extent), extent[1] * extent[2], extent[2], 1)
        self.keys, self.order = torch.sort(self.key_of(grid_coord, batch))
        if bool((self.keys[1:] == self.keys[:-1]).any()):
            twice = grid_coord[self.order[:-1][self.keys[1:] == self.keys[:-1]][0]].tolist()
            raise InputError(f"grid_coord must be unique within a batch item, found {twice} more than once")

    def key_of(self, coord: Tensor, batch: Tensor) -> Tensor:
        x, y, z = (coord - self.low).unbind(1)
        return batch * self.strides[0] + x * self.strides[1] + y * self.strides[2] + z

    def voxels(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates [n, 3] and batch items [n] of keys, the inverse of `key_of`."""
        x, y, z = (keys % a // b for a, b in itertools.pairwise(self.strides))
        return torch.stack([x, y, z], dim=1) + self.low, keys // self.strides[0]

    def deltas(self, size: int, before: int) -> list[int]:
        """Key differences of the offsets -before .. size - before - 1 in x, y, z; x slowest."""
        steps = range(-before, size - before)
        return [x * self.strides[1] + y * self.strides[2] + z for x in steps for y in steps for z in steps]

    def find(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the ascending keys exist: their positions in `wanted`, and their ranks among the voxels."""
        if not wanted.is_cuda:
            where, rank = _common(self.keys.numpy(), wanted.numpy())
            return torch.from_numpy(where), torch.from_numpy(rank)
        rank = torch.searchsorted(self.keys, wanted).clamp_(max=max(len(self.keys) - 1, 0))
        where = torch.nonzero(self.keys[rank] == wanted).squeeze(1)
        return where, rank[where]


@compiled(nogil=True)
def _common(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of two ascending arrays the positions of equal values, in `wanted` and in `keys`: one walk along both."""
    where, rank = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.int64)
    count, place = 0, 0
    for i in range(len(wanted)):
        while place < len(keys) and keys[place] < wanted[i]:
            place += 1
        if place < len(keys) and keys[place] == wanted[i]:
            where[count], rank[count] = i, place
            count += 1
    return where[:count].copy(), rank[:count].copy()


def _table(pairs: list[_Pairs], kernel_size: int, inputs: int, outputs: int, identity: int | None) -> NeighborTable:
    """Cut the pairs of each offset into blocks of neighbouring ranks."""
    counts = [len(rank) for _, _, rank in pairs]
    total, ranks = sum(counts), max(outputs, 1)
    span = ranks if pairs[0][0].is_cuda else max(1024, _BLOCK_PAIRS * len(pairs) * ranks // max(total, 1))
    edges = torch.arange(0, ranks + span, span, device=pairs[0][0].device)
    cuts = torch.stack([torch.searchsorted(rank, edges) for _, _, rank in pairs])  # [k^3, tiles + 1]
    start = torch.tensor([0, *counts[:-1]]).cumsum(0)
    cuts = (cuts.cpu() + start[:, None]).T.tolist()
    blocks = []
    for tile in itertools.pairwise(cuts):
        runs = enumerate(zip(*tile, strict=True))
        blocks += [(offset, first, last) for offset, (first, last) in runs if last > first]
    source, target = (torch.cat([pair[i] for pair in pairs]) for i in (0, 1))
    return NeighborTable(source, target, tuple(blocks), identity, kernel_size, inputs, outputs)


class _PairConv(torch.autograd.Function):
    """Gather, multiply, add, block by block; the backward pass gathers again instead of keeping copies."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, table: NeighborTable) -> Tensor:
        ctx.save_for_backward(features, weight)
        ctx.table = table
        kernels = weight.flatten(1, 3).unbind(1)  # k^3 of [Cout, Cin]
        out = features.new_zeros(table.outputs, len(weight)) if bias is None else bias.repeat(table.outputs, 1)
        if table.identity is not None:
            out.addmm_(features, kernels[table.identity].T)
        read, product = _buffers(table, features, features.shape[1], len(weight))
        flipped = [kernel.T for kernel in kernels]  # [Cin, Cout] each
        for offset, source, target in table.pieces:
            x, y = read[: len(source)], product[: len(source)]
            torch.index_select(features, 0, source, out=x)
            torch.mm(x, flipped[offset], out=y)
            _add_rows(out, target, y)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (features, weight), table, grad = ctx.saved_tensors, ctx.table, grad.contiguous()
        kernels = weight.flatten(1, 3).unbind(1)
        to_features, to_weight, to_bias = ctx.needs_input_grad[:3]
        grad_features = torch.zeros_like(features) if to_features else None
        grad_weight = torch.zeros_like(weight, memory_format=torch.contiguous_format) if to_weight else None
        grad_kernels = () if grad_weight is None else grad_weight.flatten(1, 3).unbind(1)
        if table.identity is not None:
            if grad_features is not None:
                grad_features.addmm_(grad, kernels[table.identity])
            if to_weight:
                grad_kernels[table.identity].addmm_(grad.T, features)
        read, above = _buffers(table, features, features.shape[1], len(weight))
        for offset, source, target in table.pieces:
            x, g = read[: len(source)], above[: len(source)]
            torch.index_select(grad, 0, target, out=g)
            if to_weight:
                torch.index_select(features, 0, source, out=x)
                grad_kernels[offset].addmm_(g.T, x)
            if grad_features is not None:
                torch.mm(g, kernels[offset], out=x)
                _add_rows(grad_features, source, x)
        return grad_features, grad_weight, grad.sum(0) if to_bias else None, None


def _buffers(table: NeighborTable, like: Tensor, *widths: int) -> list[Tensor]:
    longest = max((stop - start for _, start, stop in table.blocks), default=0)
    return [like.new_empty(longest, width) for width in widths]


def _add_rows(out: Tensor, rows: Tensor, values: Tensor) -> None:
    """out[rows] += values, no row twice."""
    if out.is_cuda or out.dtype not in (torch.float32, torch.float64):
        out.index_add_(0, rows, values)
    else:
        _add_rows_kernel(out.detach().numpy(), rows.numpy(), values.numpy())


@compiled(nogil=True)
def _add_rows_kernel(out: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """The same on a CPU, where index_add_ takes twice as long."""
    for i in range(len(rows)):
        row = rows[i]
        for c in range(values.shape[1]):
            out[row, c] += values[i, c]


def _fits_spconv(features: Tensor, weight: Tensor) -> bool:
    """Its path for kernels of one voxel reads the weights in another order."""
    widths = len(weight) % 8 == 0 and features.shape[1] % 8 == 0
    return features.is_cuda and features.dtype in _SPCONV_DTYPES and weight.shape[1] > 1 and widths


def _spconv(features: Tensor, weight: Tensor, bias: Tensor | None, table: NeighborTable, indices: Tensor) -> Tensor:
    """The submanifold convolution of spconv with our weights; its pair tables live as long as ours."""
    from spconv.pytorch import SparseConvTensor  # an extra

    if "tensor" not in table.cache:
        shape = (indices.amax(0) + 1).tolist()
        nothing = features.new_empty(len(features), 1)  # features and their graph would live as long as the table
        table.cache["tensor"] = SparseConvTensor(nothing, indices, shape[1:], shape[0])
    layer = _spconv_layer(features.shape[1], len(weight), table.kernel_size, bias is not None)
    parameters = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    found = torch.func.functional_call(layer, parameters, (table.cache["tensor"].replace_feature(features),))
    table.cache["tensor"].indice_dict = found.indice_dict  # pairs are noted at what comes out alone, in a copy
    return found.features


@functools.cache
def _spconv_layer(inputs: int, outputs: int, kernel_size: int, bias: bool) -> torch.nn.Module:
    from spconv.pytorch import SubMConv3d  # an extra

    return SubMConv3d(inputs, outputs, kernel_size, bias=bias, indice_key="table")


def _checked(
    features: Tensor, weight: Tensor, bias: Tensor | None, table: NeighborTable
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The three tensors, contiguous and (under autocast) in its precision."""
    k = table.kernel_size
    if features.dim() != 2 or len(features) != table.inputs:
        raise InputError(f"features must be [{table.inputs}, Cin] for this table, found {list(features.shape)}")
    if weight.dim() != 5 or tuple(weight.shape[1:]) != (k, k, k, features.shape[1]):
        raise InputError(f"weight must be [Cout, {k}, {k}, {k}, {features.shape[1]}], found {list(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"bias must be [{len(weight)}] or None, found {list(bias.shape)}")
    if torch.is_autocast_enabled(features.device.type):
        kind = torch.get_autocast_dtype(features.device.type)
        features, weight, bias = features.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    if features.dtype != weight.dtype or (bias is not None and bias.dtype != weight.dtype):
        raise InputError(f"features, weight and bias must share a dtype, found {features.dtype} and {weight.dtype}")
    return features.contiguous(), weight.contiguous(), bias


def _check_grid(grid_coord: Tensor, batch: Tensor) -> None:
    if grid_coord.dtype != torch.int64 or grid_coord.dim() != 2 or grid_coord.shape[1] != 3:
        raise InputError(f"grid_coord must be int64 [V, 3], found {grid_coord.dtype} {list(grid_coord.shape)}")
    if batch.dtype != torch.int64 or batch.shape != grid_coord.shape[:1]:
        raise InputError(f"batch must be int64 [{len(grid_coord)}], found {batch.dtype} {list(batch.shape)}")
    if len(batch) and int(batch.min()) < 0:
        raise InputError(f"batch must not be negative, found {int(batch.min())}")
