"""Facts as words for people: what rows, places and benchmarks are called. No code reads a label back."""

from collections.abc import Sequence

import pandas as pd

from geoguide.benchmarks import benchmarks
from geoguide.experiments.facts import GEOGUIDE, Facts, Row, own_occlusion
from geoguide.experiments.presets import DEFAULT_TEACHER, DOSES, TEACHERS, row_name
from geoguide.experiments.records import only
from geoguide.experiments.regime import OTHER_MODELS
from geoguide.method.objective import MODULES
from geoguide.report.rows import OWN_BACKBONES

PLACES = {benchmark.name: benchmark.world.place for benchmark in benchmarks()}  # what the generated scenes are


BENCHMARKS = {benchmark.name: benchmark.title for benchmark in benchmarks()}


# 2D models that a label names: of simulated ones all but the default, of trained ones all but each edition's own.
OTHER_TEACHERS = {*TEACHERS, *DOSES, *OTHER_MODELS} - {DEFAULT_TEACHER}


HIDDEN_BY = {"none": "nothing (OpenScene)", "depth": "true depth", "splat": "z-buffer"}  # by `Facts.occlusion`


def variant(row: Row) -> str:
    """What of the method a row holds.

    Args:
        row: Facts of a row; where they name no modules, neither used nor dropped, all are in use.

    Returns:
        'full', 'without usd', 'only imr', 'no module' for a preset; else the method. The paper's table of OpenSeg
        features on ScanNet in results/paper.json calls its rows so.
    """
    used = tuple(module for module in MODULES if module not in row.get("dropped", ()))
    return row_name(row.get("modules", used)) if row["method"] == GEOGUIDE else row["method"]


def row_label(row: Facts | Row) -> str:
    """What a row is called in tables and figures.

    Args:
        row: The facts of an experiment; or some facts, of which the label says no more than they do.

    Returns:
        The label: method or preset, and each fact that is not the usual one.

    Example:
        >>> row_label({"method": "GeoGuide", "preset": "works-best", "modules": ("imr", "iirc")})
        'works-best/without usd'
        >>> row_label({"method": "adapter only", "backbone": "descriptors", "teacher": "LSeg-like"})
        'adapter only on descriptors, LSeg-like'
    """
    row = row.columns() if isinstance(row, Facts) else row
    label = f"{row['preset']}/{variant(row)}" if row["method"] == GEOGUIDE else variant(row)
    backbone, teacher, trained_on = row.get("backbone"), row.get("teacher"), row.get("trained_on")
    if isinstance(backbone, str) and backbone not in OWN_BACKBONES:
        label += f" on {backbone}"
    if teacher in OTHER_TEACHERS:
        label += f", {teacher}"
    if trained_on is not None and row.get("occlusion", own_occlusion(trained_on)) != own_occlusion(trained_on):
        label += f", {HIDDEN_BY[row['occlusion']]}"
    if row.get("tested_on", trained_on) != trained_on:
        label += f" on {row['tested_on']}"
    if row.get("edition") not in (None, "small"):
        label += f", {row['edition']} edition"
    return label + "".join(f", {name} = {value}" for name, value in row.get("changed", ()))


def labelled(lines: pd.DataFrame, rows: Sequence[Row]) -> pd.DataFrame:
    """Lines with the labels of their rows.

    Args:
        lines: See `records.frame`.
        rows: Facts of each row.

    Returns:
        The lines of these rows, row by row, with the column `row` for the label.
    """
    return pd.concat([only(lines, row).assign(row=row_label(row)) for row in rows])
