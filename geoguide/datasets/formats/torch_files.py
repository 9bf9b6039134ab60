"""Reading `torch.save` files that hold plain arrays and tensors, without ever running pickled code.

Torch takes a second to import, so that is done when the first file is read: readers of other files do not need it.
"""

import pickle
import re
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray

from geoguide.datasets.formats.files import need_file
from geoguide.errors import DataError, InputError, first_line, no_torch_file, pass_on_shortage
from geoguide.ops.arrays import host

NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")  # numpy types of plain arrays
ZIP_MAGIC = b"PK\x03\x04"  # torch's format since 1.6; before, one pickle stream that cannot be mapped

# What torch raises on damaged files, by which part of the pickle is hit.
DAMAGES = (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError)
DAMAGES += (OverflowError, MemoryError, SystemError, struct.error)
PLAIN = ("float16", "bfloat16", "float32", "float64", "bool", "uint8", "int8", "int16", "int32", "int64")  # of torch
PLAIN += ("uint16", "uint32", "uint64")


def is_mappable(path: str | Path) -> bool:
    """Tell whether the tensors of a file can be memory-mapped.

    Args:
        path: A file that `torch.save` wrote.

    Returns:
        True for the zip format, False for that of torch before 1.6.

    Raises:
        DataError: The file is missing.
    """
    with need_file(path, "torch file").open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def read_torch(path: str | Path, *, mmap: bool = False) -> Any:
    """Read what `torch.save` wrote, if it is tensors, numpy arrays and numbers in tuples, lists and dictionaries.

    Args:
        path: The file.
        mmap: Map the tensors instead of reading them; only for files that `is_mappable` accepts.

    Returns:
        The value, with its tensors on the CPU.

    Raises:
        DataError: The file is missing or truncated, or holds anything else, which is then not unpickled.
    """
    import torch

    path = need_file(path, "torch file")
    arrays = np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in NUMBERS}
    cores = ("core", "_core")  # numpy 1 and numpy 2 write different names for the same two functions
    names = [(multiarray._reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in cores]
    names += [(multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in cores]
    names += [(_no_bytes, "builtins.bytes")]
    try:
        with torch.serialization.safe_globals([*arrays, *names]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is refused in the same breath: TorchScript
            return _whole(torch.load(path, map_location="cpu", weights_only=True, mmap=mmap))
    except (*DAMAGES, pickle.UnpicklingError) as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable file of plain arrays, truncated? ({_reason(error, path)})") from None


def _no_bytes() -> bytes:
    """What an array without values holds; `bytes` itself would give as many as a file asks for."""
    return b""


def _reason(error: Exception, path: Path) -> str:
    """Why torch did not read a file, in one line, without its advice to read it so that code in it is run."""
    if other := no_torch_file(path):
        return other
    if "Unsupported operand" in str(error):
        return "it is pickled in another way than torch.save has by default: save it once more with that"
    refused = re.search(
        r"(Unsupported (?:global|class|type)[^.]*\S+) was not|load (unsupported GLOBAL \S+)", str(error)
    )
    return (
        f"it holds more than plain arrays: {refused[1] or refused[2]}"
        if refused
        else first_line(error).partition(". ")[0]
    )


def _whole(value: Any) -> Any:
    """The value itself; ValueError for a tensor that is no plain array, or that could ask for any memory."""
    import torch

    if isinstance(value, torch.Tensor):
        plain = str(value.dtype).removeprefix("torch.") in PLAIN
        if value.layout != torch.strided or value.is_quantized or value.is_meta or not plain:
            raise ValueError(f"a tensor is {value.dtype} on {value.device}, {value.layout}: expected plain numbers")
        if value.numel() and any(
            size > 1 and step == 0 for size, step in zip(value.shape, value.stride(), strict=True)
        ):
            raise ValueError(f"one value stands for many in a tensor {list(value.shape)}, save it with .contiguous()")
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            _whole(part)
    return value


def as_array(value: Any, path: Path, field: str) -> np.ndarray:
    """Turn a tensor of a file, or an array or number, into an array.

    Args:
        value: What `read_torch` returned, or a part of it: a tensor of any type that holds numbers, also one that
            requires a gradient, or an array, a number or a list of numbers.
        path: The file, for the message.
        field: Name of the part, for the message.

    Returns:
        The array; bfloat16, which numpy does not have, as float32.

    Raises:
        DataError: The value holds no plain numbers.
    """
    try:
        return host(field, value, "fiub")
    except InputError as error:
        raise DataError(f"{path}: {error}") from None
