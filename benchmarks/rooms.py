"""How impure superpoints and masks are in generated rooms, for values of the options that make them so, in one run.

    python benchmarks/rooms.py [ROOMS]

Each row: rooms of a seed that no experiment uses, eight unless said otherwise, made with these options; means over the
rooms of superpoint purity and of the mean best IoU of the masks from geometry (paper, IMR), for objects of 100 vertices
as ScanNet's benchmark asks, and of 16, which on a 5 cm mesh are as large as 100 on ScanNet's 2 cm mesh. Processor
seconds of making a room. Chapter 15 shows these rows beside a real room.
"""

import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from _measure import report

from geoguide.datasets.scannet import list_scenes, load_scene
from geoguide.frozen import replaced, to_dict
from geoguide.instances.quality import mask_quality
from geoguide.instances.scene_masks import MaskConfig, scene_masks
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_superpoints, superpoint_purity
from geoguide.worlds.rooms.make import EDITIONS, MiniConfig, make_mini_scannet

SEED = 90
SMALL, LARGE = EDITIONS["small"], EDITIONS["large"]
NOISES = {"small": (0.0015, 0.0019), "double": (0.003, 0.0038), "large": (0.009, 0.006)}  # noise_floor, noise_growth
COARSE = (0.03, 0.1, 0.7)  # values of the superpoints' k beside the usual one


def measured(scene: Scene, k: float) -> dict[str, float]:
    """The figures of one room."""
    superpoints = scene_superpoints(scene, SuperpointConfig(k=k))
    masks = scene_masks(scene, superpoints, MaskConfig())
    quality, small = (mask_quality(masks, scene.instances, min_points=points) for points in (100, 16))
    return {
        "purity": superpoint_purity(superpoints, scene.labels),
        "mean_best_iou": quality["mean_best_iou"],
        "recall50": quality["recall50"],
        "mean_best_iou_16": small["mean_best_iou"],
        "masks": quality["masks"],
        "instances": quality["instances"],
        "superpoints": int(superpoints.max()) + 1,
        "vertices": len(scene),
    }


def rows(name: str, config: MiniConfig, rooms: int, ks: tuple[float, ...] = (0.01,)) -> list[dict[str, Any]]:
    """One row for each k of the same rooms."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        made = replace(config, seed=SEED)
        root = make_mini_scannet(folder, rooms=(rooms, 0, 0), config=made, workers=1, progress=False)
        seconds = (time.process_time() - begin) / rooms
        scenes = [load_scene(path) for path in list_scenes(root, "train")]
        found = []
        for k in ks:
            figures = [measured(scene, k) for scene in scenes]
            means = {key: round(float(np.mean([row[key] for row in figures])), 4) for key in figures[0]}
            options = asdict(config.contents) | to_dict(config.sensor, hashed_only=True)
            keep = ("rare", "clutter", "touching", "annotation", "holes", "noise_floor", "noise_growth")
            options = {key: options[key] for key in keep if key in options}
            found.append(
                {"name": name, "k": k, **options, "rooms": rooms, **means, "seconds_a_room": round(seconds, 2)}
            )
        return found


def variants() -> dict[str, MiniConfig]:
    """The editions, the small one with one option changed, and the large one with one option changed."""
    found = {"small edition": SMALL, "large edition": LARGE}
    surface = replaced(SMALL, {"contents.annotation": "surface"})
    found["small, annotated along the surface"] = surface
    for name, values in {
        "contents.clutter": (2.0, 3.0),
        "contents.touching": (0.5, 1.0),
        "sensor.holes": (0.1, 0.3),
    }.items():
        found |= {
            f"along the surface, {name.split('.')[1]} {value}": replaced(surface, {name: value}) for value in values
        }
    for name, (floor, growth) in list(NOISES.items())[1:]:
        sensor = replace(surface.sensor, noise_floor=floor, noise_growth=growth)
        found[f"along the surface, noise {name}"] = replace(surface, sensor=sensor)
    found["large, annotated by segments"] = replaced(LARGE, {"contents.annotation": "segments"})
    for name, value in {"contents.clutter": 1.0, "contents.touching": 0.0, "sensor.holes": 0.0}.items():
        found[f"large, {name.split('.')[1]} {value}"] = replaced(LARGE, {name: value})
    for name, (floor, growth) in list(NOISES.items())[:2]:
        sensor = replace(LARGE.sensor, noise_floor=floor, noise_growth=growth)
        found[f"large, noise {name}"] = replace(LARGE, sensor=sensor)
    return found


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    report(
        Path(__file__).stem,
        [
            row
            for name, config in variants().items()
            for row in rows(name, config, count, (0.01, *COARSE) if name.endswith("edition") else (0.01,))
        ],
    )
