"""One frozen config per experiment. Its hash names the run: same config, same record."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from geoguide.backbones.config import BackboneConfig
from geoguide.datasets.config import DataConfig
from geoguide.errors import ConfigError
from geoguide.frozen import replaced, unless
from geoguide.instances.scene_masks import MaskConfig
from geoguide.lifting import LiftingConfig
from geoguide.method.objective import ObjectiveConfig
from geoguide.students.adapter import AdapterConfig
from geoguide.students.openscene import OpenSceneConfig
from geoguide.superpoints import SuperpointConfig
from geoguide.teachers.simulated import SimulatedTeacherConfig
from geoguide.text.encoders import TextConfig


@dataclass(frozen=True)
class TrainConfig:
    """Optimisation. The paper states none of it."""

    model: Literal["adapter", "openscene"] = "adapter"
    """`openscene`: no frozen backbone, MinkUNet18A trained entirely."""
    steps: int = 2000  # one step is one scene; more made the validation rooms worse: the adapter learns rooms by heart
    points_per_step: int = 1000  # random points of the scene; on a processor more steps teach more than more points
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    power: float = 0.9  # polynomial decay, as OpenScene
    evaluate_every: int = 100  # steps between points of the validation curve
    checkpoint_every: int = 200


@dataclass(frozen=True)
class Protocol:
    """How a number is scored; printed beside every number."""

    mode: Literal["distill", "fusion", "ensemble"] = "distill"
    prompt: str = "a photo of a {}"  # best of those tried with MiniLM; OpenScene: "a {} in a scene" with CLIP
    absent_class: Literal["zero", "skip", "union"] = "zero"  # OpenScene and Pointcept count an absent class as 0
    no_feature: Literal["wrong", "drop", "openscene"] = "wrong"
    """Points without 2D feature in fusion mode: counted as errors."""
    repeats: int = 1
    """1: one pass of the cloud as it is. More: passes of the turned and scaled cloud, their dot products summed."""
    other: Literal["prompted", "bare"] = field(default="prompted", metadata=unless("other", "prompted"))
    """`bare`: the class of other things is embedded as the word "other" alone, as OpenScene does."""
    finer_names: bool = field(default=False, metadata=unless("finer_names", False))
    """Score a class by the best of its finer names, where its label set has them (nuScenes: 43 for 16)."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ConfigError(f"protocol.repeats must be at least 1, found {self.repeats}")


@dataclass(frozen=True)
class EvaluationConfig:
    """What a trained network is scored on beside the test scenes of its own data; training does not depend on it."""

    label_sets: tuple[str, ...] = ()  # further label sets of the same scenes (long tail)
    data: DataConfig | None = None  # another domain's test scenes, in place of the own ones
    lifting: LiftingConfig | None = None  # its lifting


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a result."""

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
    text: TextConfig = field(default_factory=TextConfig, metadata=unless("text", TextConfig()))
    protocol: Protocol = field(default_factory=Protocol)
    evaluation: EvaluationConfig = field(
        default_factory=EvaluationConfig, metadata=unless("evaluation", EvaluationConfig())
    )
    seed: int = 0

    def training(self) -> "ExperimentConfig":
        """The part that decides the trained network: experiments that differ in scoring alone share it."""
        return dataclasses.replace(self, protocol=Protocol(), evaluation=EvaluationConfig())

    def tested(self) -> "ExperimentConfig":
        """As `self`, but on the data of the test scenes."""
        other = self.evaluation
        return dataclasses.replace(
            self, data=other.data or self.data, lifting=other.lifting or self.lifting, evaluation=EvaluationConfig()
        )

    def replace(self, **changes: Any) -> "ExperimentConfig":
        """A copy with fields changed; nested fields as `objective__usd__weight="raw"`."""
        config: Any = self
        for path, value in changes.items():
            config = replaced(config, path.replace("__", "."), value)
        return config
