"""Layers of the Point Transformer V3 encoder; parameter names and nesting are those of the official checkpoint."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.backbones.serialization import Patches, Serialization
from geoguide.ops.sparse import NeighborTable, neighbor_table, submanifold_conv


@dataclass(frozen=True, eq=False)
class StageLayout:
    """What the blocks of a stage share, made once.

    Attributes:
        neighbors: Of the position encoding's convolution.
        gather: For each curve, the voxel that fills each attention slot, int64 [T].
        scatter: For each curve, the slot of each voxel, int64 [V].
        runs: As `Patches.runs`.
        coord: float [V, 3] metres, for rotary position encodings.
    """

    neighbors: NeighborTable
    gather: list[Tensor]
    scatter: list[Tensor]
    runs: tuple[tuple[int, int], ...]
    coord: Tensor

    @classmethod
    def of(
        cls, coord: Tensor, grid_coord: Tensor, batch: Tensor, curves: Serialization, patches: Patches, blocks: int
    ) -> Self:
        """Lay out the voxels of a stage.

        Args:
            coord: float [V, 3] metres.
            grid_coord: int64 [V, 3].
            batch: int64 [V], the scene of each voxel.
            curves: The voxels along all curves.
            patches: How the serialized voxels fill the attention slots.
            blocks: Blocks of the stage; only as many curves are laid out.

        Returns:
            The layout.
        """
        used = range(min(blocks, len(curves.order)))
        gather = [curves.order[curve][patches.pad] for curve in used]  # [T] each
        scatter = [patches.unpad[curves.inverse[curve]] for curve in used]  # [V] each
        return cls(neighbor_table(grid_coord, batch), gather, scatter, patches.runs, coord)


class SubmanifoldConv(nn.Module):
    """3x3x3 convolution at existing voxels over existing neighbours of the same scene.

    Args:
        channels: D.
        kernel_size: k; the weight is [D, k, k, k, D].
    """

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, *(kernel_size,) * 3, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, feat: Tensor, neighbors: NeighborTable) -> Tensor:
        """Apply the convolution.

        Args:
            feat: float [V, D].
            neighbors: The table of the V voxels.

        Returns:
            float [V, D].
        """
        return submanifold_conv(feat, self.weight, self.bias, neighbors)


class RotaryPosition(nn.Module):
    """Turns queries and keys by where they are, so that their product sees the difference of two places (Utonia).

    A head's width is three equal parts, one an axis; in each, component j of the first half and component j of the
    second are a point in a plane, turned by an angle of coordinate * base^(-2 j / part's width).

    Args:
        width: Of a head, a multiple of 6.
        base: Above 1.
    """

    def __init__(self, width: int, base: float) -> None:
        super().__init__()
        part = width // 3
        self.register_buffer("inv_freq", base ** (-torch.arange(0, part, 2).float() / part))  # [part / 2]
        self.inv_freq: Tensor

    def forward(self, heads: Tensor, coord: Tensor) -> Tensor:
        """Turn the queries, or keys, of every head.

        Args:
            heads: float [N, heads, length, width].
            coord: float [N, length, 3] metres.

        Returns:
            float, as `heads`.
        """
        angle = coord[:, None, :, :, None] * self.inv_freq  # [N, 1, length, 3, part / 2]
        cos, sin = angle.cos(), angle.sin()
        first, second = heads.unflatten(-1, (3, 2, -1)).unbind(-2)  # [N, heads, length, 3, part / 2] each
        turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-2)
        return turned.flatten(-3).to(heads.dtype)


class PatchAttention(nn.Module):
    """Multi-head attention among the voxels of a patch.

    Args:
        channels: D.
        heads: Attention heads, which divide D.
        config: Bias, scale, dropout and rotary position encoding.
    """

    def __init__(self, channels: int, heads: int, config: PointTransformerConfig) -> None:
        super().__init__()
        self.heads, self.scale, self.dropout = heads, config.qk_scale, config.attn_drop
        self.qkv = nn.Linear(channels, 3 * channels, bias=config.qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.proj_drop = nn.Dropout(config.proj_drop)
        if config.rope_base is not None:
            self.rope = RotaryPosition(channels // heads, config.rope_base)

    def forward(self, feat: Tensor, layout: StageLayout, curve: int) -> Tensor:
        """Let the voxels of each patch look at each other.

        Args:
            feat: float [V, D].
            layout: The stage's patches.
            curve: Number of the curve whose patches are taken.

        Returns:
            float [V, D].
        """
        slots = self.qkv(feat[layout.gather[curve]])  # [T, 3 D]: gathered before it is three times as wide
        sizes = [patches * length for patches, length in layout.runs]
        places = layout.coord[layout.gather[curve]].split(sizes)
        runs = zip(slots.split(sizes), places, layout.runs, strict=True)
        mixed = [self._mix(part, place, length) for part, place, (_, length) in runs]
        mixed = mixed[0] if len(mixed) == 1 else torch.cat(mixed)  # [T, D]
        return self.proj_drop(self.proj(mixed[layout.scatter[curve]]))

    def _mix(self, slots: Tensor, coord: Tensor, length: int) -> Tensor:
        """Attention within N patches of one length: [N length, 3 D], [N length, 3] -> [N length, D]."""
        qkv = slots.view(-1, length, 3, self.heads, slots.shape[1] // (3 * self.heads))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [N, heads, length, D / heads] each
        if hasattr(self, "rope"):
            coord = coord.view(-1, length, 3)
            query, key = self.rope(query, coord), self.rope(key, coord)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=self.scale)
        return mixed.transpose(1, 2).reshape(len(slots), -1)


class MLP(nn.Module):
    """Linear, GELU, dropout, Linear, dropout.

    Args:
        channels: D.
        hidden: Width between the linear layers.
        dropout: Share that is dropped, in training only.
    """

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, feat: Tensor) -> Tensor:
        """Apply the layers.

        Args:
            feat: float [V, D].

        Returns:
            float [V, D].
        """
        return self.drop(self.fc2(self.drop(functional.gelu(self.fc1(feat)))))


class DropPath(nn.Module):
    """While training, drop a residual branch for a random share of the voxels and scale up the others.

    Args:
        share: The share, in [0, 1).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, feat: Tensor) -> Tensor:
        """Drop or scale rows.

        Args:
            feat: float [V, D], what a residual branch adds.

        Returns:
            float [V, D]; `feat` itself in evaluation.
        """
        if not self.training or self.share == 0.0:
            return feat
        keep = 1.0 - self.share
        return feat * (feat.new_empty(len(feat), 1).bernoulli_(keep) / keep)


