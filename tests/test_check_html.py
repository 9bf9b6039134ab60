"""The book's HTML check: a sound page passes, and every fault that it is there for is found."""

from pathlib import Path

import pytest
from book_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def check():
    return load_script("check_html.py")


@pytest.fixture
def book(tmp_path):
    """A book of two pages that has nothing wrong with it, and its table of contents."""
    folder = tmp_path / "html"
    (folder / "_static").mkdir(parents=True)
    for name in ("plotly.min.js", "tex-svg.js"):
        (folder / "_static" / name).write_text("")
    (folder / "_static" / "theme.css").write_text("@font-face { src: url(data:font/woff2;base64,AA) }")
    head = "<script src='_static/plotly.min.js?v=1'></script><script src='_static/tex-svg.js'></script>"
    css = "<link rel='stylesheet' href='_static/theme.css'>"
    links = "<a href='index.html#top'>home</a> <a href='https://arxiv.org/abs/2603.26260'>paper</a>"
    plot = '<figure class="geoguide-figure"></figure>'
    page = f'<html><head>{head}{css}</head><body>{links}<span class="math">x</span>{plot}</body></html>'
    for name in ("index.html", "intro.html"):
        (folder / name).write_text(page)
    contents = tmp_path / "_toc.yml"
    contents.write_text("format: jb-book\nroot: intro\n")
    return folder, contents


def test_a_sound_book_passes(check, book):
    assert list(check.check_book(*book)) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("<script src='https://cdn.example.org/x.js'></script>", "needs the network for https://cdn.example.org/x.js"),
        ("<script src='//cdn.example.org/x.js'></script>", "needs the network"),
        ("<link rel='preload stylesheet' href='https://example.org/a.css'>", "needs the network"),
        ("<style>@import 'https://example.org/a.css';</style>", "needs the network"),
        ("<div style=\"background: url('http://example.org/a.png')\"></div>", "needs the network"),
        ("<script>import('https://example.org/x.mjs')</script>", "a script asks the network"),
        ("<img src='_images/none.png'>", "_images/none.png is not in the book"),
        ("<a href='nowhere.html#x'>x</a>", "broken link nowhere.html#x"),
        ("<pre>Traceback (most recent call last):</pre>", "holds 'Traceback"),
        ('<div class="output stderr notranslate">UserWarning: x</div>', "output stderr"),
    ],
)
def test_faults_of_a_page_are_found(check, book, fault, message):
    page = book[0] / "intro.html"
    page.write_text(page.read_text().replace("</body>", fault + "</body>"))
    (problem,) = check.check_book(*book)
    assert message in problem and "intro.html" in problem


@pytest.mark.parametrize(("script", "what"), [("plotly.min.js", "plot"), ("tex-svg.js", "math")])
def test_a_page_without_its_script_is_found(check, book, script, what):
    page = book[0] / "intro.html"
    page.write_text(page.read_text().replace(script, "theme.css"))
    (problem,) = check.check_book(*book)
    assert f"has {'a ' if what == 'plot' else ''}{what} but does not load {script}" in problem


@pytest.mark.parametrize(("sign", "script"), [("geoguide-figure", "plotly.min.js"), ("math", "tex-svg.js")])
def test_megabytes_that_a_page_does_not_need_are_found(check, book, sign, script):
    page = book[0] / "intro.html"
    page.write_text(page.read_text().replace(f'class="{sign}"', ""))
    (problem,) = check.check_book(*book)
    assert f"loads {script} but has no" in problem


def test_a_remote_font_in_a_style_sheet_is_found(check, book):
    (book[0] / "_static" / "theme.css").write_text("@font-face { src: url('https://example.org/a.woff2') }")
    (problem,) = check.check_book(*book)
    assert "theme.css: needs the network" in problem


def test_an_unbuilt_page_and_an_unbuilt_book_are_found(check, book, tmp_path):
    folder, contents = book
    contents.write_text("root: intro\nparts:\n  - chapters:\n    - file: notebooks/07_protocol\n")
    (problem,) = check.check_book(folder, contents)
    assert "notebooks/07_protocol.html: in the table of contents but not built" in problem
    (problem,) = check.check_book(tmp_path / "empty", contents)
    assert "not built" in problem


def test_exit_codes(check, book, tmp_path, capsys):
    assert check.main([]) == 2
    assert check.main([str(tmp_path / "nothing")]) == 1
    assert "index.html: not built" in capsys.readouterr().err
