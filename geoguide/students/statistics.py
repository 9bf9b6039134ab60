"""Statistics of the training scenes from which a student starts: mean and spread of the features."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.prepared import PreparedScene

SAMPLED = 100  # scenes that statistics are taken from


def sampled(scenes: Sequence[PreparedScene]) -> Iterator[PreparedScene]:
    """Pick at most `SAMPLED` of the scenes, evenly spread.

    Args:
        scenes: Prepared scenes.

    Returns:
        An iterator; a scene is opened when its turn comes.
    """
    return (scenes[number] for number in range(0, len(scenes), -(-len(scenes) // SAMPLED)))


def geometry_statistics(scenes: Sequence[PreparedScene]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the frozen features F_3d^G, channel by channel.

    Args:
        scenes: The training scenes; every 16th point of at most `SAMPLED` of them is read.

    Returns:
        Mean and deviation, float32 [C1] each.
    """
    rows = torch.cat([torch.from_numpy(np.asarray(s.geometry[::16], np.float32)) for s in sampled(scenes)])  # [n, C1]
    return rows.mean(0), rows.std(0, correction=0)


def mean_lifted(scenes: Sequence[PreparedScene]) -> Tensor:
    """Mean of the 2D features F_2d of the seen points.

    Args:
        scenes: The training scenes; every 64th point of at most `SAMPLED` of them is read.

    Returns:
        float32 [C].
    """
    rows = []
    for scene in sampled(scenes):
        lifted, seen = scene.features(np.arange(0, len(scene), 64))
        rows.append(torch.from_numpy(np.asarray(lifted, np.float32))[torch.from_numpy(seen)])
    return torch.cat(rows).mean(0)


@torch.no_grad()
def start_at_mean(last: nn.Linear, mean_target: Tensor) -> None:
    """Make a last layer return the direction of the mean 2D feature, and little else, for any input.

    Text-aligned features share a large common direction; gradient descent needs hundreds of steps to find it.

    Args:
        last: The layer, of output width C. Its bias is set to the unit mean feature, its weights are divided by 10.
        mean_target: float [C], the mean 2D feature.
    """
    last.bias.copy_(mean_target / mean_target.norm().clamp_min(1e-8))
    last.weight.mul_(0.1)
