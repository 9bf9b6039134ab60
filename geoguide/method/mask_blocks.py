"""IMR's loss over very many points (paper, IMR): a block of points at a time against all masks at once.

`mask_reconstruction.mask_bce` works through masks, each against all points, and keeps a gradient and the unit vectors
of all points; here both are made block by block, and M numbers for each point are kept, which has C features.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.ops.blocks import blocks
from geoguide.ops.groups import Groups
from geoguide.ops.segment import segment_sum
from geoguide.ops.shared_rows import length_of, pulls_of, shared


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
        inside = masks.sizes.to(like.dtype).unsqueeze(-1)  # [M, 1]
        outside = len(like) - inside
        if ignore is not None:
            held = ignore[masks.group, masks.of_entries(superpoints.group)].to(like.dtype)  # [E], inside all the same
            left_out = ignore.to(like.dtype) @ superpoints.sizes.to(like.dtype)  # [M]
            outside = outside - (left_out - segment_sum(held, masks.group, masks.count)).unsqueeze(-1)
        if balance == "balanced":
            half = 0.5 / masks.count
            return cls(masks, half / inside.clamp_min(1), half / outside.clamp_min(1), ignore, superpoints)
        share = 1.0 / masks.count / (inside + outside).clamp_min(1)
        return cls(masks, share, share, ignore, superpoints)

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
        weight = self.outside.expand_as(target)
        if self.ignore is not None:
            weight = weight.masked_fill(self.ignore.index_select(1, self.superpoints.group[part]), 0)
        return target, torch.where(target > 0, self.inside, weight)


class _BlockBCE(torch.autograd.Function):
    """As `mask_reconstruction._MaskBCE`, of unit queries and of features that are made unit here, less a centre.

    Its gradients too are computed in the forward pass, that of F_3d^sem as far as its product with the queries. With
    u the unit vector of a point, c the centre, d = |u - c| and f = (u - c) / d, residuals r pull at f by r^T q, and so
    at u by (r^T q - f (r cos)) / d, which is (r / d)^T q + c (r cos) / d^2 but for a part along u.
    """

    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, rows: Tensor, centre: Tensor | None, cells: Cells, scale: Tensor, offset: Tensor
    ) -> Tensor:
        ends = queries if centre is None else torch.cat([queries, centre.unsqueeze(0)])  # [M (+ 1), C]
        kept, masks, length = rows.new_empty(len(ends), len(rows)), len(queries), length_of(rows)
        pull_queries, pull_centre = torch.zeros_like(queries), torch.zeros_like(queries[0])
        pull_scale, pull_offset = torch.zeros_like(scale), torch.zeros_like(offset)
        loss = rows.new_zeros(())
        for part in blocks(rows):
            features = rows[part] / length[part]  # [n, C]
            if centre is not None:
                features -= centre
                near = torch.linalg.vector_norm(features, dim=-1).clamp_min(1e-8)  # [n]
            cosine = queries @ features.T  # [M, n]
            if centre is not None:
                cosine /= near
            target, weight = cells.block(part)
            logits = cosine * scale + offset
            loss += (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum()
            residual = logits.sigmoid_().sub_(target).mul_(weight)  # [M, n], d loss / d logits
            pull_offset += residual.sum()
            along = (residual * cosine).sum(0)  # [n]
            pull_scale += along.sum()
            residual *= scale
            if centre is not None:
                residual /= near
                along *= scale / near.square()
                kept[masks, part] = along
                pull_centre += along @ features - residual.sum(1) @ queries
            kept[:masks, part] = residual
            pull_queries.addmm_(residual, features)
        ctx.pulls = pulls_of(rows)
        ctx.save_for_backward(ends, kept, pull_queries, pull_centre, pull_scale, pull_offset)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        ends, kept, *pulls = ctx.saved_tensors
        pull_queries, pull_centre, pull_scale, pull_offset = (grads[0] * own for own in pulls)
        if ctx.pulls is not None:
            ends = grads[0] * ends
            ctx.pulls.add(ctx, lambda part, own: own.addmm_(kept[:, part].T, ends), of_unit=True)
        return pull_queries, None, pull_centre if ctx.needs_input_grad[2] else None, None, pull_scale, pull_offset


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
        Scalar. Memory O(P M); once differentiable in all tensors, F_3d^sem as shared rows (see `ops.shared_rows`).
    """
    return _BlockBCE.apply(queries, shared(semantic), centre, cells, scale, offset)
