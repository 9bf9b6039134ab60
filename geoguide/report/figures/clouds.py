"""Point clouds to turn by hand: true colours, classes with a legend, or a heat map; several side by side.

Coordinates travel as uint16 (millimetres up to 65 m), true colours as uint8 into a palette of 256, so that 100,000
points take about 1 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import hex_to_rgb

from geoguide.errors import InputError, require
from geoguide.labels import LabelSet
from geoguide.report.figures.palette import class_colors, viridis
from geoguide.report.figures.poster import as_data_url, draw_cloud
from geoguide.report.figures.render import NO_MARGIN, PALETTE, Still, finish
from geoguide.scene import VOID

MAX_POINTS = 100_000

POINT_SIZE = 2.0  # pixels


VOID_RGB = np.array([160, 160, 160])  # what has no class or no value; seen on white and on black
VOID_COLOR = "rgb({},{},{})".format(*VOID_RGB)

_ID_COLORS = np.random.default_rng(3).uniform(40, 230, size=(254, 3)).astype(np.int64)  # of superpoints and instances


EYE = (0.55, -1.15, 1.65)  # steep enough to look over the near wall of a room


GAP, BAR = 0.02, 0.09  # of the figure's width: between panels, and for a heat map's colour bar


AXIS = {"tickfont": {"size": 10}, "showspikes": False, "showbackground": False, "gridcolor": "#cccccc"}


@dataclass(frozen=True, eq=False)
class Panel:
    """One cloud, coloured by exactly one of `colors`, `labels`, `scalar`; else an InputError.

    Attributes:
        points: float [P, 3], metres.
        title: Above the cloud.
        colors: float [P, 3] in [0, 1].
        labels: int [P]: with `label_set` class ids, 255 void; without any ids, such as superpoints or instances, and
            negative for none.
        scalar: float [P], drawn as a heat map; NaN is grey.
        label_set: Names and colours of the class ids.
        names: Of the ids 0, 1, ..., for labels without `label_set`; at most eight.
        scalar_name: What the heat map shows.
        limits: Of the heat map's colours; None for the extremes of `scalar`.
    """

    points: np.ndarray
    title: str = ""
    colors: np.ndarray | None = None
    labels: np.ndarray | None = None
    scalar: np.ndarray | None = None
    label_set: LabelSet | None = None
    names: tuple[str, ...] = ()
    scalar_name: str = "value"
    limits: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.points)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
            raise InputError(f"points must be [P, 3] with P > 0, found {list(points.shape)}")
        require(np.isfinite(points).all(), "points holds NaN or inf")
        given = [name for name in ("colors", "labels", "scalar") if getattr(self, name) is not None]
        require(len(given) == 1, f"exactly one of colors, labels, scalar must be given, found {given or 'none'}")
        value = np.asarray(getattr(self, given[0]))
        expected = (len(points), 3) if given[0] == "colors" else (len(points),)
        require(value.shape == expected, f"{given[0]} must be {list(expected)}, found {list(value.shape)}")
        if given[0] == "labels":
            require(value.dtype.kind in "iu", f"labels must be integers, found {value.dtype}")
        require(len(self.names) <= len(PALETTE), f"names must be at most {len(PALETTE)}, found {len(self.names)}")
        if self.names:
            fits = (
                given[0] == "labels" and self.label_set is None and value.min() >= 0 and value.max() < len(self.names)
            )
            require(fits, f"names must name labels 0..{len(self.names) - 1} that have no label_set")
        if given[0] == "colors":
            require(((value >= 0) & (value <= 1)).all(), "colors must lie in [0, 1]")


def show_cloud(points: np.ndarray, *, title: str, max_points: int = 40_000, **panel: Any) -> go.Figure:
    """One interactive cloud.

    Args:
        points: float [P, 3], metres.
        title: Of the figure.
        max_points: See `show_clouds`.
        panel: The other fields of `Panel`.

    Returns:
        The figure.

    Raises:
        InputError: A field does not fit.
    """
    return show_clouds([Panel(points, **panel)], title=title, max_points=max_points)


def show_clouds(panels: Sequence[Panel], *, title: str, max_points: int = 40_000) -> go.Figure:
    """Clouds side by side that turn together.

    Classes share one legend, in which a click hides a class in every panel.

    Args:
        panels: One to four clouds.
        title: Of the figure.
        max_points: To which each cloud is thinned at random (fixed seed); at most 100,000.

    Returns:
        The figure.

    Raises:
        InputError: There are no clouds or too many, `max_points` is out of range, or labels are not of the label set.
    """
    require(1 <= len(panels) <= 4, f"panels must hold 1 to 4 clouds, found {len(panels)}")
    require(0 < max_points <= MAX_POINTS, f"max_points must lie in 1..{MAX_POINTS}, found {max_points}")
    figure = go.Figure()
    bars = [BAR if panel.scalar is not None else 0.0 for panel in panels]
    width = (1.0 - GAP * (len(panels) - 1) - sum(bars)) / len(panels)
    left = 0.0
    # A scene fits its height; in panels narrower than high the camera steps back so that the width fits too.
    away = max(1.0, 0.36 / width)
    eye = {axis: away * value for axis, value in zip("xyz", EYE, strict=True)}
    camera = {"eye": eye, "center": {"x": 0.0, "y": 0.0, "z": -0.1}}
    seen: dict[str, str] = {}  # names of classes, and their colours
    stills = []
    layout: dict[str, Any] = {}
    for number, panel in enumerate(panels):
        scene = f"scene{number + 1 if number else ''}"
        kept = _thin(len(panel.points), max_points)  # indices [N]
        grid, axes = _quantise(np.asarray(panel.points, dtype=np.float64)[kept])
        for trace in _traces(panel, kept, grid, bar_x=left + width):
            trace.scene = scene
            if trace.legendgroup:
                trace.showlegend = trace.legendgroup not in seen
                seen[trace.legendgroup] = trace.marker.color
            figure.add_trace(trace)
        stills.append(_still(panel, kept, title))
        layout[scene] = {"domain": {"x": [left, left + width]}, "aspectmode": "data", "camera": camera, **axes}
        above = {"xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom", "showarrow": False}
        figure.add_annotation(x=left + width / 2, y=1.0, text=panel.title, font={"size": 12}, **above)
        left += width + bars[number] + GAP
    legend = {"itemsizing": "constant", "orientation": "h", "y": -0.02, "yanchor": "top", "font": {"size": 11}}
    told = {"stack": True, "stills": stills, "names": list(seen.items())}
    height = 560 if seen else 480
    return finish(figure, title=title, height=height, margin=NO_MARGIN, legend=legend, **told, **layout)


def _thin(count: int, limit: int) -> np.ndarray:
    """Sorted indices of at most `limit` of `count` points, drawn without replacement."""
    return np.sort(np.random.default_rng(0).choice(count, min(count, limit), replace=False))


def _quantise(points: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Points as uint16 [N, 3] steps from their minimum, and axes whose ticks still read metres."""
    low, high = points.min(axis=0), points.max(axis=0)  # [3] each
    step = max(0.001, float((high - low).max()) / 65_000)
    grid = np.round((points - low) / step).astype(np.uint16)  # [N, 3]
    axes = {}
    spacing = _round_step(float((high - low).max()) / 3)
    for axis, name in enumerate("xyz"):
        ticks = np.arange(np.ceil(low[axis] / spacing), np.floor(high[axis] / spacing) + 1) * spacing
        axes[f"{name}axis"] = {
            "title": {"text": f"{name} (m)"},
            "tickvals": ((ticks - low[axis]) / step).tolist(),
            "ticktext": [f"{tick:g}" for tick in np.round(ticks, 3) + 0.0],
            **AXIS,
        }
    return grid, axes


