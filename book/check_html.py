"""Check a built book: complete, without errors, readable with no network: python book/check_html.py book/_build/html

Every page of the contents exists; no script, style sheet, font, image or frame comes from the network; every local file
that a page loads or links to is there; pages with plots or math have their scripts, and no other page; and no
cell printed a traceback or a warning.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

# Megabytes each, so that pages load them only where they have what needs them.
NEEDS = (("a plot", 'class="geoguide-figure"', "plotly.min.js"), ("math", 'class="math', "tex-svg.js"))
LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "embed": "src",
    "object": "data",
    "video": "src",
}
LOADING_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "preconnect", "dns-prefetch", "manifest"}
CSS_URL = re.compile(r"""(?:@import\s+|url\()\s*["']?([^"')\s;]+)""")
ERRORS = ("Traceback (most recent call last)", 'class="output traceback', 'class="output stderr')


class Page(HTMLParser):
    """What one page loads (`loads`), links to (`links`), and its inline styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.loads: list[str] = []
        self.links: list[str] = []
        self.styles: list[str] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in ("style", "script") else ""
        if tag in LOADING and values.get(LOADING[tag]):
            self.loads.append(values[LOADING[tag]])
        if tag == "link" and LOADING_LINKS & set(values.get("rel", "").lower().split()):
            self.loads.append(values.get("href", ""))
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        self.styles += CSS_URL.findall(values.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles += CSS_URL.findall(data)
        elif self._inside == "script":
            self.scripts.append(data)
        else:
            self.text.append(data)


def is_remote(target: str) -> bool:
    """Whether a browser asks the network for `target`."""
    return target.startswith("//") or urlsplit(target).scheme in ("http", "https", "ws", "wss")


def missing(folder: Path, target: str) -> bool:
    """Whether the local file that `target` names, seen from `folder`, does not exist."""
    parts = urlsplit(target)
    return not parts.scheme and bool(parts.path) and not (folder / unquote(parts.path)).exists()


def check_page(path: Path) -> Iterator[str]:
    """What is wrong with one page, one line each."""
    source = path.read_text(encoding="utf-8")
    page = Page(source)
    for target in page.loads + page.styles:
        if is_remote(target):
            yield f"{path}: needs the network for {target}"
        elif missing(path.parent, target):
            yield f"{path}: {target} is not in the book"
    for target in page.links:
        if missing(path.parent, target):
            yield f"{path}: broken link {target}"
    yield from _check_scripts(path, source, page)


def _check_scripts(path: Path, source: str, page: Page) -> Iterator[str]:
    for script in page.scripts:
        for target in re.findall(r"""(?:import\s*\(?|\.src\s*=|fetch\()\s*["'`](https?:[^"'`]+)""", script):
            yield f"{path}: a script asks the network for {target}"
    for error in ERRORS:
        if error in source:
            yield f"{path}: holds {error!r}"
    names = " ".join(page.loads)
    for what, sign, script in NEEDS:
        if sign in source and script not in names:
            yield f"{path}: has {what} but does not load {script}"
        if sign not in source and script in names:
            yield f"{path}: loads {script} but has no {what.removeprefix('a ')}"


def check_book(folder: Path, contents: Path) -> Iterator[str]:
    """What is wrong with the built book in `folder`, whose table of contents is the file `contents`."""
    if not (folder / "index.html").is_file():
        yield f"{folder}/index.html: not built"
        return
    for page in pages_of(yaml.safe_load(contents.read_text(encoding="utf-8"))):
        if not (folder / f"{page}.html").is_file():
            yield f"{folder}/{page}.html: in the table of contents but not built"
    for path in html_pages(folder):
        yield from check_page(path)
    for path in sorted((folder / "_static").rglob("*.css")):
        for target in CSS_URL.findall(path.read_text(encoding="utf-8", errors="replace")):
            if is_remote(target):
                yield f"{path}: needs the network for {target}"


def html_pages(folder: Path) -> list[Path]:
    """The book's pages; `_static` holds only templates that the theme leaves there."""
    return sorted(path for path in folder.rglob("*.html") if "_static" not in path.relative_to(folder).parts)


def pages_of(node: object) -> Iterator[str]:
    """Every page named in a Jupyter Book table of contents."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("root", "file"):
                yield str(value)
            else:
                yield from pages_of(value)
    elif isinstance(node, list):
        for item in node:
            yield from pages_of(item)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python book/check_html.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    problems = list(check_book(folder, Path(__file__).parent / "_toc.yml"))
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{folder}: {len(html_pages(folder))} pages, complete, and none needs the network")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
