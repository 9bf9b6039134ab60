"""Points in groups, and pooling over groups: superpoints (a partition) or instance masks (which may overlap)."""

import functools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.devices import put
from geoguide.ops.segment import over_mass, segment_softmax, segment_sum
from geoguide.ops.shared_rows import known_means, pulls_of

_ENTRIES = 2**11  # at a time: a row is summed alone, so that their number changes no bit


class _Bags(NamedTuple):
    """Entries in the order of what they are summed into: those of bag b start at `offset[b]`."""

    entry: Tensor  # int64 [E]
    row: Tensor  # int64 [E], which row of the summed matrix each of them is
    offset: Tensor  # int64 [bags]

    def sum(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        own = None if weights is None else weights[self.entry].to(values.dtype)
        return F.embedding_bag(self.row, values, self.offset, mode="sum", per_sample_weights=own)


@dataclass(frozen=True, eq=False)
class Groups:
    """P points in G groups, held as E entries: entry e says that point `point[e]` is in group `group[e]`.

    In a partition (`Groups.partition`) every point is in exactly one group and entry e is point e, so E is P. A group
    without entries is empty: its sum and mean are 0.

    Attributes:
        group: int64 [E], the group of each entry, in 0..count-1.
        count: G, the number of groups, empty ones included.
        points: P, the number of points, those in no group included.
        point: int64 [E], the point of each entry, in 0..points-1; None in a partition.

    Raises:
        InputError: `group` is not int64, or not as long as `point` (in a partition: as `points` says).

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
        """Make the groups of points that are in exactly one group each.

        Args:
            index: int64 [P], the group of each point.
            count: G; None for the largest index plus 1.

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

    @cached_property
    def sizes(self) -> Tensor:
        """The number of entries of each group, int64 [G]. `InputError` where an entry is of no group."""
        if not bool(((self.group >= 0) & (self.group < self.count)).all()):  # here, where a GPU is waited for anyway
            found = f"{int(self.group.min())} to {int(self.group.max())}"
            raise InputError(f"group must hold numbers 0..{self.count - 1}, found {found}")
        return torch.bincount(self.group, minlength=self.count)

    def of_entries(self, values: Tensor) -> Tensor:
        """Give each entry the value of its point.

        Args:
            values: [P, ...].

        Returns:
            [E, ...]; `values` itself in a partition.
        """
        return values if self.point is None else values.index_select(0, self.point)

    def to_entries(self, pooled: Tensor) -> Tensor:
        """Give each entry the value of its group; in a partition E is P, so this spreads group means over the points.

        Args:
            pooled: [G, ...].

        Returns:
            [E, ...].
        """
        if pooled.dim() == 2 and pooled.requires_grad:
            return _Spread.apply(pooled, self)
        return pooled.index_select(0, self.group)

    def sum(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sum over the points of each group.

        Args:
            values: [P, ...].
            weights: [P], times the values; None for 1.

        Returns:
            [G, ...]; 0 for empty groups. Differentiable, a matrix once; O(E D) time.

        Raises:
            InputError: Not a value for each point.
        """
        if len(values) != self.points:
            raise InputError(f"values of groups of {self.points} points must have a row for each, found {len(values)}")
        own = None if weights is None else self.of_entries(weights)  # [E]
        if values.dim() == 2 and values.is_floating_point():
            return _Sum.apply(values, own, self)
        values = self.of_entries(values)
        if own is not None:
            values = values * own.view((-1,) + (1,) * (values.dim() - 1))
        return segment_sum(values, self.group, self.count)

    def mean(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """(Weighted) mean over the points of each group.

        Args:
            values: [P, ...].
            weights: [P], none negative; None for 1.

        Returns:
            [G, ...]; 0 for groups that are empty or whose weights are all 0. Differentiable; O(E D) time.
        """
        known = known_means(values) if weights is None else {}
        if self not in known:
            mass = self.sizes.to(values.dtype) if weights is None else self.sum(weights)  # [G]
            known[self] = over_mass(self.sum(values, weights), mass.view((-1,) + (1,) * (values.dim() - 1)))
        return known[self]

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax within each group.

        Args:
            scores: [P].

        Returns:
            [E]; the entries of every non-empty group sum to 1. Differentiable.
        """
        return segment_softmax(self.of_entries(scores), self.group, self.count)

    @cached_property
    def _by_group(self) -> _Bags:
        entry = torch.argsort(self.group, stable=True)
        return _Bags(entry, entry if self.point is None else self.point[entry], _starts(self.sizes))

    @cached_property
    def _by_point(self) -> _Bags:
        assert self.point is not None  # in a partition an entry is its point, and nothing is summed
        entry = torch.argsort(self.point, stable=True)
        return _Bags(entry, self.group[entry], _starts(torch.bincount(self.point, minlength=self.points)))

    def entries_of(self, part: slice) -> tuple[Tensor, Tensor]:
        """Look up the entries of some successive points.

        Args:
            part: Which points, n of them; of step 1.

        Returns:
            Group and point of each entry, int64 [e] each, in the order of the points.
        """
        if self.point is None:
            return self.group[part], torch.arange(part.start, part.stop, device=self.group.device)
        own = self._own_entries(part)
        return self._by_point.row[own], self.point[self._by_point.entry[own]]

    def spread(self, pooled: Tensor, part: slice) -> Tensor:
        """Sum over the groups that each of some successive points is in; the gradient of `sum` at these points.

        Args:
            pooled: [G, D].
            part: Which points, n of them; of step 1.

        Returns:
            [n, D]; 0 for points in no group. Without a gradient.
        """
        if self.point is None:
            return pooled.index_select(0, self.group[part])
        own = self._own_entries(part)
        offset = self._by_point.offset[part] - own.start
        return F.embedding_bag(self._by_point.row[own], pooled, offset, mode="sum")

    def add_spread(self, pooled: Tensor, weights: Tensor | None, part: slice, rows: Tensor) -> None:
        """Add `spread` to rows, where they lie.

        Args:
            pooled: [G, D].
            weights: [P], times what is added; None for 1.
            part: Which points, n of them; of step 1.
            rows: [n, D].
        """
        spread = self.spread(pooled, part)
        if weights is None:
            rows.add_(spread)
        else:
            rows.addcmul_(spread, weights[part].unsqueeze(-1))

    def _own_entries(self, part: slice) -> slice:
        """Where the entries of successive points lie among those sorted by point."""
        starts = self._by_point.offset
        stop = int(starts[part.stop]) if part.stop < self.points else len(self.group)
        return slice(int(starts[part.start]), stop)

    def _pull_of_entries(self, grad: Tensor, values: Tensor) -> Tensor:
        """The scalar product of each entry's group in `grad` and its point in `values`, [E]; never all E D at once."""
        pulls = []
        for begin in range(0, len(self.group), _ENTRIES):
            part = slice(begin, begin + _ENTRIES)
            own = values[part] if self.point is None else values.index_select(0, self.point[part])
            pulls.append((grad.index_select(0, self.group[part]) * own).sum(-1))
        return torch.cat(pulls) if pulls else grad.new_zeros(0)

    def where(self, kept: Tensor) -> "Groups":
        """Keep some of the entries.

        Args:
            kept: bool [E].

        Returns:
            The same G groups over the same P points, with the entries alone where `kept` is true.
        """
        point = torch.arange(self.points, device=self.group.device) if self.point is None else self.point
        return replace(self, group=self.group[kept], point=point[kept])

    def take(self, chosen: Tensor) -> "Groups":
        """Keep some of the groups.

        Args:
            chosen: int64 [g], group numbers, all different.

        Returns:
            The g groups, renumbered 0..g-1 in the order of `chosen`, over the same P points; entries keep their order.
        """
        number = torch.full((self.count,), -1, device=chosen.device)
        number[chosen] = torch.arange(len(chosen), device=chosen.device)
        group = number[self.group]
        kept = self.where(group >= 0)
        return replace(kept, group=group[group >= 0], count=len(chosen))

    def to(self, device: torch.device | str) -> "Groups":
        """Copy to another device.

        Args:
            device: The device.

        Returns:
            The same groups there.
        """
        there = torch.device(device)
        point = None if self.point is None else put(self.point, there)
        return replace(self, group=put(self.group, there), point=point)


def _starts(sizes: Tensor) -> Tensor:
    return sizes.cumsum(0) - sizes


class _Sum(torch.autograd.Function):
    """`Groups.sum` of a matrix.

    embedding_bag adds rows where they lie. Gathered for index_add_ they are written and read once more, which counts
    where masks overlap, and so does the gradient of that gathering (benchmarks/pooling.py).
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor | None, groups: Groups) -> Tensor:
        ctx.groups, ctx.pulls = groups, pulls_of(values)
        ctx.save_for_backward(values if weights is not None else None, weights)
        return groups._by_group.sum(values, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        groups, (values, weights), (grad,) = ctx.groups, ctx.saved_tensors, grads
        pull = pull_weights = None
        if ctx.pulls is not None and (weights is None or groups.point is None):  # weights are of entries
            ctx.pulls.add(ctx, functools.partial(groups.add_spread, grad, weights))
        elif ctx.needs_input_grad[0] and groups.point is not None:
            pull = groups._by_point.sum(grad, weights)
        elif ctx.needs_input_grad[0]:
            pull = grad.index_select(0, groups.group)
            pull = pull if weights is None else pull.mul_(weights.unsqueeze(-1))
        if ctx.needs_input_grad[1]:
            pull_weights = groups._pull_of_entries(grad, values).to(weights.dtype)
        return pull, pull_weights, None


class _Spread(torch.autograd.Function):
    """`Groups.to_entries` of a matrix, and back."""

    @staticmethod
    def forward(ctx: Any, pooled: Tensor, groups: Groups) -> Tensor:
        ctx.groups = groups
        return pooled.index_select(0, groups.group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None]:
        by_group = ctx.groups._by_group
        return by_group._replace(row=by_group.entry).sum(grads[0]), None
