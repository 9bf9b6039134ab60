"""One training step with all three modules: time and peak memory against the dense formulation, in one run.

The dense twin writes the paper's formulas down as they stand: the P x M prediction matrix and the S x S similarity
matrices in full, with autograd keeping what it needs. Each case runs in a process of its own, so peaks do not mix.

    python benchmarks/training_step.py
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from geoguide.method import relation_consistency
from geoguide.method.batch import Batch
from geoguide.method.mask_reconstruction import IMRConfig
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.method.relation_consistency import IIRCConfig, prepare_regions
from geoguide.ops.groups import Groups
from geoguide.students.adapter import Adapter

SIZES = {20_000: 2_000, 60_000: 6_000, 200_000: 20_000}  # points: superpoints
WIDTH, GEOMETRY, MASKS = 384, 96, 60


def make_batch(points: int, superpoints: int) -> Batch:
    g = torch.Generator().manual_seed(0)
    owner = torch.randint(0, MASKS, (points,), generator=g)
    return Batch(
        geometry=torch.randn(points, GEOMETRY, generator=g),
        lifted=torch.randn(points, WIDTH, generator=g),
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


def measure(points: int, dense: bool, steps: int) -> dict[str, float]:
    """Seconds per step (best of `steps`) and peak memory above the inputs, in this process."""
    if dense:
        import geoguide.method.mask_reconstruction as imr

        relation_consistency.relation_loss, imr.mask_bce = dense_relation_loss, dense_mask_bce
    batch = make_batch(points, SIZES[points])
    config = ObjectiveConfig(imr=IMRConfig(masks_per_step=MASKS), iirc=IIRCConfig(normalise="l2"))
    adapter, objective = Adapter(GEOMETRY, WIDTH), Objective(GEOMETRY, WIDTH, config)
    generator = torch.Generator().manual_seed(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        objective(adapter(batch.geometry), batch, generator)["total"].backward()
        times.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": min(times), "peak_mb": (peak - before) / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="points,dense: run one case here (used by the parent process)")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.case:
        points, dense = arguments.case.split(",")
        print(json.dumps(measure(int(points), dense == "1", arguments.steps)))
        return
    rows = []
    for points in SIZES:
        row = {"points": points, "superpoints": SIZES[points], "masks": MASKS, "width": WIDTH}
        for name, dense in (("ours", "0"), ("dense", "1")):
            if dense == "1" and points > 60_000:
                continue  # 20,000 superpoints: one S x S matrix alone is 1.6 GB and the dense twin keeps several
            command = [sys.executable, __file__, "--case", f"{points},{dense}", "--steps", str(arguments.steps)]
            command += ["--threads", str(arguments.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row[name] = json.loads(done.stdout.splitlines()[-1])
        if "dense" in row:
            row["time_ratio"] = row["dense"]["seconds"] / row["ours"]["seconds"]
            row["memory_ratio"] = row["dense"]["peak_mb"] / row["ours"]["peak_mb"]
        rows.append(row)
        print(json.dumps(row))
    out = Path(__file__).parent / "results" / "training_step.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"threads": arguments.threads, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
