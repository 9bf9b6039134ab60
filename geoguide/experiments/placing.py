"""Where an experiment takes place: another generated benchmark, a real one, another protocol."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from geoguide.backbones.config import BackboneConfig
from geoguide.benchmarks import benchmark
from geoguide.benchmarks.definition import Benchmark
from geoguide.benchmarks.scenes import fused_width
from geoguide.datasets.config import DataConfig, Edition, Splits
from geoguide.datasets.formats.files import need_folder
from geoguide.errors import ConfigError, check_known, require
from geoguide.experiments.presets import DEFAULT_TEACHER, TEACHERS, with_teacher
from geoguide.pipeline.config import EvaluationConfig, ExperimentConfig
from geoguide.pipeline.pooling import PoolingConfig
from geoguide.pipeline.protocols import PROTOCOLS, asks_finely
from geoguide.pipeline.student import student_kind
from geoguide.teachers.registry import identified, is_spec, parse_spec
from geoguide.teachers.released import space_of_features
from geoguide.text.encoders import TextConfig, text_encoder

FAULTS = ("confusion", "bleeding", "partial_view", "drift", "pixel_noise", "background", "parts")

# Of a large edition: the features of all points of 200 rooms would be 7 GB, means over superpoints and masks are exact
# all the same. Four times the steps for seven times the rooms, at three times the rate: on validation rooms an adapter
# gains 3 points by both (28.5 to 31.7) and has converged; 16,000 at the old rate gain 0.7 more (chapter 07).
LARGE: dict[str, Any] = {
    "pooling": PoolingConfig(means="exact", kept_points=20_000),
    "train__steps": 8000,
    "train__learning_rate": 1e-2,
    "train__evaluate_every": 400,
    "train__checkpoint_every": 400,
}

REAL_SCENES = 1201  # training scenes of ScanNet: the unit of an epoch, on all benchmarks so that rows are comparable


def on(config: ExperimentConfig, dataset: str, edition: Edition = "small") -> ExperimentConfig:
    """The same experiment on another generated benchmark, 2D model included; its record lies in that one's folder.

    Args:
        config: An experiment on generated rooms.
        dataset: A benchmark's name.
        edition: Which of its editions.

    Returns:
        The experiment there, with the severity of the 2D model's faults that the benchmark asks for. On a large edition
        a student on frozen features trains for longer, on 20,000 kept points of each scene and exact means of regions;
        where every point is a superpoint and no module looks at masks, means are those of the batch, which are exact.

    Raises:
        ConfigError: An unknown benchmark.
    """
    there = benchmark(dataset)
    faults = {name: there.world.severity * getattr(config.teacher, name) for name in FAULTS}
    longer = dict(LARGE) if edition == "large" and student_kind(config).frozen else {}
    if longer:
        longer["pooling"] = _exact(config, LARGE["pooling"])
    return config.replace(
        data=there.generated_data(edition),
        lifting=there.world.lifting,
        teacher=replace(config.teacher, **faults),
        evaluation__label_sets=there.more_label_sets,
        **longer,
    )


def _exact(config: ExperimentConfig, pooling: PoolingConfig) -> PoolingConfig:
    """Means of regions over all points of the scene, not over those of the batch.

    Not where every point is a superpoint and no module looks at masks: the batch's own are exact there, and every
    feature would be kept once more, as float32.
    """
    alone = config.superpoints.method == "points" and not config.objective.modules
    return replace(pooling, means="sampled" if alone else "exact")


def tested_on(config: ExperimentConfig, dataset: str, edition: Edition | None = None) -> ExperimentConfig:
    """The network of an experiment, scored on the test scenes of another benchmark (cross-domain, claim C10).

    Args:
        config: What is trained.
        dataset: The other benchmark's name.
        edition: Which of its editions; None for the one that is trained on.

    Returns:
        The experiment with another evaluation; its training is the same.

    Raises:
        ConfigError: An unknown benchmark.
    """
    there = benchmark(dataset)
    data = there.generated_data(edition or config.data.edition)
    other = EvaluationConfig(there.more_label_sets, data, there.world.lifting)
    return _finely(config.replace(name=f"{config.name} on {dataset}", evaluation=other))


def _finely(config: ExperimentConfig) -> ExperimentConfig:
    """The experiment scored by finer names, where the book asks for them."""
    return config.replace(protocol__finer_names=True) if asks_finely(config) else config


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
    splits: Splits | None = None,
    text: str | None = None,
    backbone: str | None = None,
    steps: int | None = None,
    edition: Edition = "small",
    prompt: str | None = None,
) -> ExperimentConfig:
    """An experiment on a benchmark, generated or real: what the command's options of the same names mean.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.
        data: "mini", or the folder of the real data.
        features: A 2D model that looks at the images, as `teachers.registry` names them; it is opened now. Else, on
            mini data, a simulated 2D model, a key of `TEACHERS`; on real data the folder of fused features in `data`,
            or "none": scenes without 2D features, which can be scored and not learned from.
        protocol: A key of `PROTOCOLS`; None for the book's own on mini data, and "openscene" on real data.
        weights: Of the backbone that is named, or of Sonata on real data; None for the packaged ones, or the hub's.
        splits: Which scenes, by name; None for the benchmark's own splits.
        text: The text space, one of `text.encoders.ENCODERS`; None for the 2D model's own, or the one that the width of
            fused features suggests.
        backbone: A frozen backbone; None for the packaged one on mini data, and Sonata on real data.
        steps: Of the training; None for the experiment's own on mini data, and twenty epochs of ScanNet on real data.
        edition: Of the generated data; real data have none.
        prompt: What class names are put into (see `Protocol.prompt`); None for the protocol's.

    Returns:
        The experiment there.

    Raises:
        InputError: `data` names nothing.
        ConfigError: Something is unknown or does not fit the rest.
        DataError: Real data, or files of the 2D model, are not there.
    """
    require(data and isinstance(data, (str, Path)), f"data must be 'mini' or a folder of real data, found {data!r}")
    if data != "mini":
        if edition != "small":
            raise ConfigError(f"editions are of mini data; found {edition} of {data}")
        chosen = {"weights": weights, "splits": splits, "text": text, "backbone": backbone, "steps": steps}
        return _prompted(real(config, dataset, data, features, protocol or "openscene", **chosen), prompt)
    if weights is not None and backbone is None:
        raise ConfigError("weights are those of a backbone that is named, or Sonata's; mini data has one of its own")
    if is_spec(features):
        config = _finely(with_image_model(on(config, dataset, edition), features, text))
    elif text is not None and text != config.text.encoder:
        raise ConfigError(f"text must be {config.text.encoder}, the space of {features}, found {text}")
    else:
        config = on(with_teacher(config, features), dataset, edition)
    config = config.replace(data__splits=splits)
    if backbone is not None:
        config = config.replace(backbone=BackboneConfig(backbone, weights=weights))
    if steps is not None:
        config = config.replace(train__steps=steps)
    return _prompted(config if protocol is None else under_protocol(config, protocol), prompt)


def _prompted(config: ExperimentConfig, prompt: str | None) -> ExperimentConfig:
    """The experiment with another prompt, if any."""
    return config if prompt is None else config.replace(protocol__prompt=prompt)


def with_image_model(config: ExperimentConfig, spec: str, text: str | None = None) -> ExperimentConfig:
    """The same experiment on the features of a 2D model that looks at the images.

    Args:
        config: An experiment.
        spec: The model, as `teachers.registry` names them; it is opened, so that the record has its true name.
        text: The text space that is asked for; None for the model's own.

    Returns:
        The experiment, in the model's text space.

    Raises:
        ConfigError: As `open_image_model`.
        DataError: As `open_image_model`.
    """
    model = identified(parse_spec(spec, None if text is None else TextConfig(text)))
    return config.replace(name=f"{config.name}, {model.name}", image_model=model, text=model.space)


def real(
    config: ExperimentConfig,
    dataset: str,
    root: str | Path,
    features: str,
    protocol: str,
    weights: str | None = None,
    *,
    splits: Splits | None = None,
    text: str | None = None,
    backbone: str | None = None,
    steps: int | None = None,
) -> ExperimentConfig:
    """The same experiment on a real benchmark with real 2D features.

    Steps and points per step are for one GPU and a guess: nobody has run them.

    Args:
        config: An experiment on generated rooms.
        dataset: The benchmark's name.
        root: Its folder, official layout or OpenScene's.
        features: A 2D model, as in `placed`; or the name of the folder of fused features below `root`, whose name or
            width tells the text space where that is not chosen (`space_of_features`); or "none".
        protocol: One of `PROTOCOLS`; fusion stays fusion.
        weights: Of the backbone; None for the packaged ones, or the hub's.
        splits: As in `placed`.
        text: As in `placed`.
        backbone: As in `placed`.
        steps: As in `placed`.

    Returns:
        The experiment there.

    Raises:
        ConfigError: An unknown benchmark or protocol, a simulated 2D model, or features of another width than the text.
        DataError: Something is not there.
    """
    there = benchmark(dataset)
    if features in TEACHERS:
        need_folder(root, "data root")  # what is wrong first
        what = "a 2D model that looks at images, a folder of fused features inside the data, or none to score without"
        raise ConfigError(f"features of real data: expected {what}; {features} is simulated, of mini data")
    config = under_protocol(config, protocol)
    config = config.replace(
        lifting=there.openscene.lifting,
        backbone=BackboneConfig(backbone or "sonata", weights=weights),
        evaluation__label_sets=there.more_label_sets,
    )
    if is_spec(features):
        data = replace(there.real_data(root, None), splits=splits)
        config = with_image_model(config.replace(data=data), features, text)
    else:
        data = replace(there.real_data(root, None if features == "none" else features), splits=splits)
        config = config.replace(data=data, text=_text_of(data, text, config.text))
    return _with_real_training(config, there, steps)


def _text_of(data: DataConfig, chosen: str | None, plain: TextConfig) -> TextConfig:
    """Whose text fused features are compared with: the chosen one, else what their name or width suggests."""
    if data.features is None:
        return TextConfig(chosen) if chosen else plain
    width = fused_width(data)
    text = TextConfig(chosen) if chosen else space_of_features(data.features, width)
    encoder = text_encoder(text.encoder, text.weights)
    if encoder.width != width:
        found = f"text {text.encoder} has {encoder.width}"
        raise ConfigError(f"data.features: {data.features} has {width} channels, {found}")
    return text


def _with_real_training(config: ExperimentConfig, there: Benchmark, steps: int | None) -> ExperimentConfig:
    """The training on real scenes, of so many steps."""
    if student_kind(config).frozen:  # twenty epochs of ScanNet, whatever the benchmark: a guess
        config = config.replace(train__points_per_step=20_000, train__steps=steps or 20 * REAL_SCENES)
        config = config.replace(pooling=_exact(config, config.pooling))  # few points of a superpoint are in a batch
    else:  # OpenScene's own recipe: 100 epochs of ScanNet
        recipe = there.openscene
        network = {"width": 1.0, "voxel": recipe.voxel, "scenes_per_step": recipe.scenes_per_step}
        openscene = replace(config.openscene, **network)
        epochs = 100 * REAL_SCENES // recipe.scenes_per_step
        config = config.replace(openscene=openscene, train__learning_rate=1e-4, train__steps=steps or epochs)
    return config.replace(train__evaluate_every=max(1, config.train.steps // 20), train__checkpoint_every=500)
