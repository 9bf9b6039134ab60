"""Multi-view lifting against a plain numpy version of the same rule, in one run.

    python benchmarks/lifting.py

60,000 points into 640x480 frames: the twelve real frames of the golden folder where it lies beside the project, else
twelve synthetic ones of the same size. Both sides must agree in every mask before anything is timed.
"""

import argparse
from types import SimpleNamespace

import numpy as np
from _measure import GOLDEN, compare, report

from geoguide.lifting import fuse, project

SIZE = (480, 640)
K = np.array([[585.0, 0, 320], [0, 585, 240], [0, 0, 1]])


def plain_project(points, intrinsics, pose, depth, tolerance=0.25, border=10):
    """The rule as it reads, in numpy, whole arrays at a time."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1).T  # [4, P]
    p = np.linalg.inv(pose) @ homogeneous
    u = p[0] * intrinsics[0, 0] / p[2] + intrinsics[0, 2]
    v = p[1] * intrinsics[1, 1] / p[2] + intrinsics[1, 2]
    col, row = np.round(u).astype(np.int64), np.round(v).astype(np.int64)
    visible = (p[2] > 0) & (col >= border) & (row >= border) & (col < SIZE[1] - border) & (row < SIZE[0] - border)
    d = depth[row[visible], col[visible]]
    visible[visible] = (d > 0) & (np.abs(d - p[2][visible]) <= tolerance * d)
    return np.where(visible, row, 0), np.where(visible, col, 0), visible


def plain_fuse(points, views, maps):
    total, count = np.zeros((len(points), maps[0].shape[2]), np.float32), np.zeros(len(points), np.int64)
    for view, feature in zip(views, maps, strict=True):
        row, col, mask = plain_project(points, view.intrinsics, view.cam_to_world, view.depth())
        total[mask] += feature[row[mask], col[mask]]
        count += mask
    return total / np.maximum(count, 1)[:, None], count


def real_frames():
    data = np.load(GOLDEN / "lifting" / "A_projection.npz")
    return data["points"], data["poses_cam2world"], data["depth_u16"] / data["depth_scale"]


def synthetic_frames(count=60_000, frames=12):
    """Points on a rough wall 2.5 m ahead of a camera that moves sideways; depth is the wall with holes."""
    rng = np.random.default_rng(0)
    points = rng.uniform([-2, -1.5, 2.3], [2, 1.5, 2.7], (count, 3)).astype(np.float32)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = np.linspace(-1, 1, frames)
    depth = rng.uniform(2.3, 2.7, (frames, *SIZE)) * (rng.random((frames, *SIZE)) > 0.1)
    return points, poses, depth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    source = "real frames" if (GOLDEN / "lifting").is_dir() else "synthetic frames"
    points, poses, depths = real_frames() if source == "real frames" else synthetic_frames()
    views = [
        SimpleNamespace(name=str(i), intrinsics=K, cam_to_world=pose, image_size=SIZE, depth=lambda i=i: depths[i])
        for i, pose in enumerate(poses)
    ]
    for pose, depth in zip(poses, depths, strict=True):
        found = project(points, K, pose, SIZE, depth=depth)
        expected = plain_project(points, K, pose, depth)
        assert (np.stack([found.row, found.col, found.visible]) == np.stack(expected)).all()
    rows = []
    frames = [
        compare(
            {
                "ours": lambda p=pose, d=depth: project(points, K, p, SIZE, depth=d),
                "numpy": lambda p=pose, d=depth: plain_project(points, K, p, d),
            },
            repeats,
        )
        for pose, depth in zip(poses, depths, strict=True)
    ]
    seconds = {name: float(np.mean([frame[name] for frame in frames])) for name in frames[0]}
    rows.append(row("project, one frame", source, seconds, points=len(points)))
    rng = np.random.default_rng(0)
    for width in (5, 384):
        maps = [rng.standard_normal((*SIZE, width), np.float32)] * len(views)
        seconds = compare(
            {"ours": lambda m=maps: fuse(points, views, m), "numpy": lambda m=maps: plain_fuse(points, views, m)},
            max(3, repeats // 3),
        )
        rows.append(row(f"fuse, {len(views)} frames", source, seconds, points=len(points), channels=width))
    report("lifting", rows)


def row(task, source, seconds, **size):
    return {
        "task": task,
        "source": source,
        **size,
        "seconds": seconds,
        "times_faster": seconds["numpy"] / seconds["ours"],
    }


if __name__ == "__main__":
    main()
