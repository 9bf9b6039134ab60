"""The page of a labelled scan: what was found, small, escaped, without a network, and drawn by a real browser."""

import base64
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pytest
from scipy.spatial import cKDTree

from geoguide import own_scan
from geoguide.cli import main
from geoguide.errors import InputError
from geoguide.own_scan import Segmentation
from geoguide.own_scan.page import MOST_POINTS, TEMPLATE
from geoguide.scene import Scene

NASTY = ("<script>alert(1)</script>", "</script><b>&amp;", "{{data}}", "Tür 'x' \"y\"", "椅子\u2028")


def labelled(count: int, labels: tuple[str, ...] = ("wall", "door", "floor"), name: str = "room") -> Segmentation:
    """A room's surfaces, as random as they can be: nothing of it is easy to pack."""
    rng = np.random.default_rng(0)
    points, side = rng.uniform(0, 1, (count, 3)), rng.integers(0, 3, count)
    points[np.arange(count), side] = rng.integers(0, 2, count)
    points = (points * [6, 5, 2.7] - [3, 100, 0]).astype(np.float32)
    scene = Scene(name, points, rng.uniform(0, 1, (count, 3)).astype(np.float32), as_read=("a <b>sentence</b>",))
    ids, scores = rng.integers(0, len(labels), count), rng.uniform(-0.1, 0.4, count).astype(np.float32)
    return Segmentation(scene, labels, ids, scores, {"model": "mini-scannet", "backbone": "sonata-mini"})


class Scripts(HTMLParser):
    """The texts of a page's script elements, by id, as a browser would take them apart; and the number of elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.held: dict[str, str] = {}
        self.tags: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in = dict(attrs).get("id", "program") if tag == "script" else ""

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in:
            self.held[self._in] = self.held.get(self._in, "") + data


def decoded(text: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Facts and arrays of a page, read by the format's description alone."""
    held = Scripts(text).held
    facts, raw = json.loads(held["facts"]), zlib.decompress(base64.b64decode(held["data"]))
    count = facts["points"]
    assert len(raw) == 13 * count
    words = np.frombuffer(raw, "<u2", 5 * count)
    low, high = facts["scores"]
    return facts, {
        "points": words[: 3 * count].reshape(count, 3) * facts["step"] + facts["origin"],
        "ids": words[3 * count : 4 * count],
        "scores": low + (high - low) * words[4 * count :] / 65535,
        "colors": np.frombuffer(raw, np.uint8, offset=10 * count).reshape(count, 3) / 255,
    }


def test_what_went_in_comes_out_within_its_rounding() -> None:
    result = labelled(5000)
    facts, found = decoded(own_scan.render_page(result))
    span = np.ptp(result.scene.points, axis=0).max()
    np.testing.assert_allclose(found["points"], result.scene.points, atol=0.51 * span / 65535)
    np.testing.assert_array_equal(found["ids"], result.ids)
    np.testing.assert_allclose(found["scores"], result.scores, atol=0.51 * np.ptp(result.scores) / 65535)
    np.testing.assert_allclose(found["colors"], result.scene.colors, atol=0.51 / 255)
    assert [label["name"] for label in facts["labels"]] == list(result.labels)
    shares = [label["share"] for label in facts["labels"]]
    np.testing.assert_allclose(shares, [(result.ids == i).mean() for i in range(3)], atol=1e-4)
    palette = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in own_scan.scan.palette(3)]
    assert [label["color"] for label in facts["labels"]] == palette  # those of the ply


@pytest.mark.parametrize("count", [100_000, 400_000])
def test_at_most_three_megabytes(count: int) -> None:
    """Of random points, the hardest to pack; a larger scan is thinned, and says so."""
    result = labelled(count)
    text = own_scan.render_page(result)
    assert len(text.encode()) <= 3e6
    facts, found = decoded(text)
    assert facts["points"] == min(count, MOST_POINTS)
    assert ("chosen at random" in facts["about"]) == (count > MOST_POINTS)
    distance, nearest = cKDTree(result.scene.points).query(found["points"])
    assert distance.max() < 1e-4  # metres: points of the scan, in its order and none twice, but for a few that coincide
    assert (np.diff(nearest) > 0).mean() > 0.99 and (found["ids"] == result.ids[nearest]).mean() > 0.99


def test_nothing_is_loaded_from_anywhere() -> None:
    text = re.sub(r'(id="data">)[\w+/=]+', r"\1", own_scan.render_page(labelled(100)))
    assert not re.search(r"https?:|wss?:|//[a-z]|@import|url\(", text, re.IGNORECASE)
    parsed = Scripts(text)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(parsed.tags)
    assert "default-src 'none'" in text and " src=" not in text


