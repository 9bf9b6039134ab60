"""Colour images that are mirrored, swapped or of other frames are seen by the points' own colours."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoguide.datasets import scannet
from geoguide.datasets.color_agreement import READINGS, color_doubts, frame_colors
from geoguide.datasets.frame_pairs import read_recording
from geoguide.datasets.rgbd import load_views
from geoguide.scene import Scene


@pytest.fixture(params=["scene0000_00", "scene0113_00"])
def real(request: pytest.FixtureRequest, recordings: Path) -> Scene:
    return scannet.load_scene(recordings / "scannet_real" / "scans" / request.param, frame_skip=30)


def rewritten(scene: Scene, folder: Path, change: Callable[[int, np.ndarray], np.ndarray]) -> Scene:
    views = []
    for number, view in enumerate(scene.views):
        path = folder / f"{number}.png"
        Image.fromarray(np.ascontiguousarray(change(number, view.color()))).save(path)
        views.append(replace(view, color_path=path))
    return replace(scene, views=tuple(views))


def test_real_recordings_agree_and_harmed_ones_do_not(real: Scene, tmp_path: Path) -> None:
    assert color_doubts(real) == ()
    for name, read in READINGS.items():
        (said,) = color_doubts(rewritten(real, tmp_path, lambda _, image, read=read: read(image)))
        assert f"when {name}" in said
    images = [view.color() for view in real.views]
    (said,) = color_doubts(rewritten(real, tmp_path, lambda number, _: images[(number + 5) % len(images)]))
    assert "mirrored, or of other frames" in said


def test_another_white_balance_exchanges_no_channels(real: Scene, tmp_path: Path) -> None:
    warm, cold = np.array([1.3, 1, 0.6], np.float32), np.array([0.6, 1, 1.4])
    scene = rewritten(real, tmp_path, lambda _, image: (image * cold).clip(0, 255).astype(np.uint8))
    found = color_doubts(replace(scene, colors=(scene.colors * warm).clip(0, 1)))
    assert not any("red and blue" in said for said in found)


def test_single_images_that_are_exchanged_are_named(real: Scene, tmp_path: Path) -> None:
    images = [view.color() for view in real.views]
    places = {2: 7, 7: 2}
    (said,) = color_doubts(rewritten(real, tmp_path, lambda number, _: images[places.get(number, number)]))
    assert f"colour images {real.views[2].name}, {real.views[7].name} fit the points in another order" in said
    turned = {0: 3, 3: 8, 8: 0}
    (said,) = color_doubts(rewritten(real, tmp_path, lambda number, _: images[turned.get(number, number)]))
    assert ", ".join(real.views[number].name for number in sorted(turned)) in said


def test_images_of_another_place_are_named(recordings: Path, tmp_path: Path) -> None:
    scans = recordings / "scannet_real" / "scans"
    one, other = (scannet.load_scene(scans / name, frame_skip=10) for name in ("scene0000_00", "scene0113_00"))
    images = [view.color() for view in other.views]
    (said,) = color_doubts(rewritten(one, tmp_path, lambda number, own: images[number] if number < 10 else own))
    assert "fit the points no better than those of other frames do" in said


@pytest.mark.parametrize(("sides", "words"), [((12, 0), "above and below, 1[12] %"), ((0, 12), "right, 1[12] %")])
def test_images_that_were_filled_up_are_said(
    recordings: Path, tmp_path: Path, sides: tuple[int, int], words: str
) -> None:
    """Black bands of an eighth at two sides, of a recording whose images are not registered to its depth."""
    views = load_views(recordings / "rgbd_kitchen", frame_skip=2)[:12]
    assert frame_colors(read_recording(views)) == ((), ())
    filled = []
    for view in views:
        with Image.open(view.color_path) as image:
            pad = [side * size // 100 for side, size in zip(sides, image.size[::-1], strict=True)]  # down, across
            inner = image.resize((image.width - 2 * pad[1], image.height - 2 * pad[0]))
            whole = Image.new("RGB", image.size)
            whole.paste(inner, (pad[1], pad[0]))
            whole.save(tmp_path / view.color_path.name)
        filled.append(replace(view, color_path=tmp_path / view.color_path.name))
    doubts, said = frame_colors(read_recording(filled))
    assert doubts == () and len(said) == 1 and re.search(words, said[0])  # compression may light a row


def test_nothing_is_said_where_nothing_can_be_told(rng: np.random.Generator) -> None:
    points = rng.random((50, 3)).astype(np.float32)
    assert color_doubts(Scene("grey", points, np.full((50, 3), 0.5, np.float32))) == ()
