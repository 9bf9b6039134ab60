"""Where data, caches, runs and results lie: one rule, the same from any working folder; and safe writing of files.

A *clone* is a checkout of this repository that the package runs from: everything lies in its own `data/`, `runs/` and
`results/`. An installed package keeps all of it in the user's cache folder (`$XDG_CACHE_HOME/geoguide`, by default
`~/.cache/geoguide`). `$GEOGUIDE_DATA` names another folder for data, caches and runs, `$GEOGUIDE_RESULTS` one for
results. Nothing is ever written into the working folder unless a caller names a file there. Reports on errors that
nobody expected lie in `errors/` of the folder of runs; whatever cannot be written is a `WriteError` of one line.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path

from geoguide.errors import WriteError, first_line

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


def reports_root() -> Path:
    """The folder of the reports on errors that the command did not expect.

    Returns:
        `errors/` in `runs_root()`, wherever that lies.
    """
    return runs_root() / "errors"


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
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "geoguide"
    try:
        return Path.home() / ".cache" / "geoguide"
    except RuntimeError:  # a user without a home: no $HOME, and no line in the list of users
        return temporary_root()


def temporary_root() -> Path:
    """The user's own folder among the temporary files; it need not exist.

    Returns:
        `geoguide-<user's number>` in the folder of temporary files.
    """
    return Path(tempfile.gettempdir()) / f"geoguide-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def is_private(folder: Path) -> bool:
    """Whether nobody else can put files into a folder, so that what is read from it may be run.

    Args:
        folder: A folder.

    Returns:
        True where it is there, is no link, belongs to this user and nobody else may write to it.
    """
    found = folder.lstat() if os.path.lexists(folder) else None
    if found is None or not stat.S_ISDIR(found.st_mode):
        return False
    return not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)


def check_writable(folder: Path) -> None:
    """Make sure that files can be written into a folder, by writing one that has no name; nothing is left there.

    Args:
        folder: The folder; where it is missing, the folder in which it would be made is tried.

    Raises:
        WriteError: Nothing can be written there.
    """
    with writing(folder):
        there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        tempfile.TemporaryFile(dir=there).close()


def check_file_writable(path: Path) -> None:
    """Make sure that `replacing` can write a file into a folder that is there, before work is done for it.

    Args:
        path: The file.

    Raises:
        WriteError: It cannot: the folder is missing or read-only, or the name too long.
    """
    with writing(path):
        _beside(path).unlink()


def _beside(path: Path) -> Path:
    """A new empty file beside another."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


def _reason(error: OSError) -> str:
    """What the system says, without the name of a temporary file."""
    return error.strerror or first_line(error)


@contextlib.contextmanager
def replacing(path: str | Path) -> Generator[Path]:
    """Write a file so that a kill at any moment leaves the old one or the new one, never half of one.

    Args:
        path: The file to write; missing folders are made.

    Yields:
        A temporary path beside `path`. On success it is renamed over `path`, on any error deleted.

    Raises:
        WriteError: It cannot be written, for lack of space or permission for example; what was there stays.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        try:
            yield temporary
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Generator[None]:
    """Say of an error of the system that something cannot be written.

    Args:
        path: What is written within.

    Yields:
        Nothing; the writing is done within.

    Raises:
        WriteError: There was an `OSError`.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({_reason(error)})") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as `replacing` does.

    Args:
        path: The file to write; missing folders are made.
        text: All that it is to hold.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
