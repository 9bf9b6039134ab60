"""What a whole benchmark costs, worked out before it is run: hours, memory, disk, from rates that were measured.

`benchmarks/cost.py` measures the rates (`cost.json` beside this file) and compares predictions with measurements that
they were not made from; `compared` does so with whole runs on generated scenes, of two of which the memory of the
program and of open scenes was taken. Hours of a processor are of one thread. Hours of a GPU are a lower bound from the
operations of a step and the speed that you name: moving data within the GPU is not in them.
"""

import csv
import functools
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from geoguide.backbones import BackboneConfig, open_backbone
from geoguide.benchmarks import benchmarks
from geoguide.datasets.splits import load_split
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.experiments.placing import REAL_SCENES
from geoguide.experiments.records import record_files
from geoguide.frozen import from_dict
from geoguide.method.objective import MODULES
from geoguide.ops.arrays import number, whole
from geoguide.paths import PACKAGE
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import OPEN_SCENES
from geoguide.pipeline.train import VALIDATION_POINTS
from geoguide.students.statistics import SAMPLED
from geoguide.text.encoders import text_encoder
from geoguide.text_files import parse_json, read_text

RATES = Path(__file__).with_name("cost.json")
EPOCHS = 20  # of a training on real scenes, as `placing` has it
HALF, GIB, MIB = 2, 2**30, 2**20  # bytes of a stored feature value; of a GiB and a MiB
VALIDATIONS = 20  # of a training, for its curve
LEAST = 3  # records of a kind of run, of which the median is compared
TRUE = 1.3  # times that predicted and measured may differ by


@dataclass(frozen=True)
class Line:
    """A measured straight line: `start` + `slope` times what it is of."""

    start: float
    slope: float

    def at(self, value: float) -> float:
        """Read it off.

        Args:
            value: Where.

        Returns:
            The height there.
        """
        return self.start + self.slope * value


@dataclass(frozen=True)
class Rates:
    """What was measured on one processor thread. A *value* is one number of one point's 2D or frozen 3D feature.

    Attributes:
        frozen_seconds: Of the released backbone, per point.
        step_seconds: Of a training step over its values, of the adapter alone.
        module_seconds: Likewise with all three modules.
        score_seconds: Per value of a scored scene.
        memory_mb: Of a training, over the values of a step.
        other_bytes: Per point on disk: points, colours, labels, superpoints, masks.
        frozen_share: Rows of frozen features per point: points of one coarse voxel share theirs.
        step_flop: Operations of a training step with all modules, per value.
        point_seconds: Of superpoints, masks and the rest that is prepared of a point, once; not of frozen features.
        frame_seconds: Of reading, describing and lifting an image of a generated room, by a mini 2D model.
        program_mb: Of the command that trains and scores, beside a training alone.
        scene_bytes: Of memory, per point of the scenes that stay open.
    """

    frozen_seconds: float
    step_seconds: Line
    module_seconds: Line
    score_seconds: float
    memory_mb: Line
    other_bytes: float
    frozen_share: float
    step_flop: float
    point_seconds: float
    frame_seconds: float
    program_mb: float
    scene_bytes: float


@dataclass(frozen=True)
class Work:
    """What is to be computed.

    Attributes:
        scenes: To train on.
        points: Of a scene.
        scored: Scenes to score.
        validated: Scenes of the validation curve; their points are scored whole once more.
        frames: Images of a scene that a 2D model sees; none where its features are there already.
        channels: Of a 2D feature; OpenSeg's.
        frozen: Channels of a frozen 3D feature; Sonata's.
        classes: That are told apart.
        steps: Of a training; None for twenty epochs of the scenes.
        points_per_step: Points of a training step.
        modules: All three; without them the adapter alone.
        runs: Trainings: rows of a table times seeds.

    Raises:
        InputError: A number that is not whole, or too small.
    """

    scenes: int
    points: int
    scored: int = 0
    validated: int = 0
    frames: int = 0
    channels: int = 768
    frozen: int = 1088
    classes: int = 20
    steps: int | None = None
    points_per_step: int = 20_000
    modules: bool = True
    runs: int = 1

    def __post_init__(self) -> None:
        least = dict.fromkeys(("scenes", "points", "channels", "frozen", "classes", "points_per_step", "runs"), 1)
        least |= dict.fromkeys(("scored", "validated", "frames"), 0) | ({} if self.steps is None else {"steps": 1})
        for name, smallest in least.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), smallest))

    @property
    def width(self) -> int:
        """Values of a point."""
        return self.channels + self.frozen

    @property
    def step_values(self) -> int:
        """Values of a training step."""
        return min(self.points, self.points_per_step) * self.width


@dataclass(frozen=True)
class Cost:
    """What it costs.

    Attributes:
        prepared_hours: Of superpoints, masks and lifted images of all scenes, once.
        frozen_hours: Of their frozen features, once.
        training_hours: Of all trainings, one thread each, `gpus` or threads side by side.
        gpu_hours: The same on GPUs, at least; None where no speed was named.
        scoring_hours: Of the scored scenes and the validation curve, for each training.
        memory_gib: Of a training, with its program and the scenes that stay open.
        disk_gib: 2D features, frozen features and all else that is prepared.
    """

    prepared_hours: float
    frozen_hours: float
    training_hours: float
    gpu_hours: float | None
    scoring_hours: float
    memory_gib: float
    disk_gib: float


