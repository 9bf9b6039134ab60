"""The lightweight MLP adapter from frozen 3D features to the text space, the only trained part kept at inference."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields
from geoguide.ops.blocks import blocks, is_large, same_precision

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


@dataclass(frozen=True)
class AdapterConfig:
    """Shape of the adapter. The paper says "lightweight MLP" and states nothing else.

    Attributes:
        hidden: Widths of the hidden layers. One hidden layer is the smallest MLP that is not linear.
        norm: What follows each hidden layer. LayerNorm works with one scene per step, batch norm does not.
        activation: What follows the norm; GELU as in the backbone.

    Raises:
        ConfigError: An unknown activation or norm, or a width below 1.
    """

    hidden: tuple[int, ...] = (256,)
    norm: Literal["layer", "none"] = "layer"
    activation: Literal["gelu", "relu"] = "gelu"

    def __post_init__(self) -> None:
        check_fields(self, "adapter")
        if min(self.hidden, default=1) < 1:
            raise ConfigError(f"adapter.hidden must hold widths of at least 1, found {self.hidden}")


class Adapter(nn.Module):
    """F_3d^G [P, C1] -> F_3d^sem [P, C] (paper, Overview).

    Inputs are standardised with the mean and deviation of the training scenes, kept as buffers (`standardise`), because
    hand-made and learned backbones have very different scales. The output is not normalised: every use is a cosine.

    Args:
        in_width: C1.
        out_width: C.
        config: Its shape; None for the default.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, in_width: int, out_width: int, config: AdapterConfig | None = None) -> None:
        super().__init__()
        config = config or AdapterConfig()
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
        """Set the statistics by which inputs are standardised.

        Args:
            mean: [C1].
            deviation: [C1]; channels that are constant (at most 1e-6) get 1.
        """
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    @property
    def last(self) -> nn.Linear:
        """The layer that gives F_3d^sem."""
        return cast(nn.Linear, self.layers[-1])

    def forward(self, geometry: Tensor) -> Tensor:
        """Compute F_3d^sem.

        Args:
            geometry: F_3d^G, float [P, C1].

        Returns:
            [P, C], of any length.

        Raises:
            InputError: Not [P, C1].
        """
        if geometry.dim() != 2 or geometry.shape[1] != self.in_width:
            raise InputError(f"adapter input must be [P, {self.in_width}], found {list(geometry.shape)}")
        # An exported graph takes any number of points, so nothing in it may ask for that number.
        trains = torch.is_grad_enabled() and not geometry.requires_grad and not torch.compiler.is_exporting()
        if trains and is_large(len(geometry), network=True):
            return _ByBlocks.apply(geometry, self, *self.parameters())
        return self.layers(self._standard(geometry))

    def _standard(self, geometry: Tensor) -> Tensor:
        return (geometry - self.mean) / self.deviation

    def whole(self, geometry: Tensor, chunk: int = 65536) -> Tensor:
        """Compute F_3d^sem of a whole scene, chunk by chunk.

        Args:
            geometry: F_3d^G, [P, C1], any float dtype, on any device.
            chunk: Points worked on at a time.

        Returns:
            float32 [P, C], of any length, on the adapter's device.

        Raises:
            InputError: Not [P, C1].
        """
        return torch.cat([self(part.to(self.mean.device).float()) for part in geometry.split(chunk)])


class _ByBlocks(torch.autograd.Function):
    """`Adapter.forward` of very many points: hidden layers are computed again, block by block, on the way back."""

    @staticmethod
    def forward(ctx: Any, geometry: Tensor, adapter: Adapter, *parameters: Tensor) -> Tensor:
        ctx.adapter, ctx.precision = adapter, same_precision(geometry.device.type)
        ctx.save_for_backward(geometry, *parameters)  # so that torch objects where weights change before the way back
        semantic = torch.empty(0)
        for part in blocks(geometry):
            own = adapter.layers(adapter._standard(geometry[part]))
            if part.start == 0:
                semantic = own.new_empty(len(geometry), own.shape[1])
            semantic[part] = own
        return semantic

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        adapter, (geometry, *parameters) = ctx.adapter, ctx.saved_tensors
        body, last = adapter.layers[:-1], adapter.last
        inner = [*body.parameters()]
        pulls = [torch.zeros_like(parameter) for parameter in parameters]  # the last layer's come last
        for part in blocks(geometry):
            with torch.enable_grad(), ctx.precision.again():
                hidden = body(adapter._standard(geometry[part]))  # [n, H]
            pull = grads[0][part].to(hidden.dtype)
            pulls[-2] += pull.T @ hidden.detach()
            pulls[-1] += pull.sum(0)
            if inner:
                below = torch.autograd.grad(hidden, inner, pull @ last.weight.to(pull.dtype))
                for total, own in zip(pulls, below, strict=False):
                    total += own
        return None, None, *pulls
