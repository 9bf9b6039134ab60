"""The search on the validation rooms of the large edition, as a table."""

from pathlib import Path

import pandas as pd

from geoguide.experiments import regime
from geoguide.experiments.placing import LARGE
from geoguide.experiments.presets import LARGE_PRESETS
from geoguide.experiments.records import find
from geoguide.method.objective import MODULES

_SCHEDULES = f"{regime.SCHEDULED}, "  # how an option begins that changes the adapter's schedule
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
    scores, lines = _scores(folder), []
    for option, score in scores.items():
        first = regime.SCHEDULED if option.startswith(_SCHEDULES) else next(iter(regime.SEARCH))
        against = f"{score - scores[first]:+.1f}" if first in scores and first != option else ""
        lines.append({OPTION: option, SCORE: f"{score:.1f}", AGAINST: against})
    return pd.DataFrame(lines, columns=[OPTION, SCORE, AGAINST])


def _scores(folder: Path | None) -> dict[str, float]:
    """Validation mIoU (%) of each option that was run."""
    found = {option: find(config, folder) for option, config in zip(regime.SEARCH, regime.search(), strict=True)}
    return {o: record.validation["miou"] for o, record in found.items() if record is not None and record.validation}


def adopted(folder: Path | None = None) -> list[str]:
    """What the large edition took of the search: a schedule, chosen for the adapter, and the weights of the losses.

    Args:
        folder: As for `search_table`.

    Returns:
        Lines of markdown, as far as both what scored best and what was taken were run.
    """
    scores, configs = _scores(folder), dict(zip(regime.SEARCH, regime.search(), strict=True))
    schedule = LARGE["train__steps"], LARGE["train__learning_rate"]
    names = [option for option in configs if option.startswith(_SCHEDULES)]
    taken = next(o for o in names if (configs[o].train.steps, configs[o].train.learning_rate) == schedule)
    weights = next(o for o in configs if configs[o].objective == LARGE_PRESETS["works-best"])
    lines = []
    if taken in scores:
        best = max((option for option in names if option in scores), key=lambda option: scores[option])
        steps = f"{configs[taken].train.steps:,} steps in place of {configs[best].train.steps:,}"
        said = "which is also what all rows of the large edition have"
        if best != taken:
            said = f"all rows of the large edition have *{taken}* ({scores[taken]:.1f}), {steps}"
        lines.append(f"- Schedules, of the adapter alone: *{best}* scores best ({scores[best]:.1f}); {said}.")
    if weights in scores:
        lines.append(
            f"- Weights of the losses: *works-best* of the large edition has those of *{weights}* "
            f"({scores[weights]:.1f}), found on the schedule of the search. On the adapter's longer one, which it has "
            "now, nothing was searched for it."
        )
        whole = [option for option in scores if configs[option].objective.modules == MODULES]
        best = max(whole, key=lambda option: scores[option])
        if best != weights:
            lines[-1] += f" *{best}* scores best ({scores[best]:.1f}), and the tables do not have it."
    return lines
