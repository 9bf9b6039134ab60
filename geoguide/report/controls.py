"""The controls that decide what a gain means: what trains nothing, what is taken away, and what oracles are given."""

from collections.abc import Iterator, Sequence

import pandas as pd

from geoguide.experiments import facts, presets, regime
from geoguide.experiments.facts import Facts, Row
from geoguide.experiments.records import Record, frame, only
from geoguide.pipeline.convergence import LONGER
from geoguide.report.evidence import against
from geoguide.report.rows import ADAPTER, FULL, POOLED, longer_rows
from geoguide.report.tables import mean_of, means

DELTA = "Δ mIoU to works-best"
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
        A line per control that was run: `control`, means of both metrics, the change of mIoU paired by seed, `seeds`.
    """
    lines, table = frame(found, edition=regime.EDITION).drop_duplicates("id"), []
    full = FULL | _PLAIN | _OWN
    for told, row in _rows():
        mine = only(lines, row)
        if mine.empty:
            continue
        trains = mine["converged"].notna().any()
        gap = against(lines, row, full) if trains else -against(lines, full, row)
        change = "" if told == "works-best" or len(only(lines, full)) == 0 else mean_of(gap, signed=True)
        table.append({"control": told, **means(mine, "{} (mini)"), DELTA: change, "seeds": len(mine)})
    return pd.DataFrame(table, columns=["control", "mIoU (mini)", "mAcc (mini)", DELTA, "seeds"])
