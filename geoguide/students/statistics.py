"""What a student learns of the training scenes before the first step: where features lie, and how far they spread."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.prepared import PreparedScene

SAMPLED = 100  # scenes that are looked at


def sampled(scenes: Sequence[PreparedScene]) -> Iterator[PreparedScene]:
    """At most `SAMPLED` of the scenes, evenly spread."""
    return (scenes[number] for number in range(0, len(scenes), -(-len(scenes) // SAMPLED)))


def geometry_statistics(scenes: Sequence[PreparedScene]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the frozen features.

    Args:
        scenes: Every 16th point of at most `SAMPLED` of them is looked at.

    Returns:
        Two float [C1].
    """
    rows = torch.cat([torch.from_numpy(np.asarray(s.geometry[::16], np.float32)) for s in sampled(scenes)])
    return rows.mean(0), rows.std(0, correction=0)


def mean_lifted(scenes: Sequence[PreparedScene]) -> Tensor:
    """Mean 2D feature of the seen points.

    Args:
        scenes: Every 64th point of at most `SAMPLED` of them is looked at.

    Returns:
        float [C].
    """
    rows = []
    for scene in sampled(scenes):
        lifted, seen = scene.features(np.arange(0, len(scene), 64))
        rows.append(torch.from_numpy(np.asarray(lifted, np.float32))[torch.from_numpy(seen)])
    return torch.cat(rows).mean(0)


@torch.no_grad()
def start_at_mean(last: nn.Linear, mean_target: Tensor) -> None:
    """Make a last layer answer with the direction of the mean 2D feature, and little else, for any input.

    Text-aligned features share a large common direction; found by gradient descent it takes hundreds of steps.

    Args:
        last: The layer, [C] out; its bias is set and its weights made small.
        mean_target: [C].
    """
    last.bias.copy_(mean_target / mean_target.norm().clamp_min(1e-8))
    last.weight.mul_(0.1)
