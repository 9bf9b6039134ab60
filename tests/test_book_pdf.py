"""The book as a PDF: order and titles of a small table of contents, real pages printed and joined, clear refusals."""

import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from book_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
CONTENTS = """
format: jb-book
root: intro
parts:
- caption: Second part
  chapters:
  - file: deep/second
    title: Named in the contents
    sections:
    - file: third
"""


@pytest.fixture(scope="module")
def pdf() -> ModuleType:
    return load_script("pdf.py")


@pytest.fixture
def book(tmp_path: Path) -> tuple[Path, Path]:
    """A built book of three pages; a script writes on each how it was asked for."""
    html = tmp_path / "_build" / "html"
    (html / "deep").mkdir(parents=True)
    script = "<script>document.getElementById('x').textContent = 'drawn for ' + location.search</script>"
    for name in ("third", "intro", "deep/second"):
        text = f"<title>{name.upper()} &#8212; The book</title><h1>Text of {name}</h1><p id=x></p>{script}"
        (html / f"{name}.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{text}")
    (tmp_path / "_toc.yml").write_text(CONTENTS)
    return html, tmp_path / "_toc.yml"


def test_the_order_of_the_contents(pdf: ModuleType, book: tuple[Path, Path]) -> None:
    assert list(pdf.chapters(book[1])) == [
        ("intro", None, None),
        ("deep/second", "Named in the contents", "Second part"),
        ("third", None, "Second part"),
    ]


def test_every_page_of_the_real_contents_comes_once(pdf: ModuleType) -> None:
    def named(node: object) -> list[str]:
        if isinstance(node, dict):
            return [x for key, value in node.items() for x in ([value] if key in ("root", "file") else named(value))]
        return [x for item in node for x in named(item)] if isinstance(node, list) else []

    contents = ROOT / "book" / "_toc.yml"
    found = [chapter.page for chapter in pdf.chapters(contents)]
    assert found == named(yaml.safe_load(contents.read_text())) and len(set(found)) == len(found)


def test_pages_are_printed_and_joined_in_order(pdf: ModuleType, book: tuple[Path, Path], tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    if not any(map(shutil.which, pdf.BROWSERS)):
        pytest.skip("no chromium")
    out = tmp_path / "out.pdf"
    assert pdf.make_pdf(*book, out, progress=False) == 3
    reader = pypdf.PdfReader(out)
    texts = [page.extract_text() for page in reader.pages]
    assert [text.split("\n")[0] for text in texts] == ["Text of intro", "Text of deep/second", "Text of third"]
    assert all("drawn for ?print" in text for text in texts)
    first, part, below = reader.outline
    assert (first.title, part.title, [item.title for item in below]) == (
        "INTRO", "Second part", ["Named in the contents", "THIRD"]
    )  # fmt: skip
    assert [reader.get_destination_page_number(item) for item in (first, part, *below)] == [0, 1, 1, 2]
    kept = {path: path.stat().st_mtime_ns for path in (book[0].parent / "pdf").rglob("*.pdf")}
    os.utime(book[0] / "third.html", (2e9, 2e9))  # built again, long after
    pdf.make_pdf(*book, out, progress=False)
    changed = {path.name for path, time in kept.items() if path.stat().st_mtime_ns != time}
    assert len(kept) == 3 and changed == {"third.pdf"} and not list(tmp_path.rglob("*.part"))


def test_what_is_missing_is_one_line(
    pdf: ModuleType, book: tuple[Path, Path], tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: None)
    assert pdf.main([str(book[0])]) == 2 and "pip install -c constraints.txt -e '.[pdf]'" in capsys.readouterr().err
    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert pdf.main([str(book[0])]) == 2
    assert capsys.readouterr().err.startswith("no browser to print with: install chromium")
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho first >&2\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(pdf.Fault, match=r"intro.html: chromium could not print it \(broken\)"):
        pdf.make_pdf(*book, tmp_path / "out.pdf", progress=False)
    (book[0] / "third.html").unlink()
    with pytest.raises(pdf.Fault, match=r"third.html: in the table of contents but not built; run `make book` first"):
        pdf.make_pdf(*book, tmp_path / "out.pdf", progress=False)
    assert not (tmp_path / "out.pdf").exists()
    assert pdf.main(["a", "b", "c"]) == 2 and "usage" in capsys.readouterr().err
