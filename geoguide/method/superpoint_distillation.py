"""USD, uncertainty-based superpoint distillation: each point's 2D feature is weighed before it is pooled."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError
from geoguide.method.batch import Batch
from geoguide.ops.cosine import cosine_distance, unit
from geoguide.ops.groups import Groups


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


def reliability_input(batch: Batch) -> Tensor:
    """concat[(S_3d^G - F_3d^G); (S_2d - F_2d)], what the MLP of W reads (paper, USD).

    Args:
        batch: P points with geometry [P, C1] and lifted [P, C].

    Returns:
        [P, C1 + C]. S_2d averages the seen points only; the second half is zero where a point has no 2D feature.
    """
    superpoints = batch.superpoints
    mean_geometry = superpoints.mean(batch.geometry)  # [S, C1]
    mean_lifted = superpoints.mean(batch.lifted, batch.seen.to(batch.lifted.dtype))  # [S, C]
    deviation_2d = (superpoints.to_entries(mean_lifted) - batch.lifted) * batch.seen.unsqueeze(-1)  # [P, C]
    return torch.cat([superpoints.to_entries(mean_geometry) - batch.geometry, deviation_2d], dim=-1)


def normalise_weights(scores: Tensor, batch: Batch, how: str) -> Tensor:
    """From what the MLP says to the pooling weights W (paper, USD; the activation is not stated).

    Args:
        scores: [P], the MLP's output.
        batch: The points' superpoints, and which of them are seen.
        how: sigmoid, softmax (sums to 1 over the seen points of a superpoint), raw or uniform.

    Returns:
        [P]; 0 where unseen.

    Raises:
        ConfigError: `how` is none of these.
    """
    if how == "uniform":
        return batch.seen.to(scores.dtype)
    if how == "softmax":
        return batch.superpoints.softmax(scores.masked_fill(~batch.seen, -1e4)) * batch.seen
    if how == "sigmoid":
        return scores.sigmoid() * batch.seen
    if how == "raw":
        return scores * batch.seen
    raise ConfigError(f"usd.weight must be sigmoid, softmax, raw or uniform, found {how!r}")


def refine(lifted: Tensor, weights: Tensor, superpoints: Groups) -> Tensor:
    """Weighted pooling of F_2d inside each superpoint: S̄_2d (paper, USD).

    Args:
        lifted: F_2d, [P, C].
        weights: W, [P], of either sign.
        superpoints: S groups of the P points.

    Returns:
        [S, C]. The divisor is the sum of |W|, so raw weights of either sign cannot blow it up.
    """
    total = superpoints.sum(lifted, weights)  # [S, C]
    mass = superpoints.sum(weights.abs()).unsqueeze(-1)  # [S, 1]
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

    def weights(self, batch: Batch) -> Tensor:
        """W, the pooling weight of every point (paper, USD): [P]; 0 where unseen."""
        if self.reliability is None:
            return batch.seen.to(batch.lifted.dtype)
        return normalise_weights(self.reliability(reliability_input(batch)), batch, self.config.weight)

    def forward(self, semantic: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The terms of L_sp, and the weights' own loss where they are trained apart.

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The P points.
            generator: CPU; splits the points in two at random where `supervision` is `held_out`.

        Returns:
            Scalars `superpoint` and `point`, and with `held_out` also `reliability`. O(P (C1 + C)) time and memory.
        """
        superpoints, seen = batch.superpoints, batch.seen
        half = self._half(len(semantic), generator).to(semantic.device)
        free = self.weights(batch)  # [P]
        weights = free if self.config.supervision == "student" else free.detach()
        refined = refine(batch.lifted, weights, superpoints)  # [S, C]
        has_target = superpoints.sum(seen.to(batch.lifted.dtype)) > 0  # [S]
        pool = weights.detach().abs() + 1e-6 if self.config.student_pooling == "weighted" else None
        pooled = superpoints.mean(semantic, pool)  # [S, C]
        losses = {"superpoint": masked_mean(cosine_distance(pooled, refined), has_target)}

        of_point = superpoints.to_entries(refined)  # [P, C]
        target, supervised = batch.lifted if self.config.point_target == "lifted" else of_point, seen
        if self.config.unseen == "refined":
            target = torch.where(seen.unsqueeze(-1), target, of_point)
            supervised = superpoints.to_entries(has_target)
        losses["point"] = masked_mean(cosine_distance(semantic, target), supervised)
        if self.config.supervision == "held_out" and self.reliability is not None:
            losses["reliability"] = self._held_out(batch, free, half)
        return losses

    def _half(self, count: int, generator: torch.Generator) -> Tensor:
        """A random half of the points, bool [P]; nothing is drawn where it is not needed."""
        if self.config.supervision != "held_out":
            return torch.zeros(count, dtype=torch.bool)
        return torch.rand(count, generator=generator) < 0.5

    def _held_out(self, batch: Batch, weights: Tensor, half: Tensor) -> Tensor:
        """Distance between the refined feature of one half of each superpoint and the 2D features of the other half.

        The other half's errors are drawn anew, so its plain mean is what an unbiased pooling should predict: the target
        does not depend on W or on the student, and cannot be made easy.
        """
        kind = batch.lifted.dtype
        first = refine(batch.lifted, weights * half, batch.superpoints)  # [S, C]
        one, other = (batch.seen & half).to(kind), (batch.seen & ~half).to(kind)  # [P]
        second = batch.superpoints.mean(unit(batch.lifted), other)  # [S, C]
        both = (batch.superpoints.sum(one) > 0) & (batch.superpoints.sum(other) > 0)
        return masked_mean(cosine_distance(first, second), both)


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean over the true entries; 0 (with gradient) when there are none."""
    return (values * where).sum() / where.sum().clamp_min(1)
