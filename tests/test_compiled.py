"""Where compiled kernels are kept, and that they run where nothing can be kept."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from geoguide.ops import compiled as module
from geoguide.ops.compiled import cache_folder, compiled
from geoguide.paths import PACKAGE


def total(values: np.ndarray) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package where nothing can be written, with the data folder and temporary files in `tmp_path`."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "file" / "geoguide")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_REASONS", [])
    cache_folder.cache_clear()
    yield tmp_path
    cache_folder.cache_clear()


def kept(folder: Path) -> int:
    return len(list(folder.rglob("test_compiled.total-*.nbc")))


def test_the_first_folder_that_can_be_written_to(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == read_only / "data" / "cache" / "numba"
    assert compiled()(total)(np.arange(4.0)) == 6 and kept(read_only / "data") == 1
    monkeypatch.setenv("GEOGUIDE_DATA", str(read_only / "file"))
    cache_folder.cache_clear()
    folder = cache_folder()
    assert folder is not None and folder.parent.parent == read_only and folder.parent.stat().st_mode & 0o077 == 0
    assert compiled()(total)(np.arange(4.0)) == 6 and kept(folder) == 1
    folder.parent.chmod(0o777)  # anybody could put code there
    cache_folder.cache_clear()
    with pytest.warns(UserWarning, match="compiled code is not kept"):
        compiled()(total)(np.arange(4.0))


def test_nothing_is_kept_where_nothing_can_be_written(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE_DATA", str(read_only / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(read_only / "file"))
    with pytest.warns(UserWarning, match="compiled code is not kept") as found:
        kernels = [compiled(nogil=True)(total) for _ in range(2)]
        assert [kernel(np.arange(4.0)) for kernel in kernels] == [6, 6]
    assert len(found) == 1


def test_a_folder_that_fills_up_does_not_stop_the_work(read_only: Path) -> None:
    kernel = compiled()(total)
    assert kernel.dispatcher is not None  # the folder was chosen
    shutil.rmtree(read_only / "data")
    (read_only / "data").write_text("no folder any more")
    with pytest.warns(UserWarning, match="compiled code is not kept") as found:
        assert kernel(np.arange(4.0)) == 6
    assert len(found) == 1


def test_damaged_code_on_disk_is_compiled_again(read_only: Path) -> None:
    compiled()(total)(np.arange(4.0))
    index = next((read_only / "data").rglob("*.nbi"))
    index.write_bytes(index.read_bytes()[:40])
    with pytest.warns(UserWarning, match="compiled code is not kept"):
        assert compiled()(total)(np.arange(4.0)) == 6


def test_the_users_own_choice_stands(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(read_only / "chosen"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache_folder() is None and compiled()(total)(np.arange(4.0)) == 6


def test_a_read_only_install_without_a_home_imports(tmp_path: Path) -> None:
    """As a service's user has it: no home, nothing writable but the folder of temporary files."""
    copy = tmp_path / "install" / "geoguide"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "temporary").mkdir()
    environment = {"HOME": "/proc/nowhere", "PYTHONPATH": str(copy.parent), "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-c", "import geoguide.superpoints as s; s._radix_order.dispatcher; print(s.__file__)"]
    if os.geteuid() == 0:  # root writes anywhere, unless it gives that right up
        if shutil.which("setpriv") is None:
            pytest.skip("root without setpriv can write to a read-only folder")
        command = ["setpriv", "--bounding-set=-dac_override,-fowner", *command]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(copy / "superpoints" / "__init__.py") and done.stderr == ""
    assert [path.name for path in (tmp_path / "temporary").glob("geoguide-*/*")] == ["numba"]
    assert not list(copy.rglob("__pycache__"))
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755)
