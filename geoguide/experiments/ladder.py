"""A ladder of frozen features, from none to the best that this package has (claim C12: do stronger 3D priors help?).

On the small edition of rooms, whose features are weak enough for a ladder. Most of its rows are rows of other chapters
as well, and their records are used again.
"""

from collections.abc import Sequence
from dataclasses import replace

from geoguide.experiments import presets
from geoguide.experiments.presets import adapter_only, preset
from geoguide.method.objective import MODULES
from geoguide.pipeline.config import ExperimentConfig

TENTH = "sonata-mini-tenth"

# From the weakest to the strongest as their making has it (whether scores agree is the question), and the row of
# results/backbones/probe.json that probes each.
RUNGS = {
    "sonata-mini-untrained": "random",
    "descriptors": "descriptors",
    TENTH: "sonata-mini-tenth",
    "sonata-mini": "sonata-mini",
    "sonata-mini+descriptors": "sonata-mini+descriptors",
}
WEAKER = ("sonata-mini-untrained", TENTH)  # than the default backbone, by the length of their pretraining alone
BOUND_PROBE = "supervised"  # the same network trained on labels


def rung(backbone: str, seed: int, modules: Sequence[str] = MODULES) -> ExperimentConfig:
    """One rung.

    Args:
        backbone: Whose frozen features.
        seed: Of the training.
        modules: Those of the works-best preset that correct the 2D features; none: the adapter alone.

    Returns:
        The experiment on generated rooms.
    """
    if not modules:
        return adapter_only(seed, backbone=backbone)
    row = preset(drop="+".join(m for m in MODULES if m not in modules) or "none", seed=seed)
    if backbone == presets.DEFAULT_BACKBONE:
        return row
    return row.replace(name=f"{row.name} on {backbone}", backbone__name=backbone)


def balanced(backbone: str, seed: int, modules: Sequence[str] = MODULES) -> ExperimentConfig:
    """One rung with the losses weighed as on the large edition, by gradient.

    IIRC's raw λ means another strength on other frozen features (its loss grows as the fourth power of their norm):
    beside `rung`, this tells what they know from how large they are.

    Args:
        backbone: Whose frozen features.
        seed: Of the training.
        modules: As of `rung`, one at least.

    Returns:
        The experiment on generated rooms.
    """
    row = rung(backbone, seed, modules)
    weighed = replace(presets.LARGE_PRESETS["works-best"], modules=row.objective.modules)
    return row.replace(name=f"{row.name}, weights by gradient", objective=weighed)


def bound(seed: int) -> ExperimentConfig:
    """The supervised upper bound: the adapter on the default features, taught by annotation.

    Args:
        seed: Of the training.

    Returns:
        The oracle.
    """
    return presets.on_labels(adapter_only(seed))


def rows() -> list[ExperimentConfig]:
    """Every row of the ladder.

    Returns:
        Rung by rung the adapter with every seed and works-best with few; the upper bound with few; then on every rung
        works-best and IIRC alone with weights by gradient, and each module alone, with few.
    """
    climbed = []
    for backbone in RUNGS:
        climbed += [rung(backbone, seed, ()) for seed in presets.SEEDS]
        climbed += [rung(backbone, seed) for seed in presets.LONG_SEEDS]
    climbed += [bound(seed) for seed in presets.LONG_SEEDS]
    weighed = [(backbone, modules) for modules in (MODULES, ("iirc",)) for backbone in RUNGS]
    climbed += [balanced(backbone, seed, modules) for backbone, modules in weighed for seed in presets.LONG_SEEDS]
    alone = [(backbone, module) for backbone in RUNGS for module in MODULES]
    return climbed + [rung(backbone, seed, (module,)) for backbone, module in alone for seed in presets.LONG_SEEDS]
