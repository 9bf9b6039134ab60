"""Named scoring protocols: the same network under another protocol gets another number (paper, Reported results)."""

from dataclasses import replace

from geoguide.labels.nuscenes import has_finer_names
from geoguide.pipeline.config import ExperimentConfig, Protocol

# One pass over the cloud as it is; classes that no test scene holds are left out of the mean.
STRICT = Protocol(absent_class="skip")

# What the tables of OpenScene, and of the papers that follow it, are made with, as far as its code tells: its prompt,
# its word for other things, nuScenes through finer names, five passes of the turned and scaled cloud, absent classes
# counted as zero, and in fusion mode points without feature missing from the false negatives.
OPENSCENE = Protocol(
    prompt="a {} in a scene", other="bare", finer_names=True, repeats=5, absent_class="zero", no_feature="openscene"
)

PROTOCOLS = {
    "strict": STRICT,
    "openscene": OPENSCENE,
    "openscene-ensemble": replace(OPENSCENE, mode="ensemble"),  # per point the surer of 3D and 2D: needs the images
}

# From the book's own protocol to `strict` and to `openscene`, one part at a time: how far does each move a number?
STEPS = {
    "this book's default": Protocol(),
    "absent classes left out (strict)": STRICT,
    "OpenScene's prompt": Protocol(prompt=OPENSCENE.prompt, other=OPENSCENE.other),
    "five passes": Protocol(repeats=OPENSCENE.repeats),
    "ensemble": Protocol(mode="ensemble"),
    "openscene": OPENSCENE,
    "openscene-ensemble": PROTOCOLS["openscene-ensemble"],
}


def asks_finely(config: ExperimentConfig) -> bool:
    """Tell whether classes are asked for by the finer names that OpenScene has for them.

    A simulated 2D model says the classes' own names. Any other has words of its own: what it calls a road is nearer to
    "construction vehicle" than to "drivable surface".

    Args:
        config: An experiment.

    Returns:
        Whether its 2D model is no simulated one, and the classes that are scored have finer names (nuScenes).
    """
    simulated = config.image_model is None and config.data.features is None
    return not simulated and has_finer_names(config.tested().data.label_set)


def own_protocol(config: ExperimentConfig) -> Protocol:
    """The book's own protocol, by which trainings are watched, and names told to those that are told any.

    Args:
        config: An experiment.

    Returns:
        The default, with finer names where they are asked for.
    """
    return Protocol(finer_names=asks_finely(config))
