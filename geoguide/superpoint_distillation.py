"""USD, uncertainty-based superpoint distillation: each point's 2D feature is weighed before it is pooled."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError, InputError
from geoguide.ops.cosine import cosine_distance, unit
from geoguide.ops.segment import segment_mean, segment_softmax, segment_sum


@dataclass(frozen=True)
class USDConfig:
    """Options of USD; each is a point that the paper leaves open."""

    weight: Literal["sigmoid", "softmax", "raw", "uniform"] = "sigmoid"
    """Activation of W. Not stated; a reliability lies in [0, 1]. `uniform` is plain mean pooling, the control."""
    supervision: Literal["student", "held_out", "none"] = "student"
    """What trains the MLP of W. As written only L_sp can (`student`: the gradient flows into the target). `held_out`:
    the pooled half of a superpoint must predict the 2D features of its other half. `none`: W stays as it is."""
    point_target: Literal["lifted", "refined"] = "lifted"
    """Target of the point-level loss: F_2d, or the refined superpoint feature broadcast to its points. Not stated."""
    unseen: Literal["skip", "refined"] = "skip"
    """Points no camera sees: left out of the point-level loss, or given their superpoint's refined feature."""
    student_pooling: Literal["mean", "weighted"] = "mean"
    """How F_3d^sem is pooled for the superpoint-level loss. Not stated."""
    hidden: int = 64
    """Width of the MLP of W. Not stated."""

    def __post_init__(self) -> None:
        allowed = {
            "weight": ("sigmoid", "softmax", "raw", "uniform"),
            "supervision": ("student", "held_out", "none"),
            "point_target": ("lifted", "refined"),
            "unseen": ("skip", "refined"),
            "student_pooling": ("mean", "weighted"),
        }
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ConfigError(f"usd.{field} must be one of {', '.join(values)}, found {getattr(self, field)!r}")


def reliability_input(geometry: Tensor, lifted: Tensor, superpoints: Tensor, count: int, seen: Tensor) -> Tensor:
    """concat[(S_3d^G - F_3d^G); (S_2d - F_2d)] (paper, USD).

    geometry [P, C1], lifted [P, C], superpoints int64 [P], seen bool [P] -> [P, C1 + C]; S_2d averages the seen points
    only and the second half is zero where a point has no 2D feature.
    """
    if lifted.shape[:1] != geometry.shape[:1] or seen.shape != superpoints.shape:
        raise InputError(
            f"geometry {list(geometry.shape)}, lifted {list(lifted.shape)}, superpoints {list(superpoints.shape)} and "
            f"seen {list(seen.shape)} must agree in their first axis"
        )
    mean_geometry = segment_mean(geometry, superpoints, count)  # [S, C1]
    mean_lifted = segment_mean(lifted, superpoints, count, seen.to(lifted.dtype))  # [S, C]
    deviation_2d = (mean_lifted[superpoints] - lifted) * seen.unsqueeze(-1)  # [P, C]
    return torch.cat([mean_geometry[superpoints] - geometry, deviation_2d], dim=-1)


def normalise_weights(scores: Tensor, superpoints: Tensor, count: int, seen: Tensor, how: str) -> Tensor:
    """MLP output [P] -> pooling weights [P]; unseen points weigh 0. `softmax` sums to 1 over the seen points."""
    if how == "uniform":
        return seen.to(scores.dtype)
    if how == "softmax":
        return segment_softmax(scores.masked_fill(~seen, -1e4), superpoints, count) * seen
    if how == "sigmoid":
        return scores.sigmoid() * seen
    if how == "raw":
        return scores * seen
    raise ConfigError(f"usd.weight must be sigmoid, softmax, raw or uniform, found {how!r}")


def refine(lifted: Tensor, weights: Tensor, superpoints: Tensor, count: int) -> Tensor:
    """Weighted pooling of F_2d inside each superpoint: S̄_2d [S, C] (paper, USD).

    lifted [P, C], weights [P]. The divisor is the sum of |W|, so raw weights of either sign cannot blow it up.
    """
    total = segment_sum(lifted * weights.unsqueeze(-1), superpoints, count)  # [S, C]
    mass = segment_sum(weights.abs(), superpoints, count).unsqueeze(-1)  # [S, 1]
    return total / mass.clamp_min(1e-6)


