"""One frozen config per experiment. Its hash names the run: same config, same record."""

import dataclasses
import hashlib
import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from geoguide.adapter import AdapterConfig
from geoguide.backbones.config import BackboneConfig
from geoguide.baselines.openscene import OpenSceneConfig
from geoguide.errors import ConfigError
from geoguide.instances import InstanceConfig
from geoguide.objective import ObjectiveConfig
from geoguide.teachers.simulated import SimulatedTeacherConfig
from geoguide.text import TextConfig


def _unless(name: str, default: Any) -> dict[str, Any]:
    """Metadata of a field that joined later: configs that leave it at its default keep their hash."""
    return {"hash": lambda config: getattr(config, name) != default}


@dataclass(frozen=True)
class DataConfig:
    """Which scenes. `root` says where they lie on this machine and is not part of an experiment's identity."""

    dataset: Literal["mini-scannet", "mini-matterport3d", "mini-nuscenes", "scannet", "matterport3d", "nuscenes"] = (
        "mini-scannet"
    )
    label_set: str = "scannet20"
    frame_skip: int = 1  # mini rooms hold few frames; OpenScene takes every 20th of ScanNet's
    rooms: tuple[int, int, int] = (28, 14, 21)  # generated rooms, houses or streets for train, val, test (mini only)
    room_seed: int = 0
    image_size: tuple[int, int] | None = field(default=None, metadata=_unless("image_size", None))
    """(H, W) at which 2D features are made and lifted; None: as the images are (ScanNet: as its depth images)."""
    features: str | None = field(default=None, metadata=_unless("features", None))
    """Folder below root of fused 2D features in OpenScene's format; None: the simulated teacher (mini only)."""
    root: str | None = field(default=None, metadata={"hash": False})

    def __post_init__(self) -> None:
        if not self.dataset.startswith("mini-") and self.root is None:
            raise ConfigError(f"data.root must name the folder of {self.dataset}")


@dataclass(frozen=True)
class LiftingConfig:
    """From pixels to points; values as OpenScene uses them on ScanNet, except the border."""

    depth_tolerance: float = 0.25  # OpenScene on ScanNet; not stated in the paper
    border: int = 2  # OpenScene cuts 10 of 320 pixels; mini frames are 160 wide and have no lens border
    occlusion: Literal["depth", "splat", "none"] = field(default="depth", metadata=_unless("occlusion", "depth"))
    """Against the depth images; against a z-buffer of the points (LiDAR); or not at all (OpenScene on nuScenes)."""


@dataclass(frozen=True)
class SuperpointConfig:
    """Normal-based over-segmentation; ScanNet's own parameters."""

    k: float = 0.01  # not stated; ScanNet's default
    min_size: int = 20  # not stated; ScanNet's default


@dataclass(frozen=True)
class MaskConfig:
    """Class-agnostic instance masks."""

    source: Literal["geometry", "annotation"] = "geometry"
    """`geometry` merges superpoints; `annotation` is the ground truth, an oracle variant and named so."""
    geometry: InstanceConfig = field(default_factory=InstanceConfig)


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
    other: Literal["prompted", "bare"] = field(default="prompted", metadata=_unless("other", "prompted"))
    """`bare`: the class of other things is embedded as the word "other" alone, as OpenScene does."""
    finer_names: bool = field(default=False, metadata=_unless("finer_names", False))
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
    text: TextConfig = field(default_factory=TextConfig, metadata=_unless("text", TextConfig()))
    protocol: Protocol = field(default_factory=Protocol)
    evaluation: EvaluationConfig = field(
        default_factory=EvaluationConfig, metadata=_unless("evaluation", EvaluationConfig())
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
            config = _replace(config, path.split("__"), value, path)
        return config


def _replace(config: Any, path: list[str], value: Any, full: str) -> Any:
    if not dataclasses.is_dataclass(config) or path[0] not in {f.name for f in dataclasses.fields(config)}:
        raise ConfigError(f"{full.replace('__', '.')}: no such field ({path[0]!r} in {type(config).__name__})")
    inner = value if len(path) == 1 else _replace(getattr(config, path[0]), path[1:], value, full)
    return dataclasses.replace(config, **{path[0]: inner})


def to_dict(config: Any, *, hashed_only: bool = False) -> dict[str, Any]:
    """A dataclass as plain JSON types; with `hashed_only` without the fields that do not change a result."""
    result = {}
    for f in dataclasses.fields(config):
        hashed = f.metadata.get("hash", True)  # or a function of the config: a part that only some experiments read
        if hashed_only and not (hashed(config) if callable(hashed) else hashed):
            continue
        value = getattr(config, f.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value, hashed_only=hashed_only)
        result[f.name] = list(value) if isinstance(value, tuple) else value
    return result


def from_dict(kind: type, values: dict[str, Any], where: str = "config") -> Any:
    """The inverse of `to_dict`; an unknown field is a `ConfigError` that names it."""
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(f"{where}.{unknown[0]}: unknown field of {kind.__name__}")
    arguments = {}
    for name, value in values.items():
        hint = _dataclass(hints[name])
        if hint is not None and value is not None:
            value = from_dict(hint, value, f"{where}.{name}")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return kind(**arguments)


def _dataclass(hint: Any) -> type | None:
    """The dataclass that a type hint names, alone or as an option beside None."""
    return next((h for h in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(h)), None)


def config_hash(config: Any) -> str:
    """Ten hex digits that name a config (any of the dataclasses above)."""
    text = json.dumps(to_dict(config, hashed_only=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
