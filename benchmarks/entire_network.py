"""A training step of the entire networks on mini rooms, and how many steps a run of 45 minutes on one core affords.

    python benchmarks/entire_network.py

MinkUNet18A at several widths and voxels, and the mini Point Transformer V3. `ours`: the step as it is, its batch drawn
and its neighbour tables made, all on one thread. `plain`, of MinkUNet18A: neighbours found by binary search, and the
pairs of each block cut out anew in every layer, as until version 0.8. Both end with the same weights, bit for bit.
Seconds are the process's CPU time, the median over steps; `room` is how much of it drawing the batch takes, which a
second core does meanwhile where there is one.
"""

import argparse
import time
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from _measure import report

from geoguide.experiments.presets import openscene, point_transformer
from geoguide.ops import sparse
from geoguide.pipeline.prepare import prepare_split
from geoguide.pipeline.student import new_student
from geoguide.pipeline.train import _State

BUDGET = 45 * 60  # seconds of one core
CPU = torch.device("cpu")


def binary_search(keys, wanted):
    """Positions of equal values of two ascending arrays, in `wanted` and in `keys`."""
    rank = np.searchsorted(keys, wanted).clip(max=max(len(keys) - 1, 0))
    where = np.flatnonzero(keys[rank] == wanted)
    return where, rank[where]


@contextmanager
def plain():
    """The convolution's tables as they were."""
    kept = sparse._common, sparse.NeighborTable.pieces
    sparse._common = binary_search
    sparse.NeighborTable.pieces = property(kept[1].func)
    try:
        yield
    finally:
        sparse._common, sparse.NeighborTable.pieces = kept


def advance(state, scenes, step):
    """Take a step on one thread: CPU seconds of drawing the batch and of all, and the number of voxels."""
    begin = time.process_time()
    batch = state.student.draw(scenes, step, 0, CPU)
    drawn = time.process_time() - begin
    state.student.network.train()
    terms = state.objective(state.student.forward(batch), batch, torch.Generator().manual_seed(step))
    state.optimizer.zero_grad(set_to_none=True)
    terms["total"].backward()
    state.optimizer.step()
    return drawn, time.process_time() - begin, len(batch.seen)


def row(config, scenes, count, what):
    """Steps of `ours` and `plain` in turn, so that a busy machine is shared fairly; the first of each is not timed."""
    sides = {"ours": nullcontext} | ({"plain": plain} if config.train.model == "openscene" else {})
    states, times = {}, {name: [] for name in sides}
    for name in sides:
        torch.manual_seed(0)
        states[name] = _State.new(config, scenes, CPU)
    for step in range(count + 1):
        for name, side in sides.items():
            with side():
                times[name].append(advance(states[name], scenes, step))
    drawn, seconds, voxels = np.median(times["ours"][1:], axis=0)
    weights = [torch.cat([v.detach().flatten() for v in s.student.network.parameters()]) for s in states.values()]
    found = {"task": "training step", **what, "voxels": int(voxels), "parameters": len(weights[0])}
    found |= {"seconds": {name: float(np.median([t[1] for t in held[1:]])) for name, held in times.items()}}
    if len(sides) > 1:
        found["times_faster"] = found["seconds"]["plain"] / found["seconds"]["ours"]
        found["same_weights"] = bool(torch.equal(*weights))
    return found | {"room": float(drawn / seconds), "steps_in_45_minutes": int(BUDGET / seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    scenes = prepare_split(openscene(), "train", progress=False)
    student = new_student(openscene(), scenes)
    for step in range(arguments.steps + 1):
        student.draw(scenes, step, 0, CPU)  # the first time a scene is opened its files are checked
    rows = []
    for width in (0.25, 0.5, 1.0):
        for voxel in (0.1, 0.05):
            config = openscene().replace(openscene__width=width, openscene__voxel=voxel)
            what = {"network": "MinkUNet18A", "width": width, "voxel": voxel}
            rows.append(row(config, scenes, arguments.steps, what))
            print(rows[-1], flush=True)
    config = point_transformer("random")
    what = {"network": "Point Transformer V3 of sonata-mini", "width": None, "voxel": 0.1}
    rows.append(row(config, scenes, arguments.steps, what))
    report("entire_network", rows)


if __name__ == "__main__":
    main()