class Reliability(nn.Module):
    """The MLP of W: [P, C1 + C] -> score [P]. Its last layer starts at zero, so training starts from mean pooling."""

    def __init__(self, geometry_width: int, feature_width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(geometry_width + feature_width, hidden), nn.GELU(), nn.Linear(hidden, 1))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, deviations: Tensor) -> Tensor:
        return self.layers(deviations).squeeze(-1)


class SuperpointDistillation(nn.Module):
    """USD with its reliability MLP (paper, USD)."""

    def __init__(self, geometry_width: int, feature_width: int, config: USDConfig) -> None:
        super().__init__()
        self.config = config
        self.reliability = None
        if config.weight != "uniform":
            self.reliability = Reliability(geometry_width, feature_width, config.hidden)
            if config.weight == "raw":  # zero weights have no direction: start at the mean instead
                nn.init.ones_(self.reliability.layers[-1].bias)

    def weights(self, geometry: Tensor, lifted: Tensor, superpoints: Tensor, count: int, seen: Tensor) -> Tensor:
        """Pooling weight of every point, [P]; 0 where unseen."""
        if self.reliability is None:
            return seen.to(lifted.dtype)
        scores = self.reliability(reliability_input(geometry, lifted, superpoints, count, seen))
        return normalise_weights(scores, superpoints, count, seen, self.config.weight)

    def forward(
        self,
        semantic: Tensor,
        geometry: Tensor,
        lifted: Tensor,
        superpoints: Tensor,
        count: int,
        seen: Tensor,
        half: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """L_sp's two terms, and the weights' own loss when they have one.

        semantic [P, C] (F_3d^sem), geometry [P, C1], lifted [P, C], superpoints int64 [P], seen bool [P]; half bool [P]
        splits the points at random for `held_out`. Returns scalars `superpoint`, `point` and, if trained apart,
        `reliability`. Cost O(P (C1 + C)) time and memory.
        """
        weights = self.weights(geometry, lifted, superpoints, count, seen)  # [P]
        if self.config.supervision != "student":
            free, weights = weights, weights.detach()
        refined = refine(lifted, weights, superpoints, count)  # [S, C]
        has_target = segment_sum(seen.to(lifted.dtype), superpoints, count) > 0  # [S]
        pool = weights.detach().abs() + 1e-6 if self.config.student_pooling == "weighted" else None
        pooled = segment_mean(semantic, superpoints, count, pool)  # [S, C]
        losses = {"superpoint": masked_mean(cosine_distance(pooled, refined), has_target)}

        target = lifted if self.config.point_target == "lifted" else refined[superpoints]  # [P, C]
        supervised = seen
        if self.config.unseen == "refined":
            target = torch.where(seen.unsqueeze(-1), target, refined[superpoints])
            supervised = has_target[superpoints]
        losses["point"] = masked_mean(cosine_distance(semantic, target), supervised)
        if self.config.supervision == "held_out" and self.reliability is not None:
            losses["reliability"] = self._held_out(lifted, free, superpoints, count, seen, half)
        return losses

    def _held_out(
        self, lifted: Tensor, weights: Tensor, superpoints: Tensor, count: int, seen: Tensor, half: Tensor | None
    ) -> Tensor:
        """Distance between the refined feature of one half of each superpoint and the 2D features of the other half.

        The other half's errors are drawn anew, so its plain mean is what an unbiased pooling should predict: the target
        does not depend on W or on the student, and cannot be made easy.
        """
        if half is None:
            raise InputError("usd.supervision 'held_out' needs `half`, a random split of the points")
        first = refine(lifted, weights * half, superpoints, count)  # [S, C]
        other = (seen & ~half).to(lifted.dtype)
        second = segment_mean(unit(lifted), superpoints, count, other)  # [S, C]
        both = (segment_sum((seen & half).to(lifted.dtype), superpoints, count) > 0) & (
            segment_sum(other, superpoints, count) > 0
        )
        return masked_mean(cosine_distance(first, second), both)


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean over the true entries; 0 (with gradient) when there are none."""
    return (values * where).sum() / where.sum().clamp_min(1)