def _round_step(rough: float) -> float:
    """The largest of 1, 2 or 5 times a power of ten below `rough` (1 for a cloud without extent)."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(rough))
    return float(max(factor for factor in (1, 2, 5) if factor * power <= rough) * power)


def _scatter(grid: np.ndarray, marker: dict[str, Any], **fields: Any) -> go.Scatter3d:
    x, y, z = grid.T
    marker = {"size": POINT_SIZE, "line": {"width": 0}, **marker}
    return go.Scatter3d(x=x, y=y, z=z, mode="markers", marker=marker, **fields)


def _traces(panel: Panel, kept: np.ndarray, grid: np.ndarray, bar_x: float) -> list[go.Scatter3d]:
    if panel.scalar is not None:
        return _heat_traces(panel, np.asarray(panel.scalar, dtype=np.float32)[kept], grid, bar_x)
    if panel.colors is not None:
        indices, scale = _palette(np.asarray(panel.colors)[kept])
    elif panel.label_set is not None or panel.names:
        return _class_traces(np.asarray(panel.labels)[kept], *_named_colors(panel), grid)
    else:
        indices, scale = _id_palette(np.asarray(panel.labels)[kept])
    marker = {"color": indices, "colorscale": scale, "cmin": 0, "cmax": len(scale) - 1}
    return [_scatter(grid, marker, showlegend=False, hoverinfo="skip")]


def _still(panel: Panel, kept: np.ndarray, title: str) -> Still:
    """A panel as a picture, with what it shows in words."""
    name, scale = panel.title or title, None
    if panel.scalar is not None:
        scalar = np.asarray(panel.scalar, dtype=np.float64)[kept]
        low, high = _limits(panel, scalar)
        shade = np.nan_to_num((scalar - low) / max(high - low, 1e-12)).clip(0, 1)
        colors = np.where(np.isfinite(scalar)[:, None], viridis(shade), VOID_RGB)
        ends = tuple("rgb({},{},{})".format(*color) for color in viridis(np.linspace(0, 1, 9)).tolist())
        scale = (panel.scalar_name, f"{low:.3g}", f"{high:.3g}", ends)
        told = f"{name}: a point cloud, the higher {panel.scalar_name} the brighter"
    elif panel.colors is not None:
        colors, told = np.round(np.asarray(panel.colors)[kept] * 255), f"{name}: a point cloud in its own colours"
    else:
        labels = np.asarray(panel.labels)[kept]
        told = f"{name}: a point cloud, a colour for every class"
        if panel.label_set is not None or panel.names:
            table = np.vstack([_named_colors(panel)[1], VOID_RGB])  # [C + 1, 3]
            colors = table[np.where(labels == VOID, len(table) - 1, labels)]
        else:
            told = f"{name}: a point cloud, a colour for every group"
            colors = np.where(labels[:, None] < 0, VOID_RGB, _ID_COLORS[labels % len(_ID_COLORS)])
    picture = draw_cloud(np.asarray(panel.points)[kept], colors.astype(np.uint8), EYE)
    return Still(panel.title, as_data_url(picture), told, scale)


def _limits(panel: Panel, scalar: np.ndarray) -> tuple[float, float]:
    """Ends of a heat map's colours; 0 and 1 where no value is finite."""
    known = scalar[np.isfinite(scalar)]
    return panel.limits or ((float(known.min()), float(known.max())) if len(known) else (0.0, 1.0))


