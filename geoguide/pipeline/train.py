"""`fit(config)`: train a student on lifted 2D features under the objective; an interrupted training can go on."""

import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoguide.benchmarks.named import shown
from geoguide.errors import DataError
from geoguide.frozen import config_hash
from geoguide.labels import load_label_set
from geoguide.method.batch import Supervised
from geoguide.method.objective import Objective, gradient_norms
from geoguide.metrics import ConfusionMatrix
from geoguide.ops.devices import resolve_device
from geoguide.pipeline.checkpoint import Progress
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.identity import Identity
from geoguide.pipeline.prepare import prepare_split
from geoguide.pipeline.self_distillation import SelfDistillation, new_self_distillation
from geoguide.pipeline.student import new_student
from geoguide.pipeline.supervision import new_objective, supervised
from geoguide.prepared import ChosenScenes, PreparedScene
from geoguide.students.adapter import Adapter
from geoguide.students.statistics import SAMPLED, farthest, sampled
from geoguide.students.student import Student

VALIDATION_POINTS = 1500  # per scene, for the curve only; final numbers use every point
CALIBRATION_BATCHES = 16  # the first of the training, of different scenes where there are so many
WATCHED = 16  # training scenes of `train_miou`, evenly spread: about as many as mini-ScanNet has to validate on


@dataclass(frozen=True, eq=False)
class Fit:
    """A finished training.

    Attributes:
        student: The trained student, in evaluation mode.
        objective: The objective with its heads.
        history: One row per validation: step, mIoU on validation scenes (%; not there without such scenes), the mean of
            each loss term since the row before, and of this step `grad_<term>`, the length of the gradient of each
            weighted term with respect to F_3d^sem (see `gradient_norms`). With λ by gradient also `lambda_mask` and
            `lambda_sim`, the factors as they are; with `train.watch_train` also mIoU on training scenes.
        converged: `has_converged` of the history.
        trained_on: The scenes that were learned from.
        farthest: Of a student on a frozen backbone, how far the features of a training scene lie from those of all
            (see `students.statistics.farthest`).
    """

    student: Student
    objective: Objective
    history: list[dict[str, float]]
    converged: bool | None
    trained_on: tuple[Identity, ...] = ()
    farthest: float | None = None


def fit(
    config: ExperimentConfig,
    *,
    train: Sequence[PreparedScene] | None = None,
    val: Sequence[PreparedScene] | None = None,
    device: str = "auto",
    run_dir: Path | None = None,
    progress: bool = True,
) -> Fit:
    """Train one experiment (paper, Total).

    All randomness of a step derives from (seed, step), so that a run that goes on from a checkpoint ends with the same
    weights as an unbroken one. bf16 autocast on CUDA, float32 on CPU. While a step is computed, a thread reads the
    batch of the next one. Memory: O(points_per_step (C + C1)) beside the memory-mapped scenes.

    Args:
        config: The experiment.
        train: The prepared training scenes, to share them between runs; None prepares them. Those without 2D features
            are left out, with one warning that names them.
        val: The prepared validation scenes; None prepares them. None at all, or `[]`: no validation curve. Those
            without labels are left out, with one warning that names them.
        device: auto (CUDA where there is one), cpu or cuda; the backbone of scenes that are prepared runs there too.
        run_dir: Folder of checkpoints, one written every `checkpoint_every` steps and read first where there is one.
            Experiments that differ in scoring alone share it. None writes none.
        progress: Whether to show progress bars.

    Returns:
        The trained student, its objective and the validation curve.

    Raises:
        ConfigError: `train.model` is no student, or the objective's modules do not fit it.
        DataError: Scenes or a checkpoint cannot be read, there is no training scene with 2D features or none with a
            point that is seen, no validation scene has labels, or the loss is not finite.
    """
    target = resolve_device(device)
    train = prepare_split(config, "train", device=target, progress=progress) if train is None else train
    train = _with_features(supervised(config, train))
    val = prepare_split(config, "val", device=target, progress=progress) if val is None else val
    torch.manual_seed(config.seed)
    state = _State.new(config, train, target)
    checkpoint = None if run_dir is None else Path(run_dir) / checkpoint_name(config)
    validation = _Validation(config, val) if len(val) else None
    fitted = _Validation(config, train, "training", WATCHED) if config.train.watch_train else None
    steps, every, title = config.train.steps, config.train.checkpoint_every, f"train {config.name}"
    for bar in state.steps(steps, checkpoint, every, target, title, progress=progress):
        state.advance(train)
        if state.watched:
            curves = {"val_miou": validation, "train_miou": fitted}
            watched = {name: curve.miou(state.student) for name, curve in curves.items() if curve is not None}
            state.log(config.name, **watched, **state.pulls)
            bar.set_postfix({name: f"{value:.1f}" for name, value in watched.items()})
    state.reader.shutdown()
    state.student.network.eval()
    learned = tuple(map(Identity.of_prepared, train))
    far = None
    if isinstance(state.student.network, Adapter):
        far = farthest(train, state.student.network.mean.cpu(), state.student.network.deviation.cpu())
    return Fit(state.student, state.objective, state.history, has_converged(state.history), learned, far)


