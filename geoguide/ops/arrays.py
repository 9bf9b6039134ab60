"""Arguments as numpy arrays and numbers, or one clear `InputError`: the checks that public functions share.

Torch takes a second to import and is not imported here: where nobody has imported it, nothing is a tensor.
"""

import contextlib
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from geoguide.errors import ConfigError, InputError, first_line

if TYPE_CHECKING:
    from torch import Tensor

    Array = np.ndarray | Tensor
else:
    Array = Any
ArrayT = TypeVar("ArrayT", bound=Array)  # of functions that give numpy for numpy, tensors for tensors


def host(name: str, value: Any, kinds: str = "fiu") -> np.ndarray:
    """Bring a value to the CPU as a numpy array, sharing its memory where possible.

    Args:
        name: The argument's name, for the message.
        value: An array, a nested list, or a tensor on any device; bfloat16 becomes float32.
        kinds: The accepted numpy dtype kinds: "fiu" any real number, "iu" integers, "b" truth values.

    Returns:
        The array, of any shape. An empty list is accepted as any kind.

    Raises:
        InputError: Rows of different lengths, or another dtype kind.
    """
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        value = _of_tensor(name, value)
    if np.ma.is_masked(value):
        raise InputError(f"{name} holds {np.ma.count_masked(value)} masked values: leave their rows out")
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{name} must be an array of numbers, found rows of different lengths") from None
    except (TypeError, RuntimeError) as error:  # such as a list of tensors that require a gradient
        raise InputError(f"{name} must be an array of numbers ({first_line(error)})") from None
    if array.dtype.kind not in kinds and not (array.size == 0 and isinstance(value, list | tuple)):
        words = {"fiu": "numbers", "fiub": "numbers", "iu": "integers", "b": "truth values"}.get(
            kinds, f"dtype kind in {kinds!r}"
        )
        raise InputError(f"{name} must hold {words}, found dtype {array.dtype}")
    return array


def _of_tensor(name: str, value: "Tensor") -> np.ndarray:
    """A tensor as a numpy array; `InputError` for one that is sparse, quantized or without data."""
    import torch

    try:
        value = value.detach().cpu().resolve_conj().resolve_neg()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    except (TypeError, RuntimeError):
        found = f"{value.dtype}, {value.layout}, on {value.device}"
        raise InputError(f"{name} must be a plain tensor of numbers, found {found}") from None


def coordinates(
    name: str, value: Any, *, keep_single: bool = False, filled: bool = False, count: int | None = None
) -> np.ndarray:
    """Check points or directions, and bring them to the CPU as finite, C-contiguous float64 [P, 3].

    Args:
        name: The argument's name, for the message.
        value: Real numbers [P, 3], array, nested list or tensor; P may be 0.
        keep_single: float32 stays float32, for code that widens each number as it reads it.
        filled: P must not be 0.
        count: What P must be, where it is known from the points; None for any.

    Returns:
        float64 [P, 3] (or float32, see `keep_single`); `value` itself where it is that already.

    Raises:
        InputError: Another shape or number of rows, no real numbers, nan or inf.
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
    if filled and len(array) == 0:
        raise InputError(f"{name} is empty")
    if count is not None and len(array) != count:
        raise InputError(f"{name} must be [{count}, 3] as points are, found {list(array.shape)}")
    return array


def number(name: str, value: Any, least: float = 0.0) -> float:
    """Check that an argument is a finite number of at least `least`.

    Args:
        name: The argument's name, for the message.
        value: What `float` takes.
        least: The smallest number allowed.

    Returns:
        The number.

    Raises:
        InputError: It is no number, not finite or too small.
    """
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        result = float("nan")
    if not (np.isfinite(result) and result >= least):
        raise InputError(f"{name} must be a finite number >= {least:g}, found {value!r:.80}")
    return result


def whole(name: str, value: Any, least: int) -> int:
    """Check that an argument is a whole number of at least `least`.

    Args:
        name: The argument's name, for the message.
        value: What `float` takes; a float such as 10.0 counts as whole.
        least: The smallest number allowed.

    Returns:
        The number.

    Raises:
        InputError: It is no number, not whole, not finite or too small.
    """
    result = number(name, value, least)
    if result != int(result):
        raise InputError(f"{name} must be a whole number >= {least}, found {value!r}")
    return int(result)


def spread(count: int, number: int) -> np.ndarray:
    """Choose a few of many indices.

    Args:
        count: How many there are.
        number: At most how many are chosen.

    Returns:
        Indices 0..count-1, int64, evenly spread, the first and the last among them.

    Example:
        >>> spread(100, 4).tolist()
        [0, 33, 66, 99]
    """
    return np.unique(np.linspace(0, count - 1, min(number, count)).astype(np.int64))


def image_size(value: Any) -> tuple[int, int]:
    """Check the size of an image.

    Args:
        value: Its height and width, each as `whole` takes it.

    Returns:
        (H, W).

    Raises:
        InputError: Not two whole numbers from 1.
    """
    if np.shape(value) != (2,):
        raise InputError(f"image_size must be (H, W), found {value!r}")
    return whole("image height", value[0], 1), whole("image width", value[1], 1)


@contextlib.contextmanager
def as_config_error(where: str) -> Generator[None]:
    """Say of a number that the checks above refuse that it is part of a config.

    Args:
        where: What the message calls the config, such as "train".

    Yields:
        Nothing; the checks are made within.

    Raises:
        ConfigError: A check within has failed.
    """
    try:
        yield
    except InputError as error:
        raise ConfigError(f"{where}: {error}") from None
