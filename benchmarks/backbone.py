"""The released Sonata encoder's size on a real scan: the package against a plain reading of the same network.

    python benchmarks/backbone.py

Random weights in the full configuration (108 million parameters) on the real ScanNet scan beside the project (40,351
voxels at 2 cm), else on a synthetic room of that size. The other side is `tests/plain_encoder.py`, which the tests use
as oracle: one gather and one matrix product per kernel offset, whole score matrices, nothing kept from one block to the
next. `kept`: the same with the curves and the neighbour tables of a stage kept, so that only the layout differs.
Seconds are the process's CPU time, which other work on the machine disturbs less than it does the clock; `wall` is the
clock. Peak memory is the process's after the package's turn, which comes first, imports and weights included.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from _measure import GOLDEN, report

from geoguide.backbones import PointTransformerV3
from geoguide.backbones.sonata import encoder_input
from geoguide.datasets.points import load_points

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from plain_encoder import plain_encode

SCAN = GOLDEN.parent / "data" / "scannet_scan" / "scene0000_00.bin"


def scan():
    """Points and colours of the real scan, or a synthetic room with about as many voxels."""
    if SCAN.is_file():
        scene = load_points(SCAN)
        return "real scan", scene.points, scene.colors
    rng = np.random.default_rng(0)
    points = rng.random((45_000, 3)) * [8, 6, 2.5]
    axis = rng.integers(0, 3, len(points))
    points[np.arange(len(points)), axis] = 0  # floor and two walls
    return "synthetic room", points.astype(np.float32), rng.random(points.shape).astype(np.float32)


def timed(function):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    source, points, colors = scan()
    made, input_seconds, _ = timed(lambda: encoder_input(points, colors))
    model = PointTransformerV3().eval()
    inputs = [torch.from_numpy(array) for array in (made.coord, made.grid_coord, made.feat)]
    offset = torch.tensor([len(made.coord)])
    few = [*(tensor[:500] for tensor in inputs), torch.tensor([500])]
    state, rest = model.state_dict(), (*inputs[1:], offset)
    sides = {
        "ours": lambda: [stage.feat for stage in model(*inputs, offset)],
        "plain": lambda: [feat for feat, _ in plain_encode(state, model.config, *rest)],
        "kept": lambda: [feat for feat, _ in plain_encode(state, model.config, *rest, keep=True)],
    }
    seconds, wall, peak, results = {n: [] for n in sides}, {n: [] for n in sides}, {}, {}
    with torch.inference_mode():
        model(*few)  # compiles
        for _ in range(arguments.repeats):
            for name, function in sides.items():
                results[name], cpu, clock = timed(function)
                print(f"{name}: {cpu:.1f} s CPU, {clock:.1f} s wall", flush=True)
                seconds[name].append(cpu)
                wall[name].append(clock)
                peak.setdefault(name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)  # KiB on Linux
    difference = max(
        float((ours - plain).abs().max()) for ours, plain in zip(results["ours"], results["plain"], strict=True)
    )
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    row = {
        "task": "encoder, released size",
        "source": source,
        "points": len(points),
        "voxels": [len(feat) for feat in results["ours"]],
        "input_seconds": input_seconds,
        "seconds": median,
        "wall": {name: float(np.median(values)) for name, values in wall.items()},
        "times_faster": median["plain"] / median["ours"],
        "times_faster_than_kept": median["kept"] / median["ours"],
        "peak_gib": {"ours": peak["ours"], "all": peak["kept"]},
        "largest_difference": difference,
    }
    report("backbone", [row])


if __name__ == "__main__":
    main()
