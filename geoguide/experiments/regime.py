"""The rows of the large editions, which are to be in the regime of real benchmarks (`report.regime` says how near).

There a 2D model that looks at the images tells less than the frozen features know, and there are scenes enough.
"""

from typing import Any

from geoguide.datasets.config import Edition
from geoguide.experiments import presets
from geoguide.experiments.placing import on, placed
from geoguide.experiments.presets import adapter_only, fusion, pooled, preset
from geoguide.experiments.real_rooms import ORACLES
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.student import student_kind

EDITION: Edition = "large"
FEATURES = {"scannet": "mini:lseg-mini", "matterport3d": "mini:lseg-mini", "nuscenes": "mini:lseg-streets-mini"}
BACKBONES = {
    "scannet": "sonata-mini-5cm+descriptors",
    "matterport3d": "sonata-mini-5cm+descriptors",
    "nuscenes": "sonata-mini-streets+descriptors",
}
# IIRC where the frozen features are longer or wider: at the λ3 of the small edition its gradient would be another.
_SCALED = {"objective__iirc__scale": "norm", "objective__lambda_sim": 1.0}
_MATCHED = {
    "objective__lambda_by": "gradient",
    "objective__lambda_mask": 0.3,
    "objective__lambda_sim": 0.3,
    "objective__iirc__scale": "norm",
}

CONTROLS: dict[str, dict[str, Any]] = {  # of works-best; what each takes away or gives
    "uniform W": presets.UNIFORM_W,
    "permuted geometry": {"objective__iirc__geometry": "permuted"},
    "matched gradients": _MATCHED,
    "true masks and superpoints": ORACLES["true masks and superpoints"],
}


def in_regime(config: ExperimentConfig, dataset: str = "scannet", *, perfect: bool = False) -> ExperimentConfig:
    """An experiment on a large edition.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.
        perfect: Whether a simulated 2D model without a fault, an oracle, takes the place of the trained one.

    Returns:
        The experiment there, on the trained 2D model and the frozen features of that benchmark.

    Raises:
        DataError: The packaged weights are missing.
    """
    if perfect:
        there = on(presets.with_teacher(config, "no fault"), dataset, EDITION)
    else:
        there = placed(config, dataset, features=FEATURES[dataset], edition=EDITION)
    return there.replace(backbone__name=BACKBONES[dataset]) if student_kind(config).frozen else there


def anchors(dataset: str = "scannet") -> list[ExperimentConfig]:
    """What decides whether the modules can matter: what the 2D model tells, what the student learns, what it could.

    Args:
        dataset: The benchmark's name.

    Returns:
        2D fusion, and pooled over superpoints and true instances; per seed the adapter, the same under a perfect 2D
        model, the linear probe of the frozen features, and the adapter taught by labels.
    """
    plain = in_regime(fusion(), dataset)
    rows = [plain, in_regime(fusion(), dataset, perfect=True)]
    rows += [
        plain.replace(name=f"{plain.name}, {pool} mean", protocol__pooled=pool) for pool in ("superpoints", "instances")
    ]
    for seed in presets.LONG_SEEDS:
        taught = (adapter_only(seed), presets.linear_probe(seed), presets.on_labels(adapter_only(seed)))
        rows += [in_regime(config, dataset) for config in taught]
        rows.append(in_regime(adapter_only(seed), dataset, perfect=True))
    return rows


def ablation(dataset: str = "scannet", seeds: tuple[int, ...] = presets.SEEDS) -> list[ExperimentConfig]:
    """Every preset, less its modules one by one, and the controls that decide what a gain means.

    Args:
        dataset: The benchmark's name.
        seeds: Of the trainings.

    Returns:
        The rows, seed by seed: adapter, plain superpoint means, presets with IIRC free of the features' scale (but as
        written where the preset says so), and `CONTROLS`.
    """
    rows = []
    for seed in seeds:
        rows += [adapter_only(seed), pooled(seed)]
        for name in presets.PRESETS:
            changes = {} if name == "as-written" else _SCALED
            rows += [preset(name, drop=drop, seed=seed).replace(**changes) for drop in ("none", "usd", "imr", "iirc")]
        full = preset(seed=seed).replace(**_SCALED)
        rows += [full.replace(name=f"{full.name}, {told}", **changes) for told, changes in CONTROLS.items()]
    return [in_regime(config, dataset) for config in rows]
