"""`fit(config)`: train a student on lifted 2D features under the objective; an interrupted training can go on."""

import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from geoguide.backbones.point_transformer_layers import drops
from geoguide.benchmarks.named import shown
from geoguide.errors import ConfigError, DataError, check_known
from geoguide.frozen import config_hash
from geoguide.labels import load_label_set
from geoguide.method.batch import Supervised
from geoguide.method.objective import Objective, gradient_norms
from geoguide.metrics import ConfusionMatrix
from geoguide.ops.devices import resolve_device
from geoguide.pipeline.checkpoint import Progress
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.convergence import has_converged
from geoguide.pipeline.identity import Identity, data_digest
from geoguide.pipeline.prepare import prepare_shared
from geoguide.pipeline.protocols import own_protocol
from geoguide.pipeline.ranks import ALONE, LostRankError, Ranks
from geoguide.pipeline.self_distillation import SelfDistillation, new_self_distillation
from geoguide.pipeline.student import new_student
from geoguide.pipeline.supervision import new_objective, supervised
from geoguide.prepared import ChosenScenes, PreparedScene
from geoguide.students.statistics import SAMPLED, farthest, sampled
from geoguide.students.student import Student
from geoguide.text.encoders import text_encoder

Precision = Literal["auto", "float32", "bf16", "float64"]
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
        waited: Share of the time of the steps taken now in which the next batch was waited for, that is, read.
        before: Seconds that earlier runs took, up to the checkpoint from which this one went on.
    """

    student: Student
    objective: Objective
    history: list[dict[str, float]]
    converged: bool | None
    trained_on: tuple[Identity, ...] = ()
    farthest: float | None = None
    waited: float = 0.0
    before: float = 0.0


def fit(
    config: ExperimentConfig,
    *,
    train: Sequence[PreparedScene] | None = None,
    val: Sequence[PreparedScene] | None = None,
    device: str = "auto",
    run_dir: Path | None = None,
    progress: bool = True,
    ranks: Ranks = ALONE,
    precision: Precision = "auto",
) -> Fit:
    """Train one experiment (paper, Total).

    All randomness of a step derives from (seed, step), so that a run that goes on from a checkpoint ends with the same
    weights as an unbroken one. While a step is computed, a thread reads the
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
        ranks: The processes that train together (see `ranks`); each calls this alike and gets the same student.
        precision: Of the student's forward pass: `auto` is bf16 autocast on CUDA and float32 on a CPU. With float64
            all of a step is computed so: for comparisons.

    Returns:
        The trained student, its objective and the validation curve.

    Raises:
        ConfigError: `train.model` is no student, the objective's modules do not fit it, the training is not one for
            so many processes, an unknown precision, or 2D features that are watched are of another width than the text.
        DataError: Scenes or a checkpoint cannot be read, there is no training scene with 2D features or none with a
            point that is seen, their features differ in width, no validation scene has labels, or the loss is not
            finite.
    """
    config.train.check_processes(ranks.size)
    check_known("precision", precision, get_args(Precision))
    target, progress = ranks.device or resolve_device(device), progress and ranks.first
    train = prepare_shared(config, "train", ranks, device=target, progress=progress) if train is None else train
    train = _with_features(supervised(config, train))
    if "imr" in config.objective.modules and not any(len(scene.masks.index) for scene in train):
        told = f"none of the {len(train)} training scenes has an instance mask (masks.source {config.masks.source!r})"
        warnings.warn(f"{told}: IMR has nothing to reconstruct", stacklevel=2)
    val = prepare_shared(config, "val", ranks, device=target, progress=progress) if val is None else val
    torch.manual_seed(config.seed)
    state = _State.new(config, train, target, ranks, precision)
    checkpoint = None if run_dir is None else Path(run_dir) / checkpoint_name(config, train, val)
    if len(val) or config.train.watch_train:  # else the first validation would find out
        _check_text(config, train[0])
    validation = _Validation(config, val) if len(val) else None
    fitted = _Validation(config, train, "training", WATCHED) if config.train.watch_train else None
    steps, every, title = config.train.steps, config.train.checkpoint_every, f"train {config.name}"
    curves = {name: curve for name, curve in (("val_miou", validation), ("train_miou", fitted)) if curve is not None}
    for bar in state.steps(steps, checkpoint, every, title, progress=progress, writes=ranks.first):
        state.advance(train)
        if state.watched:
            watched = ranks.of_first(lambda: {name: curve.miou(state.student) for name, curve in curves.items()})
            state.log(config.name, **watched, **state.pulls)
            told = {name: f"{value:.1f}" for name, value in watched.items()}
            bar.set_postfix(told | {"waited": f"{state.waited / state.elapsed:.1%}"})
    state.reader.shutdown()
    state.student.network.eval()
    learned = tuple(map(Identity.of_prepared, train))
    adapter = state.student.saved_adapter()
    far = None if adapter is None else farthest(train, adapter.mean.cpu(), adapter.deviation.cpu())
    converged, waited = has_converged(state.history, config.train), state.waited / max(state.elapsed, 1e-9)
    return Fit(state.student, state.objective, state.history, converged, learned, far, waited, state.before)


def checkpoint_name(
    config: ExperimentConfig, train: Iterable[PreparedScene] = (), val: Iterable[PreparedScene] = ()
) -> str:
    """Name the checkpoint of a training.

    Args:
        config: The experiment. It does not say where its scenes lie, nor what is in their files: these may be repaired,
            or another folder's.
        train: The training scenes.
        val: The validation scenes, whose scores stand in the history.

    Returns:
        A file name, from the hash of what decides the trained network, and of what it learns from.
    """
    return f"{config_hash(config.training())}-{data_digest(train, val)}.pt"


def forget(config: ExperimentConfig, run_dir: str | Path) -> None:
    """Remove the checkpoints of a training, on whatever scenes: the next one begins anew.

    Args:
        config: The experiment.
        run_dir: As of `fit`.
    """
    for path in Path(run_dir).glob(f"{config_hash(config.training())}-*.pt"):
        path.unlink(missing_ok=True)


def _with_features(scenes: Sequence[PreparedScene]) -> Sequence[PreparedScene]:
    """The scenes that have 2D features, of one width; nothing can be learned from others."""
    kept, widths = [], {}
    for number, scene in enumerate(scenes):
        if scene.lifted is not None:
            kept.append(number)
            widths.setdefault((scene.feature_width, scene.geometry_width), scene.name)
    if len(widths) > 1:
        found = ", ".join(f"{name} {two} and {three}" for (two, three), name in widths.items())
        raise DataError(f"training scenes must have 2D and 3D features of the same widths, found {found}")
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


def _check_text(config: ExperimentConfig, scene: PreparedScene) -> None:
    """`ConfigError` where what is learned from a scene cannot be compared with text."""
    encoder = text_encoder(config.text.encoder, config.text.weights)
    if scene.feature_width != encoder.width:
        source = "" if config.teacher_name is None else f" ({config.teacher_name})"
        found = f"{encoder.width}; scene {scene.name} has 2D features of {scene.feature_width}{source}"
        raise ConfigError(f"text.encoder must have the width of the 2D features: {config.text.encoder} has {found}")


@dataclass(eq=False)
class _State(Progress):
    """A training in progress, and the batch that is read ahead."""

    config: ExperimentConfig
    device: torch.device
    student: Student
    objective: Objective
    optimizer: torch.optim.Optimizer
    second: SelfDistillation | None
    reader: ThreadPoolExecutor
    ahead: tuple[int, Future] | None = None  # the step whose batch is being read, and that batch
    begun: bool = False  # whether the second stage has taken what the first one left
    pulls: dict[str, float] = field(default_factory=dict)  # of the last watched step: grad_<term>, and λ by gradient
    ranks: Ranks = ALONE
    precision: Precision = "auto"
    waited: float = 0.0  # seconds for batches that were still being read
    elapsed: float = 0.0  # seconds of all steps
    draws: bool = False  # whether the network drops something at random

    @classmethod
    def new(
        cls,
        config: ExperimentConfig,
        scenes: Sequence[PreparedScene],
        device: torch.device,
        ranks: Ranks = ALONE,
        precision: Precision = "auto",
    ) -> "_State":
        student = new_student(config, scenes, device)
        objective = new_objective(config, scenes).to(device)
        if ranks.size > 1 and any(isinstance(part, _BatchNorm) for part in student.network.modules()):
            raise ConfigError(
                f"train.model {student.name!r} normalises by batch: statistics are not shared by processes"
            )
        objective.calibrate(student.draw(scenes, step, config.seed, device) for step in range(CALIBRATION_BATCHES))
        objective.measured_apart = config.train.batches_per_step > 1
        if precision == "float64":
            student.network, objective = student.network.double(), objective.double()
        groups = [{"params": parameters} for parameters, _ in student.rate_groups()]
        groups[-1]["params"] += [*objective.parameters()]
        rate, decay = config.train.learning_rate, config.train.weight_decay
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)
        second = new_self_distillation(config, student)
        begin = (torch.cuda.set_device, (device,)) if device.type == "cuda" else ()  # a thread's own: it pins memory
        reader = ThreadPoolExecutor(1, "reader", *begin)
        state = cls(config, device, student, objective, optimizer, second, reader, ranks=ranks, precision=precision)
        state.draws = drops(student.network)
        return state

    def advance(self, scenes: Sequence[PreparedScene]) -> None:
        """One optimisation step; epochs visit every scene once, in a new order."""
        begun, train = time.perf_counter(), self.config.train
        rate = train.rate(self.step)
        for group, (_, share) in zip(self.optimizer.param_groups, self.student.rate_groups(), strict=True):
            group["lr"] = rate * share
        second = self.second if self.second is not None and self.step >= self.second.first else None
        if second is not None and not self.begun:
            second.begin(scenes)
            self.begun = True
        self.student.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        mine = [self._next_batch(scenes, turn) for turn in self._turns(self.step)]
        self._measure(mine, second)
        terms = _means([self._learn(turn, batch, second) for turn, batch in mine])
        self.ranks.average_gradients(part for group in self.optimizer.param_groups for part in group["params"])
        self.optimizer.step()
        if second is not None:
            second.follow()
        terms = self.ranks.average_numbers(terms)
        self.pulls = {name: value for name, value in terms.items() if name.startswith("grad_")}
        self.count({name: value for name, value in terms.items() if name not in self.pulls})
        if self.objective.config.lambda_by == "gradient":
            self.pulls |= dict(zip(("lambda_mask", "lambda_sim"), self.objective.lambdas[1:], strict=True))
        self.elapsed += time.perf_counter() - begun

    def _turns(self, step: int) -> Sequence[int]:
        """The turns of the student that this process takes in a step."""
        batches = self.config.train.batches_per_step
        return self.ranks.share(range(step * batches, (step + 1) * batches))

    def _generator(self, turn: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.config.seed * 1_000_003 + turn)

    def _begin(self, path: Path, end: int) -> None:
        super()._begin(path, end)
        steps = self.ranks.gather(self.step)
        if len({*steps}) > 1:
            found = f"processes of this training go on from steps {', '.join(map(str, sorted({*steps})))}"
            told = f"{path}: {found}: checkpoints must lie on a disk that all machines share"
            raise DataError(told) if self.ranks.first else LostRankError(told)

    def _forward(self, turn: int, batch: Supervised) -> Tensor:
        """F_3d^sem; what the network draws derives from the turn, so that it is the same after a break."""
        if not self.draws:
            return self._computed(batch)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.config.seed * 1_000_003 + turn)
            return self._computed(batch)

    def _computed(self, batch: Supervised) -> Tensor:
        if self.precision == "float64":
            return self.student.forward(batch)
        bf16 = self.precision == "bf16" or (self.precision == "auto" and self.device.type == "cuda")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            semantic = self.student.forward(batch)
        return semantic.float()

    def _measure(self, mine: Sequence[tuple[int, Supervised]], second: SelfDistillation | None) -> None:
        """λ by gradient where a step has several batches: the same for all, by lengths that are means over them."""
        objective = self.objective
        if second is not None or not objective.measured_apart or objective.config.lambda_by != "gradient":
            return
        lengths: dict[str, float] = {}
        if objective.is_due:
            found = ((self._forward(turn, batch), batch, self._generator(turn)) for turn, batch in mine)
            lengths = self.ranks.average_numbers(_means([objective.measure(*each) for each in found]))
        objective.follow(lengths)

    def _learn(self, turn: int, batch: Supervised, second: SelfDistillation | None) -> dict[str, float]:
        """Add the gradient of one batch; its terms, and on a watched step the lengths of their gradients."""
        semantic, share = self._forward(turn, batch), len(self._turns(self.step))
        if second is None:
            terms = self.objective(semantic, batch, self._generator(turn))
        else:
            terms = second.terms(semantic, batch)
        norms = gradient_norms(terms, semantic) if self._is_watched(self.step + 1) else {}
        (terms["total"] if share == 1 else terms["total"] / share).backward()
        found = {name: float(value.detach()) for name, value in terms.items()}
        return found | {f"grad_{name}": value for name, value in norms.items()}

    @property
    def watched(self) -> bool:
        """Whether the step just taken has a row in the history."""
        return self._is_watched(self.step)

    def _is_watched(self, step: int) -> bool:
        return step == self.config.train.steps or step % self.config.train.evaluate_every == 0

    def _next_batch(self, scenes: Sequence[PreparedScene], turn: int) -> tuple[int, Supervised]:
        """A turn and its batch, read while the one before was computed; the reading of the next one is begun."""
        begun, ahead = time.perf_counter(), self.ahead
        batch = ahead[1].result() if ahead is not None and ahead[0] == turn else self._draw(scenes, turn)
        self.waited += time.perf_counter() - begun
        mine = self._turns(turn // self.config.train.batches_per_step)
        later = turn + self.ranks.size if turn != mine[-1] else next(iter(self._turns(self.step + 1)))
        last = self.step + 1 == self.config.train.steps and turn == mine[-1]
        self.ahead = None if last else (later, self.reader.submit(self._draw, scenes, later))
        return turn, batch

    def _draw(self, scenes: Sequence[PreparedScene], turn: int) -> Supervised:
        batch = self.student.draw(scenes, turn, self.config.seed, self.device)
        return _double(batch) if self.precision == "float64" else batch

    @property
    def parts(self) -> dict[str, Any]:
        """The network, the objective and the optimizer; where there is a second stage, what it has learned too."""
        parts = {"network": self.student.network, "objective": self.objective, "optimizer": self.optimizer}
        return parts if self.second is None else parts | {"second": self.second}


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means by name over batches; a term that one lacks is 0 there. Of one batch its own numbers, in their bits."""
    if len(rows) == 1:
        return rows[0]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in names}


def _double(part: Any) -> Any:
    """A batch with every number of a fraction as float64."""
    if isinstance(part, Tensor):
        return part.double() if part.is_floating_point() else part
    if not is_dataclass(part) or isinstance(part, type):
        return part
    return replace(part, **{field.name: _double(getattr(part, field.name)) for field in fields(part)})


class _Validation:
    """mIoU on a fixed subset of the points of some scenes, for the curve: of at most `count` of a `kind`."""

    def __init__(
        self, config: ExperimentConfig, scenes: Sequence[PreparedScene], kind: str = "validation", count: int = SAMPLED
    ) -> None:
        self.classes = len(load_label_set(config.data.label_set))
        # Under the book's own protocol, so that the curve is the same however the network is scored later.
        self.text = class_text(config.data.label_set, own_protocol(config), config.text)
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
