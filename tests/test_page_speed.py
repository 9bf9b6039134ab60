"""The measurement of page speed: a slow page is found, a quick one passes, and no browser is said so."""

from pathlib import Path

import pytest
from book_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def speed():
    return load_script("page_speed.py")


def test_no_browser_and_no_folder_are_said(speed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert speed.main([str(tmp_path)]) == 2 and "none of chromium" in capsys.readouterr().err
    assert speed.main([str(tmp_path / "none")]) == 2 and "usage" in capsys.readouterr().err


def test_a_page_that_works_for_seconds_is_slow_and_an_idle_one_is_not(speed, tmp_path, monkeypatch, capsys):
    if speed.find_browser() is None:
        pytest.skip("no Chromium")
    busy = "<script>const end = Date.now() + 4000; while (Date.now() < end) {}</script>"
    (tmp_path / "busy.html").write_text(f"<!doctype html><p>x</p>{busy}")
    (tmp_path / "idle.html").write_text("<!doctype html><p>x</p>")
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "template.html").write_text("not a page")
    rows = dict(row[:2] for row in speed.measure(speed.find_browser(), tmp_path))
    assert set(rows) == {"busy.html", "idle.html"} and rows["busy.html"] - rows["idle.html"] > 1.5
    monkeypatch.setattr(speed, "OTHER", 2.0)
    assert speed.main([str(tmp_path)]) == 1 and "SLOW, at most 2  busy.html" in capsys.readouterr().out
