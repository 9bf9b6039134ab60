"""Arguments as numpy arrays and numbers, or one clear `InputError`: the checks that every public entry shares."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoguide.errors import InputError

Array = np.ndarray | Tensor


def host(name: str, value: Any, kinds: str = "fiu") -> np.ndarray:
    """`value` (array, nested list or tensor on any device) as a numpy array, shared where possible.

    `kinds` are the accepted numpy dtype kinds: "fiu" any real number, "iu" integers, "b" truth values. Raises
    InputError naming the argument.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{name} must be an array of numbers, found rows of different lengths") from None
    if array.dtype.kind not in kinds and not (array.size == 0 and isinstance(value, list | tuple)):
        words = {"fiu": "numbers", "iu": "integers", "b": "truth values"}.get(kinds, f"dtype kind in {kinds!r}")
        raise InputError(f"{name} must hold {words}, found dtype {array.dtype}")
    return array


def coordinates(name: str, value: Any, *, keep_single: bool = False) -> np.ndarray:
    """Finite float64 [P, 3], C-contiguous, shared where `value` is that already. P may be 0.

    keep_single: float32 stays float32 (for code that widens each number as it reads it). Raises InputError.
    """
    array = host(name, value)
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"{name} must be [P, 3], found {list(array.shape)}")
    array = np.ascontiguousarray(array, dtype=array.dtype if keep_single and array.dtype == np.float32 else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        clean = np.isfinite(array.sum())  # fast; where the sum alone overflows, every number is looked at below
    if not clean and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        raise InputError(f"{name} holds nan or inf in {bad} of {len(array)} rows")
    return array


def number(name: str, value: Any, least: float = 0.0) -> float:
    """A finite float >= least."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = float("nan")
    if not (np.isfinite(result) and result >= least):
        raise InputError(f"{name} must be a finite number >= {least:g}, found {value!r}")
    return result


def whole(name: str, value: Any, least: int) -> int:
    """An int >= least; a float such as 10.0 counts as one."""
    result = number(name, value, least)
    if result != int(result):
        raise InputError(f"{name} must be a whole number >= {least}, found {value!r}")
    return int(result)
