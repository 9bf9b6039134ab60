"""The registry of students: the one place that knows every student by its name in configs."""

from collections.abc import Callable, Sequence

import torch

from geoguide.errors import ConfigError, InputError
from geoguide.ops.devices import CPU
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.pooling import PoolingConfig
from geoguide.prepared import PreparedScene
from geoguide.students.frozen_backbone import FrozenBackboneStudent
from geoguide.students.openscene import OpenSceneStudent
from geoguide.students.point_transformer import PointTransformerStudent
from geoguide.students.student import Student

Maker = Callable[[ExperimentConfig, Sequence[PreparedScene], torch.device], Student]


def _frozen_backbone(config: ExperimentConfig, scenes: Sequence[PreparedScene], _: torch.device) -> Student:
    count, batches = config.train.points_per_step, config.pooling.batches
    return FrozenBackboneStudent.untrained(scenes, config.adapter, config.backbone, count, batches)


def _openscene(config: ExperimentConfig, scenes: Sequence[PreparedScene], _: torch.device) -> Student:
    return OpenSceneStudent.untrained(scenes, config.openscene)


def _point_transformer(config: ExperimentConfig, scenes: Sequence[PreparedScene], device: torch.device) -> Student:
    return PointTransformerStudent.untrained(scenes, config.point_transformer, config.backbone, config.adapter, device)


# Each student's class, and the function that makes an untrained one from a config. A further student is a line here.
STUDENTS: dict[str, tuple[type[Student], Maker]] = {
    FrozenBackboneStudent.name: (FrozenBackboneStudent, _frozen_backbone),
    OpenSceneStudent.name: (OpenSceneStudent, _openscene),
    PointTransformerStudent.name: (PointTransformerStudent, _point_transformer),
}


def student_kind(config: ExperimentConfig) -> type[Student]:
    """Find the class of the student that a config names.

    Args:
        config: An experiment; `train.model` names the student.

    Returns:
        A subclass of `Student`.

    Raises:
        ConfigError: `train.model` is not in `STUDENTS`.
    """
    if config.train.model not in STUDENTS:
        raise ConfigError(f"train.model must be one of {', '.join(STUDENTS)}, found {config.train.model!r}")
    return STUDENTS[config.train.model][0]


def new_student(config: ExperimentConfig, scenes: Sequence[PreparedScene], device: torch.device = CPU) -> Student:
    """Make an untrained student.

    Args:
        config: Names the student, its settings and the objective's modules.
        scenes: The training scenes: the widths of their features, and the statistics that the student starts from.
        device: Where its network is put, and runs for statistics of what it says itself.

    Returns:
        The student; its weights come from torch's global random state, that of the CPU.

    Raises:
        ConfigError: `train.model` is not in `STUDENTS`, or the objective has modules but the student's batches lack
            the regions that modules need, or that `pooling` speaks of.
        InputError: Exact means are asked for and a scene has none.
    """
    kind = student_kind(config)
    if config.objective.modules and not kind.has_regions:
        raise ConfigError(f"objective.modules must be empty for {kind.name}, found {config.objective.modules}")
    if not kind.has_regions and config.pooling != PoolingConfig(kept_points=config.pooling.kept_points):
        raise ConfigError(f"pooling.means and pooling.batches must be left alone for {kind.name}, which has no regions")
    bare = [scene.name for scene in scenes if scene.means is None] if config.pooling.means == "exact" else []
    if bare:
        raise InputError(f"scene {bare[0]}: has no exact means; prepare it with training=True and the same `pooling`")
    student = STUDENTS[kind.name][1](config, scenes, device)
    student.network = student.network.to(device)
    return student
