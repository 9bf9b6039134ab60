"""Tune the simulated 2D model on validation rooms, until its errors look like those of real networks.

    nice -n 10 python benchmarks/simulated_models.py [candidates] [seconds]   # goes on with what was tried before

The search is by a surrogate: for every figure of the anatomy a quadratic form of the severities is fitted to what was
tried, and the next candidate is the one that these forms like best among random ones near the best tried. A candidate
costs one point for each figure outside the real range and up to one more by how far (`cost`), and as much again for
those that the target names. Every candidate is written to benchmarks/results/simulated_models.json. The search sees
the first `ROOMS` validation rooms of the large edition; the best, and the model where it began, are then measured on
all other validation rooms (`held_out`); the test rooms are never read. What is committed shows that twenty rooms are
too few, as six were before: there the best leaves the range in 3 figures, on the other 24 in 7, where the first leaves
it in 9, and costs as much. It was not adopted. The simulated features lie in the span of the C class embeddings, so
that C coordinates say all that the text space's 384 do, and inner products are the same.
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from geoguide.experiments.regime import in_regime
from geoguide.labels import load_label_set
from geoguide.lifting import fuse
from geoguide.paths import write_text
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.report import anatomy
from geoguide.report.anatomy_models import GENERATED, coordinates
from geoguide.report.anatomy_table import ROWS, inside, mean_over, read_columns, real_range
from geoguide.scene import Scene
from geoguide.superpoints import scene_superpoints
from geoguide.teachers.simulated import SimulatedTeacher, SimulatedTeacherConfig
from geoguide.text.minilm import MiniLMTextEncoder

RECORD = Path(__file__).parent / "results" / "simulated_models.json"
ROOMS = 20  # of the validation rooms; the others check the best one
# Superpoint and instance gain, whether errors repeat, walls, whole objects: the target names these.
TARGETS = ("superpoint_gain", "instance_gain", "wrong_again", "wall_wrong", "share_instance")
LABELS = load_label_set("scannet20")
# Where the search begins: what the first search on four rooms with pure superpoints found, and a model with fewer wrong
# objects, which are the same in more views.
STARTS = (
    SimulatedTeacherConfig(
        confusion=0.45, bleeding=0.9, partial_view=0.3, drift=0.14, pixel_noise=0.15, persistence=0.74,
        background=0.2, pairs=0.25, lasting=0.74, parts=0.38, steady=0.82,
    ),
    SimulatedTeacherConfig(
        confusion=0.3, bleeding=0.8, partial_view=0.3, drift=0.12, pixel_noise=0.12, persistence=0.85,
        background=0.15, pairs=0.3, lasting=0.85, parts=0.2, steady=1.0,
    ),
)  # fmt: skip
MOVED = ("confusion", "bleeding", "partial_view", "drift", "pixel_noise", "persistence", "background", "pairs",
         "lasting", "parts", "steady", "patch")  # fmt: skip
LARGEST_PATCH = 20  # pixels, as a severity of 1
LEAST = {"background": 0.1}  # 46 % of real errors fall to the background, which no figure of the anatomy asks for
FIRST = 24  # candidates at random about the start, before there is anything to fit
SPREAD, STEP = 0.15, 0.15  # standard deviation of a severity among the first, and about the best ones later
RIDGE = 1e-2

Rooms = list[tuple[Scene, np.ndarray]]


def figures(config: SimulatedTeacherConfig, rooms: Rooms, text: np.ndarray) -> dict:
    """The column of a 2D model on rooms with their superpoints."""
    teacher, rows = SimulatedTeacher(config, text, LABELS), []
    for scene, superpoints in rooms:
        maps = list(teacher.features(scene))
        seen, fused = anatomy.observe(scene, maps, text), fuse(scene.points, scene.views, maps)
        rows.append(anatomy.of_views(scene, seen) | anatomy.of_objects(scene, seen, text, LABELS.names)
                    | anatomy.of_fusion(scene, fused, text)
                    | anatomy.of_means(scene, fused, text, superpoints))  # fmt: skip
    return mean_over(rows)


def cost(found: dict, spans: dict) -> float:
    """How far figures lie outside their ranges: 1 for each that does, up to 1 more by how far; `TARGETS` twice."""
    far = {name: outside(name, found[name], spans) for name in spans}
    return sum((1 + (name in TARGETS)) * (1 + min(by, 3.0) / 3) for name, by in far.items() if by > 0)


def outside(name: str, value: float, spans: dict) -> float:
    """How far a figure lies outside its range, in widths of the range (or fifths of its middle); 0 inside."""
    if inside(name, value, spans):
        return 0.0
    low, high = (np.nan_to_num(end, neginf=0.0) for end in spans[name])
    return max(low - value, value - high, 1e-6) / max(high - low, 0.2 * abs(high + low) / 2)


def quadratic(x: np.ndarray) -> np.ndarray:
    """The terms of a quadratic form of severities [N, S]: [N, 1 + S + S (S + 1) / 2]."""
    first, second = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), x, x[:, first] * x[:, second]], axis=1)


def proposal(tried: list[dict], spans: dict, rng: np.random.Generator) -> SimulatedTeacherConfig:
    """The next candidate: of random neighbours of the 30 best, the one whose predicted figures cost least."""
    if len(tried) < FIRST:
        around, spread = STARTS, SPREAD
    else:
        around = [SimulatedTeacherConfig(**row["config"]) for row in sorted(tried, key=lambda row: row["cost"])[:30]]
        spread = STEP
    middle = np.array([severities(each) for each in around])[rng.integers(len(around), size=20_000)]
    least = [LEAST.get(name, 0.0) for name in MOVED[:-1]] + [1 / LARGEST_PATCH]
    moved = (middle + rng.normal(0, spread, middle.shape) * (rng.random(middle.shape) < 0.5)).clip(least, 1).round(2)
    known = {tuple(severities(SimulatedTeacherConfig(**row["config"]))) for row in tried}
    moved = np.array([row for row in moved if tuple(row) not in known])
    best = moved[0]
    if len(tried) >= FIRST:
        terms = quadratic(np.array([severities(SimulatedTeacherConfig(**row["config"])) for row in tried]) - 0.5)
        truth = np.array([[row["figures"][name] for name in spans] for row in tried])  # [N, figures]
        spread = truth.std(axis=0) + 1e-9
        scaled = (truth - truth.mean(axis=0)) / spread
        fit = np.linalg.solve(terms.T @ terms + RIDGE * np.eye(terms.shape[1]), terms.T @ scaled)
        guess = quadratic(moved - 0.5) @ fit * spread + truth.mean(axis=0)
        best = moved[np.argmin([cost(dict(zip(spans, row, strict=True)), spans) for row in guess])]
    moved = dict(zip(MOVED, map(float, best), strict=True))
    return SimulatedTeacherConfig(**moved | {"patch": round(moved["patch"] * LARGEST_PATCH)})


def severities(config: SimulatedTeacherConfig) -> list[float]:
    """What the search moves, in its order, each in [0, 1]."""
    return [getattr(config, name) / (LARGEST_PATCH if name == "patch" else 1) for name in MOVED]


def write(tried: list[dict], rooms: Rooms, held_out: dict) -> None:
    """The record: the best candidate, what it is on the other rooms, and every candidate on a line."""
    best = min(tried, key=lambda row: row["cost"])
    head = {
        "rooms": [scene.name for scene, _ in rooms],
        "edition": "large",
        "split": "val",
        "best": best,
        "held_out": held_out,
    }
    lines = ",\n".join(json.dumps(row) for row in tried)
    write_text(RECORD, json.dumps(head, indent=1)[:-2] + f',\n "tried": [\n{lines}\n]\n}}\n')


def main(candidates: float = 100, seconds: float = 600.0) -> None:
    """Search, and write what was tried."""
    begin, text = time.time(), coordinates(MiniLMTextEncoder().encode(LABELS.names))
    spans = real_range(read_columns())
    editions = (in_regime(ExperimentConfig()).data, ExperimentConfig().data)  # the large one's rooms first
    scenes = [source.load() for data in editions for source in scene_sources(data, "val")]
    rooms = [(scene, scene_superpoints(scene, GENERATED)) for scene in scenes]
    tried = json.loads(RECORD.read_text())["tried"] if RECORD.exists() else []
    while len(tried) < candidates and time.time() - begin < seconds:
        config = (
            STARTS[len(tried)]
            if len(tried) < len(STARTS)
            else proposal(tried, spans, np.random.default_rng(len(tried)))
        )
        found = figures(config, rooms[:ROOMS], text)
        tried.append({"cost": round(cost(found, spans), 3), "config": asdict(config), "figures": found})
        if tried[-1]["cost"] == min(row["cost"] for row in tried):
            wrong = [name for name in ROWS if name in spans and not inside(name, found[name], spans)]
            print(len(tried), tried[-1]["cost"], dict(zip(MOVED, severities(config), strict=True)), wrong, flush=True)
        write(tried, rooms[:ROOMS], {})
    best = SimulatedTeacherConfig(**min(tried, key=lambda row: row["cost"])["config"])
    others = {name: figures(config, rooms[ROOMS:], text) for name, config in (("best", best), ("first", STARTS[0]))}
    held_out = {name: {"cost": round(cost(found, spans), 3), "figures": found} for name, found in others.items()}
    write(tried, rooms[:ROOMS], held_out | {"rooms": len(rooms) - ROOMS})


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