def rates(path: Path = RATES) -> Rates:
    """Read the measured rates.

    Args:
        path: A file of `benchmarks/cost.py`.

    Returns:
        The rates.

    Raises:
        DataError: The file cannot be read or holds something else.
    """
    try:
        return from_dict(Rates, parse_json(read_text(path, "measured rates"), path)["rates"], "rates")
    except (ConfigError, KeyError, TypeError) as error:
        raise DataError(f"{path}: must hold rates of benchmarks/cost.py ({error})") from None


def estimate(work: Work, measured: Rates | None = None, *, gpus: int = 1, gpu_tflops: float | None = None) -> Cost:
    """Work out what it costs.

    Args:
        work: What is to be computed.
        measured: The rates; None for the packaged ones.
        gpus: GPUs, or processor threads, among which the trainings are divided.
        gpu_tflops: What one GPU really reaches on matrices of this size, 10^12 operations a second; None for none.

    Returns:
        The cost.

    Raises:
        InputError: GPUs that are not whole, or a number that is not positive.

    Example:
        >>> one, two = (estimate(Work(scenes=100, points=50_000, runs=2), gpus=gpus) for gpus in (1, 2))
        >>> round(one.training_hours / two.training_hours, 6)
        2.0
    """
    gpus = whole("gpus", gpus, 1)
    if gpu_tflops is not None and number("gpu_tflops", gpu_tflops) == 0:
        raise InputError(f"gpu_tflops must be positive, found {gpu_tflops}")
    found = rates() if measured is None else measured
    steps, rounds = work.steps or EPOCHS * work.scenes, math.ceil(work.runs / gpus)
    line = found.module_seconds if work.modules else found.step_seconds
    scenes, hour = work.scenes + work.validated + work.scored, 3600
    everything = scenes * work.points
    flop = found.step_flop * work.step_values * steps * rounds
    classes = work.channels * work.classes / (work.channels + work.classes)  # text beside what the adapter costs
    curve = VALIDATIONS * min(work.validated, SAMPLED) * min(work.points, VALIDATION_POINTS)
    scored = (work.scored + work.validated) * work.points + curve
    scored *= (work.width + classes) * found.score_seconds
    return Cost(
        prepared_hours=(everything * found.point_seconds + scenes * work.frames * found.frame_seconds) / hour,
        frozen_hours=everything * found.frozen_seconds / hour,
        training_hours=line.at(work.step_values) * steps * rounds / hour,
        gpu_hours=None if gpu_tflops is None else flop / (gpu_tflops * 1e12) / hour,
        scoring_hours=scored * rounds / hour,
        memory_gib=(
            found.memory_mb.at(work.step_values) + found.program_mb + opened_points(work) * found.scene_bytes / MIB
        )
        / 1024,
        disk_gib=everything * bytes_per_point(work, found) / GIB,
    )


def opened_points(work: Work) -> int:
    """Say how many points the scenes have that stay open during a run.

    Args:
        work: The run.

    Returns:
        Of at most `OPEN_SCENES` of each split.
    """
    return sum(min(count, OPEN_SCENES) for count in (work.scenes, work.validated, work.scored)) * work.points


def bytes_per_point(work: Work, measured: Rates) -> float:
    """Say what a prepared point takes on disk.

    Args:
        work: Its channels.
        measured: The rates.

    Returns:
        Bytes: its 2D feature, its share of a row of frozen features, and all else.
    """
    return HALF * (work.channels + measured.frozen_share * work.frozen) + measured.other_bytes


def real_costs(gpu_tflops: float) -> pd.DataFrame:
    """What one training with all modules costs on each real benchmark, of as many steps as `placing` gives each.

    Scenes are those of the split lists; points of a scene are those that have a feature in the files that OpenScene
    published, whose size says how many there are. Where those of train are not published, those of another split are.

    Args:
        gpu_tflops: See `estimate`.

    Returns:
        A row for each benchmark.
    """
    rows = {}
    for there in benchmarks():
        trained, scored = (len(load_split(there.name, split)) for split in ("train", "val"))
        points = points_of_a_scene(there.name)
        work = Work(trained, points, validated=scored, steps=EPOCHS * REAL_SCENES)
        cost = estimate(work, gpu_tflops=gpu_tflops)
        rows[there.title] = {"scenes": trained, "points of a scene": points} | {
            "disk, GiB": round(cost.disk_gib),
            "memory, GiB": round(cost.memory_gib, 1),
            "superpoints and masks, hours of a thread": round(cost.prepared_hours, 1),
            "frozen features, hours of a thread": round(cost.frozen_hours),
            "training, hours of a thread": round(cost.training_hours, 1),
            "training, GPU hours at least": None if cost.gpu_hours is None else round(cost.gpu_hours, 2),
        }
    return pd.DataFrame(rows).T


