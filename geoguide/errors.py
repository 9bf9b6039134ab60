"""Errors that a user can act on: every public entry raises a subclass of `GeoGuideError` with one clear line."""

import errno
import math
import os
import re
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

# What numpy raises on a damaged .npy or .npz file, by which byte is hit; MemoryError: the header says a shape that no
# memory holds, or the file is whole and memory short (`pass_on_shortage`).
NUMPY_DAMAGES = (
    *(OSError, ValueError, EOFError, OverflowError, TypeError, KeyError, RuntimeError, MemoryError, SyntaxError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
START = 64  # bytes that tell what a file is
POINTER = b"version https://git-lfs.github.com/spec/"
PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
# What torch.save writes: a zip archive, before torch 1.6 a pickle. Of anything else torch says that it would run code.
TORCH_STARTS = (b"PK\x03\x04", b"\x80")
PACKED_FILES = {b"\x1f\x8b\x08": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"7z\xbc\xaf\x27\x1c": "7z"}


class GeoGuideError(Exception):
    """Base class of the errors below. The command line prints the message on one line and exits with code 2.

    Attributes:
        names_scene: Whether the message says which scene it is about, so that nobody who knows it need say it again.
    """

    names_scene = False


class DataError(GeoGuideError):
    """A file or folder is missing, truncated or holds something else than expected; the message names it."""


class WriteError(DataError, OSError):
    """A file cannot be written: no permission, no space, a folder that is not there; the message names the file."""


class InputError(GeoGuideError, ValueError):
    """An argument has the wrong shape, dtype, range or name; the message says what was expected and found."""


class ConfigError(GeoGuideError, ValueError):
    """An experiment's configuration names something unknown or impossible."""


class LostWorkerError(GeoGuideError):
    """A process for a part of the work was killed, often by a system that is short of memory, or could not begin."""


class ReadAs(UserWarning):
    """A file can be read in more than one way: the message names the file and says which way was taken. No fault."""


def check_known(kind: str, name: str, known: Collection[str]) -> None:
    """Refuse a name that is none of those known.

    Args:
        kind: Of thing that it names, such as "preset".
        name: Any name.
        known: The names that there are.

    Raises:
        ConfigError: Another name; the message lists those known.
    """
    if name not in [*known]:  # a list: whatever was given need not be hashable
        raise ConfigError(f"unknown {kind} {name!r}: known are {', '.join(known)}")


def require(met: object, message: str) -> None:
    """Refuse an argument that does not meet a condition.

    Args:
        met: Whether it does, as a truth value; a collection: whether it holds anything.
        message: What was expected and found.

    Raises:
        InputError: It does not.
    """
    if not met:
        raise InputError(message)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a message of one line.

    Args:
        error: An error of another library.

    Returns:
        The line; the error's class name where the message is empty.
    """
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]


# What libraries say of memory that the system refuses, in errors of a general class: torch, C++, the system, pillow.
NO_MEMORY = (
    *("can't allocate memory", "std::bad_alloc", "Cannot allocate memory", "out of memory error"),
    *("failed to map segment from shared object", "cannot map zero-fill pages"),  # of a library, when it is loaded
)
NO_GPU_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # what torch's allocator does not ask for
PACKED = 1032  # bytes in memory for each one of a file, at most: deflate packs no denser


def shortage(error: BaseException) -> str | None:
    """Say what the machine has not enough of, where that is why an error was raised.

    Args:
        error: Any error.

    Returns:
        A phrase of one line; None where it has another reason.

    Example:
        >>> shortage(MemoryError("Unable to allocate 8 EiB")), shortage(ValueError("no number"))
        ('not enough memory (Unable to allocate 8 EiB)', None)
    """
    said = str(error)
    if isinstance(error, MemoryError) or any(words in said for words in NO_MEMORY):
        return f"not enough memory ({first_line(error):.120})"
    if type(error).__name__ == "OutOfMemoryError" or any(words in said for words in NO_GPU_MEMORY):  # without torch
        return f"not enough memory on the GPU ({first_line(error):.120})"
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many open files, see `ulimit -n` ({first_line(error):.120})"
    return None


def pass_on_shortage(error: Exception, path: Path) -> None:
    """Raise an error again where the machine is short of something: the file that was read is not damaged then.

    Args:
        error: What was raised while a file was read.
        path: The file; one that asks for more memory than its bytes can fill is damaged, and nothing is raised.

    Raises:
        MemoryError: Memory does not suffice; the message names the file.
        OSError: There are too many open files.
    """
    asked = _asked(error)
    if shortage(error) is None or (asked is not None and asked > PACKED * path.stat().st_size):
        return
    if isinstance(error, MemoryError):
        raise MemoryError(f"{path}: {first_line(error)}") from None
    raise error


def _asked(error: Exception) -> int | None:
    """The bytes that numpy or torch asked for; None where they do not say."""
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)  # of numpy's MemoryError
    if shape is not None and dtype is not None:
        return math.prod(shape) * dtype.itemsize
    found = re.search(r"tried to allocate (\d+) bytes", str(error))
    return None if found is None else int(found[1])


# Why a system refuses a file that is there: rights, a broken disk, a network disk that went away, too long a name.
_REFUSED = ("EACCES", "EPERM", "EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EROFS", "ENOSPC", "EDQUOT", "ENAMETOOLONG")
REFUSED = frozenset(getattr(errno, name) for name in _REFUSED if hasattr(errno, name))


def refused_file(error: Exception) -> str | None:
    """Say which file the system refuses, and why.

    Args:
        error: Any error.

    Returns:
        One line that begins with the file; None where the error is none of the system's about a file, or about one
        that is not there.

    Example:
        >>> refused_file(PermissionError(13, "Permission denied", "scan.ply"))
        'scan.ply: Permission denied'
    """
    if not isinstance(error, OSError) or error.filename is None or error.errno not in REFUSED:
        return None
    return f"{os.fsdecode(error.filename)}: {error.strerror}"


def foreign(start: bytes) -> str:
    """Say what a file is that is often found in place of another one.

    Args:
        start: Its first `START` bytes.

    Returns:
        A git-lfs pointer, a web page, a packed file or nothing at all, in words; "" for anything else.

    Example:
        >>> foreign(b"version https://git-lfs.github.com/spec/v1"), foreign(b"P6 2 2")
        ('a git-lfs pointer, not the file itself: run `git lfs pull`', '')
    """
    if start.startswith(POINTER):
        return "a git-lfs pointer, not the file itself: run `git lfs pull`"
    if PAGE.match(start.removeprefix(b"\xef\xbb\xbf")):
        return "a web page, not the file itself: a download that failed?"
    packed = next((name for mark, name in PACKED_FILES.items() if start.startswith(mark)), None)
    if packed is not None:
        return f"a packed file ({packed}), not the file itself: unpack it first"
    return "" if start else "it holds 0 bytes"


def refuse_foreign(path: str | Path, what: str, start: bytes | None = None) -> None:
    """Refuse a file in whose place a git-lfs pointer, a web page or a packed file was stored.

    Args:
        path: A file that is there.
        what: What it should be, in words, for the message.
        start: Its first `START` bytes or more, where they have been read.

    Raises:
        DataError: It is one of these; an empty file is its reader's to judge.
        OSError: It cannot be read.
    """
    if start is None:
        with Path(path).open("rb") as file:
            start = file.read(START)
    told = foreign(start[:START])
    if start and told:
        raise DataError(f"{path}: {what} expected, found {told}")


def no_torch_file(path: str | Path) -> str:
    """Say by its start that a file is none of torch, which itself takes other bytes for instructions and says so.

    Args:
        path: A file that torch did not read.

    Returns:
        What was expected and found, for a message; empty where it may be what `torch.save` wrote, or is not there.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(8)
    except OSError:  # torch met it too, and its error says so
        return ""
    return "" if start.startswith(TORCH_STARTS) else f"expected a zip archive or a pickle, found {start!r} at its start"
