"""OpenScene's fused 2D features of one scene, read row by row (no scene's features are ever all in memory), written.

A file maps {'feat': float16 [R, C], 'mask_full': bool [P]}: row r of `feat` belongs to the r-th True of `mask_full`, so
the row of point i is cumsum(mask_full)[i] - 1. Older files have a third key, `mask` (bool [R], or row numbers), which
says which rows of `feat` really hold a feature (OpenScene, dataset/feature_loader.py, "legacy").

Some files name every point in `mask_full`, with rows of zeros where no frame sees one: a row of zeros alone, in
float16, holds no feature, and its point counts as not seen.
"""

import functools
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geoguide.datasets.formats.files import listed, need_folder
from geoguide.datasets.formats.torch_files import as_array, is_mappable, read_torch
from geoguide.errors import DataError, InputError, ReadAs, require
from geoguide.ops.arrays import host, spread
from geoguide.paths import replacing

FEATURE_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
PROBED = 1024  # rows that are looked at for zeros; where one is found, all are
ROWS_AT_ONCE = 4096  # between two mappings: bounds the mapped pages; a mapping costs about a millisecond


class FusedFeatures:
    """One file of fused features: which points of the scene have a feature, and the features, read when asked for.

    Only `seen` and one int32 per point stay in memory; each call of `rows` maps the file, touches the rows that it
    needs and lets go of the file. A file in torch's format before 1.6 cannot be mapped: it is read whole and stays in
    memory, with one warning. `len()` is the number of points, P.

    A file that names no point as seen gives one warning. Points whose row is all zero are not seen, with one warning.
    For this, opening a file reads up to `PROBED` evenly spread rows, and all of them where one of these is zero, once
    in a process for each file. So of a larger file with zeros in less than about a thousandth of its rows, they may
    count as features.

    On nuScenes `seen` leaks labels: OpenScene gave features only to points whose ground truth is not void.

    Args:
        path: The `.pt` file.
        num_points: The size of the cloud, P, which is checked when it is given.

    Attributes:
        path: The file.
        seen: Which points have a feature, bool [P].
        width: Channels of a feature, C.
        named: How many points have a row by the file's masks.
        empty: How many of these rows are all zero, so that their points are not seen.

    Raises:
        DataError: The file is missing or truncated, has wrong keys, shapes or dtypes, or all of its features are zero;
            the message names file, field, expected and found.
    """

    def __init__(self, path: str | Path, num_points: int | None = None) -> None:
        self.path = Path(path)
        self._mapped = is_mappable(self.path)
        feat, mask_full, legacy = _fields(read_torch(self.path, mmap=self._mapped), self.path)
        if num_points is not None and len(mask_full) != num_points:
            raise DataError(f"{self.path}: mask_full holds {len(mask_full)} points, the cloud has {num_points}")
        if feat.shape[0] != mask_full.sum():
            expected = f"one for each of the {mask_full.sum()} points of mask_full"
            raise DataError(f"{self.path}: feat holds {feat.shape[0]} rows, expected {expected}")
        self.seen = mask_full  # [P]
        if legacy is not None:
            self.seen = mask_full.copy()
            self.seen[mask_full] = _legacy_rows(legacy, feat.shape[0], self.path)
        self.named = int(self.seen.sum())
        if not self.named:
            warnings.warn(f"{self.path}: names none of the {len(self)} points as seen: no features", stacklevel=2)
        filled = (
            _filled_of(self.path, *_version(self.path)) if self._mapped else _filled(lambda: feat, self.seen[mask_full])
        )
        if filled is not None:
            self.seen = self.seen.copy()
            self.seen[mask_full] &= filled
        self.empty = self.named - int(self.seen.sum())
        if self.empty and self.empty == self.named:
            raise DataError(f"{self.path}: feat must hold features, found zeros alone in all {self.named} rows")
        if self.empty:
            told = f"{self.empty} of {self.named} points have features of zeros alone: counted as not seen"
            warnings.warn(f"{self.path}: {told}", ReadAs, stacklevel=2)
        self.width = int(feat.shape[1])
        self._row = np.cumsum(mask_full, dtype=np.int32) - 1  # [P], meaningful where seen
        self._shape = tuple(feat.shape)
        self._held = None if self._mapped else feat
        if not self._mapped:
            size = f"{feat.nbytes / 2**20:.0f} MiB"
            warnings.warn(f"{self.path}: written by torch before 1.6, all {size} are kept", ReadAs, stacklevel=2)

    def __len__(self) -> int:
        return len(self.seen)

    def rows(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read the features of some points, in time and memory O(n C) for n points, whatever the file's size.

        Args:
            index: The points, integers [n] in 0..P-1, in any order.

        Returns:
            Their features float16 [n, C], 0 where a point has none, and whether each has one, bool [n].

        Raises:
            InputError: `index` has another shape or dtype, or names points outside the cloud.
            DataError: A feature is not finite, or the file has changed since it was opened.
        """
        index = np.asarray(index)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise InputError(f"index must be integers [p], found {index.dtype} {list(index.shape)}")
        if index.size and (index.min() < 0 or index.max() >= len(self)):
            raise InputError(f"index must lie in 0..{len(self) - 1}, found {index.min()}..{index.max()}")
        seen = self.seen[index]  # [n]
        place = np.flatnonzero(seen)  # positions in `index`
        place = place[np.argsort(self._row[index[place]], kind="stable")]  # the disk is read forwards
        result = np.zeros((len(index), self.width), np.float16)  # [n, C]
        for start in range(0, len(place), ROWS_AT_ONCE):
            here = place[start : start + ROWS_AT_ONCE]
            feat = self._open() if self._held is None else self._held  # [R, C]
            part = feat[torch.from_numpy(self._row[index[here]]).long()].to(torch.float16).numpy()  # a copy
            if not np.isfinite(part).all():
                raise DataError(f"{self.path}: feat holds nan, inf or values beyond float16")
            result[here] = part
            del feat  # unmaps the pages just touched, which would otherwise add up to the whole file
        return result, seen

    def _open(self) -> Tensor:
        """`feat` [R, C] of the file, mapped."""
        feat, _, _ = _fields(read_torch(self.path, mmap=True), self.path)
        if tuple(feat.shape) != self._shape:
            raise DataError(f"{self.path}: feat was {list(self._shape)} when opened, is now {list(feat.shape)}")
        return feat


class StreamedFeatures:
    """The fused features of one scene as a training reads them: the file is opened anew for each step.

    Creating it opens every file once, to check it; it then holds names only, so that a list of thousands of scenes
    costs nothing.

    Args:
        files: The scene's files, at least one, as `feature_files` lists them. Several files hold features of random
            subsets of the scene's points; a step takes one of them.
        num_points: The size of the cloud, P.

    Attributes:
        files: The files.
        num_points: P.
        width: Channels of a feature, C.
        empty: How many rows of the files are all zero (see `FusedFeatures`).

    Raises:
        DataError: A file is broken (see `FusedFeatures`), or the files differ in width.
    """

    def __init__(self, files: tuple[Path, ...], num_points: int) -> None:
        self.files, self.num_points = files, num_points
        opened = [FusedFeatures(file, num_points) for file in files]
        widths = {file.width for file in opened}
        if len(widths) != 1:
            raise DataError(f"{files[0]}: features of one scene must have one width, found {sorted(widths)}")
        self.width, self.empty = widths.pop(), sum(file.empty for file in opened)

    def seen(self) -> np.ndarray:
        """Read which points have a feature in any of the files.

        Returns:
            bool [P].

        Raises:
            DataError: A file is broken.
        """
        return np.any([FusedFeatures(file, self.num_points).seen for file in self.files], axis=0)

    def rows(self, index: np.ndarray, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Read the features of some points from one of the files, as `FusedFeatures.rows`.

        Args:
            index: The points, integers [n] in 0..P-1, in any order.
            draw: Which file: any whole number, taken modulo the number of files.

        Returns:
            Their features float16 [n, C], 0 where a point has none in this file, and whether each has one, bool [n].

        Raises:
            InputError: `index` has another shape or dtype, or names points outside the cloud.
            DataError: A feature is not finite, or the file is broken.
        """
        return FusedFeatures(self.files[draw % len(self.files)], self.num_points).rows(index)


def write_fused(path: str | Path, features: np.ndarray, seen: np.ndarray) -> Path:
    """Write fused features as OpenScene does: float16, a row for each seen point; the older file stays until the end.

    Args:
        path: The `.pt` file. OpenScene's loaders look for `{scene}_0.pt`, on nuScenes for `{scene}.pt`.
        features: float [P, C]; rows of points that are not seen are not looked at.
        seen: Which points have a feature, bool [P].

    Returns:
        `path`. Costs O(P C) memory.

    Raises:
        InputError: A wrong name, shape or dtype, or features that are not finite in float16.
        WriteError: It cannot be written.
    """
    path = Path(path)
    features, seen = host("fused features: features", features), host("fused features: seen", seen, "fiub")
    require(path.suffix == ".pt", f"fused features: path must end in .pt, found {path.name}")
    fits = features.ndim == 2 and features.shape[1] > 0 and features.dtype.kind == "f"
    require(fits, f"fused features: features must be float [P, C], found {features.dtype} {list(features.shape)}")
    told = f"fused features: seen must be bool [{len(features)}], found {seen.dtype} {list(seen.shape)}"
    require(seen.dtype == np.bool_ and seen.shape == features.shape[:1], told)
    with np.errstate(over="ignore"):
        rows = features[seen].astype(np.float16)  # [R, C]
    require(np.isfinite(rows).all(), "fused features: features hold nan, inf or values beyond float16")
    content = io.BytesIO()  # torch's own writing of files hides that a disk is full
    torch.save({"feat": torch.from_numpy(rows), "mask_full": torch.from_numpy(seen.copy())}, content)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return path


def feature_files(folder: str | Path, scene: str) -> tuple[Path, ...]:
    """List the files of fused features of one scene.

    Args:
        folder: A folder of fused features.
        scene: Name of the scene.

    Returns:
        `{scene}.pt`, or `{scene}_0.pt`, `{scene}_1.pt`, ... in this order (random subsets of the points; val and test
        scenes have one). Empty when the scene has none, as some Matterport3D regions do.

    Raises:
        DataError: The folder is missing, holds files of both kinds for the scene, or two of one number (0 and 00), or
            the numbers have a gap: OpenScene draws from 0..n-1.
    """
    folder = need_folder(folder, "folder of fused features")
    names, numbers = _listing(folder, folder.stat().st_mtime_ns)
    numbered = numbers.get(scene, {})
    if numbered and scene in names:
        first = numbered[min(numbered)].name
        raise DataError(f"{folder}: mixed layouts, holds both {scene}.pt and {first}")
    if scene in names:
        return (folder / f"{scene}.pt",)
    missing = sorted(set(range(len(numbered))) - set(numbered))
    if missing:
        raise DataError(f"{folder / f'{scene}_{missing[0]}.pt'}: fused features not found, but later numbers are there")
    return tuple(numbered[number] for number in sorted(numbered))


@functools.lru_cache(maxsize=8)
def _listing(folder: Path, _changed: int) -> tuple[frozenset[str], dict[str, dict[int, Path]]]:
    """The names of all .pt files, and name of a scene -> number -> file for those whose name ends with a number.

    Remembered until the folder's time of change, `_changed`, is another: there are thousands of files.
    """
    names, numbers = set(), {}
    for path in listed(folder, "*.pt"):
        names.add(path.stem)
        before, _, number = path.stem.rpartition("_")
        if before and number.isdecimal():
            first = numbers.setdefault(before, {}).setdefault(int(number), path)
            if first != path:
                raise DataError(f"{path}: a second file of number {int(number)}, beside {first.name}")
    return frozenset(names), numbers


def _fields(value: object, path: Path) -> tuple[Tensor, np.ndarray, np.ndarray | None]:
    """The fields of a file, checked: feat [R, C], mask_full bool [P], and the legacy `mask` or None."""
    keys = sorted(map(str, value)) if isinstance(value, dict) else type(value).__name__
    if not isinstance(value, dict) or keys not in (["feat", "mask_full"], ["feat", "mask", "mask_full"]):
        raise DataError(f"{path}: expected a dictionary of feat, mask_full (and, legacy, mask), found {keys}")
    feat = value["feat"]
    if not isinstance(feat, (Tensor, np.ndarray)):
        raise DataError(f"{path}: feat must be float16 or float32 [M, C], found {type(feat).__name__}")
    feat = torch.as_tensor(feat).detach()
    if feat.dim() == 3 and feat.shape[2] == 1:
        feat = feat[..., 0]  # some legacy files end with an axis of size one
    if feat.dim() != 2 or feat.dtype not in FEATURE_DTYPES or feat.shape[1] == 0:
        found = f"{str(feat.dtype).removeprefix('torch.')} {list(feat.shape)}"
        raise DataError(f"{path}: feat must be float16 or float32 [M, C], found {found}")
    mask_full = as_array(value["mask_full"], path, "mask_full").copy()  # without a copy the file would stay mapped
    if mask_full.ndim != 1 or mask_full.dtype != np.bool_:
        raise DataError(f"{path}: mask_full must be bool [N], found {mask_full.dtype} {list(mask_full.shape)}")
    return feat, mask_full, as_array(value["mask"], path, "mask").copy() if "mask" in value else None


def _version(path: Path) -> tuple[int, int, int]:
    """What is another where a file was replaced."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


@functools.lru_cache(maxsize=1 << 14)  # small: only files with zeros have an array
def _filled_of(path: Path, *_written: int) -> np.ndarray | None:
    """`_filled` of a file that can be mapped; a training opens it anew for each step."""
    feat, _, legacy = _fields(read_torch(path, mmap=True), path)
    held = np.ones(len(feat), bool) if legacy is None else _legacy_rows(legacy, len(feat), path)
    del feat
    return _filled(lambda: _fields(read_torch(path, mmap=True), path)[0], held)


def _filled(load: Callable[[], Tensor], held: np.ndarray) -> np.ndarray | None:
    """Which rows hold more than zeros, bool [R]; None where each of a few that are spread evenly does.

    Args:
        load: Gives `feat` [R, C]; called again for every few rows, so that mapped pages do not add up.
        held: Which rows are looked at, bool [R]; others count as filled.
    """
    rows = np.flatnonzero(held)
    probed = rows[spread(len(rows), PROBED)]
    if _has_values(load(), probed).all():
        return None
    filled = np.ones(len(held), bool)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        here = rows[start : start + ROWS_AT_ONCE]
        filled[here] = _has_values(load(), here)
    return filled


def _has_values(feat: Tensor, rows: np.ndarray) -> np.ndarray:
    """Whether some rows of `feat` are not all zero, as they are given: in float16; nan is a value."""
    return (feat[torch.from_numpy(rows)].to(torch.float16) != 0).any(dim=1).numpy()


def _legacy_rows(mask: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Which of `count` rows hold a feature, bool [count], by the legacy `mask`: a bool per row, or row numbers."""
    if mask.ndim == 1 and mask.dtype == np.bool_ and len(mask) == count:
        return mask
    fits = mask.ndim == 1 and mask.dtype.kind in "iu"
    if not fits or (mask.size and (mask.min() < 0 or mask.max() >= count)):
        found = f"{mask.dtype} {list(mask.shape)}"
        raise DataError(f"{path}: mask must be bool [{count}] or row numbers below {count}, found {found}")
    rows = np.zeros(count, dtype=bool)
    rows[mask] = True
    return rows
