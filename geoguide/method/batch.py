"""The input of a training step: points of one scene with their 2D and 3D features, superpoints and instance masks."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.groups import Groups


class Supervised(Protocol):
    """The part that every student's batch has: 2D features to learn from, a row for each of its points or voxels."""

    @property
    def lifted(self) -> Tensor:
        """F_2d, float [P, C]; zero where unseen."""

    @property
    def seen(self) -> Tensor:
        """Which rows have a 2D feature, bool [P]."""


@dataclass(frozen=True, eq=False)
class Batch:
    """P points of one scene on one device: what the three modules take (paper, Notation).

    Attributes:
        points: float [P, 3], metres.
        geometry: F_3d^G, the frozen 3D features, float [P, C1].
        lifted: F_2d, the lifted 2D features, float [P, C]; zero where unseen.
        seen: bool [P], which points have a 2D feature.
        superpoints: Q_i, S groups, a partition of the points.
        masks: M_i, M class-agnostic instance masks, which may overlap.

    Raises:
        InputError: The parts are not of the same number of points.
    """

    points: Tensor
    geometry: Tensor
    lifted: Tensor
    seen: Tensor
    superpoints: Groups
    masks: Groups

    def __post_init__(self) -> None:
        rows = [len(part) for part in (self.points, self.geometry, self.lifted, self.seen)]
        rows += [self.superpoints.points, self.masks.points]
        if len(set(rows)) > 1:
            names = "points, geometry, lifted, seen, superpoints and masks"
            raise InputError(f"{names} of a batch must agree in their number of points, found {rows}")

    def __len__(self) -> int:
        """P."""
        return len(self.points)
