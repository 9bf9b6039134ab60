"""A ladder of frozen features, from none to the best that this package has (claim C12: do stronger 3D priors help?).

On the small edition of rooms, whose features are weak enough for a ladder. Most of its rows are rows of other chapters
as well, and their records are used again.
"""

from geoguide.experiments import presets
from geoguide.experiments.presets import adapter_only, preset
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


def rung(backbone: str, seed: int, *, modules: bool) -> ExperimentConfig:
    """One rung.

    Args:
        backbone: Whose frozen features.
        seed: Of the training.
        modules: The full works-best preset; False for the adapter alone.

    Returns:
        The experiment on generated rooms.
    """
    if not modules:
        return adapter_only(seed, backbone=backbone)
    full = preset(seed=seed)
    if backbone == presets.DEFAULT_BACKBONE:
        return full
    return full.replace(name=f"{full.name} on {backbone}", backbone__name=backbone)


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
        Rung by rung the adapter with every seed and works-best with few; then the upper bound with few.
    """
    climbed = []
    for backbone in RUNGS:
        climbed += [rung(backbone, seed, modules=False) for seed in presets.SEEDS]
        climbed += [rung(backbone, seed, modules=True) for seed in presets.LONG_SEEDS]
    return climbed + [bound(seed) for seed in presets.LONG_SEEDS]
