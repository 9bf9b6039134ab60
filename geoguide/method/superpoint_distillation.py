"""USD, uncertainty-based superpoint distillation: each point's 2D feature is weighed before it is pooled."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError
from geoguide.frozen import check_fields, unless
from geoguide.method.batch import Batch
from geoguide.method.distillation import masked_mean
from geoguide.ops.cosine import cosine_distance, unit
from geoguide.ops.directions import distance_to_group
from geoguide.ops.groups import Groups
from geoguide.ops.segment import over_mass


@dataclass(frozen=True)
class USDConfig:
    """Options of USD; each is a point that the paper leaves open.

    Raises:
        ConfigError: A value that is not among those listed, or a width below 1.
    """

    weight: Literal["sigmoid", "softmax", "raw", "uniform"] = "sigmoid"
    """Activation of W. Not stated; a reliability lies in [0, 1]. `uniform` is plain mean pooling, the control."""
    supervision: Literal["student", "held_out", "none"] = "student"
    """What trains the MLP of W. `student`: L_sp, whose gradient flows into the target; as written nothing else can.
    `held_out`: the pooled half of a superpoint must predict the 2D features of its other half, of which W's own input
    tells something (its S_2d is the mean of both halves). `none`: W stays as it was initialised."""
    point_target: Literal["lifted", "refined"] = "lifted"
    """Target of the point-level loss: F_2d, or the refined superpoint feature broadcast to its points. Not stated."""
    unseen: Literal["skip", "refined"] = "skip"
    """Points that no camera sees: left out of the point-level loss, or given their superpoint's refined feature."""
    student_pooling: Literal["mean", "weighted"] = "mean"
    """How F_3d^sem is pooled for the superpoint-level loss: plain mean, or weighted by |W|. Not stated."""
    hidden: int = 64
    """Width of the MLP of W. Not stated."""
    standardise: bool = field(default=False, metadata=unless("standardise", False))
    """Divide each half of the input of W's MLP by its root mean square over the first training batches. Not stated, and
    not done as written: on the mini backbone the 3D half is then 24 times as large as the 2D half, and drowns it."""

    def __post_init__(self) -> None:
        check_fields(self, "usd")
        if self.hidden < 1:
            raise ConfigError(f"usd.hidden must be at least 1, found {self.hidden}")


def reliability_input(batch: Batch) -> Tensor:
    """concat[(S_3d^G - F_3d^G); (S_2d - F_2d)], the input of the MLP of W (paper, USD).

    Args:
        batch: The P points, with geometry [P, C1] and lifted [P, C].

    Returns:
        [P, C1 + C]. S_2d averages the seen points only; the last C channels are 0 where a point has no 2D feature.
    """
    superpoints = batch.superpoints
    mean_geometry, mean_lifted = batch.mean_geometry("superpoints"), batch.mean_lifted("superpoints")  # [S, C1], [S, C]
    deviation_2d = (superpoints.to_entries(mean_lifted) - batch.lifted) * batch.seen.unsqueeze(-1)  # [P, C]
    return torch.cat([superpoints.to_entries(mean_geometry) - batch.geometry, deviation_2d], dim=-1)


