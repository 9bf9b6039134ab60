"""The loop that trains the mask proposer, resumable, and what it writes: weights, and their curves beside them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoguide.errors import InputError
from geoguide.experiments.environment import environment
from geoguide.experiments.records import dumps
from geoguide.frozen import config_hash, to_dict
from geoguide.instances.learned import spread_out, write_proposer
from geoguide.instances.proposer import MaskProposer
from geoguide.paths import alone_beside, write_text
from geoguide.pipeline.checkpoint import Progress, checkpoint_path
from geoguide.pretraining.loop import descend
from geoguide.pretraining.masks.config import ProposerTrainConfig
from geoguide.pretraining.masks.loss import loss_terms
from geoguide.pretraining.masks.rooms import RoomView, training_rooms
from geoguide.pretraining.rooms import Identity

_STEP = 21  # which random stream a seed is for


@dataclass(frozen=True, eq=False)
class ProposerTraining:
    """What a training leaves.

    Attributes:
        network: The trained network, frozen.
        history: One row per `log_every` steps: step, learning_rate, and means since the row before of the terms of
            `loss.loss_terms` and grad_norm.
        config: The config it was trained by.
        step: Number of steps done.
    """

    network: MaskProposer
    history: list[dict[str, float]]
    config: ProposerTrainConfig
    step: int

    def save(self, path: Path, rooms: list[Identity]) -> None:
        """Write the weights, and the curves beside them (.json).

        Args:
            path: The .safetensors file.
            rooms: (seed, split, number) of every room trained on.
        """
        config = to_dict(self.config)
        notes = {"backbones": config["backbones"], "training": config, "step": self.step, "rooms": rooms}
        history = [{name: float(f"{value:.4g}") for name, value in row.items()} for row in self.history]
        record: dict[str, object] = {
            "id": config_hash(self.config),
            "name": self.config.name,
            "source": "mini",
            "config": config,
        }
        record |= {"step": self.step, "finished": self.step == self.config.steps, "rooms": rooms, "history": history}
        with alone_beside(path):
            write_proposer(path, self.network, notes)
            write_text(path.with_suffix(".json"), dumps(record | {"environment": environment()}))


def train_proposer(
    config: ProposerTrainConfig,
    rooms: list[list[RoomView]],
    *,
    run_dir: Path | None = None,
    until: int | None = None,
    progress: bool = True,
) -> ProposerTraining:
    """Train the mask proposer on rooms whose instances are annotated; no class is read.

    All randomness of a step derives from (seed, step), so an interrupted run goes on with the same final weights. The
    caller's random state is left alone.

    Args:
        config: Everything that decides the weights.
        rooms: The views of each room.
        run_dir: Folder of checkpoints; None for none.
        until: Step of the same schedule to stop at, by default `config.steps`.
        progress: Whether a progress bar is shown.

    Returns:
        The network and its history.

    Raises:
        InputError: No room, or one without instances.
        DataError: The checkpoint does not fit, or the loss is not finite.
    """
    if not rooms or not all(views and all(view.truth.shared.shape[1] for view in views) for views in rooms):
        raise InputError("rooms must be at least one, each with instances to learn from")
    state = _State.new(config)
    truths = (view.truth for views in rooms for view in views)
    checkpoint = checkpoint_path(
        run_dir, config, (part.numpy() for truth in truths for part in (truth.shared, truth.sizes))
    )
    end = config.steps if until is None else min(until, config.steps)
    for bar in state.steps(end, checkpoint, config.checkpoint_every, f"train {config.name}", progress=progress):
        state.advance(rooms)
        if state.step % config.log_every == 0 or state.step == config.steps:
            state.log(config.name, learning_rate=learning_rate(config, state.step - 1))
            bar.set_postfix({name: f"{state.history[-1][name]:.2f}" for name in ("total", "dice", "iou")})
    return ProposerTraining(state.network.requires_grad_(False).eval(), state.history, config, state.step)


def train_and_save(
    config: ProposerTrainConfig,
    out: Path,
    *,
    run_dir: Path | None = None,
    until: int | None = None,
    progress: bool = True,
) -> ProposerTraining:
    """Read the rooms, train, and write the weights and their curves.

    Args:
        config: Everything that decides the weights.
        out: The weights' file (.safetensors).
        run_dir: As in `train_proposer`.
        until: As in `train_proposer`.
        progress: As in `train_proposer`.

    Returns:
        The network and its history.

    Raises:
        DataError: See `training_rooms` and `train_proposer`.
    """
    rooms, used = training_rooms(config)
    result = train_proposer(config, rooms, run_dir=run_dir, until=until, progress=progress)
    result.save(out, used)
    return result


def learning_rate(config: ProposerTrainConfig, step: int) -> float:
    """The learning rate of a step: a linear rise, within half a cosine down to 0.

    Args:
        config: Its rate, steps and warm-up.
        step: Number of steps done before it.

    Returns:
        The rate.
    """
    risen = min(1.0, (step + 1) / max(1, config.warmup))
    return config.learning_rate * risen * (0.5 + 0.5 * math.cos(math.pi * step / config.steps))


@dataclass(eq=False)
class _State(Progress):
    """A training in progress, and one step of it."""

    config: ProposerTrainConfig
    network: MaskProposer
    optimizer: torch.optim.Optimizer

    @classmethod
    def new(cls, config: ProposerTrainConfig) -> "_State":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = MaskProposer(config.network)
        return cls(config, network, torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay))

    def advance(self, rooms: list[list[RoomView]]) -> None:
        """One optimisation step, on one view of one room."""
        config, rng = self.config, np.random.default_rng([self.config.seed, _STEP, self.step])
        views = rooms[rng.integers(len(rooms))]
        view = views[rng.integers(len(views))]
        if rng.random() < config.crop_share:
            cut = view.crop(int(rng.integers(len(view.parts))), config.crop, config.min_points)
            view = cut if cut.truth.shared.shape[1] else view
        parts, scale = view.parts, rng.uniform(*config.scale)
        queries = spread_out(parts.regions.centers, config.queries, int(rng.integers(len(parts))))
        share = view.truth.sizes / view.truth.sizes.sum()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))  # of noise and dropout
            measures = parts.measures(scale)
            measures = measures + config.noise * torch.randn(measures.shape)
            found = self.network(measures, parts.relations(scale), share, torch.from_numpy(queries))
        weights = config.cross_entropy, config.dice, config.score
        terms = loss_terms(found, torch.from_numpy(queries), view.truth, weights, matched=config.matched)
        norm = descend(self.network, self.optimizer, terms["total"], learning_rate(config, self.step), config.clip)
        self.count({name: float(value.detach()) for name, value in terms.items()} | {"grad_norm": norm})

    @property
    def parts(self) -> dict[str, Any]:
        """The network and the optimizer."""
        return {"network": self.network, "optimizer": self.optimizer}
