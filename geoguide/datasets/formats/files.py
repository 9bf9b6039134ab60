"""Files, folders, json, text matrices, numbered images: what is missing or broken gives one line that names it."""

import itertools
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.errors import NUMPY_DAMAGES, DataError, first_line, pass_on_shortage
from geoguide.text_files import need_file, parse_json, read_text

LARGEST = 2**63 - 1  # of 64 bits
MINI_STAMP = "mini.json"  # generated data carry this file beside the official ones
# What file managers leave in folders, beside hidden files (macOS writes ._NAME and .DS_Store); in lower case.
JUNK = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx")
LOOKED = 1000  # folders that are looked into, at most, where the right one may lie near the one that was named
# How Windows programs print what is not finite, old ones as -1.#IND, newer ones as -nan(ind).
MSVC = re.compile(r"(\s|^)[+-]?(?:1\.#[A-Z]+\d*|nan\([a-z]+\))", re.ASCII)
JSON_NAMES: dict[type, str] = {
    **{dict: "an object", list: "a list", str: "text"},
    **{int: "a whole number", bool: "true or false", float: "a number with a fraction"},
}


def need_folder(path: str | Path, what: str) -> Path:
    """Check that a folder is there.

    Args:
        path: The folder, or a link to it.
        what: What the folder is, in words: the message says its path, then these.

    Returns:
        The folder as a Path that ends in its name, which scenes and their files are called by: `.` has none.

    Raises:
        DataError: There is nothing at `path`, or a file, or it may not be read.
    """
    path = Path(path)
    path = Path(os.path.abspath(path)) if path.name in ("", "..") else path
    try:
        if not path.is_dir():
            raise DataError(f"{path}: {what} not found or not a folder")
        with os.scandir(path):
            return path
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read ({error.strerror})") from None


def provenance_of(folder: Path) -> str:
    """Tell generated data from real data, as `Scene.provenance` does.

    Args:
        folder: Where generated data would carry the file `mini.json`: the folder of a scene or a house, or the root.

    Returns:
        "mini" where that file is there, else "real".
    """
    return "mini" if (folder / MINI_STAMP).is_file() else "real"


