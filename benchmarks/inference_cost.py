"""What the three modules cost at inference (claim C8): the model that was trained with them beside the adapter alone.

Both are trained for a few steps on two generated rooms and written as files; what they cost does not depend on what
they learned. Predictions of one test room take turns, whole: voxels, backbone, adapter, words. Peak memory is that of a
process that makes one prediction, the processes taking turns too.

    OMP_NUM_THREADS=1 python benchmarks/inference_cost.py
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _measure import report

import geoguide
from geoguide.benchmarks.scenes import list_sources
from geoguide.experiments.presets import adapter_only, preset
from geoguide.labels import load_label_set
from geoguide.model import GeoGuideModel, from_fit
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.train import fit
from geoguide.report.evidence import interval
from geoguide.scene import Scene

# Names of one length: a file holds its experiment's, and the length of its header says how its weights lie in memory.
MODELS = {"with modules": preset("works-best"), "adapter only": adapter_only()}
PAIRS, PROCESSES, STEPS = 24, 6, 20
SHORT = {"data__first": (2, 1, 1), "train__steps": STEPS, "train__evaluate_every": STEPS}


def exported(name: str, config: ExperimentConfig, folder: Path) -> Path:
    config = config.replace(name=name, **SHORT)
    fitted = fit(config, val=[], device="cpu")
    return from_fit(fitted, config).save(folder / f"{name}.safetensors")


def test_room() -> tuple[Scene, list[str]]:
    config = ExperimentConfig().replace(**SHORT)
    return list_sources(config.data, "test")[0].load(), list(load_label_set(config.data.label_set).names)


def seconds(model: GeoGuideModel, room: Scene, words: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one prediction."""
    wall, cpu = time.perf_counter(), time.process_time()
    model.segment_scene(room, labels=words)
    return time.perf_counter() - wall, time.process_time() - cpu


def ratio(first: list[float], second: list[float]) -> dict[str, float]:
    """First over second: geometric mean, and the 95 % interval of it (Student's t over paired logarithms)."""
    gap = np.log(first) - np.log(second)
    half = interval(gap)
    low, middle, high = np.exp([gap.mean() - half, gap.mean(), gap.mean() + half])
    return {"ratio": float(middle), "low": float(low), "high": float(high), "pairs": len(gap)}


def peak_mb(path: Path) -> float:
    done = subprocess.run([sys.executable, __file__, "--peak", path], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def in_turn(names: list[str], rounds: int) -> list[str]:
    """Every name once a round, each second round backwards, so that a drift of the machine cancels."""
    return [name for r in range(rounds) for name in (names if r % 2 == 0 else names[::-1])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", type=Path, help="make one prediction here and print the peak memory (for the parent)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    room, words = test_room()
    if arguments.peak:
        geoguide.load(arguments.peak).segment_scene(room, labels=words)
        # Not getrusage: a child's begins at what its parent held when it was started.
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        print(int(line.split()[1]) / 1024)
        return
    with tempfile.TemporaryDirectory() as folder:
        files = {name: exported(name, config, Path(folder)) for name, config in MODELS.items()}
        models = {name: geoguide.load(path) for name, path in files.items()}
        for model in models.values():
            seconds(model, room, words)
        wall, cpu, memory = ({name: [] for name in MODELS} for _ in range(3))
        for name in in_turn(list(MODELS), PAIRS):
            there = seconds(models[name], room, words)
            wall[name].append(there[0])
            cpu[name].append(there[1])
        for name in in_turn(list(MODELS), PROCESSES):
            memory[name].append(peak_mb(files[name]))
        sizes = {name: path.stat().st_size for name, path in files.items()}
    first, second = MODELS
    shapes = [{k: (v.dtype, v.shape) for k, v in model.adapter.state_dict().items()} for model in models.values()]
    row = {
        "source": "generated room",
        "points": len(room),
        "words": len(words),
        "backbone": models[first].backbone.name,
        "models": {
            name: {
                "seconds": float(np.median(wall[name])),
                "processor_seconds": float(np.median(cpu[name])),
                "peak_mb": float(np.median(memory[name])),
                "bytes": sizes[name],
            }
            for name in MODELS
        },
        "seconds": ratio(wall[first], wall[second]),
        "processor_seconds": ratio(cpu[first], cpu[second]),
        "peak_mb": ratio(memory[first], memory[second]),
        "same_graph": models[first].graph() == models[second].graph(),
        "same_tensors": shapes[0] == shapes[1],
    }
    report("inference_cost", [row])


if __name__ == "__main__":
    main()
