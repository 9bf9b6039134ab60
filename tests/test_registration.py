"""Do colour images lie on their depth images: told by edges, in any light."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoguide.datasets.color_agreement import frame_colors
from geoguide.datasets.frame_pairs import read_recording
from geoguide.datasets.registration import registration
from geoguide.datasets.rgbd import load_views
from geoguide.scene import View

ROOM = "scannet_real/scans/scene0113_00"
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]  # of an image and its depth


def changed(recordings: Path, folder: Path, change: Change, name: str = ROOM) -> list[View]:
    """Views of a real room, their colour images changed."""
    rng, views = np.random.default_rng(0), []
    for view in load_views(recordings / name, image_size=(240, 320))[:20]:
        file = folder / f"{view.name}.png"
        Image.fromarray(change(view.color(), view.depth(), rng).clip(0, 255).astype(np.uint8)).save(
            file, compress_level=1
        )
        views.append(dataclasses.replace(view, color_path=file))
    return views


def flash(color: np.ndarray, depth: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Light that falls with distance and outshines the room."""
    away = np.where(depth > 0, depth, np.median(depth[depth > 0]))
    return (color * (0.8 / away[..., None]) ** 2).clip(0, 255)


@pytest.mark.parametrize(
    "light",
    [
        flash,
        lambda color, depth, rng: flash(color, depth, rng) + rng.normal(0, 40, color.shape),
        lambda color, depth, rng: color + rng.normal(0, 80, color.shape),
        lambda color, depth, rng: 0.1 * color,
        lambda color, depth, rng: color * rng.uniform(0.3, 1.5, 3),
    ],
    ids=["flash", "flash and noise", "noise", "dark", "white balance"],
)
def test_images_on_their_depth_are_taken_in_any_light(recordings: Path, tmp_path: Path, light: Change) -> None:
    recording = read_recording(changed(recordings, tmp_path, light))
    found = registration(recording.frames, lambda number: recording.views[number].color())
    assert found is not None and found.fits and not found.beside
    assert frame_colors(recording) == ((), ())


@pytest.mark.parametrize(("right", "down"), [(16, 0), (-30, 0), (0, 14), (20, -12)])
def test_images_beside_their_depth_are_measured(recordings: Path, tmp_path: Path, right: int, down: int) -> None:
    views = changed(recordings, tmp_path, lambda color, *_: np.roll(color, (down, right), (0, 1)))
    doubts, (said,) = frame_colors(read_recording(views))
    assert doubts == () and said.endswith("of 320 x 240 pixels: are they registered?")
    for by, names in ((right, ("left", "right")), (down, ("up", "down"))):
        told = [number for number in range(abs(by) - 2, abs(by) + 3) if f" {number} " in said]
        assert not by or (told and names[by > 0] in said), said


def test_images_of_other_frames_lie_nowhere(recordings: Path) -> None:
    views = load_views(recordings / ROOM, image_size=(240, 320))
    for by in (1, 5, 11):
        shifted = [dataclasses.replace(view, color_path=views[k - by].color_path) for k, view in enumerate(views)]
        recording = read_recording(shifted)
        found = registration(recording.frames, lambda number, of=recording: of.views[number].color())
        assert found is not None and not found.fits and not found.beside


def test_nothing_is_told_without_jumps_of_depth(recordings: Path, tmp_path: Path) -> None:
    views = changed(recordings, tmp_path, lambda color, *_: color)
    for view in views:
        np.save(tmp_path / f"{view.name}.npy", np.full(view.image_size, 2.0, np.float32))
    flat = [dataclasses.replace(view, depth_path=tmp_path / f"{view.name}.npy", depth_scale=1.0) for view in views]
    recording = read_recording(flat)
    assert registration(recording.frames, lambda number: flat[number].color()) is None
    assert frame_colors(recording)[1] == ()
