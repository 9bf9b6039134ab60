"""The main table: our rows on every benchmark, the paper's figures beside them with their source (paper, results)."""

import re
from typing import Any

import numpy as np
import pandas as pd

from geoguide.experiments.presets import DATASETS
from geoguide.experiments.records import Record
from geoguide.report.tables import base_row, converged, frame, interval, paired, paper, with_interval

MAIN_ROWS = {  # rows of the main table, and what the paper calls them: on ScanNet with OpenSeg, and in its main table
    "2D fusion": (None, None),
    "entire network": ("entire network", "OpenScene (LSeg)"),
    "adapter only": ("adapter only", None),
    "adapter only on descriptors": (None, None),
    "as-written/full": ("full", "GeoGuide (SAS*)"),
    "works-best/full": ("full", "GeoGuide (SAS*)"),
}


NOT_RUN = ("SAS (stage 1)", "SAS (stage 2)")


BENCHMARKS = dict(zip(DATASETS, ("ScanNet v2", "Matterport3D", "nuScenes"), strict=True))


def paper_value(table: str, row: str | None, *keys: str) -> str:
    """A number of the paper as text, with the 2D model that its row names: '54.2 (LSeg)'; or 'not stated'."""
    value: Any = paper(table).get(row, {}) if row else {}
    for key in keys:
        value = value.get(key) if value else None
    model = re.search(r"\((LSeg|SAS\*)\)", row or "")
    return "not stated" if value is None else f"{value:.1f}" + (f" {model.group()}" if model else "")


def main_table(lines: pd.DataFrame, dataset: str, ours: str = "mini") -> pd.DataFrame:
    """The main table on one benchmark: our rows, what `ours` data they are from, and the paper's two sources beside."""
    real, table = f"paper, real {BENCHMARKS[dataset]}", []
    for row in [r for base in MAIN_ROWS for r in lines["row"].unique() if base_row(r) == base]:
        mine, (openseg, main) = lines[lines["row"] == row], MAIN_ROWS[base_row(row)]
        line = {"row": row}
        for metric in ("mIoU", "mAcc"):
            scores = mine[metric.lower()]
            line[f"ours {metric} ({ours})"] = with_interval(scores.mean(), interval(scores))
        line |= {"seeds": len(mine), f"converged ({ours})": converged(mine)}
        if dataset == "scannet":
            line[f"{real}, OpenSeg: mIoU"] = paper_value("scannet_openseg", openseg, "miou")
            line[f"{real}, OpenSeg: mAcc"] = paper_value("scannet_openseg", openseg, "macc")
        table.append(line | {f"{real}, main table: mIoU": paper_value("main_miou", main, dataset)})
    return pd.DataFrame(table)


def overview(by_dataset: dict[str, pd.DataFrame], ours: str = "mini") -> pd.DataFrame:
    """MIoU on every benchmark, ours and the paper's in columns of their own; SAS is in the paper alone."""
    table = []
    for base, (_, main) in (MAIN_ROWS | {name: (None, name) for name in NOT_RUN}).items():
        line = {"row": base}
        for dataset, lines in by_dataset.items():
            scores = lines.loc[lines["row"].map(base_row) == base, "miou"]
            shown = f"{with_interval(scores.mean(), interval(scores))} [{len(scores)}]" if len(scores) else "not run"
            line[f"ours, {ours} {BENCHMARKS[dataset]} [seeds]"] = shown
        for dataset in by_dataset:
            line[f"paper, real {BENCHMARKS[dataset]}"] = paper_value("main_miou", main, dataset)
        table.append(line)
    return pd.DataFrame(table)


def occlusion_table(found: list[Record]) -> pd.DataFrame:
    """What lifting that knows of occlusion changes on streets: 2D fusion and adapter, by how points were hidden.

    found: records of `experiments.occlusion` and their rows of the main table. The change is paired by seed against the
    row that knows none.
    """
    lines, table = frame(found), []
    shares = pd.DataFrame([{"row": record["name"], "seen": record["data"]["seen_share"]} for record in found])
    seen = shares.groupby("row")["seen"].mean()
    for base in ("2D fusion", "adapter only"):
        for row in [row for row in seen.index if row.split(",")[0] == base]:
            line = {"row": base, "hidden by": row.partition(", ")[2] or "nothing (OpenScene)"}
            line["points with a feature (%)"] = f"{100 * seen[row]:.1f}"
            for metric in ("mIoU", "mAcc"):
                scores = lines.loc[lines["row"] == row, metric.lower()]
                line[f"{metric} (mini)"] = with_interval(scores.mean(), interval(scores))
                gap = paired(lines, row, base, metric.lower()) if row != base else np.array([])
                line[f"Δ {metric}"] = with_interval(gap.mean(), interval(gap), signed=True) if len(gap) else ""
            table.append(line | {"seeds": int((lines["row"] == row).sum())})
    return pd.DataFrame(table)
