"""The main table: our rows on every benchmark, the paper's figures beside them with their source (paper, results)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from geoguide.experiments.facts import Row
from geoguide.experiments.presets import SYSTEMS
from geoguide.experiments.records import Record, frame, only
from geoguide.report.evidence import converged, paired
from geoguide.report.labels import BENCHMARKS, HIDDEN_BY, row_label
from geoguide.report.rows import ADAPTER, AS_WRITTEN, ENTIRE, FULL, FUSION, ON_DESCRIPTORS, SLOW_GGSD, geoguide, system
from geoguide.report.tables import METRICS, UNKNOWN, mean_of, means, means_and_changes, paper, rows_held


@dataclass(frozen=True)
class Stated:
    """Where results/paper.json has the paper's figures of a row.

    Attributes:
        main: Row of its main table; None: it has none.
        model: The 2D model of that row, where the paper names it.
        openseg: Row of its table of OpenSeg features on ScanNet; None: it has none.
    """

    main: str | None = None
    model: str | None = None
    openseg: str | None = None

    def miou(self, dataset: str) -> str:
        """The mIoU of the main table.

        Args:
            dataset: Benchmark.

        Returns:
            As text, with the 2D model: '54.2 (LSeg)'; or `UNKNOWN`.
        """
        value = paper("main_miou")[self.main][dataset] if self.main else None
        return UNKNOWN if value is None else f"{value:.1f}" + (f" ({self.model})" if self.model else "")

    def with_openseg(self, dataset: str, metric: str) -> str:
        """A score with OpenSeg features, where the paper has a table of them.

        Args:
            dataset: Benchmark.
            metric: miou or macc.

        Returns:
            As text, or `UNKNOWN`.
        """
        value = paper(f"{dataset}_openseg")[self.openseg][metric] if self.openseg else None
        return UNKNOWN if value is None else f"{value:.1f}"


_GEOGUIDE = Stated("GeoGuide (SAS*)", "SAS*", "full")


LINES: tuple[tuple[Row, Stated], ...] = (
    (FUSION, Stated()),
    (ENTIRE, Stated("OpenScene (LSeg)", "LSeg", "entire network")),
    (system("SAS stage 1"), Stated("SAS (stage 1)")),
    (system("SAS stage 2"), Stated("SAS (stage 2)")),
    *((system(name), Stated()) for name in ("GGSD", "DMA", "DMA as released")),
    (ADAPTER, Stated(openseg="adapter only")),
    *((system(name, frozen=True), Stated()) for name in SYSTEMS),
    (ON_DESCRIPTORS, Stated()),
    (AS_WRITTEN, _GEOGUIDE),
    (geoguide("lineage"), _GEOGUIDE),
    (FULL, _GEOGUIDE),
)


def rows_of(lines: pd.DataFrame) -> list[Row]:
    """The rows of the main table that were run.

    Args:
        lines: See `records.frame`; of one benchmark and one 2D model.

    Returns:
        Their facts, the 2D model among them, in reading order.
    """
    teacher = {"teacher": lines["teacher"].iat[0]}
    return [row | teacher for row, _ in LINES if not only(lines, row).empty]


def benchmark_table(lines: pd.DataFrame, dataset: str, ours: str = "mini") -> pd.DataFrame:
    """The main table on one benchmark, the paper's two sources beside ours.

    Args:
        lines: See `records.frame`; of one benchmark and one 2D model.
        dataset: The benchmark.
        ours: What our data are: mini or real.

    Returns:
        A line per row that was run.
    """
    real, table = f"paper, real {BENCHMARKS[dataset]}", []
    for row, told in LINES:
        mine = only(lines, row)
        if mine.empty:
            continue
        line: dict[str, Any] = {"row": row_label(row | {"teacher": mine["teacher"].iat[0]})}
        line |= means(mine, f"ours {{}} ({ours})")
        line |= {"seeds": len(mine), f"converged ({ours})": converged(mine)}
        if paper(f"{dataset}_openseg"):
            line |= {f"{real}, OpenSeg: {shown}": told.with_openseg(dataset, m) for shown, m in METRICS.items()}
        table.append(line | {f"{real}, main table: mIoU": told.miou(dataset)})
    return pd.DataFrame(table)


# The other systems, and what trains nothing; each on its own network and on the frozen backbone (claim C2).
SUPERPOINT_FUSION: Row = FUSION | {"changed": (("protocol.pooled", "superpoints"),)}
SYSTEM_ROWS: tuple[Row, ...] = (
    SUPERPOINT_FUSION,
    *(system(name) for name in SYSTEMS),
    *(system(name, frozen=True) for name in SYSTEMS),
    SLOW_GGSD,
    geoguide("lineage"),
)


def systems_table(lines: pd.DataFrame) -> pd.DataFrame:
    """The other systems of the paper's tables, each beside OpenScene's network or the adapter, whose student it has.

    Args:
        lines: See `records.frame`; of one benchmark and one 2D model, the rows of the main table among them.

    Returns:
        A line per system and student that was run: scores, the change of mIoU from the same student with plain
        distillation, paired by seed, and how much of it had converged.
    """
    teacher, table = {"teacher": lines["teacher"].iat[0]}, []
    for row in SYSTEM_ROWS:
        mine = only(lines, row)
        if mine.empty:
            continue
        plain = FUSION | {"changed": ()} if row is SUPERPOINT_FUSION else ADAPTER if "backbone" in row else ENTIRE
        gap = paired(lines, row, plain)
        line = (
            {"row": row_label(row | teacher)} | means(mine, "{}") | {"seeds": len(mine), "converged": converged(mine)}
        )
        table.append(line | {"minus": row_label(plain | teacher), "Δ mIoU": mean_of(gap, signed=True)})
    return pd.DataFrame(table)


def second_stages(found: Sequence[Record]) -> pd.DataFrame:
    """What self-distillation changes: the curve of validation rooms where it begins, and where it ends.

    Args:
        found: Records; those without a second stage are left out.

    Returns:
        A line per system and student, with seeds; values are means of the two rows of the curve before its second
        stage and of the last two, single rows being noisy. None for records without a curve.
    """
    table: dict[str, list[tuple[float, float]]] = {}
    for record in found:
        second, history = record.config.train.self_distillation, record.history
        if second.teacher == "none" or not history or not all("val_miou" in row for row in history):
            continue
        first = round(second.begins * record.config.train.steps)
        before = [row["val_miou"] for row in history if row["step"] <= first][-2:]
        after = [row["val_miou"] for row in history][-2:]
        table.setdefault(row_label(record.facts), []).append((float(np.mean(before)), float(np.mean(after))))
    columns = ["row", "seeds", "validation mIoU before the second stage", "at its end", "change"]
    lines = []
    for name, pairs in table.items():
        before, after = np.array(pairs).T
        lines.append((name, len(pairs), mean_of(before), mean_of(after), mean_of(after - before, signed=True)))
    return pd.DataFrame(lines, columns=columns)


def overview(by_dataset: Mapping[str, pd.DataFrame], ours: str = "mini") -> pd.DataFrame:
    """The mIoU on every benchmark, ours and the paper's in columns of their own.

    Args:
        by_dataset: Benchmark -> lines (see `records.frame`) of one 2D model each.
        ours: What our data are: mini or real.

    Returns:
        A line per row of the main table that was run anywhere, or that the paper has.
    """
    table = []
    for row, told in LINES:
        if told.main is None and all(only(lines, row).empty for lines in by_dataset.values()):
            continue
        line: dict[str, Any] = {"row": row_label(row)}
        for dataset, lines in by_dataset.items():
            scores = only(lines, row)["miou"]
            shown = f"{mean_of(scores)} [{len(scores)}]" if len(scores) else "not run"
            line[f"ours, {ours} {BENCHMARKS[dataset]} [seeds]"] = shown
        table.append(line | {f"paper, real {BENCHMARKS[dataset]}": told.miou(dataset) for dataset in by_dataset})
    return pd.DataFrame(table)


def occlusion_table(found: Sequence[Record]) -> pd.DataFrame:
    """What lifting that knows of occlusion changes on streets: 2D fusion and adapter, by how points were hidden.

    Args:
        found: Records of `profiles.occlusion` and their rows of the main table; others are left out.

    Returns:
        A line per method and occlusion that was run; none without records. The change is to the row that knows no
        occlusion, paired by seed.
    """
    if not found:
        return pd.DataFrame()
    lines, table = frame(found), []
    for method in (FUSION, ADAPTER):
        for row, mine in rows_held(lines, [method | {"occlusion": occlusion} for occlusion in HIDDEN_BY]):
            line = {"row": row_label(method), "hidden by": HIDDEN_BY[row["occlusion"]]}
            line["points with a feature (%)"] = f"{100 * mine['seen_share'].mean():.1f}"
            table.append(line | means_and_changes(lines, row, method | {"occlusion": "none"}))
    return pd.DataFrame(table)
