"""The CUDA paths against the same code on the CPU, in one run: a training step, the Sonata encoder, and `segment`.

    python benchmarks/gpu.py                              # on a GPU: benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --tiny --out dry_run.json       # the script itself, on any machine

A training step: adapter only and with all three modules, forward and backward, float32 on both sides, and in bfloat16
too, as `geoguide train` runs on a GPU. The encoder: released size, random weights, in inference mode, float32 and half
precision, with torch's convolution and, on a GPU where it is installed, spconv's (which has no bfloat16). `segment`:
the packaged model on a scan. Differences are relative to the largest value of the CPU's result; of labels, the share
that differs. Peak memory is what the allocator held beyond the inputs; a CPU has no such count.
"""

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import report
from backbone import scan
from torch import Tensor, nn
from training_step import GEOMETRY, OURS, WIDTH, make_batch

import geoguide
from geoguide.backbones import PointTransformerV3
from geoguide.backbones.sonata import encoder_input
from geoguide.errors import InputError
from geoguide.method.batch import Batch
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.ops import sparse
from geoguide.ops.devices import resolve_device
from geoguide.students.adapter import Adapter

STEPS = {"adapter only": ObjectiveConfig(modules=()), "all modules": OURS}
WORDS = ["wall", "floor", "chair", "table", "window"]


@dataclass(frozen=True)
class Sizes:
    """How much there is to do."""

    steps: dict[int, int]  # points: superpoints
    scan: int | None  # points of the scan; None for all
    network: dict[str, Any]  # what differs from the released encoder


FULL = Sizes({20_000: 2_000, 60_000: 6_000, 200_000: 20_000}, None, {})
TINY = Sizes(
    {500: 50},
    600,
    {
        "stride": [2, 2],
        "enc_depths": [1, 1, 1],
        "enc_channels": [8, 12, 16],
        "enc_num_head": [1, 2, 4],
        "enc_patch_size": [32, 32, 32],
    },
)


def measured(function: Callable[[], Tensor], device: torch.device, repeats: int) -> tuple[Tensor, dict[str, float]]:
    """The result on the CPU, and the best of `repeats` after a warm-up: seconds, and GiB allocated at most."""
    on_gpu = device.type == "cuda"
    result, seconds, before = function(), [], 0
    if on_gpu:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    for _ in range(repeats):
        begin = time.perf_counter()
        result = function()
        if on_gpu:
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begin)
    row = {"seconds": min(seconds)}
    if on_gpu:
        row["peak_gib"] = (torch.cuda.max_memory_allocated(device) - before) / 2**30
    return result.detach().cpu(), row


