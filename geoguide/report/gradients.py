"""How strongly each term of the loss pulls at the student's output, from the histories of records."""

from collections.abc import Mapping, Sequence

import pandas as pd

from geoguide.experiments.facts import Row
from geoguide.experiments.records import Record, pick
from geoguide.report.labels import row_label

GRADIENT = "grad_"  # what the names of a history begin with that hold the length of a term's gradient
NO_TERM = ("step", "val_miou", "train_miou")
_MODULES = {  # what a term of the loss is called where it is read
    "point": "distillation of points",
    "superpoint": "USD, superpoints",
    "reliability": "USD, reliability",
    "mask": "IMR",
    "sim_masks": "IIRC, masks",
    "sim_superpoints": "IIRC, superpoints",
    "total": "sum",
}


def loss_terms(history: Sequence[Mapping[str, float]]) -> list[str]:
    """The names of the weighted loss terms in a training curve, its sum `total` among them.

    Args:
        history: See `Record.history`.

    Returns:
        The names, in the order of the rows, without what else is watched.
    """
    names = dict.fromkeys(name for row in history for name in row)
    return [name for name in names if name not in NO_TERM and not name.startswith((GRADIENT, "lambda_"))]


def term_name(term: str) -> str:
    """A term of the loss by the paper's module that it belongs to.

    Args:
        term: As a history calls it.

    Returns:
        In words; other terms keep their names.
    """
    return _MODULES.get(term, term)


def gradient_table(found: Sequence[Record], rows: Sequence[Row]) -> pd.DataFrame:
    """The length of each term's gradient with respect to F_3d^sem, early and late in training.

    A term whose gradient is a hundredth of another's teaches next to nothing beside it, whatever its loss is.

    Args:
        found: Records; those from before gradients were watched say nothing.
        rows: Facts of the rows that are shown.

    Returns:
        By label of the row and quarter of the training, a column for each weighted term: the mean over the quarter's
        watched steps and over the seeds, in thousandths; NaN where a row has no such term. Rows without a watched
        gradient are left out, and so the table is empty where none has any.
    """
    lines = {}
    for row in rows:
        histories = [pd.DataFrame(record.history).filter(regex=f"^{GRADIENT}") for record in pick(found, row)]
        histories = [history for history in histories if not history.empty]
        if histories:
            early = [history.head(max(1, len(history) // 4)).mean() for history in histories]
            late = [history.tail(max(1, len(history) // 4)).mean() for history in histories]
            for part, means in (("first quarter", early), ("last quarter", late)):
                lines[row_label(row), part] = 1000 * pd.concat(means, axis=1).mean(axis=1)
    table = pd.DataFrame.from_dict(lines, orient="index")
    table.columns = [str(name).removeprefix(GRADIENT) for name in table.columns]
    if lines:
        table.index = pd.MultiIndex.from_tuples(lines, names=["", "of the training"])
    return table
