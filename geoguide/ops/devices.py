"""Which device a computation runs on."""

import torch


def resolve_device(name: str = "auto") -> torch.device:
    """'auto' is the GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