def drops(network: nn.Module) -> bool:
    """Say whether a network draws from torch's generator while it is trained.

    Args:
        network: Any.

    Returns:
        True where it holds a layer of this file, or a `nn.Dropout`, that drops a share above 0 at random.
    """
    shares = ((DropPath, "share"), (PatchAttention, "dropout"), (nn.Dropout, "p"))
    return any(
        isinstance(part, kind) and getattr(part, name) > 0 for part in network.modules() for kind, name in shares
    )


class Block(nn.Module):
    """x += cpe(x); x += attention(norm x); x += mlp(norm x). Names and nesting are the official ones.

    Args:
        channels: D.
        heads: Attention heads.
        drop_path: Share of voxels whose attention and MLP are dropped, in training only.
        curve: Number of the curve that attention goes along.
        config: Bias, scale, dropout and MLP ratio.
    """

    def __init__(self, channels: int, heads: int, drop_path: float, curve: int, config: PointTransformerConfig) -> None:
        super().__init__()
        self.curve = curve
        self.cpe = nn.ModuleList([SubmanifoldConv(channels), nn.Linear(channels, channels), nn.LayerNorm(channels)])
        self.norm1 = nn.Sequential(nn.LayerNorm(channels))
        self.attn = PatchAttention(channels, heads, config)
        self.norm2 = nn.Sequential(nn.LayerNorm(channels))
        self.mlp = nn.Sequential(MLP(channels, int(channels * config.mlp_ratio), config.proj_drop))
        self.drop_path = DropPath(drop_path)

    def forward(self, feat: Tensor, layout: StageLayout) -> Tensor:
        """Apply the block.

        Args:
            feat: float [V, D].
            layout: The stage's neighbours and patches.

        Returns:
            float [V, D].
        """
        conv, linear, norm = self.cpe
        feat = feat + norm(linear(conv(feat, layout.neighbors)))
        feat = feat + self.drop_path(self.attn(self.norm1(feat), layout, self.curve))
        return feat + self.drop_path(self.mlp(self.norm2(feat)))


class Embedding(nn.Module):
    """Linear, norm, GELU; a learned token takes the place of masked voxels.

    Args:
        in_channels: Features of a voxel.
        channels: D.
        mask_token: Whether there is such a token.
    """

    def __init__(self, in_channels: int, channels: int, mask_token: bool) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"linear": nn.Linear(in_channels, channels), "norm": nn.LayerNorm(channels)})
        if mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, channels))

    def forward(self, feat: Tensor, mask: Tensor | None) -> Tensor:
        """Embed the voxels.

        Args:
            feat: float [V, in_channels].
            mask: bool [V], the voxels that become the token, or None.

        Returns:
            float [V, D].
        """
        feat = functional.gelu(self.stem["norm"](self.stem["linear"](feat)))
        return feat if mask is None else torch.where(mask[:, None], self.mask_token.to(feat.dtype), feat)


class GridPooling(nn.Module):
    """Largest projected feature of the voxels that share a cell of a coarser grid, then norm, GELU.

    Args:
        in_channels: D of the finer stage.
        channels: D of the coarser stage.
        stride: How many cells become one along each axis.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.proj = nn.Linear(in_channels, channels)
        self.norm = nn.Sequential(nn.LayerNorm(channels))

    def forward(self, feat: Tensor, inverse: Tensor, count: int) -> Tensor:
        """Pool the voxels.

        Args:
            feat: float [V, in_channels].
            inverse: int64 [V] in 0..count-1, the coarser voxel of each voxel.
            count: The number of coarser voxels.

        Returns:
            float [count, channels].
        """
        feat = self.proj(feat)
        index = inverse[:, None].expand_as(feat)
        feat = feat.new_zeros(count, feat.shape[1]).scatter_reduce(0, index, feat, "amax", include_self=False)
        return functional.gelu(self.norm(feat))
