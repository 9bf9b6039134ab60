"""The package's rooms as a picture: boxes on floors, arrows for imports."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from geoguide.report.figures.render import INK, PALETTE, finish
from geoguide.report.layout import Room

_GAP = 0.35  # of a box's width, between neighbours


def import_picture(rooms: Sequence[Room], *, title: str) -> go.Figure:
    """Rooms as boxes whose width grows with their lines, on the floor that their imports ask for.

    Args:
        rooms: Those that `report.layout.read_house` reads.
        title: Of the figure.

    Returns:
        A figure; pointing at a room names what it imports, and lines lead to those rooms.
    """
    places: dict[str, tuple[float, float]] = {}
    floor_of = {room.name: room.floor for room in rooms}
    floors = sorted(set(floor_of.values()))
    for floor in floors:
        beside = [room for room in rooms if room.floor == floor]
        widths = [0.6 + np.sqrt(room.lines) / 60 for room in beside]
        left = -(sum(widths) + _GAP * (len(beside) - 1)) / 2
        for room, width in zip(beside, widths, strict=True):
            places[room.name] = (left + width / 2, width)
            left += width + _GAP
    figure = go.Figure()
    for room in rooms:
        x, width = places[room.name]
        box = {"x0": x - width / 2, "x1": x + width / 2, "y0": room.floor - 0.25, "y1": room.floor + 0.25}
        line = {"color": INK, "width": 1}
        figure.add_shape(
            type="rect", **box, layer="below", fillcolor="rgba(128,128,128,0.15)", line=line
        )  # the names stand above
        for name in room.imports:
            xs, ys = [x, places[name][0]], [room.floor - 0.25, floor_of[name] + 0.25]
            line = {"color": PALETTE[0], "width": 1}
            figure.add_scatter(x=xs, y=ys, mode="lines", line=line, opacity=0.25, hoverinfo="skip", showlegend=False)
    told = [f"<b>{r.name}</b>, {r.lines:,} lines<br>imports {', '.join(r.imports) or 'nothing'}" for r in rooms]
    names = {"text": [room.name for room in rooms], "textfont": {"size": 11}, "showlegend": False}
    xs, ys = [places[room.name][0] for room in rooms], [room.floor for room in rooms]
    figure.add_scatter(x=xs, y=ys, mode="text", hovertext=told, hoverinfo="text", **names)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(title_text="floor", tickvals=floors, showgrid=False, zeroline=False)
    return finish(figure, title=title, height=120 + 62 * len(floors))