def normalise_weights(scores: Tensor, batch: Batch, how: str) -> Tensor:
    """Turn the output of the MLP into the pooling weights W; the activation is not stated (paper, USD).

    Args:
        scores: [P], the MLP's output.
        batch: The P points: their superpoints, and which of them are seen.
        how: sigmoid, softmax (sums to 1 over the seen points of a superpoint), raw, or uniform (1 for seen points,
            whatever the scores).

    Returns:
        W, [P]; 0 where unseen.

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
    """Pool F_2d inside each superpoint by weights: S̄_2d (paper, USD).

    Args:
        lifted: F_2d, [P, C].
        weights: W, [P], of either sign.
        superpoints: S groups, a partition of the P points.

    Returns:
        S̄_2d, [S, C]: the weighted sum divided by the sum of |W|, so that raw weights of either sign cannot blow it up;
        0 where all weights are 0.

    Example:
        >>> import torch
        >>> lifted = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> refine(lifted, torch.tensor([3.0, 1.0, 2.0]), Groups.partition(torch.tensor([0, 0, 1]))).tolist()
        [[0.75, 0.25], [1.0, 1.0]]
    """
    total = superpoints.sum(lifted, weights)  # [S, C]
    mass = superpoints.sum(weights.abs()).unsqueeze(-1)  # [S, 1]
    return total / mass.clamp_min(1e-6)


class Reliability(nn.Module):
    """The MLP of W (paper, USD).

    The weights of its last layer start at zero, so that all points start with one score and training starts from mean
    pooling.

    Args:
        geometry_width: C1.
        feature_width: C.
        hidden: Width of the hidden layer.
        start: The score of every point at first.
    """

    def __init__(self, geometry_width: int, feature_width: int, hidden: int, start: float = 0.0) -> None:
        super().__init__()
        first, last = nn.Linear(geometry_width + feature_width, hidden), nn.Linear(hidden, 1)
        self.layers = nn.Sequential(first, nn.GELU(), last)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, start)

    def forward(self, batch: Batch, scales: Tensor | None = None) -> Tensor:
        """Score each point by `reliability_input`.

        The first layer is linear: it is applied to means and features, and the deviations of the results are taken,
        which never writes the [P, C1 + C] matrix.

        Args:
            batch: The P points.
            scales: By what the 3D and the 2D half of the input are divided, float [2]; None for 1.

        Returns:
            [P], any real number.
        """
        first, activation, last = self.layers
        assert isinstance(first, nn.Linear)
        halves = torch.split(first.weight, _widths(batch), dim=1)  # [hidden, C1], [hidden, C]
        if scales is not None:
            halves = tuple(half / scale for half, scale in zip(halves, scales, strict=True))
        spread = batch.superpoints.to_entries
        in_3d = spread(batch.mean_geometry("superpoints") @ halves[0].T) - batch.geometry @ halves[0].T  # [P, hidden]
        in_2d = spread(batch.mean_lifted("superpoints") @ halves[1].T) - batch.lifted @ halves[1].T  # [P, hidden]
        return last(activation(in_3d + in_2d * batch.seen.unsqueeze(-1) + first.bias)).squeeze(-1)


class SuperpointDistillation(nn.Module):
    """USD with its reliability MLP (paper, USD).

    Args:
        geometry_width: C1.
        feature_width: C.
        config: Its options. With weight `uniform` there is no MLP.

    Attributes:
        scales: With `standardise`, by what the 3D and the 2D half of the MLP's input are divided, float [2].
    """

    scales: Tensor | None

    def __init__(self, geometry_width: int, feature_width: int, config: USDConfig) -> None:
        super().__init__()
        self.config = config
        self.reliability = None
        if config.weight != "uniform":
            # Raw scores are the weights: 0 everywhere would pool nothing.
            start = 1.0 if config.weight == "raw" else 0.0
            self.reliability = Reliability(geometry_width, feature_width, config.hidden, start)
        # A buffer, so that a training that goes on from a checkpoint divides as before.
        self.register_buffer("scales", torch.ones(2) if config.standardise and self.reliability is not None else None)

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set `scales` to the root mean square of each half of the MLP's input; 1 for a half that is 0 everywhere.

        Args:
            batches: Training batches. Points without a 2D feature say nothing of the second half.
        """
        if self.scales is None:
            return
        squares, counts = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        for batch in batches:
            halves = reliability_input(batch).double().square().sum(0).cpu().split(_widths(batch))
            squares += torch.stack([half.sum() for half in halves])
            counts += torch.tensor([len(batch), int(batch.seen.sum())]) * torch.tensor(_widths(batch))
        found = (squares / counts.clamp_min(1)).sqrt()
        self.scales.copy_(torch.where(found > 0, found, 1.0))

    def weights(self, batch: Batch) -> Tensor:
        """Compute W, the pooling weight of every point (paper, USD).

        Args:
            batch: The P points.

        Returns:
            W, [P]; 0 where unseen.
        """
        if self.reliability is None:
            return batch.seen.to(batch.lifted.dtype)
        return normalise_weights(self.reliability(batch, self.scales), batch, self.config.weight)

    def forward(self, semantic: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The two terms of L_sp, and with `held_out` the loss of W's MLP (paper, USD).

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The P points.
            generator: CPU generator; with `held_out` it splits the points into two random halves.

        Returns:
            The scalars `superpoint` and `point`, and with `held_out` (unless weights are `uniform`) `reliability`. Each
            is 0 where there is nothing to compare. O(P (C1 + C)) time and memory.
        """
        superpoints, seen = batch.superpoints, batch.seen
        half = None
        if self.config.supervision == "held_out":
            half = (torch.rand(len(semantic), generator=generator) < 0.5).to(semantic.device)  # [P]
        free = self.weights(batch)  # [P]
        weights = free if self.config.supervision == "student" else free.detach()
        refined, has_target = self._refined(batch, weights)  # [S, C], [S]
        pool = weights.detach().abs() + 1e-6 if self.config.student_pooling == "weighted" else None
        pooled = superpoints.mean(semantic, pool)  # [S, C]
        losses = {"superpoint": masked_mean(cosine_distance(pooled, refined), has_target)}

        supervised = superpoints.to_entries(has_target) if self.config.unseen == "refined" else seen
        losses["point"] = masked_mean(self._point_distance(semantic, batch, refined), supervised)
        if half is not None and self.reliability is not None:
            losses["reliability"] = self._held_out(batch, free, half)
        return losses

    def _point_distance(self, semantic: Tensor, batch: Batch, refined: Tensor) -> Tensor:
        """Cosine distance of every point to its target, [P]."""
        superpoints, of_point = batch.superpoints, self.config.point_target == "lifted"
        if of_point and self.config.unseen == "skip":
            return cosine_distance(semantic, batch.lifted)
        if batch.is_large:
            to_refined = distance_to_group(semantic, refined, superpoints)
            if not of_point:
                return to_refined
            return torch.where(batch.seen, cosine_distance(semantic, batch.lifted), to_refined)
        spread = superpoints.to_entries(refined)  # [P, C]
        target = torch.where(batch.seen.unsqueeze(-1), batch.lifted, spread) if of_point else spread
        return cosine_distance(semantic, target)

    def _refined(self, batch: Batch, weights: Tensor) -> tuple[Tensor, Tensor]:
        """S̄_2d [S, C], and which superpoints have one. What W weighs can be pooled over the points at hand only."""
        if self.reliability is None and batch.exact is not None:
            return batch.exact.superpoints.lifted, batch.exact.superpoints.seen > 0
        seen = batch.superpoints.sum(batch.seen.to(batch.lifted.dtype))  # [S]
        return refine(batch.lifted, weights, batch.superpoints), seen > 0

    def _held_out(self, batch: Batch, weights: Tensor, half: Tensor) -> Tensor:
        """Distance between the refined feature of one half of each superpoint and the 2D features of the other half.

        Where the errors of the two halves are independent, the other half's plain mean is what an unbiased pooling
        should predict. No gradient of W or of the student moves it. But W sees part of it: the input has S_2d - F_2d,
        and S_2d averages the points of both halves. W can thus weigh points by how close they lie to the target, which
        lowers this loss without telling the points that err; the loss is no measure of reliability learned.
        """
        kind = batch.lifted.dtype
        first = refine(batch.lifted, weights * half, batch.superpoints)  # [S, C]
        one, other = (batch.seen & half).to(kind), (batch.seen & ~half).to(kind)  # [P]
        if batch.is_large:  # of unit vectors: their lengths are weights, and no [P, C] is written
            length = torch.linalg.vector_norm(batch.lifted, dim=-1).clamp_min(1e-8)  # [P]
            mass = batch.superpoints.sum(other).unsqueeze(-1)  # [S, 1]
            second = over_mass(batch.superpoints.sum(batch.lifted, other / length), mass)  # [S, C]
        else:
            second = batch.superpoints.mean(unit(batch.lifted), other)  # [S, C]
        both = (batch.superpoints.sum(one) > 0) & (batch.superpoints.sum(other) > 0)  # [S]
        return masked_mean(cosine_distance(first, second), both)


def _widths(batch: Batch) -> list[int]:
    """C1 and C."""
    return [batch.geometry.shape[1], batch.lifted.shape[1]]
