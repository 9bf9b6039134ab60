"""The chapter on real scenes: which records it shows, their table, differences and classes."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geoguide.datasets.config import Splits
from geoguide.errors import DataError, require
from geoguide.experiments import facts, real_rooms
from geoguide.experiments.records import Record
from geoguide.frozen import config_hash
from geoguide.paths import results_root
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report.evidence import estimate, verdicts
from geoguide.report.tables import mean_of
from geoguide.text.encoders import TextConfig

NETWORKS = {  # files of the networks that the committed records are of
    "mobile_segmenter_r4_quant_argmax_uint8": "MOSAIC",
    "lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1": "DeepLab150",
}
POOLED = {
    "none": "2D fusion",
    "superpoints": "2D fusion, superpoint mean",
    "instances": "2D fusion, mean of true objects",
}
_TRUE_MASKS, _TRUE_SUPERPOINTS = ("masks.source", "annotation"), ("superpoints.cut", "annotation")
ORACLES: dict[tuple[tuple[str, Any], ...], str] = {
    (_TRUE_MASKS,): "works-best, true masks",
    (_TRUE_MASKS, _TRUE_SUPERPOINTS): "works-best, true masks and superpoints",
}
_LEARNED = (("masks.source", "learned+geometry"),)
LEARNED = "works-best, learned masks and geometry's"
ADAPTER, FULL = "adapter only", "works-best"
AUGMENTED = {row: f"{row}, rooms augmented" for row in (ADAPTER, FULL)}  # and read anew in every step
MASKS_FROM = {FULL: "geometry", LEARNED: "learned+geometry", ORACLES[(_TRUE_MASKS,)]: "annotation"}  # `masks.source`
BY_GRADIENT = f"{FULL} by gradient"
ORDER = (
    *POOLED.values(),
    ADAPTER,
    AUGMENTED[ADAPTER],
    "as-written",
    FULL,
    AUGMENTED[FULL],
    "works-best, no usd",
    "works-best, no imr",
    "works-best, no iirc",
    BY_GRADIENT,
    f"{BY_GRADIENT}, no imr",
    f"{BY_GRADIENT}, no iirc",
    LEARNED,
)
ROWS = (*ORDER, *ORACLES.values())
UNCHANGED = "as in large rooms"  # schedule, rate and means of regions, too, are the large edition's
HIGHER = "the row scores higher"
DISTILLED = ("point", "superpoint")  # the terms of the loss that follow the 2D features; every row has one of them
# By how much they may still fall, as a share. No labels may be looked at here, so nothing better than a loss can be;
# `real_rooms_story.rule_findings` says how little it tells where validation scenes can be asked.
STILL_FALLS = 0.1


def is_of_rooms(record: Record) -> bool:
    """Whether a record is one of the committed ones of this chapter.

    Args:
        record: Any record.

    Returns:
        True where a row of the chapter learned from its real rooms and the features of `NETWORKS`. An experiment with
        another option, 2D model or room, which anybody may have run beside them, is none.
    """
    if record.facts.data != "real" or record.config.data.splits is None:
        return False
    return any(file in record.facts.teacher for file in NETWORKS) and _row_hash(record.config) in _row_hashes()


@functools.cache
def _row_hashes() -> frozenset[str]:
    """Of the chapter's experiments, under whatever 2D model: a packaged one stands for it."""
    return frozenset(map(_row_hash, real_rooms.real_rooms("", "mini:lseg-mini")))


def _row_hash(config: ExperimentConfig) -> str:
    """What tells an experiment from another but for its 2D model."""
    return config_hash(config.replace(image_model=None, text=TextConfig()))


def row_of(record: Record) -> str:
    """The row of a record of this chapter.

    Args:
        record: The record.

    Returns:
        One of `ROWS`, or for another experiment its name.
    """
    found, config = record.facts, record.config
    if found.method == facts.FUSION:
        return POOLED[config.protocol.pooled]
    if found.method == facts.ADAPTER:
        return ADAPTER
    if found.method == facts.STILL:
        return AUGMENTED[FULL if config.objective.modules else ADAPTER]
    changed = tuple(sorted(found.changed))
    if changed == _LEARNED:
        return LEARNED
    if changed in ORACLES:
        return ORACLES[changed]
    name = found.preset or config.name
    if config.objective.lambda_by == "gradient":
        name = BY_GRADIENT
    return f"{name}, no {' '.join(found.dropped)}" if found.dropped else name


def _scenes(config: ExperimentConfig) -> tuple[str, str]:
    """The scenes that are learned from, and those that are scored."""
    learned, scored = config.data.splits or Splits(), config.tested().data.splits or Splits()
    return ", ".join(learned.train), ", ".join(scored.test)


