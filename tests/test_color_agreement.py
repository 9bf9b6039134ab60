"""Colour images that are mirrored, swapped or of other frames are seen by the points' own colours."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoguide.datasets import scannet
from geoguide.datasets.color_agreement import READINGS, color_doubts
from geoguide.scene import Scene


@pytest.fixture(params=["scene0000_00", "scene0113_00"])
def real(request: pytest.FixtureRequest, recordings: Path) -> Scene:
    return scannet.load_scene(recordings / "scannet_real" / "scans" / request.param, frame_skip=6)


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


def test_nothing_is_said_where_nothing_can_be_told(rng: np.random.Generator) -> None:
    points = rng.random((50, 3)).astype(np.float32)
    assert color_doubts(Scene("grey", points, np.full((50, 3), 0.5, np.float32))) == ()
