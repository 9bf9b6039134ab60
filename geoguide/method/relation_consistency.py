"""IIRC, inter-instance relation consistency: semantic similarities between regions must follow the geometric ones."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError, InputError
from geoguide.method.batch import Batch
from geoguide.ops.cosine import unit
from geoguide.ops.groups import Groups


@dataclass(frozen=True)
class IIRCConfig:
    """Options of IIRC; each is a point that the paper leaves open."""

    normalise: Literal["none", "l2"] = "none"
    """As written the matrices are F F^T of raw pooled features; `l2` makes them cosines."""
    scale: Literal["none", "centre", "standardise"] = "none"
    """The two matrices live on different scales. `centre` subtracts the mean region first, `standardise` also divides
    each matrix by its root mean square (the loss is then 2 - 2 CKA)."""
    diagonal: bool = True
    """Keep each region's similarity with itself in the mean, as written."""
    levels: tuple[str, ...] = ("masks", "superpoints")
    """Which regions are compared; the paper sums both."""

    def __post_init__(self) -> None:
        if self.normalise not in ("none", "l2"):
            raise ConfigError(f"iirc.normalise must be none or l2, found {self.normalise!r}")
        if self.scale not in ("none", "centre", "standardise"):
            raise ConfigError(f"iirc.scale must be none, centre or standardise, found {self.scale!r}")
        if not self.levels or not set(self.levels) <= {"masks", "superpoints"}:
            raise ConfigError(f"iirc.levels must name masks and/or superpoints, found {self.levels!r}")


def prepare_regions(features: Tensor, normalise: str, scale: str) -> Tensor:
    """Pooled features [R, C] -> features whose Gram matrix F F^T is the similarity matrix of the given options."""
    if normalise == "l2":
        features = unit(features)
    if scale != "none":
        features = features - features.mean(0, keepdim=True)
    if scale == "standardise":  # root mean square of the entries of F F^T is |F^T F| / R
        small = features.T @ features if len(features) > features.shape[1] else features @ features.T
        features = features * (len(features) / small.norm().clamp_min(1e-8)).sqrt()
    return features


def relation_loss(semantic: Tensor, geometry: Tensor, config: IIRCConfig) -> Tensor:
    """MSE(P_sim^G, P_sim^sem) over all pairs of R regions (paper, IIRC).

    semantic [R, C], geometry [R, C1], both pooled per region. For R above the feature width the R x R matrices are
    never formed: |A A^T - B B^T|^2 = |A^T A|^2 - 2 |A^T B|^2 + |B^T B|^2, which costs O(R C^2) time and O(C^2) memory;
    below it the R x R difference is smaller and exact.
    """
    if semantic.dim() != 2 or geometry.dim() != 2 or len(semantic) != len(geometry):
        raise InputError(
            f"relation_loss takes [R, C] and [R, C1], found {list(semantic.shape)} and {list(geometry.shape)}"
        )
    regions = len(semantic)
    pairs = regions * regions if config.diagonal else regions * (regions - 1)
    if pairs == 0:
        return semantic.sum() * 0.0
    a = prepare_regions(semantic, config.normalise, config.scale)
    b = prepare_regions(geometry, config.normalise, config.scale)
    if regions <= max(a.shape[1], b.shape[1]):
        difference = a @ a.T - b @ b.T  # [R, R]
        total = difference.square().sum()
    else:  # float64 sums: the three large terms cancel
        total = (
            (a.T @ a).double().square().sum()
            - 2 * (a.T @ b).double().square().sum()
            + (b.T @ b).double().square().sum()
        ).clamp_min(0)
    if not config.diagonal:
        total = total - (a.square().sum(1) - b.square().sum(1)).square().sum().to(total.dtype)
    return (total / pairs).to(semantic.dtype)


class RelationConsistency(nn.Module):
    """IIRC (paper, IIRC); it has no parameters of its own."""

    def __init__(self, config: IIRCConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, semantic: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms of L_sim.

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The P points, with geometry [P, C1], masks and superpoints.
            generator: Not drawn from; every module is called alike.

        Returns:
            Scalars `sim_masks` and `sim_superpoints`, those that `levels` names.
        """
        losses = {}
        for level in ("masks", "superpoints"):
            if level in self.config.levels:
                regions: Groups = getattr(batch, level)
                pooled, geometric = regions.mean(semantic), regions.mean(batch.geometry)  # [R, C], [R, C1]
                losses[f"sim_{level}"] = relation_loss(pooled, geometric, self.config)
        return losses


def similarity_matrices(semantic: Tensor, geometry: Tensor, config: IIRCConfig) -> tuple[Tensor, Tensor]:
    """The two matrices that IIRC compares, [R, R] each, for looking at (few regions only: R^2 memory)."""
    a = prepare_regions(semantic, config.normalise, config.scale)
    b = prepare_regions(geometry, config.normalise, config.scale)
    return a @ a.T, b @ b.T
