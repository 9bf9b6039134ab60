"""What losses ask of the directions of many rows in groups, without writing the unit vectors [P, C] down."""

import functools
from typing import Any

import torch
from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.blocks import blocks
from geoguide.ops.groups import Groups
from geoguide.ops.shared_rows import length_of, pulls_of, shared


class _UnitSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
        ctx.pulls, ctx.groups = pulls_of(rows), groups
        weights = length_of(rows).squeeze(-1).reciprocal()  # [P]
        return groups.sum(rows, weights), weights @ rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        groups = ctx.groups
        ctx.pulls.add(ctx, lambda part, own: own.add_(groups.spread(grads[0], part)).add_(grads[1]), of_unit=True)
        return None, None


def unit_sums(rows: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    """Sum the unit vectors of the rows, in each group and in all.

    Args:
        rows: float [P, C].
        groups: G groups of the P rows.

    Returns:
        [G, C] and [C]. Once differentiable; the rows are shared (see `shared_rows`).

    Raises:
        InputError: Not a row for each point of the groups.
    """
    if len(rows) != groups.points:
        raise InputError(f"rows of groups of {groups.points} points must be as many, found {len(rows)}")
    return _UnitSums.apply(shared(rows), groups)


class _DistanceToGroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, pooled: Tensor, groups: Groups) -> Tensor:
        ctx.pulls, ctx.groups, factor = pulls_of(rows), groups, -length_of(pooled).reciprocal()  # [G, 1]
        ctx.save_for_backward(rows, pooled, factor)
        distance = rows.new_empty(len(rows))
        for part in blocks(rows):
            distance[part] = (rows[part] * groups.spread(pooled, part)).sum(-1)
        return distance.mul_((factor[groups.group] / length_of(rows)).squeeze(-1)).add_(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor | None, None]:
        (rows, pooled, factor), groups, (grad,) = ctx.saved_tensors, ctx.groups, grads
        if ctx.pulls is not None:
            pull = functools.partial(groups.add_spread, pooled, grad * factor[groups.group].squeeze(-1))
            ctx.pulls.add(ctx, pull, of_unit=True)
        if not ctx.needs_input_grad[1]:
            return None, None, None
        pull = groups.sum(rows, grad / length_of(rows).squeeze(-1))  # [G, C], of -|pooled| times the unit vectors
        along = (pull * pooled).sum(-1, keepdim=True) * factor.square()
        return None, pull.addcmul_(pooled, along, value=-1).mul_(factor), None


def distance_to_group(rows: Tensor, pooled: Tensor, groups: Groups) -> Tensor:
    """1 - cos between each row and the vector of its group, without writing that vector once for each row.

    Args:
        rows: float [P, C].
        pooled: float [G, C].
        groups: A partition of the P rows in G groups.

    Returns:
        float [P]; 1 where either is zero. Once differentiable in both; the rows are shared (see `shared_rows`).

    Raises:
        InputError: The sizes do not fit, or the groups are no partition.
    """
    if groups.point is not None or (len(rows), len(pooled)) != (groups.points, groups.count):
        expected = f"{groups.points} rows and {groups.count} vectors of a partition"
        raise InputError(f"distance_to_group takes {expected}, found {len(rows)} and {len(pooled)}")
    return _DistanceToGroup.apply(shared(rows), pooled, groups)
