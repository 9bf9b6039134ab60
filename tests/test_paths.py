"""One rule for where data, caches, runs and results lie: from a clone, installed, and by environment variable."""

import subprocess
import sys
from pathlib import Path

import pytest

from geoguide import paths

ROOT = Path(__file__).resolve().parents[1]
PLACES = ("data_root", "cache_root", "runs_root", "checkpoints_root", "results_root")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable is set, and the working folder is a user's, with a folder of another project's data in it."""
    for name in ("GEOGUIDE_DATA", "GEOGUIDE_RESULTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def test_a_clone_keeps_everything_in_itself_whatever_the_working_folder(plain: Path) -> None:
    assert paths.clone() == ROOT
    found = [getattr(paths, place)() for place in PLACES]
    assert found == [ROOT / "data", ROOT / "data/cache", ROOT / "runs", ROOT / "runs/checkpoints", ROOT / "results"]


@pytest.mark.parametrize("variable", [None, "xdg"])
def test_an_installed_package_keeps_everything_in_the_users_cache(
    plain: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    monkeypatch.setattr(paths, "PACKAGE", plain / "site-packages" / "geoguide")
    home = plain / "home" / ".cache" / "geoguide"
    if variable:
        monkeypatch.setenv("XDG_CACHE_HOME", str(plain / variable))
        home = plain / variable / "geoguide"
    assert paths.clone() is None
    found = [getattr(paths, place)() for place in PLACES]
    assert found == [home, home / "cache", home / "runs", home / "runs/checkpoints", home / "results"]


def test_variables_name_other_folders(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE_DATA", str(plain / "a"))
    assert [getattr(paths, place)() for place in PLACES[:3]] == [plain / "a", plain / "a/cache", plain / "a/runs"]
    assert paths.results_root() == ROOT / "results"
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(plain / "b"))
    assert paths.results_root() == plain / "b"


def test_the_rule_is_the_same_in_another_process_elsewhere(plain: Path) -> None:
    """As a notebook's kernel or a worker sees it."""
    code = "from geoguide import paths; print(paths.data_root(), paths.runs_root(), paths.results_root())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=plain, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(ROOT / "data"), str(ROOT / "runs"), str(ROOT / "results")]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.txt"
    with paths.replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(KeyboardInterrupt), paths.replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["x.txt"]
