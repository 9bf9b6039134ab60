"""How a figure reaches the page: HTML without plotly.js (the book carries one local copy), JSON for JupyterLab."""

from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from plotly.io.base_renderers import MimetypeRenderer, PlotlyRenderer

CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["sendChartToCloud", "downloadJson"]}


# Okabe and Ito's eight colours, told apart by colour-blind readers; black last.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


NO_MARGIN = {"l": 0, "r": 0, "t": 80, "b": 10}  # of figures without axes; room for titles above


FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif", "size": 13, "color": "#222222"}


# The figure follows its column's width, which a page may set after the plot was drawn. Several 3D scenes of one figure
# turn together; `busy` stops the relayout that this causes from causing another.
_BEHAVIOUR = """
const figure = document.getElementById('{plot_id}');
new ResizeObserver(() => Plotly.Plots.resize(figure)).observe(figure.parentElement);
const scenes = Object.keys(figure._fullLayout).filter((key) => /^scene[0-9]*$/.test(key));
let busy = false;
const follow = (event) => {
  const moved = scenes.find((key) => event[key + '.camera']);
  if (busy || !moved || scenes.length < 2) return;
  busy = true;
  const update = {};
  for (const key of scenes) if (key !== moved) update[key + '.camera'] = event[moved + '.camera'];
  Plotly.relayout(figure, update).then(() => { busy = false; });
};
figure.on('plotly_relayouting', follow);
figure.on('plotly_relayout', follow);
"""


_NO_PLOTLY = """<script>if (!window.Plotly) document.currentScript.previousElementSibling.textContent =
"This interactive figure needs plotly.js: open the notebook in JupyterLab or VS Code, or read the book.";</script>"""


class OfflineRenderer(MimetypeRenderer):
    """Both forms in one bundle: the book and nbconvert take `text/html`, JupyterLab and VS Code plotly's own type."""

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, Any]:
        """Both forms of a figure.

        Args:
            fig_dict: The figure as plotly gives it to a renderer.

        Returns:
            MIME type -> what is shown: HTML without plotly.js, which the page carries, and plotly's JSON.
        """
        bare = {"include_plotlyjs": False, "full_html": False, "validate": False}
        html = pio.to_html(fig_dict, config=CONFIG, post_script=_BEHAVIOUR, **bare)
        return {"text/html": html + _NO_PLOTLY, **PlotlyRenderer(config=CONFIG).to_mimebundle(fig_dict)}


def use_offline_renderer() -> None:
    """Make plotly show figures without a network, in the book and in JupyterLab alike."""
    pio.renderers["geoguide"] = OfflineRenderer()
    pio.renderers.default = "geoguide"


def finish(figure: go.Figure, *, title: str, height: int, **layout: Any) -> go.Figure:
    """Give a figure the look that all figures share: white ground, one font, the title above, room for labels.

    Args:
        figure: It is changed.
        title: Above the figure.
        height: In pixels; the width follows the page.
        layout: Further fields of plotly's layout, which win.

    Returns:
        The same figure.
    """
    above = {"text": title, "x": 0.0, "xanchor": "left", "font": {"size": 15}}
    figure.update_layout(template="plotly_white", colorway=list(PALETTE), font=FONT, title=above, height=height)
    figure.update_layout(margin={"l": 60, "r": 20, "t": 70, "b": 50})
    figure.update_layout(**layout)
    return figure
