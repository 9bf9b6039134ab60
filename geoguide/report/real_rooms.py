"""The chapter on real scenes: which records it shows, their table, differences and classes."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from geoguide.datasets.config import Splits
from geoguide.experiments import facts, real_rooms
from geoguide.experiments.records import Record
from geoguide.method.objective import MODULES
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report import rows as mini
from geoguide.report.evidence import estimate, paired, verdicts
from geoguide.report.tables import mean_of

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
MASKS_FROM = {FULL: "geometry", LEARNED: "learned+geometry", ORACLES[(_TRUE_MASKS,)]: "annotation"}  # `masks.source`
BY_GRADIENT = f"{FULL} by gradient"
ORDER = (
    *POOLED.values(),
    ADAPTER,
    "as-written",
    FULL,
    "works-best, no usd",
    "works-best, no imr",
    "works-best, no iirc",
    BY_GRADIENT,
    f"{BY_GRADIENT}, no imr",
    f"{BY_GRADIENT}, no iirc",
    LEARNED,
)
ROWS = (*ORDER, *ORACLES.values())
HIGHER = "the row scores higher"


def is_of_rooms(record: Record) -> bool:
    """Whether a record is one of this chapter's.

    Args:
        record: Any record.

    Returns:
        True for real scenes that are named one by one.
    """
    return record.facts.data == "real" and record.config.data.splits is not None


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
        A line per record, by scored scene: `row`, `teacher`, `backbone`, `learned from`, `scored`, `steps`, `seed`,
        `miou`, `accuracy` (of all labelled points, those without a 2D feature wrong; both in %), `classes` that occur,
        and `record`, its position.
    """
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
            "steps": config.train.steps if trained else 0, "seed": config.seed, "miou": scores.miou_skip,
            "accuracy": 100 * float(np.trace(matrix)) / points[there],
            "classes": int((matrix.sum(axis=1) > 0).sum()), "record": number,
        })  # fmt: skip
    return pd.DataFrame(lines).sort_values(["scored", "record"], kind="stable")


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
    order = {name: place for place, name in enumerate(ROWS)}
    return pd.DataFrame(shown).sort_values("row", key=lambda rows: rows.map(order), kind="stable")


def differences(lines: pd.DataFrame, reference: str, confidence: float = 0.95) -> pd.DataFrame:
    """Each row less a reference, paired by seed, with what that says.

    Args:
        lines: See `frame`; of one 2D model, backbone, training scenes and number of steps.
        reference: A row.
        confidence: Of the intervals.

    Returns:
        A line per other trained row and scored scene: difference in mIoU with the bounds of its interval, seeds, and
        the verdict on "the row scores higher" (`evidence.verdicts`; all lines are one family).
    """
    shown, gaps = [], []
    trained = lines[lines["backbone"] != ""]
    for scene in dict.fromkeys(trained["scored"]):
        scores = trained[trained["scored"] == scene].pivot_table(index="seed", columns="row", values="miou")
        for row in [name for name in ROWS if name in scores and name != reference and reference in scores]:
            gaps.append(estimate((scores[row] - scores[reference]).dropna()))
            line = {"scored": scene, "row": row, f"mIoU less {reference}": gaps[-1].text(confidence)}
            shown.append(line | {"seeds": gaps[-1].seeds})
    told, _ = verdicts(gaps, confidence=confidence)
    return pd.DataFrame(shown).assign(**{HIGHER: told})


def beside_generated(lines: pd.DataFrame, generated: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """What the full method and its modules add here, beside what they add on generated rooms.

    Args:
        lines: As in `differences`.
        generated: See `records.frame`; of the ablation on generated rooms.
        confidence: Of the intervals.

    Returns:
        A line for each difference in mIoU: on every scored scene, and on generated rooms with a simulated 2D model.
    """
    full = mini.geoguide(FULL)
    shown = []
    for row, reference, there in (
        (FULL, ADAPTER, (full, mini.ADAPTER)),
        *((f"{FULL}, no {module}", FULL, (mini.geoguide(FULL, module), full)) for module in MODULES),
    ):
        told = differences(lines, reference, confidence)
        told = told[told["row"] == row].set_index("scored")[f"mIoU less {reference}"]
        gap = paired(generated, *there)
        shown.append(
            {"difference": f"{row} less {reference}", **told, "generated rooms": mean_of(gap, True, confidence)}
        )
    return pd.DataFrame(shown)


def class_iou(found: Sequence[Record], lines: pd.DataFrame, rows: Sequence[str]) -> pd.DataFrame:
    """IoU per class, means over seeds, of some rows.

    Args:
        found: The records that `lines` were made of.
        lines: See `frame`; of one scored scene.
        rows: Rows.

    Returns:
        float, indexed by class that occurs, a column per row.
    """
    held = {row: [found[number] for number in lines.loc[lines["row"] == row, "record"]] for row in rows}
    means = {row: pd.DataFrame([record.metrics.iou for record in records]).astype(float).mean() for row, records in
             held.items() if records}  # fmt: skip
    return pd.DataFrame(means).dropna(how="all")


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
    usual &= lines["steps"] == real_rooms.STEPS
    return lines[(lines["teacher"] == teacher) & (usual | (lines["backbone"] == ""))]


def findings(lines: pd.DataFrame, scored: str) -> list[str]:
    """What the trained rows say on one scene, in sentences of a list.

    Args:
        lines: See `plain`.
        scored: The scene.

    Returns:
        A line of Markdown per difference that can be told.
    """
    lines = lines[lines["scored"] == scored]
    story = []
    less = [f"{BY_GRADIENT}, no {module}" for module in MODULES]
    compared = (
        (ADAPTER, (FULL, "as-written", BY_GRADIENT)),
        (FULL, (*(f"{FULL}, no {module}" for module in MODULES), LEARNED, *ORACLES.values())),
        (BY_GRADIENT, less),
    )
    for reference, rows in compared:
        told = differences(lines, reference)
        for line in told.to_dict("records"):
            if line["row"] in rows:
                gap = f"{line[f'mIoU less {reference}']} points of mIoU, {line['seeds']} seeds"
                story.append(
                    f"- **{line[HIGHER]}**: on {scored}, *{line['row']}* scores higher than *{reference}* ({gap})."
                )
    return story


def pooled_findings(lines: pd.DataFrame, teacher: str) -> list[str]:
    """What means over regions change without training, in a sentence.

    Args:
        lines: See `frame`; of the rows that train nothing.
        teacher: The 2D model, as `short` calls it.

    Returns:
        One line of Markdown.
    """
    means = lines[lines["teacher"] == teacher].groupby("row")["miou"].mean()
    plain_, superpoints, objects = (f"{means[name]:.1f}" for name in POOLED.values())
    return [
        f"- Without training, means over superpoints change 2D fusion from {plain_} to {superpoints}, means over true "
        f"objects to {objects}; part of both is that points which no camera sees get an answer."
    ]


def class_findings(iou: pd.DataFrame) -> list[str]:
    """Which classes the full method gains and loses most on, against the adapter, in a sentence.

    Args:
        iou: See `class_iou`; with both rows.

    Returns:
        One line of Markdown; none where a row is missing.
    """
    if not {ADAPTER, FULL} <= set(iou):
        return []
    change = (iou[FULL] - iou[ADAPTER]).sort_values()
    least, most = (", ".join(f"{n} ({v:+.1f})" for n, v in part.items()) for part in (change.head(2), change.tail(2)))
    return [f"- By class, the full method less the adapter: least {least}; most {most} points of IoU."]
