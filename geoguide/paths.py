"""Where data, caches, runs and results lie: one rule, the same from any working folder; and safe writing of files.

A *clone* is a checkout of this repository that the package runs from: everything lies in its own `data/`, `runs/` and
`results/`. An installed package keeps all of it in the user's cache folder (`$XDG_CACHE_HOME/geoguide`, by default
`~/.cache/geoguide`). `$GEOGUIDE_DATA` names another folder for data, caches and runs, `$GEOGUIDE_RESULTS` one for
results, from `~` on too, which no shell replaces in a file of settings. Nothing is ever written into the working folder
unless a caller names a file there. Reports on errors that nobody expected lie in `errors/` of the folder of runs;
whatever cannot be written is a `WriteError` of one line.
"""

import contextlib
import errno
import os
import platform
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from geoguide import locks
from geoguide.errors import ConfigError, WriteError, first_line

MAKING = ".making-"  # what the names of working folders begin with
LOCK = ".making-lock"  # the file in each that is locked; it holds the name of the machine
FORGOTTEN = 86_400.0  # seconds after which another machine's working folder is taken for one left
SHOWN = 50  # characters of a file's name in that of its working folder: 255 bytes must hold it
BLOCK = 4096  # bytes: a disk with less than one block free is full
SHORT_WRITE = " requested and "  # in what numpy says of a file that could not be written to its end

PACKAGE = Path(__file__).resolve().parent
WEIGHTS = PACKAGE / "weights"  # what is shipped with the package


def clone() -> Path | None:
    """The top folder of the checkout that this package runs from; None where the package was installed.

    Returns:
        The folder that holds `geoguide/` beside this project's `pyproject.toml` and `notebooks/`, or None.
    """
    top = PACKAGE.parent
    return top if (top / "pyproject.toml").is_file() and (top / "notebooks").is_dir() else None


def named_folder(variable: str) -> Path | None:
    """The folder that a variable of the environment names.

    Args:
        variable: Its name.

    Returns:
        The folder, counted from the working folder where it is relative; None where the variable is not set, or blank.

    Raises:
        ConfigError: It begins with the home of a user who has none.
    """
    named = os.path.expanduser(os.environ.get(variable, ""))
    if named.startswith("~"):
        raise ConfigError(f"${variable}: no home folder is known for {named!r}: name the folder in full")
    return Path(named) if named.strip() else None


def data_root() -> Path:
    """The folder of generated data and caches; it need not exist.

    Returns:
        `$GEOGUIDE_DATA`; else `data/` of the clone; else the user's cache folder.
    """
    named, top = named_folder("GEOGUIDE_DATA"), clone()
    if named is not None:
        return named
    return _user_cache() if top is None else top / "data"


def generated_folder(dataset: str, edition: str = "small", seed: int = 0) -> Path:
    """Find where a generated dataset lies.

    Args:
        dataset: Its name, such as "mini-scannet".
        edition: Which of its editions.
        seed: Which of its worlds.

    Returns:
        `<data_root>/<dataset>`; for another edition than the small one with a hyphen and its name, for another world
        than the first with its seed.
    """
    named = dataset if edition == "small" else f"{dataset}-{edition}"
    return data_root() / (named if seed == 0 else f"{named}-seed{seed}")


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
    return data_root() / "runs" if top is None or named_folder("GEOGUIDE_DATA") is not None else top / "runs"


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
    named, top = named_folder("GEOGUIDE_RESULTS"), clone()
    if named is not None:
        return named
    return (data_root() if top is None else top) / "results"


def records_advice() -> str:
    """What to do where there are no records, for a message.

    Returns:
        To make them; of an installed package, which comes without the committed ones, where those are.
    """
    if clone() is None and named_folder("GEOGUIDE_RESULTS") is None:
        return "an installed package has no committed records: use a clone, or name a folder in $GEOGUIDE_RESULTS"
    return "run `geoguide replicate`"


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
        with contextlib.suppress(FileNotFoundError):
            path.lstat()
        tempfile.TemporaryFile(dir=path.parent).close()


@contextlib.contextmanager
def replacing(path: str | Path, *, swept: bool = False) -> Generator[Path]:
    """Write a file so that a kill at any moment leaves the old one or the new one, never half of one.

    What a killed process left in the same folder is removed first (see `sweep`).

    Args:
        path: The file to write; missing folders are made.
        swept: Whether the caller has removed that already: to list a folder of very many files takes long.

    Yields:
        A path of the same name in a working folder, where nothing is yet. On success it is renamed over `path`, on any
        error deleted.

    Raises:
        WriteError: It cannot be written, for lack of space or permission for example; what was there stays.
    """
    path = Path(path)
    with working_folder(path, swept=swept) as folder, writing(path):
        temporary = folder / path.name
        yield temporary
        temporary.replace(path)


