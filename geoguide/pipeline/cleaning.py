"""`geoguide data clean`: remove what the cache and the folder of checkpoints hold and what can be computed again.

Only files with the names that this package gives are counted or removed, in the folders where it puts them: generated
worlds, models, records and other people's files stay, links are neither followed nor removed. A command that runs
meanwhile goes on: arrays that it has mapped stay readable until it ends, others are computed again. Compiled code of
numba (`cache/numba`) and notes of a few kilobytes that name scenes stay, too. What the grid noted of scenes whose every
stage is there (`cache/prepared`) goes with any stage.
"""

import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from geoguide.errors import ConfigError
from geoguide.paths import cache_root, checkpoints_root, sweep, writing

DAY = 86400  # seconds
WHAT = {  # every kind, and what it takes to have it again
    "lifted": "2D features of points; lifted again from the images, or from `frames`",
    "kept": "features of the points that training scenes keep; both kinds of features are computed again",
    "geometry": "frozen 3D features of points; the backbone runs again",
    "means": "means of both features over regions; computed with them",
    "superpoints": "superpoints; found again",
    "masks": "instance masks; found again, and `means` of the same masks are still used",
    "scene": "points, colours and annotation as read from the dataset; read again",
    "frames": "what 2D models said of images; the model runs again on each, which takes longest",
    "text": "embedded sentences; the text model runs again",
    "checkpoints": "of trainings; interrupted ones begin anew, finished ones where another scoring needs them",
}
ELSEWHERE = ("frames", "text", "checkpoints")  # kinds that are no stages of scenes
LARGE = ("lifted", "kept", "geometry", "means")  # the bulk, and made again from the rest without being asked

_SCENE = re.compile(r".+-[0-9a-f]{12}")  # `Stages`: <scene>-<fingerprint>
_STAGE = re.compile(r"(?P<stem>(?P<kind>[a-z_]+)-[0-9a-f]{10})\.(json|[a-z]+\.npy)")  # `StageCache`
_MODEL = re.compile(r"[A-Za-z0-9.-]*-[0-9a-f]{16}")  # `FrameCache`: <model>-<hash of identity>
_PREPARED = re.compile(r"[0-9a-f]{12}\.json")  # `grid.prepare_scenes`
_FRAME = re.compile(r"(?P<stem>[0-9a-f]{32})\.npy")
_SENTENCE = re.compile(r"(?P<stem>[0-9a-f]{32})\.npz")  # `TextEncoder`
_TRAINING = re.compile(r"(?P<stem>([A-Za-z0-9.+-]+-)?[0-9a-f]{10})\.pt")  # `fit`, and `train_and_save` of networks
_SCAN = re.compile(r"[0-9a-f]{12}")  # where `fit_scan` of before 0.20 put checkpoints


@dataclass(frozen=True)
class Entry:
    """Files that are only of use together.

    Attributes:
        kind: One of `WHAT`.
        files: In the order in which they are removed: the list of a stage before its arrays.
        size: Bytes.
        written: When the newest was written, in seconds as `time.time` counts.
    """

    kind: str
    files: tuple[Path, ...]
    size: int
    written: float


@dataclass(frozen=True)
class Cleaned:
    """What was removed, or would be.

    Attributes:
        kinds: Of each kind that was asked for the number of entries and of bytes that were chosen.
        others: Likewise what stays, of every kind.
        removed: Whether the chosen ones were removed.
    """

    kinds: dict[str, tuple[int, int]]
    others: dict[str, tuple[int, int]]
    removed: bool

    @property
    def size(self) -> int:
        """Bytes of all that was chosen."""
        return sum(size for _, size in self.kinds.values())

    def lines(self) -> list[str]:
        """Say it in words.

        Returns:
            A line for each kind with something in it, and one for the sum.
        """
        found = [_line(name, *counted) for name, counted in self.kinds.items() if counted[0]]
        left = sum(size for _, size in self.others.values())
        says = "freed" if self.removed else "would free"
        stays = f"; what stays: {', '.join(name for name in WHAT if name in self.others)}, {in_words(left)}"
        return [*found, f"{says} {in_words(self.size)}{stays if left else ''}"]


