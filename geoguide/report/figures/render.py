"""How a figure reaches the page: HTML without plotly.js (the book carries one local copy), JSON for JupyterLab.

What happens in the page is `figure.js`: when a figure is drawn, how it follows the width and the dark theme.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.io.base_renderers import MimetypeRenderer, PlotlyRenderer
from plotly.io.json import to_json_plotly

CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["sendChartToCloud", "downloadJson"]}


# Okabe and Ito's colours, told apart by colour-blind readers; grey in place of their black, which a dark page hides.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#808080")

INK = "#808080"  # of lines that must be seen on white and on black


NO_MARGIN = {"l": 0, "r": 0, "t": 80, "b": 10}  # of figures without axes; room for titles above


FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 13, "color": "#222222"}


_TITLE_HEIGHT = 40  # pixels that a title takes in the figure, and does not where the page shows it above


@dataclass(frozen=True)
class Still:
    """One panel of a figure as a picture: what is there before a reader turns it, without WebGL, and in print.

    Attributes:
        title: Below the picture.
        source: Of the image, as a data URL.
        told: What the picture shows, for readers who do not see it.
        scale: Of a heat map: its name, its ends as text, and its colours from low to high; else None.
    """

    title: str
    source: str
    told: str
    scale: tuple[str, str, str, tuple[str, ...]] | None = None

    def html(self) -> str:
        """The panel as HTML.

        Returns:
            A `figure` element.
        """
        bar = ""
        if self.scale is not None:
            name, low, high, colors = self.scale
            bar = f'<div class="bar" style="background:linear-gradient(to right,{",".join(colors)})"></div>'
            bar += '<div class="ends">' + "".join(f"<span>{escape(end)}</span>" for end in (low, name, high)) + "</div>"
        image = f'<img src="{self.source}" alt="{escape(self.told)}" loading="lazy">'
        return f"<figure>{image}{bar}<figcaption>{escape(self.title)}</figcaption></figure>"


class OfflineRenderer(MimetypeRenderer):
    """Both forms in one bundle: the book and nbconvert take `text/html`, JupyterLab and VS Code plotly's own type."""

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, Any]:
        """Both forms of a figure.

        Args:
            fig_dict: The figure as plotly gives it to a renderer; `layout.meta` may hold what `finish` put there.

        Returns:
            MIME type -> what is shown: HTML without plotly.js, which the page carries, and plotly's JSON.
        """
        layout = dict(fig_dict["layout"])
        meta = layout.pop("meta", {})
        lab = PlotlyRenderer(config=CONFIG).to_mimebundle({**fig_dict, "layout": layout})
        return {"text/html": _html(fig_dict["data"], layout, meta), **lab}


@functools.cache
def _beside(name: str) -> str:
    """A file beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _html(data: list[dict[str, Any]], layout: dict[str, Any], meta: dict[str, Any]) -> str:
    """The figure as a page carries it: its title, still pictures where it has any, and what `figure.js` draws from."""
    title = re.sub(r"<br */?>", " ", layout.pop("title", {}).get("text", ""))
    margin = layout.get("margin", {})
    layout["margin"] = {**margin, "t": max(20, margin.get("t", 0) - _TITLE_HEIGHT)}
    spec = {"data": data, "layout": layout, "config": CONFIG, "stack": meta.get("stack", False)}
    stills = "".join(Still(**still).html() for still in meta.get("stills", ()))
    if names := meta.get("names"):
        keys = (f'<span><i style="background:{color}"></i>{escape(name)}</span>' for name, color in names)
        stills += f'<div class="names">{"".join(keys)}</div>'
    parts = [f"<style>{_beside('figure.css')}</style>", f"<figcaption>{title}</figcaption>"]
    hidden = ""
    if stills:
        parts += [f'<div class="stills">{stills}</div>', '<button type="button" hidden>turn it by hand (3D)</button>']
        hidden = " hidden"
    told = escape(re.sub(r"<[^>]*>", "", title))
    height = f"min-height:{layout.get('height', 450)}px"
    parts.append(f'<div class="plot" role="img" aria-label="{told}" style="{height}"{hidden}></div>')
    # "<" inside a string of JSON is written so that no text can end the element.
    parts.append(f'<script type="application/json">{to_json_plotly(spec).replace("<", chr(92) + "u003c")}</script>')
    parts.append(f"<script>{_beside('figure.js')}</script>")
    return f'<figure class="geoguide-figure">{"".join(parts)}</figure>'


def use_offline_renderer() -> None:
    """Make plotly show figures without a network, in the book and in JupyterLab alike."""
    pio.renderers["geoguide"] = OfflineRenderer()
    pio.renderers.default = "geoguide"


def finish(
    figure: go.Figure,
    *,
    title: str,
    height: int,
    stack: bool = False,
    stills: Sequence[Still] = (),
    names: Sequence[tuple[str, str]] = (),
    **layout: Any,
) -> go.Figure:
    """Give a figure the look that all figures share: one font, the title above, room for labels, light and dark.

    Args:
        figure: It is changed.
        title: Above the figure.
        height: In pixels; the width follows the page.
        stack: Whether its panels stand one under another on a narrow page (a phone).
        stills: Its panels as pictures, which the page shows until a reader turns the figure.
        names: Of what colours mean in the pictures, each with its colour.
        layout: Further fields of plotly's layout, which win.

    Returns:
        The same figure.
    """
    above = {"text": title, "x": 0.0, "xanchor": "left", "font": {"size": 15}}
    figure.update_layout(template="plotly_white", colorway=list(PALETTE), font=FONT, title=above, height=height)
    figure.update_layout(margin={"l": 60, "r": 20, "t": 70, "b": 50})
    figure.update_layout(**layout)
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    told = {"stack": stack, "stills": [asdict(still) for still in stills], "names": [list(name) for name in names]}
    figure.update_layout(meta={key: value for key, value in told.items() if value})
    return figure
