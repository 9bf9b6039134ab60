"""The search on the validation rooms of the large edition, as a table."""

from pathlib import Path

import pandas as pd

from geoguide.experiments import regime
from geoguide.experiments.records import find

OPTION, SCORE, AGAINST = "option", "validation mIoU", "against the row it changes"


def search_table(folder: Path | None = None) -> pd.DataFrame:
    """The search as shown.

    Args:
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        A line for each option of `regime.SEARCH` that was run: its validation mIoU in %, and how far that is from the
        row that it changes, where this was run: works-best as it was, or the adapter for schedules. Without any record
        no line.
    """
    scores = {}
    for option, config in zip(regime.SEARCH, regime.search(), strict=True):
        record = find(config, folder)
        if record is not None and record.validation is not None:
            scores[option] = record.validation["miou"]
    lines = []
    for option, score in scores.items():
        first = regime.SCHEDULED if option.startswith(f"{regime.SCHEDULED}, ") else next(iter(regime.SEARCH))
        against = f"{score - scores[first]:+.1f}" if first in scores and first != option else ""
        lines.append({OPTION: option, SCORE: f"{score:.1f}", AGAINST: against})
    return pd.DataFrame(lines, columns=[OPTION, SCORE, AGAINST])
