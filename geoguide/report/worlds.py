"""What changes when not only the training is repeated, but rooms and 2D model are drawn anew as well."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from geoguide.experiments.facts import Row
from geoguide.experiments.records import Record, frame, only
from geoguide.method.objective import MODULES
from geoguide.report.evidence import against
from geoguide.report.labels import row_label
from geoguide.report.rows import ADAPTER, AS_WRITTEN, FULL, FUSION, geoguide
from geoguide.report.tables import mean_of

DIFFERENCES: tuple[tuple[Row, Row], ...] = (
    (ADAPTER, FUSION),
    (AS_WRITTEN, ADAPTER),
    (FULL, ADAPTER),
    *((geoguide("works-best", module), FULL) for module in MODULES),
)
COLUMNS = ("Δ mIoU", "one world", "seeds", "worlds drawn anew", "worlds")


def world_table(records: Sequence[Record]) -> pd.DataFrame:
    """Differences over training seeds in the first world, beside the same over worlds.

    Args:
        records: Of the small edition's ablation and of `profiles.worlds`.

    Returns:
        A line per difference in mIoU: mean and 95 % interval over the seeds of the first world, and over worlds, each
        with its own rooms, 2D model and seed; of the first world its first seed is one. A difference that was not run
        in another world has no line. Verdicts on both are in the claims ledger.
    """
    worlds: dict[int, list[Record]] = {}
    for record in records:
        worlds.setdefault(record.config.data.room_seed, []).append(record)
    lines = {world: frame(found) for world, found in sorted(worlds.items())}
    table = []
    for row, reference in DIFFERENCES:
        drawn = {world: _gaps(there, row, reference) for world, there in lines.items()}
        drawn = {world: gaps for world, gaps in drawn.items() if len(gaps)}
        if 0 not in drawn or len(drawn) < 2:
            continue
        seeds, anew = drawn[0], np.array([gaps[0] for gaps in drawn.values()])
        cells = (mean_of(seeds, True), len(seeds), mean_of(anew, True), len(anew))
        table.append([f"{row_label(row)} less {row_label(reference)}", *cells])
    return pd.DataFrame(table, columns=list(COLUMNS))


def world_lines(records: Sequence[Record]) -> pd.DataFrame:
    """One line for each row and world, to be paired by world.

    Args:
        records: As for `world_table`.

    Returns:
        As `records.frame`, of the trainings whose seed is that of their world; rooms, 2D model and training are then
        all drawn by `seed`, and no fact counts as changed.
    """
    found = [record for record in records if record.history and record.facts.seed == record.config.data.room_seed]
    return frame(found).assign(changed=[()] * len(found))


def _gaps(lines: pd.DataFrame, row: Row, reference: Row) -> np.ndarray:
    """Differences of two rows in one world, by seed."""
    return against(lines, row, reference) if len(only(lines, reference)) else np.empty(0)
