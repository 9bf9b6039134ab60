"""Effects with their intervals as a heat map and against qualities, and figures against a range."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from geoguide.errors import InputError, require
from geoguide.report.evidence import interval
from geoguide.report.figures.render import PALETTE, finish

ACROSS = 4  # columns whose cells hold a mean and its interval in one line on a page of the book
PALE = 1.6  # times the largest effect: no cell gets the darkest colours, on which letters cannot be read


def effect_heatmap(
    effects: Mapping[tuple[str, str], np.ndarray],
    *,
    title: str,
    x_title: str,
    y_title: str,
    marked: Sequence = (),
    settled: Sequence = (),
) -> go.Figure:
    """What columns add in rows: colour by the mean over seeds, each cell with its 95 % interval (Student's t).

    Cells that are not settled are in grey letters; cells without seeds stay empty and say so.

    Args:
        effects: (row, column) -> one value per seed, which may be none. `<br>` breaks a long name of a column.
        title: Of the figure.
        x_title: What the columns are.
        y_title: What the rows are.
        marked: Cells (row, column) that get a frame.
        settled: Cells whose trainings had converged, in bold letters.

    Returns:
        The figure.

    Raises:
        InputError: There is no cell, or a value is not finite.
    """
    require(effects, "effects must hold at least one cell")
    rows, columns = (list(dict.fromkeys(cell[axis] for cell in effects)) for axis in (0, 1))
    mean = np.full((len(rows), len(columns)), np.nan)
    tight = len(columns) > ACROSS
    figure = go.Figure()
    for (row, column), values in effects.items():
        seeds = np.asarray(values, dtype=np.float64)
        if not np.isfinite(seeds).all():
            raise InputError(f"effects[{row!r}, {column!r}] must be finite")
        half = interval(seeds)
        at = (rows.index(row), columns.index(column))
        mean[at] = seeds.mean() if len(seeds) else np.nan
        spread = "" if np.isnan(half) else f"{'<br>' if tight else ' '}± {half:.2f}"
        text = f"{mean[at]:+.2f}{spread}" if len(seeds) else "no record"
        done = (row, column) in settled
        font = {"color": "#000000" if done else "#404040", "size": 12}
        figure.add_annotation(x=column, y=row, text=f"<b>{text}</b>" if done else text, showarrow=False, font=font)
        if (row, column) in marked:
            low, high = at[1] - 0.48, at[1] + 0.48
            frame = {"color": PALETTE[7], "width": 2}
            figure.add_shape(type="rect", x0=low, x1=high, y0=at[0] - 0.46, y1=at[0] + 0.46, line=frame)
    most = PALE * float(np.nanmax(np.abs(mean))) if np.isfinite(mean).any() else 1.0
    heat = go.Heatmap(z=mean, x=columns, y=rows, colorscale="PuOr", zmid=0, zmin=-most, zmax=most)
    heat.colorbar = {"title": {"text": "points of mIoU", "side": "right"}, "thickness": 12}
    heat.hovertemplate = "%{y}, %{x}: %{z:+.2f}<extra></extra>"
    figure.add_trace(heat)
    figure.update_xaxes(title_text=x_title, side="top")
    if tight:
        figure.update_xaxes(tickangle=0, tickfont_size=11)
    figure.update_yaxes(title_text=y_title, autorange="reversed")
    more = 20 * max(column.count("<br>") for column in columns)  # pixels
    height = 140 + more + (44 if tight else 34) * len(rows)
    return finish(figure, title=title, height=height, margin={"t": 130 + more})


def range_dots(
    models: Mapping[str, Mapping[str, float]], spans: Mapping[str, tuple[float, float]], *, title: str
) -> go.Figure:
    """Figures of several models against ranges, each row on a scale of its own: 0 is the range's low end, 1 its high.

    Args:
        models: Model -> row -> value; a row that a model lacks is left out. At most eight models.
        spans: Row -> low and high end, both finite, in the order of the rows.
        title: Of the figure.

    Returns:
        The figure.

    Raises:
        InputError: There are no models or too many, or a range is not finite.
    """
    require(1 <= len(models) <= len(PALETTE), f"models must be 1 to {len(PALETTE)}, found {len(models)}")
    require(np.isfinite(list(spans.values())).all(), "spans must be finite")
    # A range narrower than a tenth of its middle is widened to that, or one point beside it would leave the page.
    unit = {row: max(high - low, 0.1 * abs(high + low) / 2, 1e-9) for row, (low, high) in spans.items()}
    figure = go.Figure()
    for number, (name, values) in enumerate(models.items()):
        held = [row for row in spans if row in values]
        x = [float(np.clip((values[row] - spans[row][0]) / unit[row], -4, 5)) for row in held]
        dots = go.Scatter(x=x, y=held, name=name, mode="markers", customdata=[values[row] for row in held])
        dots.update(marker={"color": PALETTE[number], "symbol": number, "size": 9})
        dots.hovertemplate = f"{name}, %{{y}}: %{{customdata:.3g}}<extra></extra>"
        figure.add_trace(dots)
    figure.add_vrect(x0=0, x1=1, fillcolor="#888888", opacity=0.25, line_width=0, layer="below")
    figure.update_xaxes(title_text="in widths of the real range; beyond the page: at its edge", zeroline=False)
    figure.update_yaxes(autorange="reversed", tickfont={"size": 11})
    return finish(figure, title=title, height=160 + 24 * len(spans))


def quality_scatter(
    panels: Mapping[str, Mapping[str, tuple[float, Sequence[float]]]], *, title: str, unit: str, log: Sequence[str] = ()
) -> go.Figure:
    """What is gained against a quality, side by side for several qualities: means over seeds with 95 % intervals.

    Variants without seeds are hollow, on the line of no gain, and say so.

    Args:
        panels: Quality -> variant -> its value (finite), and one finite gain per seed, which may be none.
        title: Of the figure.
        unit: Of the gains, for the axis.
        log: Qualities whose axis is logarithmic.

    Returns:
        The figure.

    Raises:
        InputError: There is no panel, or a value is not finite.
    """
    require(panels, "panels must hold at least one quality")
    figure = make_subplots(cols=len(panels), shared_yaxes=True, horizontal_spacing=0.03)
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    for column, (quality, panel) in enumerate(panels.items(), start=1):
        for name, (value, given) in panel.items():
            seeds = np.asarray(given, dtype=np.float64)
            require(np.isfinite([value, *seeds]).all(), f"panels[{quality!r}][{name!r}] must be finite")
            dot = _gain_dot(name, names.index(name), value, seeds)
            dot.showlegend = all(name not in earlier for earlier in list(panels.values())[: column - 1])
            figure.add_trace(dot, row=1, col=column)
        figure.add_hline(y=0, line={"color": "#888888", "width": 1}, row=1, col=column)
        figure.update_xaxes(
            title_text=quality, title_font_size=11, type="log" if quality in log else "linear", row=1, col=column
        )
    figure.update_yaxes(title_text=unit, row=1, col=1)
    return finish(
        figure, title=title, height=470, legend={"orientation": "h", "y": -0.25}, margin={"b": 150}, stack=True
    )


def _gain_dot(name: str, number: int, value: float, seeds: np.ndarray) -> go.Scatter:
    """A variant's mean gain and interval at a quality; hollow at 0 where it has no seed."""
    half, ran = interval(seeds), len(seeds) > 0
    color, shape = PALETTE[number % len(PALETTE)], ("circle", "square")[number // len(PALETTE) % 2]
    dot = go.Scatter(x=[value], y=[seeds.mean() if ran else 0.0], mode="markers", name=name, legendgroup=name)
    dot.marker = {"color": color, "size": 10, "symbol": shape if ran else f"{shape}-open"}
    dot.error_y = {"type": "data", "array": [0.0 if np.isnan(half) else half], "color": color}
    dot.hovertemplate = f"{name}, %{{x:.3g}}: {'%{y:+.2f}' if ran else 'no record'}<extra></extra>"
    return dot
