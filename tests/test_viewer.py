"""`geoguide view`: a typed word changes the picture in a browser, without a network; it begins and ends cleanly."""

import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import browser
import numpy as np
import pytest

import geoguide
from geoguide.cli import main
from geoguide.errors import InputError
from geoguide.own_scan import Scan, viewer
from geoguide.own_scan.explore import NOTHING, Exploration
from geoguide.own_scan.scan import palette
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.scene import Scene
from geoguide.teachers.registry import identified, parse_spec, teacher_of


def scan(count: int = 3000) -> Scan:
    rng = np.random.default_rng(0)
    points, side = rng.uniform(0, 1, (count, 3)), rng.integers(0, 3, count)
    points[np.arange(count), side] = 0
    points = (points * [4, 3, 2.5]).astype(np.float32)
    return Scan(Scene("a <b>room</b>", points, rng.uniform(0, 1, (count, 3)).astype(np.float32)))


@pytest.fixture(scope="module")
def exploration() -> Exploration:
    return Exploration(scan(), geoguide.load("mini"))


@pytest.fixture
def served(exploration: Exploration) -> Iterator[viewer.Viewer]:
    pytest.importorskip("viser")
    exploration.set_words("floor, wall")
    with viewer.serving(exploration) as viewed:
        yield viewed


def test_the_panel_decides_the_colours(served: viewer.Viewer) -> None:
    found = served.exploration
    np.testing.assert_array_equal(served._cloud.colors, found.colors("labels"))
    served._coloring.value = "heat map"
    served.show()
    np.testing.assert_array_equal(served._cloud.colors, found.colors("heat map", "floor"))
    served.set_words("floor, wall, <i>chair</i>")
    assert found.words == ("floor", "wall", "<i>chair</i>") and served._word.value == "<i>chair</i>"
    np.testing.assert_array_equal(served._cloud.colors, found.colors("heat map", "<i>chair</i>"))
    assert "&lt;i&gt;chair&lt;/i&gt;: cosine" in served._legend.content
    served._coloring.value = "superpoints"
    served.show()
    np.testing.assert_array_equal(served._cloud.colors, found.colors("superpoints"))
    assert f"{found.superpoints.max() + 1} superpoints" in served._legend.content


def test_words_that_cannot_be_used_are_said_and_the_old_ones_stay(served: viewer.Viewer) -> None:
    served.set_words("chair,, table")
    assert "expected words separated by commas" in served._problem.content
    assert served.exploration.words == ("floor", "wall")
    served.set_words("chair, table")
    assert served._problem.content == "" and served.exploration.words == ("chair", "table")


def test_one_word_is_a_heat_map(served: viewer.Viewer) -> None:
    served.set_words("a place to sit")
    np.testing.assert_array_equal(served._cloud.colors, served.exploration.colors("heat map", "a place to sit"))


def test_a_click_tells_the_best_words(served: viewer.Viewer) -> None:
    found, eye = served.exploration, np.array([9.0, 8.0, 7.0])
    target = found.scan.scene.points[17]
    served.click(tuple(eye), tuple(target - eye))
    point = found.nearest(eye, target - eye)
    best, cosine = found.top_words(point)[0]
    assert (
        f"point {point} at" in served._told.content and f"<td>{best}</td><td>{cosine:.3f}</td>" in served._told.content
    )
    before = served._told.content
    served.click(tuple(eye), (0.0, 0.0, 1.0))  # past the scan
    assert served._told.content == before


def test_the_2d_models_heat_map_is_a_colouring(tiny: ExperimentConfig) -> None:
    pytest.importorskip("viser")
    scene = scene_sources(tiny.data, "test")[0].load()
    teacher = teacher_of(identified(parse_spec("mini:lseg-mini")))
    found = Exploration(Scan(replace(scene, views=scene.views[:2])), geoguide.load("mini"), ("wall", "floor"), teacher)
    with viewer.serving(found) as viewed:
        assert viewed._glow.visible and viewed._coloring.options[-1] == "2D heat map"
        viewed._coloring.value = "2D heat map"
        viewed.show()
        np.testing.assert_array_equal(viewed._cloud.colors, found.colors("2D heat map", "wall"))
        assert "what the 2D model says of the images" in viewed._legend.content
        point = int(np.flatnonzero((found.colors("images") != NOTHING).any(1))[0])
        viewed.exploration.nearest = lambda *ray: point
        viewed.click((0, 0, 0), (0, 0, 1))
        shown = found.evidence(point, 1, "wall")[0]
        np.testing.assert_array_equal(viewed._images[0].image, shown.image)
        viewed._glow.value = False
        viewed.click((0, 0, 0), (0, 0, 1))
        np.testing.assert_array_equal(viewed._images[0].image, found.evidence(point, 1)[0].image)


