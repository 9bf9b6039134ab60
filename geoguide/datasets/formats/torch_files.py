"""Reading `torch.save` files that hold plain arrays and tensors, without ever running pickled code."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoguide.datasets.formats.files import need_file
from geoguide.errors import DataError

ZIP_MAGIC = b"PK\x03\x04"  # torch's format since 1.6; before, one pickle stream that cannot be mapped


def is_mappable(path: str | Path) -> bool:
    """Whether tensors of the file can be memory-mapped: the zip format, not the one of torch before 1.6."""
    with need_file(path, "torch file").open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def read_torch(path: str | Path, *, mmap: bool = False) -> Any:
    """What `torch.save` wrote: tensors, numpy arrays and numbers in tuples, lists and dictionaries, on the CPU.

    With `mmap` tensors are mapped, not read (only where `is_mappable`). Raises `DataError` for a missing or truncated
    file, and for one that holds anything else, which is not unpickled.
    """
    path = need_file(path, "torch file")
    arrays = np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")}
    rebuild = np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    names = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    names += [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    try:
        with torch.serialization.safe_globals([*arrays, *names]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DataError(f"{path}: not a readable file of plain arrays, truncated? ({reason})") from None
