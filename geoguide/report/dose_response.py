"""Which module helps against which fault of the 2D model: one fault at a time (claim C4)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoguide.experiments.facts import Row
from geoguide.experiments.presets import DOSED, DOSES
from geoguide.experiments.profiles import DOSE_DROPS
from geoguide.experiments.records import only
from geoguide.report.evidence import CONTRADICTED, DECIDED, SUPPORTED, estimate, paired, settled, verdicts
from geoguide.report.rows import ADAPTER, geoguide

MODULES: dict[str, Row] = {title: geoguide("works-best", drop) for drop, title in DOSE_DROPS.items()}

# The paper says that the modules answer local, regional and global errors (C4). Which of our faults is which is our
# reading: USD weighs points within a superpoint, IMR completes an instance of which a part is hidden, IIRC compares
# instances with one another, so that it alone can tell that a whole one is named wrongly.
OWN_MODULE = {
    "pixel_noise": "USD",
    "bleeding": "USD",
    "partial_view": "IMR",
    "drift": "IMR",
    "confusion": "IIRC",
    "background": "IIRC",
}
NO_RECORD = "no record"


@dataclass(frozen=True, eq=False)
class Effect:
    """What a module adds under a 2D model with one fault.

    Attributes:
        dose: Name in `presets.DOSES`.
        module: Name in `MODULES`.
        gap: mIoU minus the adapter's, one per seed that both have, float [seeds].
        adapter: The adapter's mean mIoU; nan without records.
        verdict: On "it adds to the adapter" (see `evidence.verdicts`, all cells being one family); "no record" where
            there is none.
    """

    dose: str
    module: str
    gap: np.ndarray
    adapter: float
    verdict: str

    @property
    def own(self) -> bool:
        """Whether the fault is the module's own (see `OWN_MODULE`)."""
        return OWN_MODULE.get(self.dose.split(",")[0]) == self.module


def effects(lines: pd.DataFrame | None, metric: str = "miou") -> list[Effect]:
    """Every cell of the dose-response.

    Args:
        lines: See `records.frame`; of the experiments of `profiles.dose_response`. None where nothing was run.
        metric: Column.

    Returns:
        One for each dose (in the order of `doses`) and module.
    """
    cells = [(dose, module, *_gap(lines, dose, module, metric)) for dose in doses() for module in MODULES]
    ran = [cell for cell in cells if len(cell[2])]
    told = iter(verdicts([estimate(gap) for _, _, gap, _, _ in ran], settled=[done for *_, done in ran])[0])
    return [
        Effect(dose, module, gap, adapter, next(told) if len(gap) else NO_RECORD)
        for dose, module, gap, adapter, _ in cells
    ]


def doses() -> list[str]:
    """The doses in reading order.

    Returns:
        No fault, then each fault from medium to heavy.
    """
    rank = {fault: number for number, fault in enumerate(DOSED)}
    return sorted(DOSES, key=lambda dose: (rank.get(dose.split(",")[0], -1), "heavy" in dose))


def _gap(lines: pd.DataFrame | None, dose: str, module: str, metric: str) -> tuple[np.ndarray, float, bool]:
    """A cell: the differences, the adapter's mean, and whether both had converged."""
    row, reference = MODULES[module] | {"teacher": dose}, ADAPTER | {"teacher": dose}
    if lines is None or only(lines, row).empty or only(lines, reference).empty:
        return np.zeros(0), float("nan"), False
    adapter = float(only(lines, reference)[metric].mean())
    return paired(lines, row, reference, metric), adapter, settled(lines, row, reference)


def effect_table(found: list[Effect]) -> pd.DataFrame:
    """The effects as shown.

    Args:
        found: See `effects`.

    Returns:
        A line for each dose: whose fault it is, the adapter's mIoU, and what each module adds, with the bounds of its
        interval over seeds, or "no record"; a star where there is no verdict.
    """
    lines: dict[str, dict[str, str]] = {}
    for effect in found:
        line = lines.setdefault(effect.dose, {"fault": effect.dose})
        line["belongs to"] = OWN_MODULE.get(effect.dose.split(",")[0], "")
        if not np.isnan(effect.adapter):
            line["adapter"] = f"{effect.adapter:.1f}"
        line.setdefault("adapter", NO_RECORD)
        line[effect.module] = _cell(effect)
    return pd.DataFrame(list(lines.values()))


def _cell(effect: Effect) -> str:
    if len(effect.gap) == 0:
        return NO_RECORD
    return estimate(effect.gap).text() + ("" if effect.verdict in DECIDED else " *")


def own_fault_verdict(found: list[Effect]) -> str:
    """Whether each module wins on its own fault and only there (C4), as a sentence.

    Args:
        found: See `effects`.

    Returns:
        How many of the cells with a verdict lie above zero, on own faults and on others' faults, module by module.
    """
    said = []
    for module in dict.fromkeys(OWN_MODULE.values()):
        mine = [e for e in found if e.module == module and "," in e.dose and e.verdict in DECIDED]
        if not mine:
            said.append(f"**{module}**: no verdict yet")
            continue
        sides = [[e for e in mine if e.own is own] for own in (True, False)]
        won = [sum(e.verdict == SUPPORTED for e in side) for side in sides]
        lost = sum(e.verdict == CONTRADICTED for e in mine)
        said.append(
            f"**{module}** adds to the adapter on {won[0]} of {len(sides[0])} doses of its own faults and on {won[1]} "
            f"of {len(sides[1])} of the others', and takes away on {lost}"
        )
    return "; ".join(said) + "."
