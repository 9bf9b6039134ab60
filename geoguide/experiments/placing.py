"""Where an experiment takes place: another generated benchmark, a real one, another protocol."""

from dataclasses import replace
from pathlib import Path

from geoguide.backbones.config import BackboneConfig
from geoguide.benchmarks import benchmark
from geoguide.benchmarks.scenes import fused_width
from geoguide.errors import ConfigError, check_known
from geoguide.experiments.presets import DEFAULT_TEACHER, with_teacher
from geoguide.pipeline.config import EvaluationConfig, ExperimentConfig
from geoguide.pipeline.protocols import PROTOCOLS
from geoguide.pipeline.student import student_kind
from geoguide.text.encoders import TextConfig

FAULTS = ("confusion", "bleeding", "partial_view", "drift", "pixel_noise", "background", "parts")

REAL_SCENES = 1201  # training scenes of ScanNet: the unit of an epoch, on all benchmarks so that rows are comparable

TEXT_OF_WIDTH = {384: "minilm", 512: "clip-vit-b32", 768: "clip-vit-l14-336"}  # channels: OpenSeg 768, LSeg 512


def on(config: ExperimentConfig, dataset: str) -> ExperimentConfig:
    """The same experiment on another generated benchmark, 2D model included; its record lies in that one's folder.

    Args:
        config: An experiment on generated rooms.
        dataset: A benchmark's name.

    Returns:
        The experiment there, with the severity of the 2D model's faults that the benchmark asks for.

    Raises:
        ConfigError: An unknown benchmark.
    """
    there = benchmark(dataset)
    faults = {name: there.world.severity * getattr(config.teacher, name) for name in FAULTS}
    return config.replace(
        data=there.generated_data(),
        lifting=there.world.lifting,
        teacher=replace(config.teacher, **faults),
        evaluation__label_sets=there.more_label_sets,
    )


def tested_on(config: ExperimentConfig, dataset: str) -> ExperimentConfig:
    """The network of an experiment, scored on the test scenes of another benchmark (cross-domain, claim C10).

    Args:
        config: What is trained.
        dataset: The other benchmark's name.

    Returns:
        The experiment with another evaluation; its training is the same.

    Raises:
        ConfigError: An unknown benchmark.
    """
    there = benchmark(dataset)
    other = EvaluationConfig(there.more_label_sets, there.generated_data(), there.world.lifting)
    return config.replace(name=f"{config.name} on {dataset}", evaluation=other)


def under_protocol(config: ExperimentConfig, protocol: str) -> ExperimentConfig:
    """The same experiment under a named protocol.

    Args:
        config: An experiment.
        protocol: A key of `PROTOCOLS`.

    Returns:
        The experiment under it; 2D fusion stays fusion.

    Raises:
        ConfigError: An unknown protocol.
    """
    check_known("protocol", protocol, PROTOCOLS)
    mode = "fusion" if config.protocol.mode == "fusion" else PROTOCOLS[protocol].mode
    return config.replace(protocol=replace(PROTOCOLS[protocol], mode=mode))


def placed(
    config: ExperimentConfig,
    dataset: str,
    data: str = "mini",
    features: str = DEFAULT_TEACHER,
    *,
    protocol: str | None = None,
    weights: str | None = None,
) -> ExperimentConfig:
    """An experiment on a benchmark, generated or real: what the command's options of the same names mean.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.
        data: "mini", or the folder of the real data.
        features: On mini data a simulated 2D model, a key of `TEACHERS`; on real data the folder of fused 2D features
            below `data`.
        protocol: A key of `PROTOCOLS`; None for the book's own on mini data, and "openscene" on real data.
        weights: Of Sonata, on real data; None for the hub's.

    Returns:
        The experiment there.

    Raises:
        ConfigError: Something is unknown, or weights are given for mini data.
        DataError: Real data are not there.
    """
    if data != "mini":
        return real(config, dataset, data, features, protocol or "openscene", weights)
    if weights is not None:
        raise ConfigError("weights are Sonata's, for real data; mini data has a backbone of its own")
    config = on(with_teacher(config, features), dataset)
    return config if protocol is None else under_protocol(config, protocol)


def real(
    config: ExperimentConfig, dataset: str, root: str | Path, features: str, protocol: str, weights: str | None = None
) -> ExperimentConfig:
    """The same experiment on a real benchmark with its fused 2D features.

    Steps and points per step are for one GPU and a guess: nobody has run them.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.
        root: Its folder, official layout or OpenScene's.
        features: The name of the features' folder below `root`; their width says whose text is meant (`TEXT_OF_WIDTH`).
        protocol: One of `PROTOCOLS`; fusion stays fusion.
        weights: Of Sonata; None for the hub's.

    Returns:
        The experiment there.

    Raises:
        ConfigError: An unknown benchmark or protocol, or features of another width.
        DataError: Something is not there.
    """
    there = benchmark(dataset)
    config = under_protocol(config, protocol)
    data = there.real_data(root, features)
    width = fused_width(data)
    if width not in TEXT_OF_WIDTH:
        known = ", ".join(map(str, TEXT_OF_WIDTH))
        raise ConfigError(f"data.features: {features} has {width} channels; texts are known for {known}")
    config = config.replace(
        data=data,
        lifting=there.openscene.lifting,
        backbone=BackboneConfig("sonata", weights=weights),
        text=TextConfig(TEXT_OF_WIDTH[width]),
        evaluation__label_sets=there.more_label_sets,
    )
    if student_kind(config).frozen:  # twenty epochs of ScanNet, whatever the benchmark: a guess
        config = config.replace(train__points_per_step=20_000, train__steps=20 * REAL_SCENES)
    else:  # OpenScene's own recipe: 100 epochs of ScanNet
        recipe = there.openscene
        network = {"width": 1.0, "voxel": recipe.voxel, "scenes_per_step": recipe.scenes_per_step}
        steps, openscene = 100 * REAL_SCENES // recipe.scenes_per_step, replace(config.openscene, **network)
        config = config.replace(openscene=openscene, train__learning_rate=1e-4, train__steps=steps)
    return config.replace(train__evaluate_every=config.train.steps // 20, train__checkpoint_every=500)
