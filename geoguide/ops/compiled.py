"""Kernels compiled by numba, and the one folder where the compiled code is kept between runs.

Numba takes half a second to import, so that is done when the first kernel is called.
"""

import contextlib
import functools
import os
import pickle
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from types import FunctionType
from typing import Any

from geoguide.errors import WriteError
from geoguide.paths import PACKAGE, cache_root, check_writable, is_private, temporary_root

_REASONS: list[str] = []  # why compiled code is not kept; the user is told of the first
_UNUSABLE = (OSError, EOFError, pickle.UnpicklingError)  # a full disk, no permission, a damaged file
NAMED = "NUMBA_CACHE_DIR"  # numba's own variable: who sets it decides


def compiled(**options: Any) -> Callable[[Any], Any]:
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
    return functools.partial(_Kernel, options)


class _Kernel:
    """A function that is compiled when it is first called, or when a kernel that calls it is."""

    def __init__(self, options: dict[str, Any], function: FunctionType) -> None:
        self._options, self._function = options, function
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        return self.dispatcher(*arguments)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """What numba makes of the function."""
        import numba

        function = self._function
        kernel = numba.njit(**self._options)(function)
        if not Path(function.__code__.co_filename).is_file():  # typed at a prompt
            return kernel
        try:
            with _numba_folder(cache_folder()):
                kernel._cache = _kept(function)  # what `cache=True` does, with a class that a full disk does not stop
        except (RuntimeError, WriteError) as error:
            _warn_once(str(error))
        return kernel

    @property
    def _numba_type_(self) -> Any:
        """By this numba takes it, inside of other kernels, for its own."""
        return self.dispatcher._numba_type_


def _kept(function: FunctionType) -> Any:
    """Where the compiled code of a function is on disk; where it cannot be used after all, the work goes on without."""
    from numba.core.caching import FunctionCache

    class Kept(FunctionCache):
        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                return super().load_overload(sig, target_context)
            except _UNUSABLE as error:
                _warn_once(f"{self.cache_path}: {error}")
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            try:
                super().save_overload(sig, data)
            except _UNUSABLE as error:
                _warn_once(f"{self.cache_path}: {error}")

    return Kept(function)


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
    import numba

    settings = vars(numba.config)
    before = settings["CACHE_DIR"]
    settings["CACHE_DIR"] = before if folder is None else str(folder)
    try:
        yield
    finally:
        settings["CACHE_DIR"] = before


def _warn_once(reason: str) -> None:
    if not _REASONS:
        warnings.warn(f"compiled code is not kept, so each run compiles it again: {reason}", stacklevel=4)
    _REASONS.append(reason)
