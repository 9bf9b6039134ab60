"""A browser for tests: headless Chromium without a network, where one is installed (Debian's `chromium` is)."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# SwiftShader draws WebGL without a GPU; no name is resolved, so that a page that needs the network fails.
FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)


def chromium() -> str:
    """Its path; the test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on PATH")
    return found


def screenshot(url: str, image: Path, *, size: tuple[int, int] = (900, 600), dark: bool = False) -> np.ndarray:
    """What the browser shows of a page after eight seconds of its own time, uint8 [H, W, 3]."""
    flags = ["--headless", *FLAGS, "--virtual-time-budget=8000", f"--window-size={size[0]},{size[1]}"]
    flags += ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    profile = image.with_name(f"{image.stem}-profile")
    command = [chromium(), *flags, f"--user-data-dir={profile}", f"--screenshot={image}", url]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return np.asarray(Image.open(image).convert("RGB"))


@contextmanager
def opened(url: str, *, size: tuple[int, int] = (900, 600), **context: Any) -> Iterator[Any]:
    """playwright's page of a URL; what it said on its console is in `page.said`, what it asked for in `page.asked`."""
    api, path = pytest.importorskip("playwright.sync_api"), chromium()
    with api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=path, args=list(FLAGS))
        page = browser.new_context(viewport={"width": size[0], "height": size[1]}, **context).new_page()
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(url)
        yield page
        browser.close()


def seen(page: Any, selector: str, image: Path) -> np.ndarray:
    """What an element of playwright's page shows, uint8 [H, W, 3]."""
    page.locator(selector).first.screenshot(path=str(image))
    return np.asarray(Image.open(image).convert("RGB"))
