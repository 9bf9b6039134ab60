"""Work on many rows in blocks, whose intermediate results stay in the cache and are computed again to go back.

Sums over blocks round otherwise than sums over all rows at once. So blocks begin above `LARGE` rows, more than any
committed experiment has in a step: its numbers keep their bits.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.groups import Groups

LARGE = 2**16  # rows; committed experiments have 20,000 at most
ROWS = {"cpu": 2**12, "cuda": 2**15}  # at a time: of 384 float32, 6 MB for the cache, 50 MB for many small cores
_EPS = 1e-8  # of a length, as in ops.cosine


def is_large(rows: int) -> bool:
    """Say whether so many rows are worked on in blocks.

    Args:
        rows: Their number.

    Returns:
        True above `LARGE`.
    """
    return rows > LARGE


def blocks(rows: Tensor) -> Iterator[slice]:
    """Cut rows into blocks.

    Args:
        rows: [P, ...], on the device that they are worked on.

    Yields:
        Slices of successive rows, which cover all P.
    """
    size = ROWS[rows.device.type]
    for begin in range(0, len(rows), size):
        yield slice(begin, min(begin + size, len(rows)))


def same_precision(device: str) -> "Precision":
    """Remember how a forward pass computes, for what is computed again on the way back.

    Args:
        device: cpu or cuda.

    Returns:
        Its autocast, which can be entered again and again.
    """
    return Precision(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))


class Precision:
    """The autocast of a forward pass (see `same_precision`).

    Args:
        device: cpu or cuda.
        enabled: Whether there was one.
        dtype: Its dtype.
    """

    def __init__(self, device: str, enabled: bool, dtype: torch.dtype) -> None:
        self.device, self.enabled, self.dtype = device, enabled, dtype

    def again(self) -> AbstractContextManager[None]:
        """Enter it.

        Returns:
            A context.
        """
        return torch.autocast(self.device, self.dtype, enabled=self.enabled)


def unit_rows(rows: Tensor, centre: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scale a block of rows to length 1, without a graph.

    Args:
        rows: float [n, C].
        centre: [C], subtracted first; None for 0.

    Returns:
        The unit rows [n, C], zero rows stay zero, and the lengths they were divided by, [n, 1].
    """
    rows = rows if centre is None else rows - centre
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(_EPS)
    return rows / length, length


def unit_rows_back(pull: Tensor, unit: Tensor, length: Tensor) -> Tensor:
    """Carry a gradient back through `unit_rows`.

    Args:
        pull: Gradient of the unit rows, [n, C].
        unit: The unit rows.
        length: Their lengths, [n, 1].

    Returns:
        Gradient of the rows, [n, C].
    """
    along = (pull * unit).sum(-1, keepdim=True)
    return torch.addcmul(pull, unit, along, value=-1).div_(length)


class _UnitSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
        ctx.groups = groups
        ctx.save_for_backward(rows)
        length = torch.linalg.vector_norm(rows, dim=-1).clamp_min(_EPS)  # [P]
        weights = length.reciprocal()
        return groups.sum(rows, weights), weights @ rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (rows,), groups = ctx.saved_tensors, ctx.groups
        pull = torch.empty_like(rows)
        for part in blocks(rows):
            unit, length = unit_rows(rows[part])
            pull[part] = unit_rows_back(groups.spread(grads[0], part) + grads[1], unit, length)
        return pull, None


def unit_sums(rows: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
    """Sum the unit vectors of the rows, in each group and in all, without writing them down.

    Args:
        rows: float [P, C].
        groups: G groups of the P rows.

    Returns:
        [G, C] and [C]. Once differentiable; one gradient of the size of the rows.

    Raises:
        InputError: Not a row for each point of the groups.
    """
    if len(rows) != groups.points:
        raise InputError(f"rows of groups of {groups.points} points must be as many, found {len(rows)}")
    return _UnitSums.apply(rows, groups)


class _DistanceToGroup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, pooled: Tensor, groups: Groups) -> Tensor:
        ctx.groups = groups
        ctx.save_for_backward(rows, pooled)
        distance = rows.new_empty(len(rows))
        for part in blocks(rows):
            distance[part] = 1.0 - F.cosine_similarity(rows[part], pooled[groups.group[part]], dim=-1, eps=_EPS)
        return distance

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (rows, pooled), groups = ctx.saved_tensors, ctx.groups
        needs_rows, needs_pooled, _ = ctx.needs_input_grad
        pull = torch.empty_like(rows) if needs_rows else None
        pull_pooled = torch.zeros_like(pooled) if needs_pooled else None
        for part in blocks(rows):
            index = groups.group[part]
            (one, length), (other, other_length) = unit_rows(rows[part]), unit_rows(pooled[index])
            across = -grads[0][part].unsqueeze(-1)
            if pull is not None:
                pull[part] = unit_rows_back(across * other, one, length)
            if pull_pooled is not None:
                pull_pooled.index_add_(0, index, unit_rows_back(across * one, other, other_length))
        return pull, pull_pooled, None


def distance_to_group(rows: Tensor, pooled: Tensor, groups: Groups) -> Tensor:
    """1 - cos between each row and the vector of its group, without writing that vector once for each row.

    Args:
        rows: float [P, C].
        pooled: float [G, C].
        groups: A partition of the P rows in G groups.

    Returns:
        float [P]; 1 where either is zero. Once differentiable in both.

    Raises:
        InputError: The sizes do not fit, or the groups are no partition.
    """
    if groups.point is not None or (len(rows), len(pooled)) != (groups.points, groups.count):
        expected = f"{groups.points} rows and {groups.count} vectors of a partition"
        raise InputError(f"distance_to_group takes {expected}, found {len(rows)} and {len(pooled)}")
    return _DistanceToGroup.apply(rows, pooled, groups)
