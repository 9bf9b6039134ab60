"""IIRC, inter-instance relation consistency: semantic similarities between regions must follow the geometric ones."""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields, unless
from geoguide.method.batch import Batch
from geoguide.ops.cosine import unit
from geoguide.ops.groups import Groups

MANY_REGIONS = 2**13  # more than any committed experiment compares: above it sums are taken in another order


@dataclass(frozen=True)
class IIRCConfig:
    """Options of IIRC; each is a point that the paper leaves open.

    Raises:
        ConfigError: A value that is not among those listed.
    """

    normalise: Literal["none", "l2"] = "none"
    """`none`: the matrices are F F^T of the raw pooled features, as written. `l2`: of unit vectors, so cosines."""
    scale: Literal["none", "norm", "centre", "standardise"] = "none"
    """The two matrices have different scales. `none` leaves them, as written: the loss then grows with the fourth power
    of the frozen features' length, so that no λ3 holds for two backbones. `norm` divides each by its mean diagonal, the
    regions' mean squared length, so that loss and gradient depend neither on length nor on width; `centre` subtracts
    the mean region first; `standardise` also divides each matrix by its root mean square (then 2 - 2 CKA)."""
    diagonal: bool = True
    """Keep each region's similarity with itself in the mean, as written."""
    levels: tuple[str, ...] = ("masks", "superpoints")
    """Which regions are compared; the paper sums both."""
    regions: int | None = field(default=None, metadata=unless("regions", None))
    """At most so many regions of each level are compared in a step, drawn at random; None: all of the batch, as
    written. For large scenes, whose regions are many."""
    geometry: Literal["true", "permuted"] = field(default="true", metadata=unless("geometry", "true"))
    """`permuted`, a control: in each step the regions exchange their geometric features at random, so that the loss
    keeps its form and size and says nothing of which regions are alike."""

    def __post_init__(self) -> None:
        check_fields(self, "iirc")
        if not self.levels or not set(self.levels) <= {"masks", "superpoints"}:
            raise ConfigError(f"iirc.levels must name masks and/or superpoints, found {self.levels!r}")
        if self.regions is not None and self.regions < 2:
            raise ConfigError(f"iirc.regions must be at least 2, found {self.regions}")


def prepare_regions(features: Tensor, config: IIRCConfig) -> Tensor:
    """Transform pooled features so that their Gram matrix F F^T is the similarity matrix of the given options.

    Args:
        features: [R, C], one row for each of R regions.
        config: Its options `normalise` and `scale`.

    Returns:
        F, [R, C].
    """
    if config.normalise == "l2":
        features = unit(features)
    if config.scale == "norm":
        return features * features.square().sum(1).mean().clamp_min(1e-16).rsqrt()
    if config.scale != "none":
        features = features - features.mean(0, keepdim=True)
    if config.scale == "standardise":  # root mean square of the entries of F F^T is |F^T F| / R
        small = features.T @ features if len(features) > features.shape[1] else features @ features.T
        features = features * (len(features) / small.norm().clamp_min(1e-8)).sqrt()
    return features


class _GramDistance(torch.autograd.Function):
    """|A A^T - B B^T|^2, once differentiable: as the difference D is symmetric, 4 D A is one product and not two."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        difference = torch.addmm(b @ b.T, a, a.T, beta=-1)  # [R, R]
        ctx.save_for_backward(a, b, difference)
        return difference.square().sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (a, b, difference), (grad,) = ctx.saved_tensors, grads
        signed = ((4 * grad, a), (-4 * grad, b))
        needed = zip(signed, ctx.needs_input_grad, strict=True)
        return tuple((difference @ own).mul_(factor) if wanted else None for (factor, own), wanted in needed)


class _FactorDistance(torch.autograd.Function):
    """|A^T A|^2 - 2 |A^T B|^2 + |B^T B|^2 in float64, whose gradient is 4 (A A^T A - B B^T A)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        small = a.T @ a, a.T @ b, b.T @ b  # [C, C], [C, C1], [C1, C1]
        ctx.save_for_backward(a, b, *small)
        aa, ab, bb = (matrix.double().square().sum() for matrix in small)
        ctx.negative = aa - 2 * ab + bb < 0
        return (aa - 2 * ab + bb).clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        a, b, aa, ab, bb = ctx.saved_tensors
        factor = torch.where(ctx.negative, 0.0, 4 * grads[0]).to(a.dtype)
        pulls = []
        for needed, own, other, square, mixed in ((0, a, b, aa, ab.T), (1, b, a, bb, ab)):
            wanted = ctx.needs_input_grad[needed]
            pulls.append((own @ square).addmm_(other, mixed, alpha=-1).mul_(factor) if wanted else None)
        return tuple(pulls)