def frame(found: Sequence[Record]) -> pd.DataFrame:
    """Records of this chapter as a table.

    Args:
        found: Records (see `is_of_rooms`).

    Returns:
        A line per record, by scored scene: `row`, `teacher`, `backbone`, `learned from`, `scored`, `steps`, `settings`
        (`UNCHANGED`, or "" for the chapter's), `seed`, `miou`, `accuracy` (of all labelled points, those without a 2D
        feature wrong; both in %), `classes` that occur, `fall` (see `fall_of`), and `record`, its position.

    Raises:
        DataError: There is no record.
    """
    if not found:
        raise DataError(f"{results_root()}: no records of real rooms; chapter 14 makes them with `-p data FOLDER`")
    lines = []
    points: dict[str, int] = {}  # labelled points, by scored scenes: a student answers at each of them
    for record in found:
        scored = _scenes(record.config)[1]
        points[scored] = max(points.get(scored, 0), int(np.array(record.metrics.confusion).sum()))
    for number, record in enumerate(found):
        config, scores = record.config, record.metrics
        matrix, (learned, there) = np.array(scores.confusion), _scenes(config)
        trained = record.facts.method != facts.FUSION
        lines.append({
            "row": row_of(record), "teacher": short(record.facts.teacher),
            "backbone": config.backbone.name if trained else "", "scored": there,
            "learned from": learned if trained else "",
            "steps": config.train.steps if trained else 0,
            "settings": UNCHANGED if config.pooling.means == "exact" else "",
            "seed": config.seed, "miou": scores.miou_skip,
            "accuracy": 100 * float(np.trace(matrix)) / points[there],
            "classes": int((matrix.sum(axis=1) > 0).sum()),
            "fall": fall_of(record.history), "record": number,
        })  # fmt: skip
    return pd.DataFrame(lines).sort_values(["scored", "record"], kind="stable")


def need_scenes(lines: pd.DataFrame, train: Sequence[str], scored: Sequence[str]) -> None:
    """Refuse scenes of which there are no records.

    Args:
        lines: See `frame`.
        train: Those that are learned from, together.
        scored: Those that are scored, one by one.

    Raises:
        InputError: Nothing was learned from the former, or scored on one of the latter.
    """
    for parameter, asked, column in (("train", [", ".join(train)], "learned from"), ("scored", scored, "scored")):
        known = [name for name in lines[column].unique() if name]
        met = asked and {*asked} <= {*known}
        require(met, f"{parameter} must name scenes of the records ({' or '.join(known)}), found {', '.join(asked)!r}")


