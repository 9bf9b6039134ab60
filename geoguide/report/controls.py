"""The controls that decide what a gain means: what trains nothing, what is taken away, and what oracles are given."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from geoguide.experiments import facts, presets, regime
from geoguide.experiments.facts import Facts, Row
from geoguide.experiments.records import Record, frame, only
from geoguide.pipeline.convergence import LONGER
from geoguide.report.evidence import against, converged
from geoguide.report.rows import ADAPTER, FULL, POOLED, longer_rows
from geoguide.report.tables import mean_of, means

DELTA, DELTA_MACC = "Δ mIoU to works-best", "Δ mAcc to works-best"
_PLAIN: Row = {"changed": ()}
_OWN: Row = {"teacher": regime.MODELS["scannet"]}
_POOLS = {"superpoints": "means over superpoints", "instances": "means over true instances (oracle)"}


def _rows() -> Iterator[tuple[str, Row]]:
    """Every control in reading order: its name, and the facts that pick it."""
    yield "2D fusion (no training)", {"method": facts.FUSION} | _PLAIN | _OWN
    for pool, told in _POOLS.items():
        yield f"2D fusion, {told}", {"method": facts.FUSION, "changed": (("protocol.pooled", pool),)} | _OWN
    yield "adapter only", ADAPTER | _PLAIN | _OWN
    yield "plain superpoint means as targets", POOLED | _PLAIN | _OWN
    yield "works-best", FULL | _PLAIN | _OWN
    for told, changes in regime.CONTROLS.items():
        changed = Facts.of(regime.in_regime(presets.preset(edition=regime.EDITION).replace(**changes))).changed
        yield f"works-best, {told}", FULL | {"changed": changed} | _OWN
    for name, row in longer_rows().items():
        yield f"{name}, {LONGER} times the steps", row | _OWN
    yield "adapter under a perfect 2D model (oracle)", ADAPTER | _PLAIN | {"teacher": regime.PERFECT}
    yield "adapter taught by labels (oracle)", {"method": facts.ADAPTER + presets.ON_LABELS} | _PLAIN | _OWN
    yield "linear probe of the frozen features (oracle)", {"method": facts.PROBE} | _PLAIN | _OWN


def control_table(found: Sequence[Record]) -> pd.DataFrame:
    """The controls as shown, each with its change to the full works-best preset.

    Args:
        found: Records of `regime.ablation`, `regime.anchors` and `regime.longer`, as far as they were run.

    Returns:
        A line per control that was run: `control`, means of both metrics, their changes paired by seed, `seeds`, and
        how many trainings had `converged`.
    """
    lines, table = frame(found, edition=regime.EDITION).drop_duplicates("id"), []
    full = FULL | _PLAIN | _OWN
    for told, row in _rows():
        mine = only(lines, row)
        if mine.empty:
            continue
        trains, plain = mine["converged"].notna().any(), told == "works-best" or only(lines, full).empty
        changes = {
            title: "" if plain else mean_of(_change(lines, row, full, metric, trains=trains), signed=True)
            for metric, title in (("miou", DELTA), ("macc", DELTA_MACC))
        }
        ended = {"seeds": len(mine), "converged": converged(mine)}
        table.append({"control": told, **means(mine, "{} (mini)"), **changes, **ended})
    columns = ["control", "mIoU (mini)", "mAcc (mini)", DELTA, DELTA_MACC, "seeds", "converged"]
    return pd.DataFrame(table, columns=columns)


def _change(lines: pd.DataFrame, row: Row, full: Row, metric: str, *, trains: bool) -> np.ndarray:
    """A control less works-best, by seed; of one that trains nothing its one score less every seed's."""
    return against(lines, row, full, metric) if trains else -against(lines, full, row, metric)
