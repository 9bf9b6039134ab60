"""The package as rooms: floors and circles of a small package by hand, and of this one."""

from pathlib import Path

import pytest

from geoguide.paths import PACKAGE
from geoguide.report.layout import read_house

FILES = {
    "__init__.py": "",
    "ground.py": '"""The ground.\n\nMore."""\nX = 1\n',
    "middle/__init__.py": '"""A folder."""\n',
    "middle/a.py": "from {name}.ground import X\n",
    "top.py": "def late():\n    from {name}.middle import a\n    from {name} import ground\n",
}


def write(root: Path, name: str, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / name / path).parent.mkdir(parents=True, exist_ok=True)
        (root / name / path).write_text(text.replace("{name}", name))
    return root / name


def test_floors_of_a_small_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    rooms, circle = read_house(write(tmp_path, "smallhouse", FILES))
    assert {room.name: room.floor for room in rooms} == {"ground": 1, "middle": 2, "top": 3}
    assert {room.name: room.imports for room in rooms}["top"] == ("ground", "middle")
    assert (rooms[0].purpose, rooms[0].lines) == ("The ground.", 4) and circle == ()


def test_a_circle_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    files = FILES | {"ground.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from {name} import top\n"}
    _, circle = read_house(write(tmp_path, "circlehouse", files))
    assert {"ground", "top"} <= set(circle)


def test_this_package_is_a_house_one_would_live_in() -> None:
    rooms, circle = read_house(PACKAGE)
    assert not circle and max(room.floor for room in rooms) <= 12 and len(rooms) <= 32
    assert all(room.purpose for room in rooms)


def test_every_folder_has_a_design_note() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}
    assert [folder.name for folder in sorted(folders) if not (folder / "design.md").is_file()] == []
    for note in PACKAGE.rglob("design.md"):
        assert 5 <= len(note.read_text().splitlines()) <= 40, note
