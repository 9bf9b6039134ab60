"""What a training step takes: points of one scene with their 2D and 3D features, superpoints and instance masks."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from geoguide.ops.groups import Groups


class Supervised(Protocol):
    """What every student's batch has: the 2D features to learn from, one row for each of its points or voxels."""

    @property
    def lifted(self) -> Tensor:
        """F_2d, float [P, C]; zero where unseen."""
        ...

    @property
    def seen(self) -> Tensor:
        """Bool [P], which rows have a 2D feature."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """P points of one scene on one device (paper, Notation).

    Attributes:
        points: float [P, 3], metres.
        geometry: F_3d^G, float [P, C1].
        lifted: F_2d, float [P, C]; zero where unseen.
        seen: bool [P], which points have a 2D feature.
        superpoints: Q_i, a partition of the points.
        masks: M_i, class-agnostic instance masks, which may overlap.
    """

    points: Tensor
    geometry: Tensor
    lifted: Tensor
    seen: Tensor
    superpoints: Groups
    masks: Groups

    def __len__(self) -> int:
        """P."""
        return len(self.points)
