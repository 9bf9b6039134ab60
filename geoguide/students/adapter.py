"""The lightweight MLP adapter: frozen 3D features to the text space; the only trained part kept at inference."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError, InputError

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


@dataclass(frozen=True)
class AdapterConfig:
    """Shape of the adapter. The paper says "lightweight MLP" and states nothing else."""

    hidden: tuple[int, ...] = (256,)  # not stated; one hidden layer is the smallest MLP that is not linear
    norm: Literal["layer", "none"] = "layer"  # not stated; LayerNorm works with one scene per step, batch norm does not
    activation: Literal["gelu", "relu"] = "gelu"  # not stated; GELU as in the backbone


class Adapter(nn.Module):
    """F_3d^G [P, C1] -> F_3d^sem [P, C] (paper, Overview).

    Inputs are standardised with the mean and deviation of the training scenes, kept as buffers (`standardise`), because
    hand-made and learned backbones have very different scales. The output is not normalised: every use is a cosine.
    """

    def __init__(self, in_width: int, out_width: int, config: AdapterConfig | None = None) -> None:
        super().__init__()
        config = config or AdapterConfig()
        if config.activation not in _ACTIVATIONS or config.norm not in ("layer", "none"):
            raise ConfigError(f"adapter: unknown activation {config.activation!r} or norm {config.norm!r}")
        self.in_width, self.out_width = in_width, out_width
        self.register_buffer("mean", torch.zeros(in_width))
        self.register_buffer("deviation", torch.ones(in_width))
        layers: list[nn.Module] = []
        width = in_width
        for hidden in config.hidden:
            layers.append(nn.Linear(width, hidden))
            if config.norm == "layer":
                layers.append(nn.LayerNorm(hidden))
            layers.append(_ACTIVATIONS[config.activation]())
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, out_width))

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the input statistics, both [C1]; constant channels keep deviation 1."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    @property
    def last(self) -> nn.Linear:
        """The layer that gives F_3d^sem."""
        return self.layers[-1]

    def forward(self, geometry: Tensor) -> Tensor:
        """Geometry float [P, C1] -> [P, C]."""
        if geometry.dim() != 2 or geometry.shape[1] != self.in_width:
            raise InputError(f"adapter input must be [P, {self.in_width}], found {list(geometry.shape)}")
        return self.layers((geometry - self.mean) / self.deviation)

    def whole(self, geometry: Tensor, chunk: int = 65536) -> Tensor:
        """F_3d^sem of a whole scene, chunk by chunk.

        Args:
            geometry: F_3d^G, [P, C1], any float dtype, on any device.
            chunk: Points that are worked on at a time.

        Returns:
            float32 [P, C], of any length, on the adapter's device.
        """
        return torch.cat([self(part.to(self.mean.device).float()) for part in geometry.split(chunk)])
