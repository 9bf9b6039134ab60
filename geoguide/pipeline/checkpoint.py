"""Checkpoints of resumable trainings: state dicts of networks and optimizers, and plain values, in one file."""

import pickle
from pathlib import Path
from typing import Any

import torch

from geoguide.errors import DataError
from geoguide.paths import replacing


def save_checkpoint(path: Path, parts: dict[str, Any], **plain: Any) -> None:
    """Write a checkpoint; a kill at any moment leaves the old file or the new one.

    Args:
        path: The file.
        parts: Modules and optimizers by name, of which the state dicts are written.
        plain: Further values by name, of types that `torch.load(weights_only=True)` reads.
    """
    with replacing(path) as temporary:
        torch.save({name: part.state_dict() for name, part in parts.items()} | plain, temporary)


def load_checkpoint(path: Path, parts: dict[str, Any], plain: tuple[str, ...], device: torch.device) -> list[Any]:
    """Read a checkpoint.

    Args:
        path: The file.
        parts: Modules and optimizers by name; their state is restored in place.
        plain: Names of the further values.
        device: Where tensors are put.

    Returns:
        The values named in `plain`, in that order.

    Raises:
        DataError: The file is damaged, lacks something, or is of another network.
    """
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        return [saved[name] for name in plain]
    except (RuntimeError, KeyError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        raise DataError(f"{path}: not a checkpoint of this training ({reason})") from None
