"""The loop: `train_images` matches the pixels of rendered images with text (after LSeg and OpenSeg), and resumes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.errors import InputError
from geoguide.ops.segment import segment_mean
from geoguide.pipeline.checkpoint import Progress, checkpoint_path
from geoguide.pretraining.images.config import DenseTrainConfig
from geoguide.pretraining.images.names import Name, names_of
from geoguide.pretraining.images.worlds import Images
from geoguide.pretraining.loop import descend
from geoguide.scene import VOID
from geoguide.teachers.mini_network import DenseNet, channels_last, unit_codes

_ORDER, _CHANGE = 11, 12  # which random stream a seed is for


@dataclass(frozen=True, eq=False)
class ImageTraining:
    """What a training leaves.

    Attributes:
        network: The trained network, frozen.
        history: One row per `log_every` steps: step, learning_rate, and means since the row before of total (the
            cross-entropy), accuracy (of the pixels or regions of the batch) and grad_norm.
        config: The config it was trained by.
        step: Number of steps done.
    """

    network: DenseNet
    history: list[dict[str, float]]
    config: DenseTrainConfig
    step: int


def taught_names(config: DenseTrainConfig) -> tuple[list[str], np.ndarray]:
    """The names whose text a network is trained with: seen ones only.

    Args:
        config: The training.

    Returns:
        K names, each once; and the row of each of `names_of`, int64 [256]: 0..K-1, or 255 (void) for unseen ones.
    """
    names = names_of(config.worlds.kind)
    said = [_said(name, config.coarse) if name.seen else None for name in names]
    taught = list(dict.fromkeys(word for word in said if word is not None))
    rows = np.full(VOID + 1, VOID, np.int64)
    rows[: len(said)] = [VOID if word is None else taught.index(word) for word in said]
    return taught, rows


def _said(name: Name, coarse: bool) -> str:
    return name.coarse if coarse else name.name


def train_images(
    config: DenseTrainConfig,
    worlds: list[Images],
    text: np.ndarray,
    *,
    run_dir: Path | None = None,
    until: int | None = None,
    progress: bool = True,
) -> ImageTraining:
    """Train a network so that the cosine of a pixel's feature with the text of its name is the largest of all.

    All randomness of a step derives from (seed, step), so an interrupted run goes on with the same final weights.

    Args:
        config: Everything that decides the weights.
        worlds: The images.
        text: float32 [K, C], the embeddings of `taught_names`.
        run_dir: Folder of the checkpoint; None: none.
        until: Step of the same schedule to stop at, by default `config.steps`.
        progress: Whether a progress bar is shown.

    Returns:
        The network and its history.

    Raises:
        InputError: `text` does not fit, or there are fewer images than a batch.
        DataError: The checkpoint does not fit, or the loss is not finite.
    """
    shape = (len(taught_names(config)[0]), config.network.width)
    if text.shape != shape:
        raise InputError(f"text must be {list(shape)}, found {list(text.shape)}")
    if sum(len(world.color) for world in worlds) < config.batch:
        raise InputError(f"worlds must hold at least batch={config.batch} images")
    state = _State.new(config, text)
    checkpoint = checkpoint_path(run_dir, config, (world.color for world in worlds))
    end = config.steps if until is None else min(until, config.steps)
    images = _Stack.of(worlds, taught_names(config)[1], config.network.stride)
    for bar in state.steps(end, checkpoint, config.checkpoint_every, config.name, progress=progress):
        state.advance(images)
        if state.step % config.log_every == 0 or state.step == config.steps:
            state.log(config.name, learning_rate=rate_of(config, state.step - 1))
            bar.set_postfix({k: f"{state.history[-1][k]:.3f}" for k in ("total", "accuracy")})
    return ImageTraining(state.network.requires_grad_(False).eval(), state.history, config, state.step)


def rate_of(config: DenseTrainConfig, step: int) -> float:
    """The learning rate: a linear rise over the warm-up, then half a cosine down to 0.

    Args:
        config: Its rate, steps and warm-up.
        step: Number of steps done before.

    Returns:
        The rate.
    """
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, config.steps - rise)))


@dataclass(frozen=True, eq=False)
class _Stack:
    """All images: colour uint8 [N, H, W, 3]; name int64 and thing int16 at every code's middle, [N, h, w]."""

    color: np.ndarray
    name: np.ndarray
    thing: np.ndarray
    stride: int

    @classmethod
    def of(cls, worlds: list[Images], rows: np.ndarray, stride: int) -> "_Stack":
        middle = slice(stride // 2, None, stride)
        name = np.concatenate([world.name[:, middle, middle] for world in worlds])
        thing = np.concatenate([world.object[:, middle, middle] for world in worlds])
        return cls(np.concatenate([world.color for world in worlds]), rows[name], thing, stride)

    def cropped(
        self, rows: np.ndarray, crop: tuple[int, int], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same part of some images: colour [B, *crop, 3], name and thing at its codes' middles."""
        _, height, width = self.name.shape
        high, wide = (side // self.stride for side in crop)
        y, x = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
        small = np.s_[y : y + high, x : x + wide]
        top, left = self.stride * y, self.stride * x
        large = np.s_[top : top + crop[0], left : left + crop[1]]
        color = self.color[rows][(slice(None), *large)]
        return color, self.name[rows][(slice(None), *small)], self.thing[rows][(slice(None), *small)]


@dataclass(eq=False)
class _State(Progress):
    """A training in progress, and one step of it."""

    config: DenseTrainConfig
    text: Tensor
    network: DenseNet
    optimizer: torch.optim.Optimizer

    @classmethod
    def new(cls, config: DenseTrainConfig, text: np.ndarray) -> "_State":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = channels_last(DenseNet(config.network))
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay)
        return cls(config, torch.from_numpy(text), network, optimizer)

    def advance(self, images: _Stack) -> None:
        """One optimisation step; epochs visit every image once, in a new order."""
        config, step = self.config, self.step
        epoch, place = divmod(step, len(images.color) // config.batch)
        order = np.random.default_rng([config.seed, _ORDER, epoch]).permutation(len(images.color))
        rows = order[place * config.batch : (place + 1) * config.batch]
        rng = np.random.default_rng([config.seed, _CHANGE, step])
        color, name, thing = changed(*images.cropped(rows, config.crop, rng), config.brightness, rng)
        codes = self.network(color).permute(0, 2, 3, 1)  # [B, h, w, r]
        unit = unit_codes(codes, self.network.basis)
        if config.loss == "regions":
            unit, name = regions(unit, name, thing)
        total, accuracy = text_loss(unit, name, self.network.basis, self.text, config)
        norm = descend(self.network, self.optimizer, total, rate_of(config, step), config.clip)
        self.count({"total": float(total.detach()), "accuracy": accuracy, "grad_norm": norm})

    @property
    def parts(self) -> dict[str, Any]:
        """The network and the optimizer."""
        return {"network": self.network, "optimizer": self.optimizer}


def changed(
    color: np.ndarray, name: np.ndarray, thing: np.ndarray, brightness: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror half of a batch's images and make each brighter or darker.

    Args:
        color: uint8 [B, H, W, 3].
        name: int64 [B, h, w].
        thing: int16 [B, h, w].
        brightness: Deviation of the factor.
        rng: Source of the draws.

    Returns:
        Colours float32 [B, 3, H, W] in [0, 1] and beyond, channels last; names and things int64 [B, h, w].
    """
    flip = rng.random(len(color)) < 0.5
    color, name, thing = (np.where(_wide(flip, a), a[:, :, ::-1], a) for a in (color, name, thing))
    factor = 1 + brightness * rng.standard_normal(len(color))
    bright = color.astype(np.float32) * (factor / 255).astype(np.float32)[:, None, None, None]
    return (
        torch.from_numpy(bright).permute(0, 3, 1, 2),
        torch.from_numpy(name),
        torch.from_numpy(thing.astype(np.int64)),
    )


def _wide(flags: np.ndarray, like: np.ndarray) -> np.ndarray:
    return flags.reshape(-1, *[1] * (like.ndim - 1))


def regions(unit: Tensor, name: Tensor, thing: Tensor) -> tuple[Tensor, Tensor]:
    """Pool features over the things of each image, as OpenSeg pools over its masks.

    Args:
        unit: Codes of unit features, [B, h, w, r].
        name: int64 [B, h, w], the same all over a thing.
        thing: int64 [B, h, w], -1 for none.

    Returns:
        Mean codes [R, r] and names int64 [R] of the R things that have a name.
    """
    image = torch.arange(len(thing))[:, None, None].expand_as(thing)
    known = (name != VOID) & (thing >= 0)
    key = (image * (int(thing.max()) + 1) + thing)[known]
    _, group = key.unique(return_inverse=True)
    count = int(group.max()) + 1 if len(group) else 0
    owner = torch.full((count,), VOID).scatter(0, group, name[known])
    return segment_mean(unit[known], group, count), owner


def text_loss(
    codes: Tensor, name: Tensor, basis: Tensor, text: Tensor, config: DenseTrainConfig
) -> tuple[Tensor, float]:
    """Cross-entropy of scaled cosines (LSeg, equation 2) and distance, over the pixels or regions that have a name.

    Args:
        codes: Of features of unit length, or of means of such, [..., r].
        name: int64 [...], 255 for none.
        basis: [r, C].
        text: Unit vectors [K, C].
        config: Temperature, and weight of the distance.

    Returns:
        The loss, a scalar, and the share that is right.
    """
    cosine = codes @ (basis @ text.T)  # [..., K]
    cosine, name = cosine.reshape(-1, cosine.shape[-1]), name.reshape(-1)
    known = name != VOID
    if not known.any():
        return cosine.sum() * 0, 0.0
    cosine, name = cosine[known], name[known]
    away = (1 - cosine.gather(1, name[:, None])).mean()
    loss = F.cross_entropy(cosine / config.temperature, name) + config.pull * away
    return loss, float((cosine.argmax(dim=1) == name).float().mean())
