"""Installed, not cloned: from an empty folder a command works or says in a line what it needs; nothing is left."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData

import geoguide

ROOT = Path(__file__).resolve().parents[1]

# Several commands in one process, each as the command line runs it: an import of torch for each would take a minute.
DRIVER = """
import contextlib, io, json, sys
from geoguide.cli import main
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""
READING = """
import os
from geoguide.errors import DataError
from geoguide.experiments import records
from geoguide.paths import clone
from geoguide.report import claims, readme, tables
assert clone() is None and records.read_all() == []
for read in (lambda: records.frame(records.read_all()), lambda: tables.paper("main_miou"), claims.paper_concordance,
             readme.update_readme, lambda: records.read(records.results_root() / "a.json")):
    try:
        read()
    except DataError as error:
        assert "\\n" not in str(error)
        print(error)
    else:
        raise AssertionError(read)
os.environ["GEOGUIDE_RESULTS"] = "mine"
records.need_place_for_records()  # named by the user: a replication may begin
assert "replicate" in records.records_advice()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as its wheel installs it, built from the source distribution."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("installed")
    source, pip = folder / "source", [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    for name in ("geoguide", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source)
    build = f"import setuptools.build_meta as build; build.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (packed,) = folder.glob("geoguide-*.tar.gz")
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(packed)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("geoguide-*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


@pytest.fixture
def empty(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder of a user who has the package alone; the user's cache is in `tmp_path`/home."""
    for name in ("GEOGUIDE_DATA", "GEOGUIDE_RESULTS", "PYTHONHOME"):
        monkeypatch.delenv(name, raising=False)
    home, folder = tmp_path / "home", tmp_path / "empty"
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # packages that a test run brings along, never a clone
    others = [path for path in others if path and not (Path(path) / "geoguide").exists()]
    for name, value in {"HOME": home, "XDG_CACHE_HOME": home / "cache"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(installed), *others]))
    home.mkdir()
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def python(*arguments: str, given: str = "") -> str:
    done = subprocess.run([sys.executable, *arguments], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(*lines: str) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of commands."""
    told = python("-c", DRIVER, given=json.dumps([line.split() for line in lines]))
    return [tuple(json.loads(line)) for line in told.splitlines()]


def test_it_is_the_installed_one_and_complete(installed: Path, empty: Path) -> None:
    found = python("-c", "import geoguide, geoguide.paths as p; print(geoguide.__file__, p.clone(), p.results_root())")
    assert found.split() == [
        str(installed / "geoguide/__init__.py"),
        "None",
        str(empty.parent / "home/cache/geoguide/results"),
    ]
    here = {path.relative_to(ROOT) for path in (ROOT / "geoguide").rglob("*.*") if "__pycache__" not in path.parts}
    there = {path.relative_to(installed) for path in (installed / "geoguide").rglob("*.*")}
    assert {path for path in here if (ROOT / path).is_file()} <= there


def test_a_source_distribution_has_no_tests(installed: Path) -> None:
    """It had those named test_*, without the modules that they import and the records that they compare with."""
    (packed,) = installed.parent.glob("geoguide-*.tar.gz")
    with tarfile.open(packed) as held:
        top = {Path(name).parts[1] for name in held.getnames() if "/" in name}
    assert {"geoguide", "LICENSE", "README.md", "pyproject.toml"} <= top and "tests" not in top


NEEDS = {
    "verify": "no committed record of '2D fusion'; an installed package has no committed records: use a clone",
    "verify --profile full": "an installed package has no committed records",
    "replicate": "no records; an installed package has no committed records: use a clone, or name a folder in $",
    "replicate --profile quick": "no records; an installed package has no committed records",
    "replicate --profile main --data nowhere": "nowhere: data root not found",
    "evaluate --data nowhere": "nowhere: data root not found",
    "evaluate nothing": "nothing: no such model file; packaged models: mini",
    "train --data nowhere": "nowhere: data root not found",
    "lift --data nowhere": "nowhere: data root not found",
    "probe descriptors --data nowhere": "nowhere: data root not found",
    "data check": "mini-scannet: dataset folder not found",
    "segment nowhere.ply --labels chair": "nowhere.ply: no such file or folder",
    "fit-scan nowhere --labels chair": "nowhere: no such file or folder",
    "view nowhere.ply --port 0": "nowhere.ply: no such file"
    if find_spec("viser")
    else "pip install 'geoguide[viewer]'",
    "pretrain sonata-mini --out nowhere/a.safetensors": "--out nowhere/a.safetensors: no such folder",
}


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(empty: Path) -> None:
    *needing, version, helped = commands(*NEEDS, "--version", "--help")
    assert version[:2] == (0, f"geoguide {geoguide.__version__}\n") and helped[0] == 0
    for line, (code, out, err) in zip(NEEDS, needing, strict=True):
        assert code == 2 and out == "" and err.count("\n") == 1, f"{line}: {code} {out} {err}"
        assert NEEDS[line] in err, f"{line}: {err}"
    assert not list(empty.iterdir())


def test_records_that_are_not_there_are_refused(empty: Path) -> None:
    told = python("-c", READING).splitlines()
    assert len(told) == 5 and sum("an installed package has no committed records" in line for line in told) == 3, told
    assert not list(empty.iterdir())


def test_a_scan_needs_neither_data_nor_clone(empty: Path, rng: np.random.Generator) -> None:
    """What is written is what was asked for; nothing beside the scan."""
    scans = empty.parent / "scans"
    scans.mkdir()
    np.savez(scans / "a.npz", points=rng.uniform(0, 2, (400, 3)), colors=rng.integers(0, 256, (400, 3)))
    python("-m", "geoguide", "segment", str(scans / "a.npz"), "--labels", "chair, table", "--html", "a.html")
    assert {path.name for path in empty.iterdir()} == {"a_labelled.ply", "a_labelled.json", "a.html"}
    assert len(PlyData.read(str(empty / "a_labelled.ply"))["vertex"]) == 400
    assert [path.name for path in scans.iterdir()] == ["a.npz"]
