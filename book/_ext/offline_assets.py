"""Sphinx extension: copies the scripts that pages need from installed packages into `book/assets` before each build.

Together they are 7 MB, so they are not in the repository, and only pages that have a plot or math load them; copying
here rather than in the Makefile lets the bare command `jupyter-book build book/` work too.
"""

import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

ASSETS = {
    "plotly.min.js": ("plotly", "plotly/package_data/plotly.min.js"),
    "tex-svg.js": ("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax/tex-svg.js"),
}


def installed_file(distribution: str, name: str) -> Path:
    """Path of the file `name` of an installed distribution; `ExtensionError` where it is missing."""
    path = Path(str(metadata.distribution(distribution).locate_file(name)))
    if not path.is_file():
        raise ExtensionError(f"{distribution} {metadata.version(distribution)} has no file {name}")
    return path


def copy_assets(app: Sphinx, config: Config) -> None:
    """Fill `assets` beside the sources before Sphinx checks `html_static_path`."""
    folder = Path(app.srcdir) / "assets"
    folder.mkdir(exist_ok=True)
    for name, (distribution, source) in ASSETS.items():
        origin, target = installed_file(distribution, source), folder / name
        if not target.is_file() or target.stat().st_size != origin.stat().st_size:
            shutil.copyfile(origin, target)
    shutil.copyfile(Path(__file__).with_name("book.css"), folder / "book.css")


def only_what_a_page_needs(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: object
) -> None:
    """Add plotly.js where a page has a figure, and leave MathJax out where it has no math."""
    body = context.get("body", "")
    if 'class="geoguide-figure"' in body:
        app.add_js_file("plotly.min.js", priority=100, loading_method="defer")
    if 'class="math' not in body:
        context["script_files"] = [file for file in context["script_files"] if "tex-svg.js" not in str(file.filename)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", copy_assets)
    app.connect("html-page-context", only_what_a_page_needs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
