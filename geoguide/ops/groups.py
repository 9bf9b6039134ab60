"""Points in groups, and what is pooled over them: superpoints (a partition), or instance masks (which may overlap)."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.segment import segment_mean, segment_softmax, segment_sum


@dataclass(frozen=True, eq=False)
class Groups:
    """P points in G groups, as entries: entry e says that point `point[e]` is in group `group[e]`.

    In a partition (`Groups.partition`) every point is in exactly one group and entry e is point e, so that what has a
    row per entry has a row per point. Groups that no entry names are empty: their sums and means are 0.

    Attributes:
        group: int64 [E], the group of each entry, in 0..count-1.
        count: G.
        points: P.
        point: int64 [E], the point of each entry, in 0..points-1; None in a partition.

    Example:
        >>> import torch
        >>> superpoints = Groups.partition(torch.tensor([0, 0, 1]))
        >>> superpoints.mean(torch.tensor([[1.0], [3.0], [5.0]])).tolist()
        [[2.0], [5.0]]
        >>> masks = Groups(group=torch.tensor([0, 1, 1]), count=2, points=3, point=torch.tensor([0, 0, 2]))
        >>> masks.sum(torch.tensor([1.0, 3.0, 5.0])).tolist()
        [1.0, 6.0]
    """

    group: Tensor
    count: int
    points: int
    point: Tensor | None = None

    def __post_init__(self) -> None:
        expected = self.points if self.point is None else len(self.point)
        if self.group.dtype != torch.int64 or self.group.shape != (expected,):
            raise InputError(f"group must be int64 [{expected}], found {self.group.dtype} {list(self.group.shape)}")

    @classmethod
    def partition(cls, index: Tensor, count: int | None = None) -> "Groups":
        """The groups of points that are in one each.

        Args:
            index: int64 [P], the group of each point.
            count: G; None takes the largest index and one.

        Returns:
            G groups of P points.

        Raises:
            InputError: `index` is not int64 [P].
        """
        if count is None:
            count = int(index.max()) + 1 if len(index) else 0
        return cls(index, count, len(index))

    def __len__(self) -> int:
        """G."""
        return self.count

    @property
    def sizes(self) -> Tensor:
        """int64 [G], the entries of each group."""
        return torch.bincount(self.group, minlength=self.count)

    def of_entries(self, values: Tensor) -> Tensor:
        """The value of each entry's point.

        Args:
            values: [P, ...].

        Returns:
            [E, ...].
        """
        return values if self.point is None else values[self.point]

    def to_entries(self, pooled: Tensor) -> Tensor:
        """The value of each entry's group; in a partition E is P, so this brings groups' values to their points.

        Args:
            pooled: [G, ...].

        Returns:
            [E, ...].
        """
        return pooled[self.group]

    def sum(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sum over each group's points.

        Args:
            values: [P, ...].
            weights: [P], or None for 1.

        Returns:
            [G, ...], 0 for empty groups. Differentiable; O(E D) time.
        """
        values = self.of_entries(values)
        if weights is not None:
            values = values * self.of_entries(weights).view((-1,) + (1,) * (values.dim() - 1))
        return segment_sum(values, self.group, self.count)

    def mean(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Mean over each group's points, weighted where weights are given. Differentiable.

        Args:
            values: [P, ...].
            weights: [P], at least 0, or None for 1.

        Returns:
            [G, ...]; 0 for groups that are empty or have no weight.
        """
        weights = None if weights is None else self.of_entries(weights)
        return segment_mean(self.of_entries(values), self.group, self.count, weights)

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax among the points of each group. Differentiable.

        Args:
            scores: [P].

        Returns:
            [E], summing to 1 over every group that is not empty.
        """
        return segment_softmax(self.of_entries(scores), self.group, self.count)

    def where(self, kept: Tensor) -> "Groups":
        """The same groups, with some of their entries alone.

        Args:
            kept: bool [E], which entries stay.

        Returns:
            G groups of P points; groups without an entry are empty.
        """
        point = torch.arange(self.points, device=self.group.device) if self.point is None else self.point
        return replace(self, group=self.group[kept], point=point[kept])

    def take(self, chosen: Tensor) -> "Groups":
        """Some of the groups, renumbered.

        Args:
            chosen: int64 [g], the groups that become 0..g-1 in this order, all different.

        Returns:
            g groups of P points; entries keep their order.
        """
        number = torch.full((self.count,), -1, device=chosen.device)
        number[chosen] = torch.arange(len(chosen), device=chosen.device)
        group = number[self.group]
        kept = self.where(group >= 0)
        return replace(kept, group=group[group >= 0], count=len(chosen))

    def to(self, device: torch.device | str) -> "Groups":
        """The same groups on another device.

        Args:
            device: Where `group` and `point` shall lie.

        Returns:
            G groups of P points.
        """
        point = None if self.point is None else self.point.to(device)
        return replace(self, group=self.group.to(device), point=point)
