"""IMR's loss over very many points (paper, IMR): a block of points at a time against all masks at once.

`mask_reconstruction.mask_bce` works through masks, each against all points, and keeps a gradient and the unit vectors
of all points; here both are made block by block, and the cosines alone are kept.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.ops.blocks import blocks, unit_rows, unit_rows_back
from geoguide.ops.groups import Groups


class Cells(NamedTuple):
    """What each (mask, point) pair is, and weighs.

    Attributes:
        masks: M masks over the P points.
        inside: What a point inside each mask weighs, [M, 1].
        outside: What one outside weighs, [M, 1].
        ignore: bool [M, S], see `mask_reconstruction.mask_bce`; None leaves out nothing.
        superpoints: S groups, a partition of the points.
    """

    masks: Groups
    inside: Tensor
    outside: Tensor
    ignore: Tensor | None
    superpoints: Groups

    @classmethod
    def of(cls, masks: Groups, superpoints: Groups, ignore: Tensor | None, balance: str, like: Tensor) -> "Cells":
        """Weigh the pairs.

        Args:
            masks: M masks.
            superpoints: S superpoints.
            ignore: bool [M, S] or None.
            balance: none or balanced.
            like: A tensor [P, ...] of the dtype and device of the weights.

        Returns:
            Cells whose weights are those of the mean over masks of the (balanced) mean over points.
        """
        one = like.new_ones(())
        cells = cls(masks, one, one, ignore, superpoints)
        inside, outside = like.new_zeros(masks.count, 1), like.new_zeros(masks.count, 1)
        for part in blocks(like):
            target, counted = cells.block(part)
            inside += target.sum(1, keepdim=True)
            outside += counted.sum(1, keepdim=True) - target.sum(1, keepdim=True)
        if balance == "balanced":
            half = 0.5 / masks.count
            return cells._replace(inside=half / inside.clamp_min(1), outside=half / outside.clamp_min(1))
        share = 1.0 / masks.count / (inside + outside).clamp_min(1)
        return cells._replace(inside=share, outside=share)

    def block(self, part: slice) -> tuple[Tensor, Tensor]:
        """Target and weight of some successive points.

        Args:
            part: Which points, n of them.

        Returns:
            [M, n] each.
        """
        group, point = self.masks.entries_of(part)
        target = self.inside.new_zeros((self.masks.count, part.stop - part.start))
        target[group, point - part.start] = 1
        weight = torch.where(target > 0, self.inside, self.outside)
        if self.ignore is not None:
            weight = torch.where(self.ignore[:, self.superpoints.group[part]] & (target == 0), 0.0, weight)
        return target, weight


class _BlockBCE(torch.autograd.Function):
    """As `mask_reconstruction._MaskBCE`, of unit queries and of features that are made unit here, less a centre."""

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, rows: Tensor, centre: Tensor | None, cells: Cells, scale: Tensor, offset: Tensor
    ) -> Tensor:
        cosine = rows.new_empty(len(queries), len(rows))  # [M, P]: M numbers for each point, and it has C features
        loss = rows.new_zeros(())
        for part in blocks(rows):
            features = _features(rows[part], centre)[-1][0]
            cosine[:, part] = queries @ features.T
            target, weight = cells.block(part)
            logits = cosine[:, part] * scale + offset
            loss += (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()
        ctx.cells = cells
        ctx.save_for_backward(queries, rows, centre, scale, offset, cosine)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, rows, centre, scale, offset, cosine = ctx.saved_tensors
        pull_queries, pull_rows = torch.zeros_like(queries), torch.empty_like(rows)
        pull_centre = None if centre is None else torch.zeros_like(centre)
        pull_scale, pull_offset = torch.zeros_like(scale), torch.zeros_like(offset)
        for part in blocks(rows):
            steps = _features(rows[part], centre)
            target, weight = ctx.cells.block(part)
            residual = ((cosine[:, part] * scale + offset).sigmoid_() - target) * weight * grads[0]  # [M, n]
            pull_scale += (residual * cosine[:, part]).sum()
            pull_offset += residual.sum()
            residual *= scale
            pull_queries.addmm_(residual, steps[-1][0])
            pull = unit_rows_back(residual.T @ queries, *steps[-1])
            if pull_centre is not None:
                pull_centre -= pull.sum(0)
                pull = unit_rows_back(pull, *steps[0])
            pull_rows[part] = pull
        return pull_queries, pull_rows, pull_centre, None, pull_scale, pull_offset


def _features(rows: Tensor, centre: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """The normalisations of a block, first to last: of the rows, and with a centre of the unit rows less it."""
    first = unit_rows(rows)
    return [first] if centre is None else [first, unit_rows(first[0], centre)]


def block_mask_bce(
    queries: Tensor, semantic: Tensor, centre: Tensor | None, cells: Cells, *, scale: Tensor, offset: Tensor
) -> Tensor:
    """`mask_reconstruction.mask_bce` in blocks of points (paper, IMR).

    Args:
        queries: F̄_i^mask as unit vectors, [M, C].
        semantic: F_3d^sem, [P, C].
        centre: What is subtracted from the unit vectors of F_3d^sem before the cosine, [C]; None for nothing.
        cells: The pairs.
        scale: Scalar, 1 / temperature.
        offset: Scalar.

    Returns:
        Scalar. Memory O(P M) and, going back, one [P, C]; once differentiable in all tensors.
    """
    return _BlockBCE.apply(queries, semantic, centre, cells, scale, offset)
