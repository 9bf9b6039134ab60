"""Pooling of rows by group (superpoints, instance masks).

`index` says which group each row is in. The functions are called after torch's segment_reduce, whose "segments" are
these groups; `ops.groups.Groups` holds an index with its point ids and calls them.
"""

import torch
from torch import Tensor

from geoguide.errors import InputError


def segment_sum(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Sum the rows of each group.

    Differentiable. Cost O(P D). torch-scatter's scatter_sum is torch's own scatter_add_, and needs an index of P D.

    Args:
        values: [P, ...].
        index: int64 [P], the group of each row, in 0..count-1.
        count: G, the number of groups.

    Returns:
        [G, ...]; empty groups are 0.

    Raises:
        InputError: `index` is not int64 [P].
    """
    _check(values, index, count)
    return values.new_zeros((count, *values.shape[1:])).index_add_(0, index, values)


def segment_mean(values: Tensor, index: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """Average the rows of each group, with weights where they are given. Differentiable.

    Args:
        values: [P, ...].
        index: int64 [P], the group of each row, in 0..count-1.
        count: G, the number of groups.
        weights: [P], at least 0; None weighs all rows alike.

    Returns:
        [G, ...]; 0 for groups that are empty or have no weight.

    Raises:
        InputError: `index` is not int64 [P].
    """
    shape = (-1,) + (1,) * (values.dim() - 1)
    total = segment_sum(values if weights is None else values * weights.view(shape), index, count)
    mass = segment_sum(values.new_ones(len(values)) if weights is None else weights, index, count).view(shape)
    return over_mass(total, mass)


def over_mass(total: Tensor, mass: Tensor) -> Tensor:
    """Divide sums by what they weigh.

    Args:
        total: [G, ...].
        mass: At least 0, of a shape that broadcasts with `total`.

    Returns:
        [G, ...]; the sum itself, which is 0, where there is no weight.
    """
    return total / torch.where(mass > 0, mass, 1)  # not a tiny number: its reciprocal would overflow the gradient


def segment_softmax(scores: Tensor, index: Tensor, count: int) -> Tensor:
    """Softmax among the rows of each group. Differentiable.

    Args:
        scores: [P].
        index: int64 [P], the group of each row, in 0..count-1.
        count: G, the number of groups.

    Returns:
        [P], summing to 1 over every group that is not empty.

    Raises:
        InputError: `index` is not int64 [P].
    """
    _check(scores, index, count)
    peak = torch.full((count,), -torch.inf, dtype=scores.dtype, device=scores.device)
    peak = peak.scatter_reduce(0, index, scores.detach(), "amax")
    weight = (scores - peak[index]).exp()
    return weight / segment_sum(weight, index, count)[index]


def _check(values: Tensor, index: Tensor, count: int) -> None:
    if index.dtype != torch.int64 or index.dim() != 1 or len(index) != len(values):
        found = f"{index.dtype} {list(index.shape)} for {count} segments"
        raise InputError(f"segment index must be int64 [{len(values)}], found {found}")
