"""Pooling over segments against loops, and gradients against finite differences."""

import numpy as np
import pytest
import torch

from geoguide.errors import InputError
from geoguide.ops.segment import segment_mean, segment_softmax, segment_sum


@pytest.fixture
def case(rng, device):
    """Values [50, 3] float64 in 7 segments of which 2 and 6 are empty."""
    index = rng.choice([0, 1, 3, 4, 5], 50)
    values = rng.normal(size=(50, 3))
    return torch.tensor(values, device=device, requires_grad=True), torch.tensor(index, device=device)


def rows(values, index, segment):
    return [value for value, one in zip(values.tolist(), index.tolist(), strict=True) if one == segment]


def test_sum_and_mean_equal_loops(case):
    values, index = case
    sums = [np.sum(rows(values, index, s), axis=0) if rows(values, index, s) else np.zeros(3) for s in range(7)]
    means = [total / max(len(rows(values, index, s)), 1) for s, total in enumerate(sums)]
    np.testing.assert_allclose(segment_sum(values, index, 7).detach().cpu(), np.stack(sums), atol=1e-12)
    np.testing.assert_allclose(segment_mean(values, index, 7).detach().cpu(), np.stack(means), atol=1e-12)


def test_shapes(case):
    values, index = case
    assert segment_sum(values[:, 0], index, 7).shape == (7,)
    assert segment_mean(values[:, :, None], index, 7).shape == (7, 3, 1)
    assert segment_sum(values[:0], index[:0], 4).tolist() == [[0.0] * 3] * 4


def test_weighted_mean(case, rng):
    values, index = case
    weights = torch.tensor(rng.random(50), device=values.device)
    weights[index == 4] = 0.0
    found = segment_mean(values, index, 7, weights).detach().cpu().numpy()
    for segment in (0, 1, 3, 5):
        inside = (index == segment).cpu().numpy()
        expected = np.average(values.detach().cpu().numpy()[inside], axis=0, weights=weights.cpu().numpy()[inside])
        np.testing.assert_allclose(found[segment], expected, atol=1e-12)
    np.testing.assert_array_equal(found[[2, 4, 6]], 0)


def test_softmax_equals_torch_per_segment(case):
    values, index = case
    scores = values[:, 0] * 300  # far beyond what exp can take
    found = segment_softmax(scores, index, 7)
    for segment in (0, 1, 3, 4, 5):
        torch.testing.assert_close(found[index == segment], scores[index == segment].softmax(0))


@pytest.mark.parametrize("function", [segment_sum, segment_mean])
def test_gradients(case, function):
    values, index = case
    assert torch.autograd.gradcheck(lambda v: function(v, index, 7), (values,))


def test_gradients_of_weights_and_softmax(case):
    values, index = case
    weights = values.detach()[:, 0].exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, w: segment_mean(v, index, 7, w), (values, weights))
    assert torch.autograd.gradcheck(lambda v: segment_softmax(v[:, 0], index, 7), (values,))


def test_segment_whose_weights_are_all_zero_has_finite_gradients(case):
    """A learned weight may underflow to exactly 0 for a whole segment."""
    values, index = case
    weights = (index != 4).to(torch.float32).requires_grad_()
    segment_mean(values.detach().float(), index, 7, weights).sum().backward()
    assert weights.grad.abs().max() < 1e3


def test_order_does_not_matter(case, rng):
    values, index = case
    order = torch.tensor(rng.permutation(50), device=values.device)
    torch.testing.assert_close(segment_mean(values[order], index[order], 7), segment_mean(values, index, 7))
    torch.testing.assert_close(segment_softmax(values[order, 1], index[order], 7),
                               segment_softmax(values[:, 1], index, 7)[order])  # fmt: skip


def test_refuses(case):
    values, index = case
    for bad in (index[:-1], index.int(), index[:, None]):
        for function in (segment_sum, segment_mean):
            with pytest.raises(InputError, match="segment index must be int64"):
                function(values, bad, 7)
        with pytest.raises(InputError, match="segment index must be int64"):
            segment_softmax(values[:, 0], bad, 7)
