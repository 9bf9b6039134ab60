"""Point Transformer V3 encoder (arXiv 2312.10035) as Sonata (arXiv 2503.16429) pretrains it: the paper's F_3d^G.

A voxel passes an embedding, then stages of blocks; between stages voxels are pooled onto a coarser grid. A block is, in
three residual steps, a 3x3x3 convolution over existing voxels (its position encoding), attention within the patches of
a space-filling curve, and an MLP. Parameter names are the official checkpoint's.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.backbones.point_transformer_layers import Block, Embedding, GridPooling, StageLayout
from geoguide.backbones.serialization import Patches, Serialization, cut_patches, serialize
from geoguide.backbones.whole_patches import WholeStage
from geoguide.errors import ConfigError, InputError
from geoguide.ops.segment import segment_mean
from geoguide.ops.sparse import neighbor_table


@dataclass(frozen=True, eq=False)
class _Grid:
    """The voxels of a stage before they have features; fields as in `Stage`."""

    coord: Tensor
    grid_coord: Tensor
    batch: Tensor
    offset: Tensor
    pooling_inverse: Tensor | None


@dataclass(frozen=True, eq=False)
class Stage(_Grid):
    """The V voxels of one stage, of B scenes, and what the network says about them.

    Attributes:
        coord: float [V, 3] metres, the mean of the pooled voxels' own.
        grid_coord: int64 [V, 3].
        feat: float [V, D].
        offset: int64 [B], the end of each scene.
        batch: int64 [V], the scene of each voxel.
        serialization: The voxels along the curves; None of a part of a scene.
        patches: The slots of attention; likewise.
        pooling_inverse: int64 [V of the stage before], this stage's voxel of each; None in stage 0.
    """

    feat: Tensor
    serialization: Serialization | None
    patches: Patches | None


class PointTransformerV3(nn.Module):
    """The encoder, with the official parameter names.

    A single scene gives the same by both patch rules; `enable_flash`, which chooses between them in the official code,
    is read and changes nothing.

    Args:
        patch_rule: "variable" cuts patches of `enc_patch_size` and leaves smaller scenes whole, as with the official
            flash attention. "official" does as without it: the patch shrinks to the smallest scene of the batch, so
            results depend on what else is in it.
        scene_depth: See `serialize`.
        **config: Keys of the official configuration, see `PointTransformerConfig`.

    Raises:
        ConfigError: Another patch rule, an unknown key, or a value that is impossible or not supported.

    Example:
        A tiny encoder of two stages, and five voxels in a row:

        >>> import torch
        >>> tiny = dict(in_channels=3, enc_depths=[1, 1], enc_channels=[8, 16], enc_num_head=[1, 2])
        >>> model = PointTransformerV3(**tiny, enc_patch_size=[4, 4], stride=[2]).eval()
        >>> grid_coord = torch.arange(5)[:, None].repeat(1, 3)
        >>> stages = model(grid_coord * 0.02, grid_coord, torch.ones(5, 3), torch.tensor([5]))
        >>> [tuple(stage.feat.shape) for stage in stages]
        [(5, 8), (3, 16)]
        >>> upcast(stages, concat=1).shape
        torch.Size([5, 24])
    """

    def __init__(self, *, patch_rule: str = "variable", scene_depth: bool = False, **config: Any) -> None:
        super().__init__()
        self.config = checked = PointTransformerConfig.checked(config)
        if patch_rule not in ("variable", "official"):
            raise ConfigError(f"patch_rule must be 'variable' or 'official', found {patch_rule!r}")
        self.patch_rule, self.scene_depth = patch_rule, scene_depth
        self.embedding = Embedding(checked.in_channels, checked.enc_channels[0], checked.mask_token)
        self.enc = nn.ModuleDict({f"enc{s}": self._stage(s) for s in range(len(checked.enc_depths))})
        if checked.freeze_encoder:
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
        whole: tuple[WholeStage, ...] | None = None,
    ) -> list[Stage]:
        """Features of every stage.

        Args:
            coord: float [V, 3] metres.
            grid_coord: int64 [V, 3], at least 0, each voxel once per scene.
            feat: float [V, in_channels].
            offset: int64 [B], the end of each scene; the last is V.
            mask: bool [V], the voxels to hide behind the mask token, or None.
            shuffle_seed: None takes the curves in the configured order, nothing is random. With a number every pooling
                shuffles which curve a block looks along, as released (and the first stage does too, where the
                configuration's `shuffle_orders` says so).
            whole: The scene that these voxels are a part of, whose patches are taken; None where they are all of it.
                Only of one scene, and without shuffling.

        Returns:
            The stages, finest first.

        Raises:
            InputError: An argument has another shape, dtype, range or device; the message names it.
        """
        _check(coord, grid_coord, feat, offset, mask, self.config)
        generator = None if shuffle_seed is None else torch.Generator().manual_seed(shuffle_seed)
        counts = offset.diff(prepend=offset.new_zeros(1))
        batch = torch.arange(len(offset), device=offset.device).repeat_interleave(counts)  # [V]
        grid = _Grid(coord, grid_coord, batch, offset, None)
        stages: list[Stage] = []
        for s in range(len(self.enc)):
            modules: Any = self.enc[f"enc{s}"]
            if s == 0:
                feat = self.embedding(feat, mask)
            else:
                grid = _pooled(grid, modules["down"].stride)
                feat = modules["down"](feat, grid.pooling_inverse, len(grid.batch))
            depth, curves, patches = self.config.enc_depths[s], None, None
            if whole is not None:
                slots = whole[s].slots(grid.grid_coord)
                layout = StageLayout(neighbor_table(grid.grid_coord, grid.batch), *slots, grid.coord)
            else:
                curves = self._curves(grid, generator if s or self.config.shuffle_orders else None)
                patches = self._patches(grid, s)
                layout = StageLayout.of(grid.coord, grid.grid_coord, grid.batch, curves, patches, depth)
            for i in range(depth):
                feat = modules[f"block{i}"](feat, layout)
            stages.append(Stage(**vars(grid), feat=feat, serialization=curves, patches=patches))
        return stages

    def _curves(self, grid: _Grid, generator: torch.Generator | None) -> Serialization:
        orders = self.config.order
        curves = serialize(grid.grid_coord, grid.batch, orders, len(grid.offset), scene_depth=self.scene_depth)
        if generator is None:
            return curves
        shuffle = torch.randperm(len(orders), generator=generator).to(grid.batch.device)
        return Serialization(curves.code[shuffle], curves.order[shuffle], curves.inverse[shuffle], curves.depth)

    def _patches(self, grid: _Grid, s: int) -> Patches:
        counts = grid.offset.diff(prepend=grid.offset.new_zeros(1)).tolist()
        size = self.config.enc_patch_size[s]
        return cut_patches(counts, min(size, *counts) if self.patch_rule == "official" else size, grid.batch.device)


def upcast(stages: list[Stage], concat: int = 2, rows: Tensor | None = None) -> Tensor:
    """Bring the features of all stages to the finest stage's voxels (the released demonstration's rule).

    From the coarsest stage up, a voxel takes its parent's features; over the first `concat` steps they are appended to
    its own, above that they replace them. Released model: 192 + 384 + 512 = 1088.

    Args:
        stages: Of one forward pass, finest first.
        concat: Steps over which features are appended; the released demonstration takes two.
        rows: int64 [R], the voxels that are asked for; nothing is made of others. None for all.

    Returns:
        float [V0, C1], for the V0 voxels of the finest stage; [R, C1] of those asked for.

    Raises:
        InputError: `concat` is outside 0..stages - 1.
    """
    if not stages or not 0 <= concat < len(stages):
        raise InputError(f"concat must be 0..{len(stages) - 1} for {len(stages)} stages, found {concat}")
    feats = [stage.feat for stage in stages]
    parents = [stage.pooling_inverse for stage in stages[1:] if stage.pooling_inverse is not None]  # each has one
    if rows is not None:  # of each stage the voxels above those asked for
        for level, parent in enumerate(parents):
            feats[level] = feats[level][rows]
            rows, parents[level] = parent[rows].unique(return_inverse=True)
        feats[-1] = feats[-1][rows]
    feat = feats.pop()
    for step, (child, parent) in enumerate(zip(reversed(feats), reversed(parents), strict=True)):
        feat = feat[parent]
        if step < concat:
            feat = torch.cat([child, feat], dim=1)
    return feat


def _pooled(grid: _Grid, stride: int) -> _Grid:
    """Voxels of a `stride` times coarser grid, sorted by scene, x, y, z; coordinates are means of the children's."""
    cell = grid.grid_coord.div(stride, rounding_mode="floor")
    key = grid.batch  # 16 bits a coordinate: `curve_depth` has refused larger ones
    for axis in range(3):
        key = key << 16 | cell[:, axis]
    key, inverse = torch.unique(key, return_inverse=True)  # [V], [V of the stage before]
    batch = key >> 48
    cell = torch.stack([key >> 32 & 0xFFFF, key >> 16 & 0xFFFF, key & 0xFFFF], dim=1)
    offset = torch.bincount(batch, minlength=len(grid.offset)).cumsum(0)
    return _Grid(segment_mean(grid.coord, inverse, len(key)), cell, batch, offset, inverse)


