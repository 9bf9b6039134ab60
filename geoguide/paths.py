"""Where data, caches, runs and results lie: one rule, the same from any working folder; and safe writing of files.

A *clone* is a checkout of this repository that the package runs from: everything lies in its own `data/`, `runs/` and
`results/`. An installed package keeps all of it in the user's cache folder (`$XDG_CACHE_HOME/geoguide`, by default
`~/.cache/geoguide`). `$GEOGUIDE_DATA` names another folder for data, caches and runs, `$GEOGUIDE_RESULTS` one for
results. Nothing is ever written into the working folder unless a caller names a file there.
"""

import contextlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

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

    Args:
        path: The file to write; missing folders are made.

    Yields:
        A temporary path beside `path`. On success it is renamed over `path`, on any error deleted.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as `replacing` does.

    Args:
        path: The file to write; missing folders are made.
        text: All that it is to hold.
    """
    with replacing(path) as temporary:
        temporary.write_text(text)
