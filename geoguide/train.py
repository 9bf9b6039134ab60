"""`fit(config)`: distil lifted 2D features into the adapter under the objective; resumes after a kill at any moment."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from geoguide.adapter import Adapter
from geoguide.baselines.openscene import OpenScene, VoxelBatch
from geoguide.class_text import class_text
from geoguide.config import ExperimentConfig, Protocol, config_hash
from geoguide.errors import ConfigError, DataError
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.objective import Batch, Objective
from geoguide.prepare import PreparedScene, prepare_split
from geoguide.resume import load_checkpoint, save_checkpoint

VALIDATION_POINTS = 1500  # per room, for the curve only; final numbers use every point
SAMPLED = 100  # scenes from which the statistics at the start are taken, and that the curve watches


@dataclass(frozen=True, eq=False)
class Fit:
    """A finished training: the network, the objective with its heads, and its history.

    `history` holds one row per validation: step, mIoU on validation rooms (%), and the mean of each loss term since the
    previous row.
    """

    network: nn.Module
    objective: Objective
    history: list[dict[str, float]]
    converged: bool


def resolve_device(name: str = "auto") -> torch.device:
    """'auto' is the GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def fit(
    config: ExperimentConfig,
    *,
    train: Sequence[PreparedScene] | None = None,
    val: Sequence[PreparedScene] | None = None,
    device: str = "auto",
    run_dir: Path | None = None,
    progress: bool = True,
) -> Fit:
    """Train one experiment (paper, Total). Prepared scenes may be passed in to share them between runs.

    With `run_dir` a checkpoint is written every `checkpoint_every` steps and an interrupted run goes on from it with
    the same final weights: all randomness of a step derives from (seed, step). Experiments that differ in scoring alone
    share a checkpoint. bf16 autocast on CUDA, float32 on CPU. While a step is computed, a thread reads the next one.
    Memory: O(points_per_step (C + C1)) beside the memory-mapped scenes.
    """
    train = prepare_split(config, "train", progress=progress) if train is None else train
    val = prepare_split(config, "val", progress=progress) if val is None else val
    target = resolve_device(device)
    torch.manual_seed(config.seed)
    state = _State.new(config, train, target)
    checkpoint = None if run_dir is None else Path(run_dir) / checkpoint_name(config)
    if checkpoint is not None and checkpoint.is_file():
        state.load(checkpoint)
    validation = _Validation(config, val, target)
    bar = tqdm(total=config.train.steps, initial=state.step, desc=f"train {config.name}", disable=not progress)
    while state.step < config.train.steps:
        state.advance(train)
        bar.update()
        last = state.step == config.train.steps
        if last or state.step % config.train.evaluate_every == 0:
            state.log(validation.miou(state.network))
            bar.set_postfix(val_miou=f"{state.history[-1]['val_miou']:.1f}")
        if checkpoint is not None and (last or state.step % config.train.checkpoint_every == 0):
            state.save(checkpoint)
    bar.close()
    state.reader.shutdown()
    state.network.eval()
    return Fit(state.network, state.objective, state.history, has_converged(state.history))


def checkpoint_name(config: ExperimentConfig) -> str:
    """The file of a training: named by what decides the network."""
    return f"{config_hash(config.training())}.pt"


def has_converged(history: list[dict[str, float]], tolerance: float = 1.0) -> bool:
    """True when validation mIoU rose by less than `tolerance` points from the third quarter of the curve to the last.

    Means of whole quarters (at least two rows each) are compared, because single rows are noisy.
    """
    rows = max(2, len(history) // 4)
    if len(history) < 2 * rows:
        return False
    miou = [row["val_miou"] for row in history]
    return bool(np.mean(miou[-rows:]) - np.mean(miou[-2 * rows : -rows]) < tolerance)


@dataclass(eq=False)
class _State:
    """Everything a checkpoint must hold."""

    config: ExperimentConfig
    device: torch.device
    network: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    step: int
    history: list[dict[str, float]]
    sums: dict[str, float]
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reader"))
    ahead: tuple[int, Future] | None = None  # the step whose batch is being read, and that batch

    @classmethod
    def new(cls, config: ExperimentConfig, scenes: Sequence[PreparedScene], device: torch.device) -> "_State":
        geometry_width, feature_width = scenes[0].geometry.shape[1], scenes[0].feature_width
        network: nn.Module
        if config.train.model == "openscene":
            if config.objective.modules:
                raise ConfigError(f"objective.modules must be empty for openscene, found {config.objective.modules}")
            network = OpenScene(feature_width, config.openscene)
        else:
            network = Adapter(geometry_width, feature_width, config.adapter)
            network.standardise(*geometry_statistics(scenes))
        network.start_at(mean_lifted(scenes))
        objective = Objective(geometry_width, feature_width, config.objective)
        network, objective = network.to(device), objective.to(device)
        parameters = [*network.parameters(), *objective.parameters()]
        rate, decay = config.train.learning_rate, config.train.weight_decay
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
        return cls(config, device, network, objective, optimizer, 0, [], {})

    def advance(self, scenes: Sequence[PreparedScene]) -> None:
        """One optimisation step; epochs visit every scene once, in a new order."""
        train = self.config.train
        batch = self._next_batch(scenes)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = train.learning_rate * (1 - self.step / train.steps) ** train.power
        precision = torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()
        self.network.train()
        with precision:
            semantic = network_features(self.network, batch)
        terms = self.objective(semantic.float(), batch, generator)
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        self.optimizer.step()
        self.step += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.sums["_steps"] = self.sums.get("_steps", 0.0) + 1

    def _next_batch(self, scenes: Sequence[PreparedScene]) -> Batch | VoxelBatch:
        """This step's batch, read while the step before was computed; the reading of the next one is begun."""
        step, ahead = self.step, self.ahead
        batch = ahead[1].result() if ahead is not None and ahead[0] == step else self._batch(scenes, step)
        last = step + 1 == self.config.train.steps
        self.ahead = None if last else (step + 1, self.reader.submit(self._batch, scenes, step + 1))
        return batch

    def _batch(self, scenes: Sequence[PreparedScene], step: int) -> Batch | VoxelBatch:
        """Random points of a step's scene, or its few scenes whole as voxels."""
        seed = [self.config.seed, 2, step]
        if isinstance(self.network, OpenScene):
            count = self.config.openscene.scenes_per_step
            chosen = [self._turn(scenes, step * count + i) for i in range(count)]
            return self.network.batch(chosen, seed, self.device)
        return sample_batch(self._turn(scenes, step), self.config.train.points_per_step, seed, self.device)

    def _turn(self, scenes: Sequence[PreparedScene], number: int) -> PreparedScene:
        epoch, position = divmod(number, len(scenes))
        return scenes[np.random.default_rng([self.config.seed, 1, epoch]).permutation(len(scenes))[position]]

    def log(self, val_miou: float) -> None:
        steps = self.sums.pop("_steps")
        losses = {name: total / steps for name, total in sorted(self.sums.items())}
        if not math.isfinite(losses["total"]):
            raise DataError(f"{self.config.name}: loss is {losses['total']} at step {self.step}")
        self.history.append({"step": self.step, "val_miou": val_miou, **losses})
        self.sums = {}

    @property
    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "objective": self.objective, "optimizer": self.optimizer}

    def save(self, path: Path) -> None:
        save_checkpoint(path, self._parts, step=self.step, history=self.history, sums=self.sums)

    def load(self, path: Path) -> None:
        plain = ("step", "history", "sums")
        self.step, self.history, self.sums = load_checkpoint(path, self._parts, plain, self.device)


