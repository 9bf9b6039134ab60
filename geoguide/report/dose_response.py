"""Which module helps against which fault of the 2D model: one fault at a time (claim C4)."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from geoguide.experiments.facts import Facts, Row
from geoguide.experiments.presets import DOSED, DOSES, LONG_SEEDS
from geoguide.experiments.profiles import DOSE_DROPS, USD_FAULT, USD_PARTS, dose_response, fixed_weight, usd_parts
from geoguide.experiments.records import Record, frame, only, pick
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report.evidence import by_seed, estimate, settled
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
        gaps: mIoU minus the adapter's, float indexed by the seeds that both have.
        adapter: The adapter's mean mIoU; nan without records.
        settled: Whether the trainings of both had converged, see `evidence.settled`; False where there is no record.
    """

    dose: str
    module: str
    gaps: pd.Series
    adapter: float
    settled: bool

    @property
    def gap(self) -> np.ndarray:
        """The values of `gaps`, float [seeds]."""
        return self.gaps.to_numpy(float)

    @property
    def own(self) -> bool:
        """Whether the fault is the module's own (see `OWN_MODULE`)."""
        return OWN_MODULE.get(self.dose.split(",")[0]) == self.module


def row_of(dose: str, module: str | None = None) -> Row:
    """The facts that pick records of the dose-response.

    Args:
        dose: Name in `presets.DOSES`.
        module: Name in `MODULES`; None for the adapter.

    Returns:
        Its facts.
    """
    row = ADAPTER if module is None else MODULES[module]
    return row | {"teacher": dose, "changed": _changed(dose_response)}


@functools.cache
def _changed(profile: Callable[[], list[ExperimentConfig]]) -> tuple:
    """What the experiments of a profile have in common that is not usual: few rooms and their steps, and fixed λ."""
    return Facts.of(profile()[0]).changed


def effects(lines: pd.DataFrame | None) -> list[Effect]:
    """Every cell of the dose-response.

    Args:
        lines: See `records.frame`; of the experiments of `profiles.dose_response`. None where nothing was run.

    Returns:
        One for each dose (in the order of `doses`) and module.
    """
    return [_effect(lines, dose, module, row_of(dose, module), row_of(dose)) for dose in doses() for module in MODULES]


def doses() -> list[str]:
    """The doses in reading order.

    Returns:
        No fault, then each fault from medium to heavy.
    """
    rank = {fault: number for number, fault in enumerate(DOSED)}
    return sorted(DOSES, key=lambda dose: (rank.get(dose.split(",")[0], -1), "heavy" in dose))


def _effect(lines: pd.DataFrame | None, dose: str, module: str, row: Row, reference: Row) -> Effect:
    if lines is None or only(lines, row).empty or only(lines, reference).empty:
        return Effect(dose, module, pd.Series(dtype=float), float("nan"), settled=False)
    adapter = float(only(lines, reference)["miou"].mean())
    gaps = (by_seed(lines, row) - by_seed(lines, reference)).dropna()
    return Effect(dose, module, gaps, adapter, settled(lines, row, reference))


