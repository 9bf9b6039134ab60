"""How good masks are that `masks.spoil` made worse: the annotation's and our own, on mini-ScanNet's validation rooms.

    python benchmarks/spoiled_masks.py

Means over the rooms, objects of 100 vertices or more. Nothing is timed. Chapter 15 has the same of a real
room.
"""

from pathlib import Path

import numpy as np
from _measure import report

from geoguide.benchmarks import benchmark
from geoguide.benchmarks.scenes import list_sources
from geoguide.instances.quality import mask_quality
from geoguide.instances.scene_masks import MaskConfig, scene_masks
from geoguide.superpoints import SuperpointConfig, scene_superpoints

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)

if __name__ == "__main__":
    scenes = [source.load() for source in list_sources(benchmark("scannet").generated_data(), "val")]
    superpoints = [scene_superpoints(scene, SuperpointConfig()) for scene in scenes]
    rows = []
    for source in ("annotation", "geometry"):
        for share in SHARES:
            config = MaskConfig(source, spoil=share)
            made = (scene_masks(*pair, config) for pair in zip(scenes, superpoints, strict=True))
            found = [mask_quality(masks, scene.instances) for masks, scene in zip(made, scenes, strict=True)]
            means = {name: round(float(np.mean([row[name] for row in found])), 4) for name in found[0]}
            rows.append({"source": source, "spoil": share, "rooms": len(scenes), **means})
    report(Path(__file__).stem, rows)
