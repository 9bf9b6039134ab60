"""The counts of every scored scene as a record keeps them: packed into text, unpacked, and checked against the scores.

Of the label set that an experiment is about the confusion matrix is kept, of further ones (up to 160 classes) what
every score is made of. Measured on the test scenes: 276 bytes a room (20 classes); 314 a region (21 classes), and 192,
292 and 440 for its three further label sets, whose matrices would take 479, 837 and 1,266. So 100 rooms take 30 kB in
a record, 100 regions 130 kB.
"""

import base64
import binascii
import math
import zlib
from collections.abc import Mapping

import numpy as np

from geoguide.errors import ConfigError
from geoguide.experiments.scores import ROUNDED, Scores
from geoguide.labels import load_label_set
from geoguide.metrics import ClassSums, ConfusionMatrix
from geoguide.pipeline.config import Protocol

EXACT = 1e-9  # of %: the same integers, divided and added by another version of numpy
_WORD = np.dtype("<i8")


def pack(counts: np.ndarray) -> str:
    """Pack the counts of a scene, most of which are 0.

    Args:
        counts: Integers >= 0 of any shape, such as `ConfusionMatrix.counts`, [C, C + 1].

    Returns:
        Base64 of zlib of two rows: the gaps between the cells that are not 0, in C order, and their values; int64, all
        lowest bytes of a row first, then all second ones and so on.

    Example:
        >>> text = pack(np.array([[5, 0, 0], [0, 7, 1]]))
        >>> unpack(text, (2, 3), "room").tolist()
        [[5, 0, 0], [0, 7, 1]]
    """
    flat = counts.ravel()
    cells = np.flatnonzero(flat)  # [n]
    rows = np.stack([np.diff(cells, prepend=-1), flat[cells]]).astype(_WORD)  # [2, n]
    planes = rows.view(np.uint8).reshape(2, -1, _WORD.itemsize).transpose(0, 2, 1)  # [2, 8, n]
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def unpack(text: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """Unpack what `pack` made; costs no more memory than the counts, whatever the text says.

    Args:
        text: The text.
        shape: Of the counts.
        where: What an error calls them.

    Returns:
        The counts, int64 of that shape.

    Raises:
        ConfigError: The text is none that `pack` made of such counts.
    """
    size = math.prod(shape)
    try:
        packed = base64.b64decode(text, validate=True)
        data = zlib.decompressobj().decompress(packed, 2 * _WORD.itemsize * size + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ConfigError(f"{where} holds no packed counts ({error})") from None
    if len(data) % (2 * _WORD.itemsize):
        raise ConfigError(f"{where} must hold two rows of 64-bit counts, found {len(data)} bytes")
    planes = np.frombuffer(data, np.uint8).reshape(2, _WORD.itemsize, -1).transpose(0, 2, 1)  # [2, n, 8]
    gaps, values = np.ascontiguousarray(planes).view(_WORD).reshape(2, -1)  # [n] each
    if len(gaps) and (min(gaps.min(), values.min()) < 1 or gaps.max() > size or gaps.sum() > size):
        raise ConfigError(f"{where} must hold counts of {list(shape)}, found cells outside or counts below 1")
    flat = np.zeros(size, np.int64)
    flat[gaps.cumsum() - 1] = values
    return flat.reshape(shape)


def pack_matrices(per_scene: Mapping[str, ConfusionMatrix]) -> dict[str, str]:
    """What a record keeps of the label set that it is about.

    Args:
        per_scene: By name of the scene.

    Returns:
        By name of the scene, the packed counts [C, C + 1].
    """
    return {name: pack(confusion.counts) for name, confusion in per_scene.items()}


def pack_sums(per_scene: Mapping[str, ConfusionMatrix]) -> dict[str, str]:
    """What a record keeps of a further label set.

    Args:
        per_scene: By name of the scene.

    Returns:
        By name of the scene, packed hits, union and totals [3, C] as in `ClassSums`.
    """
    sums = {name: ClassSums.of(confusion.counts, confusion.no_feature) for name, confusion in per_scene.items()}
    return {name: pack(np.stack([held.hits, held.union, held.totals])) for name, held in sums.items()}


def unpack_counts(held: Mapping[str, str], label_set: str) -> np.ndarray:
    """The counts that `pack_matrices` packed.

    Args:
        held: By name of the scene, S of them.
        label_set: Name of the label set.

    Returns:
        int64 [S, C, C + 1], as `ConfusionMatrix.counts` of each scene.

    Raises:
        ConfigError: A text holds no such counts.
    """
    shape = (len(load_label_set(label_set)), len(load_label_set(label_set)) + 1)
    found = [unpack(text, shape, f"confusions.{name}") for name, text in held.items()]
    return np.array(found, np.int64).reshape(-1, *shape)


def unpack_sums(held: Mapping[str, str], label_set: str) -> ClassSums:
    """The sums that `pack_sums` packed.

    Args:
        held: By name of the scene.
        label_set: Name of the label set.

    Returns:
        The sums of all S scenes in their order, [S, C].

    Raises:
        ConfigError: A text holds no such sums.
    """
    shape = (3, len(load_label_set(label_set)))
    rows = [unpack(text, shape, f"class_sums.{label_set}.{name}") for name, text in held.items()]
    return ClassSums(*np.stack(rows, axis=1))


def check_matrices(held: Mapping[str, str], scores: Scores, label_set: str, protocol: Protocol) -> ClassSums:
    """Refuse matrices from which the scores of a record do not follow.

    Args:
        held: By name of the scene, as `pack_matrices` made them.
        scores: On the same label set.
        label_set: Its name.
        protocol: How was scored.

    Returns:
        The sums of all S scenes in their order, [S, C].

    Raises:
        ConfigError: They do not follow; the message says both numbers.
    """
    counts = unpack_counts(held, label_set)
    sums = ClassSums.of(counts, protocol.no_feature)
    _check_sums("confusions", tuple(held), sums, scores, protocol)
    if scores.confusion and not np.array_equal(counts[..., :-1].sum(axis=0), np.array(scores.confusion)):
        raise ConfigError("confusions do not add up to metrics.confusion: edited by hand?")
    return sums


def check_packed_sums(held: Mapping[str, str], scores: Scores, label_set: str, protocol: Protocol) -> ClassSums:
    """As `check_matrices`, of a further label set.

    Args:
        held: By name of the scene, as `pack_sums` made them.
        scores: On the same label set.
        label_set: Its name.
        protocol: How was scored.

    Returns:
        As `check_matrices`.

    Raises:
        ConfigError: The scores do not follow; the message says both numbers.
    """
    sums = unpack_sums(held, label_set)
    _check_sums(f"class_sums.{label_set}", tuple(held), sums, scores, protocol)
    return sums


def _check_sums(where: str, names: tuple[str, ...], sums: ClassSums, scores: Scores, protocol: Protocol) -> None:
    """Refuse sums of other scenes than were scored, or from which mIoU and mAcc of all, or mIoU of each, do not follow.

    `where` is what an error calls the sums [S, C] of the scenes with these names.
    """
    others = sorted({*names} ^ {*scores.scene_miou})
    if others:
        raise ConfigError(f"{where} and scene_miou must hold the same scenes, only one of them has {others[0]}")
    rule = protocol.absent_class
    whole = ClassSums(*(part.sum(axis=0) for part in (sums.hits, sums.union, sums.totals)))
    _need(f"miou of {where}", 100 * float(whole.mean(whole.iou(), rule)), scores.miou, EXACT)
    _need(f"macc of {where}", 100 * float(whole.mean(whole.class_accuracy(), rule)), scores.macc, EXACT)
    for name, found in zip(names, 100 * sums.mean(sums.iou(), rule), strict=True):
        _need(f"miou of {where}.{name}", found, scores.scene_miou[name], ROUNDED)


def _need(field: str, found: float, stated: float, tolerance: float) -> None:
    """Refuse a score that does not follow from the counts; that of nothing is NaN."""
    if not abs(found - stated) <= tolerance and not (np.isnan(found) and np.isnan(stated)):
        raise ConfigError(f"{field} is {found:.12g} by the counts, {stated:.12g} as stated: edited by hand?")
