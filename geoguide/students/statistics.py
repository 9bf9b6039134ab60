"""Statistics of the training scenes from which a student starts: mean and spread of the features."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.errors import DataError

if TYPE_CHECKING:  # a model that labels needs no prepared scene
    from geoguide.prepared import PreparedScene

SAMPLED = 100  # scenes that statistics are taken from
ENOUGH = 10  # scenes, to say how far one may lie from the others


def sampled(scenes: "Sequence[PreparedScene]", count: int = SAMPLED) -> "Iterator[PreparedScene]":
    """Pick some of the scenes, evenly spread.

    Args:
        scenes: Prepared scenes.
        count: How many at most.

    Returns:
        An iterator; a scene is opened when its turn comes.
    """
    return (scenes[number] for number in range(0, len(scenes), -(-len(scenes) // count)))


def geometry_statistics(scenes: "Sequence[PreparedScene]") -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the frozen features F_3d^G, channel by channel.

    Args:
        scenes: The training scenes; every 16th point of at most `SAMPLED` of them is read.

    Returns:
        Mean and deviation, float32 [C1] each.
    """
    return mean_and_deviation([torch.from_numpy(np.asarray(s.geometry[::16], np.float32)) for s in sampled(scenes)])


def feature_distance(geometry: Tensor, mean: Tensor, deviation: Tensor) -> float:
    """How far a scene's frozen features lie from those of the training scenes, all channels together.

    Args:
        geometry: F_3d^G of the scene or of some of its points, float [P, C1].
        mean: Of the training scenes, [C1].
        deviation: Likewise.

    Returns:
        Root mean square over the channels of the difference of means, in deviations. See
        benchmarks/results/domains.json for what that is of rooms, houses and streets.

    Example:
        >>> import torch
        >>> feature_distance(torch.tensor([[1.0, 4.0], [3.0, 4.0]]), torch.tensor([2.0, 0.0]), torch.tensor([1.0, 2.0]))
        1.4142135381698608
    """
    return float((((geometry.float().mean(0) - mean) / deviation).square().mean()).sqrt())


def farthest(scenes: "Sequence[PreparedScene]", mean: Tensor, deviation: Tensor) -> float | None:
    """Find the largest `feature_distance` of a training scene.

    Args:
        scenes: The training scenes; every 16th point of at most `SAMPLED` of them is read.
        mean: As in `feature_distance`.
        deviation: Likewise.

    Returns:
        The distance; None for fewer than `ENOUGH` scenes, whose own statistics these are.
    """
    if len(scenes) < ENOUGH:
        return None
    rows = (torch.from_numpy(np.asarray(scene.geometry[::16], np.float32)) for scene in sampled(scenes))
    return max(feature_distance(part, mean, deviation) for part in rows)


def mean_and_deviation(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of features, channel by channel.

    Args:
        parts: float32 [n, C1] each.

    Returns:
        Mean and deviation over all rows, float32 [C1] each.
    """
    rows = torch.cat(list(parts))  # [n, C1]
    return rows.mean(0), rows.std(0, correction=0)


def mean_lifted(scenes: "Sequence[PreparedScene]") -> Tensor:
    """Mean of the 2D features F_2d of the seen points.

    Args:
        scenes: The training scenes; every 64th point of at most `SAMPLED` of them is read, and every point of all of
            them where none of these is seen.

    Returns:
        float32 [C].

    Raises:
        DataError: No point of any scene is seen.
    """
    rows = torch.cat([_seen_rows(scene, 64) for scene in sampled(scenes)])  # [n, C]
    if not len(rows):
        rows = torch.cat([_seen_rows(scene, 1) for scene in scenes])
    if not len(rows):
        known = f"{len(scenes)} training scenes ({scenes[0].name}, ...)" if len(scenes) > 1 else scenes[0].name
        why = "are the poses, the depth images and the unit those of this cloud?"
        raise DataError(f"{known}: no point has a 2D feature, so nothing can be learned: {why}")
    return rows.mean(0)


def _seen_rows(scene: "PreparedScene", step: int) -> Tensor:
    """F_2d of the seen ones of every `step`-th point, float32 [n, C]."""
    lifted, seen = scene.features(np.arange(0, len(scene), step))
    return torch.from_numpy(np.asarray(lifted, np.float32))[torch.from_numpy(seen)]


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
