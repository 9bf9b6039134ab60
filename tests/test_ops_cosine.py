"""The hand-written gradients against finite differences and against torch's own functions."""

import pytest
import torch
import torch.nn.functional as F

from geoguide.errors import InputError
from geoguide.ops.cosine import cosine_distance, unit


@pytest.fixture
def pair(device):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(7, 5, generator=generator, dtype=torch.float64).to(device).requires_grad_() for _ in "ab"]


def test_values_equal_torch(pair):
    a, b = pair
    torch.testing.assert_close(cosine_distance(a, b), 1 - F.cosine_similarity(a, b, dim=-1))
    torch.testing.assert_close(unit(a), F.normalize(a, dim=-1))


def test_gradients(pair):
    a, b = pair
    assert torch.autograd.gradcheck(cosine_distance, (a, b))
    assert torch.autograd.gradcheck(cosine_distance, (a.detach(), b))  # one operand constant
    assert torch.autograd.gradcheck(unit, (a,))


def test_scaling_an_operand_changes_nothing(pair):
    a, b = pair
    torch.testing.assert_close(cosine_distance(3 * a, 0.1 * b), cosine_distance(a, b))


def test_zero_vectors(device):
    zero = torch.zeros(2, 4, device=device, requires_grad=True)
    other = torch.ones(2, 4, device=device, requires_grad=True)
    distance = cosine_distance(zero, other)
    (distance.sum() + unit(zero).sum()).backward()
    assert distance.tolist() == [1.0, 1.0] and unit(zero).abs().sum() == 0
    assert zero.grad.isfinite().all() and other.grad.isfinite().all()


def test_shapes_must_agree(device):
    with pytest.raises(InputError, match=r"one shape, found \[2, 3\] and \[2, 4\]"):
        cosine_distance(torch.ones(2, 3, device=device), torch.ones(2, 4, device=device))
