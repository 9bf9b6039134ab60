"""One frozen config per experiment. Its hash names the run: same config, same record."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from geoguide.backbones.config import BackboneConfig
from geoguide.datasets.config import DataConfig
from geoguide.errors import ConfigError, check_known
from geoguide.frozen import check_fields, replaced, unless
from geoguide.instances.scene_masks import MaskConfig
from geoguide.labels import label_set_names
from geoguide.lifting import LiftingConfig
from geoguide.method.objective import ObjectiveConfig
from geoguide.method.self_distillation import SelfDistillationConfig
from geoguide.ops.arrays import as_config_error, number, whole
from geoguide.pipeline.pooling import PoolingConfig
from geoguide.students.adapter import AdapterConfig
from geoguide.students.openscene import OpenSceneConfig
from geoguide.students.point_transformer import PointTransformerStudentConfig
from geoguide.superpoints import SuperpointConfig
from geoguide.teachers.registry import ImageModelConfig
from geoguide.teachers.simulated import SimulatedTeacherConfig
from geoguide.text.encoders import TextConfig, check_prompt

SEEDS = 2**43 - 1  # the largest seed: times a million, plus a step, it is one of torch's generator still


@dataclass(frozen=True)
class TrainConfig:
    """Student and optimisation. The paper states none of the numbers.

    Attributes:
        model: The student: `adapter` on a frozen backbone, or an entire network that is trained: `openscene`, a
            MinkUNet18A, or `point_transformer`, the backbone's own network.
        steps: Optimisation steps of one scene each (openscene: `scenes_per_step` scenes). More made the validation
            rooms worse: the adapter learns rooms by heart.
        points_per_step: Random points of the scene (adapter only); on a processor more steps teach more than more
            points.
        learning_rate: Of AdamW, at the first step.
        weight_decay: Of AdamW.
        power: Exponent of the polynomial decay of the learning rate to 0, as OpenScene.
        evaluate_every: Steps between points of the validation curve.
        checkpoint_every: Steps between checkpoints.
        decay: Share of the steps, the last ones, over which the rate falls; below 1 it is constant before, so that a
            curve can be judged apart from the decay (see `convergence`).
        warmup: Share of the steps over which the learning rate rises from 0; an entire transformer needs it.
        supervision: What is learned from: the 2D features, or (an oracle, which no open-vocabulary method has) the
            labels of the training scenes: `labels` takes the text feature of the true class for F_2d, `classes`
            compares the classes' scores by cross-entropy (see `supervision.ClassObjective`).
        watch_train: Whether the curve has `train_miou` beside `val_miou`: mIoU on a fixed subset of the points of some
            training scenes, so that a network that underfits is told from one that overfits.
        self_distillation: A second stage in which the student learns from pseudo labels of its own.
        batches_per_step: Batches whose mean loss a step follows, each of one turn of the student (a scene). They are
            taken one after another, or by several processes side by side (see `ranks`).

    Raises:
        ConfigError: A number is out of range, or an unknown word.
    """

    model: Literal["adapter", "openscene", "point_transformer"] = "adapter"
    steps: int = 2000
    points_per_step: int = 1000
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    power: float = 0.9
    evaluate_every: int = 100
    checkpoint_every: int = 200
    decay: float = field(default=1.0, metadata=unless("decay", 1.0))
    warmup: float = field(default=0.0, metadata=unless("warmup", 0.0))
    supervision: Literal["2d", "labels", "classes"] = field(default="2d", metadata=unless("supervision", "2d"))
    watch_train: bool = field(default=False, metadata=unless("watch_train", False))
    self_distillation: SelfDistillationConfig = field(
        default=SelfDistillationConfig(), metadata=unless("self_distillation", SelfDistillationConfig())
    )
    batches_per_step: int = field(default=1, metadata=unless("batches_per_step", 1))

    def rate(self, step: int) -> float:
        """The learning rate of a step: it rises evenly, and falls as a polynomial over the last steps, or all.

        Args:
            step: From 0 to `steps` - 1.

        Returns:
            The rate, at most `learning_rate`.
        """
        risen = min(1.0, (step + 1) / max(1.0, self.warmup * self.steps))
        left = 1 - step / self.steps
        return self.learning_rate * min(1.0, left / self.decay) ** self.power * risen

    def check_processes(self, count: int) -> None:
        """Refuse a number of processes that cannot share the training.

        Args:
            count: Processes.

        Raises:
            ConfigError: The batches of a step are no multiple of it, or a part of the training is kept by one process.
        """
        if self.batches_per_step % count:
            expected = f"train.batches_per_step must be a multiple of the {count} processes"
            raise ConfigError(f"{expected}, found {self.batches_per_step}")
        if count > 1 and self.self_distillation.teacher == "history":
            raise ConfigError(f"train.self_distillation.teacher 'history' is of one process, found {count}")

    def __post_init__(self) -> None:
        check_fields(self, "train")
        with as_config_error("train"):
            for name in ("steps", "points_per_step", "evaluate_every", "checkpoint_every", "batches_per_step"):
                whole(name, getattr(self, name), 1)
            for name in ("learning_rate", "weight_decay", "power", "warmup"):
                number(name, getattr(self, name))
        if self.warmup > 1 or not 0 < self.decay <= 1:
            found = f"found {self.warmup} and {self.decay}"
            raise ConfigError(f"train.warmup and train.decay must be shares of the steps, decay above 0, {found}")


@dataclass(frozen=True)
class Protocol:
    """How a number is scored; printed beside every number.

    Attributes:
        mode: Which features are compared with the text: `distill` the student's, `fusion` the lifted 2D ones,
            `ensemble` per point the surer of the two.
        prompt: Template of the text; this is the best of those tried with MiniLM (OpenScene: "a {} in a scene", CLIP).
            Or several, joined by "|", or "ensemble:imagenet": classes are the means over them (`prompt_templates`).
        absent_class: How a class without ground truth counts in the means (see `ConfusionMatrix`): as 0, as OpenScene
            and Pointcept do, or by another rule.
        no_feature: How points without a 2D feature count in mode fusion (see `ConfusionMatrix`): as errors, or by
            another rule.
        repeats: 1: one pass of the cloud as it is. More: passes of the turned and scaled cloud, whose dot products are
            averaged.
        other: How the class of other things is embedded: `prompted` like any name, or `bare` as the word "other"
            alone, as OpenScene does.
        finer_names: Score a class by the best of its finer names, where its label set has them (nuScenes: 43 for 16).
        pooled: In mode fusion, score the mean 2D feature over each superpoint, or over each annotated instance (an
            oracle; points of no instance keep their superpoint's mean), rather than each point's own.

    Raises:
        ConfigError: `repeats` is below 1, a prompt without `{}`, an unknown word, or pooled features of another mode
            than fusion.

    Example:
        >>> Protocol(repeats=5).mode
        'distill'
        >>> Protocol(repeats=0)
        Traceback (most recent call last):
        geoguide.errors.ConfigError: protocol.repeats must be at least 1, found 0
    """

    mode: Literal["distill", "fusion", "ensemble"] = "distill"
    prompt: str = "a photo of a {}"
    absent_class: Literal["zero", "skip", "union"] = "zero"
    no_feature: Literal["wrong", "drop", "openscene"] = "wrong"
    repeats: int = 1
    other: Literal["prompted", "bare"] = field(default="prompted", metadata=unless("other", "prompted"))
    finer_names: bool = field(default=False, metadata=unless("finer_names", False))
    pooled: Literal["none", "superpoints", "instances"] = field(default="none", metadata=unless("pooled", "none"))

    def __post_init__(self) -> None:
        check_fields(self, "protocol")
        check_prompt(self.prompt, "protocol.prompt")
        if self.repeats < 1:
            raise ConfigError(f"protocol.repeats must be at least 1, found {self.repeats}")
        if self.pooled != "none" and self.mode != "fusion":
            raise ConfigError(f"protocol.pooled {self.pooled!r} belongs to mode fusion, found {self.mode!r}")


@dataclass(frozen=True)
class EvaluationConfig:
    """Further scoring of a trained network; training does not depend on it.

    Attributes:
        label_sets: Further label sets of the same test scenes (long tail).
        data: Another domain, whose test scenes take the place of the config's own; None for the own ones.
        lifting: The lifting of that domain; None for the config's own.

    Raises:
        ConfigError: An unknown label set.
    """

    label_sets: tuple[str, ...] = ()
    data: DataConfig | None = None
    lifting: LiftingConfig | None = None

    def __post_init__(self) -> None:
        check_fields(self, "evaluation")
        for name in self.label_sets:  # else found out after the training
            check_known("label set", name, label_set_names())


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a result.

    Attributes:
        name: Name of the row in tables; no part of the identity.
        data: Which scenes.
        teacher: The simulated 2D model; unused where `data.features` names fused features, or `image_model` a model.
        lifting: How 2D features are lifted to points.
        backbone: The frozen 3D backbone.
        superpoints: How the scene is partitioned.
        masks: Where instance masks come from.
        adapter: Shape of the adapter.
        objective: The modules, their options and weights.
        train: Student and optimisation.
        openscene: Settings of the student `openscene`; part of the identity for that student alone.
        point_transformer: Settings of the student `point_transformer`; part of the identity for that student alone.
        text: The text encoder.
        pooling: Over which points of a training scene means are taken, and which points are kept.
        image_model: A 2D model that looks at the images, in place of the simulated one; None for none.
        protocol: How the trained network is scored.
        evaluation: What else it is scored on.
        seed: Decides everything random; at least 0, at most `SEEDS`.

    Raises:
        ConfigError: A part is of another type, or a seed out of range.

    Example:
        >>> config = ExperimentConfig().replace(train__steps=100, objective__modules=("usd",))
        >>> config.train.steps, config.objective.modules
        (100, ('usd',))
    """

    name: str = field(default="geoguide", metadata={"hash": False})
    data: DataConfig = field(default_factory=DataConfig)
    teacher: SimulatedTeacherConfig = field(default_factory=SimulatedTeacherConfig)
    lifting: LiftingConfig = field(default_factory=LiftingConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    superpoints: SuperpointConfig = field(default_factory=SuperpointConfig)
    masks: MaskConfig = field(default_factory=MaskConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    openscene: OpenSceneConfig = field(
        default_factory=OpenSceneConfig, metadata={"hash": lambda config: config.train.model == "openscene"}
    )
    point_transformer: PointTransformerStudentConfig = field(
        default_factory=PointTransformerStudentConfig,
        metadata={"hash": lambda config: config.train.model == "point_transformer"},
    )
    text: TextConfig = field(default_factory=TextConfig, metadata=unless("text", TextConfig()))
    pooling: PoolingConfig = field(default=PoolingConfig(), metadata=unless("pooling", PoolingConfig()))
    image_model: ImageModelConfig | None = field(default=None, metadata=unless("image_model", None))
    protocol: Protocol = field(default_factory=Protocol)
    evaluation: EvaluationConfig = field(default=EvaluationConfig(), metadata=unless("evaluation", EvaluationConfig()))
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "experiment")
        if not 0 <= self.seed <= SEEDS:
            raise ConfigError(f"experiment.seed must be 0 to {SEEDS}, found {self.seed}")

    @property
    def teacher_name(self) -> str | None:
        """The true name of the 2D model whose features are used; None for the simulated one."""
        return self.data.features if self.image_model is None else self.image_model.name or self.image_model.source

    def check_space(self) -> None:
        """Make sure that text and 2D features can be compared, before either is computed.

        Raises:
            ConfigError: `text` is not the text space of `image_model`, or there are fused features beside that model.
        """
        model = self.image_model
        if model is None:
            return
        if self.data.features is not None:
            raise ConfigError(
                f"data.features must be None beside the 2D model {model.name}, found {self.data.features}"
            )
        if model.space is not None and model.space.encoder != self.text.encoder:
            expected = f"{model.space.encoder}, the text space of {model.name}"
            raise ConfigError(f"text.encoder must be {expected}, found {self.text.encoder}")

    def training(self) -> "ExperimentConfig":
        """Keep the part that decides the trained network; experiments that differ in scoring alone share it.

        Returns:
            A copy with the default protocol and evaluation.
        """
        return dataclasses.replace(self, protocol=Protocol(), evaluation=EvaluationConfig())

    def tested(self) -> "ExperimentConfig":
        """Make the config of the test scenes.

        Returns:
            A copy with `data` and `lifting` of `evaluation` where it names any.
        """
        other = self.evaluation
        data, lifting = other.data or self.data, other.lifting or self.lifting
        return dataclasses.replace(self, data=data, lifting=lifting, evaluation=EvaluationConfig())

    def replace(self, **changes: Any) -> "ExperimentConfig":
        """Copy with some fields changed, all at once.

        Args:
            **changes: New values by field name; a field of a field is written with two underscores, as in
                `objective__usd__weight="raw"`.

        Returns:
            The changed copy.

        Raises:
            ConfigError: No such field, or a value that the config refuses.
        """
        return replaced(self, {path.replace("__", "."): value for path, value in changes.items()})
