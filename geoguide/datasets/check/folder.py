"""`geoguide data check`: which layouts a folder holds, what of them is complete, missing or broken, and what can run.

`KINDS` lists the layouts that are known. A new one needs a function that recognises a folder and one that fills a
`Report`; nothing else changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geoguide.datasets.check.matterport3d import check_matterport3d, is_matterport3d
from geoguide.datasets.check.nuscenes import check_nuscenes, is_nuscenes
from geoguide.datasets.check.openscene import check_openscene, is_openscene
from geoguide.datasets.check.report import Report
from geoguide.datasets.check.scannet import check_scannet, is_scannet
from geoguide.datasets.formats.files import need_folder
from geoguide.errors import DataError


@dataclass(frozen=True)
class Kind:
    """One layout of a dataset.

    Attributes:
        name: Its name, for people.
        matches: Whether a folder has this layout.
        check: Reads all of the folder and fills a report.
    """

    name: str
    matches: Callable[[Path], bool]
    check: Callable[[Path, Report], None]


KINDS = (
    Kind("ScanNet v2, official layout", is_scannet, check_scannet),
    Kind("Matterport3D, official layout", is_matterport3d, check_matterport3d),
    Kind("OpenScene's published layout", is_openscene, check_openscene),
    Kind("nuScenes, official layout", is_nuscenes, check_nuscenes),
)


def identify(root: str | Path) -> tuple[Kind, ...]:
    """Tell which layouts a folder has.

    Several may lie side by side, of one dataset or of more: every layout has its own reader, and none reads another's.

    Args:
        root: The folder.

    Returns:
        The layouts, at least one.

    Raises:
        DataError: The folder is missing or has none of the layouts in `KINDS`.
    """
    root = need_folder(root, "dataset folder")
    kinds = tuple(kind for kind in KINDS if kind.matches(root))
    if not kinds:
        known = "; ".join(kind.name for kind in KINDS)
        raise DataError(f"{root}: no layout that is known here ({known}); is this the folder that holds the dataset?")
    return kinds


def check_folder(root: str | Path) -> int:
    """Print, for every layout of a folder, what is there, what is wrong, one line each, and what can be run with it.

    Every file is opened and every image decoded.

    Args:
        root: The folder.

    Returns:
        0 when nothing is wrong, else 1: the exit code of the command.

    Raises:
        DataError: The folder is missing or no dataset.
    """
    root, wrong = Path(root), 0
    for kind in identify(root):
        report = Report(f"{root}: {kind.name}")
        kind.check(root, report)
        report.print()
        wrong += len(report.problems)
    return 1 if wrong else 0
