"""Files, folders, json, text matrices, numbered images: what is missing or broken gives one line that names it."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.errors import NUMPY_DAMAGES, DataError

MINI_STAMP = "mini.json"  # generated data carry this file beside the official ones


def need_file(path: str | Path, what: str) -> Path:
    """Check that a file is there.

    Args:
        path: The file.
        what: What the file is, in words, for the message.

    Returns:
        `path` as a Path.

    Raises:
        DataError: There is no file at `path`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {what} not found")
    return path


def need_folder(path: str | Path, what: str) -> Path:
    """Check that a folder is there.

    Args:
        path: The folder, or a link to it.
        what: What the folder is, in words: the message says its path, then these.

    Returns:
        The folder as a Path.

    Raises:
        DataError: There is nothing at `path`, or a file.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: {what} not found or not a folder")
    return path


def provenance_of(folder: Path) -> str:
    """Tell generated data from real data, as `Scene.provenance` does.

    Args:
        folder: Where generated data would carry the file `mini.json`: the folder of a scene or a house, or the root.

    Returns:
        "mini" where that file is there, else "real".
    """
    return "mini" if (folder / MINI_STAMP).is_file() else "real"


def by_number(images: Iterable[Path]) -> list[Path]:
    """Put the images of a recording, which are named by the number of their frame, in the order of these numbers.

    Args:
        images: Image files in any order, such as 120.jpg.

    Returns:
        The same files: 2.jpg before 10.jpg.

    Raises:
        DataError: A file's name is not a number.
    """
    paths = sorted(images)
    odd = next((path for path in paths if not path.stem.isdecimal()), None)
    if odd is not None:
        raise DataError(f"{odd}: frame files are named by number, as 120.jpg")
    return sorted(paths, key=lambda path: int(path.stem))


def load_json(path: str | Path, what: str) -> Any:
    """Read a json file, whatever it holds.

    Args:
        path: The file, in UTF-8.
        what: What the file is, in words, for the message.

    Returns:
        Its value.

    Raises:
        DataError: The file is missing, truncated or otherwise no json.
    """
    path = need_file(path, what)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid json, truncated? ({error})") from None


def read_json(path: str | Path, fields: tuple[str, ...]) -> dict:
    """Read a json file that holds one object.

    Args:
        path: The file, in UTF-8.
        fields: Names that the object must have.

    Returns:
        The object; it may have more fields.

    Raises:
        DataError: The file is missing, truncated or otherwise no json, or a field is missing.
    """
    value = load_json(path, "json file")
    for field in fields:
        if not isinstance(value, dict) or field not in value:
            raise DataError(f"{path}: field {field!r} is missing")
    return value


def integers(value: Any, path: Path, field: str) -> np.ndarray:
    """Turn a json value into an array of integers.

    Args:
        value: What json holds there: a list of integers, or of such lists.
        path: The json file, for the message.
        field: Where in the file the value stands, in words, for the message.

    Returns:
        The integers, int64, of the value's shape.

    Raises:
        DataError: The value is anything else, such as a list of floats.
    """
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.empty(1, dtype=object)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"{path}: {field} must be a list of integers, found {array.dtype}")
    return array.astype(np.int64)


def read_matrix(path: str | Path, shapes: tuple[tuple[int, int], ...], what: str) -> np.ndarray:
    """Read a matrix from a text file.

    Args:
        path: The file: one row a line, numbers between blanks.
        shapes: The shapes that it may have.
        what: What the matrix is, in words, for the message.

    Returns:
        The matrix, float64; inf and nan in it stay (ScanNet writes lost poses so).

    Raises:
        DataError: The file is missing, holds no numbers or has another shape.
    """
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


def read_npy(path: str | Path, shape: tuple[int, int], what: str) -> np.ndarray:
    """Read a matrix from an `.npy` file.

    Args:
        path: The file; no pickled code in it is run.
        shape: The shape that it must have.
        what: What the matrix is, in words, for the message.

    Returns:
        The matrix, float64; inf and nan in it stay.

    Raises:
        DataError: The file is missing or broken, holds no numbers or has another shape.
    """
    path = need_file(path, what)
    try:
        with np.errstate(all="ignore"):  # of a damaged header's shape
            matrix = np.load(path, allow_pickle=False)
    except NUMPY_DAMAGES as error:
        raise DataError(f"{path}: {what} is not a readable npy file, truncated? ({error})") from None
    if not isinstance(matrix, np.ndarray):
        raise DataError(f"{path}: {what} is not a readable npy file, but an archive")
    if matrix.shape != shape or matrix.dtype.kind not in "fiu":
        raise DataError(f"{path}: {what} must be numbers {list(shape)}, found {matrix.dtype} {list(matrix.shape)}")
    return matrix.astype(np.float64)
