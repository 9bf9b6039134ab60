"""Which device a computation runs on."""

import torch


def resolve_device(name: str = "auto") -> torch.device:
    """The torch device that a name stands for.

    Args:
        name: A device that torch knows, or "auto": the GPU when there is one, else the CPU.

    Returns:
        The device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
