"""Training on fused features that stay on disk, at real size: scenes a second through the loader, and peak memory.

A synthetic folder: scenes of 150,000 points, 768 channels as OpenSeg's, frozen features of 1,088 as Sonata's, one row
for about ten points. Two kinds of file, as OpenScene published them: five subsets of 20,000 points (train), and one
with every seen point (val, test). The other side is `torch.load` of the whole file, which OpenScene's loader does. Each
case runs in a process of its own, so peaks do not mix; files were just written, so they come from the page cache.

    python benchmarks/streaming.py
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _measure import report
from torch.utils.flop_counter import FlopCounterMode

from geoguide.datasets.formats.fused_features import StreamedFeatures, feature_files
from geoguide.experiments.presets import preset
from geoguide.instances.masks import InstanceMasks
from geoguide.ops.indexed import IndexedRows
from geoguide.pipeline.class_text import ClassText
from geoguide.prepared import PreparedScene

POINTS, WIDTH, GEOMETRY, SHARED = 150_000, 768, 1088, 10
SUBSETS, SUBSET, SEEN = 5, 20_000, 0.9
SCENES, STEP = 6, 20_000  # the last scene has a file of all seen points
CASES = ("ours, subsets", "torch.load, subsets", "ours, whole", "torch.load, whole", "training")


def write_folder(root: Path) -> None:
    """Features of every scene, and what `prepare` would have left of it: arrays [P, ...] as .npy files."""
    rng = np.random.default_rng(0)
    for scene in range(SCENES):
        seen = rng.random(POINTS) < SEEN
        for part in range(SUBSETS if scene < SCENES - 1 else 1):
            mask = seen
            if scene < SCENES - 1:
                mask = np.zeros(POINTS, bool)
                mask[rng.choice(np.flatnonzero(seen), SUBSET, replace=False)] = True
            feat = torch.randn(int(mask.sum()), WIDTH).half()
            torch.save({"feat": feat, "mask_full": torch.from_numpy(mask)}, root / f"scene{scene}_{part}.pt")
        side = rng.integers(0, 60, POINTS)  # 60 objects of about 30 superpoints
        arrays = {
            "points": rng.uniform(0, 8, (POINTS, 3)).astype(np.float32),
            "labels": side % 20,
            "superpoints": side * 30 + rng.integers(0, 30, POINTS),
            "rows": rng.normal(size=(POINTS // SHARED, GEOMETRY)).astype(np.float16),
            "index": rng.integers(0, POINTS // SHARED, POINTS).astype(np.int32),
        }
        for name, array in arrays.items():
            np.save(root / f"scene{scene}.{name}.npy", array)


def open_scene(root: Path, number: int) -> PreparedScene:
    """As `prepare` opens a scene whose stages are all in the cache."""
    names = ("points", "labels", "superpoints", "rows", "index")
    part = {name: np.asarray(np.load(root / f"scene{number}.{name}.npy", mmap_mode="r")) for name in names}
    masks = InstanceMasks.from_labels(part["superpoints"] // 30)
    files = feature_files(root, f"scene{number}")
    return PreparedScene(
        name=f"scene{number}", provenance="mini", fingerprint="", points=part["points"], colors=part["points"],
        labels=part["labels"], instances=None, geometry=IndexedRows(part["rows"], part["index"]),
        lifted=StreamedFeatures(files, POINTS), seen_by=None, superpoints=part["superpoints"], masks=masks,
    )  # fmt: skip


def load(root: Path, case: str, steps: int) -> dict[str, float]:
    """Scenes a second: the features of `STEP` random points of a random scene, one scene after another."""
    chosen = [SCENES - 1] if case.endswith("whole") else list(range(SCENES - 1))
    streams = {number: StreamedFeatures(feature_files(root, f"scene{number}"), POINTS) for number in chosen}
    rng = np.random.default_rng(1)
    begin = time.perf_counter()
    for step in range(steps):
        number = chosen[step % len(chosen)]
        index = np.sort(rng.choice(POINTS, STEP, replace=False))
        if case.startswith("ours"):
            streams[number].rows(index, step)
            continue
        files = streams[number].files
        value = torch.load(files[step % len(files)], weights_only=True)
        dense = torch.zeros(POINTS, WIDTH, dtype=torch.float16)
        dense[value["mask_full"]] = value["feat"]
        dense[torch.from_numpy(index)]
    seconds = time.perf_counter() - begin
    return {"scenes_per_second": steps / seconds, "peak_mb_in_all": peak_mb()}


def train(root: Path, steps: int) -> dict[str, float]:
    """A training run with all three modules: seconds a step, the share of it spent waiting, peak memory in all."""
    from geoguide.pipeline import train as module

    module.class_text = lambda *_: ClassText(torch.nn.functional.normalize(torch.randn(20, WIDTH), dim=-1))
    config = preset().replace(
        train__steps=steps, train__points_per_step=STEP, train__evaluate_every=steps, train__checkpoint_every=steps
    )
    scenes = [open_scene(root, number) for number in range(SCENES)]
    waits, own = [], module._State._next_batch

    def timed(self, scenes, turn):
        begin = time.perf_counter()
        batch = own(self, scenes, turn)
        waits.append(time.perf_counter() - begin)
        return batch

    module._State._next_batch = timed
    begin = time.perf_counter()
    module.fit(config, train=scenes[:-1], val=scenes[-1:], progress=False)
    seconds = (time.perf_counter() - begin) / steps
    with FlopCounterMode(display=False) as counter:  # of one step more
        module.fit(config.replace(train__steps=1), train=scenes[:-1], val=scenes[-1:], progress=False)
    return {
        "seconds_per_step": seconds,
        "tflop_per_step": counter.get_total_flops() / 1e12,
        "waiting_share": sum(waits[1:]) / (len(waits) - 1) / seconds,
        "first_batch_seconds": waits[0],
        "peak_mb_in_all": peak_mb(),
    }


def peak_mb() -> float:
    """Of this process, pages of mapped files included; PyTorch alone takes a few hundred. Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, help="run one case here, on --root (used by the parent process)")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.case:
        run = train(arguments.root, arguments.steps) if arguments.case == "training" else load(
            arguments.root, arguments.case, arguments.steps
        )  # fmt: skip
        print(json.dumps(run))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder))
        for case in CASES:
            command = [sys.executable, __file__, "--case", case, "--root", folder, "--steps", str(arguments.steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"case": case} | json.loads(done.stdout.splitlines()[-1]))
    for ours, other in ((rows[0], rows[1]), (rows[2], rows[3])):
        ours["ratio_of_speed"] = ours["scenes_per_second"] / other["scenes_per_second"]
        ours["ratio_of_memory"] = other["peak_mb_in_all"] / ours["peak_mb_in_all"]
    size = {"points": POINTS, "channels": WIDTH, "frozen_channels": GEOMETRY, "points_per_step": STEP, "scenes": SCENES}
    report("streaming", [size, *rows])


if __name__ == "__main__":
    main()
