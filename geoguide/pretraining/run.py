"""The whole of pretraining, from a config to files: rooms, training, weights, and the loss curves beside them."""

from pathlib import Path

from tqdm import tqdm

from geoguide.experiments.environment import environment
from geoguide.experiments.records import dumps
from geoguide.frozen import config_hash, to_dict
from geoguide.ops.devices import resolve_device
from geoguide.paths import alone_beside, write_text
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.loop import Pretraining, pretrain
from geoguide.pretraining.rooms import identity, make_rooms, read_cloud


def pretrain_and_save(
    config: PretrainConfig,
    out: Path,
    *,
    run_dir: Path | None = None,
    rooms: Path | None = None,
    until: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    progress: bool = True,
) -> Pretraining:
    """Make and read the rooms, pretrain, and write the weights and their curves.

    Args:
        config: Everything that decides the weights.
        out: The weights' file (.safetensors); the curves go beside it (.json).
        run_dir: Folder of checkpoints, see `pretrain`.
        rooms: Folder of the rooms beyond mini-ScanNet's, see `make_rooms`.
        until: Step to stop at, see `pretrain`.
        device: "auto" (a GPU where there is one) or the name of a device.
        workers: Number of processes that make rooms, by default one per core.
        progress: Whether progress bars are shown.

    Returns:
        The encoder and its history.

    Raises:
        InputError: See `pretrain`.
        DataError: See `make_rooms`, `read_cloud` and `pretrain`.
    """
    folders = make_rooms(config, rooms, workers=workers)
    described = config.distillation.describe_weight > 0
    clouds = [read_cloud(f, described=described) for f in tqdm(folders, "read rooms", disable=not progress)]
    result = pretrain(config, clouds, run_dir=run_dir, until=until, device=resolve_device(device), progress=progress)
    used = [identity(folder) for folder in folders]
    with alone_beside(out):
        result.save(out, used)
        write_text(out.with_suffix(".json"), dumps(curves(result, used)))
    return result


def curves(result: Pretraining, rooms: list[tuple[int, str, int]]) -> dict[str, object]:
    """The record beside the weights.

    Args:
        result: What pretraining has left.
        rooms: (seed, split, number) of every room trained on.

    Returns:
        Config, how far it got, rooms, history (four digits) and environment, as JSON types.
    """
    history = [{name: float(f"{value:.4g}") for name, value in row.items()} for row in result.history]
    return {
        "id": config_hash(result.config),
        "name": result.config.name,
        "source": "mini",
        "config": to_dict(result.config),
        "step": result.step,
        "finished": result.step == result.config.steps,
        "rooms": rooms,
        "history": history,
        "environment": environment(),
    }
