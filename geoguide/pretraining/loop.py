"""The loop: `pretrain` does self-distillation without labels (after Sonata, arXiv 2503.16429), resumable at any moment.

A student network learns to predict what a teacher, the running average of the student, says of other views of a room.
"""

import copy
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.errors import InputError
from geoguide.frozen import to_dict
from geoguide.paths import replacing
from geoguide.pipeline.checkpoint import Progress, checkpoint_path
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.distillation import PrototypeHead
from geoguide.pretraining.rooms import Identity
from geoguide.pretraining.step import Networks, step_terms
from geoguide.pretraining.views import Cloud, make_views

_VIEWS, _ORDER, _STEP = 1, 2, 3  # which random stream a seed is for


@dataclass(frozen=True, eq=False)
class Pretraining:
    """What pretraining leaves.

    Attributes:
        encoder: The averaged teacher's encoder, frozen; the heads are discarded.
        history: One row per `log_every` steps: step, learning_rate, and means since the row before of total, mask,
            roll, local (cross-entropies), describe (error of the predicted descriptors), usage, effective_rank, spread
            (of the teacher, see `distillation`), matched (share of student voxels with a place in the teacher's view),
            and grad_norm.
        config: The config it was trained by.
        step: Number of steps done.
    """

    encoder: PointTransformerV3
    history: list[dict[str, float]]
    config: PretrainConfig
    step: int

    def save(self, path: Path, rooms: list[Identity]) -> Path:
        """Write the encoder in float16, with configuration, step and rooms as metadata.

        Args:
            path: The .safetensors file.
            rooms: (seed, split, number) of every room trained on, so that no evaluation can include one unnoticed.

        Returns:
            `path`.
        """
        state = {key: value.detach().cpu().half().contiguous() for key, value in self.encoder.state_dict().items()}
        options = self.config.network.encoder_options()
        notes = {"config": options, "pretraining": to_dict(self.config), "step": self.step, "rooms": rooms}
        with replacing(path) as temporary:
            temporary.write_bytes(save(state, {name: json.dumps(note) for name, note in notes.items()}))
        return path


