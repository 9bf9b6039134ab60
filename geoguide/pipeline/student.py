"""Which student an experiment trains: the one place that knows them all by name."""

from collections.abc import Callable, Sequence

from geoguide.errors import ConfigError
from geoguide.pipeline.config import ExperimentConfig
from geoguide.prepared import PreparedScene
from geoguide.students.frozen_backbone import FrozenBackboneStudent
from geoguide.students.openscene import OpenSceneStudent
from geoguide.students.student import Student

Maker = Callable[[ExperimentConfig, Sequence[PreparedScene]], Student]


def _frozen_backbone(config: ExperimentConfig, scenes: Sequence[PreparedScene]) -> Student:
    return FrozenBackboneStudent.untrained(scenes, config.adapter, config.backbone, config.train.points_per_step)


def _openscene(config: ExperimentConfig, scenes: Sequence[PreparedScene]) -> Student:
    return OpenSceneStudent.untrained(scenes, config.openscene)


# A further student: its class, and what makes it from a config.
STUDENTS: dict[str, tuple[type[Student], Maker]] = {
    FrozenBackboneStudent.name: (FrozenBackboneStudent, _frozen_backbone),
    OpenSceneStudent.name: (OpenSceneStudent, _openscene),
}


def student_kind(config: ExperimentConfig) -> type[Student]:
    """The class of the student that a config names.

    Args:
        config: An experiment; `train.model` names the student.

    Returns:
        A subclass of `Student`.

    Raises:
        ConfigError: `train.model` is no student.
    """
    if config.train.model not in STUDENTS:
        raise ConfigError(f"train.model must be one of {', '.join(STUDENTS)}, found {config.train.model!r}")
    return STUDENTS[config.train.model][0]


def new_student(config: ExperimentConfig, scenes: Sequence[PreparedScene]) -> Student:
    """An untrained student, with weights from torch's random state.

    Args:
        config: Names the student and its settings.
        scenes: The training scenes, whose features say how wide it is and where it starts.

    Returns:
        The student, on the CPU.

    Raises:
        ConfigError: `train.model` is no student, or the objective has modules that its batches cannot feed.
    """
    kind = student_kind(config)
    if config.objective.modules and not kind.has_regions:
        raise ConfigError(f"objective.modules must be empty for {kind.name}, found {config.objective.modules}")
    return STUDENTS[kind.name][1](config, scenes)
