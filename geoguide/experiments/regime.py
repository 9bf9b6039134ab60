"""The rows of the large editions, which are to be in the regime of real benchmarks (`report.regime` says how near).

There a 2D model that looks at the images tells less than the frozen features know, and there are scenes enough.
"""

from typing import Any

from geoguide.experiments import presets
from geoguide.experiments.placing import on, placed
from geoguide.pipeline.config import ExperimentConfig

EDITION = "large"
FEATURES = {"scannet": "mini:lseg-mini", "matterport3d": "mini:lseg-mini", "nuscenes": "mini:lseg-streets-mini"}
BACKBONES = {
    "scannet": "sonata-mini-5cm+descriptors",
    "matterport3d": "sonata-mini-5cm+descriptors",
    "nuscenes": "sonata-mini-streets+descriptors",
}
# Of 200 rooms the features of all points are 9 GB; the means over superpoints and masks are exact all the same.
POOLING = {"pooling__means": "exact", "pooling__kept_points": 20_000}
STEPS = {
    "train__steps": 4000,
    "train__evaluate_every": 200,
}  # twice those of the small edition, which has a seventh of the rooms

# What makes works-best's modules comparable across backbones: see `method`. The ratios are shares of the gradient of
# the superpoint and point terms.
TRANSFERRED: dict[str, Any] = {
    "objective__usd__standardise": True,
    "objective__iirc__scale": "norm",
    "objective__lambda_by": "gradient",
}


def in_regime(config: ExperimentConfig, dataset: str = "scannet") -> ExperimentConfig:
    """An experiment on a large edition.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.

    Returns:
        The experiment there, on the trained 2D model and the frozen features of that benchmark.
    """
    there = placed(config, dataset, "mini", FEATURES[dataset], backbone=BACKBONES[dataset], edition=EDITION)
    return there.replace(**POOLING, **STEPS)


def perfect(config: ExperimentConfig, dataset: str = "scannet") -> ExperimentConfig:
    """The same under a perfect 2D model, an oracle.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.

    Returns:
        The experiment there.
    """
    there = on(presets.with_teacher(config, "no fault"), dataset, EDITION)
    return there.replace(backbone__name=BACKBONES[dataset], **POOLING, **STEPS)