def pretrain(
    config: PretrainConfig,
    clouds: list[Cloud],
    *,
    run_dir: Path | None = None,
    until: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Pretraining:
    """Pretrain the mini backbone by self-distillation, without labels (after Sonata).

    All randomness of a step derives from (seed, step), so an interrupted run goes on with the same final weights. The
    caller's random state is left alone.

    Args:
        config: Everything that decides the weights.
        clouds: The rooms, with descriptors where `describe_weight` is above 0.
        run_dir: Folder of checkpoints, one of which is written every `checkpoint_every` steps and gone on from; None:
            no checkpoints.
        until: Step of the same schedule to stop at, by default `config.steps`.
        device: What the networks run on.
        progress: Whether a progress bar is shown.

    Returns:
        The encoder and its history.

    Raises:
        InputError: There are fewer rooms than `rooms_per_step`, or their descriptors are of another shape.
        DataError: The checkpoint does not fit, or the loss is not finite.
    """
    if len(clouds) < config.rooms_per_step:
        raise InputError(f"clouds must hold at least rooms_per_step={config.rooms_per_step} rooms, found {len(clouds)}")
    wanted = DescriptorBackbone().width if config.distillation.describe_weight else 0
    for cloud in clouds:
        if wanted and cloud.described.shape != (len(cloud), wanted):
            raise InputError(f"descriptors of a cloud must be [{len(cloud)}, {wanted}] where describe_weight is above 0"
                             f", found {list(cloud.described.shape)}")  # fmt: skip
    state = _State.new(config, torch.device(device))
    checkpoint = checkpoint_path(run_dir, config, (array for cloud in clouds for array in (cloud.points, cloud.colors)))
    end = config.steps if until is None else min(until, config.steps)
    title = f"pretrain {config.name}"
    for bar in state.steps(end, checkpoint, config.checkpoint_every, title, progress=progress):
        state.advance(clouds)
        if state.step % config.log_every == 0 or state.step == config.steps:
            state.log(config.name, learning_rate=learning_rate(config, state.step - 1))
            bar.set_postfix({k: f"{state.history[-1][k]:.2f}" for k in ("total", "usage", "effective_rank")})
    encoder = cast(PointTransformerV3, state.teacher["encoder"]).requires_grad_(False).eval()
    return Pretraining(encoder, state.history, config, state.step)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """The learning rate of a step: a linear rise over the warm-up, then half a cosine down to the final rate.

    Args:
        config: Its rates, steps and warm-up.
        step: Number of steps done before it.

    Returns:
        The rate.
    """
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    return cosine(config.learning_rate, config.final_learning_rate, (step - rise) / max(1, config.steps - rise))


def cosine(start: float, end: float, share: float) -> float:
    """A value on the way from one number to another along half a cosine.

    Args:
        start: Value at share 0.
        end: Value at share 1.
        share: How far on the way, 0 to 1.

    Returns:
        The value.
    """
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


def descend(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, rate: float, clip: float) -> float:
    """Take one step down a loss.

    Args:
        network: The network whose gradient is clipped.
        optimizer: Of the network's parameters.
        loss: A scalar.
        rate: The learning rate of this step.
        clip: Norm above which the gradient is scaled down.

    Returns:
        The gradient's norm before it was clipped.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    return float(norm)


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, momentum: float) -> None:
    """Move a running average of a network's parameters: average = momentum average + (1 - momentum) network.

    Args:
        average: The network that holds the average; it is changed.
        network: A network of the same parameters.
        momentum: Share of the average that is kept.
    """
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1 - momentum)


def build(config: PretrainConfig) -> nn.ModuleDict:
    """Build the network to be trained; its weights depend on the config's seed alone.

    Args:
        config: Sizes of the encoder and the heads.

    Returns:
        `encoder`, `mask_head` (for masked global views), `local_head` and, where it has a weight, `describe_head`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = PointTransformerV3(**config.network.encoder_options())
        d = config.distillation
        sizes = (config.network.width, d.hidden, d.bottleneck, d.prototypes)
        heads: dict[str, nn.Module] = {name: PrototypeHead(*sizes) for name in ("mask_head", "local_head")}
        if d.describe_weight:
            heads["describe_head"] = nn.Linear(config.network.width, DescriptorBackbone().width)
    return nn.ModuleDict({"encoder": encoder, **heads})


@dataclass(eq=False)
class _State(Progress):
    """A training in progress, and one step of it."""

    config: PretrainConfig
    student: nn.ModuleDict
    teacher: nn.ModuleDict
    optimizer: torch.optim.Optimizer

    @classmethod
    def new(cls, config: PretrainConfig, device: torch.device) -> "_State":
        """The state before the first step: the teacher is a copy of the student."""
        student = build(config).to(device)
        teacher = copy.deepcopy(student).requires_grad_(False)
        flat = [p for p in student.parameters() if p.dim() < 2]  # biases and norms are not decayed
        deep = [p for p in student.parameters() if p.dim() >= 2]
        groups = [{"params": deep, "weight_decay": config.weight_decay}, {"params": flat, "weight_decay": 0.0}]
        return cls(config, student, teacher, torch.optim.AdamW(groups))

    def advance(self, clouds: list[Cloud]) -> None:
        """One optimisation step; epochs visit every room once, in a new order."""
        config, step = self.config, self.step
        share = step / config.steps
        ramp = min(1.0, share / config.ramp)
        views = []
        for place, number in enumerate(self._rooms(len(clouds))):
            rng = np.random.default_rng([config.seed, _VIEWS, step, place])
            views.append(make_views(clouds[number], config.views, config.network.voxel, ramp, rng))
        rng = np.random.default_rng([config.seed, _STEP, step])
        terms, seen = step_terms(Networks(self.student, self.teacher), views, config, ramp, rng)
        norm = descend(self.student, self.optimizer, terms["total"], learning_rate(config, step), config.clip)
        move_average(self.teacher, self.student, cosine(*config.momentum, share))
        losses = {name: float(value.detach()) for name, value in terms.items()}
        self.count(losses | seen | {"grad_norm": norm})

    def _rooms(self, count: int) -> list[int]:
        """Which of the rooms this step trains on."""
        per_step = self.config.rooms_per_step
        epoch, place = divmod(self.step, count // per_step)
        order = np.random.default_rng([self.config.seed, _ORDER, epoch]).permutation(count)
        return order[place * per_step : (place + 1) * per_step].tolist()

    @property
    def parts(self) -> dict[str, Any]:
        """The two networks and the optimizer."""
        return {"student": self.student, "teacher": self.teacher, "optimizer": self.optimizer}
