"""Where a labelling fails: the hardest scene of a record, its wrong points, and which classes are taken for others."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from geoguide.errors import DataError, InputError
from geoguide.experiments.records import Record
from geoguide.labels import load_label_set
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID

RIGHT, WRONG, UNSCORED = (0.80, 0.84, 0.88), (0.84, 0.37, 0.0), (0.95, 0.95, 0.95)


def hardest_scene(record: Record, scenes: Sequence[PreparedScene]) -> tuple[PreparedScene, float]:
    """The scored scene with the lowest mIoU over the classes that it holds.

    Where the protocol counts absent classes as 0, a scene's mIoU in the record is low for holding few classes; this
    takes that out again.

    Args:
        record: Of the network.
        scenes: Prepared scenes with labels, among them some that were scored.

    Returns:
        The scene, and that mIoU in %.

    Raises:
        DataError: None of the scenes was scored.
    """
    scores, classes = record.metrics.scene_miou, len(record.metrics.iou)
    found = {}
    for number, scene in enumerate(scenes):
        held = len(np.setdiff1d(np.unique(np.asarray(scene.labels)), [VOID]))
        if scene.name in scores and held:
            zero = record.config.protocol.absent_class == "zero"
            found[number] = scores[scene.name] * (classes / held if zero else 1.0)
    if not found:
        raise DataError(f"record {record.id}: none of its scored scenes is among the {len(scenes)} given")
    worst = min(found, key=found.__getitem__)
    return scenes[worst], found[worst]


def error_colors(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Colours that show mistakes.

    Args:
        truth: Class ids, int [P]; 255 is not scored.
        prediction: Class ids, int [P].

    Returns:
        float [P, 3] in [0, 1]: orange where wrong, grey-blue where right, nearly white where not scored.

    Raises:
        InputError: The shapes differ.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape or truth.ndim != 1:
        raise InputError(f"prediction must be {list(truth.shape)} as truth is, found {list(prediction.shape)}")
    colors = np.where((truth == prediction)[:, None], RIGHT, WRONG)  # [P, 3]
    return np.where((truth == VOID)[:, None], UNSCORED, colors)


def confusions(record: Record, count: int = 12) -> pd.DataFrame:
    """The most frequent mistakes of a whole test split.

    Args:
        record: Of the network.
        count: How many pairs of classes at most.

    Returns:
        A line per pair, most frequent first: true class, predicted class, and two shares in %.
    """
    known = load_label_set(record.facts.label_set).names  # the matrix's order; a file's keys may have another
    matrix, names = np.array(record.metrics.confusion), [name for name in known if name in record.metrics.iou]  # [C, C]
    totals, wrong = matrix.sum(axis=1), matrix - np.diag(np.diag(matrix))  # [C], [C, C]
    order = np.argsort(-wrong, axis=None, kind="stable")[: min(count, int((wrong > 0).sum()))]
    table = [
        {
            "true class": names[true],
            "predicted class": names[taken],
            "share of the true class's points (%)": 100.0 * wrong[true, taken] / totals[true],
            "share of all mistakes (%)": 100.0 * wrong[true, taken] / wrong.sum(),
        }
        for true, taken in zip(*np.unravel_index(order, wrong.shape), strict=True)
    ]
    return pd.DataFrame(table)
