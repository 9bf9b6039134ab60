"""Measures the rates of `geoguide cost`, and compares its predictions with measurements that they were not made from.

    OMP_NUM_THREADS=1 python benchmarks/cost.py

Rates: CPU seconds of a training step and of scoring, and peak memory of a process, at two sizes each; seconds of the
encoder from `results/backbone.json`, operations from `results/streaming.json`, disk of the first room of
`results/kept_points.json`; of preparation from `results/preparation.json` and what the records count of its scenes; of
the memory of whole runs from two kinds of records. Checks: steps and scenes of other sizes and widths, the memory of
`streaming.py`'s training at real size, the disk of the other rooms, the preparation of houses. Written to
`geoguide/experiments/cost.json`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from training_step import GEOMETRY, WIDTH, held, make_batch

import geoguide
from geoguide.experiments.cost import MIB, RATES, Line, Rates, Work, bytes_per_point, opened_points, rates, runs
from geoguide.experiments.presets import PRESETS
from geoguide.frozen import to_dict
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.paths import results_root, write_text
from geoguide.students.adapter import Adapter

RESULTS = Path(__file__).parent / "results"
FITTED = ((1000, GEOMETRY, WIDTH), (8000, 544, 768))
CHECKED = ((4000, GEOMETRY, WIDTH), (16_000, GEOMETRY, WIDTH), (5000, 544, 768))
STEPS = {"adapter only": ObjectiveConfig(modules=()), "all modules": PRESETS["works-best"]}
PREPARED = ("mini-scannet", "mini-matterport3d")  # rates are those of the first, checked on the second
BEYOND = ("mini-nuscenes",)  # where they do not hold, as chapter 10 says
OPENED = (
    "mini-scannet, 200 scenes, 4,000 steps of 1,000 points, adapter, sonata-mini-5cm+descriptors, scored on 1",
    "mini-scannet, 200 scenes, 8,000 steps of 1,000 points, adapter, sonata-mini-5cm+descriptors, scored on 120",
)
SCORED = ((40_000, GEOMETRY, WIDTH), (15_000, GEOMETRY, WIDTH), (20_000, 544, 768))
Size = tuple[int, int, int]  # points, C1, C


def values(size: Size) -> int:
    return size[0] * (size[1] + size[2])


def step_seconds(size: Size, modules: str, repeats: int) -> float:
    """CPU seconds of a training step, at best."""
    points, narrow, wide = size
    batch = make_batch(points, points // 10, narrow, wide)
    adapter, objective, times = Adapter(narrow, wide), Objective(narrow, wide, STEPS[modules]), []
    rest = [*adapter.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(rest, fused=True)
    for _ in range(repeats):
        begin = time.process_time()
        objective(adapter(batch.geometry), batch, torch.Generator().manual_seed(0))["total"].backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.process_time() - begin)
    return min(times)


@torch.inference_mode()
def score_seconds(size: Size, repeats: int) -> float:
    """CPU seconds of the labels of a scene, at best."""
    points, narrow, wide = size
    adapter, geometry, text, times = Adapter(narrow, wide), torch.randn(points, narrow), torch.randn(20, wide), []
    for _ in range(repeats):
        begin = time.process_time()
        (adapter.whole(geometry) @ text.T).argmax(1)
        times.append(time.process_time() - begin)
    return min(times)


def in_turn(seconds: Callable[..., float], cases: list[tuple], rounds: int) -> dict[tuple, float]:
    """The best of every case, all of them once in each round, so that other work on the machine meets all alike."""
    found: dict[tuple, float] = {}
    for _ in range(rounds):
        for case in cases:
            found[case] = min(seconds(*case, 2), found.get(case, float("inf")))
    return found


def memory_mb(size: Size) -> float:
    """What a process holds at most in a training, in all."""
    given = ",".join(map(str, size))
    done = subprocess.run([sys.executable, __file__, "--memory", given], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def line(points: list[tuple[float, float]]) -> Line:
    (x0, y0), (x1, y1) = points
    slope = (y1 - y0) / (x1 - x0)
    return Line(y0 - slope * x0, slope)


def rows_of(name: str) -> list[dict[str, Any]]:
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def disk_rates(room: dict[str, Any]) -> tuple[float, float]:
    """Bytes of all but features per point, and rows of frozen features per point."""
    size, points = room["megabytes"], room["points"]
    other = sum(size[name] for name in ("masks", "means", "scene", "superpoints")) * 1e6 / points
    return other, size["geometry"] * 1e6 / (2 * geoguide.load("mini").adapter.in_width * points)


def prepared_scene(dataset: str) -> tuple[float, float]:
    """Points and images of a scene of the edition that `preparation.py` prepares, as a record counts them."""
    path = min(results_root().glob(f"{dataset}/2d-fusion-s0-*.json"))
    data = json.loads(path.read_text())["data"]
    count = sum(data["scenes"].values())
    return data["points"] / count, data["frames"] / count


def preparation(dataset: str) -> tuple[float, float]:
    """CPU seconds of a scene that go with its points, without frozen features, and with its images: a mini 2D model."""
    rows = rows_of("preparation")
    row = next(row for row in rows if row["dataset"] == dataset and row["model"] != "simulated")
    by_points = sum(row["share"][stage] for stage in ("identity", "arrays", "superpoints", "masks"))
    by_images = row["share"]["scene"] + row["share"]["lifted"]
    return by_points / row["scenes_per_cpu_second"], by_images / row["scenes_per_cpu_second"]


def preparation_rates() -> tuple[float, float]:
    """Seconds of a point and of an image, of rooms."""
    (points, images), (by_points, by_images) = prepared_scene(PREPARED[0]), preparation(PREPARED[0])
    return by_points / points, by_images / images


def preparation_checks(found: Rates, datasets: tuple[str, ...] = PREPARED[1:]) -> list[dict[str, Any]]:
    """The same rates on the scenes of other benchmarks."""
    checks = []
    for dataset in datasets:
        points, images = prepared_scene(dataset)
        about = {"what": f"seconds of preparing a scene, {dataset}", "points": round(points), "values": round(images)}
        predicted = points * found.point_seconds + images * found.frame_seconds
        checks.append(about | {"predicted": predicted, "measured": sum(preparation(dataset))})
    return checks


def memory_rates(training: Line) -> tuple[float, float]:
    """MB of the command beside a training, and bytes per point of open scenes: from the two kinds of runs `OPENED`."""
    ends = []
    for name in OPENED:
        kind = next(kind for kind in runs() if kind.name == name)
        beside = statistics.median(kind.megabytes) - training.at(kind.work.step_values)
        ends.append((opened_points(kind.work) / MIB, beside))
    found = line(ends)
    return found.start, found.slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", help="points,C1,C: a training here, and the peak memory (for the parent)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--read", action="store_true", help="only what is read from results and records, nothing timed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.read:
        stored = json.loads(RATES.read_text())
        line_of = Line(**stored["rates"]["memory_mb"])
        told = (*preparation_rates(), *memory_rates(line_of))
        stored["rates"] |= dict(zip(("point_seconds", "frame_seconds", "program_mb", "scene_bytes"), told, strict=True))
        write_text(RATES, json.dumps(stored, indent=1) + "\n")
        stored["checks"] = [row for row in stored["checks"] if "preparing" not in row["what"]]
        stored["checks"] += preparation_checks(rates())
        stored["beyond"] = preparation_checks(rates(), BEYOND)
        write_text(RATES, json.dumps(stored, indent=1) + "\n")
        return
    if arguments.memory:
        points, narrow, wide = map(int, arguments.memory.split(","))
        step_seconds((points, narrow, wide), "all modules", 3)
        print(held("VmHWM"))
        return
    repeats, (stream, *cases), rooms = arguments.repeats, rows_of("streaming"), rows_of("kept_points")
    encoder, training = rows_of("backbone")[0], next(row for row in cases if row["case"] == "training")
    cases_of_step = [(size, name) for size in (*FITTED, *CHECKED) for name in STEPS]
    steps = in_turn(step_seconds, cases_of_step, repeats)
    lines = {name: line([(values(size), steps[size, name]) for size in FITTED]) for name in STEPS}
    memory = line([(values(size), memory_mb(size)) for size in FITTED])
    first, *scenes = SCORED
    scores = in_turn(score_seconds, [(size,) for size in SCORED], repeats)
    whole = [room for room in rooms if room.get("room") and room["kept"] is None]
    other, share = disk_rates(whole[0])
    point, frame = preparation_rates()
    program, scene = memory_rates(memory)
    real: Size = (stream["points_per_step"], stream["frozen_channels"], stream["channels"])
    work = Work(1, 1, channels=WIDTH, classes=20)
    classes = work.channels * work.classes / (work.channels + work.classes)
    found = Rates(
        frozen_seconds=encoder["seconds"]["ours"] / encoder["points"],
        step_seconds=lines["adapter only"],
        module_seconds=lines["all modules"],
        score_seconds=scores[first,] / (first[0] * (GEOMETRY + WIDTH + classes)),
        memory_mb=memory,
        other_bytes=other,
        frozen_share=share,
        step_flop=training["tflop_per_step"] * 1e12 / values(real),
        point_seconds=point,
        frame_seconds=frame,
        program_mb=program,
        scene_bytes=scene,
    )
    checks: list[dict[str, Any]] = []
    for size in CHECKED:
        for name in STEPS:
            about = {"what": f"seconds of a step, {name}", "points": size[0], "values": values(size)}
            checks.append(about | {"predicted": lines[name].at(values(size)), "measured": steps[size, name]})
    for size in scenes:
        predicted = found.score_seconds * size[0] * (size[1] + size[2] + classes)
        about = {"what": "seconds of scoring", "points": size[0], "values": values(size)}
        checks.append(about | {"predicted": predicted, "measured": scores[size,]})
    about = {"what": "seconds of a step at real size", "points": real[0], "values": values(real)}
    checks.append(
        about | {"predicted": lines["all modules"].at(values(real)), "measured": training["seconds_per_step"]}
    )
    about = {"what": "megabytes of a training at real size", "points": real[0], "values": values(real)}
    checks.append(about | {"predicted": memory.at(values(real)), "measured": training["peak_mb_in_all"]})
    width = geoguide.load("mini").adapter.in_width
    for room in whole[1:]:
        predicted = room["points"] * bytes_per_point(Work(1, 1, channels=WIDTH, frozen=width), found) / 1e6
        about = {"what": f"megabytes on disk, {room['room']}", "points": room["points"]}
        about["values"] = room["points"] * (WIDTH + width)
        checks.append(about | {"predicted": predicted, "measured": room["megabytes"]["all"]})
    checks += preparation_checks(found)
    for row in checks:
        print(f"{row['what']}: {row['predicted']:.4g} predicted, {row['measured']:.4g} measured")
    told = {"rates": to_dict(found), "checks": checks, "beyond": preparation_checks(found, BEYOND)}
    write_text(RATES, json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
