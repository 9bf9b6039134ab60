"""Where data, caches, runs and results lie: one rule, the same from any working folder; and safe writing of files.

A *clone* is a checkout of this repository that the package runs from: everything lies in its own `data/`, `runs/` and
`results/`. An installed package keeps all of it in the user's cache folder (`$XDG_CACHE_HOME/geoguide`, by default
`~/.cache/geoguide`). `$GEOGUIDE_DATA` names another folder for data, caches and runs, `$GEOGUIDE_RESULTS` one for
results. Nothing is ever written into the working folder unless a caller names a file there.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from geoguide import locks
from geoguide.errors import DataError

MAKING = ".making-"  # what the names of working folders begin with
LOCK = ".making-lock"  # the file in each that is locked
SHOWN = 50  # characters of a file's name in that of its working folder: 255 bytes must hold it
BLOCK = 4096  # bytes: a disk with less than one block free is full

PACKAGE = Path(__file__).resolve().parent
WEIGHTS = PACKAGE / "weights"  # what is shipped with the package


def clone() -> Path | None:
    """The top folder of the checkout that this package runs from; None where the package was installed.

    Returns:
        The folder that holds `geoguide/` beside this project's `pyproject.toml` and `notebooks/`, or None.
    """
    top = PACKAGE.parent
    return top if (top / "pyproject.toml").is_file() and (top / "notebooks").is_dir() else None


def data_root() -> Path:
    """The folder of generated data and caches; it need not exist.

    Returns:
        `$GEOGUIDE_DATA`; else `data/` of the clone; else the user's cache folder.
    """
    named, top = os.environ.get("GEOGUIDE_DATA"), clone()
    if named:
        return Path(named)
    return _user_cache() if top is None else top / "data"


def cache_root() -> Path:
    """The folder of what can be computed again: prepared scenes, text embeddings.

    Returns:
        `cache/` in `data_root()`.
    """
    return data_root() / "cache"


def runs_root() -> Path:
    """The folder of checkpoints, trained models and reports.

    Returns:
        `runs/` of the clone, or, where `$GEOGUIDE_DATA` is set or the package was installed, `runs/` in `data_root()`.
    """
    top = clone()
    return data_root() / "runs" if top is None or os.environ.get("GEOGUIDE_DATA") else top / "runs"


def checkpoints_root() -> Path:
    """The folder of the checkpoints of trainings, from which interrupted ones go on.

    Experiments that differ in scoring alone share theirs.

    Returns:
        `checkpoints/` in `runs_root()`, wherever that lies.
    """
    return runs_root() / "checkpoints"


def results_root() -> Path:
    """The folder of the records.

    Returns:
        `$GEOGUIDE_RESULTS`; else `results/` of the clone (the committed records); else `results/` in `data_root()`.
    """
    named, top = os.environ.get("GEOGUIDE_RESULTS"), clone()
    if named:
        return Path(named)
    return (data_root() if top is None else top) / "results"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geoguide"


@contextlib.contextmanager
def replacing(path: str | Path) -> Generator[Path]:
    """Write a file so that a kill at any moment leaves the old one or the new one, never half of one.

    What a killed process left in the same folder is removed first (see `sweep`).

    Args:
        path: The file to write; missing folders are made.

    Yields:
        A path of the same name in a working folder, where nothing is yet. On success it is renamed over `path`, on any
        error deleted.

    Raises:
        DataError: The system refuses to write, for example because the disk is full; the message has its reason.
    """
    path = Path(path)
    with working_folder(path) as folder, refusals(path):
        temporary = folder / path.name
        yield temporary
        temporary.replace(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as `replacing` does.

    Args:
        path: The file to write; missing folders are made.
        text: All that it is to hold.

    Raises:
        DataError: As `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text)


def check_writable(path: str | Path) -> None:
    """Find out before long work whether its result can be written.

    Args:
        path: The file or folder that will be written; missing folders above it are made.

    Raises:
        DataError: The system refuses; the message has its reason.
    """
    with working_folder(path):
        pass


@contextlib.contextmanager
def working_folder(path: str | Path) -> Generator[Path]:
    """A folder of this process's own beside `path`, to make it in; it is removed afterwards, whatever happens.

    A lock is held in it as long as it is in use, so that one left by a killed process can be told from one in use.
    What such processes left beside `path` is removed first (see `sweep`).

    Args:
        path: What is to be made; missing folders above it are made.

    Yields:
        The folder, on the disk of `path`. It holds the lock alone.

    Raises:
        DataError: The system refuses to make the folder; the message has its reason.
    """
    path = Path(path)
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        folder, lock = _new_folder(path)
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # what cannot be removed now is swept later
            _remove(folder)
        os.close(lock)


def sweep(folder: str | Path) -> None:
    """Remove what killed processes left in a folder: the working folders whose lock nobody holds.

    Those of living processes stay, as does everything that this user may not change or whose lock this disk cannot
    tell, and whatever has no lock but holds something: it is not ours. Costs one listing of the folder.

    Args:
        folder: Any folder; it need not exist.
    """
    for left in Path(folder).glob(f"{MAKING}*"):
        with contextlib.suppress(OSError):  # not ours to change, or another process is just removing it
            _remove_dead(left)


@contextlib.contextmanager
def refusals(path: Path) -> Generator[None]:
    """Turn what the system says when it refuses to write into an error of one line.

    Args:
        path: What is being written, for the message; parts of it that are working folders are left out.

    Yields:
        Nothing; the block is what writes.

    Raises:
        DataError: The block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        final = Path(*(part for part in path.parts if not part.startswith(MAKING)))
        raise DataError(f"{final}: cannot be written ({_reason(error, path)})") from error


def _reason(error: OSError, path: Path) -> str:
    """Why the system refused. numpy says only how many values were written where the disk was full."""
    if error.strerror:
        return error.strerror
    full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < BLOCK
    return os.strerror(errno.ENOSPC) if full else str(error)


def _new_folder(path: Path) -> tuple[Path, int]:
    """A new working folder beside `path`, and the handle of its lock."""
    while True:  # again where a sweep came between making and locking it
        name = f"{MAKING}{path.name[:SHOWN]}-"
        folder = Path(tempfile.mkdtemp(prefix=name, dir=path.parent))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(OSError):  # no locks here: `sweep` then leaves all working folders alone
                locks.take(lock)
            if (folder / LOCK).exists():
                return folder, lock
            os.close(lock)


def _remove_dead(folder: Path) -> None:
    """Remove a working folder, unless its process lives."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        folder.rmdir()  # works where it is empty: killed before it was locked, or locked next, and then made anew
        return
    try:
        if locks.take(lock, wait=False):
            _remove(folder)
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a working folder whose lock is held. The lock goes last: a rest is still known by it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink()
    (folder / LOCK).unlink()
    folder.rmdir()
