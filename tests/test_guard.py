"""The last line of defence: exit codes, one line, a report, and output streams that nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from geoguide.errors import DataError
from geoguide.guard import guarded

# Work that writes a file, prints much and then writes another: what a lost stream must not stop.
WORK = """
import sys
from pathlib import Path
from geoguide.guard import guarded
def work():
    Path("first.txt").write_text("1")
    for number in range(20000):
        print("line", number, "Tür \\udcff")
        print("progress", number, file=sys.stderr)
    sys.stdout.flush()
    Path("second.txt").write_text("2")
sys.exit(guarded(work, [], lambda: ""))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("GEOGUIDE_DEBUG", raising=False)
    return tmp_path / "home"


def fail(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("redirect", "code"),
    [
        ("| head -1", 0),
        ("2>&1 | head -1", 0),
        ("> /dev/full", 74),
        ("2> /dev/full >/dev/null", 0),
        (">&- 2>&- <&-", 0),
        ("2>&- | tail -1", 0),
    ],
)
def test_files_are_written_whatever_becomes_of_the_streams(tmp_path: Path, redirect: str, code: int) -> None:
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "ascii"}
    line = f'"{sys.executable}" -c "$WORK" {redirect}; echo "${{PIPESTATUS[0]}}" > code'
    command = ["bash", "-c", line]
    done = subprocess.run(command, cwd=tmp_path, env=environment | {"WORK": WORK}, capture_output=True, check=False)
    assert (tmp_path / "code").read_text().strip() == str(code)
    assert [(tmp_path / name).read_text() for name in ("first.txt", "second.txt")] == ["1", "2"]
    said = [row for row in done.stderr.decode().splitlines() if not row.startswith("progress")]
    assert len(said) == (code != 0) and "Traceback" not in str(said)


def test_an_error_that_nobody_expected_is_one_line_and_a_report(home: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    assert guarded(fail(RuntimeError("first\nsecond \udcff")), ["segment", "Tür.ply"], str) == 70
    line = capsys.readouterr().err.strip()
    report = next((home / "runs" / "errors").iterdir())
    assert (
        line.count("\n") == 0 and "RuntimeError: first" in line and str(report) in line and "GEOGUIDE_DEBUG=1" in line
    )
    text = report.read_text()
    assert "Traceback" in text and "second" in text and "Tür.ply" in text and "numba " in text and "hunter2" not in text


def test_the_report_finds_another_place(home: Path, capsys, tmp_path: Path, monkeypatch) -> None:
    home.write_text("a file")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert guarded(fail(KeyError("name")), [], str) == 70
    assert str(next((tmp_path / "temporary").glob("geoguide-*/*.txt"))) in capsys.readouterr().err
    monkeypatch.setattr("tempfile.tempdir", str(home))
    assert guarded(fail(MemoryError()), [], str) == 70
    assert "MemoryError" in (said := capsys.readouterr().err) and "no report could be written" in said


def test_debug_shows_the_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0, [], str)
    assert not home.exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("a\nb.ply: broken"), 2, "geoguide: a\\nb.ply: broken\n"),
        (KeyboardInterrupt(), 130, "geoguide: interrupted; try again\n"),
        (SystemExit(3), 3, ""),
    ],
)
def test_what_is_expected(home: Path, capsys, error: BaseException, code: int, said: str) -> None:
    assert guarded(fail(error), [], lambda: "try again") == code
    assert capsys.readouterr().err == said and not home.exists()