def relative(result: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value; of labels, the share that differs."""
    if not expected.is_floating_point():
        return float((result != expected).double().mean())
    return float((result.float() - expected.float()).abs().max() / expected.float().abs().max())


def precision(kind: str, device: torch.device) -> AbstractContextManager[None]:
    return nullcontext() if kind == "float32" else torch.autocast(device.type, getattr(torch, kind))


def moved(batch: Batch, device: torch.device) -> Batch:
    parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: part.to(device) for name, part in parts.items() if hasattr(part, "to")})


def training_step(size: tuple[int, int], config: ObjectiveConfig, device: torch.device, kind: str) -> Callable:
    """A step that returns the gradient of the adapter's last layer."""
    torch.manual_seed(0)
    adapter, objective = Adapter(GEOMETRY, WIDTH).to(device), Objective(GEOMETRY, WIDTH, config).to(device)
    batch = moved(make_batch(*size), device)

    def step() -> Tensor:
        adapter.zero_grad()
        with precision(kind, device):
            semantic = adapter(batch.geometry)
        losses = objective(semantic.float(), batch, torch.Generator().manual_seed(0))
        losses["total"].backward()
        assert adapter.last.weight.grad is not None
        return adapter.last.weight.grad

    return step


def encoder(model: nn.Module, inputs: list[Tensor], device: torch.device, kind: str) -> Callable[[], Tensor]:
    """A forward pass that returns the deepest features of the scan."""
    model, placed = model.to(device), [tensor.to(device) for tensor in inputs]

    def forward() -> Tensor:
        with torch.inference_mode(), precision(kind, device):
            return model(*placed)[-1].feat

    return forward


def segment(points: np.ndarray, colors: np.ndarray, device: torch.device) -> Callable[[], Tensor]:
    """A prediction that returns the label of every point."""
    model = geoguide.load("mini").to(str(device))
    return lambda: torch.from_numpy(model.segment(points, colors, labels=WORDS)[0])


def compared(about: dict[str, Any], cpu: tuple[Tensor, dict], other: tuple[Tensor, dict]) -> dict[str, Any]:
    """The row of one task: both sides, how many times faster the device is, and how far apart the results lie."""
    ratio = cpu[1]["seconds"] / other[1]["seconds"]
    own = {"cpu": cpu[1], "device": other[1], "times_faster": ratio}
    return about | own | {"relative_difference": relative(other[0], cpu[0])}


def training_rows(sizes: Sizes, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    rows, cpu = [], torch.device("cpu")
    for size in sizes.steps.items():
        for name, config in STEPS.items():
            there = measured(training_step(size, config, cpu, "float32"), cpu, 1)
            for kind in ("float32", "bfloat16"):
                about = {"task": "training step", "points": size[0], "superpoints": size[1], "modules": name}
                here = measured(training_step(size, config, device, kind), device, repeats)
                rows.append(compared(about | {"precision": kind}, there, here))
    return rows


def encoder_rows(sizes: Sizes, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    rows, cpu = [], torch.device("cpu")
    source, points, colors = scan()
    made = encoder_input(points[: sizes.scan], colors[: sizes.scan])
    torch.manual_seed(0)
    model = PointTransformerV3(**sizes.network).eval()
    inputs = [torch.from_numpy(array) for array in (made.coord, made.grid_coord, made.feat)]
    inputs.append(torch.tensor([len(made.coord)]))
    there = measured(encoder(model, inputs, cpu, "float32"), cpu, 1)
    ways = [("torch", "float32"), ("torch", "bfloat16")]
    if device.type == "cuda":
        ways += [("torch", "float16")]
        ways += [("spconv", "float32"), ("spconv", "float16")] if sparse._HAS_SPCONV else []
    installed = sparse._HAS_SPCONV
    try:
        for convolution, kind in ways:
            sparse._HAS_SPCONV = convolution == "spconv"
            here = measured(encoder(model, inputs, device, kind), device, repeats)
            about = {"task": "encoder", "released_size": not sizes.network, "source": source}
            about |= {"voxels": len(made.coord), "convolution": convolution, "precision": kind}
            rows.append(compared(about, there, here))
    finally:
        sparse._HAS_SPCONV = installed
    return rows


def segment_rows(sizes: Sizes, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    cpu, (source, points, colors) = torch.device("cpu"), scan()
    points, colors = points[: sizes.scan], colors[: sizes.scan]
    sides = [measured(segment(points, colors, where), where, n) for where, n in ((cpu, 1), (device, repeats))]
    about = {"task": "segment", "source": source, "points": len(points), "words": len(WORDS), "precision": "float32"}
    return [compared(about, *sides)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda; cpu to try the script")
    parser.add_argument("--tiny", action="store_true", help="hardly anything to do, to try the script")
    parser.add_argument("--repeats", type=int, default=5, help="on the device; the CPU's turn is taken once")
    parser.add_argument("--out", type=Path, help="default results/gpu.json beside this script")
    arguments = parser.parse_args(argv)
    device, sizes = resolve_device(arguments.device), TINY if arguments.tiny else FULL
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    if arguments.out is None and (arguments.tiny or device.type != "cuda"):
        raise SystemExit("benchmarks/gpu.py: a dry run (--tiny, --device cpu) needs --out, so that no figure is lost")
    rows: list[dict[str, Any]] = []
    for part in (training_rows, encoder_rows, segment_rows):
        rows += part(sizes, device, arguments.repeats)
    report("gpu", [row | {"device_name": name, "tiny": arguments.tiny} for row in rows], arguments.out)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:  # no such device here
        sys.exit(f"benchmarks/gpu.py: {error}; --device cpu --tiny --out FILE tries the script")