def _palette(colors: np.ndarray) -> tuple[np.ndarray, list[list[Any]]]:
    """True colours [N, 3] as uint8 indices [N] into a palette of at most 256, written as a plotly colour scale."""
    pixels = np.round(colors * 255).astype(np.uint8)[None]  # [1, N, 3]
    image = Image.fromarray(pixels).quantize(256)
    indices = np.asarray(image)[0]  # [N]
    palette = np.asarray(image.getpalette(), dtype=np.int64).reshape(-1, 3)[: int(indices.max()) + 1]
    if len(palette) == 1:
        palette = np.repeat(palette, 2, axis=0)
    scale = [[i / (len(palette) - 1), f"rgb({r},{g},{b})"] for i, (r, g, b) in enumerate(palette.tolist())]
    return indices, scale


def _heat_traces(panel: Panel, scalar: np.ndarray, grid: np.ndarray, bar_x: float) -> list[go.Scatter3d]:
    known = np.isfinite(scalar)  # bool [N]
    low, high = _limits(panel, scalar)
    bar = {"title": {"text": panel.scalar_name, "side": "right"}, "x": bar_x, "xanchor": "left", "thickness": 12}
    marker = {"color": scalar[known], "colorscale": "Viridis", "cmin": low, "cmax": high}
    hover = f"{panel.scalar_name} %{{marker.color:.3f}}<extra></extra>"
    traces = [_scatter(grid[known], {**marker, "colorbar": {**bar, "len": 0.7}}, showlegend=False, hovertemplate=hover)]
    if not known.all():
        traces.append(_scatter(grid[~known], {"color": VOID_COLOR}, showlegend=False, hoverinfo="skip"))
    return traces


def _named_colors(panel: Panel) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the ids of a panel's labels and their colours, uint8 [C, 3]."""
    if panel.label_set is None:
        return panel.names, np.array([hex_to_rgb(color) for color in PALETTE[: len(panel.names)]], dtype=np.uint8)
    unknown = set(np.unique(np.asarray(panel.labels)).tolist()) - set(range(len(panel.label_set))) - {VOID}
    if unknown:
        told = f"not one of the {len(panel.label_set)} classes of {panel.label_set.name}"
        raise InputError(f"labels holds {min(unknown)}, {told}")
    return panel.label_set.names, class_colors(panel.label_set)


def _class_traces(
    labels: np.ndarray, names: tuple[str, ...], colors: np.ndarray, grid: np.ndarray
) -> list[go.Scatter3d]:
    """One trace a class that occurs, so that the legend can hide it."""
    traces = []
    for label in np.unique(labels).tolist():
        name = "void" if label == VOID else names[label]
        color = VOID_COLOR if label == VOID else "rgb({},{},{})".format(*colors[label].tolist())
        told = {"name": name, "legendgroup": name, "hovertemplate": f"{name}<extra></extra>"}
        traces.append(_scatter(grid[labels == label], {"color": color}, **told))
    return traces


def _id_palette(labels: np.ndarray) -> tuple[np.ndarray, list[list[Any]]]:
    """As `_palette`, of ids [N]: neighbouring ids get unlike colours of a fixed table; negative ids are grey."""
    colors = [VOID_COLOR, *("rgb({},{},{})".format(*row) for row in _ID_COLORS.tolist())]
    scale = [[i / 254, color] for i, color in enumerate(colors)]
    return np.where(labels < 0, 0, 1 + labels % 254).astype(np.uint8), scale
