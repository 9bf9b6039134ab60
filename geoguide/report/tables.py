"""Tables of the book and README, made from the records in results/: no number is typed by hand."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from geoguide.errors import DataError
from geoguide.experiments.facts import BOOK_PROTOCOL, Facts, Row
from geoguide.experiments.profiles import STUDIES, STUDY_SEEDS, study
from geoguide.experiments.records import Record, find_all, frame, only
from geoguide.paths import records_advice, results_root
from geoguide.pipeline.protocols import STEPS
from geoguide.report.evidence import Estimate, against, converged, estimate, interval, paired
from geoguide.report.labels import row_label, variant
from geoguide.report.rows import ABLATION, ADAPTER, FUSION, STILL, WHOLE, full
from geoguide.text_files import parse_json, read_text

UNKNOWN = "not available to us"  # the paper may state it; the digest of it that this book stands on does not
METRICS = {"mIoU": "miou", "mAcc": "macc"}  # as shown, and as columns are called
PAPER = "paper {} (ScanNet v2, OpenSeg)"  # a column of its ablation, and of its preliminary experiment
LIKE_OPENSEG = ("OpenSeg-like", "openseg-mini")  # 2D models in whose place the paper has OpenSeg


def paper(table: str) -> dict[str, dict[str, float | None]]:
    """A table of the paper from results/paper.json, the one place that holds the paper's numbers.

    Args:
        table: Its name there.

    Returns:
        Row -> column -> number; None where the paper does not state it. Empty where it has no such table.

    Raises:
        DataError: The file is not there, cut or otherwise none of tables.
    """
    path = results_root() / "paper.json"
    if not path.is_file():
        raise DataError(f"{path}: no such file; {records_advice()}")
    held = parse_json(read_text(path, "the paper's tables"), path)
    rows = held.get(table, {}) if isinstance(held, dict) else held
    if not isinstance(rows, dict):
        raise DataError(f"{path}: {table} must hold rows by name, found {rows!r:.60}")
    return rows


def mean_of(values: np.ndarray | pd.Series, signed: bool = False, confidence: float = 0.95) -> str:
    """The mean of values over seeds and the half width of its interval, as text.

    Args:
        values: One per seed; may be empty.
        signed: Whether they are differences: with a plus and two decimals.
        confidence: Of the interval.

    Returns:
        The text; without an interval for one seed, '' where there is no value.

    Example:
        >>> mean_of(np.array([53.2, 53.4, 53.6])), mean_of(np.array([1.2]), signed=True), mean_of(np.array([]))
        ('53.4 ± 0.5', '+1.20', '')
    """
    if len(values) == 0 or np.isnan(values.mean()):
        return ""
    text, half = f"{values.mean():{'+z.2f' if signed else '.1f'}}", interval(values, confidence)
    return text if np.isnan(half) else f"{text} ± {half:{'.2f' if signed else '.1f'}}"


def means(lines: pd.DataFrame, title: str) -> dict[str, str]:
    """The means of a row's scores as columns of a table.

    Args:
        lines: Of one row.
        title: Of a column, with a place for the metric: "ours {} (mini)".

    Returns:
        By title, see `mean_of`.
    """
    return {title.format(shown): mean_of(lines[metric]) for shown, metric in METRICS.items()}


def change(lines: pd.DataFrame, row: Row, reference: Row, metric: str) -> str:
    """The mean difference of a row to another, paired by seed, and its interval, as text.

    Args:
        lines: See `records.frame`.
        row: Facts of the row.
        reference: Facts of the other.
        metric: Column.

    Returns:
        See `mean_of`; '' where both are the same row, or share no seed.
    """
    return "" if row == reference else mean_of(paired(lines, row, reference, metric), signed=True)


def means_and_changes(lines: pd.DataFrame, row: Row, reference: Row) -> dict[str, Any]:
    """The means of a row's scores on mini data, each beside its change, as columns of a table.

    Args:
        lines: See `records.frame`.
        row: Facts of the row.
        reference: Facts of the row to which the changes are.

    Returns:
        By title: means, changes (see `change`) and the number of seeds.
    """
    mine = only(lines, row)
    cells = {}
    for shown, metric in METRICS.items():
        cells |= {f"{shown} (mini)": mean_of(mine[metric]), f"Δ {shown}": change(lines, row, reference, metric)}
    return cells | {"seeds": len(mine)}


def rows_held(lines: pd.DataFrame, rows: Iterable[Row]) -> Iterator[tuple[Row, pd.DataFrame]]:
    """The rows that were run.

    Args:
        lines: See `records.frame`.
        rows: Facts of each row.

    Yields:
        The facts of each row of which there are lines, and these lines.
    """
    for row in rows:
        mine = only(lines, row)
        if not mine.empty:
            yield row, mine


def mean_iou(found: Sequence[Record]) -> pd.Series:
    """IoU per class, mean over records.

    Args:
        found: Records of one label set.

    Returns:
        In %, by class name; NaN where the class is absent.
    """
    return pd.DataFrame([record.metrics.iou for record in found]).astype(float).mean()


def ablation_table(lines: pd.DataFrame) -> pd.DataFrame:
    """The ablation as shown: the paper's figures (real ScanNet, OpenSeg features), ours (mini), change to full.

    Args:
        lines: See `records.frame`; of mini-ScanNet, one 2D model and one protocol.

    Returns:
        A line per row of `rows.ABLATION` that `lines` holds. The change is to the same preset with all modules, paired
        by seed.
    """
    stated, table = paper("scannet_openseg"), []
    for row, mine in rows_held(lines, ABLATION):
        told = stated.get(variant(row), {})
        line: dict[str, Any] = {"row": row_label(row)}
        line |= {PAPER.format(shown): told.get(m) or UNKNOWN for shown, m in METRICS.items()}
        line |= means(mine, "ours {} (mini)")
        line |= {f"Δ {shown} to full": change(lines, row, full(row), metric) for shown, metric in METRICS.items()}
        table.append(line | {"seeds": len(mine), "converged (mini)": converged(mine)})
    return pd.DataFrame(table)


def preliminary_table(lines: pd.DataFrame) -> pd.DataFrame:
    """The preliminary experiment as shown: each way to use the 2D features under each 2D model, beside the paper.

    Args:
        lines: See `records.frame`; of mini-ScanNet.

    Returns:
        A line per 2D model and way that `lines` holds.
    """
    stated, table = paper("scannet_openseg"), []
    models = dict.fromkeys(lines["teacher"])
    rows = [row | {"teacher": model} for model in models for row in (FUSION, *WHOLE, STILL, ADAPTER)]
    for row, mine in rows_held(lines, rows):
        # What the paper scores here with LSeg is `UNKNOWN`.
        told = stated.get(variant(row), {}) if row["teacher"] in LIKE_OPENSEG else {}
        line: dict[str, Any] = {"2D model": row["teacher"], "row": variant(row)}
        line |= {PAPER.format(shown): told.get(m) or UNKNOWN for shown, m in METRICS.items()}
        line |= means(mine, "ours {} (mini)")
        table.append(line | {"seeds": len(mine), "converged": converged(mine)})
    return pd.DataFrame(table)


def differences(lines: pd.DataFrame, row: Row, references: Sequence[Row]) -> pd.DataFrame:
    """Differences of a row to others, without verdicts: these are the claims ledger's alone (`ledger_page.story`).

    Args:
        lines: See `records.frame`.
        row: Facts of the row.
        references: Facts of the others; those that were not run are left out.

    Returns:
        Two lines (mIoU, mAcc) per reference: `row`, `minus`, `metric`, `difference` (text, with bounds over the seeds)
        and `seeds`.
    """
    table = []
    for other in references:
        for shown, metric in METRICS.items():
            gap = against(lines, row, other, metric)
            if len(gap):
                line: dict[str, Any] = {"row": row_label(row), "minus": row_label(other), "metric": shown}
                table.append(line | {"difference": estimate(gap).text(), "seeds": len(gap)})
    return pd.DataFrame(table, columns=["row", "minus", "metric", "difference", "seeds"])


def study_effects() -> dict[str, dict[str, Estimate]]:
    """Measured effect of single options (ambiguity ledger) on mIoU, to the unchanged experiment, paired by seed.

    Returns:
        Of each option of `profiles.STUDIES` that was run, the difference on "validation" and on "test" rooms.
    """
    effects = {}
    for option in STUDIES:
        pairs = [pair for pair in (find_all(study(option, seed)) for seed in STUDY_SEEDS) if len(pair) == 2]
        if pairs:
            effects[option] = {
                "validation": estimate([_watched(changed) - _watched(base) for base, changed in pairs]),
                "test": estimate([changed.metrics.miou - base.metrics.miou for base, changed in pairs]),
            }
    return effects


def study_table(effects: dict[str, dict[str, Estimate]], confidence: float = 0.95) -> pd.DataFrame:
    """What single options change, as a table.

    Args:
        effects: See `study_effects`.
        confidence: Of the intervals.

    Returns:
        A line per option.
    """
    table: list[dict[str, Any]] = []
    for option, gaps in effects.items():
        base, _ = study(option)
        line: dict[str, Any] = {"option": option, "compared with": row_label(Facts.of(base))}
        line |= {f"Δ mIoU, {split} (mini)": gap.text(confidence) for split, gap in gaps.items()}
        table.append(line | {"seeds": gaps["test"].seeds})
    return pd.DataFrame(table)


def never_varied(found: Iterable[Record]) -> list[str]:
    """Options that the paper leaves open and that nobody has varied: of their effect nothing is known.

    Args:
        found: Records of trainings.

    Returns:
        Names such as "imr.share": fields of the modules and of the adapter that have one value in all of them, a
        module's in those that use it.
    """
    values: dict[str, set[Any]] = {}
    for record in found:
        objective = record.config.objective
        used = {name: getattr(objective, name) for name in objective.modules} | {"adapter": record.config.adapter}
        for part, options in used.items():
            for field in fields(options):
                values.setdefault(f"{part}.{field.name}", set()).add(getattr(options, field.name))
    return sorted(name for name, tried in values.items() if len(tried) == 1)


def _watched(record: Record) -> float:
    """Mean IoU on the validation scenes in %; nan without any."""
    return float("nan") if record.validation is None else record.validation["miou"]


def protocol_table(found: Sequence[Record]) -> pd.DataFrame:
    """How far a protocol moves a number: the same trained networks under every protocol of `STEPS`.

    Args:
        found: Records of `profiles.under_protocols`.

    Returns:
        A line per protocol that `found` holds; differences are to the book's own, paired by seed.
    """
    lines, own = frame(found), {"protocol": BOOK_PROTOCOL}
    held = rows_held(lines, [{"protocol": name} for name in STEPS])
    return pd.DataFrame([row | means_and_changes(lines, row, own) for row, _ in held])


def markdown(table: pd.DataFrame) -> str:
    """A table in GitHub's markdown.

    Args:
        table: Its cells are written as `str` gives them.

    Returns:
        The text, without a newline at the end.
    """
    head = "| " + " | ".join(table.columns) + " |"
    rule = "|" + "|".join("---" for _ in table.columns) + "|"
    return "\n".join([head, rule, *("| " + " | ".join(str(v) for v in row) + " |" for row in table.to_numpy())])
