"""Superpoints of a mesh against the same rule in plain numpy and Python, and how both inputs scale, in one run.

    python benchmarks/superpoints.py

The mesh of the golden folder (65,534 vertices) where it lies beside the project, else a synthetic one of that size. The
plain version takes all weights as arrays and the union-find as a Python loop. Its vertex normals are plain means, not
running ones, so float32's last bits differ: `same_as_plain` is the share of vertices in segments that both have alike.
"""

import argparse

import numpy as np
from _measure import GOLDEN, compare, report
from plyfile import PlyData

from geoguide.superpoints import segment_mesh, segment_points


def plain_normals(vertices, faces):
    """The mean of the unit normals of each vertex's faces."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    total, count = np.zeros_like(vertices), np.zeros(len(vertices), np.float32)
    for corner in range(3):
        np.add.at(total, faces[:, corner], normal)
        np.add.at(count, faces[:, corner], 1)
    return total / np.maximum(count, 1)[:, None]


def plain_segments(vertices, faces, k=0.01, min_size=20):
    normals = plain_normals(vertices, faces)
    edges = faces[:, [[0, 1], [0, 2], [2, 1]]].reshape(-1, 2)
    a, b = edges.T
    step = vertices[b] - vertices[a]
    weight = 1 - (normals[a] * normals[b]).sum(1)
    weight = np.where((normals[b] * step).sum(1) > 0, weight**2, weight)
    order = np.argsort(weight, kind="stable")
    parent, size, threshold = list(range(len(vertices))), [1] * len(vertices), [k] * len(vertices)

    def find(node):
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(x, y):
        x, y = (x, y) if size[x] >= size[y] else (y, x)
        parent[y] = x
        size[x] += size[y]
        return x

    ordered = list(zip(a[order].tolist(), b[order].tolist(), weight[order].tolist(), strict=True))
    for x, y, w in ordered:
        x, y = find(x), find(y)
        if x != y and w <= threshold[x] and w <= threshold[y]:
            root = join(x, y)
            threshold[root] = w + k / size[root]
    for x, y, _ in ordered:
        x, y = find(x), find(y)
        if x != y and min(size[x], size[y]) < min_size:
            join(x, y)
    return np.array([find(node) for node in range(len(vertices))])


def real_mesh():
    mesh = PlyData.read(GOLDEN / "superpoints" / "mesh.ply", known_list_len={"face": {"vertex_indices": 3}})
    vertices = np.stack([mesh["vertex"][axis] for axis in "xyz"], axis=1)
    return vertices.astype(np.float32), np.stack(mesh["face"]["vertex_indices"]).astype(np.int64)


def synthetic_mesh(side):
    """A rough sheet with folds, side x side vertices, two triangles a cell."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    z = 6 * np.abs(np.sin(x / 40)) + 6 * np.abs(np.sin(y / 25)) + rng.normal(0, 0.15, (side, side))
    a = (x * side + y)[:-1, :-1].reshape(-1)
    faces = np.concatenate([np.stack([a, a + side, a + 1], 1), np.stack([a + 1, a + side, a + side + 1], 1)])
    return (np.stack([x, y, z], -1).reshape(-1, 3) * 0.02).astype(np.float32), faces


def agreement(a, b):
    """Share of points in segments that both partitions have exactly alike."""
    pairs, inverse, count = np.unique(np.stack([a, b]), axis=1, return_inverse=True, return_counts=True)
    alike = (count == np.bincount(a)[pairs[0]]) & (count == np.bincount(b)[pairs[1]])
    return float(alike[inverse.reshape(-1)].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    real = (GOLDEN / "superpoints").is_dir()
    rows = []
    for source, (vertices, faces) in (
        ("real mesh", real_mesh()) if real else ("synthetic mesh", synthetic_mesh(256)),
        ("synthetic mesh", synthetic_mesh(1000)),
    ):
        size = {"vertices": len(vertices), "faces": len(faces)}
        tasks = {"ours": lambda v=vertices, f=faces: segment_mesh(v, f)}
        if len(vertices) < 100_000:
            size["same_as_plain"] = agreement(segment_mesh(vertices, faces), plain_segments(vertices, faces))
            tasks["numpy"] = lambda v=vertices, f=faces: plain_segments(v, f)
        rows.append(row("segment_mesh", source, compare(tasks, repeats), **size))
        if len(vertices) < 100_000:
            seconds = compare({"ours": lambda v=vertices: segment_points(v)}, repeats)
            rows.append(row("segment_points, normals estimated", source, seconds, points=len(vertices)))
    report("superpoints", rows)


def row(task, source, seconds, **size):
    ratio = {"times_faster": seconds["numpy"] / seconds["ours"]} if "numpy" in seconds else {}
    return {"task": task, "source": source, **size, "seconds": seconds, **ratio}


if __name__ == "__main__":
    main()
