"""The mini backbone's network trained on labels: an upper bound of what its pretraining can give."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from geoguide.backbones.point_transformer import upcast
from geoguide.errors import InputError
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.loop import build, descend, learning_rate
from geoguide.pretraining.step import batch_views
from geoguide.pretraining.views import Cloud, PointView, crop, make_view
from geoguide.scene import VOID


def train_supervised(
    config: PretrainConfig, clouds: list[Cloud], labels: list[np.ndarray], classes: int, *, progress: bool = True
) -> nn.ModuleDict:
    """Train the encoder and a linear head by cross-entropy on augmented crops of labelled rooms.

    Crops, augmentation, rate and rooms per step are pretraining's. The head reads the features that a frozen encoder
    would give, so the two trainings differ in nothing but the loss. Deterministic in the seed; not resumable.

    Args:
        config: The training; `config.steps` steps.
        clouds: The rooms.
        labels: Labels of each room's points, int64 [P], 255 void.
        classes: Number C of classes.
        progress: Whether a progress bar is shown.

    Returns:
        `encoder` and `head`, frozen.

    Raises:
        InputError: Clouds and labels differ in number, or are fewer than `rooms_per_step`.
    """
    if len(clouds) != len(labels) or len(clouds) < config.rooms_per_step:
        raise InputError(f"labels must be given for each of {len(clouds)} clouds (at least {config.rooms_per_step})"
                         f", found {len(labels)}")  # fmt: skip
    encoder = build(config)["encoder"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = nn.Linear(config.network.width, classes)
    network = nn.ModuleDict({"encoder": encoder, "head": head})
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
    for step in tqdm(range(config.steps), "supervised", disable=not progress):
        rng = np.random.default_rng([config.seed, 4, step])
        chosen = rng.permutation(len(clouds))[: config.rooms_per_step]
        pairs = [labelled_view(clouds[n], labels[n], config, rng) for n in chosen]
        target = torch.from_numpy(np.concatenate([label for _, label in pairs]))
        stages = encoder(*batch_views([view for view, _ in pairs], "cpu"), shuffle_seed=step)
        loss = F.cross_entropy(head(upcast(stages, config.network.concat)), target, ignore_index=VOID)
        descend(network, optimizer, loss, learning_rate(config, step), config.clip)
    return network.requires_grad_(False).eval()


def labelled_view(
    cloud: Cloud, labels: np.ndarray, config: PretrainConfig, rng: np.random.Generator
) -> tuple[PointView, np.ndarray]:
    """Draw an augmented crop of a labelled room.

    Args:
        cloud: The room.
        labels: Labels of its points, int64 [P].
        config: Size of the crop, augmentation and voxels.
        rng: Source of all that is random.

    Returns:
        The view, and the label of each voxel's point, int64 [V].
    """
    region = crop(cloud.points, cloud.points[rng.integers(len(cloud))], rng.uniform(*config.views.global_share))
    view = make_view(cloud.take(region), config.views, config.network.voxel, rng)
    return view, labels[region][view.point]
