"""How much the gain over the adapter depends on the quality of superpoints and masks (claim C11)."""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from geoguide.errors import DataError
from geoguide.experiments import regime
from geoguide.experiments.facts import Facts, Row
from geoguide.experiments.profiles import QUALITY, quality, with_quality
from geoguide.experiments.records import Record, frame, only
from geoguide.instances.quality import mask_quality
from geoguide.instances.scene_masks import scene_masks
from geoguide.report.evidence import estimate, paired, settled
from geoguide.report.measured import Measured
from geoguide.report.rows import ADAPTER, FULL
from geoguide.scene import Scene
from geoguide.superpoints import scene_superpoints, superpoint_purity

NO_RECORD = "no record"
OURS = "ours"
PURITY, SIZE, IOU = "purity of the superpoints", "points of the median superpoint", "mean best IoU of the masks"


@dataclass(frozen=True)
class Quality:
    """The regions of a variant against the annotation; means over rooms.

    Attributes:
        rooms: How many.
        purity: See `superpoint_purity`.
        superpoints: In a room.
        median_size: Points of the median superpoint of a room.
        masks: In a room.
        mean_best_iou: Of the masks, see `mask_quality`.
    """

    rooms: int
    purity: float
    superpoints: float
    median_size: float
    masks: float
    mean_best_iou: float


def measure(scenes: Iterable[Scene], variants: Iterable[str] = tuple(QUALITY)) -> dict[str, Quality]:
    """Measure the regions of each variant. Nothing is trained.

    Args:
        scenes: Rooms with labels and instances; each is held once.
        variants: Keys of `profiles.QUALITY`.

    Returns:
        By variant.

    Raises:
        DataError: There is no room, or one has no labels or instances.
    """
    configs = {variant: with_quality(variant) for variant in variants}
    rows: dict[str, list[list[float]]] = {variant: [] for variant in configs}
    for scene in scenes:
        if scene.labels is None or scene.instances is None:
            raise DataError(f"scene {scene.name}: labels and instances are needed, found none")
        for variant, config in configs.items():
            superpoints = scene_superpoints(scene, config.superpoints)
            masks = scene_masks(scene, superpoints, config.masks)
            sizes = np.bincount(superpoints)
            best = mask_quality(masks, scene.instances)["mean_best_iou"]
            purity = superpoint_purity(superpoints, scene.labels)
            rows[variant].append([purity, len(sizes), float(np.median(sizes)), len(masks), best])
    if not all(rows.values()):
        raise DataError("no room to measure")
    means = {variant: np.mean(row, axis=0).tolist() for variant, row in rows.items()}
    return {variant: Quality(len(rows[variant]), *(round(v, 4) for v in mean)) for variant, mean in means.items()}


# By variant, in the order of `profiles.QUALITY`; benchmarks/quality.py measures them.
_FILE = Measured("quality.json", "variants", Quality, "qualities by variant")
read_qualities, write_qualities = _FILE.read, _FILE.write


@dataclass(frozen=True, eq=False)
class Gain:
    """What works-best adds to the adapter with regions of some quality.

    Attributes:
        variant: Name in `profiles.QUALITY`.
        quality: Of its regions.
        gap: mIoU minus the adapter's, one per seed that both have, float [seeds]; empty where there is no record.
        settled: Whether the trainings of both had converged, see `evidence.settled`.
    """

    variant: str
    quality: Quality
    gap: np.ndarray
    settled: bool

    @property
    def of_masks(self) -> bool:
        """Whether masks are what differs from ours, not superpoints."""
        return self.variant.startswith(("true masks", f"{OURS}, "))


def row_of(variant: str, module: str | None = None) -> Row:
    """The facts that pick a variant's records.

    Args:
        variant: A key of `profiles.QUALITY`.
        module: The only one in use, of `profiles.ALONE`; None: all three.

    Returns:
        Its facts.
    """
    row = FULL | _OWN | {"changed": _changed(variant)}
    return row if module is None else row | {"modules": (module,)}


@functools.cache
def _changed(variant: str) -> tuple[tuple[str, Any], ...]:
    """What a variant's experiments have that is not usual."""
    return Facts.of(with_quality(variant)).changed


_OWN: Row = {"teacher": regime.MODELS["scannet"]}


def adapter_row() -> Row:
    """The facts that pick the adapter's records beside them.

    Returns:
        Its facts.
    """
    config = next(config for config in quality() if not config.objective.modules)
    return ADAPTER | _OWN | {"changed": Facts.of(config).changed}


def gains(found: Iterable[Record], qualities: Mapping[str, Quality]) -> list[Gain]:
    """Every variant's gain.

    Args:
        found: Records of `profiles.quality`, as far as they were run.
        qualities: See `read_qualities`.

    Returns:
        One for each variant that was measured, in the order of `profiles.QUALITY`.
    """
    found = list(found)
    lines, reference = frame(found, edition=regime.EDITION) if found else None, adapter_row()
    told = []
    for variant in (name for name in QUALITY if name in qualities):
        rows = row_of(variant), reference
        if lines is None or any(only(lines, row).empty for row in rows):
            gap, done = np.zeros(0), True
        else:
            gap, done = paired(lines, *rows), settled(lines, *rows)
        told.append(Gain(variant, qualities[variant], gap, done))
    return told


def quality_table(found: list[Gain]) -> pd.DataFrame:
    """The gains as shown.

    Args:
        found: See `gains`.

    Returns:
        A line for each variant: its regions' quality, and the gain with the bounds of its interval over seeds, or
        "no record"; a star where its trainings had not converged.
    """
    table = []
    for gain in found:
        of = gain.quality
        sizes = {PURITY: f"{of.purity:.3f}", SIZE: f"{of.median_size:.0f}", "superpoints": f"{of.superpoints:.0f}"}
        masks = {IOU: f"{of.mean_best_iou:.2f}", "masks": f"{of.masks:.0f}"}
        table.append({"works-best with": gain.variant, **sizes, **masks, "gain over the adapter": _cell(gain)})
    return pd.DataFrame(table)


def _cell(gain: Gain) -> str:
    if len(gain.gap) == 0:
        return NO_RECORD
    return estimate(gain.gap).text() + ("" if gain.settled else " *")


Panels = dict[str, dict[str, tuple[float, np.ndarray]]]


def panels(found: list[Gain]) -> Panels:
    """The gains against each quality, for `figures.quality_scatter`.

    Args:
        found: See `gains`.

    Returns:
        Quality -> variant -> its value, and the gains float [seeds]: superpoints by purity and by size, masks by mean
        best IoU; ours stands in all.
    """
    superpoints = [gain for gain in found if not gain.of_masks]
    masks = [gain for gain in found if gain.of_masks or gain.variant == OURS]
    return {
        PURITY: {gain.variant: (gain.quality.purity, gain.gap) for gain in superpoints},
        SIZE: {gain.variant: (gain.quality.median_size, gain.gap) for gain in superpoints},
        IOU: {gain.variant: (gain.quality.mean_best_iou, gain.gap) for gain in masks},
    }


# What C11 says in pairs, which the ledger tests: the first should score higher than the second.
CONTRASTS = (
    (OURS, "superpoints far too fine"),
    (OURS, "superpoints far too coarse"),
    ("true masks", OURS),
    ("true masks", "true masks, 1 spoiled"),
    (OURS, "ours, all spoiled"),
)
ALIKE = (OURS, "superpoints by VCCS")  # of nearly the same purity: another rule, not another quality
