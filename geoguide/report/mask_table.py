"""How good class-agnostic instance masks are, by who made them and where: results/masks.json (paper, claim C11)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoguide.datasets.formats.files import read_json
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.experiments import regime
from geoguide.experiments.real_rooms import RESCAN, ROOM
from geoguide.experiments.records import Record, pick, planned
from geoguide.frozen import from_dict, to_dict
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.quality import average_precision, mask_quality, match_instances
from geoguide.paths import results_root, write_text
from geoguide.report import real_rooms
from geoguide.report.rows import FULL, route
from geoguide.report.tables import mean_of

MAKERS = {
    "geometry": "geometry",
    "learned": "learned (masks-mini)",
    "learned+geometry": "learned and geometry",
    "annotation": "annotation (oracle)",
}
COLUMNS = {
    "ap50": "AP50",
    "ap25": "AP25",
    "mean_best_iou": "mean best IoU",
    "recall50": "objects found at IoU 0.5",
    "masks": "masks a room",
    "instances": "objects a room",
}
VALIDATION, TEST = (f"{kind} rooms of the large edition" for kind in ("validation", "test"))
REAL = {ROOM: f"real room, {ROOM}", RESCAN: f"rescan of it, {RESCAN}"}  # what places are called, by scene
SCORE = "works-best's mIoU there, taught with such masks [seeds]"
NO_RECORD = "no record"


@dataclass(frozen=True)
class MaskRow:
    """The quality of one maker's masks in some scenes, by ScanNet's rules and without classes.

    Attributes:
        maker: A key of `MAKERS`, or another name.
        place: Which scenes, in words.
        source: mini (generated) or real.
        scenes: How many.
        ap50: Average precision of all scenes together at IoU 0.5.
        ap25: Likewise at 0.25.
        mean_best_iou: Mean over scenes of the mean over objects of the best IoU that any mask has.
        recall50: Mean over scenes of the share of objects with which some mask has an IoU above 0.5.
        masks: Masks a scene.
        instances: Objects of 100 points or more a scene.
        sha256: Of the weights, where a network made them.
    """

    maker: str
    place: str
    source: str
    scenes: int
    ap50: float
    ap25: float
    mean_best_iou: float
    recall50: float
    masks: float
    instances: float
    sha256: str | None = None


def mask_row(
    maker: str,
    place: str,
    source: str,
    found: Iterable[tuple[InstanceMasks, np.ndarray]],
    sha256: str | None = None,
) -> MaskRow:
    """Score one maker's masks.

    Args:
        maker: As in `MaskRow`.
        place: As in `MaskRow`.
        source: As in `MaskRow`.
        found: Of each scene the masks over P points, and the instance ids int64 [P], negative for none.
        sha256: As in `MaskRow`.

    Returns:
        The row, numbers to four decimals.

    Raises:
        InputError: No scene.
    """
    matches: dict[float, list[Any]] = {0.5: [], 0.25: []}
    quality = []
    for masks, instances in found:
        quality.append(mask_quality(masks, instances))
        for threshold, kept in matches.items():
            kept.append(match_instances(masks, instances, scores=masks.scores, threshold=threshold))
    if not quality:
        raise InputError(f"masks of {maker} on {place}: at least one scene is needed, found none")
    means = {name: float(np.mean([one[name] for one in quality])) for name in quality[0]}
    figures = means | {"ap50": average_precision(matches[0.5]), "ap25": average_precision(matches[0.25])}
    rounded: Mapping[str, Any] = {name: round(value, 4) for name, value in figures.items()}
    return MaskRow(maker, place, source, len(quality), **rounded, sha256=sha256)


def read_rows(path: Path | None = None) -> list[MaskRow]:
    """Read the committed rows.

    Args:
        path: A file that `write_rows` wrote; None for results/masks.json.

    Returns:
        The rows, in the order of the file.

    Raises:
        DataError: The file is missing or not as it must be.
    """
    path = results_root() / "masks.json" if path is None else path
    held = read_json(path, {"rows": list})["rows"]
    try:
        return [from_dict(MaskRow, row, f"rows[{number}]") for number, row in enumerate(held)]
    except ConfigError as error:
        raise DataError(f"{path}: rows of masks cannot be read ({error})") from None


def write_rows(rows: Sequence[MaskRow], path: Path | None = None) -> None:
    """Write rows; those of the same maker and place that are there already are replaced, others stay.

    Args:
        rows: The rows.
        path: The file; None for results/masks.json.
    """
    path = results_root() / "masks.json" if path is None else path
    old = read_rows(path) if path.is_file() else []
    merged = {(row.place, row.maker): row for row in [*old, *rows]}
    lines = ",\n".join(f" {json.dumps(to_dict(row))}" for row in merged.values())
    write_text(path, f'{{"rows": [\n{lines}\n]}}\n')


def method_scores(found: Sequence[Record]) -> dict[tuple[str, str], np.ndarray]:
    """What works-best scores in the places of the rows, by whose masks it learned with.

    Args:
        found: Records; others than works-best on the large edition of rooms, and of chapter 14 on its first 2D model
            and descriptors, are left out, as are those that no profile has.

    Returns:
        By place and maker the mIoU in % of each seed: over all validation or test rooms of the edition; on real rooms
        over the classes that occur.
    """
    told: dict[tuple[str, str], np.ndarray] = {}
    found = planned(found)
    for maker in MAKERS:
        changed = () if maker == "geometry" else (("masks.source", maker),)
        row = FULL | route("scannet") | {"edition": "large", "teacher": regime.MODELS["scannet"], "changed": changed}
        made = pick(found, row)
        told[TEST, maker] = np.array([record.metrics.miou for record in made])
        watched = [record.validation["miou"] for record in made if record.validation is not None]
        told[VALIDATION, maker] = np.array(watched)
    real = [record for record in found if real_rooms.is_of_rooms(record)]
    if real:
        every = real_rooms.frame(real)
        lines = real_rooms.plain(every, every["teacher"].value_counts().idxmax())
        for scene, place in REAL.items():
            for name, maker in real_rooms.MASKS_FROM.items():
                here = lines[(lines["scored"] == scene) & (lines["row"] == name)]
                told[place, maker] = here["miou"].to_numpy()
    return {key: scores for key, scores in told.items() if len(scores)}


def mask_table(rows: Sequence[MaskRow], found: Sequence[Record] = ()) -> pd.DataFrame:
    """The rows as they are shown.

    Args:
        rows: The rows.
        found: Records that GeoGuide's score beside them is taken from, see `method_scores`.

    Returns:
        A line for each: `scenes`, `masks from`, the columns of `COLUMNS`, and the score.
    """
    lines, scores = [], method_scores(found)
    for row in rows:
        where = {"scenes": f"{row.scenes} {row.place} ({row.source})", "masks from": MAKERS.get(row.maker, row.maker)}
        mine = scores.get((row.place, row.maker), np.zeros(0))
        score = f"{mean_of(mine)} [{len(mine)}]" if len(mine) else NO_RECORD
        lines.append(where | {told: getattr(row, name) for name, told in COLUMNS.items()} | {SCORE: score})
    return pd.DataFrame(lines, columns=["scenes", "masks from", *COLUMNS.values(), SCORE])


def card(rows: Sequence[MaskRow]) -> str:
    """The rows as the network's card holds them (weights/masks-mini.md).

    Args:
        rows: The rows.

    Returns:
        A table in Markdown, numbers to two decimals.
    """
    shown = ("ap50", "ap25", "mean_best_iou", "recall50")
    lines = [["scenes", "masks from", *(COLUMNS[name] for name in shown)], ["---"] * (2 + len(shown))]
    for row in rows:
        numbers = [f"{getattr(row, name):.2f}" for name in shown]
        lines.append([f"{row.scenes} {row.place} ({row.source})", MAKERS.get(row.maker, row.maker), *numbers])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def findings(rows: Sequence[MaskRow]) -> list[str]:
    """What learned masks are against those from geometry, place by place.

    Args:
        rows: The rows.

    Returns:
        A line of Markdown for each place and maker that learned.
    """
    story = []
    for place in dict.fromkeys(row.place for row in rows):
        here = {row.maker: row for row in rows if row.place == place}
        for maker in ("learned", "learned+geometry"):
            if maker not in here or "geometry" not in here:
                continue
            own, plain = here[maker], here["geometry"]
            said = ", ".join(f"{COLUMNS[name]} {getattr(own, name):.2f} against {getattr(plain, name):.2f}"
                             for name in ("ap50", "ap25", "mean_best_iou"))  # fmt: skip
            story.append(f"- Masks of {MAKERS[maker]} on {own.scenes} {place} ({own.source}): {said} of geometry's.")
    return story
