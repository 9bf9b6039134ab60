"""Whether trainings were long enough: what twice the steps was foretold to add, and what it added (chapter 07)."""

from collections.abc import Iterable

import pandas as pd

from geoguide.experiments.records import Record
from geoguide.frozen import config_hash
from geoguide.pipeline.convergence import LONGER, TOLERANCE, gain_left
from geoguide.report.tables import mean_of


def doubled(found: Iterable[Record]) -> list[Record]:
    """The records beside which the same training with `LONGER` times the steps lies.

    Args:
        found: Records.

    Returns:
        Those; of experiments that share a training one that is tested where it was trained, if there is one.
    """
    first: dict[str, Record] = {}
    for record in sorted(found, key=lambda record: record.facts.tested_on != record.facts.trained_on):
        if record.gained_by_longer is not None:
            first.setdefault(config_hash(record.config.training()), record)
    return list(first.values())


def length_table(found: Iterable[Record]) -> pd.DataFrame:
    """Rows whose trainings were repeated with `LONGER` times the steps.

    Args:
        found: See `doubled`.

    Returns:
        A line per row and edition: its steps, points of validation mIoU that a longer training was foretold to add
        (`gain_left`) and added, means over the seeds, and how many of them were foretold on the right side of
        `TOLERANCE`.
    """
    lines = [
        {
            "row": record.name,
            "edition": record.facts.edition,
            "steps": record.config.train.steps,
            "foretold": gain_left(record.history, record.config.train, longer=LONGER - 1),
            "measured": record.gained_by_longer,
        }
        for record in found
    ]
    table, columns = [], ["row", "edition", "steps", "foretold", "measured"]
    for _, part in pd.DataFrame(lines, columns=columns).groupby(["row", "edition", "steps"], sort=False):
        right = (part["foretold"].astype(float) < TOLERANCE) == (part["measured"] < TOLERANCE)
        told = {name: mean_of(part[name].to_numpy(float), signed=True) for name in ("foretold", "measured")}
        seeds = f"{int(right.sum())} of {len(part)}"
        same = {name: part[name].iat[0] for name in ("row", "edition", "steps")}
        table.append({**same, **told, "seeds foretold rightly": seeds})
    return pd.DataFrame(table, columns=[*columns, "seeds foretold rightly"])
