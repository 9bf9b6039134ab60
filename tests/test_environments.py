"""Containers, Binder and the lock: what they name exists, the lock is complete and agrees with constraints.txt."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from book_scripts import load_script
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ENTRY = re.compile(r"([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")
CUDA = re.compile(r"torch$|nvidia-|cuda-|triton")


@pytest.fixture(scope="module")
def lock() -> dict[str, list[Requirement]]:
    """Every package of requirements.lock, with each of its versions and the markers of these."""
    text = (ROOT / "requirements.lock").read_text()
    body, found = "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#")), {}
    for name, version, marker, _ in ENTRY.findall(body):
        found.setdefault(canonicalize_name(name), []).append(
            Requirement(f"{name}=={version}" + (f"; {marker}" if marker else ""))
        )
    assert ENTRY.sub("", body) == ""  # nothing in it is without a hash
    return found


def needed(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def direct(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in lines]


def test_the_lock_agrees_with_the_constraints(lock: dict[str, list[Requirement]]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(r.name): r for r in (Requirement(line) for line in lines if line and line[0] != "#")}
    names = {canonicalize_name(requirement.name) for requirement in direct("book", "test")} - {"torch"}
    assert names <= set(lock)
    for name in set(lock) & set(pins):
        assert [locked.specifier for locked in lock[name]] == [pins[name].specifier], name


def test_of_torch_and_its_cuda_libraries_nothing_is_locked_and_the_header_says_so(lock: dict) -> None:
    assert not [name for name in lock if CUDA.match(name)]
    header = (ROOT / "requirements.lock").read_text().partition("\naccessible")[0]
    for word in ("torch", "--no-deps", "make setup LOCKED=1", "make lock", "constraints.txt"):
        assert word in header


def test_nothing_is_missing_that_an_installed_package_asks_for(lock: dict[str, list[Requirement]]) -> None:
    """It is installed with --no-deps: everything that must be there on this platform is followed through, torch too."""
    left, seen = [(r.name, frozenset(r.extras)) for r in direct("book", "test")], set()
    while left:
        name, extras = left.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for line in metadata.requires(name) or ():
            asked = Requirement(line)
            wanted = asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in {"", *extras})
            own = canonicalize_name(asked.name)
            if not wanted or CUDA.match(own):
                continue
            assert any(needed(locked) for locked in lock.get(own, ())), f"{name} needs {asked}"
            assert any(needed(one) and asked.specifier.contains(next(iter(one.specifier)).version, prereleases=True)
                       for one in lock[own]), f"{name} needs {asked}, locked {lock[own]}"  # fmt: skip
            left.append((asked.name, frozenset(asked.extras)))
    assert len(seen) > 100


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def called(text: str) -> list[str]:
    """The targets that a text says to `make`."""
    return re.findall(r"(?<![\w-])make ([a-z][a-z-]*)", text)


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    lines = (line.partition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return [(word, rest.strip()) for word, _, rest in lines]


def test_every_source_of_the_dockerfile_exists_and_every_command_is_one() -> None:
    found = instructions()
    assert found[0][0] == "FROM" and {word for word, _ in found} <= {
        *("FROM", "RUN", "USER", "WORKDIR", "ARG", "ENV", "COPY", "CMD")
    }
    for word, rest in found:
        if word == "COPY":
            *sources, _ = [part for part in shlex.split(rest) if not part.startswith("--")]
            assert sources and all((ROOT / source).exists() for source in sources), rest
    text = (ROOT / "Dockerfile").read_text()
    assert {"setup", "book"} <= set(called(text)) <= targets() | {"git"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"EXTRAS=(\w+)", text)) <= set(extras)
    (command,) = (json.loads(rest) for word, rest in found if word == "CMD")
    assert command[0] in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def test_the_files_copied_first_suffice_to_install(tmp_path: Path) -> None:
    """What pyproject.toml reads is among them: its metadata can be built from these alone."""
    first = [shlex.split(rest) for word, rest in instructions() if word == "COPY"][:2]
    copied = [part for line in first for part in line[:-1] if not part.startswith("--")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", project["readme"], *project["license-files"], "geoguide/__init__.py"} <= set(copied)
    assert {"Makefile", "constraints.txt", "requirements.lock"} <= set(copied)


def test_what_git_ignores_docker_ignores() -> None:
    def names(file: str) -> set[str]:
        lines = (ROOT / file).read_text().splitlines()
        return {line.strip("/").removeprefix("**/") for line in lines if line and not line.startswith("#")}

    assert names(".gitignore") - names(".dockerignore") == set()
    assert not {name for name in names(".dockerignore") if (ROOT / name).exists()} & {"results", "notebooks", "tests"}


def test_the_devcontainer_uses_the_dockerfile_and_the_makefile() -> None:
    found = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    build = found["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (ROOT / ".devcontainer" / build["context"]).resolve() == ROOT
    assert ("FROM", f"python:3.11-slim-bookworm AS {build['target']}") in instructions()
    assert any(word == "USER" and rest == found["remoteUser"] for word, rest in instructions())
    assert called(found["postCreateCommand"]) == ["setup"]


def test_binder_installs_this_package_by_the_constraints() -> None:
    folder = ROOT / ".binder"
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    (constraints,) = (line.split()[1] for line in lines if line.startswith("-c"))
    assert (folder / constraints).resolve() == ROOT / "constraints.txt" and "-e .[book]" in lines
    python = (folder / "runtime.txt").read_text().strip().removeprefix("python-")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == f">={python}"
    script = folder / "postBuild"
    assert os.access(script, os.X_OK) and script.read_text().startswith("#!/usr/bin/env bash\n")
    (command,) = (line for line in script.read_text().splitlines() if line.startswith("geoguide"))
    assert subprocess.run([sys.executable, "-m", "geoguide", *command.split()[1:2], "--help"]).returncode == 0


@pytest.fixture(scope="module")
def buttons() -> ModuleType:
    pytest.importorskip("sphinx")
    return load_script("_ext/repository_buttons.py")


def test_no_repository_no_buttons(buttons: ModuleType) -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]
    assert config["config"]["repository"] == "" and buttons.theme_options("") == {}
    assert "repository_buttons" in config["config"]["extensions"]


@pytest.mark.parametrize(
    "wrong", ["github.com/a/b", "http://github.com/a/b", "https://github.com/a", "https://x/a/b/c"]
)
def test_another_address_is_refused(buttons: ModuleType, wrong: str) -> None:
    from sphinx.errors import ExtensionError

    with pytest.raises(ExtensionError, match=r"repository must be https://HOST/OWNER/NAME, found"):
        buttons.theme_options(wrong)


def test_other_hosts_have_no_colab(buttons: ModuleType) -> None:
    found = buttons.theme_options("https://gitlab.com/someone/a-book/")
    assert found["repository_url"] == "https://gitlab.com/someone/a-book" and "colab_url" not in found["launch_buttons"]


@pytest.mark.parametrize("repository", ["", "https://github.com/someone/a-book.git"])
def test_pages_of_a_small_book(repository: str, tmp_path: Path) -> None:
    """Jupyter Book builds a page and a notebook by this project's config, with and without a repository."""
    pytest.importorskip("jupyter_book")
    nbformat = pytest.importorskip("nbformat")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["sphinx"]["config"]["repository"] = repository
    config["execute"]["execute_notebooks"] = "off"
    shutil.copytree(ROOT / "book" / "_ext", tmp_path / "_ext")
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n- file: notebooks/one\n")
    (tmp_path / "intro.md").write_text("# A page\n")
    (tmp_path / "notebooks").mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    kernel |= {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    cells = [nbformat.v4.new_markdown_cell("# A notebook"), nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "notebooks" / "one.ipynb")
    build = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "-W", "-n", str(tmp_path)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    page = (tmp_path / "_build" / "html" / "notebooks" / "one.html").read_text()
    plain = repository.removesuffix(".git")
    binder = "https://mybinder.org/v2/gh/someone/a-book/main?urlpath=lab/tree/notebooks/one.ipynb"
    colab = "https://colab.research.google.com/github/someone/a-book/blob/main/notebooks/one.ipynb"
    assert (f'href="{plain}"' in page) == (f'href="{plain}/issues' in page) == (binder in page) == bool(repository)
    assert (colab in page) == bool(repository)
    assert repository or not re.search(r"mybinder|colab\.research", page)
