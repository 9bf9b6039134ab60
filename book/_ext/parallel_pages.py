"""Sphinx extension: pages are read, and their notebooks run, several at a time; `jupyter-book` has no option for it.

A notebook waits for its kernel and for files more than it computes, so there are two pages to a core, where memory
suffices. A page runs in the folder of its notebook, where a relative folder in a variable would be another one.
"""

import functools
import os
import tempfile
import uuid
from pathlib import Path

from jupyter_cache.executors import utils
from jupyter_client import AsyncKernelManager
from sphinx.application import Sphinx
from traitlets import default

from geoguide.ops.machine import available_memory, cores
from geoguide.paths import named_folder

PAGE_MEMORY = 3 * 2**29  # bytes that the kernel of a page may take
UNDECLARED = "sphinx_multitoc_numbering"  # of sphinx_external_toc: it numbers once all pages are read and put together


class FileSocketKernels(AsyncKernelManager):
    """A kernel behind sockets that are files of its own.

    TCP ports are looked for here and bound a second later by the kernel: pages that start together took each other's.
    """

    @default("transport")
    def _transport(self) -> str:
        return "ipc"

    @default("ip")
    def _ip(self) -> str:
        """Begins the sockets' paths, which may have a hundred characters."""
        return str(Path(tempfile.gettempdir()) / f"kernel-{uuid.uuid4().hex[:12]}")


def allow(app: Sphinx) -> None:
    """Say what that extension does not say of itself; else pages are read one by one, with a warning."""
    if UNDECLARED in app.extensions:
        app.extensions[UNDECLARED].parallel_read_safe = True


def pages() -> int:
    """How many pages are read at a time."""
    available = available_memory()
    most = 2 * cores()
    return most if available is None else max(1, min(most, available // PAGE_MEMORY))


def setup(app: Sphinx) -> dict[str, bool]:
    app.parallel = max(app.parallel, pages())
    for variable in ("GEOGUIDE_DATA", "GEOGUIDE_RESULTS"):
        folder = named_folder(variable)
        if folder is not None:
            os.environ[variable] = str(folder.absolute())
    app.connect("builder-inited", allow)
    # myst-nb runs notebooks by this function, and hands no manager of kernels on.
    utils.executenb = functools.partial(utils.executenb, kernel_manager_class=FileSocketKernels)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
