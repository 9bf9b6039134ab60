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


@pytest.mark.parametrize("length", [0.0, 1e-3, 1.0, 300.0])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_rounded_double(kind, length, device):
    """Squares of 300 are beyond float16, and the guard against zero lengths below it."""
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(6, 64, generator=generator).mul(length).to(device, kind).requires_grad_() for _ in "ab")
    told = [cosine_distance(a, b), unit(a)]
    expected = [1 - F.cosine_similarity(a.double(), b.double(), dim=-1), F.normalize(a.double(), dim=-1)]
    for one, other in zip(told, expected, strict=True):
        assert one.dtype == kind
        torch.testing.assert_close(one.double(), other, rtol=0.02, atol=0.02)
    sum(part.sum() for part in told).backward()
    assert length < 1 or (a.grad.isfinite().all() and b.grad.isfinite().all())


def test_zero_vectors_in_half_precision(device):
    zero = torch.zeros(2, 4, device=device, dtype=torch.float16, requires_grad=True)
    unseen = torch.zeros(2, 4, device=device, dtype=torch.float16)
    (cosine_distance(zero, unseen).sum() + 0 * unit(zero).sum()).backward()  # where nothing is seen
    assert cosine_distance(zero, unseen).tolist() == [1.0, 1.0] and zero.grad.isfinite().all()


def test_shapes_must_agree(device):
    with pytest.raises(InputError, match=r"one shape, found \[2, 3\] and \[2, 4\]"):
        cosine_distance(torch.ones(2, 3, device=device), torch.ones(2, 4, device=device))
