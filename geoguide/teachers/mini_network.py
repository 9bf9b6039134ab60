"""The network of the packaged 2D models: a small U-Net that gives every few pixels a code, and codes a feature.

Features are codes [r] times one matrix [r, C]: r numbers hold a pixel's feature, and its length comes from the r x r
Gram matrix (see `unit_codes`).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, SPREAD = 0.5, 0.25  # what colours in [0, 1] are normalised with: those of the rendered images, rounded


@dataclass(frozen=True)
class DenseNetConfig:
    """Sizes of the network.

    Attributes:
        stages: Channels at a half, a quarter, an eighth and so on of the image's resolution.
        blocks: Residual blocks of each stage.
        decoder: Channels of the way back up.
        code: r, the width of a code.
        width: C, the width of the text space.
        finest: Number of the stage at whose resolution the codes lie, from 0.
    """

    stages: tuple[int, ...] = (16, 32, 64, 96, 128)
    blocks: tuple[int, ...] = (0, 1, 1, 1, 1)
    decoder: int = 64
    code: int = 48
    finest: int = 2  # the stage at whose resolution the codes lie
    width: int = 384

    @property
    def stride(self) -> int:
        """Pixels between two codes."""
        return 2 ** (self.finest + 1)


class DenseNet(nn.Module):
    """Images to codes.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: DenseNetConfig) -> None:
        super().__init__()
        self.config = config
        before, stages = 3, []
        for channels, blocks in zip(config.stages, config.blocks, strict=True):
            stages.append(nn.Sequential(_unit(before, channels, 2), *(_Residual(channels) for _ in range(blocks))))
            before = channels
        self.stages = nn.ModuleList(stages)
        self.context = nn.Linear(before, config.decoder)
        self.sides = nn.ModuleList(
            nn.Conv2d(channels, config.decoder, 1) for channels in config.stages[config.finest :]
        )
        self.merge = nn.ModuleList(_unit(config.decoder, config.decoder, 1) for _ in config.stages[config.finest + 1 :])
        self.head = nn.Conv2d(config.decoder, config.code, 1)
        self.basis = nn.Parameter(torch.randn(config.code, config.width) / config.width**0.5)  # [r, C]

    def forward(self, images: Tensor) -> Tensor:
        """Encode images.

        Args:
            images: Float [B, 3, H, W], colours in [0, 1].

        Returns:
            Codes, float [B, r, H / stride, W / stride], rounded up.
        """
        x, kept = (images - MEAN) / SPREAD, []
        for stage in self.stages:
            x = stage(x)
            kept.append(x)
        y = self.sides[-1](x) + self.context(x.mean(dim=(2, 3)))[:, :, None, None]
        for level in reversed(range(len(self.merge))):
            side = self.sides[level](kept[level + self.config.finest])
            y = self.merge[level](F.relu(F.interpolate(y, side.shape[2:], mode="bilinear") + side))
        return self.head(y)


def channels_last(network: DenseNet) -> DenseNet:
    """Lay out a network's kernels as one core computes them fastest, as images of `torch.channels_last` want them.

    Args:
        network: It is changed.

    Returns:
        The network.
    """
    for weight in network.parameters():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return network


def unit_codes(codes: Tensor, basis: Tensor) -> Tensor:
    """Scale codes so that their features have unit length.

    Args:
        codes: Float [..., r].
        basis: Float [r, C].

    Returns:
        Float [..., r].
    """
    squared = ((codes @ (basis @ basis.T)) * codes).sum(dim=-1, keepdim=True)
    return codes / squared.clamp_min(1e-12).sqrt()


def _unit(before: int, after: int, stride: int) -> nn.Sequential:
    """Convolution 3 x 3, normalisation, activation."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    """A bottleneck with a shortcut: narrow 3 x 3 convolutions are what one core computes fastest."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // 2
        self.body = nn.Sequential(
            nn.Conv2d(channels, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True),
            nn.Conv2d(narrow, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Add what the body says. [B, D, h, w] in and out."""
        return F.relu(x + self.body(x))
