"""Preparation of scenes: scenes per CPU second by benchmark and 2D model, and the share of each stage.

The other side is lifting as it reads, with the features of every pixel made; both give the same lifted features. CPU
time, so that other work on the machine counts little; make the data first (`geoguide data make --dataset NAME`).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _measure import report

from geoguide.benchmarks.scenes import list_sources
from geoguide.datasets.sources import SceneSource
from geoguide.experiments.placing import placed
from geoguide.experiments.presets import adapter_only
from geoguide.lifting import lift
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.stages import Stages, make_teacher
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.registry import open_image_model

STAGES = ("scene", "identity", "arrays", "superpoints", "masks", "geometry", "lifted")
TRAINED = {"scannet": "mini:lseg-mini", "matterport3d": "mini:lseg-mini", "nuscenes": "mini:lseg-streets-mini"}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def of_stages(source: SceneSource, config: ExperimentConfig) -> dict[str, float]:
    """CPU seconds of each stage of a scene that nothing is known of."""
    with tempfile.TemporaryDirectory() as cache:
        stages = Stages(source, config, Path(cache), training=True)
        return {stage: seconds(lambda stage=stage: getattr(stages, stage)) for stage in STAGES}


def of_whole_maps(source: SceneSource, config: ExperimentConfig) -> float:
    """CPU seconds of lifting with the features of every pixel; checked against the stage's."""
    stages = Stages(source, config, training=True)
    scene, lifted, found = stages.scene, stages.lifted, []
    model = config.image_model
    teacher = (
        make_teacher(config, source) if model is None else ImageTeacher(open_image_model(model), batch=model.batch)
    )
    spent = seconds(lambda: found.append(lift(scene, teacher.features(scene), config.lifting)))
    np.testing.assert_array_equal(lifted[0], found[0].mean.astype(np.float16))
    return spent


def row(dataset: str, features: str | None, count: int) -> dict:
    """Medians over some scenes, after one that compiles and loads."""
    config = placed(adapter_only(0), dataset, **({} if features is None else {"features": features}))
    sources = list_sources(config.data, "train")[:count]
    of_stages(sources[0], config)
    told = [of_stages(source, config) for source in sources]
    spent = {stage: float(np.median([each[stage] for each in told])) for stage in STAGES}
    total, whole = sum(spent.values()), float(np.median([of_whole_maps(source, config) for source in sources]))
    return {
        "dataset": f"mini-{dataset}",
        "model": features or "simulated",
        "scenes": len(sources),
        "scenes_per_cpu_second": round(1 / total, 3),
        "share": {stage: round(value / total, 3) for stage, value in spent.items()},
        "lifting_whole_maps_seconds": round(whole, 3),
        "lifting_ratio": round(whole / spent["lifted"], 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    report("preparation", [row(name, model, chosen.scenes) for name in TRAINED for model in (None, TRAINED[name])])
