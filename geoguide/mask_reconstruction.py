"""IMR, instance-level mask reconstruction: predict a whole instance from a random part of it."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoguide.errors import ConfigError
from geoguide.ops.cosine import unit
from geoguide.ops.segment import segment_mean


@dataclass(frozen=True)
class IMRConfig:
    """Options of IMR; each is a point that the paper leaves open."""

    pattern: Literal["points", "superpoints", "halfspace"] = "points"
    """Shape of the occlusion: random points, whole superpoints, or all points on one side of a random plane."""
    share: float = 0.5
    """Share of an instance that is occluded. Not stated."""
    masks_per_step: int = 32
    """Masks drawn per step (all when there are fewer). Not stated; bounds the P x M work."""
    temperature: float = 1.0
    """sigmoid(cos / temperature): as written 1, so predictions lie in [0.27, 0.73] and the loss has a floor."""
    learn_scale: bool = False
    """Learn temperature and an offset (as SigLIP does) from `temperature` on, instead of keeping them."""
    centre: bool = False
    """Subtract the scene's mean feature before the cosine. As written not: text-aligned features share a large common
    direction, so all cosines are high and the loss mainly fights that direction."""
    balance: Literal["none", "balanced"] = "none"
    """BCE over all points as written, or with the two classes of every mask weighted equally."""
    negatives: Literal["all", "unalike"] = "all"
    """As written every point outside the instance is a negative, the next chair too. `unalike` leaves out points whose
    own superpoint looks like the instance in 2D (cosine of pooled F_2d above `alike`)."""
    alike: float = 0.5
    """Threshold of `unalike` on the centred cosine of pooled F_2d."""

    def __post_init__(self) -> None:
        allowed = {
            "pattern": ("points", "superpoints", "halfspace"),
            "balance": ("none", "balanced"),
            "negatives": ("all", "unalike"),
        }
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ConfigError(f"imr.{field} must be one of {', '.join(values)}, found {getattr(self, field)!r}")
        if not 0.0 < self.share < 1.0:
            raise ConfigError(f"imr.share must lie between 0 and 1, found {self.share}")
        if self.temperature <= 0 or self.masks_per_step < 1:
            raise ConfigError(
                f"imr.temperature {self.temperature} and masks_per_step {self.masks_per_step} must be positive"
            )


def occlude(mask_of: Tensor, count: int, pattern: str, share: float, keys: Tensor) -> Tensor:
    """Which entries of the masks stay visible: bool [E] (paper, IMR: M̄_i).

    mask_of int64 [E]: mask of each (mask, point) entry. keys [E]: one uniform value per entry for `points`, one
    shared value per superpoint for `superpoints`. For `halfspace` keys are coordinates along a random direction.
    In every mask the entries with the lowest keys are occluded, `share` of them; at least one entry always stays.
    """
    if pattern not in ("points", "superpoints", "halfspace"):
        raise ConfigError(f"imr.pattern must be points, superpoints or halfspace, found {pattern!r}")
    order = torch.argsort(keys, stable=True)
    order = order[torch.argsort(mask_of[order], stable=True)]  # by mask, then by key
    size = torch.bincount(mask_of, minlength=count)  # [M]
    start = size.cumsum(0) - size
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - start[mask_of[order]]
    hidden = torch.minimum((size * share).long(), size - 1)
    if pattern == "superpoints":  # a superpoint straddling the cut goes with its first entry: keys tie within it
        cut_key = torch.full((count,), torch.inf, dtype=keys.dtype, device=keys.device)
        cut = order[(start + hidden).clamp_max(len(order) - 1)]
        cut_key[size > 0] = keys[cut[size > 0]]
        return keys >= cut_key[mask_of]
    return rank >= hidden[mask_of]


class _MaskBCE(torch.autograd.Function):
    """Mean BCE of sigmoid(scale · cos + offset) for every (mask, point) pair, in chunks of masks.

    Gradients are computed in the forward pass chunk by chunk, so no [M, P] tensor outlives its chunk: memory
    O(chunk P + P C), time O(M P C).
    """

    @staticmethod
    def forward(ctx, queries, features, target_of, weight_of, scale, offset, chunk):
        count = len(queries)
        grad_q, grad_f = torch.zeros_like(queries), torch.zeros_like(features)
        grad_scale, grad_offset = torch.zeros_like(scale), torch.zeros_like(offset)
        loss = features.new_zeros(())
        for begin in range(0, count, chunk):
            part = slice(begin, min(begin + chunk, count))
            cosine = queries[part] @ features.T  # [m, P]
            target = target_of(part)  # [m, P]
            weight = weight_of(part, target)
            logits = cosine * scale + offset
            loss += (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()
            residual = (logits.sigmoid() - target) * weight  # [m, P], d loss / d logits
            grad_scale += (residual * cosine).sum()
            grad_offset += residual.sum()
            residual = residual * scale
            grad_q[part] = residual @ features
            grad_f += residual.T @ queries[part]
        ctx.save_for_backward(grad_q, grad_f, grad_scale, grad_offset)
        return loss

    @staticmethod
    def backward(ctx, grad):
        grad_q, grad_f, grad_scale, grad_offset = ctx.saved_tensors
        return grad * grad_q, grad * grad_f, None, None, grad * grad_scale, grad * grad_offset, None


def mask_bce(
    queries: Tensor,
    features: Tensor,
    mask_of: Tensor,
    point_of: Tensor,
    *,
    scale: Tensor,
    offset: Tensor,
    balance: str = "none",
    ignore: Tensor | None = None,
    superpoints: Tensor | None = None,
    chunk: int = 16,
) -> Tensor:
    """L_mask = BCE(sigmoid(cos(F̄_i^mask, F_3d^sem)), M_i) over all points of the scene (paper, IMR).

    queries [M, C]; features [P, C]; entries (mask_of, point_of) int64 [E] are the true cells of M [M, P]. `ignore` bool
    [M, S] with superpoints int64 [P] leaves cells out. `balanced` gives the true and the false cells of each mask equal
    total weight. Mean over masks of the weighted mean over points. Memory O(chunk P), never [M, P] in full.
    """
    queries, features = unit(queries), unit(features)
    masks, points = len(queries), len(features)
    order = torch.argsort(mask_of, stable=True)
    bounds = torch.cumsum(torch.bincount(mask_of, minlength=masks), 0).tolist()
    point_sorted, mask_sorted = point_of[order], mask_of[order]

    def target_of(part: slice) -> Tensor:
        first = bounds[part.start - 1] if part.start else 0
        entries = slice(first, bounds[part.stop - 1])
        target = features.new_zeros((part.stop - part.start, points))
        target[mask_sorted[entries] - part.start, point_sorted[entries]] = 1
        return target

    def weight_of(part: slice, target: Tensor) -> Tensor:
        valid = torch.ones_like(target)
        if ignore is not None:
            valid = torch.where(ignore[part][:, superpoints] & (target == 0), 0.0, valid)
        if balance == "balanced":
            inside, outside = target * valid, (1 - target) * valid
            weight = 0.5 * inside / inside.sum(1, keepdim=True).clamp_min(1) + 0.5 * outside / outside.sum(
                1, keepdim=True
            ).clamp_min(1)
        else:
            weight = valid / valid.sum(1, keepdim=True).clamp_min(1)
        return weight / masks

    return _MaskBCE.apply(queries, features, target_of, weight_of, scale, offset, chunk)


class MaskReconstruction(nn.Module):
    """IMR with its linear layer (paper, IMR), which starts as the identity: at first the query is the part's mean."""

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
        """The features whose cosine is taken, [P, C]: F_3d^sem itself, or less the scene's mean direction."""
        if not self.config.centre:
            return semantic
        semantic = unit(semantic)
        return semantic - semantic.mean(0, keepdim=True)

    def queries(self, semantic: Tensor, mask_of: Tensor, point_of: Tensor, visible: Tensor, count: int) -> Tensor:
        """F̄_i^mask [M, C] from the visible entries of each mask."""
        pooled = segment_mean(semantic[point_of[visible]], mask_of[visible], count)
        return self.linear(pooled)

    def forward(
        self,
        semantic: Tensor,
        lifted: Tensor,
        seen: Tensor,
        superpoints: Tensor,
        superpoint_count: int,
        mask_of: Tensor,
        point_of: Tensor,
        count: int,
        visible: Tensor,
    ) -> Tensor:
        """L_mask of one scene: scalar. Masks are given as entries (mask_of, point_of) int64 [E]; visible bool [E]."""
        semantic = self.compared(semantic)
        queries = self.queries(semantic, mask_of, point_of, visible, count)
        ignore = None
        if self.config.negatives == "unalike":
            ignore = alike_superpoints(
                lifted, seen, superpoints, superpoint_count, mask_of, point_of, count, self.config.alike
            )
        return mask_bce(
            queries,
            semantic,
            mask_of,
            point_of,
            scale=self.log_scale.exp(),
            offset=self.offset,
            balance=self.config.balance,
            ignore=ignore,
            superpoints=superpoints,
        )


def alike_superpoints(
    lifted: Tensor,
    seen: Tensor,
    superpoints: Tensor,
    superpoint_count: int,
    mask_of: Tensor,
    point_of: Tensor,
    count: int,
    threshold: float,
) -> Tensor:
    """Which superpoints look like which instance in 2D: bool [M, S], centred cosine of pooled F_2d above `threshold`.

    Text and image features share a large common direction; without centring every pair looks alike.
    """
    weight = seen.to(lifted.dtype)
    centre = (lifted * weight.unsqueeze(-1)).sum(0) / weight.sum().clamp_min(1)
    by_mask = segment_mean(lifted[point_of], mask_of, count, weight[point_of]) - centre  # [M, C]
    by_superpoint = segment_mean(lifted, superpoints, superpoint_count, weight) - centre  # [S, C]
    return unit(by_mask) @ unit(by_superpoint).T > threshold
