"""How far each part of the Sonata encoder at its released size is from what the processor can do.

    python benchmarks/roofline.py

The attainable time of a part is the longer of its operations over the measured rate of a matrix product (384 x 384,
4,096 rows) and its bytes over the measured bandwidth (a triad of arrays that no cache holds); bytes are what a part
must read and write once, its weights included. One block of every stage is measured, on random features of the voxels
of `backbone.py`, with one thread; the sum takes each as often as the stage has blocks. Exponentials of attention are no
operations of a matrix product: its share shows them. Seconds are CPU time, which other work disturbs less; of the whole
network also the clock's.
"""

import argparse
import resource
import time

import torch
from _measure import report
from backbone import scan

from geoguide.backbones import PointTransformerV3
from geoguide.backbones.sonata import encoder_input


def fastest(function, repeats=3):
    """Least CPU seconds of several calls after one more."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.process_time()
        function()
        seconds.append(time.process_time() - begin)
    return min(seconds[1:])


def rates():
    """Operations of a product and bytes of a triad, a second."""
    a, b, out = torch.rand(4096, 384), torch.rand(384, 384), torch.empty(4096, 384)
    x, y = torch.rand(2, 20_000_000)
    z = torch.empty_like(x)
    product = 2 * 4096 * 384**2 / fastest(lambda: torch.mm(a, b, out=out), 20)
    return product, 12 * len(x) / fastest(lambda: torch.add(x, y, alpha=2, out=z), 8)


def parts_of(block, feat, layout):
    """(name, function, operations, bytes) of the parts of a block."""
    (voxels, width), (conv, linear, norm), attention = feat.shape, block.cpe, block.attn
    pairs, slots = len(layout.neighbors.source) + voxels, len(layout.gather[0])
    scores = sum(patches * length**2 for patches, length in layout.runs) * attention.heads
    (_, length), row = layout.runs[0], 4 * width
    gather, scatter = layout.gather[0], layout.scatter[0]
    qkv, mixed = torch.randn(slots, 3 * width), torch.randn(slots, width)

    square = 2 * width**2
    return [
        ("convolution", lambda: conv(feat, layout.neighbors), square * pairs, 2 * row * voxels + 108 * width**2),
        ("linear of the convolution", lambda: feat + norm(linear(feat)), square * voxels, 3 * row * voxels),
        ("queries, keys, values", lambda: attention.qkv(block.norm1(feat)[gather]),
         3 * square * slots, row * (voxels + 3 * slots)),
        ("attention", lambda: attention._mix(qkv, layout.coord[gather], length),
         4 * scores * width // attention.heads, 4 * row * slots),
        ("projection of attention", lambda: feat + attention.proj(mixed[scatter]), square * voxels, 3 * row * voxels),
        ("MLP", lambda: feat + block.mlp(block.norm2(feat)), 8 * square * voxels, 2 * row * voxels + 32 * width**2),
    ]  # fmt: skip


def measured_parts(model, inputs, offset):
    """A row for each part, summed over the stages, and how often each block is there."""
    blocks, rows = [], {}
    hooks = [
        stage["block0"].register_forward_pre_hook(lambda block, given: blocks.append((block, *given)))
        for stage in model.enc.values()
    ]
    model(*inputs, offset)
    for hook in hooks:
        hook.remove()
    product, bandwidth = rates()
    for (block, feat, layout), depth in zip(blocks, model.config.enc_depths, strict=True):
        for name, function, operations, moved in parts_of(block, feat, layout):
            row = rows.setdefault(name, {"part": name, "seconds": 0, "gflop": 0, "gbyte": 0, "attainable_seconds": 0})
            row["seconds"] += depth * fastest(function, 2)
            row["gflop"] += depth * operations / 1e9
            row["gbyte"] += depth * moved / 1e9
            row["attainable_seconds"] += depth * max(operations / product, moved / bandwidth)
    sums = {key: sum(row[key] for row in rows.values()) for key in ("seconds", "gflop", "gbyte", "attainable_seconds")}
    for row in (made := [*rows.values(), {"part": "all blocks", **sums}]):
        row["share"] = row["attainable_seconds"] / row["seconds"]
    return [{"sgemm_gflop_per_second": product / 1e9, "triad_gbyte_per_second": bandwidth / 1e9}, *made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, nargs="*", default=[1], help="whole networks are timed with these")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    source, points, colors = scan()
    made = encoder_input(points, colors)
    model = PointTransformerV3().eval().requires_grad_(False)  # no graph, even where one is allowed
    inputs = [torch.from_numpy(array) for array in (made.coord, made.grid_coord, made.feat)]
    offset = torch.tensor([len(made.coord)])
    with torch.no_grad():
        rows = [{"source": source, "voxels": len(made.coord)}, *measured_parts(model, inputs, offset)]
    report("roofline", rows)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        row = {"threads": threads, "seconds": float("inf")}
        for _ in range(arguments.repeats):
            begin, cpu = time.perf_counter(), time.process_time()
            with torch.no_grad():
                model(*inputs, offset)
            seconds = {"seconds": time.process_time() - cpu, "wall": time.perf_counter() - begin}
            row = min({**row, **seconds}, row, key=lambda one: one["seconds"])
        rows.append({**row, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})
        report("roofline", rows)


if __name__ == "__main__":
    main()
