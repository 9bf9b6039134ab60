"""Where a run was made: versions, device, git commit."""

import datetime
import importlib.metadata
import platform
import subprocess
from typing import Any

import torch

from geoguide.ops.devices import resolve_device
from geoguide.paths import PACKAGE

_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "trimesh", "pgeof", "numba", "transformers")


def environment(device: str = "auto") -> dict[str, Any]:
    """Where a run is made.

    Args:
        device: auto, cpu or cuda.

    Returns:
        `python` and `packages` (versions), `device`, `threads`, `git_commit`, `date`.
    """
    target = resolve_device(device)
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(target) if target.type == "cuda" else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "git_commit": git_commit(),
        "date": datetime.date.today().isoformat(),
    }


def git_commit() -> str | None:
    """The commit of the checkout that this package runs from.

    Returns:
        Its short hash, with '-dirty' where there are local changes; None outside a checkout.
    """
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