def clean(
    kinds: Sequence[str] = LARGE, *, older_than: float = 0.0, dry_run: bool = False, progress: bool = True
) -> Cleaned:
    """Remove what was computed and can be computed again; what killed processes left goes, too.

    Args:
        kinds: Of `WHAT`; by default what is large and comes again without being asked for.
        older_than: Only what was written at least so many days ago.
        dry_run: Whether to count only.
        progress: Whether to show a progress bar.

    Returns:
        What was removed or would be. An interrupted call leaves whole entries and parts that the next one removes.

    Raises:
        ConfigError: An unknown kind, or a negative age.
        WriteError: Something cannot be removed, for lack of permission for example.
    """
    unknown = sorted(set(kinds) - set(WHAT))
    if unknown:
        raise ConfigError(f"kinds must be of {', '.join(WHAT)}, found {', '.join(unknown)}")
    if not older_than >= 0:
        raise ConfigError(f"older_than must be at least 0 days, found {older_than}")
    before = time.time() - older_than * DAY
    chosen, others = [], []
    for entry in entries():
        (chosen if entry.kind in kinds and entry.written <= before else others).append(entry)
    if not dry_run:
        if any(entry.kind not in ELSEWHERE for entry in chosen):
            _forget_prepared()
        for folder in {path.parent for entry in chosen for path in entry.files}:
            sweep(folder)
        for entry in tqdm(chosen, "clean", disable=not progress or not chosen):
            for path in entry.files:  # folders stay: a command may just be about to write into them
                with writing(path):
                    path.unlink(missing_ok=True)
    sums = _counted(chosen)
    return Cleaned({kind: sums[kind] for kind in WHAT if kind in kinds}, _counted(others), not dry_run)


def _forget_prepared() -> None:
    """Remove the notes that all stages of some scenes are there, before one of the stages goes."""
    folder = cache_root() / "prepared"
    for path in folder.iterdir() if folder.is_dir() else ():
        if _PREPARED.fullmatch(path.name) and _is_own(path):
            with writing(path):
                path.unlink(missing_ok=True)


def entries() -> list[Entry]:
    """List all that `clean` may remove.

    Returns:
        The entries of the cache and of the folder of checkpoints, in the order of their names.
    """
    cache, found = cache_root(), []
    for folder in _folders(cache, _SCENE):
        found += _of_folder(folder, _STAGE, None)
    for folder in _folders(cache / "frames", _MODEL):
        found += _of_folder(folder, _FRAME, "frames")
    found += _of_folder(cache / "text", _SENTENCE, "text")
    for folder in (checkpoints_root(), *_folders(checkpoints_root(), _SCAN)):
        found += _of_folder(folder, _TRAINING, "checkpoints")
    return found


def in_words(size: int) -> str:
    """Say a number of bytes.

    Args:
        size: Bytes.

    Returns:
        Such as "4.9 GB": units of a thousand, as disks are sold.

    Example:
        >>> in_words(0), in_words(999), in_words(4_900_000_000)
        ('0 bytes', '999 bytes', '4.9 GB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _line(name: str, count: int, size: int) -> str:
    return f"{name:<12} {count:>7} {'entry  ' if count == 1 else 'entries'} {in_words(size):>10}   {WHAT[name]}"


def _counted(found: Sequence[Entry]) -> dict[str, tuple[int, int]]:
    sums: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for entry in found:
        count, size = sums[entry.kind]
        sums[entry.kind] = (count + 1, size + entry.size)
    return sums


def _folders(place: Path, name: re.Pattern[str]) -> Iterator[Path]:
    """The folders of this name in a place, without links."""
    if place.is_dir():
        yield from sorted(one for one in place.iterdir() if name.fullmatch(one.name) and _is_own(one, folder=True))


def _is_own(path: Path, *, folder: bool = False) -> bool:
    return not path.is_symlink() and (path.is_dir() if folder else path.is_file())


def _of_folder(folder: Path, name: re.Pattern[str], kind: str | None) -> Iterator[Entry]:
    """The entries of one folder; None: each file's name says its kind. `kept_geometry` is a part of `kept`."""
    groups: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in folder.iterdir() if folder.is_dir() else ():
        match = name.fullmatch(path.name)
        if match is None or not _is_own(path):
            continue
        own = kind or match["kind"].partition("_")[0]
        if own in WHAT:
            groups[own, match["stem"]].append(path)
    for (own, _), paths in sorted(groups.items()):
        found = [(path.suffix != ".json", path, status) for path in sorted(paths) if (status := _status(path))]
        if found:
            files = tuple(path for _, path, _ in sorted(found, key=lambda one: one[:2]))
            written = max(seconds for _, _, (_, seconds) in found)
            yield Entry(own, files, sum(size for _, _, (size, _) in found), written)


def _status(path: Path) -> tuple[int, float] | None:
    """Bytes and time of writing; None where another process has just removed it."""
    with contextlib.suppress(FileNotFoundError):
        status = path.lstat()
        return status.st_size, status.st_mtime
    return None