def relation_loss(semantic: Tensor, geometry: Tensor, config: IIRCConfig) -> Tensor:
    """MSE(P_sim^G, P_sim^sem) over all pairs of R regions (paper, IIRC).

    For R above the feature widths the R x R matrices are never formed: |A A^T - B B^T|^2 = |A^T A|^2 - 2 |A^T B|^2 +
    |B^T B|^2, which costs O(R C^2) time and O(C^2) memory; below it the R x R difference is smaller and exact.

    Args:
        semantic: F_3d^sem pooled per region, [R, C].
        geometry: F_3d^G pooled per region, [R, C1].
        config: How the matrices are made comparable, and whether their diagonals count.

    Returns:
        Scalar; 0 where there is no pair.

    Raises:
        InputError: Not two matrices of the same number of rows.

    Example:
        The similarity matrices of two regions, [[1, 0], [0, 1]] and [[1, 1], [1, 1]], differ in two of four entries:

        >>> import torch
        >>> semantic, geometry = torch.eye(2), torch.tensor([[1.0], [1.0]])
        >>> relation_loss(semantic, geometry, IIRCConfig()).item()
        0.5
    """
    if semantic.dim() != 2 or geometry.dim() != 2 or len(semantic) != len(geometry):
        found = f"{list(semantic.shape)} and {list(geometry.shape)}"
        raise InputError(f"relation_loss takes [R, C] and [R, C1], found {found}")
    regions = len(semantic)
    pairs = regions * regions if config.diagonal else regions * (regions - 1)
    if pairs == 0:
        return semantic.sum() * 0.0
    a, b = prepare_regions(semantic, config), prepare_regions(geometry, config)
    if regions <= max(a.shape[1], b.shape[1]):
        total = _GramDistance.apply(a, b)
    elif regions > MANY_REGIONS:
        total = _FactorDistance.apply(a, b)
    else:  # float64 sums: the three large terms cancel
        aa, ab, bb = ((x.T @ y).double().square().sum() for x, y in ((a, a), (a, b), (b, b)))
        total = (aa - 2 * ab + bb).clamp_min(0)
    if not config.diagonal:
        total = total - (a.square().sum(1) - b.square().sum(1)).square().sum().to(total.dtype)
    return (total / pairs).to(semantic.dtype)


class RelationConsistency(nn.Module):
    """IIRC (paper, IIRC); it has no parameters of its own.

    Args:
        config: Its options.
    """

    def __init__(self, config: IIRCConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, semantic: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """L_sim of one scene, by level (paper, IIRC).

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The P points, with geometry [P, C1], masks and superpoints.
            generator: CPU generator; draws the regions of this step where there are more than `regions` allows, and
                who exchanges features with whom where geometry is `permuted`.

        Returns:
            The scalars `sim_masks` and `sim_superpoints`, as far as `levels` names them.
        """
        losses = {}
        for level in sorted(self.config.levels):
            regions: Groups = getattr(batch, level)
            pooled, geometric = regions.mean(semantic), batch.mean_geometry(level)  # [R, C], [R, C1]
            limit = self.config.regions
            if limit is not None and regions.count > limit:
                drawn = torch.randperm(regions.count, generator=generator)[:limit].to(semantic.device)
                pooled, geometric = pooled[drawn], geometric[drawn]
            if self.config.geometry == "permuted":
                geometric = geometric[torch.randperm(len(geometric), generator=generator).to(semantic.device)]
            losses[f"sim_{level}"] = relation_loss(pooled, geometric, self.config)
        return losses


def similarity_matrices(semantic: Tensor, geometry: Tensor, config: IIRCConfig) -> tuple[Tensor, Tensor]:
    """Compute the two matrices that IIRC compares, for showing them (few regions only: O(R^2) memory).

    Args:
        semantic: F_3d^sem pooled per region, [R, C].
        geometry: F_3d^G pooled per region, [R, C1].
        config: How the matrices are made comparable.

    Returns:
        P_sim^sem and P_sim^G, [R, R] each.
    """
    a, b = prepare_regions(semantic, config), prepare_regions(geometry, config)
    return a @ a.T, b @ b.T
