"""Layers of the Point Transformer V3 encoder; parameter names and nesting are those of the official checkpoint."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.backbones.serialization import Patches, Serialization
from geoguide.ops.sparse import NeighborTable, neighbor_table, submanifold_conv


@dataclass(frozen=True, eq=False)
class StageLayout:
    """What the blocks of a stage share, made once: neighbours, and per curve which voxel fills a slot and back."""

    neighbors: NeighborTable
    gather: list[Tensor]  # int64 [T] per curve
    scatter: list[Tensor]  # int64 [V] per curve
    runs: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls, grid_coord: Tensor, batch: Tensor, curves: Serialization, patches: Patches, blocks: int
    ) -> "StageLayout":
        used = range(min(blocks, len(curves.order)))
        return cls(
            neighbor_table(grid_coord, batch),
            [curves.order[curve][patches.pad] for curve in used],
            [patches.unpad[curves.inverse[curve]] for curve in used],
            patches.runs,
        )


class SubmanifoldConv(nn.Module):
    """3x3x3 convolution at existing voxels over existing neighbours of the same scene; weight [C, 3, 3, 3, C]."""

    def __init__(self, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, *(kernel_size,) * 3, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, feat: Tensor, neighbors: NeighborTable) -> Tensor:
        """[V, C] -> [V, C]"""
        return submanifold_conv(feat, self.weight, self.bias, neighbors)


class PatchAttention(nn.Module):
    """Multi-head attention among the voxels of a patch."""

    def __init__(self, channels: int, heads: int, config: PointTransformerConfig) -> None:
        super().__init__()
        self.heads, self.scale, self.dropout = heads, config.qk_scale, config.attn_drop
        self.qkv = nn.Linear(channels, 3 * channels, bias=config.qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.proj_drop = nn.Dropout(config.proj_drop)

    def forward(self, feat: Tensor, layout: StageLayout, curve: int) -> Tensor:
        """[V, C] -> [V, C], along the given curve."""
        slots = self.qkv(feat[layout.gather[curve]])  # [T, 3C]: gathered before it is three times as wide
        parts = slots.split([patches * length for patches, length in layout.runs])
        mixed = [self._mix(part, length) for part, (_, length) in zip(parts, layout.runs, strict=True)]
        mixed = mixed[0] if len(mixed) == 1 else torch.cat(mixed)  # [T, C]
        return self.proj_drop(self.proj(mixed[layout.scatter[curve]]))

    def _mix(self, slots: Tensor, length: int) -> Tensor:
        """[N length, 3C] -> [N length, C]: N patches of one length."""
        qkv = slots.view(-1, length, 3, self.heads, slots.shape[1] // (3 * self.heads))
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # [N, heads, length, C / heads] each
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=self.scale)
        return mixed.transpose(1, 2).reshape(len(slots), -1)


class MLP(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, feat: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(functional.gelu(self.fc1(feat)))))


class DropPath(nn.Module):
    """While training, drop a residual branch for a random share of the voxels and scale up the others."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, feat: Tensor) -> Tensor:
        if not self.training or self.share == 0.0:
            return feat
        keep = 1.0 - self.share
        return feat * (feat.new_empty(len(feat), 1).bernoulli_(keep) / keep)


class Block(nn.Module):
    """x += cpe(x); x += attention(norm x); x += mlp(norm x). Names and nesting are the official ones."""

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
        """[V, C] -> [V, C]"""
        conv, linear, norm = self.cpe
        feat = feat + norm(linear(conv(feat, layout.neighbors)))
        feat = feat + self.drop_path(self.attn(self.norm1(feat), layout, self.curve))
        return feat + self.drop_path(self.mlp(self.norm2(feat)))


class Embedding(nn.Module):
    """Linear, norm, GELU; a learned token takes the place of masked voxels."""

    def __init__(self, in_channels: int, channels: int, mask_token: bool) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"linear": nn.Linear(in_channels, channels), "norm": nn.LayerNorm(channels)})
        if mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, channels))

    def forward(self, feat: Tensor, mask: Tensor | None) -> Tensor:
        feat = functional.gelu(self.stem["norm"](self.stem["linear"](feat)))
        return feat if mask is None else torch.where(mask[:, None], self.mask_token.to(feat.dtype), feat)


class GridPooling(nn.Module):
    """Largest projected feature of the voxels that share a cell of a `stride` times coarser grid, then norm, GELU."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.proj = nn.Linear(in_channels, channels)
        self.norm = nn.Sequential(nn.LayerNorm(channels))

    def forward(self, feat: Tensor, inverse: Tensor, count: int) -> Tensor:
        """Feat [V, C], inverse int64 [V] in 0..count-1 -> [count, C']"""
        feat = self.proj(feat)
        index = inverse[:, None].expand_as(feat)
        feat = feat.new_zeros(count, feat.shape[1]).scatter_reduce(0, index, feat, "amax", include_self=False)
        return functional.gelu(self.norm(feat))
