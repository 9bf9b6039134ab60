"""From a config to files: rooms, pretraining, weights, and the loss curves beside them."""

from pathlib import Path

from tqdm import tqdm

from geoguide.experiments.environment import environment
from geoguide.experiments.records import dumps
from geoguide.frozen import config_hash, to_dict
from geoguide.ops.devices import resolve_device
from geoguide.paths import replacing
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
    """Make and read the rooms (`rooms`: see `make_rooms`), pretrain, write `out` (.safetensors) and its curves (.json).

    The other arguments are `pretrain`'s.
    """
    folders = make_rooms(config, rooms, workers=workers)
    described = config.distillation.describe_weight > 0
    clouds = [read_cloud(f, described=described) for f in tqdm(folders, "read rooms", disable=not progress)]
    result = pretrain(config, clouds, run_dir=run_dir, until=until, device=resolve_device(device), progress=progress)
    used = [identity(folder) for folder in folders]
    result.save(out, used)
    with replacing(out.with_suffix(".json")) as temporary:
        temporary.write_text(dumps(curves(result, used)))
    return result


def curves(result: Pretraining, rooms: list[tuple[int, str, int]]) -> dict[str, object]:
    """The record beside the weights: config, how far it got, rooms, history (four digits), environment."""
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
