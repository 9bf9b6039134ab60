"""Networks scored where they were not trained: the floor, and how much of the score is kept (claim C10)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from geoguide.datasets.config import Edition
from geoguide.experiments.facts import Row
from geoguide.experiments.records import KEPT, SCORE, Record, Scores, frame, only
from geoguide.labels import load_label_set
from geoguide.report.evidence import by_seed
from geoguide.report.labels import PLACES
from geoguide.report.rows import ADAPTER, AS_WRITTEN, FULL, route

HOME, *AWAY = PLACES  # trained in rooms; tested there, in houses and on streets


METHODS = (ADAPTER, AS_WRITTEN, FULL)  # those whose networks are tested elsewhere


FLOOR: Row = {"method": "always the most frequent class"}  # trains nothing


def chance(scores: Scores, absent: str = "zero") -> tuple[str, float, float]:
    """The floor: always saying the most frequent class of these very scenes.

    Every other class has IoU 0, this one its share of the points.

    Args:
        scores: Of any method on these scenes, with a confusion matrix.
        absent: As in `Protocol.absent_class`: under "zero" all classes are in the mean, else those that occur.

    Returns:
        The class, and mIoU and mAcc in %.
    """
    points = np.array(scores.confusion).sum(axis=1)  # [C]
    classes = len(points) if absent == "zero" else int((points > 0).sum())
    best = int(points.argmax())
    return list(scores.iou)[best], float(100.0 * points[best] / points.sum() / classes), 100.0 / classes


def kept_elsewhere(lines: pd.DataFrame, row: Row, tested_on: str) -> pd.DataFrame:
    """What a network from rooms keeps elsewhere, in % of the score of the network trained there, by seed.

    Args:
        lines: See `records.frame`; of networks trained in rooms and of those trained on `tested_on`.
        row: Facts of the method.
        tested_on: Benchmark.

    Returns:
        The lines of the networks from rooms whose seed both have; miou and macc are the share, `measure` is "kept".
    """
    moved = only(lines, row | route(HOME, tested_on))
    there = {metric: moved["seed"].map(by_seed(lines, row | route(tested_on), metric)) for metric in ("miou", "macc")}
    shares = {metric: 100.0 * moved[metric] / scores for metric, scores in there.items()}
    return moved.assign(measure=KEPT, **shares).dropna(subset=["miou"])


def shared_names(here: str, there: str) -> list[str]:
    """The classes of one label set that another has too.

    Args:
        here: Label set.
        there: Label set.

    Returns:
        Names of `there` that `here` knows, in their order.
    """
    known = set(load_label_set(here).names)
    return [name for name in load_label_set(there).names if name in known]


def claim_lines(found: Sequence[Record], edition: Edition = "small") -> pd.DataFrame:
    """Every line that claim C10 compares (see `claim_tests.claim_tests`).

    Args:
        found: Records of `profiles.cross_domain`, and of networks trained and tested in one place, as far as they were
            run.
        edition: See `records.frame`.

    Returns:
        Lines as of `records.frame`: the records', those of `kept_elsewhere` for every method, and per place that was
        trained in one of `FLOOR`.
    """
    lines = frame(found, edition=edition)
    parts = [lines, *(kept_elsewhere(lines, row, dataset) for row in METHODS for dataset in AWAY)]
    for dataset in PLACES:
        here = [record for record in found if record.facts.fit(route(dataset))]
        if here:
            _, miou, macc = chance(here[0].metrics, here[0].config.protocol.absent_class)
            line = FLOOR | {"tested_on": dataset, "measure": SCORE, "seed": 0, "miou": miou, "macc": macc}
            parts.append(pd.DataFrame([line]))
    return pd.concat(parts, ignore_index=True)
