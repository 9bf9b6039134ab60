"""The MLP of W over very many points (paper, USD), a block at a time: of a point, its hidden layer is kept once."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.method.batch import Batch
from geoguide.ops.blocks import blocks


class _BlockScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        batch: Batch,
        mean_3d: Tensor,
        mean_2d: Tensor,
        half_3d: Tensor,
        half_2d: Tensor,
        bias: Tensor,
        last: Tensor,
        last_bias: Tensor,
    ) -> Tensor:
        group, seen = batch.superpoints.group, batch.seen.unsqueeze(-1)
        hidden, scores = bias.new_empty(len(batch), len(bias)), bias.new_empty(len(batch))  # [P, hidden], [P]
        mean_3d = mean_3d + bias
        for part in blocks(scores):
            in_3d = mean_3d.index_select(0, group[part]).addmm_(batch.geometry[part], half_3d.T, alpha=-1)
            in_2d = mean_2d.index_select(0, group[part]).addmm_(batch.lifted[part], half_2d.T, alpha=-1)
            hidden[part] = in_3d.addcmul_(in_2d, seen[part])
            scores[part] = F.linear(F.gelu(in_3d), last, last_bias).squeeze(-1)
        ctx.batch = batch
        ctx.save_for_backward(hidden, last)
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        batch, (hidden, last), above = ctx.batch, ctx.saved_tensors, grads[0].unsqueeze(-1)  # [P, 1]
        group, (width, count) = batch.superpoints.group, (hidden.shape[1], batch.superpoints.count)
        mean_3d, mean_2d = (hidden.new_zeros(count, width) for _ in range(2))
        half_3d, half_2d = (hidden.new_zeros(width, part.shape[1]) for part in (batch.geometry, batch.lifted))
        to_last = torch.zeros_like(last)
        for part in blocks(hidden):
            with torch.enable_grad():
                own = hidden[part].requires_grad_()
                active = F.gelu(own)  # [n, hidden]
            to_last.addmm_(above[part].T, active.detach())
            (pull,) = torch.autograd.grad(active, own, above[part] * last)  # [n, hidden]
            mean_3d.index_add_(0, group[part], pull)
            half_3d.addmm_(pull.T, batch.geometry[part], alpha=-1)
            pull *= batch.seen[part].unsqueeze(-1)
            mean_2d.index_add_(0, group[part], pull)
            half_2d.addmm_(pull.T, batch.lifted[part], alpha=-1)
        return None, mean_3d, mean_2d, half_3d, half_2d, mean_3d.sum(0), to_last, grads[0].sum(0, keepdim=True)


def block_scores(
    batch: Batch, means: tuple[Tensor, Tensor], halves: tuple[Tensor, ...], bias: Tensor, last: torch.nn.Linear
) -> Tensor:
    """`superpoint_distillation.Reliability` of a large batch (paper, USD).

    Args:
        batch: The P points.
        means: Of each superpoint, the mean 3D and 2D feature times the first layer's weights, [S, hidden] each.
        halves: These weights, [hidden, C1] and [hidden, C].
        bias: Of the first layer, [hidden].
        last: The layer after its GELU.

    Returns:
        Scores [P]. Memory O(P hidden); once differentiable in means, halves, bias and the parameters of `last`.
    """
    return _BlockScores.apply(batch, *means, *halves, bias, last.weight, last.bias)