def _check_voxels(coord: Tensor, grid_coord: Tensor, feat: Tensor, in_channels: int) -> int:
    """V, the number of voxels."""
    count = len(feat) if isinstance(feat, Tensor) and feat.dim() else 0
    if count == 0:
        raise InputError("feat must hold at least one voxel, found none")
    rows = {"coord": (coord, 3, True), "feat": (feat, in_channels, True), "grid_coord": (grid_coord, 3, False)}
    for name, (value, width, floating) in rows.items():
        kind = "floating" if floating else "int64"
        fits = isinstance(value, Tensor) and (value.is_floating_point() if floating else value.dtype == torch.int64)
        if not fits or value.shape != (count, width):
            raise InputError(f"{name} must be a {kind} tensor [{count}, {width}], found {_described(value)}")
        if floating and not value.isfinite().all():
            raise InputError(f"{name} holds nan or inf in {int((~value.isfinite()).any(1).sum())} of {count} rows")
    if grid_coord.min() < 0:
        raise InputError(f"grid_coord must be at least 0, found {int(grid_coord.min())}")
    return count


def _check(
    coord: Tensor, grid_coord: Tensor, feat: Tensor, offset: Tensor, mask: Tensor | None, config: PointTransformerConfig
) -> None:
    count = _check_voxels(coord, grid_coord, feat, config.in_channels)
    if not isinstance(offset, Tensor) or offset.dtype != torch.int64 or offset.dim() != 1 or len(offset) == 0:
        raise InputError(f"offset must be an int64 tensor [B], found {_described(offset)}")
    devices = sorted({str(value.device) for value in (coord, grid_coord, feat, offset)})
    if len(devices) > 1:
        raise InputError(f"coord, grid_coord, feat and offset must be on one device, found {', '.join(devices)}")
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
