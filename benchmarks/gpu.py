"""The CUDA paths against the same code on the CPU, in one run: a training step, and the Sonata encoder.

    python benchmarks/gpu.py

A training step: all three modules, forward and backward, float32 on both sides, and on the GPU the adapter in bfloat16
too, as `geoguide train` runs there. The encoder: released size, random weights, in inference mode; on the GPU with
torch's convolution and, where it is installed, spconv's (which has no bfloat16). Differences are relative to the
largest value of the CPU's result. Peak memory is what the allocator held beyond the inputs.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from _measure import report
from backbone import scan
from training_step import GEOMETRY, SIZES, WIDTH, make_batch

from geoguide.backbones import PointTransformerV3
from geoguide.backbones.sonata import encoder_input
from geoguide.method.batch import Batch
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.method.relation_consistency import IIRCConfig
from geoguide.ops import sparse
from geoguide.students.adapter import Adapter


def measured(function: Callable[[], torch.Tensor], device: str, repeats: int) -> tuple[torch.Tensor, dict[str, float]]:
    """The result on the CPU, and the best of `repeats` after a warm-up: seconds, and GiB allocated at most."""
    function()
    seconds = []
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    for _ in range(repeats):
        begin = time.perf_counter()
        result = function()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    row = {"seconds": min(seconds)}
    if device == "cuda":
        row["peak_gib"] = (torch.cuda.max_memory_allocated() - before) / 2**30
    return result.detach().float().cpu(), row


def relative(result: torch.Tensor, expected: torch.Tensor) -> float:
    return float((result - expected).abs().max() / expected.abs().max())


def precision(kind: str, device: str) -> torch.autocast | nullcontext:
    return nullcontext() if kind == "float32" else torch.autocast(device, getattr(torch, kind))


def moved(batch: Batch, device: str) -> Batch:
    return Batch(**{name: part.to(device) for name, part in vars(batch).items()})


def training_step(points: int, device: str, kind: str, repeats: int) -> tuple[torch.Tensor, dict[str, float]]:
    """The gradient of the adapter's last layer after one step, and its cost."""
    torch.manual_seed(0)
    config = ObjectiveConfig(iirc=IIRCConfig(normalise="l2"))
    adapter, objective = Adapter(GEOMETRY, WIDTH).to(device), Objective(GEOMETRY, WIDTH, config).to(device)
    batch = moved(make_batch(points, SIZES[points]), device)

    def step() -> torch.Tensor:
        adapter.zero_grad()
        with precision(kind, device):
            semantic = adapter(batch.geometry)
        losses = objective(semantic.float(), batch, torch.Generator().manual_seed(0))
        losses["total"].backward()
        return adapter.last.weight.grad

    return measured(step, device, repeats)


def encoder(model: torch.nn.Module, inputs: list[torch.Tensor], device: str, kind: str, repeats: int) -> tuple:
    """The deepest features of the scene, and their cost."""
    model, placed = model.to(device), [tensor.to(device) for tensor in inputs]

    def forward() -> torch.Tensor:
        with torch.inference_mode(), precision(kind, device):
            return model(*placed)[-1].feat

    return measured(forward, device, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="on the GPU; the CPU's turn is taken once")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/gpu.py needs a CUDA GPU, and a torch that is built for it")
    rows = []
    for points in SIZES:
        expected, cpu = training_step(points, "cpu", "float32", 1)
        for kind in ("float32", "bfloat16"):
            result, gpu = training_step(points, "cuda", kind, arguments.repeats)
            row = {"task": "training step", "points": points, "superpoints": SIZES[points], "precision": kind}
            row |= {"cpu": cpu, "gpu": gpu, "times_faster": cpu["seconds"] / gpu["seconds"]}
            rows.append(row | {"relative_difference": relative(result, expected)})
    source, points, colors = scan()
    made = encoder_input(points, colors)
    torch.manual_seed(0)
    model = PointTransformerV3().eval()
    inputs = [torch.from_numpy(array) for array in (made.coord, made.grid_coord, made.feat)]
    inputs.append(torch.tensor([len(made.coord)]))
    expected, cpu = encoder(model, inputs, "cpu", "float32", 1)
    ways = [("torch", "float32"), ("torch", "bfloat16"), ("torch", "float16")]
    ways += [("spconv", "float32"), ("spconv", "float16")] if sparse._HAS_SPCONV else []
    for backend, kind in ways:
        sparse._HAS_SPCONV = backend == "spconv"
        result, gpu = encoder(model, inputs, "cuda", kind, arguments.repeats)
        row = {"task": "encoder, released size", "source": source, "voxels": len(made.coord)}
        row |= {"convolution": backend, "precision": kind, "cpu": cpu, "gpu": gpu}
        row |= {"times_faster": cpu["seconds"] / gpu["seconds"]}
        rows.append(row | {"relative_difference": relative(result, expected)})
    report("gpu", rows)


if __name__ == "__main__":
    main()
