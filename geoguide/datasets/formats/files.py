"""Reading ply, json, matrices and intrinsics so that a broken file gives one line that names it."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.errors import DataError

MINI_STAMP = "mini.json"  # generated data carry this file beside the official ones


def need_file(path: str | Path, what: str) -> Path:
    """`path` as a Path when it is a file; otherwise `DataError`."""
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {what} not found")
    return path


def need_folder(path: str | Path, what: str) -> Path:
    """`path` as a Path when it is a folder; otherwise `DataError`."""
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: {what} not found or not a folder")
    return path


def read_json(path: str | Path, fields: tuple[str, ...]) -> dict:
    """A json object with at least `fields`; truncated or otherwise broken raises `DataError`."""
    path = need_file(path, "json file")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid json, truncated? ({error})") from None
    for field in fields:
        if not isinstance(value, dict) or field not in value:
            raise DataError(f"{path}: field {field!r} is missing")
    return value


def integers(value: Any, path: Path, field: str) -> np.ndarray:
    """A json value as an int64 array; `DataError` naming `field` where it is not a list of integers, not of floats."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.empty(1, dtype=object)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"{path}: {field} must be a list of integers, found {array.dtype}")
    return array.astype(np.int64)


def read_matrix(path: str | Path, shapes: tuple[tuple[int, int], ...], what: str) -> np.ndarray:
    """A text matrix float64 of one of `shapes`; inf and nan are kept (a lost pose)."""
    path = need_file(path, what)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "input contained no data": reported below by shape
            matrix = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {what} is not a matrix of numbers ({error})") from None
    if matrix.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise DataError(f"{path}: {what} must be {expected}, found {list(matrix.shape)}")
    return matrix
