"""Which device a computation runs on."""

import torch

from geoguide.errors import InputError

CPU = torch.device("cpu")


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """The torch device that a name stands for, where it is there.

    Args:
        name: "cpu"; "cuda" or "cuda:N", a GPU; or "auto": the GPU when there is one, else the CPU.

    Returns:
        The device; of a GPU with its number, that of the thread's current one where the name has none. Other threads
        have another current one, and would take their own for "cuda".

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
        name = "cuda" if torch.cuda.is_available() else "cpu"
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
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def take_gpu(number: int) -> None:
    """Make one of several GPUs this thread's own; `resolve_device` then names it.

    Args:
        number: Of the worker, or any that differs between processes; GPUs are given in turn.
    """
    gpus = torch.cuda.device_count()
    if gpus > 1:
        torch.cuda.set_device(number % gpus)


def put(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Put a tensor on a device; from the CPU to a GPU by pinned memory, so that nothing here waits for the copy.

    What is computed there afterwards waits for it: both are in the order of the device's default stream.

    Args:
        tensor: Anywhere.
        device: Where to.

    Returns:
        The tensor there.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
