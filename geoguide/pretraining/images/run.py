"""The whole of a mini 2D model's training, from a config to files: worlds, training, weights, and the record beside."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from geoguide.errors import ConfigError
from geoguide.experiments.environment import environment
from geoguide.experiments.records import dumps
from geoguide.frozen import config_hash, to_dict
from geoguide.paths import alone_beside, working_folder, write_text
from geoguide.pretraining.images.capability import measure_and_save
from geoguide.pretraining.images.config import DenseTrainConfig, GapConfig, WorldsConfig
from geoguide.pretraining.images.loop import ImageTraining, taught_names, train_images
from geoguide.pretraining.images.score import score_held_out
from geoguide.pretraining.images.worlds import identities, load_images
from geoguide.teachers.mini_dense import MiniDenseModel, write_network
from geoguide.teachers.mini_network import DenseNetConfig
from geoguide.text.encoders import text_encoder

FUSED = ("lseg-mini", "openseg-mini")  # of sas-mini
ROOMS = WorldsConfig(gap=GapConfig(faithful=0.6))
# Without, features drift by .32 in views that are right, real networks' by .17 to .19; at .03 views agree too much.
READING = 0.04
STREETS = WorldsConfig(kind="streets", seed=1307, train=60, held_out=10, image_size=(96, 160))
MODELS = {
    "lseg-mini": DenseTrainConfig(worlds=ROOMS, network=DenseNetConfig(finest=1), steps=12_000, reading=READING),
    "openseg-mini": DenseTrainConfig(
        name="openseg-mini", loss="regions", coarse=True, steps=8000, seed=1, reading=READING
    ),
    "lseg-streets-mini": DenseTrainConfig(name="lseg-streets-mini", worlds=STREETS, crop=(80, 128), steps=600),
}


def make_model(
    name: str, out: Path, run_dir: Path, *, steps: int | None = None, until: int | None = None, seed: int = 0
) -> str:
    """Make a packaged 2D model again.

    Args:
        name: One of `MODELS`, or "sas-mini", which has no training of its own.
        out: Its file.
        run_dir: Folder of checkpoints.
        steps: Length of the schedule; None for the packaged model's.
        until: Step to stop at.
        seed: Added to the packaged model's.

    Returns:
        What was made, in a line.

    Raises:
        ConfigError: Steps or a seed for "sas-mini".
        DataError: See `train_images`.
    """
    if name == "sas-mini":
        if steps is not None or until is not None or seed:
            raise ConfigError("sas-mini is measured, not trained: it has no --steps, --until or --seed")
        found = measure_and_save(FUSED, out, ROOMS)
        return f"{out}: capability of {' and '.join(found.models)}, mean IoU {np.mean(found.first + found.second):.3f}"
    config = MODELS[name]
    config = replace(config, steps=steps or config.steps, seed=config.seed + seed)
    result = train_and_save(config, out, run_dir=run_dir, until=until)
    last = result.history[-1]["total"] if result.history else float("nan")
    return f"{out}: step {result.step} of {config.steps}, loss {last:.3f}"


def train_and_save(
    config: DenseTrainConfig, out: Path, *, run_dir: Path | None = None, until: int | None = None, progress: bool = True
) -> ImageTraining:
    """Render the worlds, train, write the weights, and their record beside them.

    Args:
        config: Everything that decides the weights.
        out: The weights' file (.safetensors); the record goes beside it (.json).
        run_dir: Folder of checkpoints, see `train_images`.
        until: Step to stop at, see `train_images`.
        progress: Whether progress bars are shown.

    Returns:
        The network and its history.

    Raises:
        DataError: See `train_images`.
    """
    names = taught_names(config)[0]
    worlds = load_images(config.worlds, "train", progress=progress)
    text = text_encoder("minilm").encode(names)
    result = train_images(config, worlds, text, run_dir=run_dir, until=until, progress=progress)
    used = identities(config.worlds, "train")
    notes = {"config": to_dict(config), "step": result.step, "worlds": used, "names": names}
    with working_folder(out) as folder:  # to score takes minutes, in which no weights lie beside another's record
        weights = folder / out.name
        write_network(weights, result.network, notes)
        said = dumps(record(result, weights, progress=progress))
        with alone_beside(out):
            weights.replace(out)
            write_text(out.with_suffix(".json"), said)
    return result


def record(result: ImageTraining, weights: Path, *, progress: bool = True) -> dict[str, object]:
    """The record beside the weights.

    Args:
        result: What the training has left.
        weights: The file of the weights, which are scored as they were written.
        progress: Whether progress bars are shown.

    Returns:
        Config, how far it got, history (four digits), 2D scores on held-out worlds with the gap and as the benchmark
        draws them, and environment, as JSON types.
    """
    config = result.config
    model = MiniDenseModel(config.name, weights)
    return {
        "id": config_hash(config),
        "name": config.name,
        "source": "mini",
        "config": to_dict(config),
        "step": result.step,
        "finished": result.step == config.steps,
        "sha256": model.identity,
        "scores": score_held_out(model, config.worlds, progress=progress),
        "history": [{name: float(f"{value:.4g}") for name, value in row.items()} for row in result.history],
        "environment": environment(),
    }
