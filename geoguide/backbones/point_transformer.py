"""Point Transformer V3 encoder (arXiv 2312.10035) as Sonata (arXiv 2503.16429) pretrains it: the paper's F_3d^G.

A voxel passes an embedding, then stages of blocks; between stages voxels are pooled onto a coarser grid. A block is, in
three residual steps, a 3x3x3 convolution over existing voxels (its position encoding), attention within the patches of
a space-filling curve, and an MLP. Parameter names are the official checkpoint's.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.backbones.point_transformer_layers import Block, Embedding, GridPooling, StageLayout
from geoguide.backbones.serialization import Patches, Serialization, cut_patches, serialize
from geoguide.errors import ConfigError, InputError
from geoguide.ops.segment import segment_mean


@dataclass(frozen=True, eq=False)
class Stage:
    """The voxels of one stage and what the network says about them; V voxels, B scenes.

    coord float [V, 3], metres, the mean of the pooled voxels' own; grid_coord int64 [V, 3]; feat [V, C]; offset int64
    [B], the end of each scene; batch int64 [V]; serialization: the curves' codes, orders and inverses; patches: the
    slots of attention; pooling_inverse int64 [V of the stage before]: this stage's voxel of each (None in stage 0).
    """

    coord: Tensor
    grid_coord: Tensor
    feat: Tensor
    offset: Tensor
    batch: Tensor
    serialization: Serialization
    patches: Patches
    pooling_inverse: Tensor | None


class PointTransformerV3(nn.Module):
    """The encoder. Options are the keys of the official configuration (see `PointTransformerConfig`), by keyword.

    `patch_rule`: "variable" (default), where patches of `enc_patch_size` and smaller scenes whole, as with the official
    flash attention; or "official", as without it: the patch shrinks to the smallest scene of the batch, so results
    depend on what else is in it. A single scene gives the same by both; `enable_flash`, which chooses between them in
    the official code, is read and changes nothing. `scene_depth`: see `serialize`. Raises ConfigError.
    """

    def __init__(self, *, patch_rule: str = "variable", scene_depth: bool = False, **config: Any) -> None:
        super().__init__()
        self.config = PointTransformerConfig.checked(config)
        if patch_rule not in ("variable", "official"):
            raise ConfigError(f"patch_rule must be 'variable' or 'official', found {patch_rule!r}")
        self.patch_rule, self.scene_depth = patch_rule, scene_depth
        config = self.config
        self.embedding = Embedding(config.in_channels, config.enc_channels[0], config.mask_token)
        self.enc = nn.ModuleDict({f"enc{s}": self._stage(s) for s in range(len(config.enc_depths))})
        if config.freeze_encoder:
            self.requires_grad_(False)

    def _stage(self, s: int) -> nn.ModuleDict:
        config = self.config
        modules = nn.ModuleDict()
        if s > 0:
            modules["down"] = GridPooling(*config.enc_channels[s - 1 : s + 1], config.stride[s - 1])
        rates = torch.linspace(0, config.drop_path, sum(config.enc_depths), device="cpu").tolist()
        rates = rates[sum(config.enc_depths[:s]) :]
        for i in range(config.enc_depths[s]):
            block = Block(config.enc_channels[s], config.enc_num_head[s], rates[i], i % len(config.order), config)
            modules[f"block{i}"] = block
        return modules

    def forward(
        self,
        coord: Tensor,
        grid_coord: Tensor,
        feat: Tensor,
        offset: Tensor,
        *,
        mask: Tensor | None = None,
        shuffle_seed: int | None = None,
    ) -> list[Stage]:
        """Features of every stage, finest first.

        coord float [V, 3] metres, grid_coord int64 [V, 3] >= 0 (a voxel once per scene), feat float [V, in_channels],
        offset int64 [B], the end of each scene (last V); mask bool [V]: voxels to hide behind the mask token.
        `shuffle_seed` None: curves in the configured order, nothing random. A number: as released, where every pooling
        shuffles which curve a block looks along (and the first stage too, where the configuration's `shuffle_orders`
        says so). Raises InputError naming the argument, expected and found.
        """
        _check(coord, grid_coord, feat, offset, mask, self.config)
        generator = None if shuffle_seed is None else torch.Generator().manual_seed(shuffle_seed)
        counts = offset.diff(prepend=offset.new_zeros(1))
        batch = torch.arange(len(offset), device=offset.device).repeat_interleave(counts)  # [V]
        grid = _Grid(coord, grid_coord, batch, offset, None)
        stages: list[Stage] = []
        for s, modules in enumerate(self.enc.values()):
            if s == 0:
                feat = self.embedding(feat, mask)
                curves = self._curves(grid, generator if self.config.shuffle_orders else None)
            else:
                grid = _pooled(grid, modules["down"].stride)
                feat = modules["down"](feat, grid.pooling_inverse, len(grid.batch))
                curves = self._curves(grid, generator)
            patches = self._patches(grid, s)
            depth = self.config.enc_depths[s]
            layout = StageLayout.of(grid.grid_coord, grid.batch, curves, patches, depth)
            for i in range(depth):
                feat = modules[f"block{i}"](feat, layout)
            stages.append(Stage(grid.coord, grid.grid_coord, feat, grid.offset, grid.batch, curves, patches,
                                grid.pooling_inverse))  # fmt: skip
        return stages

    def _curves(self, grid: "_Grid", generator: torch.Generator | None) -> Serialization:
        orders = self.config.order
        curves = serialize(grid.grid_coord, grid.batch, orders, len(grid.offset), scene_depth=self.scene_depth)
        if generator is None:
            return curves
        shuffle = torch.randperm(len(orders), generator=generator).to(grid.batch.device)
        return Serialization(curves.code[shuffle], curves.order[shuffle], curves.inverse[shuffle], curves.depth)

    def _patches(self, grid: "_Grid", s: int) -> Patches:
        counts = grid.offset.diff(prepend=grid.offset.new_zeros(1)).tolist()
        size = self.config.enc_patch_size[s]
        return cut_patches(counts, min(size, *counts) if self.patch_rule == "official" else size, grid.batch.device)


def upcast(stages: list[Stage], concat: int = 2) -> Tensor:
    """Features of the finest stage's voxels from all scales, float [V0, C1].

    From the coarsest stage up, a voxel takes its parent's features; over the first `concat` steps they are appended to
    its own (the released demonstration's rule: two), above that they replace them. Released model: 192 + 384 + 512 =
    1088. Raises InputError for `concat` outside 0..stages - 1.
    """
    if not stages or not 0 <= concat < len(stages):
        raise InputError(f"concat must be 0..{len(stages) - 1} for {len(stages)} stages, found {concat}")
    feat = stages[-1].feat
    for step, (parent, child) in enumerate(pairwise(reversed(stages))):
        feat = feat[parent.pooling_inverse]
        if step < concat:
            feat = torch.cat([child.feat, feat], dim=1)
    return feat


class _Grid(NamedTuple):
    """The voxels of a stage before any feature."""

    coord: Tensor
    grid_coord: Tensor
    batch: Tensor
    offset: Tensor
    pooling_inverse: Tensor | None


def _pooled(grid: _Grid, stride: int) -> _Grid:
    """Voxels of a `stride` times coarser grid, sorted by scene, x, y, z; coordinates are means of the children's."""
    cell = grid.grid_coord.div(stride, rounding_mode="floor")
    key = grid.batch  # 16 bits a coordinate: `curve_depth` has refused larger ones
    for axis in range(3):
        key = key << 16 | cell[:, axis]
    key, inverse = torch.unique(key, return_inverse=True)
    batch = key >> 48
    cell = torch.stack([key >> 32 & 0xFFFF, key >> 16 & 0xFFFF, key & 0xFFFF], dim=1)
    offset = torch.bincount(batch, minlength=len(grid.offset)).cumsum(0)
    return _Grid(segment_mean(grid.coord, inverse, len(key)), cell, batch, offset, inverse)


def _check(
    coord: Tensor, grid_coord: Tensor, feat: Tensor, offset: Tensor, mask: Tensor | None, config: PointTransformerConfig
) -> None:
    count = len(feat) if isinstance(feat, Tensor) and feat.dim() else 0
    if count == 0:
        raise InputError("feat must hold at least one voxel, found none")
    rows = {"coord": (coord, 3, True), "feat": (feat, config.in_channels, True), "grid_coord": (grid_coord, 3, False)}
    for name, (value, width, floating) in rows.items():
        kind = "floating" if floating else "int64"
        fits = isinstance(value, Tensor) and (value.is_floating_point() if floating else value.dtype == torch.int64)
        if not fits or value.shape != (count, width):
            raise InputError(f"{name} must be a {kind} tensor [{count}, {width}], found {_described(value)}")
        if floating and not value.isfinite().all():
            raise InputError(f"{name} holds nan or inf in {int((~value.isfinite()).any(1).sum())} of {count} rows")
    if grid_coord.min() < 0:
        raise InputError(f"grid_coord must be at least 0, found {int(grid_coord.min())}")
    if not isinstance(offset, Tensor) or offset.dtype != torch.int64 or offset.dim() != 1 or len(offset) == 0:
        raise InputError(f"offset must be an int64 tensor [B], found {_described(offset)}")
    devices = {str(value.device) for value in (coord, grid_coord, feat, offset)}
    if len(devices) > 1:
        raise InputError(
            f"coord, grid_coord, feat and offset must be on one device, found {', '.join(sorted(devices))}"
        )
    if int(offset[-1]) != count or (offset.diff(prepend=offset.new_zeros(1)) < 1).any():
        raise InputError(f"offset must increase from the first scene's end to {count} voxels, found {offset.tolist()}")
    if mask is None:
        return
    if not config.mask_token:
        raise InputError("mask must be None: this configuration has no mask_token")
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (count,):
        raise InputError(f"mask must be a bool tensor [{count}], found {_described(mask)}")


def _described(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
