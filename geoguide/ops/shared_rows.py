"""Rows of a large batch that several losses read: what each adds to their gradient is made together, block by block.

A loss that returns its own gradient [P, C] has it written to memory, and autograd reads and adds it: of six losses that
takes more time than their matrix products, and room for three such matrices. Instead a reader leaves a function that
adds to a block of the gradient, while the block is in the cache, and returns none.

So only the rows that were given to `shared` have a gradient. Of what it returns autograd sees a part alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import register_multi_grad_hook

from geoguide.errors import InputError
from geoguide.ops.blocks import blocks

_EPS = 1e-8  # of a length, as in ops.cosine
Pull = Callable[[slice, Tensor], object]  # some successive points, and the gradient at them, [n, C]: adds to it
Losses = list[dict[str, Tensor]]


class Pulls:
    """What the readers of shared rows add to their gradient, in one pass back.

    Args:
        rows: The rows, float [P, C].
    """

    def __init__(self, rows: Tensor) -> None:
        self.length = _length(rows)  # [P, 1]
        self.means: dict[Any, Tensor] | None = None  # of the rows in groups, that several losses ask for
        self._left: dict[int, tuple[bool, Pull]] = {}

    def add(self, reader: object, pull: Pull, *, of_unit: bool = False) -> None:
        """Leave a function for the end of this pass; called by a reader on its way back, which then returns None.

        Args:
            reader: Who leaves it, in place of what it left in a pass that did not get as far as the rows.
            pull: Adds to the gradient of a block.
            of_unit: Whether it adds to the gradient of the unit vectors of the rows, and not of the rows. What it adds
                along these vectors does not matter.

        Raises:
            InputError: The gradient is to be differentiated itself.
        """
        if torch.is_grad_enabled():
            raise InputError("losses of a large batch are once differentiable, found a pass back with create_graph")
        self._left[id(reader)] = (of_unit, pull)

    def forget(self) -> None:
        """Begin a pass: what was left in another, which did not get as far as the rows, does not count."""
        self._left.clear()

    def made(self, rows: Tensor, other: Tensor | None) -> Tensor | None:
        """Make the gradient of the rows.

        Args:
            rows: The rows.
            other: What readers returned as usual, [P, C]; None where none did.

        Returns:
            [P, C]; None where nothing was left and nothing returned.
        """
        left = [*self._left.values()]
        self.forget()
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
    """Let readers leave their part of the gradient of rows; a single one, or those of `read_together`.

    Args:
        rows: float [P, C].

    Returns:
        The rows; themselves where they are shared already, or have no gradient. Once differentiable.
    """
    return rows if pulls_of(rows) is not None or not rows.requires_grad else _Shared.apply(rows)


def read_together(rows: Tensor, read: Callable[[Tensor], Losses]) -> Losses:
    """Let several losses read rows, and take the mean of the same groups once.

    Args:
        rows: float [P, C].
        read: Computes the losses from the rows as `shared` gives them; nothing else that it computes may be used.

    Returns:
        The losses, scalars by name.
    """
    rows = shared(rows)
    pulls = pulls_of(rows)
    if pulls is None:
        return read(rows)
    pulls.means = {}
    try:
        losses = read(rows)
    finally:
        pulls.means = None  # they hold the graph, which holds the rows
    begins = [loss for own in losses for loss in own.values() if loss.requires_grad]
    register_multi_grad_hook(begins, lambda _: pulls.forget(), mode="any")
    return losses


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
        Means [G, ...] by their groups, to be added to; an empty dict, kept by nobody, outside `read_together`, and
        where what is computed has no gradient.
    """
    pulls = pulls_of(rows)
    return {} if pulls is None or pulls.means is None or not torch.is_grad_enabled() else pulls.means


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