def listed(folder: str | Path, pattern: str = "*", suffixes: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """List the files of a folder, without what file managers leave behind: hidden files, Thumbs.db and their like.

    Args:
        folder: The folder; where there is none, nothing is listed.
        pattern: As `Path.glob` takes it.
        suffixes: Endings of file names that are listed, such as ".jpg", in lower case; those in upper case count as
            the same. Without any, all are.

    Returns:
        Paths in natural order: numbers in names count as numbers, so frame-2 comes before frame-10.

    Raises:
        DataError: The folder is there and may not be read.
    """
    if os.path.isdir(folder):
        need_folder(folder, "folder")  # `glob` finds nothing in one that may not be read
    found = (path for path in Path(folder).glob(pattern) if not any(map(is_junk, path.relative_to(folder).parts)))
    kept = (path for path in found if path.is_file() and (not suffixes or path.suffix.lower() in suffixes))
    return tuple(sorted(kept, key=natural_order))


def is_junk(name: str) -> bool:
    """Tell whether a file is there for a file manager's sake only.

    Args:
        name: Its name.

    Returns:
        Whether it is hidden, or one of `JUNK`.

    Example:
        >>> is_junk("._0.jpg"), is_junk("Thumbs.db"), is_junk("0.jpg")
        (True, True, False)
    """
    return name.startswith(".") or name.lower() in JUNK


def near_folders(folder: Path, holds: Callable[[Path], bool], above: Callable[[Path], bool] | None = None) -> str:
    """Say which folders near one that was named hold what is missed in it: up to two levels below, four above.

    Args:
        folder: The one that was named.
        holds: Whether a folder holds what is missed.
        above: The same of folders above, where more may lie than belongs to the one that was named; None: as `holds`.

    Returns:
        What is put behind the message, with a semicolon before it; empty where none near holds it.
    """
    there = Path(os.path.abspath(folder))
    inside = _folders_in([there])
    found = [path for path in inside if holds(path)] or [path for path in _folders_in(inside) if holds(path)]
    readable = (path for path in there.parents[:4] if os.access(path, os.R_OK | os.X_OK))
    over = next((path for path in reversed([*readable]) if (above or holds)(path)), None)
    named = ", ".join(str(path.relative_to(there)) for path in found[:3]) + ", ..." * (len(found) > 3)
    return f"; its folders hold some: {named}" * bool(found) + f"; a folder above holds some: {over}" * bool(over)


def _folders_in(folders: Iterable[Path]) -> list[Path]:
    """The first of the folders in some, sorted, without a file manager's and without those that may not be read."""
    paths = (path for folder in folders for path in sorted(folder.glob("*/")) if not is_junk(path.name))
    return list(itertools.islice((path for path in paths if os.access(path, os.R_OK | os.X_OK)), LOOKED))


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Key that sorts paths with the numbers in them as numbers.

    Args:
        path: The path.

    Returns:
        The key; of equal ones, such as 1 and 01, the text decides.

    Example:
        >>> sorted(map(Path, ("f-10", "f-9", "f")), key=natural_order) == [Path("f"), Path("f-9"), Path("f-10")]
        True
    """
    parts = re.findall(r"([0-9]+)|([^0-9]+)", str(path))
    return [(int(number), "") if number else (-1, text) for number, text in parts], str(path)


def by_number(images: Iterable[Path]) -> list[Path]:
    """Put the images of a recording, which are named by the number of their frame, in the order of these numbers.

    Args:
        images: Image files in any order, such as 120.jpg.

    Returns:
        The same files: 2.jpg before 10.jpg.

    Raises:
        DataError: A file's name is not a number, or two have the same.
    """
    paths = sorted(path for path in images if not is_junk(path.name))
    odd = next((path for path in paths if not path.stem.isdecimal()), None)
    if odd is not None:
        raise DataError(f"{odd}: frame files are named by number, as 120.jpg")
    paths.sort(key=lambda path: int(path.stem))
    for before, path in itertools.pairwise(paths):
        if int(before.stem) == int(path.stem):
            raise DataError(f"{path}: a second image of frame {int(path.stem)}, beside {before.name}")
    return paths


def load_json(path: str | Path, what: str) -> Any:
    """Read a json file, whatever it holds.

    Args:
        path: The file.
        what: What the file is, in words, for the message.

    Returns:
        Its value.

    Raises:
        DataError: The file is missing, truncated or otherwise no json.
    """
    return parse_json(read_text(path, what), path)


def read_json(path: str | Path, fields: Iterable[str] | Mapping[str, type]) -> dict:
    """Read a json file that holds one object.

    Args:
        path: The file.
        fields: Names that the object must have; a mapping also says which type the value of each must be, as
            `need_type` takes it.

    Returns:
        The object; it may have more fields.

    Raises:
        DataError: The file is missing, truncated or otherwise no json, or a field is missing or of another type.
    """
    value = load_json(path, "json file")
    for field in fields:
        if not isinstance(value, dict) or field not in value:
            raise DataError(f"{path}: field {field!r} is missing")
        if isinstance(fields, Mapping):
            need_type(value[field], fields[field], f"{path}: field {field!r}")
    return need_type(value, dict, f"{path}: the file")


def need_type(value: Any, kind: type, where: str) -> Any:
    """Check what a json value is.

    Args:
        value: The value.
        kind: list, dict, str, int or bool; true and false are no whole numbers.
        where: Where the value stands, for the message: file and field.

    Returns:
        The value.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        found = "null" if value is None else f"{JSON_NAMES.get(type(value), 'another value')} ({value!r:.40})"
        raise DataError(f"{where} must be {JSON_NAMES[kind]}, found {found}")
    return value


def integers(value: Any, path: Path, field: str) -> np.ndarray:
    """Turn a json value into a vector of integers.

    Args:
        value: What json holds there: a list of integers.
        path: The json file, for the message.
        field: Where in the file the value stands, in words, for the message.

    Returns:
        The integers, int64 [n].

    Raises:
        DataError: The value is anything else, such as a list of floats, of lists or of numbers beyond 64 bits.
    """
    entries = need_type(value, list, f"{path}: {field}")
    if not set(map(type, entries)) <= {int}:  # true is no number here, which numpy would make 1
        place = next(place for place, entry in enumerate(entries) if type(entry) is not int)
        where = f"{path}: {field}: entry {place} (counted from 0)"
        need_type(entries[place], int, where)
    try:
        return np.array(entries, dtype=np.int64)
    except OverflowError:
        beyond = next(entry for entry in entries if not -LARGEST - 1 <= entry <= LARGEST)
        raise DataError(f"{path}: {field} must be integers of 64 bits, found {beyond}") from None


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
    try:
        with warnings.catch_warnings():
            # "input contained no data": reported below by shape; and of its encoding, which numbers do not depend on:
            # a recording has a pose for every frame.
            warnings.simplefilter("ignore", UserWarning)
            lines = MSVC.sub(r"\1nan", read_text(path, what)).split("\n")
            matrix = np.loadtxt(lines, dtype=np.float64, ndmin=2)
    except ValueError as error:
        reason = first_line(error).partition("; use")[0]  # what follows is advice to who writes the program
        raise DataError(f"{path}: {what} is not a matrix of numbers ({reason})") from None
    if matrix.shape not in shapes:
        expected = " or ".join(str(list(shape)) for shape in shapes)
        raise DataError(f"{path}: {what} must be {expected}, found {list(matrix.shape)}")
    return matrix


def load_npy(path: str | Path, what: str) -> np.ndarray:
    """Read an `.npy` file.

    Args:
        path: The file; no pickled code in it is run.
        what: What the array is, in words, for the message.

    Returns:
        The array, of any shape and dtype.

    Raises:
        DataError: The file is missing or broken, or no array.
    """
    path = need_file(path, what)
    try:
        with np.errstate(all="ignore"):  # of a damaged header's shape
            array = np.load(path, allow_pickle=False)
    except NUMPY_DAMAGES as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: {what} is not a readable npy file, truncated? ({error})") from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: {what} is not a readable npy file, but an archive")
    return array


def read_npy(path: str | Path, shape: tuple[int, int], what: str) -> np.ndarray:
    """Read a matrix from an `.npy` file.

    Args:
        path: The file; no pickled code in it is run.
        shape: The shape that it must have.
        what: What the matrix is, in words, for the message.

    Returns:
        The matrix, float64; inf and nan in it stay.

    Raises:
        DataError: As `load_npy`, or it holds no numbers or has another shape.
    """
    path, matrix = Path(path), load_npy(path, what)
    if matrix.shape != shape or matrix.dtype.kind not in "fiu":
        raise DataError(f"{path}: {what} must be numbers {list(shape)}, found {matrix.dtype} {list(matrix.shape)}")
    return matrix.astype(np.float64)
