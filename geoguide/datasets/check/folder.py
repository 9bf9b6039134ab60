"""`geoguide data check`: which layouts a folder holds, what of them is complete, missing or broken, and what can run.

Which layouts are known is the caller's to say: each benchmark has its official one (`geoguide.benchmarks`), `OPENSCENE`
is what OpenScene published of all of them, `POINTCEPT` what Pointcept makes of ScanNet, and `RECORDINGS` are what a
camera of one's own recorded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from geoguide.datasets.check.openscene import check_openscene, is_openscene
from geoguide.datasets.check.pointcept import check_pointcept, is_pointcept
from geoguide.datasets.check.report import Report
from geoguide.datasets.check.rgbd import HOW, check_recordings, is_recordings
from geoguide.datasets.foreign_recordings import foreign_layout
from geoguide.datasets.formats.files import near_folders, need_folder
from geoguide.errors import DataError, InputError


@dataclass(frozen=True)
class Kind:
    """One layout of a dataset.

    Attributes:
        name: Its name, for people.
        matches: Whether a folder has this layout.
        check: Reads all of the folder and fills a report; takes `options` by name.
        options: What a user may say of how this layout is read, as in `geoguide data check`; the others say it
            themselves.
    """

    name: str
    matches: Callable[[Path], bool]
    check: Callable[..., None]
    options: tuple[str, ...] = ()


RECORDINGS = Kind("RGB-D recordings of one's own", is_recordings, check_recordings, HOW)
OPENSCENE = Kind("OpenScene's published layout", is_openscene, check_openscene)
POINTCEPT = Kind("scenes as Pointcept preprocesses them", is_pointcept, check_pointcept)


def identify(root: str | Path, known: tuple[Kind, ...]) -> tuple[Kind, ...]:
    """Tell which layouts a folder has.

    Several may lie side by side, of one dataset or of more: every layout has its own reader, and none reads another's.

    Args:
        root: The folder.
        known: The layouts that it may have.

    Returns:
        Those that it has, at least one.

    Raises:
        DataError: The folder is missing or has none of them.
    """
    root = need_folder(root, "dataset folder")
    kinds = tuple(kind for kind in known if kind.matches(root))
    if not kinds:
        names = "; ".join(kind.name for kind in known)
        raise DataError(f"{root}: no layout that is known here ({names}){_hint(root, known)}{foreign_layout(root)}")
    return kinds


def _hint(root: Path, known: tuple[Kind, ...]) -> str:
    """What may be the matter with a folder of no layout; a recording above is one of many things that may lie there."""
    if not any(root.iterdir()):
        return "; the folder is empty"
    official = [kind for kind in known if kind is not RECORDINGS]
    near = near_folders(
        root,
        lambda folder: any(kind.matches(folder) for kind in known),
        above=lambda folder: any(kind.matches(folder) for kind in official),
    )
    return near or "; is this the folder that holds the dataset?"


def check_folder(root: str | Path, known: tuple[Kind, ...], how: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Print, for every layout of a folder, what is there, what is wrong, one line each, and what can be run with it.

    Every file is opened and every image decoded.

    Args:
        root: The folder.
        known: The layouts that it may have.
        how: What the user says of how layouts are read, by the names of their `options`.

    Returns:
        0 when nothing is wrong, else 1: the exit code of the command.

    Raises:
        DataError: The folder is missing or no dataset.
        InputError: It holds no layout that takes what `how` gives.
    """
    root, wrong = need_folder(root, "dataset folder"), 0
    kinds = identify(root, known)
    unread = next((name for name in how if not any(name in kind.options for kind in kinds)), None)
    if unread is not None:
        takers = ", ".join(kind.name for kind in known if unread in kind.options)
        found = ", ".join(kind.name for kind in kinds)
        raise InputError(f"--{unread.replace('_', '-')} is for {takers}, found {root}: {found}")
    for kind in kinds:
        report = Report(f"{root}: {kind.name}")
        kind.check(root, report, **{name: value for name, value in how.items() if name in kind.options})
        report.print()
        wrong += len(report.problems)
    return 1 if wrong else 0