def effect_table(found: list[Effect]) -> pd.DataFrame:
    """The effects as shown.

    Args:
        found: See `effects`.

    Returns:
        A line for each dose: whose fault it is, the adapter's mIoU, and what each module adds, with the bounds of its
        interval over seeds, or "no record"; a star where a training had not converged.
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
    return estimate(effect.gap).text() + ("" if effect.settled else " *")


def weight_table(found: Sequence[Record]) -> pd.DataFrame:
    """What IIRC adds under heavy faults as it is weighed, and at the λ3 that it has without a fault.

    Args:
        found: Records of `profiles.dose_response` and `profiles.fixed_weight`.

    Returns:
        A line for each heavy fault, or "no record": λ3 by gradient at the end of the training, the mean over seeds;
        points of mIoU over the adapter, by gradient and at the fixed λ3; and the latter minus the former, paired by
        seed. A star where a training had not converged.
    """
    lines = frame(found, edition="large") if found else None
    table = []
    for dose in (dose for dose in doses() if "heavy" in dose):
        alone, adapter = row_of(dose, "IIRC"), row_of(dose)
        fixed = alone | {"changed": _changed(fixed_weight)}
        ends = [record.history[-1]["lambda_sim"] for record in pick(found, alone)]
        table.append(
            {
                "fault": dose,
                "λ3 by gradient": f"{np.mean(ends):.2f}" if ends else NO_RECORD,
                "IIRC by gradient": _cell(_effect(lines, dose, "IIRC", alone, adapter)),
                "at a fixed λ3": _cell(_effect(lines, dose, "IIRC", fixed, adapter)),
                "fixed minus by gradient": _cell(_effect(lines, dose, "IIRC", fixed, alone)),
            }
        )
    return pd.DataFrame(table)


def parts_table(found: Sequence[Record]) -> pd.DataFrame:
    """What USD alone adds under `USD_FAULT`, and what it adds with one of its parts changed.

    Args:
        found: Records of `profiles.dose_response` and `profiles.usd_parts`.

    Returns:
        A line for USD as it is and for each part, or "no record": points of mIoU over the adapter, and over USD as it
        is, paired by seed. A star where a training had not converged.
    """
    lines, usd = frame(found, edition="large") if found else None, row_of(USD_FAULT, "USD")
    rows = {"as it is": usd} | {
        part: {"teacher": facts.teacher, "modules": facts.modules, "changed": facts.changed}
        for part, facts in _parts().items()
    }
    against = {"over the adapter": row_of(USD_FAULT), "over USD as it is": usd}
    table = []
    for part, row in rows.items():
        cells = {title: _cell(_effect(lines, USD_FAULT, "USD", row, other)) for title, other in against.items()}
        table.append({"USD": part} | cells | ({"over USD as it is": ""} if row is usd else {}))
    return pd.DataFrame(table)


@functools.cache
def _parts() -> dict[str, Facts]:
    """The facts of each part, which all seeds share but for the seed."""
    first = usd_parts()[:: len(LONG_SEEDS)]
    return {part: Facts.of(config) for part, config in zip(USD_PARTS, first, strict=True)}


def own_and_other(found: list[Effect]) -> str:
    """What each module adds under its own faults and under those of the others, as a sentence.

    Args:
        found: See `effects`.

    Returns:
        Means over the doses whose trainings had converged, module by module; verdicts are the ledger's.
    """
    said = []
    for module in dict.fromkeys(OWN_MODULE.values()):
        mine = [e for e in found if e.module == module and "," in e.dose and e.settled]
        sides = {
            "its own faults": [e.gaps for e in mine if e.own],
            "those of the others": [e.gaps for e in mine if not e.own],
        }
        means = {whose: _over_doses(gaps) for whose, gaps in sides.items() if gaps}
        means = {whose: gap for whose, gap in means.items() if len(gap)}
        parts = [f"{estimate(gap).text()} under {whose} ({len(sides[whose])})" for whose, gap in means.items()]
        said.append(f"**{module}** adds {' and '.join(parts)}" if parts else f"**{module}**: no record that converged")
        if len(means) == 2:
            own, others = means.values()
            if len(more := (own - others).dropna()):
                said[-1] += f", {estimate(more).text()} more under its own"
    return f"{'; '.join(said)}: points of mIoU, means over so many doses, intervals over seeds."


def _over_doses(gaps: Sequence[pd.Series]) -> pd.Series:
    """The mean over doses, float indexed by the seeds that all of them have."""
    return pd.concat(gaps, axis=1, join="inner").mean(axis=1)


def with_records(found: list[Effect]) -> list[Effect]:
    """Leave out the doses of which nothing was run.

    Args:
        found: See `effects`.

    Returns:
        Those of the other doses, in the same order.
    """
    ran = {effect.dose for effect in found if not np.isnan(effect.adapter)}
    return [effect for effect in found if effect.dose in ran]


def not_run(found: list[Effect]) -> str:
    """Name the doses of which nothing was run.

    Args:
        found: See `effects`.

    Returns:
        A sentence; empty where all were.
    """
    ran = {effect.dose for effect in with_records(found)}
    left = list(dict.fromkeys(effect.dose for effect in found if effect.dose not in ran))
    return f"Not run yet: {'; '.join(left)}." if left else ""
