"""Pages whose notebooks run at the same time: each kernel has sockets of its own, which are gone afterwards."""

import json
import os
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


@pytest.mark.parametrize(("gib", "pages"), [(64, 8), (6, 4), (1, 1), (None, 8)])
def test_no_more_pages_at_a_time_than_memory_holds(gib: int | None, pages: int, monkeypatch) -> None:
    module = load_script("_ext/parallel_pages.py")
    monkeypatch.setattr(module, "cores", lambda: 4)
    monkeypatch.setattr(module, "available_memory", lambda: None if gib is None else gib * 2**30)
    assert module.pages() == pages


def test_a_page_finds_what_a_variable_names_from_the_folder_of_the_command(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEOGUIDE_DATA", "own/data")
    monkeypatch.delenv("GEOGUIDE_RESULTS", raising=False)
    monkeypatch.setattr(utils, "executenb", utils.executenb)
    load_script("_ext/parallel_pages.py").setup(SimpleNamespace(parallel=1, connect=lambda *_: 0))
    assert os.environ["GEOGUIDE_DATA"] == str(tmp_path / "own" / "data") and "GEOGUIDE_RESULTS" not in os.environ


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
