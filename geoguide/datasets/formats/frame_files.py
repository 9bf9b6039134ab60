"""The files of one frame of a recording: they have its number for a name, as different programs write numbers."""

import functools
from pathlib import Path

from geoguide.datasets.formats.files import listed


def frame_key(stem: str) -> int | str:
    """Tell by what the files of one frame know each other: the number, with zeros before it or not, or else the name.

    Args:
        stem: Name of a file without its suffix.

    Returns:
        The number or the name.

    Example:
        >>> frame_key("000120"), frame_key("120"), frame_key("frame-120")
        (120, 120, 'frame-120')
    """
    return int(stem) if stem.isdecimal() else stem


def of_frame(path: Path) -> Path:
    """Find the file of a frame, also where its number has other zeros before it, or its suffix is in upper case.

    Args:
        path: Where it is looked for first.

    Returns:
        The file; `path` itself where there is none, or more than one.
    """
    if path.is_file() or not path.parent.is_dir():
        return path
    alike = _alike(path.parent, path.parent.stat().st_mtime_ns).get((frame_key(path.stem), path.suffix.lower()), ())
    return alike[0] if len(alike) == 1 else path


@functools.lru_cache(maxsize=8)
def _alike(folder: Path, _changed: int) -> dict[tuple[int | str, str], list[Path]]:
    """The files of a folder by frame and suffix; remembered until its time of change, `_changed`, is another."""
    found: dict[tuple[int | str, str], list[Path]] = {}
    for path in listed(folder):
        found.setdefault((frame_key(path.stem), path.suffix.lower()), []).append(path)
    return found