def checkpoint_name(config: ExperimentConfig) -> str:
    """Name the checkpoint of a training.

    Args:
        config: The experiment.

    Returns:
        A file name, from the hash of what decides the trained network.
    """
    return f"{config_hash(config.training())}.pt"


def _with_features(scenes: Sequence[PreparedScene]) -> Sequence[PreparedScene]:
    """The scenes that have 2D features; nothing can be learned from others."""
    kept = [number for number, scene in enumerate(scenes) if scene.lifted is not None]
    if len(kept) == len(scenes) > 0:
        return scenes
    if not kept:
        needs = "real data need images and a 2D model, or fused features (data.features)"
        raise DataError(
            f"none of the {len(scenes)} training scenes has 2D features, so nothing can be learned: {needs}"
        )
    lost = [scene.name for scene in scenes if scene.lifted is None]
    told = f"{len(lost)} of {len(scenes)} training scenes have no 2D features and are left out: {shown(lost)}"
    warnings.warn(told, stacklevel=3)
    return ChosenScenes(scenes, kept)


def has_converged(history: list[dict[str, float]], tolerance: float = 1.0) -> bool | None:
    """Say whether validation mIoU has stopped rising.

    The means of the third and the last quarter of the curve are compared (at least two rows each), because single rows
    are noisy.

    Args:
        history: Rows with `val_miou` in %, as in `Fit`.
        tolerance: Percentage points.

    Returns:
        True where mIoU rose by less than `tolerance`; False where there are too few rows to say; None without a
        validation curve, from which alone it can be told: over 172 committed trainings the loss fell by 5 % (median)
        between the two quarters whether mIoU had stopped rising or not.
    """
    if not all("val_miou" in row for row in history):
        return None
    rows = max(2, len(history) // 4)
    if len(history) < 2 * rows:
        return False
    miou = [row["val_miou"] for row in history]
    return bool(np.mean(miou[-rows:]) - np.mean(miou[-2 * rows : -rows]) < tolerance)


@dataclass(eq=False)
class _State(Progress):
    """A training in progress, and the batch that is read ahead."""

    config: ExperimentConfig
    device: torch.device
    student: Student
    objective: Objective
    optimizer: torch.optim.Optimizer
    second: SelfDistillation | None
    reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reader"))
    ahead: tuple[int, Future] | None = None  # the step whose batch is being read, and that batch
    begun: bool = False  # whether the second stage has taken what the first one left
    pulls: dict[str, float] = field(default_factory=dict)  # of the last watched step: grad_<term>, and λ by gradient

    @classmethod
    def new(cls, config: ExperimentConfig, scenes: Sequence[PreparedScene], device: torch.device) -> "_State":
        student = new_student(config, scenes)
        objective = new_objective(config, scenes)
        student.network, objective = student.network.to(device), objective.to(device)
        objective.calibrate(student.draw(scenes, step, config.seed, device) for step in range(CALIBRATION_BATCHES))
        groups = [{"params": parameters} for parameters, _ in student.rate_groups()]
        groups[-1]["params"] += [*objective.parameters()]
        rate, decay = config.train.learning_rate, config.train.weight_decay
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)
        return cls(config, device, student, objective, optimizer, new_self_distillation(config, student))

    def advance(self, scenes: Sequence[PreparedScene]) -> None:
        """One optimisation step; epochs visit every scene once, in a new order."""
        train = self.config.train
        batch = self._next_batch(scenes)
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        rate = train.rate(self.step)
        for group, (_, share) in zip(self.optimizer.param_groups, self.student.rate_groups(), strict=True):
            group["lr"] = rate * share
        second = self.second if self.second is not None and self.step >= self.second.first else None
        if second is not None and not self.begun:
            second.begin(scenes)
            self.begun = True
        self.student.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            semantic = self.student.forward(batch)
        semantic = semantic.float()
        terms = self.objective(semantic, batch, generator) if second is None else second.terms(semantic, batch)
        self.optimizer.zero_grad(set_to_none=True)
        norms = gradient_norms(terms, semantic) if self._is_watched(self.step + 1) else {}
        terms["total"].backward()
        self.optimizer.step()
        if second is not None:
            second.follow()
        self.count({name: float(value.detach()) for name, value in terms.items()})
        self.pulls = {f"grad_{name}": value for name, value in norms.items()}
        if self.objective.config.lambda_by == "gradient":
            self.pulls |= dict(zip(("lambda_mask", "lambda_sim"), self.objective.lambdas[1:], strict=True))

    @property
    def watched(self) -> bool:
        """Whether the step just taken has a row in the history."""
        return self._is_watched(self.step)

    def _is_watched(self, step: int) -> bool:
        return step == self.config.train.steps or step % self.config.train.evaluate_every == 0

    def _next_batch(self, scenes: Sequence[PreparedScene]) -> Supervised:
        """This step's batch, read while the step before was computed; the reading of the next one is begun."""
        step, ahead = self.step, self.ahead
        batch = ahead[1].result() if ahead is not None and ahead[0] == step else self._draw(scenes, step)
        last = step + 1 == self.config.train.steps
        self.ahead = None if last else (step + 1, self.reader.submit(self._draw, scenes, step + 1))
        return batch

    def _draw(self, scenes: Sequence[PreparedScene], step: int) -> Supervised:
        return self.student.draw(scenes, step, self.config.seed, self.device)

    @property
    def parts(self) -> dict[str, Any]:
        """The network, the objective and the optimizer; where there is a second stage, what it has learned too."""
        parts = {"network": self.student.network, "objective": self.objective, "optimizer": self.optimizer}
        return parts if self.second is None else parts | {"second": self.second}


