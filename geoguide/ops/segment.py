"""Pooling over segments (superpoints, instances): one function, the fastest back end that is installed."""

import importlib.util

import torch
from torch import Tensor

from geoguide.errors import InputError

_HAS_SCATTER = importlib.util.find_spec("torch_scatter") is not None


def segment_sum(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Sum rows by segment: values [P, ...], index int64 [P] in 0..count-1 -> [count, ...]; empty segments are 0.

    Differentiable. Cost O(P D); index_add_ everywhere, torch-scatter's kernel on CUDA where it is installed.
    """
    _check(values, index, count)
    if values.is_cuda and _HAS_SCATTER:
        import torch_scatter

        return torch_scatter.scatter_sum(values, index, dim=0, dim_size=count)
    return values.new_zeros((count, *values.shape[1:])).index_add_(0, index, values)


def segment_mean(values: Tensor, index: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """(Weighted) mean of rows by segment: values [P, ...], weights [P] >= 0 -> [count, ...]; empty segments are 0."""
    shape = (-1,) + (1,) * (values.dim() - 1)
    total = segment_sum(values if weights is None else values * weights.view(shape), index, count)
    mass = segment_sum(values.new_ones(len(values)) if weights is None else weights, index, count).view(shape)
    return total / torch.where(mass > 0, mass, 1)  # not a tiny number: its reciprocal would overflow the gradient


def segment_softmax(scores: Tensor, index: Tensor, count: int) -> Tensor:
    """Softmax within each segment: scores [P] -> [P], summing to 1 over every non-empty segment. Differentiable."""
    _check(scores, index, count)
    peak = torch.full((count,), -torch.inf, dtype=scores.dtype, device=scores.device)
    peak = peak.scatter_reduce(0, index, scores.detach(), "amax")
    weight = (scores - peak[index]).exp()
    return weight / segment_sum(weight, index, count)[index]


def _check(values: Tensor, index: Tensor, count: int) -> None:
    if index.dtype != torch.int64 or index.dim() != 1 or len(index) != len(values):
        raise InputError(
            f"segment index must be int64 [{len(values)}], found {index.dtype} {list(index.shape)} for {count} segments"
        )
