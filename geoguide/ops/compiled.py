"""Kernels compiled by numba, and the one folder where the compiled code is kept between runs."""

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numba

from geoguide.errors import WriteError
from geoguide.paths import PACKAGE, cache_root, check_writable, is_private, temporary_root

NAMED = "NUMBA_CACHE_DIR"  # numba's own variable: who sets it decides


def compiled(**options: Any) -> Callable[[Callable], Any]:
    """Compile a function by numba on its first call, and keep the code for later runs where a folder allows it.

    Args:
        **options: What `numba.njit` takes, but for `cache`.

    Returns:
        The decorator.

    Example:
        >>> @compiled(nogil=True)
        ... def doubled(values):
        ...     return 2 * values
        >>> doubled(21)
        42
    """

    def decorate(function: Callable) -> Any:
        if not (os.environ.get(NAMED) or Path(function.__code__.co_filename).is_relative_to(PACKAGE)):
            return numba.njit(**options)(function)  # typed at a prompt: there is no file that code could be kept for
        try:
            with _numba_folder(cache_folder()):
                return numba.njit(cache=True, **options)(function)
        except (RuntimeError, WriteError) as error:
            _warn_once(str(error))
            return numba.njit(**options)(function)

    return decorate


@functools.cache
def cache_folder() -> Path | None:
    """Choose where compiled code is kept, once for the process.

    Returns:
        The first that can be written to of: the folder that `$NUMBA_CACHE_DIR` names and the package's own folder
        (None: numba knows both), `numba/` in `paths.cache_root()`, and `numba/` in `paths.temporary_root()`.

    Raises:
        WriteError: None of them can.
    """
    if os.environ.get(NAMED) or _writable(PACKAGE):
        return None
    if _writable(cache_root() / "numba"):
        return cache_root() / "numba"
    if _writable(temporary_root()):
        temporary_root().mkdir(mode=0o700, exist_ok=True)
        if is_private(temporary_root()):  # compiled code is run as it is found
            return temporary_root() / "numba"
    raise WriteError(f"neither {PACKAGE} nor {cache_root()} nor {temporary_root()} can be written to")


def _writable(folder: Path) -> bool:
    try:
        check_writable(folder)
    except WriteError:
        return False
    return True


@contextlib.contextmanager
def _numba_folder(folder: Path | None) -> Generator[None]:
    """Let numba find its folder while it decorates; the code of other packages is kept where it was."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = before if folder is None else str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


@functools.cache
def _warn_once(reason: str) -> None:
    warnings.warn(f"compiled code is not kept, so each run compiles it again: {reason}", stacklevel=4)
