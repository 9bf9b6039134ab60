"""Disk and time of training scenes of which some points are kept, beside whole ones.

A few generated rooms are prepared into an empty cache, room by room in turn for each number of kept points, as training
scenes with exact means; then batches are drawn from them. `megabytes` are the room's in the cache, by stage.

    python benchmarks/kept_points.py
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _measure import report

from geoguide.experiments.presets import preset
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare, scene_sources
from geoguide.pipeline.student import new_student
from geoguide.prepared import PreparedScene

KEPT = (None, 20_000, 5_000)  # OpenScene's subsets hold 20,000 points of a scan
DRAWS = 40


def config_of(kept: int | None, rooms: int) -> ExperimentConfig:
    config = preset().replace(data__first=(rooms, 1, 1))
    return config.replace(pooling__kept_points=kept, pooling__means="exact")


def sizes(folder: Path) -> dict[str, float]:
    """Megabytes by stage of the one scene in a cache."""
    found: dict[str, float] = {}
    for path in folder.glob("*/*-*.*.npy"):
        stage = path.name.split("-")[0]
        found[stage] = found.get(stage, 0.0) + path.stat().st_size / 1e6
    return {stage: round(size, 2) for stage, size in sorted(found.items())} | {"all": round(sum(found.values()), 2)}


def drawing(config: ExperimentConfig, scenes: list[PreparedScene], batches: str) -> dict[str, float]:
    """Milliseconds to draw a batch (median), and what is in it (means)."""
    student = new_student(config.replace(pooling__batches=batches), scenes)
    times, points, superpoints = [], [], []
    for step in range(DRAWS):
        begin = time.perf_counter()
        batch = student.draw(scenes, step, 0, torch.device("cpu"))
        times.append(1000 * (time.perf_counter() - begin))
        points.append(len(batch.seen))
        superpoints.append(batch.superpoints.count)  # ty: ignore[unresolved-attribute]  # a frozen backbone's batch
    counts = {"points": float(np.mean(points)), "superpoints": float(np.mean(superpoints))}
    return {"ms": round(float(np.median(times)), 2)} | {name: round(value, 1) for name, value in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=4)
    rooms = parser.parse_args().rooms
    sources = scene_sources(config_of(None, rooms).data, "train")
    rows, scenes = [], {kept: [] for kept in KEPT}
    with tempfile.TemporaryDirectory() as root:
        prepare(sources[0], config_of(None, rooms), Path(root) / "warm-up", training=True)  # compiles
        for source in sources:
            for kept in KEPT:
                cache, config = Path(root) / source.name / str(kept), config_of(kept, rooms)
                begin = time.perf_counter()
                scenes[kept].append(prepare(source, config, cache, training=True))
                seconds = time.perf_counter() - begin
                begin = time.perf_counter()
                prepare(source, config, cache, training=True)
                opening = time.perf_counter() - begin
                row = {"room": source.name, "kept": kept, "points": len(scenes[kept][-1])}
                row |= {"seconds": round(seconds, 2), "opening_ms": round(1000 * opening, 1)}
                rows.append(row | {"megabytes": sizes(cache)})
        for kept in KEPT:
            for batches in ("points", "superpoints"):
                row = {"kept": kept, "batches of": batches}
                rows.append(row | drawing(config_of(kept, rooms), scenes[kept], batches))
    report("kept_points", rows)


if __name__ == "__main__":
    main()
