"""Rows of a large batch that several losses read: what each adds to their gradient is made together, block by block.

A loss that returns its own gradient [P, C] has it written to memory, and autograd reads and adds it: of six losses that
takes more time than their matrix products, and room for three such matrices. Instead a loss leaves a function that adds
to a block of the gradient, while the block is in the cache, and returns none.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from geoguide.ops.blocks import blocks

_EPS = 1e-8  # of a length, as in ops.cosine
Pull = Callable[[slice, Tensor], object]  # some successive points, and the gradient at them, [n, C]: adds to it


class Pulls:
    """What the readers of shared rows add to the gradient, in one pass back.

    Args:
        rows: The rows, float [P, C].
    """

    def __init__(self, rows: Tensor) -> None:
        self.length = _length(rows)  # [P, 1]
        self.means: dict[Any, Tensor] | None = None  # of the rows in groups, that several losses ask for
        self._left: list[tuple[int, bool, Pull]] = []

    def add(self, pull: Pull, *, of_unit: bool = False) -> None:
        """Leave a function for the end of this pass; called by a reader on its way back, which then returns None.

        Args:
            pull: Adds to the gradient of a block.
            of_unit: Whether it adds to the gradient of the unit vectors of the rows, and not of the rows. What it adds
                along these vectors does not matter.
        """
        self._left.append((torch._C._current_graph_task_id(), of_unit, pull))

    def made(self, rows: Tensor, other: Tensor | None) -> Tensor | None:
        """Make the gradient of the rows.

        Args:
            rows: The rows.
            other: What readers returned as usual, [P, C]; None where none did.

        Returns:
            [P, C]; None where nothing was left in this pass and nothing returned.
        """
        task = torch._C._current_graph_task_id()
        left = [(of_unit, pull) for left_in, of_unit, pull in self._left if left_in == task]
        self._left = []  # of another pass too, which did not get as far as the rows
        if not left:
            return other
        total = torch.empty_like(rows)
        for part in blocks(rows):
            own = total[part].zero_()  # [n, C]
            for of_unit, pull in left:
                if of_unit:
                    pull(part, own)
            if any(of_unit for of_unit, _ in left):  # the part across the vectors, over their lengths
                length = self.length[part]
                along = (own * rows[part]).sum(-1, keepdim=True) / length.square()
                own.addcmul_(rows[part], along, value=-1).div_(length)
            for of_unit, pull in left:
                if not of_unit:
                    pull(part, own)
            if other is not None:
                own.add_(other[part])
        return total


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(rows)
        ctx.shared_pulls = Pulls(rows)
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Tensor | None:
        return ctx.shared_pulls.made(*ctx.saved_tensors, grads[0])


def shared(rows: Tensor) -> Tensor:
    """Let several losses read rows.

    Args:
        rows: float [P, C].

    Returns:
        The rows; themselves where they are shared already, or have no gradient. Once differentiable.
    """
    return rows if pulls_of(rows) is not None or not rows.requires_grad else _Shared.apply(rows)


@contextmanager
def sharing(rows: Tensor) -> Generator[Tensor]:
    """Let several losses read rows, and take the mean of the same groups once.

    Args:
        rows: float [P, C].

    Yields:
        The rows as `shared` gives them. Means are forgotten at the end: they hold the graph, which holds the rows.
    """
    rows = shared(rows)
    pulls = pulls_of(rows)
    if pulls is None:
        yield rows
        return
    pulls.means = {}
    try:
        yield rows
    finally:
        pulls.means = None


def pulls_of(rows: Tensor) -> Pulls | None:
    """Look up where a reader of rows leaves its part of their gradient.

    Args:
        rows: [P, C].

    Returns:
        The place; None where rows are not shared, so that a reader returns its gradient.
    """
    return getattr(rows.grad_fn, "shared_pulls", None)


def known_means(rows: Tensor) -> dict[Any, Tensor]:
    """Look up the means of rows in groups that were taken already.

    Args:
        rows: [P, ...].

    Returns:
        Means [G, ...] by their groups, to be added to; an empty dict, kept by nobody, where rows are not in `sharing`.
    """
    pulls = pulls_of(rows)
    return {} if pulls is None or pulls.means is None else pulls.means


def length_of(rows: Tensor) -> Tensor:
    """Measure rows; shared ones were measured.

    Args:
        rows: float [P, C].

    Returns:
        [P, 1], at least 1e-8.
    """
    pulls = pulls_of(rows)
    return _length(rows) if pulls is None else pulls.length


def _length(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(_EPS)
