"""MinkUNet18A, the sparse U-Net that OpenScene trains (Choy et al., 4D Spatio-Temporal ConvNets, CVPR 2019)."""

import math

import torch
from torch import Tensor, nn

from geoguide.errors import InputError
from geoguide.ops.sparse import NeighborTable, neighbor_table, sparse_conv, strided_table

STEM = 32
PLANES = (32, 64, 128, 256, 128, 128, 96, 96)  # the "A" widths: four stages down, four up
BLOCKS = 2  # residual blocks per stage: the "18"
STAGES = 4
Pyramid = tuple[NeighborTable, list[NeighborTable], list[NeighborTable]]  # see `grid_pyramid`


def grid_pyramid(grid_coord: Tensor, batch: Tensor) -> Pyramid:
    """Find the neighbours of voxels on grids of stride 1, 2, 4, and so on.

    Args:
        grid_coord: int64 [V, 3], each voxel once per batch item.
        batch: int64 [V], the batch item of each voxel.

    Returns:
        The stem's table, of kernel 5 on the finest level; a submanifold table of kernel 3 for each of STAGES + 1
        levels, finest first; and a strided table from each level to the next coarser one.

    Raises:
        InputError: As `ops.sparse.neighbor_table`.
    """
    stem, same, down = neighbor_table(grid_coord, batch, 5), [neighbor_table(grid_coord, batch)], []
    for _ in range(STAGES):
        table, grid_coord, batch = strided_table(grid_coord, batch)
        down.append(table)
        same.append(neighbor_table(grid_coord, batch))
    return stem, same, down


class SparseConv(nn.Module):
    """A layer of `sparse_conv` without bias; initialised as torch initialises dense convolutions.

    Args:
        inputs: Cin.
        outputs: Cout.
        kernel_size: k; the weight is [Cout, k, k, k, Cin].
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs * kernel_size**3)
        size = (outputs, kernel_size, kernel_size, kernel_size, inputs)
        self.weight = nn.Parameter(torch.empty(size).uniform_(-bound, bound))

    def forward(self, features: Tensor, table: NeighborTable) -> Tensor:
        """Apply the convolution.

        Args:
            features: float [table.inputs, Cin].
            table: Which voxels are read and written.

        Returns:
            float [table.outputs, Cout].
        """
        return sparse_conv(features, self.weight, None, table)


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation over the voxels, ReLU.

    Args:
        inputs: Cin.
        outputs: Cout.
        kernel_size: k.
    """

    def __init__(self, inputs: int, outputs: int, kernel_size: int) -> None:
        super().__init__()
        self.conv, self.norm = SparseConv(inputs, outputs, kernel_size), nn.BatchNorm1d(outputs)

    def forward(self, features: Tensor, table: NeighborTable) -> Tensor:
        """Apply the three.

        Args:
            features: float [table.inputs, Cin].
            table: The convolution's voxels.

        Returns:
            float [table.outputs, Cout], none below 0.
        """
        return self.norm(self.conv(features, table)).relu_()


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions and a skip connection, through a 1x1x1 convolution where the width changes.

    Args:
        inputs: Cin.
        outputs: Cout.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3)
        self.conv, self.norm = SparseConv(outputs, outputs, 3), nn.BatchNorm1d(outputs)
        self.skip: nn.Module = nn.Identity()
        if inputs != outputs:
            self.skip = nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs))

    def forward(self, features: Tensor, table: NeighborTable) -> Tensor:
        """Apply the block.

        Args:
            features: float [V, Cin].
            table: The submanifold table of the V voxels.

        Returns:
            float [V, Cout].
        """
        mixed = self.norm(self.conv(self.first(features, table), table))
        return (mixed + self.skip(features)).relu_()


class MinkUNet(nn.Module):
    """The sparse U-Net, from voxels to the text space; all neighbour tables are computed once for all layers.

    No published weights are loaded: parameter names are our own.

    Args:
        in_width: Cin, features of a voxel.
        out_width: C, width of the text space.
        width: Scales every hidden width (1 is MinkUNet18A); rounded to a multiple of 8.

    Raises:
        InputError: A width is not positive.
    """

    def __init__(self, in_width: int, out_width: int, width: float = 1.0) -> None:
        super().__init__()
        if in_width < 1 or out_width < 1 or width <= 0:
            raise InputError(f"widths of a MinkUNet must be positive, found {in_width}, {out_width}, {width}")
        stem, *planes = (max(8, 8 * round(width * plane / 8)) for plane in (STEM, *PLANES))
        self.in_width = in_width
        self.stem = ConvNorm(in_width, stem, 5)
        self.down, self.encoder = nn.ModuleList(), nn.ModuleList()
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()
        skips, inputs = [stem], stem
        for plane in planes[:STAGES]:
            self.down.append(ConvNorm(inputs, inputs, 2))
            self.encoder.append(_stage(inputs, plane))
            skips.append(plane)
            inputs = plane
        for plane, skip in zip(planes[STAGES:], skips[-2::-1], strict=True):
            self.up.append(ConvNorm(inputs, plane, 2))
            self.decoder.append(_stage(plane + skip, plane))
            inputs = plane
        self.head = nn.Linear(inputs, out_width)

    def forward(self, grid_coord: Tensor, batch: Tensor, features: Tensor, pyramid: Pyramid | None = None) -> Tensor:
        """Predict the text-space feature of every voxel.

        Training mode normalises over all voxels of the batch. Cost O(V k width^2) for k occupied neighbours.

        Args:
            grid_coord: int64 [V, 3], each voxel once per batch item.
            batch: int64 [V], the batch item of each voxel.
            features: float [V, Cin].
            pyramid: `grid_pyramid` of the voxels, where it was computed before; None computes it.

        Returns:
            float [V, C].

        Raises:
            InputError: `features` has another shape, or the voxels are refused as by `ops.sparse.neighbor_table`.
        """
        if features.dim() != 2 or tuple(features.shape) != (len(grid_coord), self.in_width):
            raise InputError(f"features must be [{len(grid_coord)}, {self.in_width}], found {list(features.shape)}")
        stem, same, down = pyramid or grid_pyramid(grid_coord, batch)
        features = self.stem(features, stem)
        skips = []
        for shrink, stage, table, level in zip(self.down, self.encoder, down, same[1:], strict=True):
            skips.append(features)
            features = _run(stage, shrink(features, table), level)
        for grow, stage, table, level in zip(self.up, self.decoder, down[::-1], same[STAGES - 1 :: -1], strict=True):
            features = torch.cat([grow(features, table.transposed()), skips.pop()], dim=1)
            features = _run(stage, features, level)
        return self.head(features)


def _stage(inputs: int, outputs: int) -> nn.ModuleList:
    return nn.ModuleList(BasicBlock(inputs if i == 0 else outputs, outputs) for i in range(BLOCKS))


def _run(stage: nn.Module, features: Tensor, table: NeighborTable) -> Tensor:
    for block in stage.children():
        features = block(features, table)
    return features
