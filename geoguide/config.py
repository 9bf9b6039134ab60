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


@dataclass(frozen=True)
class DataConfig:
    """Which scenes. `root` says where they lie on this machine and is not part of an experiment's identity."""

    dataset: Literal["mini-scannet", "scannet"] = "mini-scannet"
    label_set: str = "scannet20"
    frame_skip: int = 1  # mini rooms hold few frames; OpenScene takes every 20th of ScanNet's
    rooms: tuple[int, int, int] = (28, 14, 21)  # generated rooms for train, val, test (mini only)
    room_seed: int = 0
    root: str | None = field(default=None, metadata={"hash": False})


@dataclass(frozen=True)
class LiftingConfig:
    """From pixels to points; values as OpenScene uses them on ScanNet, except the border."""

    depth_tolerance: float = 0.25  # OpenScene on ScanNet; not stated in the paper
    border: int = 2  # OpenScene cuts 10 of 320 pixels; mini frames are 160 wide and have no lens border


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
    repeats: int = 1  # one pass, no augmentation


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
    protocol: Protocol = field(default_factory=Protocol)
    seed: int = 0

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
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            value = from_dict(hint, value, f"{where}.{name}")
        elif isinstance(value, list):
            value = tuple(value)
        arguments[name] = value
    return kind(**arguments)


def config_hash(config: Any) -> str:
    """Ten hex digits that name a config (any of the dataclasses above)."""
    text = json.dumps(to_dict(config, hashed_only=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
