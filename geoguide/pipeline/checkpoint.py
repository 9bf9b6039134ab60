"""Checkpoints of resumable trainings: networks and optimizers by name, beside plain values, in one file."""

import pickle
from pathlib import Path
from typing import Any

import torch

from geoguide.errors import DataError
from geoguide.paths import replacing


def save_checkpoint(path: Path, parts: dict[str, Any], **plain: Any) -> None:
    """Write the state dicts of `parts` (modules, optimizers) and the values `plain`; a kill leaves the old file."""
    with replacing(path) as temporary:
        torch.save({name: part.state_dict() for name, part in parts.items()} | plain, temporary)


def load_checkpoint(path: Path, parts: dict[str, Any], plain: tuple[str, ...], device: torch.device) -> list[Any]:
    """Restore `parts` in place and return the values named `plain`. Raises DataError where the file does not fit."""
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        return [saved[name] for name in plain]
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        raise DataError(f"{path}: not a checkpoint of this training ({reason})") from None
