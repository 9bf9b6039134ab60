"""What holds when a process is killed: locks that tell the living from the dead, and workers that do not outlive it.

Locks are `flock` locks: advisory, of an open file or folder, and gone with the process. Where there are none (Windows,
some network disks) asking for one is an OSError, and whoever asks treats the thing as in use.
"""

import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextvars import ContextVar
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


BRIEFLY = 2.0  # seconds: workers that look at the same data in turn wait for each other without a word
_HELD: ContextVar[frozenset[tuple[int, int]]] = ContextVar("_HELD", default=frozenset())  # folders, by disk and number
GUARD = 'a script that starts workers does so below `if __name__ == "__main__":`, for each worker imports the script'


def check_begun() -> None:
    """Refuse to go on in a worker that is importing the script which started it: it would start workers, too, or wait.

    Raises:
        RuntimeError: This is such a worker; multiprocessing itself would say so later, of the workers it cannot start.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing finds out
        raise RuntimeError(f"this worker cannot begin: {GUARD}")


def take(handle: int, *, wait: bool = True) -> bool:
    """Lock an open file or folder; it is unlocked when the handle is closed or the process dies.

    Args:
        handle: What `os.open` returned. A file must be open for writing: network disks ask for that.
        wait: Whether to wait until another process unlocks it.

    Returns:
        False where another process holds it and `wait` is False; else True.

    Raises:
        OSError: This system or this disk has no such locks.
    """
    if fcntl is None:
        raise OSError("no file locks on this system")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_in_turn(handle: int, place: Path, does: str) -> None:
    """Lock an open file or folder; where another process holds it for long, say so and wait. Without locks go on.

    Args:
        handle: As in `take`.
        place: What is held, for the message.
        does: What the other process does, for the message.

    Raises:
        RuntimeError: See `check_begun`; else a worker would wait for the process that waits for it.
    """
    with contextlib.suppress(OSError):  # no locks here
        if take(handle, wait=False):
            return
        check_begun()
        said = time.monotonic() + BRIEFLY
        while time.monotonic() < said:
            time.sleep(BRIEFLY / 20)
            if take(handle, wait=False):
                return
        print(f"{place}: waiting for another process that {does}", file=sys.stderr)
        take(handle)


@contextlib.contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Hold a folder against every other process of this machine that asks for it here; it waits, and says so.

    Nothing is written for it. On a disk without locks the block runs at once: see the top of this file. So it does
    within another such block of the same folder, so that what writes several files can be called by what adds others.

    Args:
        folder: An existing folder.

    Yields:
        Nothing; the block is the time for which the folder is held.

    Raises:
        OSError: There is no such folder, or it is not readable.
        RuntimeError: As `take_in_turn`.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        about, held = os.fstat(handle), _HELD.get()
        place = about.st_dev, about.st_ino
        if place not in held:
            take_in_turn(handle, folder, "writes here")
        before = _HELD.set(held | {place})
        try:
            yield
        finally:
            _HELD.reset(before)
    finally:
        os.close(handle)


def end_with_parent() -> None:
    """Make this worker process end as soon as the process that started it does, even by a kill.

    A pool's worker would otherwise wait for its next task for ever. To be called when the worker begins.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.join,), daemon=True).start()


def _end_after(ended: Callable[[], None]) -> None:
    ended()
    os._exit(1)