def test_texts_are_escaped() -> None:
    plain, nasty = (
        own_scan.render_page(labelled(100)),
        own_scan.render_page(labelled(100, NASTY, name="</title><script>x</script>")),
    )
    assert Scripts(plain).tags == Scripts(nasty).tags  # no text became an element
    facts, _ = decoded(nasty)
    assert [label["name"] for label in facts["labels"]] == list(NASTY)
    assert facts["title"] == "</title><script>x</script>" and facts["said"] == ["a <b>sentence</b>"]
    assert set(re.findall(r"\{\{(\w+)\}\}", TEMPLATE.read_text("utf-8"))) == {"title", "facts", "data"}


@pytest.mark.parametrize("count", [1, 2])
def test_a_scan_without_extent(count: int) -> None:
    scene = Scene("dot", np.ones((count, 3), np.float32), np.zeros((count, 3), np.float32))
    about = {"model": "m", "backbone": "b"}
    result = Segmentation(scene, ("a",), np.zeros(count, np.int64), np.full(count, 0.5, np.float32), about)
    facts, found = decoded(own_scan.render_page(result))
    np.testing.assert_array_equal(found["points"], scene.points)
    np.testing.assert_array_equal(found["scores"], result.scores)
    assert all(np.isfinite(facts[name]).all() and facts[name] > 0 for name in ("step", "diagonal", "spacing"))


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="max_points must be at least 1, found 0"):
        own_scan.render_page(labelled(10), max_points=0)
    with pytest.raises(InputError, match=r"must end in \.html, found '.*a\.txt'"):
        own_scan.write_page(tmp_path / "a.txt", labelled(10))
    assert not list(tmp_path.iterdir())


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_from_the_command_line(tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture) -> None:
    points = rng.uniform(0, 2, (300, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", points=points, colors=rng.integers(0, 256, (300, 3)))
    command = ("segment", str(tmp_path / "a.npz"), "--labels", "chair, <b>", "--out", str(tmp_path / "out.ply"))
    assert run(*command, "--html", str(tmp_path / "out.txt")) == 2
    assert "--html must name a file that ends in .html" in capsys.readouterr().err
    assert run(*command, "--html", str(tmp_path / "none" / "out.html")) == 2
    assert "--html" in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert run(*command, "--html", str(tmp_path / "out.html")) == 0
    facts, found = decoded((tmp_path / "out.html").read_text("utf-8"))
    assert [label["name"] for label in facts["labels"]] == ["chair", "<b>"]
    np.testing.assert_allclose(found["points"], points, atol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "out.html", "out.json", "out.ply"}


def share_of(image: np.ndarray, color: np.ndarray) -> float:
    """Share of an image's pixels that are of a colour, within 8 levels."""
    return float((np.abs(image.astype(int) - color).max(axis=2) <= 8).mean())


@pytest.mark.parametrize(("size", "dark"), [((900, 600), False), ((390, 800), True)])
def test_chromium_draws_the_labels_in_their_colours(tmp_path: Path, size: tuple[int, int], dark: bool) -> None:
    own_scan.write_page(tmp_path / "a.html", labelled(20_000))
    image = browser.screenshot((tmp_path / "a.html").as_uri(), tmp_path / "a.png", size=size, dark=dark)
    wide = size[0] - 300 if size[0] > 640 else size[0]
    cloud = image[: 400 if size[0] <= 640 else None, :wide]
    assert all(share_of(cloud, color) > 0.02 for color in own_scan.scan.palette(3).astype(int))
    assert (image[2, 2] < 60).all() if dark else (image[2, 2] > 240).all()


def test_legend_modes_and_a_point_s_label(tmp_path: Path) -> None:
    """In one visit: what is switched off is not drawn, colours follow the mode, and a point under the mouse speaks."""
    own_scan.write_page(tmp_path / "a.html", labelled(20_000, NASTY[:3]))
    red, blue, _ = own_scan.scan.palette(3).astype(int)
    with browser.opened((tmp_path / "a.html").as_uri()) as page:
        page.wait_for_selector("canvas[data-drawn='20000']")
        assert [name.inner_text() for name in page.locator("#legend .name").all()] == list(NASTY[:3])
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.locator("#legend input").nth(1).uncheck()
        page.wait_for_timeout(300)
        image = browser.seen(page, "#view", tmp_path / "b.png")
        assert share_of(image, blue) < 0.001 < share_of(image, red)
        page.mouse.move(300, 300)
        page.wait_for_selector("#tip", state="visible")
        told = re.fullmatch(r"(.+), cosine (-?\d\.\d+)", page.locator("#tip").inner_text())
        assert told and told[1] in (NASTY[0], NASTY[2]) and -0.1 <= float(told[2]) <= 0.4
        page.locator("#none").click()
        page.wait_for_timeout(300)
        assert len(np.unique(browser.seen(page, "#view", tmp_path / "c.png").reshape(-1, 3), axis=0)) < 20
        page.locator("#all").click()
        page.locator("input[value=own]").check()
        page.wait_for_timeout(300)
        image = browser.seen(page, "#view", tmp_path / "d.png")
        assert share_of(image, red) < 0.01 and len(np.unique(image.reshape(-1, 3), axis=0)) > 5000
        assert page.said == [] and all(url.startswith("file:") for url in page.asked)
