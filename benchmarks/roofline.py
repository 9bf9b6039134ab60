"""How far each part of the Sonata encoder at its released size is from what the processor can do.

    python benchmarks/roofline.py

The attainable time of a part is the longer of its operations over the measured rate of a matrix product (384 x 384,
4,096 rows) and its bytes over the measured bandwidth (a triad of arrays that no cache holds); bytes are what a part
must read and write once, its weights included. One block of every stage is measured, on random features of the voxels
of `backbone.py`, with one thread; the sum takes each as often as the stage has blocks. Exponentials of attention are no
operations of a matrix product: its share shows them. `whole_operations` is the same network where each operation works
on all rows (as with a graph), `parts` as without one. Seconds are CPU time, which other work disturbs less.
"""

import argparse
import resource
import time

import torch
from _measure import report
from backbone import scan

from geoguide.backbones import PointTransformerV3
from geoguide.backbones.sonata import encoder_input
from geoguide.ops.row_parts import in_parts


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
    out, qkv, mixed = torch.empty_like(feat), feat.new_empty(slots, 3 * width), feat.new_empty(slots, width)
    (_, length), row = layout.runs[0], 4 * width
    gather, scatter = layout.gather[0], layout.scatter[0]

    def encode(rows):
        out[rows] = feat[rows] + norm(linear(feat[rows]))

    def project(rows):
        qkv[rows] = attention.qkv(block.norm1(feat[gather[rows]]))

    def project_out(rows):
        out[rows] = feat[rows] + attention.proj(mixed[scatter[rows]])

    def mlp(rows):
        out[rows] = feat[rows] + block.mlp(block.norm2(feat[rows]))

    square = 2 * width**2
    return [
        ("convolution", lambda: conv(feat, layout.neighbors), square * pairs, 2 * row * voxels + 108 * width**2),
        ("linear of the convolution", lambda: in_parts(encode, feat), square * voxels, 3 * row * voxels),
        ("queries, keys, values", lambda: in_parts(project, gather), 3 * square * slots, row * (voxels + 3 * slots)),
        ("attention", lambda: attention._attend(qkv, layout.coord[gather], mixed, length),
         4 * scores * width // attention.heads, 4 * row * slots),
        ("projection of attention", lambda: in_parts(project_out, feat), square * voxels, 3 * row * voxels),
        ("MLP", lambda: in_parts(mlp, feat), 8 * square * voxels, 2 * row * voxels + 32 * width**2),
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
        row, found = {"threads": threads}, {}
        for _ in range(arguments.repeats):
            for name, graph in (("parts", False), ("whole_operations", True)):
                begin, cpu = time.perf_counter(), time.process_time()
                with torch.set_grad_enabled(graph):
                    found[name] = [stage.feat for stage in model(*inputs, offset)]
                seconds = {"seconds": time.process_time() - cpu, "wall": time.perf_counter() - begin}
                row[name] = min(seconds, row.get(name, seconds), key=lambda one: one["seconds"])
        pairs = zip(found["parts"], found["whole_operations"], strict=True)
        row["largest_difference"] = max(float((one - other).abs().max()) for one, other in pairs)
        row["times_faster"] = row["whole_operations"]["seconds"] / row["parts"]["seconds"]
        rows.append({**row, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20})
        report("roofline", rows)


if __name__ == "__main__":
    main()
