"""Which device a computation runs on."""

import torch

from geoguide.errors import InputError


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The torch device that a name stands for, where it is there.

    Args:
        name: "cpu"; "cuda" or "cuda:N", a GPU; or "auto": the GPU when there is one, else the CPU.

    Returns:
        The device.

    Raises:
        InputError: Another name, or a GPU that is not there.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
        >>> resolve_device("gpu")
        Traceback (most recent call last):
        geoguide.errors.InputError: device must be auto, cpu, cuda or cuda:N, found 'gpu'
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index is not None):
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, found {str(name)!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "this torch is a CPU build" if torch.version.cuda is None else "no GPU is visible"
        raise InputError(f"device {str(name)!r}: {why}; take auto or cpu")
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise InputError(f"device {str(name)!r}: there are {torch.cuda.device_count()} GPUs, numbered from 0")
    return device
