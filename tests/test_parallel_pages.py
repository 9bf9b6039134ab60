"""Pages whose notebooks run at the same time: each kernel has sockets of its own, which are gone afterwards."""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from book_scripts import load_script

utils = pytest.importorskip("jupyter_cache.executors.utils")
nbformat = pytest.importorskip("nbformat")

CELL = """
import json, time
from ipykernel.connect import get_connection_info
time.sleep(1)  # until all of them are there
print(get_connection_info())
"""


@pytest.fixture
def _parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension, set up as Sphinx does."""
    monkeypatch.setattr(utils, "executenb", utils.executenb)  # put back after the test
    load_script("_ext/parallel_pages.py").setup(SimpleNamespace(parallel=1, connect=lambda *_: 0))


def connection(folder: Path) -> dict:
    """What one kernel says of its own sockets, run as myst-nb runs a page."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    result = utils.single_nb_execution(notebook, cwd=str(folder), timeout=60, allow_errors=False)
    assert result.err is None, result.exc_string
    return json.loads(notebook.cells[0].outputs[0].text)


@pytest.mark.usefixtures("_parallel")
def test_kernels_share_no_sockets_and_leave_none(tmp_path: Path) -> None:
    """TCP ports, free when they were looked for, may be another kernel's a second later: the book failed in CI."""
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(connection, [tmp_path] * 3))
    assert {kernel["transport"] for kernel in found} == {"ipc"}
    assert len({kernel["ip"] for kernel in found}) == 3
    for kernel in found:
        begin = Path(kernel["ip"])
        assert begin.parent == Path(tempfile.gettempdir())
        assert not list(begin.parent.glob(f"{begin.name}-*"))
    assert not list(tmp_path.iterdir())
