"""Disk cache of the stages of one scene: memory-mapped arrays in files named by all that decides their content."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.errors import NUMPY_DAMAGES, first_line, pass_on_shortage
from geoguide.ops.block_digest import block_digest
from geoguide.paths import check_writable, replacing, write_text

Arrays = dict[str, np.ndarray]


def settings_digest(settings: object) -> str:
    """Name settings.

    Args:
        settings: JSON types.

    Returns:
        Ten hex digits.
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


class StageCache:
    """The cached stages of one scene, in one folder.

    A stage is a few .npy files and a .json file that lists them, each with its dtype, shape and digest (see
    `ops.block_digest`), so that an array of another scene is not taken for this one's. The list is written last, so
    that a killed run leaves no half-written stage.

    Args:
        folder: The folder; made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, kind: str, settings: object, compute: Callable[[], Arrays], *, write: bool = True) -> Arrays:
        """Return the arrays of a stage; a stage that is missing, unreadable or not its own is computed and written.

        Args:
            kind: Name of the stage, part of the files' names.
            settings: All settings that decide the arrays, as JSON types; hashed into the files' names.
            compute: Called without arguments to compute the arrays.
            write: Whether arrays that had to be computed are written; if not, they are returned as they are.

        Returns:
            The arrays by name, memory-mapped: nothing is read from disk until it is used. In memory where they were
            removed (see `cleaning`) while they were written.

        Raises:
            DataError: They must be computed and cannot be written; found out before they are computed, where it can be.
        """
        stem = f"{kind}-{settings_digest(settings)}"
        index = self.folder / f"{stem}.json"
        if index.is_file():
            try:
                return self._read(stem, json.loads(index.read_text()))
            except NUMPY_DAMAGES as error:
                pass_on_shortage(error, index)
                tqdm.write(f"{index}: cache entry unreadable ({first_line(error)}), computing it again")
        if not write:
            return compute()
        check_writable(self.folder)
        arrays = compute()
        for name, array in arrays.items():
            with replacing(self._file(stem, name)) as temporary:
                np.save(temporary, array)
        try:
            listed = {name: [*_kind(arrays[name]), self._digest(stem, name)] for name in sorted(arrays)}
            write_text(index, json.dumps(listed))
            return {name: self._map(stem, name) for name in arrays}
        except FileNotFoundError:  # `geoguide data clean` ran at this moment
            return arrays

    def _file(self, stem: str, name: str) -> Path:
        return self.folder / f"{stem}.{name}.npy"

    def _read(self, stem: str, listed: object) -> Arrays:
        """The arrays of a stage as the list says; ValueError where a file holds another array than was put there."""
        if not isinstance(listed, (dict, list)) or not listed:
            raise ValueError("its list names no arrays")
        arrays = {name: self._map(stem, name) for name in listed}
        for name, array in arrays.items() if isinstance(listed, dict) else ():  # lists from before 0.6 hold names only
            kind, digest = listed[name][:2], listed[name][2:]
            if kind != _kind(array):
                raise ValueError(f"{name} must be {kind}, found {_kind(array)}")
            if digest not in ([], [self._digest(stem, name)]):  # lists from before 0.8 hold none
                raise ValueError(f"{name} is not what was written here: copied from elsewhere, or edited")
        return arrays

    def _digest(self, stem: str, name: str) -> str:
        path = self._file(stem, name)
        found = path.stat()
        return _digest_once(path, f"{self.folder.name}/{stem}.{name}", found.st_ino, found.st_size, found.st_mtime_ns)

    def _map(self, stem: str, name: str) -> np.ndarray:
        with np.errstate(all="ignore"):  # of a damaged header's shape, which the file is then too short for
            return np.asarray(np.load(self._file(stem, name), mmap_mode="r"))  # a plain array over the mapped file


@functools.lru_cache(maxsize=1 << 16)
def _digest_once(path: Path, place: str, *_: int) -> str:
    """The digest of a file that has not changed since (inode, size and time) is taken once in a process.

    A training opens its scenes again and again, and to digest one takes longer than a step on it.
    """
    return block_digest(path, place).hex()


def _kind(array: np.ndarray) -> list[object]:
    """What the list says of an array: its dtype and shape, as JSON types."""
    return [array.dtype.str, list(array.shape)]
