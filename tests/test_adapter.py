"""Adapter: shapes, standardisation, options."""

import pytest
import torch

from geoguide.errors import ConfigError, InputError
from geoguide.students.adapter import Adapter, AdapterConfig


def test_standardises_its_input(device: torch.device) -> None:
    """Scaling and shifting the frozen features must not matter once their statistics are set."""
    torch.manual_seed(0)
    geometry = torch.randn(200, 5, device=device)
    adapter = Adapter(5, 7).to(device)
    adapter.standardise(geometry.mean(0), geometry.std(0))
    expected = adapter(geometry)
    scaled = geometry * torch.tensor([1.0, 10, 100, 0.1, 5], device=device) + 3
    adapter.standardise(scaled.mean(0), scaled.std(0))
    torch.testing.assert_close(adapter(scaled), expected, atol=1e-4, rtol=1e-4)


def test_constant_channel_stays_finite() -> None:
    adapter = Adapter(2, 3)
    adapter.standardise(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0]))
    assert torch.isfinite(adapter(torch.ones(4, 2))).all()


@pytest.mark.parametrize("hidden", [(), (8,), (8, 6)])
def test_depth_is_an_option(hidden: tuple[int, ...]) -> None:
    adapter = Adapter(4, 3, AdapterConfig(hidden=hidden, norm="none", activation="relu"))
    assert adapter(torch.zeros(2, 4)).shape == (2, 3)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in adapter.layers) == len(hidden) + 1


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"\[P, 4\], found \[2, 5\]"):
        Adapter(4, 3)(torch.zeros(2, 5))
    with pytest.raises(ConfigError, match="swish"):
        Adapter(4, 3, AdapterConfig(activation="swish"))
