"""What the benchmarks share: interleaved timing, and a results file that names the machine and versions."""

import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numba
import numpy as np
import torch

from geoguide.paths import replacing

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


def compare(functions: dict[str, Callable[[], object]], repeats: int, *, warm_up: bool = True) -> dict[str, float]:
    """Median seconds of each function: one warm-up each, then in turn, so that a busy machine is shared fairly."""
    for function in functions.values() if warm_up else ():
        function()
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in times.items()}


def report(name: str, rows: list[dict], path: Path | None = None) -> None:
    """Print the rows and write results/<name>.json beside this file, or the path that is given."""
    for row in rows:
        print(json.dumps(row))
    machine = {
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),  # above the number of cpus: other work was running, trust ratios only
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in ("numpy", "numba", "torch", "pykdtree")},
        "numba_threads": numba.get_num_threads(),
    }
    with replacing(path or Path(__file__).parent / "results" / f"{name}.json") as new:
        new.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