def fall_of(history: Sequence[Mapping[str, float]]) -> float:
    """By which share the loss of the 2D features fell from the third quarter of a training to the last.

    Args:
        history: Of a record.

    Returns:
        The share, below 0 where the terms of `DISTILLED` rose; NaN where nothing was trained, or where rows are fewer
        than four, or without these terms.
    """
    if len(history) < 4 or not all({*DISTILLED} & {*row} for row in history):
        return float("nan")
    loss = [sum(row.get(name, 0.0) for name in DISTILLED) for row in history]
    rows = max(2, len(loss) // 4)
    before, last = np.mean(loss[-2 * rows : -rows]), np.mean(loss[-rows:])
    return float(1 - last / before) if before > 0 else float("nan")


def has_settled(falls: pd.Series) -> bool:
    """Whether most trainings of a row were done as far as their loss tells.

    Args:
        falls: See `fall_of`, one per training.

    Returns:
        True where in more than half of them the loss neither fell by more than `STILL_FALLS` nor rose.
    """
    return bool(falls.between(0, STILL_FALLS).mean() > 0.5)


def settling(lines: pd.DataFrame, by: Sequence[str] = ("row",)) -> pd.DataFrame:
    """How the loss of every trained row ended.

    Args:
        lines: See `frame`; scenes that are scored by the same training count once.
        by: Columns that tell the rows apart, "row" first.

    Returns:
        A line per row: the columns of `by`, the mean fall of the loss in %, trainings that had settled, and whether
        there may be a verdict on the row.
    """
    shown = []
    once = lines[(lines["backbone"] != "") & (lines["scored"] == lines["scored"].iat[-1])]
    for _, mine in once.groupby(list(by), sort=False):
        done = mine["fall"].between(0, STILL_FALLS)
        told = {"loss falls by, %": f"{100 * mine['fall'].mean():+.1f}", "settled": f"{done.sum()} of {len(done)}"}
        shown.append(
            {name: mine[name].iat[0] for name in by} | told | {"verdicts": "yes" if has_settled(mine["fall"]) else "no"}
        )
    return in_order(pd.DataFrame(shown))


def in_order(table_: pd.DataFrame) -> pd.DataFrame:
    """A table in the order of `ROWS`.

    Args:
        table_: With a column `row`.

    Returns:
        The same lines.
    """
    order = {name: place for place, name in enumerate(ROWS)}
    return table_.sort_values("row", key=lambda rows: rows.map(order), kind="stable")


def short(teacher: str) -> str:
    """What tables call a 2D model.

    Args:
        teacher: Its true name, as in records.

    Returns:
        The name with the networks' files by their usual names, without what stands in brackets.
    """
    for file, usual in NETWORKS.items():
        teacher = teacher.replace(file, usual)
    return re.sub(r" \([^)]*\)", "", teacher)


def table(lines: pd.DataFrame, by: Sequence[str], confidence: float = 0.95) -> pd.DataFrame:
    """Means over seeds, a line for each row and a pair of columns for each scored scene.

    Args:
        lines: See `frame`.
        by: Columns that tell the lines of the table apart, `row` among them.
        confidence: Of the intervals.

    Returns:
        The columns of `by`, mIoU and accuracy per scored scene, and the number of seeds.
    """
    shown = []
    for _, mine in lines.groupby(list(by), sort=False):
        line: dict[str, Any] = {name: mine[name].iat[0] for name in by}
        for scene in dict.fromkeys(lines["scored"]):
            there = mine[mine["scored"] == scene]
            line |= {f"{scene}: mIoU": mean_of(there["miou"], confidence=confidence)}
            line |= {f"{scene}: accuracy": mean_of(there["accuracy"], confidence=confidence)}
        shown.append(line | {"seeds": mine["seed"].nunique()})
    return in_order(pd.DataFrame(shown))


def differences(lines: pd.DataFrame, reference: str, confidence: float = 0.95) -> pd.DataFrame:
    """Each row less a reference, paired by seed, with what that says.

    Args:
        lines: See `frame`; of one 2D model, backbone, training scenes and number of steps.
        reference: A row.
        confidence: Of the intervals.

    Returns:
        A line per other trained row and scored scene: difference in mIoU with the bounds of its interval, seeds, and
        the verdict on "the row scores higher" (`evidence.verdicts`; all lines that are judged are one family): none
        where row or reference had not settled (`has_settled`).
    """
    shown, gaps, settled = [], [], []
    trained = lines[lines["backbone"] != ""]
    for scene in dict.fromkeys(trained["scored"]):
        here = trained[trained["scored"] == scene]
        scores = here.pivot_table(index="seed", columns="row", values="miou")
        done = here.groupby("row")["fall"].apply(has_settled)
        for row in [name for name in ROWS if name in scores and name != reference and reference in scores]:
            gaps.append(estimate((scores[row] - scores[reference]).dropna()))
            settled.append(bool(done[row] and done[reference]))
            line = {"scored": scene, "row": row, f"mIoU less {reference}": gaps[-1].text(confidence)}
            shown.append(line | {"seeds": gaps[-1].seeds})
    told, _ = verdicts(gaps, settled=settled, confidence=confidence)
    return pd.DataFrame(shown).assign(**{HIGHER: told})


def class_iou(found: Sequence[Record], lines: pd.DataFrame, rows: Sequence[str]) -> pd.DataFrame:
    """IoU per class, means over seeds, of some rows.

    Args:
        found: The records that `lines` were made of.
        lines: See `frame`; of one scored scene.
        rows: Rows.

    Returns:
        float, indexed by class that occurs, a column per row.
    """
    held = {row: iou_by_seed(found, lines, row) for row in rows}
    return pd.DataFrame({row: scores.mean() for row, scores in held.items() if len(scores)}).dropna(how="all")


def iou_by_seed(found: Sequence[Record], lines: pd.DataFrame, row: str) -> pd.DataFrame:
    """IoU per class of each training of a row.

    Args:
        found: As in `class_iou`.
        lines: As in `class_iou`.
        row: A row.

    Returns:
        float, indexed by seed, a column per class; NaN where it does not occur; empty where the row was not run.
    """
    mine = lines[lines["row"] == row]
    return pd.DataFrame([found[number].metrics.iou for number in mine["record"]], index=mine["seed"]).astype(float)


def plain(lines: pd.DataFrame, teacher: str, learned: str = real_rooms.ROOM) -> pd.DataFrame:
    """The lines of the main comparison: descriptors, and the usual number of steps.

    Args:
        lines: See `frame`.
        teacher: The 2D model, as `short` calls it.
        learned: The scenes that are learned from, as in `frame`.

    Returns:
        Those lines, those without training among them.
    """
    usual = (lines["backbone"] == real_rooms.BACKBONES[0]) & (lines["learned from"] == learned)
    usual &= (lines["steps"] == real_rooms.STEPS) & (lines["settings"] == "")
    return lines[(lines["teacher"] == teacher) & (usual | (lines["backbone"] == ""))]