@dataclass(frozen=True)
class Runs:
    """Records of one kind: a training on frozen features of a generated benchmark, and its scoring.

    Attributes:
        name: Of the table.
        work: What one of them computes.
        seconds: Wall time of each, ascending. What was prepared before is not in it.
        megabytes: The most memory that each held, ascending.
    """

    name: str
    work: Work
    seconds: tuple[float, ...]
    megabytes: tuple[float, ...]


def runs(folder: Path | None = None) -> list[Runs]:
    """Gather records that say how much memory they took, by what they computed.

    Args:
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        Kinds of at least `LEAST` records, by name: of the adapter alone and of all modules. Rows that were trained
        elsewhere or in two stages, or are scored on several label sets, are left out.

    Raises:
        DataError: A file cannot be read, or is no record.
    """
    found: dict[tuple[str, Work], list[tuple[float, float]]] = {}
    for path in (path for path in record_files(folder) if path.parent.name.startswith("mini-")):
        held = parse_json(read_text(path, "record"), path)
        try:
            if held.get("own_memory_mb") is None or not held["training"]:
                continue
            config = from_dict(ExperimentConfig, held["config"])
            modules = len(config.objective.modules)
            elsewhere = config.evaluation.data is not None or config.evaluation.label_sets
            other = config.train.model != "adapter" or config.train.self_distillation.teacher != "none"
            if other or modules not in (0, len(MODULES)) or elsewhere:
                continue
            counts = held["data"]["scenes"]
            work = Work(
                counts["train"],
                round(held["data"]["points"] / sum(counts.values())),
                counts["test"],
                counts["val"],
                channels=text_encoder(config.text.encoder, config.text.weights).width,
                frozen=_width(config.backbone),
                steps=config.train.steps,
                points_per_step=config.train.points_per_step,
                modules=modules > 0,
            )
            place = path.parent.name
            name = f"{place}, {counts['train']} scenes, {work.steps:,} steps of {work.points_per_step:,} points"
            name += f", {'all modules' if work.modules else 'adapter'}, {config.backbone.name}, scored on {work.scored}"
            found.setdefault((name, work), []).append((held["wall_seconds"], held["own_memory_mb"]))
        except (KeyError, TypeError, AttributeError, ConfigError) as error:
            raise DataError(f"{path}: unreadable record ({error})") from None
    kinds = [
        Runs(name, work, *(tuple(sorted(column)) for column in zip(*rows, strict=True)))
        for (name, work), rows in found.items()
    ]
    return sorted((kind for kind in kinds if len(kind.seconds) >= LEAST), key=lambda kind: kind.name)


@functools.cache
def _width(backbone: BackboneConfig) -> int:
    return open_backbone(backbone, "cpu").width


def compared(folder: Path | None = None) -> pd.DataFrame:
    """Set what whole runs on generated scenes are predicted to take beside what they took.

    Args:
        folder: As of `runs`.

    Returns:
        A row for each kind of run: seconds and MB, predicted and the median of its records, how many times as much was
        measured as predicted, and whether that is within 30 %; also the fastest record, which had the processor most to
        itself.
    """
    rows = {}
    for kind in runs(folder):
        cost = estimate(kind.work)
        seconds, middle = 3600 * (cost.training_hours + cost.scoring_hours), statistics.median(kind.seconds)
        megabytes, held = 1024 * cost.memory_gib, statistics.median(kind.megabytes)
        rows[kind.name] = {"records": len(kind.seconds)} | {
            "seconds, predicted": round(seconds),
            "seconds, median": round(middle),
            "seconds, fastest": round(kind.seconds[0]),
            "seconds, times": round(middle / seconds, 2),
            "seconds within 30 %": _holds(middle / seconds),
            "MB, predicted": round(megabytes),
            "MB, median": round(held),
            "MB, times": round(held / megabytes, 2),
            "MB within 30 %": _holds(held / megabytes),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _holds(times: float) -> str:
    return "yes" if 2 - TRUE <= 1 / times <= TRUE else "no"


def points_of_a_scene(name: str) -> int:
    """How many points of a benchmark's scene have a feature in the files that OpenScene published, by their size.

    Args:
        name: The benchmark.

    Returns:
        The mean over its scenes.
    """
    gigabytes, listed = _published(name)
    return round(gigabytes * 1e9 / (HALF * Work(1, 1).channels * listed))


def _published(name: str) -> tuple[float, int]:
    """Size in gigabytes of a benchmark's OpenSeg features that cover most scenes, and how many scenes these are."""
    covered: Mapping[str, tuple[str, ...]] = {"openseg": ("train", "val"), "openseg_val": ("val",)}
    with (PACKAGE / "datasets" / "published.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            splits = covered.get(row["folder"].split("multiview_")[-1])
            if row["dataset"] == name and splits and row["gigabytes"]:
                return float(row["gigabytes"]), sum(len(load_split(name, split)) for split in splits)
    raise DataError(f"{PACKAGE / 'datasets' / 'published.csv'}: no size of OpenSeg features of {name}")
