"""The input of a training step: points of one scene with their 2D and 3D features, superpoints and instance masks."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.blocks import is_large
from geoguide.ops.groups import Groups

NO_WORD = -1  # of a point that has no label of its own: not painted with a word, or no pseudo label


@dataclass(frozen=True, eq=False)
class FrozenMeans:
    """Means of the frozen features over all points of each of R regions of a scene, not only those in the batch.

    Attributes:
        geometry: Mean F_3d^G, float [R, C1].
        lifted: Mean F_2d over the seen points, float [R, C]; 0 where none is.
        seen: The number of seen points, float [R].
    """

    geometry: Tensor
    lifted: Tensor
    seen: Tensor


@dataclass(frozen=True, eq=False)
class ExactMeans:
    """The frozen means of all regions of a batch.

    Attributes:
        superpoints: Of the S superpoints.
        masks: Of the M masks.
        centre: Mean F_2d over all seen points of the scene, float [C].
    """

    superpoints: FrozenMeans
    masks: FrozenMeans
    centre: Tensor


@dataclass(frozen=True, eq=False)
class Origin:
    """Which points of a prepared scene some successive rows of a batch are.

    Attributes:
        scene: The scene's fingerprint.
        points: int64 [n], its points; -1 for a row that is none of the points that were kept.
    """

    scene: str
    points: np.ndarray


class Supervised(Protocol):
    """The part that every student's batch has: 2D features to learn from, a row for each of its points or voxels."""

    @property
    def lifted(self) -> Tensor:
        """F_2d, float [P, C]; zero where unseen."""

    @property
    def seen(self) -> Tensor:
        """Which rows have a 2D feature, bool [P]."""

    @property
    def superpoints(self) -> Groups:
        """Q_i, S groups, a partition of the rows."""

    @property
    def words(self) -> Tensor | None:
        """The class that each row is painted with, int64 [P], -1 for none; None where nothing was painted (DMA)."""

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where the rows come from, scene after scene; empty for a batch of no scene."""

    def mean_lifted(self, level: str) -> Tensor:
        """Average the 2D features of the seen rows of each region (as in `Batch.mean_lifted`).

        Args:
            level: superpoints; masks where the batch has any.

        Returns:
            [R, C]; 0 where no row is seen.
        """


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
        exact: What frozen features are on average in each region, over all points of the scene; None where such means
            are to be taken over the P points.
        words: The class that each point is painted with, int64 [P], -1 for none; None where nothing was painted.
        origins: Which points of which scene these are.

    Raises:
        InputError: The parts are not of the same number of points, or the means not of as many regions.
    """

    points: Tensor
    geometry: Tensor
    lifted: Tensor
    seen: Tensor
    superpoints: Groups
    masks: Groups
    exact: ExactMeans | None = None
    words: Tensor | None = None
    origins: tuple[Origin, ...] = ()

    def __post_init__(self) -> None:
        rows = [len(part) for part in (self.points, self.geometry, self.lifted, self.seen)]
        rows += [self.superpoints.points, self.masks.points]
        if len(set(rows)) > 1:
            names = "points, geometry, lifted, seen, superpoints and masks"
            raise InputError(f"{names} of a batch must agree in their number of points, found {rows}")
        if self.exact is not None:
            found = [len(means.seen) for means in (self.exact.superpoints, self.exact.masks)]
            if found != [self.superpoints.count, self.masks.count]:
                expected = f"{self.superpoints.count} superpoints and {self.masks.count} masks"
                raise InputError(f"exact means of a batch must be of {expected}, found {found}")

    def __len__(self) -> int:
        """P."""
        return len(self.points)

    @property
    def is_large(self) -> bool:
        """Whether losses are computed in blocks of points (see `ops.blocks`)."""
        return is_large(len(self))

    def mean_geometry(self, level: str) -> Tensor:
        """S_3d^G, or F_mask^G: the mean frozen feature of each region (paper, USD and IIRC).

        Args:
            level: superpoints or masks.

        Returns:
            [R, C1]; over all points of the scene where `exact` is given, else over the P points.
        """
        if self.exact is not None:
            return getattr(self.exact, level).geometry
        return self._pooled(level, "geometry")

    def mean_lifted(self, level: str) -> Tensor:
        """S_2d: the mean 2D feature of the seen points of each region (paper, USD).

        Args:
            level: superpoints or masks.

        Returns:
            [R, C], as `mean_geometry`; 0 where no point is seen.
        """
        if self.exact is not None:
            return getattr(self.exact, level).lifted
        return self._pooled(level, "lifted")

    def mean_of_scene(self) -> Tensor:
        """Compute the mean 2D feature of all seen points.

        Returns:
            [C], as `mean_geometry`; 0 where no point is seen.
        """
        if self.exact is not None:
            return self.exact.centre
        weight = self.seen.to(self.lifted.dtype)  # [P]
        total = weight @ self.lifted if self.is_large else (self.lifted * weight.unsqueeze(-1)).sum(0)  # [C]
        return total / weight.sum().clamp_min(1)

    def _pooled(self, level: str, features: str) -> Tensor:
        """Mean geometry or lifted over the points of each region, [R, ...]; several modules ask for it, and keep it."""
        if (level, features) not in self._means:
            groups: Groups = getattr(self, level)
            weights = None if features == "geometry" else self.seen.to(self.lifted.dtype)
            self._means[level, features] = groups.mean(getattr(self, features), weights)
        return self._means[level, features]

    @cached_property
    def _means(self) -> dict[tuple[str, str], Tensor]:
        return {}
