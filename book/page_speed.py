"""How long each page of a built book takes to load and draw without a GPU: python book/page_speed.py book/_build/html

Headless Chromium with software WebGL and no network opens each page twice and is done when the page has loaded; the
quicker time counts, less what an empty page takes. The exit status is 1 where a page is slower than its limit, 2 where
there is no Chromium.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST, OTHER = 5.0, 10.0  # seconds until a page can be used: the first page, any other
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom")
PATIENCE = 120  # seconds after which a page counts as never done


def find_browser() -> str | None:
    """The first browser on the PATH, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def seconds(browser: str, page: Path) -> float:
    """Until the browser has opened the page, loaded it and ended; `inf` where it does not within `PATIENCE`."""
    with tempfile.TemporaryDirectory() as profile:
        begin = time.perf_counter()
        command = [browser, *OPTIONS, f"--user-data-dir={profile}", page.resolve().as_uri()]
        try:
            subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return float("inf")
        return time.perf_counter() - begin


def measure(browser: str, folder: Path) -> list[tuple[str, float, float]]:
    """Name, seconds and limit of every page; the first page is `intro.html`."""
    with tempfile.TemporaryDirectory() as there:
        empty = Path(there) / "empty.html"
        empty.write_text("<!doctype html><title>empty</title>")
        start = min(seconds(browser, empty) for _ in range(3))
    pages = sorted(p for p in folder.rglob("*.html") if not {"_static", "_sphinx_design_static"} & set(p.parts))
    rows = []
    for page in pages:
        taken = max(0.0, min(seconds(browser, page) for _ in range(2)) - start)
        rows.append(
            (str(page.relative_to(folder)), taken, FIRST if page.name in ("intro.html", "index.html") else OTHER)
        )
    return rows


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python book/page_speed.py FOLDER", file=sys.stderr)
        return 2
    browser = find_browser()
    if browser is None:
        print(f"page speed: not measured, none of {', '.join(BROWSERS)} is on the PATH", file=sys.stderr)
        return 2
    rows = measure(browser, Path(arguments[0]))
    for name, taken, limit in sorted(rows, key=lambda row: -row[1]):
        print(f"{taken:6.2f} s {'SLOW, at most ' + format(limit, 'g') if taken > limit else ''}  {name}")
    return 1 if any(taken > limit for _, taken, limit in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
