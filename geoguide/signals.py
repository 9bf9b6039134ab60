"""What asks a process to end, and what the `geoguide` command does then before its work and after it."""

import os
import signal
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
