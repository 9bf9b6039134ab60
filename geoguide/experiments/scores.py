"""The scores of a record, and what must hold among them: numbers that somebody typed are told from those computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoguide.errors import ConfigError
from geoguide.labels import load_label_set
from geoguide.pipeline.config import Protocol

ROUNDED = 0.002  # of %: files round the classes' IoU and accuracies to 0.001
_MEANS = ("miou", "macc", "miou_skip")


@dataclass(frozen=True)
class Scores:
    """What was scored on one label set; shares in %.

    Attributes:
        miou: Over the classes, absent ones as the protocol says.
        macc: Likewise.
        miou_skip: Over the classes that the scenes hold.
        iou: By class name; None where the class is absent.
        acc: Likewise.
        scene_miou: `miou` of each scene, by its name; NaN where no class has points there.
        confusion: Points [C, C], rows ground truth; None for a further label set, of which it is not kept.
    """

    miou: float
    macc: float
    miou_skip: float
    iou: Mapping[str, float | None]
    acc: Mapping[str, float | None]
    scene_miou: Mapping[str, float]
    confusion: list[list[int]] | None = None


def check_scores(where: str, held: Scores, label_set: str, protocol: Protocol) -> None:
    """Refuse scores whose means do not follow from what they are means of: someone has typed a number.

    The means over the classes must follow from the classes' IoU and accuracies, these from the confusion matrix, where
    it is kept. IoU and mAcc may be lower than by these where points without a 2D feature count as wrong: the matrix
    leaves them out. Networks label every point, so that it is so in the mode `fusion` alone.

    Args:
        where: What an error calls the scores, such as "metrics".
        held: The scores.
        label_set: The name of the label set that was scored.
        protocol: How.

    Raises:
        ConfigError: They do not; the message says both numbers.
    """
    there = [value for value in held.iou.values() if value is not None]
    if not there:
        return
    _same(f"{where}.miou_skip", held.miou_skip, sum(there) / len(there))
    counted = len(held.iou) if protocol.absent_class == "zero" else len(there)
    if protocol.absent_class != "union":
        _same(f"{where}.miou", held.miou, sum(there) / counted)
    every = protocol.mode != "fusion"  # every point has a prediction
    names = [name for name in load_label_set(label_set).names if name in held.iou]  # json has no order
    if held.confusion:
        _check_classes(where, held, names, whole=every or protocol.no_feature != "wrong")
    for name, value in held.iou.items():
        if name not in held.acc or (held.acc[name] is None) != (value is None):
            raise ConfigError(f"{where}.acc.{name} and iou.{name} must both hold a share or null: edited by hand?")
    if protocol.absent_class != "union":
        most = sum(value for value in held.acc.values() if value is not None) / counted
        _same(f"{where}.macc", held.macc, most, less=not every and protocol.no_feature != "drop")
    _check_shares(where, held)


def _check_classes(where: str, held: Scores, names: Sequence[str], *, whole: bool) -> None:
    """Refuse classes' shares that do not follow from the confusion matrix; `whole`: it has all that IoU counts."""
    if {len(row) for row in held.confusion or ()} | {len(held.confusion or ())} != {len(names)}:
        shape = [len(held.confusion or ()), *{len(row) for row in held.confusion or ()}]
        raise ConfigError(f"{where}.confusion must be {[len(names)] * 2}, found {shape}")
    matrix = np.array(held.confusion, dtype=np.float64)  # [C, C]
    hits, rows, columns = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)  # [C]
    for number, name in enumerate(names):
        value, accuracy = held.iou[name], held.acc.get(name)
        if value is not None:
            most = 100 * hits[number] / max(rows[number] + columns[number] - hits[number], 1)
            _same(f"{where}.iou.{name}", value, most, less=not whole)
        if accuracy is not None:
            _same(f"{where}.acc.{name}", accuracy, 100 * hits[number] / max(rows[number], 1))


def _check_shares(where: str, held: Scores) -> None:
    """Refuse what is no share in %. A mean over no class at all is NaN, of a scene too."""
    shares = {name: getattr(held, name) for name in _MEANS}
    for field, values in {"": shares, "iou.": held.iou, "acc.": held.acc, "scene_miou.": held.scene_miou}.items():
        for name, value in values.items():
            empty = value is None or (field == "scene_miou." and np.isnan(value))
            if not empty and not -ROUNDED <= value <= 100 + ROUNDED:
                raise ConfigError(f"{where}.{field}{name} must be a share in %, found {value:.7g}")


def _same(field: str, found: float, expected: float, *, less: bool = False) -> None:
    """Refuse a number that does not follow from others; `less`: it may be lower."""
    if not abs(found - expected) <= ROUNDED and not (less and found < expected):
        raise ConfigError(f"{field} is {found:.7g}, {expected:.7g} by the classes' points: edited by hand?")
