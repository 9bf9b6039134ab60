"""`geoguide segment` on large clouds: peak memory and time, and what tiles change of the labels.

A scanned room, turned at random each time, is set again and again on one floor. Rows of `agreement` label one such
cloud whole and in tiles, in turn; distances are to the nearest edge of a tile. Rows of `command` are one process each
that does what the command does: read a ply, label, write a ply; rows of `masks` also find superpoints and instance
masks, as `--masks` does. Rows of `growth` label clouds of ever more tiles of one size: peak memory less what the
process held before, with the cloud in it.

    OMP_NUM_THREADS=1 python benchmarks/large_cloud.py --millions 2 10
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from _measure import GOLDEN, report

import geoguide
from geoguide import own_scan
from geoguide.backbones import open_backbone
from geoguide.backbones.parts import Parts
from geoguide.datasets.formats.ply import write_ply
from geoguide.datasets.points import load_points
from geoguide.labels import load_label_set
from geoguide.scene import Scene

REAL = GOLDEN.parent / "data" / "scannet_real" / "scans" / "scene0000_00" / "scene0000_00_vh_clean_2.ply"
GAP = 0.3  # metres between rooms
WORDS = load_label_set("scannet20").names
WHOLE = 1e6  # metres: one tile
AGREE_ROOMS, AGREE = 9, ((12.8, 6.4), (12.8, 12.8), (25.6, 6.4), (25.6, 12.8))
GROWTH_ROOMS, GROWTH = (4, 9, 25), (12.8, 3.2)


def room() -> tuple[np.ndarray, np.ndarray, str]:
    """Points [P, 3], colours uint8 [P, 3] of one room, and which."""
    if REAL.is_file():
        scene, source = load_points(REAL), "a real scan, scene0000_00"
    else:
        from geoguide.benchmarks.scenes import list_sources
        from geoguide.pipeline.config import ExperimentConfig

        scene, source = list_sources(ExperimentConfig().data, "test")[0].load(), "a generated room"
    return scene.points, np.rint(255 * scene.colors).astype(np.uint8), source


def write_floor(path: Path, rooms: int) -> None:
    """Write a floor of rooms, in rows of equal length, as a ply without normals."""
    points, colors, _ = room()
    middle, rng = (points.min(axis=0) + points.max(axis=0)) / 2, np.random.default_rng(0)
    pitch, side = float(np.linalg.norm(np.ptp(points[:, :2], axis=0))) + GAP, int(np.ceil(np.sqrt(rooms)))
    placed = []
    for number in range(rooms):
        turn = rng.uniform(0, 2 * np.pi)
        turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        copy = points.copy()
        copy[:, :2] = (points[:, :2] - middle[:2]) @ turned + pitch * np.array(divmod(number, side))
        placed.append(copy)
    write_ply(path, np.concatenate(placed).astype(np.float32), np.tile(colors, (rooms, 1)))


def memory(field: str) -> float:
    """MB of this process: VmHWM (peak) or VmRSS (now). Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def forget_peak() -> float:
    """Begin the peak anew; MB held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def borders(parts: Parts) -> np.ndarray:
    """Metres from each point to the nearest edge of its tile, rounded down to whole steps, [P]."""
    place = parts.tiling.step % parts.tiling.edge
    return parts.step * np.minimum(place, parts.tiling.edge - 1 - place).min(axis=1)


def agreement(path: Path) -> list[dict]:
    model, scene = geoguide.load("mini"), load_points(path)
    begin = time.perf_counter()
    expected, _ = model.segment_scene(scene, labels=list(WORDS), tile=WHOLE)
    rows = [{"row": "agreement", "tile": None, "points": len(scene), "seconds": time.perf_counter() - begin}]
    for tile, halo in AGREE:
        begin = time.perf_counter()
        found, _ = model.segment_scene(scene, labels=list(WORDS), tile=tile, halo=halo)
        seconds = time.perf_counter() - begin
        parts = Parts(open_backbone(model.backbone), scene, tile, halo)
        same, away = found == expected, borders(parts)
        row = {"row": "agreement", "tile": tile, "halo": halo, "tiles": len(parts), "seconds": seconds}
        row |= {"same": same.mean(), "same_beyond": {d: same[away >= d].mean() for d in (1.6, 3.2, 4.8)}}
        rows.append(row)
    return rows


def command(path: Path, masks: bool = False) -> list[dict]:
    times = [time.perf_counter()]
    scan = own_scan.open_scan(path)
    times.append(time.perf_counter())
    result = own_scan.segment_scan(scan, geoguide.load("mini"), WORDS, masks=masks)
    times.append(time.perf_counter())
    own_scan.write_labelled(path.with_name("labelled.ply"), result)
    times.append(time.perf_counter())
    model = geoguide.load("mini")
    row = {"row": "masks" if masks else "command", "points": len(scan.scene), "peak_mb_in_all": memory("VmHWM")}
    row |= dict(zip(("seconds_read", "seconds_label", "seconds_write"), np.diff(times).tolist(), strict=True))
    return [row | tiling(Parts(open_backbone(model.backbone), scan.scene))]


def tiling(parts: Parts) -> dict:
    return {"tiles": len(parts), "tile": parts.tiling.edge * parts.step, "halo": parts.tiling.halo * parts.step}


def growth(path: Path) -> list[dict]:
    scene, model = load_points(path), geoguide.load("mini")
    model.segment_scene(part(scene), labels=list(WORDS))  # what is loaded once
    before = forget_peak()
    model.segment_scene(scene, labels=list(WORDS), tile=GROWTH[0], halo=GROWTH[1])
    row = {"row": "growth", "points": len(scene), "peak_mb_less_before": memory("VmHWM") - before}
    return [row | tiling(Parts(open_backbone(model.backbone), scene, *GROWTH))]


def part(scene: Scene) -> Scene:
    from geoguide.backbones.parts import part_of

    return part_of(scene, np.arange(1000))


JOBS = {"agreement": agreement, "command": command, "masks": partial(command, masks=True), "growth": growth}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", choices=JOBS, help="run one here, on --path (used by the parent process)")
    parser.add_argument("--path", type=Path)
    parser.add_argument("--millions", type=float, nargs="*", default=(2.0, 10.0))
    arguments = parser.parse_args()
    if arguments.job:
        warnings.simplefilter("ignore")  # the cloud is out of the packaged model's domain, and said so
        print(json.dumps(JOBS[arguments.job](arguments.path)))
        return
    points, _, source = room()
    jobs = [("agreement", AGREE_ROOMS), *(("growth", count) for count in GROWTH_ROOMS)]
    jobs += [
        (job, round(1e6 * millions / len(points))) for millions in arguments.millions for job in ("command", "masks")
    ]
    rows = [{"source": source, "points_of_a_room": len(points), "words": len(WORDS), "model": "mini"}]
    with tempfile.TemporaryDirectory() as folder:
        for job, count in jobs:
            path = Path(folder) / "floor.ply"
            write_floor(path, count)
            line = [sys.executable, __file__, "--job", job, "--path", str(path)]
            done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
            found = [{"rooms": count} | row for row in json.loads(done.stdout.splitlines()[-1])]
            rows += found
            for row in found:
                print(json.dumps(row), flush=True)
    report("large_cloud", rows)


if __name__ == "__main__":
    main()
