"""The controls that decide what a gain means: what trains nothing, what is taken away, and what oracles are given."""

from collections.abc import Iterator, Sequence

import pandas as pd

from geoguide.datasets.config import Edition
from geoguide.experiments import facts, presets, regime
from geoguide.experiments.facts import Facts, Row
from geoguide.experiments.records import Record, frame, only
from geoguide.report.evidence import against
from geoguide.report.rows import ADAPTER, FULL, POOLED
from geoguide.report.tables import mean_of, means

DELTA = "Δ mIoU to works-best"
_PLAIN: Row = {"changed": ()}
_POOLS = {"superpoints": "means over superpoints", "instances": "means over true instances (oracle)"}


def _rows(teacher: str) -> Iterator[tuple[str, Row]]:
    """Every control in reading order: its name, and the facts that pick it."""
    own = {"teacher": teacher}
    yield "2D fusion (no training)", {"method": facts.FUSION} | _PLAIN | own
    for pool, told in _POOLS.items():
        yield f"2D fusion, {told}", {"method": facts.FUSION, "changed": (("protocol.pooled", pool),)} | own
    yield "adapter only", ADAPTER | _PLAIN | own
    yield "plain superpoint means as targets", POOLED | _PLAIN | own
    yield "works-best", FULL | _PLAIN | own
    for told, changes in regime.CONTROLS.items():
        changed = Facts.of(regime.in_regime(presets.preset().replace(**changes))).changed
        yield f"works-best, {told}", FULL | {"changed": changed} | own
    yield "adapter under a perfect 2D model (oracle)", ADAPTER | _PLAIN | {"teacher": "no fault"}
    yield "adapter taught by labels (oracle)", {"method": facts.ADAPTER + presets.ON_LABELS} | _PLAIN | own
    yield "linear probe of the frozen features (oracle)", {"method": facts.PROBE} | _PLAIN | own


def control_table(found: Sequence[Record], edition: Edition) -> pd.DataFrame:
    """The controls as shown, each with its change to the full works-best preset.

    Args:
        found: Records of `regime.ablation` and `regime.anchors`, as far as they were run.
        edition: See `records.frame`.

    Returns:
        A line per control that was run: `control`, means of both metrics, the change of mIoU paired by seed, `seeds`.
    """
    lines, table = frame(found, edition=edition).drop_duplicates("id"), []
    teacher = next((name for name in lines["teacher"] if name != "no fault"), "")
    full = FULL | _PLAIN | {"teacher": teacher}
    for told, row in _rows(teacher):
        mine = only(lines, row)
        if mine.empty:
            continue
        trains = mine["converged"].notna().any()
        gap = against(lines, row, full) if trains else -against(lines, full, row)
        change = "" if told == "works-best" or len(only(lines, full)) == 0 else mean_of(gap, signed=True)
        table.append({"control": told, **means(mine, "{} (mini)"), DELTA: change, "seeds": len(mine)})
    return pd.DataFrame(table, columns=["control", "mIoU (mini)", "mAcc (mini)", DELTA, "seeds"])
