"""Networks scored where they were not trained: the floor, and how much of the score is kept (claim C10)."""

import numpy as np
import pandas as pd

from geoguide.experiments.records import Record
from geoguide.labels import load_label_set
from geoguide.report.tables import frame, labelled

PLACES = {"scannet": "rooms", "matterport3d": "houses", "nuscenes": "streets"}


_FULL = "works-best/full"


CLAIMS = (  # rows of `claim_lines`: better, worse, and what that says of C10
    (f"{_FULL} (rooms to houses)", "floor (houses)", "from rooms to houses: beats the floor"),
    (
        f"{_FULL} (rooms to houses)",
        "adapter only (rooms to houses)",
        "from rooms to houses: works-best beats the adapter",
    ),
    (f"{_FULL} (rooms to streets)", "floor (streets)", "from rooms to streets: beats the floor"),
    (
        f"{_FULL} (streets to streets)",
        f"{_FULL} (rooms to streets)",
        "on streets, training there beats training in rooms",
    ),
    (f"{_FULL} (kept in houses)", f"{_FULL} (kept in streets)", "more of the score is kept in houses than on streets"),
)


def chance(metrics: dict, absent: str = "zero") -> tuple[str, float, float]:
    """Always saying the most frequent class of these very scenes: its name, mIoU and mAcc in %.

    Every other class has IoU 0, this one its share of the points. Under "zero" all classes are in the mean, else those
    that occur.
    """
    points = np.array(metrics["confusion"]).sum(axis=1)  # [C]
    classes = len(points) if absent == "zero" else int((points > 0).sum())
    best = int(points.argmax())
    return list(metrics["iou"])[best], float(100.0 * points[best] / points.sum() / classes), 100.0 / classes


def transferred(found: list[Record], dataset: str) -> pd.DataFrame:
    """Lines of the networks that were scored on another domain, under the names of their rows at home."""
    away = [r for r in found if r["name"].endswith(f" on {dataset}")]
    lines = frame(away)
    return lines.assign(row=lines["row"].str.removesuffix(f" on {dataset}"))


def kept(away: pd.DataFrame, home: pd.DataFrame, row: str, metric: str = "miou") -> pd.Series:
    """By seed, the score of a network from elsewhere in % of that of the one trained there."""
    scores = [lines[lines["row"] == row].set_index("seed")[metric] for lines in (away, home)]
    return (100.0 * scores[0] / scores[1]).dropna()


def mean_iou(found: list[Record], row: str) -> pd.Series:
    """IoU per class in %, mean over the seeds of a row; NaN where the class is absent."""
    return pd.DataFrame([r["metrics"]["iou"] for r in found if r["name"] == row]).astype(float).mean()


def shared_names(here: str, there: str) -> list[str]:
    """Names of label set `there` that label set `here` has too."""
    known = set(load_label_set(here).names)
    return [name for name in load_label_set(there).names if name in known]


def claim_lines(away: list[Record], home: dict[str, list[Record]]) -> pd.DataFrame:
    """Every line that `CLAIMS` compares, as the functions of `tables` take them.

    away: records of `cross_domain`; home: dataset -> records of networks trained and tested there, as far as they were
    run. Rows: 'adapter only (rooms to houses)', 'adapter only (kept in houses)' in % of training there, and
    'floor (houses)', which trains nothing.
    """
    parts = []
    for dataset, found in home.items():
        place, lines = PLACES[dataset], frame(found)
        parts.append(labelled(lines, f"{place} to {place}"))
        _, miou, macc = chance(found[0]["metrics"], found[0]["protocol"]["absent_class"])
        parts.append(pd.DataFrame([{"row": f"floor ({place})", "seed": 0, "miou": miou, "macc": macc}]))
        if not any(record["name"].endswith(f" on {dataset}") for record in away):
            continue
        moved = transferred(away, dataset)
        parts.append(labelled(moved, f"rooms to {place}"))
        for row in moved["row"].unique():
            shares = {metric: kept(moved, lines, row, metric) for metric in ("miou", "macc")}
            trained = moved[moved["row"] == row].set_index("seed")["converged"]
            share = pd.DataFrame(shares).join(trained).rename_axis("seed").reset_index()
            parts.append(labelled(share.assign(row=row), f"kept in {place}"))
    return pd.concat(parts, ignore_index=True)
