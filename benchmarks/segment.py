"""`geoguide segment` from the command to the written file, each run a process of its own: imports, and the work.

    python benchmarks/segment.py

A scan of 40,684 points and an RGB-D recording of 40 frames, which lie beside the project; what is not there is left
out, and its row says so. A process lists what it imports and how long each module took (`-X importtime`, which costs
some hundredths of a second), so that both shares are of the same run; starting Python is part of the work. In turn,
after a run of each that is not counted: files are in memory then, and numba's code is compiled.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from _measure import GOLDEN, report

DATA = GOLDEN.parent / "data"
SCANS = {"scan": ("scannet_scan/scene0000_00.bin", "--columns", "6"), "recording": ("rgbd_kitchen",)}
WORDS = "floor, cabinet, window"
LARGEST = 4  # packages whose imports are named


def run(scan: str, *options: str) -> tuple[dict[str, float], Counter[str], dict[str, Any]]:
    """Seconds of one process (elapsed, imports, of the processor), seconds of imports by package, and its summary."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "labelled.ply"
        given = ("segment", str(DATA / scan), "--labels", WORDS, "--out", str(out), *options)
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-X", "importtime", "-m", "geoguide", *given]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        summary = json.loads(out.with_suffix(".json").read_text())
    packages = imports(told)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times = {"seconds": seconds, "imports": packages.total(), "processor_seconds": busy}
    return times | {"work": seconds - times["imports"]}, packages, summary


def imports(told: str) -> Counter[str]:
    """Seconds of imports by package, each module's own time, from what `-X importtime` says."""
    packages: Counter[str] = Counter()
    for line in told.splitlines():
        if line.startswith("import time:") and "imported package" not in line:
            own, _, module = line.removeprefix("import time:").split("|")
            packages[module.strip().partition(".")[0]] += int(own) / 1e6
    return packages


def rows(count: int) -> list[dict[str, Any]]:
    """A row for each scan: medians of `count` runs."""
    there = {name: asked for name, asked in SCANS.items() if (DATA / asked[0]).exists()}
    if not there:
        raise SystemExit("benchmarks/segment.py: no recording lies beside the project, so nothing is measured")
    left_out = [{"scan": name, "left_out": "does not lie beside the project"} for name in SCANS if name not in there]
    summaries = {name: run(*asked)[2] for name, asked in there.items()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in there}
    packages: dict[str, list[Counter[str]]] = {name: [] for name in there}
    for _ in range(count):
        for name, asked in there.items():
            times, own, summary = run(*asked)
            assert summary == summaries[name]
            found[name].append(times)
            packages[name].append(own)
    medians = [
        {"scan": name, "words": WORDS, "runs": count, "points": summaries[name]["points"]}
        | {"frames": summaries[name].get("lifting_check", {}).get("frames")}
        | {key: float(np.median([times[key] for times in found[name]])) for key in found[name][0]}
        | {"imports_of": largest(packages[name])}
        for name in there
    ]
    return medians + left_out


def largest(counted: list[Counter[str]]) -> dict[str, float]:
    """Median seconds of the packages that take longest to import."""
    median = Counter({name: float(np.median([own[name] for own in counted])) for name in counted[0]})
    return dict(median.most_common(LARGEST))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="of each")
    report("segment", rows(parser.parse_args().runs))


if __name__ == "__main__":
    main()
