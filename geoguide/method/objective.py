"""The training loss L_final = λ1 L_sp + λ2 L_mask + λ3 L_sim, with any of its modules left out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError
from geoguide.frozen import check_fields, unless
from geoguide.method.batch import Batch, Supervised
from geoguide.method.distillation import Distillation, DistillationConfig
from geoguide.method.mask_reconstruction import IMRConfig, MaskReconstruction
from geoguide.method.relation_consistency import IIRCConfig, RelationConsistency
from geoguide.method.superpoint_distillation import SuperpointDistillation, USDConfig
from geoguide.ops.shared_rows import read_together

MODULES = ("usd", "imr", "iirc")

# By gradient, a length costs one more pass back through a module's loss: it is measured every tenth call, and averaged
# over about ten measurements. The mean is geometric: at the very first step lengths are 8 (L_sp) to 60 times (IMR as
# written) what they are 40 steps later (eight generated rooms), which would weigh on a sum for hundreds of steps.
MEASURED_EVERY = 10
KEPT_SHARE = 0.8  # exponent of the running mean, at each measurement


@dataclass(frozen=True)
class ObjectiveConfig:
    """The modules in use and their weights. The paper states no λ.

    Attributes:
        modules: Names from `MODULES`. Without usd, L_sp is plain point-level distillation (the adapter-only baseline's
            loss).
        lambda_sp: λ1, times the terms of usd, or of plain distillation.
        lambda_mask: λ2, times imr's.
        lambda_sim: λ3, times iirc's.
        usd: Options of USD.
        imr: Options of IMR.
        iirc: Options of IIRC.
        lambda_by: What λ2 and λ3 are. `value`: factors of the loss terms, as written. `gradient`: ratios. The factor is
            then chosen, again and again, so that the gradient of the module's loss with respect to F_3d^sem is so
            many times as long as that of λ1 L_sp; running means of both lengths are compared. A factor fixed after the
            first steps would not hold: lengths fall unequally from where the student starts, the mean feature.
        distillation: L_sp without usd: plain, or as another system has it.

    Raises:
        ConfigError: A module that is not in `MODULES`, or another word; a λ below 0, all in use 0, or a λ1 of 0
            by gradient; a `distillation` beside usd, which it replaces.
    """

    modules: tuple[str, ...] = MODULES
    lambda_sp: float = 1.0
    lambda_mask: float = 0.1
    lambda_sim: float = 0.05
    usd: USDConfig = field(default_factory=USDConfig)
    imr: IMRConfig = field(default_factory=IMRConfig)
    iirc: IIRCConfig = field(default_factory=IIRCConfig)
    lambda_by: Literal["value", "gradient"] = field(default="value", metadata=unless("lambda_by", "value"))
    distillation: DistillationConfig = field(
        default=DistillationConfig(), metadata=unless("distillation", DistillationConfig())
    )

    def __post_init__(self) -> None:
        check_fields(self, "objective")
        for name in ("lambda_sp", "lambda_mask", "lambda_sim"):
            if getattr(self, name) < 0:
                raise ConfigError(f"objective.{name} must be at least 0, found {getattr(self, name)}")
        if self.lambda_by == "gradient" and self.lambda_sp == 0:  # the others are ratios to its gradient
            raise ConfigError("objective.lambda_sp must be above 0 where lambda_by is gradient, found 0")
        unknown = sorted(set(self.modules) - set(MODULES))
        if unknown:
            raise ConfigError(f"unknown module {', '.join(unknown)}: known are {', '.join(MODULES)}")
        factors = {"usd": self.lambda_sp, "imr": self.lambda_mask, "iirc": self.lambda_sim}
        if not any(factors[name] for name in {"usd", *self.modules}):  # L_sp is there without usd too
            raise ConfigError("objective: every λ in use is 0, so that nothing would be learned")
        if "usd" in self.modules and self.distillation != DistillationConfig():
            raise ConfigError(f"objective.distillation must be left alone beside usd, found {self.distillation}")


def parse_drop(drop: str) -> tuple[str, ...]:
    """Read which modules an ablation drops.

    Args:
        drop: 'none' (or empty), one module such as 'iirc', or several as in 'usd+imr'; case and spaces do not matter.

    Returns:
        The modules that remain, in the order of `MODULES`.

    Raises:
        ConfigError: A name that is no module.
    """
    dropped = [] if drop.strip().lower() in ("none", "") else [part.strip().lower() for part in drop.split("+")]
    unknown = [part for part in dropped if part not in MODULES]
    if unknown:
        expected = f"none, {', '.join(MODULES)} or several joined by +"
        raise ConfigError(f"drop: unknown module {unknown[0]!r}, expected {expected}")
    return tuple(module for module in MODULES if module not in dropped)


class Objective(nn.Module):
    """The training loss (paper, Total); W's MLP and IMR's linear layer are discarded after training.

    Every module in use is called alike, `module(semantic, batch, generator)`, and returns its loss terms by name.

    Args:
        geometry_width: C1, width of the frozen 3D features.
        feature_width: C, width of the 2D features.
        config: Which modules, their weights and their options.
        text: float32 [K, C], the text of the classes, where `config.distillation` asks for words.

    Example:
        Plain distillation of two points, of which a camera sees one:

        >>> import torch
        >>> from geoguide.method.batch import Batch
        >>> from geoguide.ops.groups import Groups
        >>> batch = Batch(
        ...     points=torch.zeros(2, 3),
        ...     geometry=torch.zeros(2, 4),
        ...     lifted=torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        ...     seen=torch.tensor([True, False]),
        ...     superpoints=Groups.partition(torch.tensor([0, 0])),
        ...     masks=Groups.partition(torch.tensor([0, 0])),
        ... )
        >>> objective = Objective(4, 2, ObjectiveConfig(modules=(), lambda_sp=2.0))
        >>> terms = objective(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), batch, torch.Generator())
        >>> {name: value.item() for name, value in terms.items()}
        {'point': 2.0, 'total': 2.0}
    """

    calls: Tensor
    lengths: Tensor
    measured_apart: bool  # whether `follow` goes on with the running means, and not each call for itself

    def __init__(
        self, geometry_width: int, feature_width: int, config: ObjectiveConfig, text: Tensor | None = None
    ) -> None:
        super().__init__()
        self.config, self.measured_apart = config, False
        used = config.modules
        self.distillation = Distillation(config.distillation, text) if "usd" not in used else None
        self.usd = SuperpointDistillation(geometry_width, feature_width, config.usd) if "usd" in used else None
        self.imr = MaskReconstruction(feature_width, config.imr) if "imr" in used else None
        self.iirc = RelationConsistency(config.iirc) if "iirc" in used else None
        if config.lambda_by == "gradient":  # part of a checkpoint, so that a training that goes on weighs as before
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
            self.register_buffer("lengths", torch.zeros(3, dtype=torch.float64))  # of gradients; 0: never measured

    def forward(self, semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute L_final and its terms, each times its λ (paper, Total).

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The 2D features of the P points (or voxels); a `Batch` where any module is in use.
            generator: CPU generator for all that the modules draw at random.

        Returns:
            Scalars by name, and their sum `total`. With λ by gradient, a call that is differentiated also goes on with
            the running means.
        """
        losses = self._losses(semantic, batch, generator)
        measured = self.config.lambda_by == "gradient" and not self.measured_apart
        if measured and semantic.requires_grad and torch.is_grad_enabled():
            self._measure(losses, semantic)
        terms: dict[str, Tensor] = {}
        for weight, own in zip(self.lambdas, losses, strict=True):
            terms |= {name: weight * value for name, value in own.items()}
        return terms | {"total": torch.stack(list(terms.values())).sum()}

    def _losses(self, semantic: Tensor, batch: Supervised, generator: torch.Generator) -> list[dict[str, Tensor]]:
        """L_sp, L_mask and L_sim as their terms, none times its λ; empty for a module that is not in use."""

        def read(rows: Tensor) -> list[dict[str, Tensor]]:
            modules = (self.usd or self.distillation, self.imr, self.iirc)
            return [{} if module is None else module(rows, batch, generator) for module in modules]

        large = isinstance(batch, Batch) and batch.is_large
        return read_together(semantic, read) if large else read(semantic)

    @property
    def lambdas(self) -> tuple[float, float, float]:
        """The factors λ1, λ2, λ3 of the terms as they are now; by gradient, 0 for a loss without any gradient."""
        given = (self.config.lambda_sp, self.config.lambda_mask, self.config.lambda_sim)
        if self.config.lambda_by == "value":
            return given
        first, *others = self.lengths.tolist()
        ratios = [first / length if length else 0.0 for length in others]
        return given[0], given[1] * ratios[0], given[2] * ratios[1]

    def _measure(self, losses: list[dict[str, Tensor]], semantic: Tensor) -> None:
        """Go on with the running means of the lengths of the gradients of λ1 L_sp, L_mask and L_sim."""
        for number, own in enumerate(losses):
            if own and self._is_due(number):
                self._follow(number, self._length(number, own, semantic))
        self.calls += 1

    def _is_due(self, number: int) -> bool:
        return bool(float(self.lengths[number]) == 0 or self.calls % MEASURED_EVERY == 0)

    def _length(self, number: int, own: dict[str, Tensor], semantic: Tensor) -> float:
        factor = self.config.lambda_sp if number == 0 else 1.0
        return factor * gradient_norms({"sum": torch.stack(list(own.values())).sum()}, semantic).get("sum", 0.0)

    def _follow(self, number: int, new: float) -> None:
        old = float(self.lengths[number])
        if new > 0:
            self.lengths[number] = new if old == 0 else old**KEPT_SHARE * new ** (1 - KEPT_SHARE)

    @property
    def is_due(self) -> bool:
        """Whether the step to come needs lengths measured for `follow`, where a step has several batches."""
        return self.config.lambda_by == "gradient" and any(map(self._is_due, range(len(self.lengths))))

    def measure(self, semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, float]:
        """Measure the lengths of the gradients of λ1 L_sp, L_mask and L_sim on one of a step's batches.

        Args:
            semantic: As in `forward`, differentiable.
            batch: As in `forward`.
            generator: As in `forward`.

        Returns:
            Lengths by the number of the loss, of those in use.
        """
        losses = self._losses(semantic, batch, generator)
        return {str(number): self._length(number, own, semantic) for number, own in enumerate(losses) if own}

    def follow(self, lengths: dict[str, float]) -> None:
        """Go on with the running means by one step of several batches; to be called once a step.

        Args:
            lengths: Means over the step's batches of what `measure` gave; empty where it was not due.
        """
        for number, length in lengths.items():
            if self._is_due(int(number)):
                self._follow(int(number), length)
        self.calls += 1

    def calibrate(self, batches: Iterable[Supervised]) -> None:
        """Measure, before the first step, what options ask for: how large the two halves of USD's input are.

        Args:
            batches: Training batches; none is looked at unless an option asks for it.
        """
        if self.usd is not None and self.usd.scales is not None:
            self.usd.standardise(batch for batch in batches if isinstance(batch, Batch))


def gradient_norms(terms: dict[str, Tensor], semantic: Tensor) -> dict[str, float]:
    """How strongly each term of the loss pulls at the student's output.

    Args:
        terms: Scalars by name, not yet differentiated.
        semantic: F_3d^sem, [P, C], from which they were computed.

    Returns:
        The length of each term's gradient with respect to `semantic`, all P C numbers as one vector, for those that
        depend on it. Nothing else changes: no gradient is added to, and the terms can be differentiated still.

    Example:
        >>> import torch
        >>> semantic = torch.tensor([[3.0, 4.0]], requires_grad=True)
        >>> gradient_norms({"square": semantic.square().sum(), "constant": torch.tensor(1.0)}, semantic)
        {'square': 10.0}
    """
    norms = {}
    for name, value in terms.items():
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, semantic, retain_graph=True, allow_unused=True)
            if gradient is not None:
                norms[name] = float(gradient.norm())
    return norms
