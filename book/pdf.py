"""The whole book as one PDF, from the built HTML: python book/pdf.py [FOLDER [OUT]]

Chromium, headless and without a network, prints each page in the order of `book/_toc.yml`; pypdf (extra "pdf") joins
them, with a bookmark for each part and chapter. A page is opened with `?print`, which asks it to draw all its figures.
Printed pages are kept until the book is built again, so that an interrupted run goes on.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from tqdm import tqdm

BOOK = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VIRTUAL = 60_000  # milliseconds of the page's own clock for its scripts: timers run ahead, work is waited for
PATIENCE = 600  # seconds after which a page is given up


class Fault(Exception):
    """What keeps the PDF from being made, in one line."""


class Chapter(NamedTuple):
    """A page of the contents: its name without .html, its title there (None: the page's own), and its part."""

    page: str
    title: str | None
    part: str | None


def chapters(contents: Path) -> Iterator[Chapter]:
    """The pages of a Jupyter Book table of contents, in order, sections below their chapter."""
    found = yaml.safe_load(contents.read_text(encoding="utf-8"))
    yield Chapter(found["root"], None, None)
    for part in found.get("parts", [{"chapters": found.get("chapters", [])}]):
        yield from _listed(part.get("chapters", []), part.get("caption"))


def _listed(entries: Sequence[dict], part: str | None) -> Iterator[Chapter]:
    for entry in entries:
        yield Chapter(entry["file"], entry.get("title"), part)
        yield from _listed(entry.get("sections", []), part)


def browser() -> str:
    """The headless browser on PATH."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise Fault(f"no browser to print with: install chromium (looked on PATH for {', '.join(BROWSERS)})")
    return found


def print_page(program: str, page: Path, out: Path) -> None:
    """Print one HTML file; it takes the place of `out` when it is whole."""
    with tempfile.TemporaryDirectory() as profile:
        made = Path(profile) / "page.pdf"
        # No sandbox: root in a container cannot have it, and the pages are our own. The processor draws WebGL.
        flags = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader"]
        flags += ["--enable-unsafe-swiftshader", "--allow-file-access-from-files", "--disable-background-networking"]
        flags += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--no-pdf-header-footer"]
        flags += [f"--virtual-time-budget={VIRTUAL}", "--run-all-compositor-stages-before-draw"]
        command = [program, *flags, f"--print-to-pdf={made}", f"{page.as_uri()}?print"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Fault(f"{page}: not printed within {PATIENCE} s") from None
        if done.returncode != 0 or not made.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise Fault(f"{page}: {Path(program).name} could not print it ({last})")
        out.parent.mkdir(parents=True, exist_ok=True)
        whole = out.with_suffix(".part")
        shutil.copyfile(made, whole)
        os.replace(whole, out)


def title_of(page: Path) -> str:
    """The title of an HTML file, without that of the book behind it."""
    text = page.read_text(encoding="utf-8")
    found = text.partition("<title>")[2].partition("</title>")[0].strip()
    return " ".join(found.partition("&#8212;")[0].partition("—")[0].split()) or page.stem


def make_pdf(html: Path, contents: Path, out: Path, *, progress: bool = True) -> int:
    """Print every page of a built book and join them into `out`; the number of its pages."""
    if importlib.util.find_spec("pypdf") is None:
        raise Fault("the pages are joined by pypdf: pip install -c constraints.txt -e '.[pdf]'")
    program, listed = browser(), list(chapters(contents))
    for chapter in listed:
        if not (html / f"{chapter.page}.html").is_file():
            raise Fault(f"{html}/{chapter.page}.html: in the table of contents but not built; run `make book` first")
    printed = [(chapter, html.parent / "pdf" / f"{chapter.page}.pdf") for chapter in listed]
    for chapter, path in tqdm(printed, "print", unit="page", disable=not progress):
        page = html / f"{chapter.page}.html"
        if not path.is_file() or path.stat().st_mtime < page.stat().st_mtime:
            print_page(program, page, path)
    return _join(html, printed, out)


def _join(html: Path, printed: Sequence[tuple[Chapter, Path]], out: Path) -> int:
    from pypdf import PdfWriter

    with PdfWriter() as writer:
        part, above = None, None
        for chapter, path in printed:
            first = len(writer.pages)
            writer.append(str(path), import_outline=False)
            if chapter.part != part:
                part = chapter.part
                above = None if part is None else writer.add_outline_item(title=part, page_number=first, bold=True)
            title = chapter.title or title_of(html / f"{chapter.page}.html")
            writer.add_outline_item(title=title, page_number=first, parent=above)
        writer.compress_identical_objects()  # fonts and pictures that pages share
        whole = out.with_suffix(".part")
        writer.write(whole)
        os.replace(whole, out)
        return len(writer.pages)


def main(arguments: list[str]) -> int:
    if len(arguments) > 2:
        print("usage: python book/pdf.py [FOLDER [OUT]]", file=sys.stderr)
        return 2
    html = Path(arguments[0] if arguments else BOOK / "_build" / "html").resolve()
    out = Path(arguments[1]) if len(arguments) > 1 else html.parent / "geoguide-replicated.pdf"
    try:
        count = make_pdf(html, BOOK / "_toc.yml", out)
    except (Fault, OSError) as fault:
        print(fault, file=sys.stderr)
        return 2
    print(f"{out}: {count} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
