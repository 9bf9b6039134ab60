"""Options and places to write to, refused before anything is read or made."""

import json
import os
from pathlib import Path

import pytest

from geoguide.cli import Command
from geoguide.cli.arguments import Within, output_file, output_folder, read_arguments
from geoguide.errors import InputError, WriteError

SUMMARY = ("scan", "labels")


@pytest.mark.parametrize(
    ("within", "value", "allowed"),
    [
        (Within(1), 10**400, "1 to 9223372036854775807"),
        (Within(1), -(10**400), "at least 1"),
        (Within(0, 10), 10**400, "0 to 10"),
        (Within(0.5), 2**63, "0.5 to 9223372036854775807"),
        (Within(0.5), float("inf"), "at least 0.5"),
        (Within(0.5), float("nan"), "at least 0.5"),
        (Within(0.5, 2), float("-inf"), "0.5 to 2"),
    ],
)
def test_numbers_of_any_size_are_refused_alike(within: Within, value: float, allowed: str) -> None:
    with pytest.raises(InputError, match=f"--x must be {allowed}, found"):
        within("--x", value)


@pytest.mark.parametrize(("within", "value"), [(Within(1), 2**63 - 1), (Within(0), 1e300), (Within(0, 10), 10)])
def test_numbers_within_are_taken(within: Within, value: float) -> None:
    within("--x", value)


@pytest.mark.parametrize("columns", [1, 5, 39])
def test_help_ends_on_a_terminal_of_any_width(columns: int, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """It broke its lines for ever where a column had no width left."""
    told = []
    for width in (40, columns):
        monkeypatch.setenv("COLUMNS", str(width))
        with pytest.raises(SystemExit):
            read_arguments(Command, ["grid", "--help"], "")
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] and "--workers" in told[0]


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan with files of its owner's beside it, which all stay as they are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.ply").write_text("the scan")
    (tmp_path / "scan.json").write_text('{"camera": 1}')
    (tmp_path / "notes.ply").write_text("mine")
    (tmp_path / "notes.json").write_text("[1, 2]")
    (tmp_path / "link.ply").symlink_to("scan.ply")
    os.link(tmp_path / "scan.ply", tmp_path / "hard.ply")
    (tmp_path / "folder.ply").mkdir()
    os.mkfifo(tmp_path / "pipe.ply")
    return tmp_path / "scan.ply"


def tree(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() if p.is_file() else "" for p in folder.iterdir()}


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("x.json", "ends in .ply"),
        ("x", "ends in .ply"),
        ("", "ends in .ply"),
        (".ply", "ends in .ply"),
        ("scan.ply", "the input"),
        ("./folder.ply/../scan.ply", "the input"),
        ("{here}/scan.ply", "the input"),
        ("link.ply", "the input"),
        ("hard.ply", "the input"),
        ("folder.ply", "is a folder"),
        ("pipe.ply", "is a device"),
        ("missing/x.ply", "no such folder: missing"),
        ("notes.ply/x.ply", "no such folder: notes.ply"),
        ("notes.ply", "its summary notes.json would replace a file of another program"),
        ("x" * 252 + ".ply", "cannot be written"),
        ("/proc/x.ply", "cannot be written"),
    ],
)
def test_an_output_that_would_lose_something_or_cannot_be(scan: Path, out: str, said: str) -> None:
    before = tree(scan.parent)
    named = Path(out.format(here=scan.parent))
    with pytest.raises((InputError, WriteError), match=said):
        output_file(named, Path("unused.ply"), ".ply", inputs=[Path("scan.ply")], summary=SUMMARY)
    assert tree(scan.parent) == before


def test_an_input_that_would_become_the_summary(scan: Path) -> None:
    with pytest.raises(InputError, match="summary out.json would replace the input"):
        (scan.parent / "out.json").symlink_to("scan.json")
        output_file(Path("out.ply"), Path("x.ply"), ".ply", inputs=[Path("scan.json")], summary=("camera",))


def test_an_earlier_output_is_replaced(scan: Path) -> None:
    Path("out.ply").write_text("old")
    Path("out.json").write_text(json.dumps({"scan": "scan", "labels": {}, "more": 1}))
    assert output_file(Path("out.PLY"), Path("x"), ".ply", inputs=[scan], summary=SUMMARY) == Path("out.PLY")
    assert output_file(Path("out.ply"), Path("x"), ".ply", inputs=[scan], summary=SUMMARY) == Path("out.ply")


def test_a_name_chosen_for_the_user_replaces_only_what_this_program_wrote(scan: Path) -> None:
    options = {"inputs": [scan], "own": lambda path: path.read_text() == "ours"}
    with pytest.raises(InputError, match="of another program"):
        output_file(None, Path("notes.ply"), ".ply", **options)
    assert output_file(Path("notes.ply"), Path("x"), ".ply", **options) == Path("notes.ply")  # the user says so
    Path("notes.ply").write_text("ours")
    assert output_file(None, Path("notes.ply"), ".ply", **options) == Path("notes.ply")
    assert output_file(None, Path("new/folder/x.ply"), ".ply") == Path("new/folder/x.ply")
    assert not Path("new").exists()


def test_a_folder_is_no_file_and_can_be_made(scan: Path) -> None:
    with pytest.raises(InputError, match="--rooms must name a folder, found the file scan.ply"):
        output_folder(Path("scan.ply"), "--rooms")
    with pytest.raises(WriteError, match="cannot be written .*--rooms names another place"):
        output_folder(Path("scan.ply/deep"), "--rooms")
    assert output_folder(Path("a/b"), "--rooms") == Path("a/b") and not Path("a").exists()
