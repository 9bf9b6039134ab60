"""One training step with all three modules: time and peak memory against the dense formulation, in one run.

The dense twin writes the paper's formulas down as they stand: the P x M prediction matrix and the S x S similarity
matrices in full, with autograd keeping what it needs. `adapter_only` is the step of that baseline: no module. Each case
runs in a new process, and what it holds beyond its inputs is its own: the high-water mark of a process begins at 0 with
its program (Linux: VmHWM; `ru_maxrss` would begin at the parent's). Seconds are the process's CPU time, which other
work disturbs less than the clock. `products` counts what is multiplied in matrix products: what the modules multiply no
formulation spares, so that the ratio of products is the least ratio of times, if all the rest were free.

    python benchmarks/training_step.py
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from _measure import report
from torch.utils.flop_counter import FlopCounterMode

from geoguide.experiments.presets import PRESETS
from geoguide.method import mask_reconstruction, relation_consistency
from geoguide.method.batch import Batch
from geoguide.method.mask_reconstruction import IMRConfig
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.method.relation_consistency import IIRCConfig, prepare_regions
from geoguide.ops import blocks
from geoguide.ops.groups import Groups
from geoguide.students.adapter import Adapter

SIZES = {20_000: 2_000, 60_000: 6_000, 200_000: 20_000}  # points: superpoints
MORE_SUPERPOINTS = (200_000, 60_000)  # the largest again, with three times as many
DENSE_POINTS = 60_000  # at most: of 20,000 superpoints one S x S matrix is 1.6 GB, and the dense twin keeps several
WIDTH, GEOMETRY, MASKS = 384, 96, 60
OURS = ObjectiveConfig(imr=IMRConfig(masks_per_step=MASKS), iirc=IIRCConfig(normalise="l2"))
CASES = {
    "adapter_only": ObjectiveConfig(modules=()),
    "ours": OURS,
    "dense": OURS,
    "as_written": PRESETS["as-written"],
    "works_best": PRESETS["works-best"],
}
IN_PLACE = {  # torch counts no product that is added where it lies
    torch.ops.aten.addmm_: lambda _own, left, right, **_: 2 * left[0] * left[1] * right[1]
}


def make_batch(points: int, superpoints: int, geometry: int = GEOMETRY, width: int = WIDTH) -> Batch:
    g = torch.Generator().manual_seed(0)
    owner = torch.randint(0, MASKS, (points,), generator=g)
    return Batch(
        geometry=torch.randn(points, geometry, generator=g),
        lifted=torch.randn(points, width, generator=g),
        seen=torch.rand(points, generator=g) < 0.9,
        points=torch.randn(points, 3, generator=g),
        superpoints=Groups.partition(torch.randint(0, superpoints, (points,), generator=g), superpoints),
        masks=Groups(owner, MASKS, points, torch.arange(points)),
    )


def dense_relation_loss(semantic, geometry, config: IIRCConfig):
    a = prepare_regions(semantic, config)
    b = prepare_regions(geometry, config)
    return F.mse_loss(a @ a.T, b @ b.T)


def dense_mask_bce(queries, features, masks, *, scale, offset, **_):
    cosine = F.normalize(queries, dim=-1) @ F.normalize(features, dim=-1).T
    target = torch.zeros_like(cosine)
    target[masks.group, masks.point] = 1
    return F.binary_cross_entropy_with_logits(cosine * scale + offset, target)


@contextmanager
def dense() -> Iterator[None]:
    """The twin: nothing in blocks, both losses as they read."""
    with (
        patch.object(blocks, "LARGE", sys.maxsize),
        patch.object(relation_consistency, "relation_loss", dense_relation_loss),
        patch.object(mask_reconstruction, "mask_bce", dense_mask_bce),
    ):
        yield


def held(what: str) -> float:
    """MB that this process holds now (`VmRSS`) or has held at most (`VmHWM`)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines[what].split()[0]) / 1024


def measure(points: int, superpoints: int, case: str, steps: int) -> dict[str, float]:
    """CPU seconds per step (best of `steps`), peak memory above the inputs, and products, in this process."""
    batch = make_batch(points, superpoints)
    adapter, objective = Adapter(GEOMETRY, WIDTH), Objective(GEOMETRY, WIDTH, CASES[case])
    before = held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the mark falls to what is held now: making the inputs took more

    def step() -> None:
        own = replace(batch)  # what a batch remembers of itself is made anew: a training draws another one each step
        objective(adapter(own.geometry), own, torch.Generator().manual_seed(0))["total"].backward()

    times = []
    for _ in range(steps):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    peak = held("VmHWM") - before
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as counter:  # after the peak, which it would move
        step()
    return {"seconds": min(times), "peak_mb": peak, "products": counter.get_total_flops() // 2}


def measured(points: int, superpoints: int, cases: list[str], steps: int, threads: int) -> dict:
    """The row of one size: every case in a process of its own, one after the other."""
    row: dict = {"points": points, "superpoints": superpoints, "masks": MASKS, "width": WIDTH}
    for case in cases:
        command = [sys.executable, __file__, "--case", f"{points},{superpoints},{case}", "--steps", str(steps)]
        done = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, check=True)
        row[case] = json.loads(done.stdout.splitlines()[-1])
    for case in row.keys() & {"ours", "as_written", "works_best"}:
        for name, told in (("seconds", "times_adapter_only"), ("products", "products_times_adapter_only")):
            row[case][told] = row[case][name] / row["adapter_only"][name]
    if "dense" in row:
        row["time_ratio"] = row["dense"]["seconds"] / row["ours"]["seconds"]
        row["memory_ratio"] = row["dense"]["peak_mb"] / row["ours"]["peak_mb"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help="points,superpoints,case: run one here (used by the parent process)")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.case:
        points, superpoints, case = arguments.case.split(",")
        print(json.dumps(measure(int(points), int(superpoints), case, arguments.steps)))
        return
    rows = []
    for points, superpoints in [*SIZES.items(), MORE_SUPERPOINTS]:
        cases = [case for case in CASES if case != "dense" or points <= DENSE_POINTS]
        rows.append(measured(points, superpoints, cases, arguments.steps, arguments.threads))
    report("training_step", rows)


if __name__ == "__main__":
    main()