@contextlib.contextmanager
def writing(path: Path) -> Generator[None]:
    """Say of an error of the system that something cannot be written.

    Args:
        path: What is written within; parts of it that are working folders are not named.

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
        final = Path(*(part for part in path.parts if not part.startswith(MAKING)))
        raise WriteError(f"{final}: cannot be written ({_reason(error, path)})") from error


@contextlib.contextmanager
def alone_beside(path: Path) -> Generator[None]:
    """Hold the folder of a file, so that of two processes that write several files each, all are of one in the end.

    Args:
        path: One of the files; missing folders above it are made.

    Yields:
        Nothing; the files are written within.

    Raises:
        WriteError: The folder cannot be made, or something within cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locks.alone_in(path.parent):
            yield


@contextlib.contextmanager
def making_alone(path: Path, *, wait: bool = True) -> Generator[bool]:
    """Hold a file's name while the file is made, so that of two processes that would make it one does.

    The lock lies in a working folder beside the file, which `sweep` removes where its process was killed.

    Args:
        path: The file; missing folders above it are made.
        wait: Whether to wait for another process that holds the name, and say so.

    Yields:
        Whether the name is held; False, without `wait` alone, where another process holds it. After waiting the file
        may be there.

    Raises:
        WriteError: The folder cannot be made.
        RuntimeError: As `locks.take_in_turn`.
    """
    folder = path.parent / f"{MAKING}{path.name}"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _hold(folder, path, wait)
    if lock is None:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):  # what cannot be removed now is swept later
            _remove(folder)
        os.close(lock)


def _hold(folder: Path, path: Path, wait: bool) -> int | None:
    """The handle of the lock in a working folder of this name; None where it is held, and not to be waited for."""
    while True:  # again where whoever held the lock, or a sweep, removed it in between
        with contextlib.suppress(FileNotFoundError):
            folder.mkdir(exist_ok=True)
            lock, held = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600), True
            if wait:
                locks.take_in_turn(lock, path, "makes it")
            else:
                with contextlib.suppress(OSError):  # no locks here
                    held = locks.take(lock, wait=False)
            if held and (folder / LOCK).exists() and os.path.samestat(os.fstat(lock), os.stat(folder / LOCK)):
                return lock
            os.close(lock)
            if not held:
                return None


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as `replacing` does.

    Args:
        path: The file to write; missing folders are made.
        text: All that it is to hold; bytes of file names that are no text become escapes, in JSON its own.

    Raises:
        DataError: As `replacing`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextlib.contextmanager
def working_folder(path: str | Path, *, swept: bool = False) -> Generator[Path]:
    """A folder of this process's own beside `path`, to make it in; it is removed afterwards, whatever happens.

    A lock is held in it as long as it is in use, so that one left by a killed process can be told from one in use.
    What such processes left beside `path` is removed first (see `sweep`).

    Args:
        path: What is to be made; missing folders above it are made.
        swept: As in `replacing`.

    Yields:
        The folder, on the disk of `path`. It holds the lock alone.

    Raises:
        WriteError: The system refuses to make the folder; the message has its reason.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not swept:
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
    tell, and whatever has no lock but holds something: it is not ours. Many network disks keep a lock to the machine
    that holds it (BeeGFS, Lustre by its option), so that another machine's stay for a day. Costs one listing.

    Args:
        folder: Any folder; it need not exist.
    """
    for left in Path(folder).glob(f"{MAKING}*"):
        with contextlib.suppress(OSError):  # not ours to change, or another process is just removing it
            _remove_dead(left)


def _reason(error: OSError, path: Path) -> str:
    """Why the system refused. Of a full disk numpy says only how much was written; there may be space again by now."""
    if error.strerror:
        return error.strerror
    full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < BLOCK
    return os.strerror(errno.ENOSPC) if full or SHORT_WRITE in str(error) else first_line(error)


def _new_folder(path: Path) -> tuple[Path, int]:
    """A new working folder beside `path`, and the handle of its lock."""
    while True:  # again where a sweep came between making and locking it
        name = f"{MAKING}{path.name[:SHOWN]}-"
        folder = Path(tempfile.mkdtemp(prefix=name, dir=path.parent))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            with contextlib.suppress(OSError):  # no locks here: `sweep` then leaves all working folders alone
                locks.take(lock)
            with contextlib.suppress(OSError):  # a full disk: what is to be written says so
                os.write(lock, platform.node().encode())
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
        if _tells(lock) and locks.take(lock, wait=False):
            _remove(folder)
    finally:
        os.close(lock)


def _tells(lock: int) -> bool:
    """Whether an open lock is one that this machine sees if it is held, or is old."""
    machine = os.read(lock, 256).decode(errors="replace")  # empty: of an older version, or just being made
    return machine in ("", platform.node()) or time.time() - os.fstat(lock).st_mtime > FORGOTTEN


def _remove(folder: Path) -> None:
    """Remove a working folder whose lock is held. The lock goes last: a rest is still known by it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != LOCK:
            path.unlink()
    (folder / LOCK).unlink()
    folder.rmdir()
