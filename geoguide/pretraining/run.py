"""The whole of pretraining, from a config to files: rooms, training, weights, and the loss curves beside them."""

import functools
from pathlib import Path

from tqdm import tqdm

from geoguide.experiments.environment import environment
from geoguide.experiments.records import dumps
from geoguide.frozen import config_hash, to_dict
from geoguide.ops.devices import resolve_device
from geoguide.ops.machine import fitting
from geoguide.ops.workers import worker_pool
from geoguide.paths import alone_beside, write_text
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.loop import Pretraining, pretrain
from geoguide.pretraining.rooms import Identity, identity, make_rooms, read_cloud
from geoguide.pretraining.streets import make_streets, read_sweeps
from geoguide.pretraining.views import Cloud
from geoguide.worlds.jobs import SCENE_MEMORY


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
    """Make and read the rooms or streets, pretrain, and write the weights and their curves.

    Args:
        config: Everything that decides the weights.
        out: The weights' file (.safetensors); the curves go beside it (.json).
        run_dir: Folder of checkpoints, see `pretrain`.
        rooms: Folder of the rooms beyond mini-ScanNet's, see `make_rooms`; or of the streets, see `make_streets`.
        until: Step to stop at, see `pretrain`.
        device: "auto" (a GPU where there is one) or the name of a device.
        workers: Number of processes that make and read rooms; None for as many as cores and memory allow.
        progress: Whether progress bars are shown.

    Returns:
        The encoder and its history.

    Raises:
        InputError: See `pretrain`.
        DataError: See `make_rooms`, `read_cloud`, `read_sweeps` and `pretrain`.
    """
    place = resolve_device(device)
    clouds, used = read_world(config, rooms, workers=workers, progress=progress)
    result = pretrain(config, clouds, run_dir=run_dir, until=until, device=place, progress=progress)
    with alone_beside(out):
        result.save(out, used)
        write_text(out.with_suffix(".json"), dumps(curves(result, used)))
    return result


def read_world(
    config: PretrainConfig, folder: Path | None, *, workers: int | None = None, progress: bool = True
) -> tuple[list[Cloud], list[Identity]]:
    """Make and read what is pretrained on.

    Args:
        config: Which world, and how much of it.
        folder: See `pretrain_and_save`.
        workers: See `pretrain_and_save`.
        progress: Whether a progress bar is shown.

    Returns:
        The clouds, and (seed, split, number) of every room or street.

    Raises:
        DataError: See `pretrain_and_save`.
    """
    described = config.distillation.describe_weight > 0
    streets = config.world == "streets"
    make, read = (make_streets, read_sweeps) if streets else (make_rooms, _read_room)
    folders = make(config, folder, workers=workers)
    read = functools.partial(read, described=described)
    workers = max(1, min(workers or fitting(SCENE_MEMORY, len(folders)), len(folders)))
    told = {"desc": f"read {config.world}", "total": len(folders), "disable": not progress}
    if workers == 1:
        parts = list(tqdm(map(read, folders), **told))
    else:
        with worker_pool(workers) as pool:
            parts = list(tqdm(pool.map(read, folders), **told))
    return [cloud for part in parts for cloud in part], [identity(folder) for folder in folders]


def _read_room(folder: Path, *, described: bool) -> list[Cloud]:
    return [read_cloud(folder, described=described)]


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
