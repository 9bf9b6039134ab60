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
        `python` and `packages` (versions), `device`, `threads`, `git_commit` (of the checkout that this package runs
        from, '-dirty' with local changes; None outside one), `date`.
    """
    target = resolve_device(device)
    command = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(target) if target.type == "cuda" else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "git_commit": commit or None,
        "date": datetime.date.today().isoformat(),
    }