def test_a_2d_model_needs_images(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("viser")
    points = scan(500).scene.points
    np.savez(tmp_path / "a.npz", points=points, colors=np.full(points.shape, 128))
    assert run("view", str(tmp_path / "a.npz"), "--port", "0", "--features", "mini:lseg-mini") == 2
    assert "has no image with a pose to ask about" in capsys.readouterr().err


def test_a_large_scan_is_thinned_for_the_browser_alone(
    exploration: Exploration, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("viser")
    monkeypatch.setattr(viewer, "MOST_POINTS", 1000)
    with viewer.serving(exploration) as viewed:
        assert viewed._cloud.colors.shape == (1000, 3) and "1,000 of them drawn" in viewed._size()
        assert len(exploration.labels()[0]) == 3000


def test_a_typed_word_changes_the_picture(served: viewer.Viewer, tmp_path: Path) -> None:
    """All the way: letters typed in Chromium, their embedding, colours over the socket, WebGL; nobody else asked."""
    red, blue = palette(2).astype(int)
    with browser.opened(served.url, size=(1000, 700)) as page:
        page.wait_for_selector("text=colour by", timeout=60_000)
        page.wait_for_timeout(2500)
        before = browser.seen(page, "canvas", tmp_path / "before.png")
        hit = [(np.abs(before.astype(int) - color).max(2) <= 12).mean() for color in (red, blue)]
        assert max(hit) > 0.01, "the labels' colours are drawn"
        page.locator("input[value='floor, wall']").fill("a place to sit")
        page.wait_for_function("document.body.innerText.includes('a place to sit: cosine')", timeout=30_000)
        page.wait_for_timeout(1500)
        after = browser.seen(page, "canvas", tmp_path / "after.png")
        assert served.exploration.words == ("a place to sit",)
        assert (before != after).any(2).mean() > 0.01
        page.mouse.click(250, 420)  # where the scan is in front
        page.wait_for_function("/point \\d+ at/.test(document.body.innerText)", timeout=30_000)
        asked = [url for url in page.asked if not url.startswith((served.url, "data:", "blob:"))]
        assert asked == [] and "a <b>room</b>: 3,000 points" in page.inner_text("body")  # a scan's name is text


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert run("view", "nowhere.ply") == 2
    said = capsys.readouterr().err
    assert "pip install 'geoguide[viewer]'" in said and said.count("\n") == 1


def test_where_nothing_can_listen(capsys: pytest.CaptureFixture) -> None:
    said = r"cannot be listened on \(Address already in use\); --port 0 takes any"
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(InputError, match=said):
        viewer.check_address("127.0.0.1", other.getsockname()[1])
    with pytest.raises(InputError, match=r"--host 203\.0\.113\.1 --port 0: cannot be listened on"):
        viewer.check_address("203.0.113.1", 0)
    viewer.check_address("127.0.0.1", 0)
    assert run("view", "nowhere.ply", "--port", "65536") == 2
    assert "--port must be 0 to 65535" in capsys.readouterr().err


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    pytest.importorskip("viser")
    points = scan(500).scene.points
    np.savez(tmp_path / "a.npz", points=points, colors=np.full(points.shape, 128))
    command = [sys.executable, "-m", "geoguide", "view", str(tmp_path / "a.npz"), "--port", "0"]
    # A shell that runs the tests in the background lets its children ignore the signal.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, **pipes, text=True, cwd=tmp_path, preexec_fn=heard)
    told = next(line for line in process.stdout if line.startswith("http"))
    assert told.endswith("shows 500 points; Ctrl-C ends\n")
    host, port = told.split()[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as asked:
        asked.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert asked.recv(100).startswith(b"HTTP/1.1 200")
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors, errors
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
