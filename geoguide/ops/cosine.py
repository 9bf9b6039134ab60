"""Cosine distance and unit length with gradients of their own: half of autograd's passes over [P, C]."""

import torch
from torch import Tensor

from geoguide.errors import InputError

_EPS = 1e-8


class _CosineDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        norm_a, norm_b = torch.linalg.vector_norm(a, dim=-1), torch.linalg.vector_norm(b, dim=-1)  # [...]
        lengths = norm_a * norm_b
        zero = lengths < _EPS
        cosine = (a * b).sum(-1) / lengths.clamp_min(_EPS)
        ctx.save_for_backward(a, b, norm_a, norm_b, cosine, zero)
        return 1.0 - cosine

    @staticmethod
    def backward(ctx, grad):
        a, b, norm_a, norm_b, cosine, zero = ctx.saved_tensors
        across = -grad / (norm_a * norm_b).clamp_min(_EPS)  # d(1 - cos) / da = -b / |a||b| + cos a / |a|^2
        along = torch.where(zero, 0.0, grad * cosine)
        found = []
        for needed, own, other, norm in ((0, a, b, norm_a), (1, b, a, norm_b)):
            if not ctx.needs_input_grad[needed]:
                found.append(None)
                continue
            pull = along / norm.square().clamp_min(_EPS**2)
            found.append((other * across.unsqueeze(-1)).addcmul_(own, pull.unsqueeze(-1)))
        return tuple(found)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """1 - cos along the last axis: [..., C], [..., C] -> [...]; a zero vector is at distance 1 from everything.

    Once differentiable. Two passes over each operand in either direction.
    """
    if a.shape != b.shape:
        raise InputError(f"cosine_distance takes two tensors of one shape, found {list(a.shape)} and {list(b.shape)}")
    return _CosineDistance.apply(a, b)


class _Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(_EPS)  # [..., 1]
        unit = x / norm
        ctx.save_for_backward(unit, norm)
        return unit

    @staticmethod
    def backward(ctx, grad):
        unit, norm = ctx.saved_tensors  # the gradient is what of grad is across the vector, over its length
        along = (grad * unit).sum(-1, keepdim=True)
        return torch.addcmul(grad, unit, along, value=-1).div_(norm)


def unit(x: Tensor) -> Tensor:
    """X scaled to length 1 along its last axis, [..., C] -> [..., C]; zero vectors stay zero. Once differentiable."""
    return _Unit.apply(x)
