"""pyproject.toml, constraints.txt, environment.yml and what is installed agree; citation and CI script are sound."""

import os
import sys
import sysconfig
import tomllib
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# conda-forge's names of packages that environment.yml takes from there, not from pip.
CONDA_NAMES = {"pytorch-gpu": "torch"}
CONDA_ONLY = {"python", "pip", "make"}
GPU_ONLY = {"spconv-cu126"}
CLIP_ONLY = {"open-clip-torch"}  # it brings torchvision, which replaces or does not fit a CPU build of torch
LITERT_ONLY = {"ai-edge-litert"}
SCANS_ONLY = {"laspy", "lazrs", "pye57"}


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared(*extras: str) -> dict[str, Requirement]:
    """Direct dependencies (and those of `extras`) by canonical name."""
    project = pyproject()
    lines = list(project["dependencies"]) if not extras or "base" in extras else []
    for extra in extras:
        if extra != "base":
            lines += project["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def everything() -> dict[str, Requirement]:
    return declared("base", *pyproject()["optional-dependencies"])


def pinned() -> dict[str, str]:
    """constraints.txt as canonical name -> version; every line must be an exact pin."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        name = canonicalize_name(requirement.name)
        assert name not in pins, f"{line} is pinned twice"
        pins[name] = specifier.version
    return pins


def conda() -> tuple[dict[str, str], list[str]]:
    """environment.yml as canonical pip name -> version, and its other lines."""
    versions, others = {}, []
    for line in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]:
        if isinstance(line, str):
            name, _, version = line.partition("=")
            if name in CONDA_NAMES:
                versions[CONDA_NAMES[name]] = version
            else:
                others.append(line)
            continue
        for entry in line["pip"]:
            if entry.startswith("-"):
                others.append(entry)
            else:
                name, _, version = entry.partition("==")
                versions[str(canonicalize_name(name))] = version
    return versions, others


def test_every_dependency_is_pinned_and_every_pin_is_a_dependency():
    assert set(everything()) == set(pinned())


def test_pins_satisfy_pyproject():
    for name, requirement in everything().items():
        assert requirement.specifier.contains(pinned()[name]), f"{requirement} excludes {pinned()[name]}"


def test_environment_yml_repeats_the_pins_and_adds_only_conda_itself():
    versions, others = conda()
    assert versions == pinned()
    assert {line.partition("=")[0] for line in others} == CONDA_ONLY | {"-e ."}


def test_what_a_gpu_clip_or_litert_needs_is_an_extra_and_no_part_of_the_cpu_install():
    assert set(declared("cuda")) == GPU_ONLY and set(declared("clip")) == CLIP_ONLY
    assert set(declared("litert")) == LITERT_ONLY and set(declared("scans")) == SCANS_ONLY
    assert not (GPU_ONLY | CLIP_ONLY | LITERT_ONLY | SCANS_ONLY) & set(declared("base", "book", "test", "lab"))


@pytest.mark.parametrize("name", sorted(declared("base", "book", "test")))
def test_installed_version_is_the_pinned_one(name):
    installed = metadata.version(name).partition("+")[0]  # "2.13.0+cpu" is 2.13.0 built for the CPU
    assert installed == pinned()[name]


def test_python_version_agrees():
    (python,) = (line for line in conda()[1] if line.startswith("python="))
    assert pyproject()["requires-python"] == ">=" + python.removeprefix("python=")


def test_every_data_file_is_packaged():
    package = ROOT / "geoguide"
    globs = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["geoguide"]
    files = {path for path in package.rglob("*.*") if path.is_file() and path.parent.name != "__pycache__"}
    assert {path for path in files if path.suffix != ".py"} == {path for glob in globs for path in package.glob(glob)}


def test_citation_names_the_paper_and_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == pyproject()["version"]
    assert citation["license"] == pyproject()["license"]
    (paper,) = citation["references"]
    assert paper["title"].startswith("GeoGuide: Hierarchical Geometric Guidance")
    assert "2603.26260" in paper["identifiers"][0]["value"]
    for entry in (citation, paper):
        assert {"title", "type", "authors"} <= set(entry)
    assert len(paper["authors"]) == 11 and all({"family-names", "given-names"} == set(one) for one in paper["authors"])


def test_changelog_starts_with_the_version():
    headings = [line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0].startswith(f"## {pyproject()['version']}")


def test_ci_script_is_executable_and_calls_the_two_commands():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "set -euo pipefail" in text and all(f"\n{line}\n" in text for line in ("make setup", "make book"))
    assert "make test 2>&1" in text and "    make test-clients\n" in text


def test_the_clients_are_pinned_and_no_dependency():
    """They have an environment of their own, whose packages must not replace those of the main one.

    The extras whose tests run there are not in the main one. Their torchvision is that of another torch, of which
    open_clip needs no operator: it must never come near the main environment.
    """
    lines = (ROOT / "tests" / "clients" / "requirements.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all([part.operator for part in requirement.specifier] == ["=="] for requirement in requirements)
    names = {canonicalize_name(requirement.name) for requirement in requirements}
    extras = {"open-clip-torch", "ai-edge-litert", "laspy", "lazrs", "pye57", "lightning-fabric", "pypdf"}
    assert {"nuscenes-devkit", "scenezoo", *extras} <= names and not names & ({*everything()} - extras)


def test_book_links_point_to_the_top_level():
    assert (ROOT / "book" / "_config.yml").resolve() == ROOT / "_config.yml"
    assert (ROOT / "book" / "notebooks").resolve() == ROOT / "notebooks"


@pytest.mark.parametrize("folder", ["benchmarks", "book", "tests"])
def test_no_script_hides_a_module_of_its_name(folder):
    """A script's folder comes first where Python looks: a `coverage.py` there is what numba imports as coverage."""
    elsewhere = [sysconfig.get_path("purelib"), sysconfig.get_path("stdlib")]
    stems = [path.stem for path in (ROOT / folder).glob("*.py") if path.stem not in ("conftest", "__init__")]
    found = {stem: PathFinder.find_spec(stem, elsewhere) for stem in stems}
    hidden = [stem for stem, spec in found.items() if spec is not None] + sorted({*stems} & sys.stdlib_module_names)
    assert stems and hidden == []
