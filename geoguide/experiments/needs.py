"""What a row will need of time and memory, from what the records of others say that they took."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from geoguide.errors import ConfigError, DataError
from geoguide.experiments.cost import Work, estimate, points_of_a_scene
from geoguide.experiments.records import record_files
from geoguide.frozen import from_dict
from geoguide.ops.devices import resolve_device
from geoguide.ops.machine import GIB, cores, fitting
from geoguide.ops.workers import worker_pool
from geoguide.pipeline.config import ExperimentConfig
from geoguide.text_files import parse_json, read_text

MIB = 2**20
GENERATED_MB = 1100  # of a process that prepares generated scenes: 840 at the most, with a margin
GPU_MB = 4000  # what CUDA takes of the host's memory in a process, as `grid.smk` has it
TIME_MARGIN, MEMORY_MARGIN = 2.0, 1.25  # asked for, by what was measured: other machines are slower, a kill costs most


@dataclass(frozen=True)
class Measured:
    """What a record says of the time and memory that it took.

    Attributes:
        alike: What decides them, the most important first: the student ("fusion" where nothing is trained), the
            dataset, the edition of generated scenes.
        steps: Of the training; 0 where nothing is trained.
        seconds: Wall time.
        megabytes: The most memory held; None where it was not measured.
    """

    alike: tuple[str, str, str]
    steps: int
    seconds: float
    megabytes: float | None


def measured(folder: Path | None = None) -> list[Measured]:
    """What all records of a folder took; they are not checked as `records.read` does, for nothing is concluded here.

    Args:
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        A line for each record that says how long it took.

    Raises:
        DataError: A file cannot be read, or is no record.
    """
    lines = []
    for path in record_files(folder):
        held = parse_json(read_text(path, "record"), path)
        try:
            config = from_dict(ExperimentConfig, held["config"])
            memory = held.get("own_memory_mb")  # older files have another measure, with pages of mapped files
            lines.append(Measured(_alike(config), _steps(config), float(held["wall_seconds"]), memory))
        except (KeyError, TypeError, AttributeError, ConfigError) as error:
            raise DataError(f"{path}: unreadable record ({error})") from None
    return lines


def resources(config: ExperimentConfig, known: Sequence[Measured]) -> dict[str, int]:
    """What to ask a scheduler for, for one row, from the records that are most like it.

    Args:
        config: The experiment.
        known: See `measured`.

    Returns:
        `runtime` (minutes) and `mem_mb`, the most that any record of the same student, dataset and edition took, with
        a margin; where there is none, of the same student and dataset, then of the same student. Longer trainings get
        more time. A key is missing where nothing like it was measured: the defaults of the grid's profile then hold.

    Example:
        >>> config = ExperimentConfig()
        >>> long = config.replace(train__steps=2 * config.train.steps)
        >>> line = Measured(_alike(config), config.train.steps, 600.0, 1000.0)
        >>> resources(config, [line]), resources(long, [line]), resources(config, [])
        ({'runtime': 20, 'mem_mb': 1250}, {'runtime': 40, 'mem_mb': 1250}, {})
    """
    wanted, steps, asked = _alike(config), _steps(config), {}
    for shared in range(len(wanted), 0, -1):
        near = [line for line in known if line.alike[:shared] == wanted[:shared]]
        if near and "runtime" not in asked:
            seconds = max(line.seconds * max(1.0, steps / max(line.steps, 1)) for line in near)
            asked["runtime"] = math.ceil(TIME_MARGIN * seconds / 60) or 1
        memory = [line.megabytes for line in near if line.megabytes is not None]
        if memory and "mem_mb" not in asked:
            asked["mem_mb"] = math.ceil(MEMORY_MARGIN * max(memory))
    return asked


def preparation(config: ExperimentConfig, scenes: int, workers: int) -> dict[str, int]:
    """What to ask a scheduler for, to prepare the scenes of an experiment, by the cost model (see `cost.estimate`).

    Args:
        config: The experiment. A scene of its benchmark counts, and the released backbone: generated scenes are smaller
            and other backbones faster.
        scenes: How many, of all splits.
        workers: Processes side by side.

    Returns:
        `runtime` (minutes) of frozen features and regions, with a margin, and `mem_mb`: for each process what a
        training with one scene takes, since preparation itself was not measured.

    Example:
        >>> one, two = (preparation(ExperimentConfig(), scenes, 4) for scenes in (500, 1000))
        >>> one["mem_mb"] == two["mem_mb"], abs(two["runtime"] - 2 * one["runtime"]) <= 1
        (True, True)
    """
    points = points_of_a_scene(config.data.benchmark)
    cost, one = (estimate(Work(scenes=count, points=points)) for count in (scenes, 1))
    minutes = (cost.frozen_hours + cost.prepared_hours) * 60 / workers
    memory = one.memory_gib * 1024 * workers
    return {"runtime": math.ceil(TIME_MARGIN * minutes), "mem_mb": math.ceil(MEMORY_MARGIN * memory)}


def fitting_preparers(config: ExperimentConfig, device: str = "auto") -> int:
    """How many processes may prepare the scenes of an experiment side by side (see `fitting_rows`).

    Args:
        config: The experiment.
        device: Where networks run; of a GPU its own memory counts too.

    Returns:
        At most one for each core. One line on standard error says where there is memory for fewer.
    """
    return _fitting(_preparing_mb(config), device)


def fitting_rows(configs: Sequence[ExperimentConfig], known: Sequence[Measured]) -> int:
    """How many processes may prepare and run experiments side by side, by the one that needs most memory.

    Args:
        configs: The experiments, at least one.
        known: See `measured`.

    Returns:
        See `fitting_preparers`.
    """
    rows = (resources(config, known).get("mem_mb") or preparation(config, 1, 1)["mem_mb"] for config in configs)
    return _fitting(max(*rows, *map(_preparing_mb, configs)), "auto")


def _preparing_mb(config: ExperimentConfig) -> int:
    return GENERATED_MB if config.data.generated else preparation(config, 1, 1)["mem_mb"]


def _fitting(megabytes: int, device: str) -> int:
    """How many processes of so many megabytes each may run side by side."""
    each = MIB * megabytes
    if device == "cpu" or cores() == 1 or not torch.cuda.is_available():
        return fitting(each)
    free = _look(device)
    about = f"{min(free) / GIB:.1f} GiB are free on a GPU, and each may take {each / GIB:.1f} GiB"
    return fitting(each + GPU_MB * MIB, room=(len(free) * (min(free) // each), about))


def _look(device: str) -> list[int]:
    """See `_free_on_gpus`; by another process, since who looks takes some of a GPU's memory until it ends."""
    with worker_pool(1) as pool:
        return pool.submit(_free_on_gpus, device).result()


def _free_on_gpus(device: str) -> list[int]:
    """The bytes that are free on a GPU, or on each of all where `device` names none."""
    numbers = range(torch.cuda.device_count()) if device in ("auto", "cuda") else [resolve_device(device).index]
    return [torch.cuda.mem_get_info(number)[0] for number in numbers]


def _alike(config: ExperimentConfig) -> tuple[str, str, str]:
    """See `Measured.alike`."""
    return _student(config), config.data.dataset, config.data.edition


def _student(config: ExperimentConfig) -> str:
    return "fusion" if config.protocol.mode == "fusion" else config.train.model


def _steps(config: ExperimentConfig) -> int:
    return 0 if config.protocol.mode == "fusion" else config.train.steps
