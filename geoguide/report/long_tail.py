"""Scores against the number of classes, and by how frequent a class is (paper, long tail; claim C7).

Training never sees a label set: one trained network is scored on all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from geoguide.benchmarks.matterport3d import LABEL_SETS
from geoguide.datasets.config import Edition
from geoguide.experiments.facts import Row
from geoguide.experiments.records import KEPT, Record, frame, only
from geoguide.labels import GROUPS, load_label_set
from geoguide.report.evidence import converged
from geoguide.report.labels import row_label
from geoguide.report.tables import mean_of

SIZES = {len(load_label_set(name)): name for name in LABEL_SETS}  # K -> label set


METRICS = ("miou", "miou_skip", "macc")


def by_size(found: Sequence[Record], edition: Edition = "small") -> pd.DataFrame:
    """Records on every label set.

    Args:
        found: Records of Matterport3D.
        edition: See `records.frame`.

    Returns:
        Lines as of `records.frame`, one per record and label set, with the column `K`, the number of classes.

    Raises:
        DataError: A record was not scored on one of the label sets.
    """
    parts = [frame(found, name, edition).assign(K=size) for size, name in SIZES.items()]
    return pd.concat(parts).sort_values(["K", "seed"], kind="stable", ignore_index=True)


def share_kept(lines: pd.DataFrame) -> pd.DataFrame:
    """The same lines in % of the same run's score on the smallest label set: what is left as classes are added.

    Args:
        lines: See `by_size`.

    Returns:
        The lines; the metrics are shares, `measure` is "kept".
    """
    whole = only(lines, {"K": min(SIZES)}).set_index("id").loc[lines["id"]]  # a line for each of `lines`
    shares = {metric: 100.0 * lines[metric].to_numpy() / whole[metric].to_numpy() for metric in METRICS}
    return lines.assign(measure=KEPT, **shares)


def by_frequency(found: Sequence[Record], edition: Edition = "small") -> pd.DataFrame:
    """Records by how frequent the classes of the largest label set are.

    Args:
        found: Records of Matterport3D, all of one edition.
        edition: See `records.frame`.

    Returns:
        Lines as of `records.frame`, one per record and bin (head, common, tail of `LabelSet.group`): `bin`, how many
        `classes` it has, how many of them `occur` in the test scenes, of how many any point is right (`hit`), and miou
        and miou_skip over them.
    """
    label_set = LABEL_SETS[-1]
    group, parts = np.array(load_label_set(label_set).group), []
    iou = np.array([list(record.scores(label_set).iou.values()) for record in found], float)  # [R, C], NaN where absent
    for name in GROUPS:
        mine = np.ascontiguousarray(iou[:, group == name])  # so that rows are summed as arrays of their own
        occur, total = np.isfinite(mine).sum(axis=1), np.nansum(mine, axis=1)  # [R]
        scores = {"miou": total / mine.shape[1], "miou_skip": total / np.maximum(occur, 1)}
        counts = {"classes": mine.shape[1], "occur": occur, "hit": (mine > 0).sum(axis=1)}
        parts.append(frame(found, label_set, edition).assign(bin=name, **scores, **counts))
    return pd.concat(parts, ignore_index=True)


def spread(
    lines: pd.DataFrame, rows: Sequence[Row], metric: str = "miou", over: str = "K"
) -> dict[str, dict[Any, list[float]]]:
    """The scores of rows by number of classes or by bin: what `figures.interval_lines` draws.

    Args:
        lines: See `by_size`, `by_frequency`.
        rows: Facts of each row.
        metric: Column.
        over: K or bin.

    Returns:
        Label of the row -> K or bin -> one value per seed.
    """
    cells = {row_label(row): only(lines, row).groupby(over, sort=False)[metric] for row in rows}
    return {label: {key: part.tolist() for key, part in groups} for label, groups in cells.items()}


def class_table(lines: pd.DataFrame, rows: Sequence[Row], metric: str = "miou", over: str = "K") -> pd.DataFrame:
    """Rows by number of classes or by bin, as shown.

    Args:
        lines: See `by_size`, `by_frequency`.
        rows: Facts of each row, in the order of the table.
        metric: Column that is averaged.
        over: K or bin: the table's columns.

    Returns:
        A line per row: means with 95 % intervals, seeds, and how many trainings converged.
    """
    result = []
    for row in rows:
        mine = only(lines, row)
        cells = mine.groupby(over, sort=False)[metric]
        line = {f"K = {key}" if over == "K" else key: mean_of(part.to_numpy()) for key, part in cells}
        runs = mine.drop_duplicates("seed")
        result.append({"row": row_label(row)} | line | {"seeds": len(runs), "converged": converged(runs)})
    return pd.DataFrame(result)
