"""What asks a process to end, and what the `geoguide` command does then before its work and after it."""

import contextlib
import os
import signal
import threading
from collections.abc import Generator
from types import FrameType

ENDS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def leave(number: int, frame: FrameType | None) -> None:
    """End at once with one line: nothing has begun, or all is done. An error raised in an import may go anywhere.

    Args:
        number: Of the signal.
        frame: What it interrupts.
    """
    said = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    try:
        os.write(2, f"geoguide: {said}\n".encode())
    finally:  # a closed stream is no reason to stay
        os._exit(128 + number)


def unclaimed() -> list[signal.Signals]:
    """Which signals nobody handles or ignores (`nohup`) but Python itself or `leave`.

    Returns:
        Those of `ENDS`.
    """
    return [
        number for number in ENDS if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL, leave)
    ]


@contextlib.contextmanager
def deferred() -> Generator[None]:
    """Let what asks this process to end wait until a few lines are done that may not be left in the middle.

    An error raised between them may leave a lock held for ever, or a process that nobody knows of.

    Yields:
        Nothing; a signal that came within is handled, as it would have been, at the end.
    """
    came: list[int] = []
    main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ENDS} if main_thread else {}
    held = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in held:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)
