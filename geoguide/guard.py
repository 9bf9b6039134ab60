"""The last line of defence of the command: one line for every error, a report for one that nobody expected."""

import contextlib
import datetime
import importlib.metadata
import io
import multiprocessing
import os
import platform
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Generator, Sequence
from types import FrameType
from typing import Any, TextIO

try:
    import resource
except ImportError:  # Windows
    resource = None

from geoguide.errors import ConfigError, GeoGuideError, LostWorkerError, first_line, refused_file, shortage
from geoguide.paths import reports_root, temporary_root, write_text
from geoguide.signals import unclaimed

DEBUG = "GEOGUIDE_DEBUG"
EXIT_CODES = """Label 3D scans with words, and replicate GeoGuide.

Exit codes: 0 done; 1 done, and `verify` or `data check` found a difference or a problem; 2 bad input, or a place that
cannot be written to; 70 an error that nobody expected (a report is written; GEOGUIDE_DEBUG=1 shows the traceback); 71
this machine has not enough memory, or allows too few open files; 74 standard output could not be written (files are
complete); 130 interrupted; 143 ended from outside (SIGTERM; 129: SIGHUP). A reader that goes away (`| head -1`) or a
closed output is no error."""
# Open files: what 200 scenes of six splits need; macOS allows a process no more than 10,240.
HANDLES = 10_240 if sys.platform == "darwin" else 19_264
PACKAGES = ("geoguide", "torch", "numpy", "scipy", "numba", "trimesh", "plyfile", "tyro")  # the versions of a report


class _Stream(io.FileIO):
    """An open file that swallows what it can no longer write, and remembers why: nobody reads it, or the disk is full.

    Work that was asked for as files must not end because its messages are lost.
    """

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes, or pretend to.

        Args:
            data: Bytes.

        Returns:
            How many were taken.
        """
        while self.lost is None:
            try:
                return super().write(data) or 0
            except InterruptedError:
                continue
            except OSError as error:
                self.lost = error
        return len(memoryview(data).cast("B"))


def guarded(work: Callable[[], int | None], argv: Sequence[str], on_interrupt: Callable[[], str]) -> int:
    """Do the command's work; whatever happens becomes an exit code and at most one line.

    Args:
        work: The work; it returns an exit code, or None for 0.
        argv: The command's arguments, for the report.
        on_interrupt: What to say of the work when it is interrupted.

    Returns:
        The exit code, see `EXIT_CODES`.

    Raises:
        Exception: Where `$GEOGUIDE_DEBUG` is set, an error that nobody expected.
    """
    _allow_open_files()
    with _streams() as output, _interruptible() as handled, _plain_warnings():
        try:
            code = work() or 0
        except SystemExit as stop:  # of the reading of arguments
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except LostWorkerError as error:
            code = _say(71, f"{error}; {on_interrupt()}")
        except GeoGuideError as error:
            code = _say(2, str(error))
        except KeyboardInterrupt as ended:
            for each in handled:  # a second Ctrl-C has nothing more to end
                signal.signal(each, signal.SIG_IGN)
            # `python -m` else ends by the signal itself, where it came in text run as code, as for a dataclass.
            exec("")
            number = ended.number if isinstance(ended, _EndedError) else signal.SIGINT
            said = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
            code = _say(128 + number, f"{said}; {on_interrupt()}")
        except Exception as error:
            lacks, refused = shortage(error), refused_file(error)
            if os.environ.get(DEBUG, "0") not in ("", "0"):
                raise
            if refused or lacks:
                code = _say(2, refused) if refused else _say(71, f"{lacks}; {on_interrupt()}")
            else:
                code = _say(70, unexpected(error, argv))
        with contextlib.suppress(ValueError):  # a closed stream of whoever called this from Python
            sys.stdout.flush()
        if code == 0 and output.lost is not None and not isinstance(output.lost, BrokenPipeError):
            code = _say(74, f"standard output could not be written ({output.lost.strerror}); files are complete")
    return code


def unexpected(error: Exception, argv: Sequence[str]) -> str:
    """Write a report on an error that nobody expected.

    Args:
        error: The error.
        argv: The command's arguments.

    Returns:
        One line: the error, where its report lies, and how to see the traceback at once.
    """
    name = f"geoguide-{datetime.datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    where = "no report could be written"
    for root in (reports_root, temporary_root):
        try:
            path = root() / name
            write_text(path, report(error, argv))
        except (OSError, MemoryError, ConfigError):  # no place, or no memory: the line below says so
            continue
        where = f"report: {path}"
        break
    return f"unexpected {type(error).__name__}: {first_line(error)} ({where}; {DEBUG}=1 shows the traceback)"


def report(error: Exception, argv: Sequence[str]) -> str:
    """Describe an error and where it happened; no variable of the environment is in it.

    Args:
        error: The error.
        argv: The command's arguments.

    Returns:
        Several lines: versions, platform, arguments and the traceback.
    """
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    about = [f"python {platform.python_version()}", *versions, platform.platform()]
    lines = ["geoguide met an error that it did not expect.", "", ", ".join(about), f"arguments: {list(argv)}", ""]
    text = "\n".join(lines) + "\n" + "".join(traceback.format_exception(error))
    return text.encode(errors="backslashreplace").decode()  # names of files need not be UTF-8


def _allow_open_files() -> None:
    """Raise the number of files that this process may open at once, which is low on many systems, as far as it may."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HANDLES if hard == resource.RLIM_INFINITY else min(HANDLES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _say(code: int, message: str) -> int:
    """Print one line, whatever names with line breaks the message holds."""
    with contextlib.suppress(ValueError, OSError):  # a stream of whoever called this from Python
        print("geoguide: " + "\\n".join(message.splitlines()), file=sys.stderr, flush=True)
    return code


