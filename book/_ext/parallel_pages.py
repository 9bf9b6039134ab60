"""Sphinx extension: pages are read, and their notebooks run, several at a time; `jupyter-book` has no option for it.

A notebook waits for its kernel and for files more than it computes, so there are two pages to a core.
"""

import os

from sphinx.application import Sphinx

UNDECLARED = "sphinx_multitoc_numbering"  # of sphinx_external_toc: it numbers once all pages are read and put together


def allow(app: Sphinx) -> None:
    """Say what that extension does not say of itself; else pages are read one by one, with a warning."""
    if UNDECLARED in app.extensions:
        app.extensions[UNDECLARED].parallel_read_safe = True


def setup(app: Sphinx) -> dict[str, bool]:
    app.parallel = max(app.parallel, 2 * (os.cpu_count() or 1))
    app.connect("builder-inited", allow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
