"""How far scenes lie from what the packaged model was trained on: rooms, houses, streets, and real recordings.

    python benchmarks/domains.py [FOLDER]

Times nothing. `model.OUT_OF_DOMAIN` is chosen between the real rooms, whose labels are poor but are those of rooms, and
the streets. FOLDER holds real recordings by name: scans in ScanNet's layout, RGB-D folders, LiDAR key frames.
"""

import sys
from pathlib import Path

import torch
from _measure import report

import geoguide
from geoguide.benchmarks import benchmarks
from geoguide.model import OUT_OF_DOMAIN
from geoguide.own_scan import open_scan
from geoguide.pipeline.prepare import scene_sources
from geoguide.pipeline.stages import frozen_features
from geoguide.scene import Scene
from geoguide.students.statistics import feature_distance

SCENES = 8  # of each generated split


def distance(model: geoguide.model.GeoGuideModel, scene: Scene) -> float:
    features = torch.from_numpy(frozen_features(scene, model.backbone, "cpu"))
    return round(feature_distance(features, model.adapter.mean, model.adapter.deviation), 3)


def main() -> None:
    model, rows = geoguide.load("mini"), []
    for there in benchmarks():
        for split in ("train", "test"):
            for source in scene_sources(there.generated_data("small"), split)[:SCENES]:
                rows.append({"kind": f"{there.name}, {split}", "scene": source.name})
                rows[-1]["distance"] = distance(model, source.load())
    for path in sorted(Path(sys.argv[1]).iterdir()) if len(sys.argv) > 1 else ():
        found = sorted(path.rglob("*_vh_clean_2.ply")) or [path]
        for scan in found:
            rows.append({"kind": "real", "scene": scan.name, "distance": distance(model, open_scan(scan).scene)})
    for row in rows:
        row |= {"times_the_farthest": round(row["distance"] / model.farthest, 2)}
        row |= {"warned": row["times_the_farthest"] > OUT_OF_DOMAIN}
    report("domains", rows)


if __name__ == "__main__":
    main()
