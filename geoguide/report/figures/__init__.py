"""Interactive figures of the book (plotly), readable without a network and by readers who see few colours.

`use_offline_renderer()` belongs in the first cell of a notebook; every other function returns a `plotly` figure.
"""

from geoguide.report.figures.charts import (
    class_bars,
    curves,
    interval_lines,
    seed_bars,
    show_images,
    show_matrices,
)
from geoguide.report.figures.clouds import Panel, show_cloud, show_clouds
from geoguide.report.figures.effects import effect_heatmap, quality_scatter, range_dots
from geoguide.report.figures.houses import import_picture
from geoguide.report.figures.palette import class_colors
from geoguide.report.figures.render import use_offline_renderer

__all__ = ["Panel", "import_picture", "show_cloud", "show_clouds", "use_offline_renderer"]
__all__ += ["class_bars", "class_colors", "curves", "interval_lines", "seed_bars", "show_images"]
__all__ += ["effect_heatmap", "quality_scatter", "range_dots", "show_matrices"]
