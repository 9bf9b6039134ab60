"""Peak memory of a stretch of work."""

import threading
from pathlib import Path

STATUS = Path("/proc/self/status")


INTERVAL = 0.1  # seconds between two looks


class PeakMemory:
    """The most memory that this process holds of its own during a block: `with PeakMemory() as peak: ...`.

    Pages of memory-mapped files do not count: they are a copy of the disk, and the system takes them back when it needs
    them. Looks ten times a second, so a shorter spike can be missed.

    Attributes:
        megabytes: The peak; None where /proc does not exist.
    """

    def __init__(self) -> None:
        """Nothing is looked at before the block begins."""
        self.megabytes: float | None = None
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        """Begin to look."""
        self._look()
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Look a last time."""
        self._done.set()
        self._watcher.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        if STATUS.is_file():
            lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines() if ":" in line)
            now = sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem")) / 1024
            self.megabytes = max(now, self.megabytes or 0.0)