def network_features(network: nn.Module, batch: Batch | VoxelBatch) -> Tensor:
    """F_3d^sem [P, C] of a batch: from frozen features (adapter), or from voxels (OpenScene)."""
    if isinstance(batch, VoxelBatch):
        return network(batch)
    return network(batch.geometry)


def sample_batch(scene: PreparedScene, count: int, seed: list[int], device: torch.device) -> Batch:
    """`count` random points of a scene (all when it has fewer), reproducible from `seed`."""
    if len(scene) <= count:
        return scene.batch(np.arange(len(scene)), device, draw=seed[-1])
    chosen = np.random.default_rng(seed).choice(len(scene), count, replace=False, shuffle=False)
    return scene.batch(np.sort(chosen), device, draw=seed[-1])


def geometry_statistics(scenes: Sequence[PreparedScene]) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C1] of the frozen features, of every 16th point of at most `SAMPLED` scenes."""
    rows = torch.cat([torch.from_numpy(np.asarray(s.geometry[::16], np.float32)) for s in _some(scenes)])
    return rows.mean(0), rows.std(0, correction=0)


def mean_lifted(scenes: Sequence[PreparedScene]) -> Tensor:
    """Mean 2D feature [C] over the seen ones among every 64th point of at most `SAMPLED` scenes."""
    rows = []
    for scene in _some(scenes):
        lifted, seen = scene.features(np.arange(0, len(scene), 64))
        rows.append(torch.from_numpy(np.asarray(lifted, np.float32))[torch.from_numpy(seen)])
    return torch.cat(rows).mean(0)


def _some(scenes: Sequence[PreparedScene]) -> Iterator[PreparedScene]:
    """At most `SAMPLED` of them, evenly spread."""
    return (scenes[number] for number in range(0, len(scenes), -(-len(scenes) // SAMPLED)))


class _Validation:
    """mIoU on a fixed subset of the points of at most `SAMPLED` validation scenes, for the curve."""

    def __init__(self, config: ExperimentConfig, scenes: Sequence[PreparedScene], device: torch.device) -> None:
        self.classes = len(load_label_set(config.data.label_set))
        # The default protocol: one curve, however the network is scored later.
        self.text = class_text(config.data.label_set, Protocol(), config.text)
        whole = config.train.model == "openscene"  # a voxel network sees whole scenes only
        self.device, self.parts = device, []
        for number, scene in enumerate(_some(scenes)):
            chosen = np.random.default_rng([7, number]).permutation(len(scene))[:VALIDATION_POINTS]
            chosen.sort()
            geometry = None if whole else torch.from_numpy(np.array(scene.geometry[chosen]))
            self.parts.append((scene if whole else None, chosen, scene.labels[chosen], geometry))

    @torch.inference_mode()
    def miou(self, network: nn.Module) -> float:
        network.eval()
        matrix = ConfusionMatrix(self.classes)
        for scene, chosen, labels, geometry in self.parts:
            if geometry is None:
                features = network.encode(scene.points, scene.colors)[torch.from_numpy(chosen).to(self.device)]
            else:
                features = network(geometry.to(self.device).float())
            matrix.update(labels, self.text.similarity(features).argmax(1).cpu().numpy())
        return 100.0 * matrix.miou(absent="zero")
