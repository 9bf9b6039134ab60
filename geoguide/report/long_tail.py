"""Scores against the number of classes, and by how frequent a class is (paper, long tail; claim C7).

Training never sees a label set: one trained network is scored on all of them.
"""

import numpy as np
import pandas as pd

from geoguide.errors import DataError
from geoguide.experiments.presets import LONG_TAIL
from geoguide.experiments.records import Record
from geoguide.labels import GROUPS, load_label_set
from geoguide.report.tables import converged, interval, labelled, with_interval

SIZES = {len(load_label_set(name)): name for name in LONG_TAIL}  # K -> label set


METRICS = ("miou", "miou_skip", "macc")


SCORES = {"miou": "absent classes count 0", "miou_skip": "absent classes skipped"}


def scored(record: Record, label_set: str) -> dict:
    """The metrics of a record on one of its label sets. Raises DataError where it was not scored on it."""
    if label_set == record["protocol"]["label_set"]:
        return record["metrics"]
    if label_set not in record["by_label_set"]:
        raise DataError(f"record {record['id']}: not scored on {label_set}")
    return record["by_label_set"][label_set]


def by_size(found: list[Record]) -> pd.DataFrame:
    """One line per record and label set: row, seed, K, how many classes occur, mIoU (both readings), mAcc."""
    lines = []
    for record in found:
        trained = None if record["training"] is None else record["training"]["converged"]
        for size, name in SIZES.items():
            metrics = scored(record, name)
            occur = sum(value is not None for value in metrics["iou"].values())
            line = {"row": record["name"], "seed": record["seed"], "K": size, "occur": occur, "converged": trained}
            lines.append(line | {metric: metrics[metric] for metric in METRICS})
    return pd.DataFrame(lines).sort_values(["row", "K", "seed"], ignore_index=True)


def at(lines: pd.DataFrame, size: int) -> pd.DataFrame:
    """The lines of one label set, as the functions of `tables` take them."""
    return lines[lines["K"] == size].reset_index(drop=True)


def kept(lines: pd.DataFrame) -> pd.DataFrame:
    """The same lines in % of the same run's score on the smallest label set: what is left as classes are added."""
    first = lines[lines["K"] == min(SIZES)].set_index(["row", "seed"])
    whole = first.loc[pd.MultiIndex.from_frame(lines[["row", "seed"]])]
    shares = {metric: 100.0 * lines[metric].to_numpy() / whole[metric].to_numpy() for metric in METRICS}
    return lines.assign(**shares)


def by_frequency(found: list[Record], label_set: str = LONG_TAIL[-1]) -> pd.DataFrame:
    """One line per record and frequency bin (head, common, tail of `LabelSet.group`): mIoU over the bin's classes.

    occur: how many of the bin's classes are in the test scenes; hit: of how many of them any point is right.
    """
    group, lines = np.array(load_label_set(label_set).group), []
    for record in found:
        iou = np.array(list(scored(record, label_set)["iou"].values()), float)  # [C], NaN where absent
        trained = None if record["training"] is None else record["training"]["converged"]
        for name in GROUPS:
            mine = iou[group == name]
            occur = int(np.isfinite(mine).sum())
            line = {"row": record["name"], "seed": record["seed"], "bin": name, "classes": len(mine), "occur": occur}
            line |= {"miou": np.nansum(mine) / len(mine), "miou_skip": np.nansum(mine) / max(occur, 1)}
            line["hit"] = int((mine > 0).sum())
            lines.append(line | {"converged": trained})
    return pd.DataFrame(lines)


def spread(lines: pd.DataFrame, rows: list[str], metric: str = "miou", over: str = "K") -> dict[str, dict]:
    """Row -> K (or bin) -> one value per seed: what `figures.interval_lines` draws."""
    return {
        row: {key: part[metric].tolist() for key, part in lines[lines["row"] == row].groupby(over, sort=False)}
        for row in rows
    }


def table(lines: pd.DataFrame, rows: list[str], metric: str = "miou", over: str = "K") -> pd.DataFrame:
    """Row by K (or bin): mean and 95 % interval, with seeds and how many trainings converged."""
    result = []
    for row, cells in spread(lines, rows, metric, over).items():
        mine = lines[lines["row"] == row]
        label = "K = {}" if over == "K" else "{}"
        line = {label.format(key): with_interval(np.mean(v), interval(v)) for key, v in cells.items()}
        runs = mine.drop_duplicates("seed")
        result.append({"row": row} | line | {"seeds": len(runs), "converged": converged(runs)})
    return pd.DataFrame(result)


def claim_lines(found: list[Record]) -> pd.DataFrame:
    """Lines for the claims ledger: 'works-best/full (K = 40)', and 'works-best/full (kept at K = 40)' in %."""
    lines = by_size(found)
    parts = [labelled(at(lines, size), f"K = {size}") for size in SIZES]
    return pd.concat(parts + [labelled(at(kept(lines), size), f"kept at K = {size}") for size in SIZES])
