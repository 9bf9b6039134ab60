"""The side to which normals look: how often it is the one that was seen, and what a linear probe and superpoints gain.

    python benchmarks/normals.py

Generated rooms, their normals hidden (truth: their meshes'), whole and thinned to 3,000 points; real rooms without
faces where they lie beside the project (truth: the side of the nearest of the frames' cameras that sees the point by
its depth image, within 5 %). `before` is what stages estimate where a scene has no normals: no side is known. The probe
is fitted on the labels of scene0000_00 and tested on its rescan 01, whose frames are not there.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from _measure import GOLDEN, report

from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.datasets import orientation
from geoguide.datasets.normals import camera_places, sided_normals
from geoguide.datasets.nuscenes import list_samples, list_scenes, load_sample, read_tables, swept_normals
from geoguide.datasets.scannet import list_scenes as list_rooms
from geoguide.datasets.scannet import load_scene
from geoguide.lifting import project
from geoguide.paths import data_root
from geoguide.pretraining.probing import ProbeConfig, ProbeRoom, linear_probe, sample
from geoguide.superpoints import estimate_normals, segment_points, superpoint_purity

REAL = GOLDEN.parent / "data" / "scannet_real" / "scans"
PROBE = ProbeConfig(train_points=20_000, strengths=(0.1,))
CLASSES = 20


def camera_side(scene):
    """Directions to the nearest camera that sees each point [P, 3], 0 where none does."""
    towards, nearest = np.zeros((len(scene), 3)), np.full(len(scene), np.inf)
    for view in (view for view in scene.views if view.has_pose):
        seen = project(scene.points, view.intrinsics, view.cam_to_world, view.image_size, depth=view.depth(),
                       depth_tolerance=0.05).visible  # fmt: skip
        step = view.cam_to_world[:3, 3] - scene.points
        distance = np.linalg.norm(step, axis=1)
        closer = seen & (distance < nearest)
        towards[closer], nearest[closer] = step[closer] / distance[closer, None], distance[closer]
    return towards


def share(normals, truth, steep=0.0):
    """Share of normals on the truth's side, where there is one and the cosine is above `steep`."""
    cosine = np.einsum("pd,pd->p", normals.astype(np.float64), truth)
    known = np.abs(cosine) > steep
    return float((cosine[known] > 0).mean())


def superpoints(points, normals, labels):
    found = segment_points(points, normals)
    return {"superpoints": int(found.max() + 1), "purity": superpoint_purity(found, labels)}


def rooms(name, scenes, keep=None):
    """Generated rooms, their normals hidden."""
    rows = []
    for scene in scenes:
        chosen = np.random.default_rng(0).permutation(len(scene))[:keep]
        points, truth, labels = (array[chosen] for array in (scene.points, scene.normals, scene.labels))
        before, begin = estimate_normals(points), time.perf_counter()
        after = sided_normals(points, None)[0]
        rows.append({
            "seconds": time.perf_counter() - begin, "points": len(points),
            "before": share(before, truth, 0.5), "after": share(after, truth, 0.5),
            "believed": orientation.agreement(points, truth),
            **{f"{key}_{which}": value for which, normals in (("before", None), ("after", after), ("true", truth))
               for key, value in superpoints(points, normals, labels).items()},
        })  # fmt: skip
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return {"task": "generated rooms, normals hidden", "source": "mini", "rooms": len(rows), "of": name, **mean,
            "lowest_after": min(row["after"] for row in rows)}  # fmt: skip


def streets(tables, scenes):
    """Generated sweeps: superpoints without a side, and with normals towards the LiDAR."""
    rows = []
    for name in scenes:
        scene = load_sample(tables, list_samples(tables, name)[0])
        after = swept_normals(scene.points, np.array([0.94, 0.0, 1.84]))[0]
        rows.append({f"{key}_{which}": value for which, normals in (("before", None), ("after", after))
                     for key, value in superpoints(scene.points, normals, scene.labels).items()})  # fmt: skip
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return {"task": "generated streets, towards the LiDAR", "source": "mini", "sweeps": len(rows), **mean}


def real():
    """The real room and its rescan."""
    scenes = [load_scene(REAL / f"scene0000_0{scan}") for scan in (0, 1)]
    first = scenes[0]
    truth, hidden, plain = camera_side(first), estimate_normals(first.points), sided_normals(first.points, None)[0]
    ways = {"before": hidden, "after, cameras unknown": plain, "after, cameras known": first.normals}
    yield {"task": "scene0000_00: share on the side of the nearest camera that sees the point", "source": "real",
           "seen": float(np.any(truth != 0, axis=1).mean()), "cameras": len(camera_places(first.views)),
           **{way: {"all": share(n, truth), "steeper than cosine 0.3": share(n, truth, 0.3)}
              for way, n in ways.items()}}  # fmt: skip
    for scene in scenes:
        for way, normals in (("before", None), ("after", scene.normals)):
            yield {"task": "superpoints", "source": "real", "scene": scene.name, "normals": way,
                   **superpoints(scene.points, normals, scene.labels)}  # fmt: skip
    for way in ("before", "after"):
        probed = []
        for scene in scenes:
            features = DescriptorBackbone().encode(replace(scene, normals=None) if way == "before" else scene)
            probed.append(ProbeRoom(scene.name, features, scene.labels, scene.instances))
        yield {"task": "linear probe of descriptors, 00 -> 01", "source": "real", "normals": way, **probe(*probed)}


def probe(train, test):
    """mIoU over the classes that are there, and mean accuracy, in %, over five draws of training points."""
    found = []
    for seed in range(5):
        features, labels, _ = sample([train], PROBE.train_points, seed)
        mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)
        scored = [([test], "val"), ([test], "test")]  # one strength: nothing is chosen
        result = linear_probe((features - mean) / scale, labels, scored, (mean, scale), CLASSES, PROBE)
        found.append(np.mean([iou for iou in result["test_iou"] if iou is not None]))
    return {"miou": float(np.mean(found)), "deviation_over_draws": float(np.std(found, ddof=1)), "draws": len(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=data_root())
    data = parser.parse_args().data
    generated = [load_scene(path) for path in list_rooms(data / "mini-scannet", "val")]
    rows = [rooms("validation rooms", generated), rooms("the same, 3,000 points of each", generated, 3000)]
    tables = read_tables(data / "mini-nuscenes", "v1.0-streets")
    rows.append(streets(tables, list_scenes(tables, "val")))
    report("normals", rows + (list(real()) if REAL.is_dir() else []))


if __name__ == "__main__":
    main()
