"""One rule for where data, caches, runs and results lie: from a clone, installed, and by environment variable."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from geoguide import paths
from geoguide.errors import ConfigError, WriteError

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


@pytest.mark.parametrize(
    ("named", "found"),
    [("~/a", "home/a"), ("~", "home"), ("a b#%ü/", "a b#%ü"), ("", None), (" \t", None), ("a~", "a~"), ("./~", "./~")],
)
def test_a_variable_may_begin_with_the_home_or_be_blank(
    named: str, found: str | None, plain: Path, monkeypatch
) -> None:
    """Of a file of settings, or a quoted one, no shell has put the home there: a folder called ~ was made."""
    for variable, root, own in (
        ("GEOGUIDE_DATA", paths.data_root, "data"),
        ("GEOGUIDE_RESULTS", paths.results_root, "results"),
    ):
        monkeypatch.setenv(variable, named)
        assert root().absolute() == (ROOT / own if found is None else plain / found)
    assert paths.runs_root().absolute() == (ROOT / "runs" if found is None else plain / found / "runs")


def test_the_home_of_nobody_is_refused(plain: Path, monkeypatch) -> None:
    monkeypatch.setenv("GEOGUIDE_DATA", "~nobody-is-called-so/a")
    with pytest.raises(ConfigError, match=r"\$GEOGUIDE_DATA: no home folder is known for '~nobody"):
        paths.data_root()


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


def test_a_write_that_fails_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    for path, said in ((tmp_path / "file" / "x.txt", "File exists"), (tmp_path / ("x" * 300), "too long")):
        with pytest.raises(WriteError, match=said) as error:
            paths.write_text(path, "new")
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="cannot be written"):
            paths.write_text(tmp_path / "file", 1000 * "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "file").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_whether_something_can_be_written_is_found_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    paths.check_writable(tmp_path / "new" / "deep")
    paths.check_file_writable(tmp_path / "file")
    for bad in (tmp_path / "file" / "x", Path("/proc/nowhere/x"), tmp_path / ("x" * 300) / "y"):
        with pytest.raises(WriteError, match="cannot be written"):
            (paths.check_file_writable if len(bad.name) == 1 else paths.check_writable)(bad)
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_a_user_without_a_home_has_a_folder_among_the_temporary_files(plain: Path, monkeypatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(paths, "PACKAGE", plain / "site-packages" / "geoguide")
    monkeypatch.setattr(Path, "home", homeless)
    assert paths.data_root() == paths.temporary_root()


def test_a_folder_of_others_is_not_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert paths.is_private(tmp_path) and not paths.is_private(tmp_path / "missing")
    tmp_path.chmod(0o777)
    assert not paths.is_private(tmp_path)
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert paths.is_private(tmp_path / "real") and not paths.is_private(tmp_path / "link")
