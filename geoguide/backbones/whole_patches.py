"""The patches of attention that a whole scene has, for a part of it.

Patches are cut from curves through all voxels of a scene, so where one begins depends on every voxel before it. A part
that cut its own would let other voxels look at each other, and its features would be others throughout.
`WholeStage` keeps the place of each voxel on each curve, 8 bytes and 4 a curve, and gives any part of the scene the
patches that the whole has.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.backbones.serialization import curve_code, curve_depth


@dataclass(frozen=True, eq=False)
class WholeStage:
    """The voxels of one stage of a whole scene.

    Attributes:
        key: int64 [V], the numbers of the voxels' cells, ascending.
        rank: For each curve that the stage's blocks look along, the place of each voxel on it, int32 [V].
        size: Voxels in a patch.
    """

    key: Tensor
    rank: tuple[Tensor, ...]
    size: int

    @property
    def plan(self) -> Tensor:
        """X and y of the voxels' cells, int64 [V, 2]."""
        return torch.stack([self.key >> 32, self.key >> 16 & 0xFFFF], dim=1)

    def slots(self, cells: Tensor) -> tuple[list[Tensor], list[Tensor], tuple[tuple[int, int], ...]]:
        """Lay some of the voxels into the slots of the whole scene's patches, as `StageLayout` takes them.

        A slot whose voxel is not among them holds another one of its patch.

        Args:
            cells: int64 [v, 3], each voxel once.

        Returns:
            For each curve the voxel that fills each slot, int64 [T]; the slot of each voxel, int64 [v]; and how many
            patches there are, of which length.
        """
        length = min(self.size, len(self.key))
        place = torch.searchsorted(self.key, _keys(cells).to(self.key.device))  # [v]
        laid = [_laid(rank[place].long().to(cells.device), length, len(self.key)) for rank in self.rank]
        count = {len(gather) // length for gather, _ in laid}
        if len(count) > 1:  # along different curves a part touches different numbers of patches: fill up with the first
            most = max(count) * length
            laid = [(torch.cat([gather, gather[:1].expand(most - len(gather))]), slot) for gather, slot in laid]
        return [gather for gather, _ in laid], [slot for _, slot in laid], ((max(count), length),)


def whole_stages(cells: Tensor, config: PointTransformerConfig) -> tuple[WholeStage, ...]:
    """Lay the curves of every stage through a whole scene.

    Args:
        cells: int64 [V, 3] from 0, each voxel once.
        config: Of the encoder.

    Returns:
        The stages, finest first.

    Raises:
        InputError: The cells do not fit the curves, see `curve_depth`.
    """
    stages = []
    for s, size in enumerate(config.enc_patch_size):
        if s:
            cells = torch.unique(cells.div(config.stride[s - 1], rounding_mode="floor"), dim=0)
        key, order = _keys(cells).sort()
        cells, depth = cells[order], curve_depth(cells, 1)
        used = config.order[: config.enc_depths[s]]
        stages.append(WholeStage(key, tuple(_rank(curve_code(cells, curve, depth)) for curve in used), size))
    return tuple(stages)


def _keys(cells: Tensor) -> Tensor:
    """One number for each cell [V, 3]: 16 bits a coordinate, as the curves have."""
    return cells[:, 0] << 32 | cells[:, 1] << 16 | cells[:, 2]


def _rank(code: Tensor) -> Tensor:
    """The place of each number [V] in their order, int32 [V]."""
    rank = torch.empty(len(code), dtype=torch.int32)
    rank[code.argsort()] = torch.arange(len(code), dtype=torch.int32)
    return rank


def _laid(rank: Tensor, length: int, count: int) -> tuple[Tensor, Tensor]:
    """The voxel of each slot [n length], and the slot of each voxel [v], by their places on one curve of `count`."""
    order = rank.argsort()
    patch, row, held = torch.unique_consecutive(rank[order] // length, return_inverse=True, return_counts=True)
    start = held.cumsum(0) - held  # [n]
    slot = torch.arange(length, device=rank.device)
    gather = order[start[:, None] + slot % held[:, None]]  # [n, length]: voxels of the same patch, again and again
    gather[row, rank[order] % length] = order
    if count % length and patch[-1] == count // length:  # the last patch is filled up from the one before
        wanted = (count // length - 1) * length + slot[count % length :]
        at = torch.searchsorted(rank[order], wanted).clamp(max=len(order) - 1)
        there = rank[order][at] == wanted
        gather[-1, count % length :][there] = order[at[there]]
    scatter = torch.empty_like(rank)
    scatter[order] = row * length + rank[order] % length
    return gather.reshape(-1), scatter