@contextlib.contextmanager
def _streams() -> Generator[_Stream]:
    """Replace the process' own output streams by such as never raise; a caller's in place of them are left alone."""
    _open_missing()
    before, streams = (sys.stdout, sys.stderr), (_Stream(1, "w", closefd=False), _Stream(2, "w", closefd=False))
    if _is_own(sys.stdout, sys.__stdout__):
        sys.stdout = _text(streams[0], sys.stdout)
    if _is_own(sys.stderr, sys.__stderr__):
        sys.stderr = _text(streams[1], sys.stderr, line_buffering=True)
    try:
        yield streams[0]
    finally:
        sys.stdout, sys.stderr = before


def _is_own(stream: TextIO | None, original: TextIO | None) -> bool:
    """Whether a stream is still the one that Python opened, or none because it was closed."""
    return stream is None or stream is original


def _text(stream: _Stream, like: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    """Text in the encoding of the stream that is replaced; letters that it lacks are written as escapes."""
    if like is not None:
        like.flush()
    encoding = "utf-8" if like is None else like.encoding
    return io.TextIOWrapper(
        io.BufferedWriter(stream), encoding, "backslashreplace", line_buffering=line_buffering or stream.isatty()
    )


def _open_missing() -> None:
    """Open what was closed before the start: else the next file gets its number, and messages are written into it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


@contextlib.contextmanager
def _plain_warnings() -> Generator[None]:
    """Print a warning on one line, as an error is: where in the code it came from tells a user nothing."""

    def one_line(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        return "geoguide: " + "\\n".join(str(message).splitlines()) + "\n"

    before = warnings.formatwarning
    warnings.formatwarning = one_line  # ty: ignore[invalid-assignment]  # the same signature
    try:
        yield
    finally:
        warnings.formatwarning = before


class _EndedError(KeyboardInterrupt):
    """The process is asked to end: by a job scheduler, `timeout`, a container that stops, a terminal that closes.

    As Ctrl-C it is no `Exception`: what cleans up after an interrupt cleans up after this.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _interruptible() -> Generator[Collection[signal.Signals]]:
    """Ctrl-C, SIGTERM and SIGHUP clean up, and end worker processes too, which else would finish what they are at.

    Yields those of them that are handled here.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for child in multiprocessing.active_children():
            child.terminate()
        raise KeyboardInterrupt if number == signal.SIGINT else _EndedError(signal.Signals(number))

    main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in unclaimed()} if main_thread else {}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