class _Validation:
    """mIoU on a fixed subset of the points of some scenes, for the curve: of at most `count` of a `kind`."""

    def __init__(
        self, config: ExperimentConfig, scenes: Sequence[PreparedScene], kind: str = "validation", count: int = SAMPLED
    ) -> None:
        self.classes = len(load_label_set(config.data.label_set))
        # Under the default protocol, so that the curve is the same however the network is scored later.
        self.text = class_text(config.data.label_set, Protocol(), config.text)
        self.parts = []
        bare = []
        for number, scene in enumerate(sampled(scenes, count)):
            chosen = np.random.default_rng([7, number]).permutation(len(scene))[:VALIDATION_POINTS]
            chosen.sort()
            if scene.labels is None:
                bare.append(scene.name)
            else:
                self.parts.append((scene, chosen, scene.labels[chosen]))
        if not self.parts:
            what = "name others, or none, and there is no validation curve"
            raise DataError(f"no {kind} scene has labels ({shown(bare)}), so nothing can be scored: {what}")
        if bare:
            told = f"{len(bare)} {kind} scenes have no labels and are left out: {shown(bare)}"
            warnings.warn(told, stacklevel=3)

    @torch.inference_mode()
    def miou(self, student: Student) -> float:
        student.network.eval()
        matrix = ConfusionMatrix(self.classes)
        for scene, chosen, labels in self.parts:
            similarity = self.text.similarity(student.features(scene, chosen))
            matrix.update(labels, similarity.argmax(1).cpu().numpy())
        return 100.0 * matrix.miou(absent="zero")
