"""Flat figures: similarity matrices, bars and intervals over seeds, curves, classes, images."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from geoguide.errors import InputError, require
from geoguide.report.evidence import interval
from geoguide.report.figures.render import INK, NO_MARGIN, PALETTE, finish

_MAX_ROWS = 400

Seeds = Sequence[float]  # one finite value per seed
Curves = Sequence[tuple[Sequence[float], Sequence[float]]]  # per seed: steps, values


def show_matrices(
    matrices: Mapping[str, np.ndarray], *, title: str, names: Sequence[str] | None = None, shared_scale: bool = False
) -> go.Figure:
    """Square matrices side by side (paper, IIRC).

    Two matrices that live on different scales look alike with their own scales and unlike with a shared one.

    Args:
        matrices: By title; float [R, R] each, R up to 400.
        title: Of the figure.
        names: Of the R rows.
        shared_scale: Whether all have the same colour scale, not each its own.

    Returns:
        The figure.

    Raises:
        InputError: There is no matrix, or a size does not fit.
    """
    require(matrices, "matrices must hold at least one matrix")
    values = {key: np.asarray(value, dtype=np.float32) for key, value in matrices.items()}
    size = len(next(iter(values.values())))
    for key, value in values.items():
        fits, found = value.shape == (size, size) and 0 < size <= _MAX_ROWS, list(value.shape)
        require(fits, f"matrices[{key!r}] must be [{size}, {size}], at most {_MAX_ROWS}, found {found}")
    if names is not None and len(names) != size:
        raise InputError(f"names must hold {size} entries, found {len(names)}")
    figure = make_subplots(cols=len(values), subplot_titles=list(values), horizontal_spacing=0.06)
    labels = [f"{i} {name}" for i, name in enumerate(names)] if names is not None else None
    low, high = (min(float(v.min()) for v in values.values()), max(float(v.max()) for v in values.values()))
    for column, value in enumerate(values.values(), start=1):
        suffix = column if column > 1 else ""
        left, right = figure.layout[f"xaxis{suffix}"].domain
        limits = {"zmin": low, "zmax": high} if shared_scale else {}
        heat = go.Heatmap(z=value, x=labels, y=labels, colorscale="Viridis", **limits)
        heat.hovertemplate = "%{y} and %{x}: %{z:.3f}<extra></extra>"
        heat.colorbar = {"title": {"text": "similarity", "side": "bottom"}, "orientation": "h", "thickness": 10}
        heat.colorbar.update(x=(left + right) / 2, len=0.95 * (right - left), y=-0.03, yanchor="top")
        figure.add_trace(heat, row=1, col=column)
        figure.update_yaxes(scaleanchor=f"x{suffix}", row=1, col=column)
    readable = labels is not None and size <= 40
    figure.update_xaxes(constrain="domain", showticklabels=False)
    figure.update_yaxes(autorange="reversed", constrain="domain", showticklabels=False)
    figure.update_yaxes(showticklabels=readable, tickfont={"size": 9}, row=1, col=1)
    margin = {"l": 110 if readable else 10, "r": 10, "t": 80, "b": 80}
    return finish(figure, title=title, height=int(170 + 700 / max(len(values), 1.4)), margin=margin, stack=True)


def seed_bars(
    values: Mapping[str, Seeds], *, title: str, unit: str = "mIoU (%)", reference: str | None = None, zoom: bool = False
) -> go.Figure:
    """One bar per row with its 95 % interval over seeds (Student's t) and a tick per seed.

    Args:
        values: By row, one finite value per seed.
        title: Of the figure.
        unit: Of the values, for the axis.
        reference: A row that gets its own colour and a line across.
        zoom: Dots on an axis as short as the data; bars start at zero, as bars must.

    Returns:
        The figure.

    Raises:
        InputError: There is no row, a row has no finite value per seed, or `reference` is no row.
    """
    require(values, "values must hold at least one row")
    known = reference is None or reference in values
    require(known, f"reference {reference!r} is not a row; rows: {', '.join(values)}")
    rows = {name: _checked(name, seeds) for name, seeds in values.items()}
    color = [PALETTE[5] if name == reference else PALETTE[0] for name in rows]
    shared = {
        "x": list(rows),
        "y": [float(seeds.mean()) for seeds in rows.values()],
        "error_y": {"type": "data", "array": [interval(seeds) for seeds in rows.values()], "color": INK},
        "hovertemplate": "%{x}: %{y:.2f} ± %{error_y.array:.2f}<extra></extra>",
        "name": "mean and 95 % interval",
    }
    dot = go.Scatter(**shared, mode="markers", marker={"color": color, "size": 11})
    figure = go.Figure(dot if zoom else go.Bar(**shared, marker={"color": color, "opacity": 0.7}))
    seed_x = [name for name, seeds in rows.items() for _ in seeds]
    ticks = {"color": INK, "size": 7, "symbol": "line-ew-open"}
    figure.add_scatter(x=seed_x, y=np.concatenate(list(rows.values())), mode="markers", marker=ticks, name="one seed")
    if reference is not None:
        figure.add_hline(y=float(rows[reference].mean()), line={"color": PALETTE[5], "dash": "dot", "width": 1.5})
    figure.update_yaxes(title_text=unit, rangemode="normal" if zoom else "tozero")
    return finish(figure, title=title, height=420, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})


def interval_lines(
    values: Mapping[str, Mapping[Any, Seeds]], *, title: str, x_title: str, unit: str = "mIoU (%)", joined: bool = True
) -> go.Figure:
    """Per row and category the mean with its 95 % interval over seeds (Student's t); rows stand side by side.

    Args:
        values: Row -> category -> one finite value per seed; every row has the same categories. At most eight rows.
        title: Of the figure.
        x_title: What the categories are.
        unit: Of the values, for the axis.
        joined: A line through a row's means, for categories that have an order (as label sets by size).

    Returns:
        The figure.

    Raises:
        InputError: There are no rows or too many, or a row lacks a category or a finite value.
    """
    _check_colours(values)
    categories = list(next(iter(values.values())))
    figure = go.Figure()
    for number, (name, row) in enumerate(values.items()):
        if list(row) != categories or not categories:
            raise InputError(f"values[{name!r}] must have the categories {categories}, found {list(row)}")
        seeds = [_checked(name, row[category]) for category in categories]
        aside = (0.15 if joined else 0.5) * (number - (len(values) - 1) / 2) / len(values)  # of a step
        line = go.Scatter(x=np.arange(len(categories)) + aside, y=[float(found.mean()) for found in seeds], name=name)
        line.update(mode="lines+markers" if joined else "markers", line={"color": PALETTE[number], "width": 1.5})
        line.update(marker={"size": 8, "symbol": number}, customdata=categories)
        line.error_y = {"type": "data", "array": [interval(found) for found in seeds], "thickness": 1.2}
        line.hovertemplate = f"{name}, %{{customdata}}: %{{y:.2f}} ± %{{error_y.array:.2f}}<extra></extra>"
        figure.add_trace(line)
    ticks = {"tickvals": list(range(len(categories))), "ticktext": [str(category) for category in categories]}
    figure.update_xaxes(title_text=x_title, zeroline=False, **ticks)
    figure.update_yaxes(title_text=unit, rangemode="tozero")
    return finish(figure, title=title, height=440)


def curves(runs: Mapping[str, Curves], *, title: str, y_title: str, log_y: bool = False) -> go.Figure:
    """Curves over training steps: one per seed in thin lines, and their mean in bold.

    Args:
        runs: Row -> per seed (steps, values); a row's seeds have the same steps.
        title: Of the figure.
        y_title: What the values are.
        log_y: Whether the axis of the values is logarithmic.

    Returns:
        The figure.

    Raises:
        InputError: There is no row, steps and values differ in number, or seeds in their steps.
    """
    require(runs, "runs must hold at least one row")
    figure = go.Figure()
    for number, (name, seeds) in enumerate(runs.items()):
        color = PALETTE[number % len(PALETTE)]
        for steps, values in seeds:
            require(len(steps) == len(values) > 0, f"runs[{name!r}]: {len(steps)} steps and {len(values)} values")
            thin = {"line": {"color": color, "width": 1}, "opacity": 0.35, "showlegend": False, "hoverinfo": "skip"}
            figure.add_scatter(x=steps, y=values, mode="lines", legendgroup=name, **thin)
        require(len({tuple(steps) for steps, _ in seeds}) == 1, f"runs[{name!r}]: every seed must have the same steps")
        mean = np.mean([values for _, values in seeds], axis=0)  # [steps]
        bold = {"color": color, "width": 2.5}
        figure.add_scatter(x=seeds[0][0], y=mean, mode="lines", line=bold, name=name, legendgroup=name)
    figure.update_xaxes(title_text="training step")
    figure.update_yaxes(title_text=y_title, type="log" if log_y else "linear")
    return finish(figure, title=title, height=400, hovermode="x unified")


def class_bars(
    values: Mapping[str, Sequence[float]], names: Sequence[str], *, title: str, unit: str = "IoU (%)"
) -> go.Figure:
    """Bars per class, one colour per row.

    Args:
        values: By row, [C]; NaN (class absent) leaves a gap. At most eight rows.
        names: Of the C classes.
        title: Of the figure.
        unit: Of the values, for the axis.

    Returns:
        The figure.

    Raises:
        InputError: There are no rows or too many, or a row has not C values.
    """
    _check_colours(values)
    figure = go.Figure()
    for number, (name, row) in enumerate(values.items()):
        require(len(row) == len(names), f"values[{name!r}] must hold {len(names)} numbers, found {len(row)}")
        figure.add_bar(x=list(names), y=np.asarray(row, dtype=np.float64), name=name, marker_color=PALETTE[number])
    figure.update_xaxes(tickangle=60)
    figure.update_yaxes(title_text=unit, rangemode="tozero")
    return finish(figure, title=title, height=440, barmode="group")


def show_images(images: Mapping[str, np.ndarray], *, title: str) -> go.Figure:
    """Images side by side, as PNG.

    Args:
        images: By title, uint8 [H, W, 3] each.
        title: Of the figure.

    Returns:
        The figure.

    Raises:
        InputError: There is no image, or one is not uint8 [H, W, 3].
    """
    require(images, "images must hold at least one image")
    figure = make_subplots(cols=len(images), subplot_titles=list(images), horizontal_spacing=0.02)
    for column, (name, image) in enumerate(images.items(), start=1):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise InputError(f"images[{name!r}] must be uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        figure.add_trace(go.Image(source=_png(image), hoverinfo="skip"), row=1, col=column)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    ratio = max(image.shape[0] / image.shape[1] for image in images.values())
    return finish(figure, title=title, height=int(90 + 760 * ratio / len(images)), margin=NO_MARGIN, stack=True)


def _checked(row: str, seeds: Seeds) -> np.ndarray:
    """The values of a row as float64 [seeds], where all are finite and there are any."""
    values = np.asarray(list(seeds), dtype=np.float64)  # [seeds]
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise InputError(f"values[{row!r}] must hold at least one finite number per seed")
    return values


def _check_colours(rows: Mapping[str, object]) -> None:
    """Refuse more rows than there are colours, and none."""
    require(1 <= len(rows) <= len(PALETTE), f"values must hold 1 to {len(PALETTE)} rows, found {len(rows)}")


def _png(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
