"""The error anatomy of several 2D models side by side, and whether each figure lies where real networks' do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from geoguide.errors import InputError
from geoguide.report.measured import Measured

ROWS = {  # figure of `anatomy.anatomy`: what the table calls it, and its decimals
    "accuracy": ("per-view accuracy (%)", 0),
    "agree": ("two views of a point agree", 2),
    "wrong": ("wrong", 2),
    "wrong_again": ("wrong, given that another view is wrong", 2),
    "same_wrong": ("of two wrong views: the same wrong class", 2),
    "never_wrong": ("objects never mostly wrong", 2),
    "always_wrong": ("objects always mostly wrong", 2),
    "wall_wrong": ("view of a wall mostly wrong", 2),
    "floor_wrong": ("view of a floor mostly wrong", 2),
    "large_hidden": ("large object, little of it seen: wrong", 2),
    "large_seen": ("large object, more of it seen: wrong", 2),
    "share_instance": ("share of errors: whole instance", 2),
    "share_boundary": ("share of errors: at a boundary", 2),
    "share_patch": ("share of errors: patch", 2),
    "share_isolated": ("share of errors: isolated", 2),
    "error_1": ("error after 1 view (%)", 0),
    "error_2": ("error after 2 views (%)", 0),
    "error_3_4": ("error after 3 to 4 views (%)", 0),
    "error_5_8": ("error after 5 to 8 views (%)", 0),
    "inside_wrong": ("wrong pixels inside rightly seen objects", 2),
    "drift": ("drift of an object's feature, all views", 2),
    "drift_right": ("drift of an object's feature, right views", 2),
    "superpoint_gain": ("points of mIoU that superpoint means add", 1),
    "instance_gain": ("points of mIoU that means over true instances add", 1),
}
PURITY = "purity of the superpoints whose means are compared"
# These two were set as targets before real networks were measured, and are wider than what those span.
STATED = {"superpoint_gain": (-np.inf, 3.0), "instance_gain": (7.0, 26.0)}


@dataclass(frozen=True)
class Column:
    """The anatomy of one 2D model.

    Attributes:
        kind: real, simulated or trained.
        scenes: On which scenes, in words.
        figures: Means over the scenes, by name in `ROWS`; None where a figure is not defined there.
    """

    kind: str
    scenes: str
    figures: dict[str, float | None]
    purity: float | None = None
    """Of the superpoints whose means are compared: the share of points whose class is that of most in theirs."""
    each: dict[str, list[float | None]] | None = None
    """What `figures` are the means of: a value for each scene. None of columns of an earlier measurement."""


def mean_over(scenes: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """The figures of several scenes as one column.

    Args:
        scenes: What `anatomy.anatomy` gives, of each scene.

    Returns:
        Each figure's mean over the scenes where it is defined (not nan), to four decimals; None where it is nowhere.

    Raises:
        InputError: There is no scene.
    """
    if not scenes:
        raise InputError("scenes is empty: no column can be made")
    found = pd.DataFrame(scenes, columns=list(ROWS)).astype(float).mean()
    return {name: _noted(found[name]) for name in ROWS}


def of_each(scenes: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """The figures of several scenes, scene by scene, as a column keeps them.

    Args:
        scenes: What `anatomy.anatomy` gives, of each scene.

    Returns:
        By figure, a value for each scene to four decimals; None where it is not defined there.
    """
    return {name: [_noted(scene.get(name, np.nan)) for scene in scenes] for name in ROWS}


def _noted(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def over_scenes(column: Column, name: str) -> tuple[float, float] | None:
    """How far another draw of the same kind of scenes could move a figure.

    Args:
        column: A 2D model's.
        name: The figure.

    Returns:
        The 95 % interval of its mean over scenes (Student's t); None where fewer than three scenes say it.
    """
    values = [value for value in (column.each or {}).get(name, []) if value is not None]
    if len(values) < 3:
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


# By name of the 2D model, real networks first; benchmarks/anatomy.py measures them.
_FILE = Measured("anatomy.json", "columns", Column, "columns of an anatomy")
read_columns, write_columns = _FILE.read, _FILE.write

# The target was set by these three; DeepLab150 alone errs far more, and has its part in "both".
SPANNING = ("both", "MOSAIC", "ENet")


def real_range(columns: Mapping[str, Column]) -> dict[str, tuple[float, float]]:
    """What the real networks span: those of `SPANNING`, or where none of them is there, every real one.

    Args:
        columns: Some of them real.

    Returns:
        Least and most of each figure, the two of `STATED` as these say.

    Raises:
        InputError: None of the columns is real.
    """
    real = {name: column.figures for name, column in columns.items() if column.kind == "real"}
    real = [real[name] for name in SPANNING if name in real] or list(real.values())
    if not real:
        raise InputError("columns must hold at least one real network")
    spans = {}
    for name in ROWS:
        values = [value for figures in real if (value := figures.get(name)) is not None]
        if values:
            spans[name] = (min(values), max(values))
    return spans | STATED


def inside(name: str, value: float | None, spans: Mapping[str, tuple[float, float]]) -> bool:
    """Whether a figure lies in its range, as both are printed.

    Args:
        name: The figure.
        value: Its value; None lies nowhere.
        spans: See `real_range`.

    Returns:
        True where it does, ends included, after rounding to the decimals of `ROWS`.
    """
    if value is None or name not in spans:
        return False
    digits = ROWS[name][1]
    low, high = spans[name]
    return bool(round(low, digits) <= round(value, digits) <= round(high, digits))


def reaches(name: str, column: Column, spans: Mapping[str, tuple[float, float]]) -> bool:
    """Whether a figure lies in its range, or its interval over scenes meets it.

    Args:
        name: The figure.
        column: A 2D model's.
        spans: See `real_range`.

    Returns:
        False where it lies outside by more than the draw of scenes explains, or by how much is not known.
    """
    if inside(name, column.figures.get(name), spans):
        return True
    interval = over_scenes(column, name)
    return interval is not None and name in spans and interval[0] <= spans[name][1] and spans[name][0] <= interval[1]


def anatomy_table(columns: Mapping[str, Column], spans: Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """The table as shown.

    Args:
        columns: Any 2D models, by name.
        spans: The range beside them (see `real_range`).

    Returns:
        A line for each figure: what it is, the real range, and a column of text for each model, real ones first, then
        those that look at pixels (with a cross where a model that is not real lies outside the range, in brackets where
        another draw of scenes could bring it in: `reaches`). The last line is the purity of the superpoints, which is a
        figure of the scenes.
    """
    lines, order = [], ("real", "trained", "simulated")
    ordered = sorted(columns.items(), key=lambda item: order.index(item[1].kind))
    for name, (title, digits) in ROWS.items():
        line = {"figure": title, "real range": _range_text(spans[name], digits) if name in spans else ""}
        for model, column in ordered:
            value = column.figures.get(name)
            fits = column.kind == "real" or inside(name, value, spans)
            mark = "" if fits else " (✗)" if reaches(name, column, spans) else " ✗"
            line[model] = "" if value is None else f"{value:.{digits}f}{mark}"
        lines.append(line)
    purity = {model: "" if column.purity is None else f"{column.purity:.2f}" for model, column in ordered}
    return pd.DataFrame([*lines, {"figure": PURITY, "real range": ""} | purity])


def _range_text(span: tuple[float, float], digits: int) -> str:
    low, high = span
    return f"at most {high:g}" if np.isneginf(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def out_of_range(columns: Mapping[str, Column], spans: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, bool]]:
    """Which figures of each 2D model lie outside the real range.

    Args:
        columns: 2D models by name.
        spans: See `real_range`.

    Returns:
        By model, by title of `ROWS`, whether by more than the draw of scenes explains (not `reaches`); figures that are
        not defined on its scenes do not count.
    """
    return {
        model: {
            ROWS[name][0]: not reaches(name, column, spans)
            for name, value in column.figures.items()
            if name in ROWS and value is not None and not inside(name, value, spans)
        }
        for model, column in columns.items()
    }


def real_ones_left_out(columns: Mapping[str, Column]) -> dict[str, int]:
    """How many figures a real network itself has outside the range of the others: what a miss is worth.

    Args:
        columns: 2D models by name, those of `SPANNING` among them.

    Returns:
        By real network, how many of its figures lie outside what the networks of `SPANNING` but itself span.
    """
    real = {name: column for name, column in columns.items() if column.kind == "real"}
    counts = {}
    for name, column in real.items():
        spans = real_range({other: real[other] for other in SPANNING if other != name})
        counts[name] = len(out_of_range({name: column}, spans)[name])
    return counts


def outside_in_each_scene(column: Column, spans: Mapping[str, tuple[float, float]]) -> list[int]:
    """How many figures of a 2D model lie outside the range in each scene alone.

    Args:
        column: A 2D model's, with the figures of each scene.
        spans: See `real_range`.

    Returns:
        A count for each scene, figures that are not defined there left out; none where the column keeps no scenes.
    """
    scenes = zip(*(column.each or {}).values(), strict=True)
    alone = [
        Column(column.kind, column.scenes, dict(zip(column.each or {}, figures, strict=True))) for figures in scenes
    ]
    return [len(out_of_range({"": one}, spans)[""]) for one in alone]
