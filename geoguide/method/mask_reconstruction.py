"""IMR, instance-level mask reconstruction: predict a whole instance from a random part of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields
from geoguide.method.batch import Batch
from geoguide.method.mask_blocks import Cells, block_mask_bce
from geoguide.ops.cosine import unit
from geoguide.ops.directions import unit_sums
from geoguide.ops.groups import Groups

PAIRS_AT_A_TIME = 2**18  # of a mask and a point: 1 MB a matrix, of which about ten are alive, still in the cache


@dataclass(frozen=True)
class IMRConfig:
    """Options of IMR; each is a point that the paper leaves open.

    Raises:
        ConfigError: A value that is not among those listed, or a number out of range.
    """

    pattern: Literal["points", "superpoints", "halfspace"] = "points"
    """Shape of the occlusion: random points, whole superpoints, or all points on one side of a random plane."""
    share: float = 0.5
    """Share of an instance that is occluded, between 0 and 1. Not stated."""
    masks_per_step: int = 32
    """Masks drawn per step (all when there are fewer). Not stated; bounds the P x M work."""
    temperature: float = 1.0
    """sigmoid(cos / temperature): as written 1, so predictions lie in [0.27, 0.73] and the loss has a floor."""
    learn_scale: bool = False
    """Learn the temperature (from the one given) and an offset (from 0), as SigLIP does, instead of keeping them."""
    centre: bool = False
    """Subtract the scene's mean feature before the cosine. Not done as written: text-aligned features share a large
    common direction, so all cosines are high and the loss mainly fights that direction."""
    balance: Literal["none", "balanced"] = "none"
    """`none`: BCE over all points alike, as written. `balanced`: the points inside and outside a mask weigh equally."""
    negatives: Literal["all", "unalike"] = "all"
    """`all`: every point outside the instance is a negative, the next chair too, as written. `unalike` leaves out
    points whose own superpoint looks like the instance in 2D (cosine of pooled F_2d above `alike`)."""
    alike: float = 0.5
    """Threshold of `unalike` on the centred cosine of pooled F_2d."""

    def __post_init__(self) -> None:
        check_fields(self, "imr")
        if not 0.0 < self.share < 1.0:
            raise ConfigError(f"imr.share must lie between 0 and 1, found {self.share}")
        if self.temperature <= 0 or self.masks_per_step < 1:
            found = f"temperature {self.temperature} and masks_per_step {self.masks_per_step}"
            raise ConfigError(f"imr.{found} must be positive")


def occlude(masks: Groups, pattern: str, share: float, keys: Tensor) -> Tensor:
    """Say which entries of the masks stay visible (paper, IMR: M̄_i).

    In every mask the entries with the lowest keys are occluded, `share` of them; at least one always stays.

    Args:
        masks: M masks with E entries in all.
        pattern: points, superpoints or halfspace. With superpoints, entries of one key are occluded together or not
            at all.
        share: Part of each mask that is occluded, between 0 and 1.
        keys: float [E], the order of a mask's entries: a random number for each entry (points), one random number for
            all points of a superpoint (superpoints), or the coordinate along a random direction (halfspace).

    Returns:
        bool [E], true where an entry stays visible.

    Raises:
        ConfigError: An unknown pattern.

    Example:
        >>> import torch
        >>> mask = Groups(group=torch.tensor([0, 0, 0, 0]), count=1, points=9, point=torch.tensor([2, 4, 5, 7]))
        >>> occlude(mask, "points", 0.5, keys=torch.tensor([0.1, 0.9, 0.8, 0.3])).tolist()
        [False, True, True, False]
    """
    if pattern not in ("points", "superpoints", "halfspace"):
        raise ConfigError(f"imr.pattern must be points, superpoints or halfspace, found {pattern!r}")
    order = torch.argsort(keys, stable=True)  # [E]
    order = order[torch.argsort(masks.group[order], stable=True)]  # by mask, then by key
    size = masks.sizes  # [M]
    start = size.cumsum(0) - size  # [M], of each mask in `order`
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - start[masks.group[order]]
    hidden = torch.minimum((size * share).long(), size - 1)  # [M]
    if pattern == "superpoints":  # a superpoint straddling the cut goes with its first entry: keys tie within it
        cut_key = torch.full((masks.count,), torch.inf, dtype=keys.dtype, device=keys.device)
        held = size > 0
        cut_key[held] = keys[order[(start + hidden)[held]]]
        return keys >= cut_key[masks.group]
    return rank >= hidden[masks.group]


_Cells = Callable[[slice], tuple[Tensor, Tensor]]  # masks of the slice -> target and weight of each point, [m, P] each


class _MaskBCE(torch.autograd.Function):
    """Weighted BCE of sigmoid(scale · cos + offset), summed over all (mask, point) pairs, in chunks of masks.

    Gradients are computed in the forward pass chunk by chunk, so no [M, P] tensor outlives its chunk: memory
    O(chunk P + P C), time O(M P C).
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, features: Tensor, cells: _Cells, scale: Tensor, offset: Tensor, chunk: int
    ) -> Tensor:
        count = len(queries)
        grad_q, grad_f = torch.zeros_like(queries), torch.zeros_like(features)
        grad_scale, grad_offset = torch.zeros_like(scale), torch.zeros_like(offset)
        loss = features.new_zeros(())
        for begin in range(0, count, chunk):
            part = slice(begin, min(begin + chunk, count))
            cosine = queries[part] @ features.T  # [m, P]
            target, weight = cells(part)  # [m, P] each
            logits = cosine * scale + offset
            loss += (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()
            residual = (logits.sigmoid() - target) * weight  # [m, P], d loss / d logits
            grad_scale += (residual * cosine).sum()
            grad_offset += residual.sum()
            residual = residual * scale
            grad_q[part] = residual @ features
            grad_f.addmm_(residual.T, queries[part])
        ctx.save_for_backward(grad_q, grad_f, grad_scale, grad_offset)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_q, grad_f, grad_scale, grad_offset = (grads[0] * own for own in ctx.saved_tensors)
        return grad_q, grad_f, None, grad_scale, grad_offset, None


def mask_bce(
    queries: Tensor,
    features: Tensor,
    masks: Groups,
    *,
    scale: Tensor,
    offset: Tensor,
    balance: str = "none",
    ignore: Tensor | None = None,
    superpoints: Groups | None = None,
    chunk: int | None = None,
) -> Tensor:
    """L_mask = BCE(sigmoid(cos(F̄_i^mask, F_3d^sem)), M_i) over all points of the scene (paper, IMR).

    Args:
        queries: F̄_i^mask, [M, C].
        features: F_3d^sem, [P, C].
        masks: M_i, M masks over the P points.
        scale: Scalar, 1 / temperature: the logit of a (mask, point) pair is scale cos + offset.
        offset: Scalar.
        balance: `none` weighs all points alike; `balanced` gives the points inside and outside each mask the same
            total weight.
        ignore: bool [M, S]: the points of superpoint s that lie outside mask m are left out where ignore[m, s] is true;
            None leaves out nothing.
        superpoints: The S superpoints over the P points; needed with `ignore`.
        chunk: Masks worked on at a time; None for as many as make `PAIRS_AT_A_TIME` pairs with the points, at least 1.

    Returns:
        Scalar, the mean over masks of the (weighted) mean over points. Memory O(chunk P + P C), never [M, P] in full
        for a large scene; time O(M P C). Once differentiable in queries, features, scale and offset.

    Raises:
        InputError: `ignore` without `superpoints`.

    Example:
        One mask of the first two of three points, with a query that equals their feature:

        >>> import torch
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
        >>> mask = Groups(group=torch.tensor([0, 0]), count=1, points=3, point=torch.tensor([0, 1]))
        >>> loss = mask_bce(features[:1], features, mask, scale=torch.tensor(1.0), offset=torch.tensor(0.0))
        >>> round(loss.item(), 4)  # -log sigmoid(1): without a temperature the loss cannot get lower
        0.3133
    """
    if ignore is not None and superpoints is None:
        raise InputError("mask_bce: `ignore` needs `superpoints`")
    queries, features = unit(queries), unit(features)
    points = len(features)
    order = torch.argsort(masks.group, stable=True)
    bounds = [0, *torch.cumsum(masks.sizes, 0).tolist()]  # of each mask among the sorted entries
    point_sorted, mask_sorted = masks.of_entries(torch.arange(points, device=order.device))[order], masks.group[order]

    def cells(part: slice) -> tuple[Tensor, Tensor]:
        entries = slice(bounds[part.start], bounds[part.stop])
        target = features.new_zeros((part.stop - part.start, points))  # [m, P]
        target[mask_sorted[entries] - part.start, point_sorted[entries]] = 1
        valid = torch.ones_like(target)
        if ignore is not None and superpoints is not None:
            valid = torch.where(ignore[part][:, superpoints.group] & (target == 0), 0.0, valid)
        if balance == "balanced":
            weight = 0.5 * (_shares(target * valid) + _shares((1 - target) * valid))
        else:
            weight = _shares(valid)
        return target, weight / masks.count

    chunk = max(1, PAIRS_AT_A_TIME // max(1, points)) if chunk is None else chunk
    return _MaskBCE.apply(queries, features, cells, scale, offset, chunk)


def _shares(chosen: Tensor) -> Tensor:
    """The weights of a mean over the cells that are 1 in each row of 0 and 1, [m, P]; rows of zeros stay 0."""
    return chosen / chosen.sum(1, keepdim=True).clamp_min(1)


class MaskReconstruction(nn.Module):
    """IMR with its linear layer (paper, IMR).

    The layer starts as the identity, so that at first a query is the mean feature of what is visible of the mask.

    Args:
        feature_width: C.
        config: Its options.
    """

    def __init__(self, feature_width: int, config: IMRConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(feature_width, feature_width)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        scale, offset = torch.tensor(1.0 / config.temperature).log(), torch.tensor(0.0)
        if config.learn_scale:
            self.log_scale, self.offset = nn.Parameter(scale), nn.Parameter(offset)
        else:
            self.register_buffer("log_scale", scale)
            self.register_buffer("offset", offset)

    def compared(self, semantic: Tensor) -> Tensor:
        """Return the features whose cosines are compared.

        Args:
            semantic: F_3d^sem, [P, C].

        Returns:
            [P, C]: `semantic` itself, or with `centre` its unit vectors less their mean.
        """
        if not self.config.centre:
            return semantic
        semantic = unit(semantic)
        return semantic - semantic.mean(0, keepdim=True)

    def queries(self, semantic: Tensor, visible: Groups) -> Tensor:
        """Predict each instance's feature from its visible part: F̄_i^mask (paper, IMR).

        Args:
            semantic: F_3d^sem as `compared` returns it, [P, C].
            visible: M̄_i, the M masks with their visible entries alone.

        Returns:
            [M, C], the linear layer of the mean over the visible points.
        """
        return self.linear(visible.mean(semantic))

    def forward(self, semantic: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """L_mask of one scene (paper, IMR).

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The P points with their masks and superpoints.
            generator: CPU generator; draws the masks of this step and what is occluded of them.

        Returns:
            The scalar `mask`; empty where the scene has no mask. Time O(m P C) for the m masks that are drawn.
        """
        if not batch.masks.count:
            return {}
        drawn = self._draw(batch.masks.count, generator)
        masks = batch.masks if drawn is None else batch.masks.take(drawn.to(batch.masks.group.device))
        visible = occlude(masks, self.config.pattern, self.config.share, self._keys(masks, batch, generator))
        scale, offset = self.log_scale.exp(), self.offset
        balance, regions = self.config.balance, batch.superpoints
        unalike = self.config.negatives == "unalike"
        ignore = alike_superpoints(batch, masks, self.config.alike, drawn) if unalike else None  # [M, S]
        if batch.is_large:
            cells = Cells.of(masks, regions, ignore, balance, semantic)
            queries, centre = self._block_queries(semantic, masks.where(visible))  # [M, C], [C]
            return {"mask": block_mask_bce(queries, semantic, centre, cells, scale=scale, offset=offset)}
        compared = self.compared(semantic)  # [P, C]
        queries = self.queries(compared, masks.where(visible))  # [M, C]
        loss = mask_bce(
            queries, compared, masks, scale=scale, offset=offset, balance=balance, ignore=ignore, superpoints=regions
        )
        return {"mask": loss}

    def _block_queries(self, semantic: Tensor, visible: Groups) -> tuple[Tensor, Tensor | None]:
        """Unit `queries` [M, C] without writing what is `compared`, and the centre [C] that it would be less."""
        if not self.config.centre:
            return unit(self.queries(semantic, visible)), None
        sums, total = unit_sums(semantic, visible)  # [M, C], [C]
        centre, sizes = total / len(semantic), visible.sizes.unsqueeze(-1)  # [C], [M, 1]
        pooled = sums / sizes.clamp_min(1) - centre * (sizes > 0)
        return unit(self.linear(pooled)), centre

    def _draw(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Draw `masks_per_step` of the masks, int64 [m]; None, for all in their order, when there are no more."""
        limit = self.config.masks_per_step
        return None if count <= limit else torch.randperm(count, generator=generator)[:limit]

    def _keys(self, masks: Groups, batch: Batch, generator: torch.Generator) -> Tensor:
        """The order of each mask's entries for its occlusion, float [E] (see `occlude`)."""
        device = masks.group.device
        if self.config.pattern == "halfspace":
            direction = torch.randn(masks.count, 3, generator=generator).to(device)  # [M, 3]
            return (masks.of_entries(batch.points) * masks.to_entries(direction)).sum(-1)
        if self.config.pattern == "superpoints":
            draw = torch.rand(batch.superpoints.count, generator=generator).to(device)  # [S]
            return masks.of_entries(batch.superpoints.to_entries(draw))
        return torch.rand(len(masks.group), generator=generator).to(device)


def alike_superpoints(batch: Batch, masks: Groups, threshold: float, drawn: Tensor | None = None) -> Tensor:
    """Say which superpoints look like which instance in 2D.

    Text and image features share a large common direction, so the mean feature of the seen points is subtracted first;
    otherwise every pair would look alike.

    Args:
        batch: The P points, with F_2d [P, C] and S superpoints.
        masks: M masks over these points.
        threshold: Cosine of the pooled, centred F_2d above which two regions look alike.
        drawn: int64 [M], which of the batch's masks these are, for its exact means; None: all of them.

    Returns:
        bool [M, S].
    """
    centre = batch.mean_of_scene()  # [C]
    if batch.exact is None:
        by_mask = masks.mean(batch.lifted, batch.seen.to(batch.lifted.dtype)) - centre  # [M, C]
    else:
        means = batch.exact.masks.lifted
        by_mask = (means if drawn is None else means[drawn.to(means.device)]) - centre  # [M, C]
    by_superpoint = batch.mean_lifted("superpoints") - centre  # [S, C]
    return unit(by_mask) @ unit(by_superpoint).T > threshold
