"""Do the colour images of a recording lie on its depth images? Told by their edges, in any light.

Where depth jumps, from one thing to the next behind it, brightness mostly changes too. So the mean contrast of the
colour images at the jumps of their depth images, moved by (right, down) pixels, has a peak where the two fit. Its
height over the mean is measured in standard deviations, both of the displacements farther than a twentieth of the
width from it. Of 30 frames of two rooms of ScanNet it is 18 at no displacement, 10 to 15 with 5 frames, and 12 to 23 in
the dark, blurred, with noise of 60 levels, under a flash that outshines the room, or in false colours; of images of
other frames, of the next one too, or mirrored it is at most 5. Images moved by 10 to 40 of 640 pixels have it there (8
to 19) and, from 20 pixels on, at most 2.5 within 0.02 of the width of their place. A kitchen of 7-Scenes, whose images
are not registered to its depth, has no peak (4): of such recordings nothing is said.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter
from scipy.signal import fftconvolve

from geoguide.datasets.frame_pairs import Frame

JUMP = 0.05  # of the depth, between neighbouring pixels of a thinned image
REACH = 24  # pixels of a thinned image, about 160 wide, to which displacements are looked at
PEAK, PLACE = 8, 3  # pixels around a peak that belong to it; within which images lie on their depth
AROUND = 25  # pixels along each side of what contrast is compared with
CLEAR = 7.0  # standard deviations


class Registration(NamedTuple):
    """Where the edges of colour images lie.

    Attributes:
        right: Pixels of the colour images, (W, H) being their size as read, by which they lie right of the depth.
        down: Likewise below it.
        peak: Height of the peak there, in standard deviations.
        in_place: Of the highest near no displacement.
    """

    right: int
    down: int
    peak: float
    in_place: float

    @property
    def fits(self) -> bool:
        """Whether the images clearly lie on their depth."""
        return self.in_place >= CLEAR

    @property
    def beside(self) -> bool:
        """Whether they clearly lie beside it."""
        return self.peak >= CLEAR and self.in_place < self.peak / 2


def registration(frames: dict[int, Frame], image: Callable[[int], np.ndarray]) -> Registration | None:
    """Find where the edges of colour images lie on the edges of their depth images.

    Args:
        frames: Frames by number, thinned alike.
        image: Gives the colour image uint8 [H, W, 3] of each, of the depth image's size before it was thinned.

    Returns:
        The displacement; None where depth has no jumps.
    """
    contrast = count = np.zeros(0)
    for number, frame in frames.items():
        here, seen = _contrast_at(_jumps(frame.depth), _contrast(image(number), frame.depth.shape))
        contrast, count = (here, seen) if not len(count) else (contrast + here, count + seen)
    if not len(count) or count.min() < 1:
        return None
    mean = contrast / count  # [2 REACH + 1, 2 REACH + 1], of displacements down and right
    down, right = np.unravel_index(mean.argmax(), mean.shape)
    rows, columns = np.indices(mean.shape)
    far = np.hypot(rows - down, columns - right) > PEAK
    if not mean[far].std():
        return None
    height = (mean - mean[far].mean()) / mean[far].std()
    step = next(iter(frames.values())).step
    near = np.hypot(rows - REACH, columns - REACH) <= PLACE
    return Registration(
        step * int(right - REACH), step * int(down - REACH), float(height.max()), float(height[near].max())
    )


def _jumps(depth: np.ndarray) -> np.ndarray:
    """Where depth [h, w] differs much from that of a neighbour, both being readings."""
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.log(depth)
        across, along = (np.abs(np.diff(far, axis=axis)) for axis in (1, 0))
    across, along = (np.isfinite(step) & (step > JUMP) for step in (across, along))
    found = np.zeros(depth.shape, bool)
    found[:, 1:] |= across
    found[:, :-1] |= across
    found[1:] |= along
    found[:-1] |= along
    return found


def _contrast(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How fast brightness changes, over what it does around, float64 `shape` [h, w]."""
    grey = Image.fromarray(image).convert("L").resize(shape[::-1], Image.Resampling.BOX)
    steep = np.sqrt(np.hypot(*np.gradient(np.asarray(grey).astype(np.float64))))
    return steep / (uniform_filter(steep, AROUND) + 0.5)


def _contrast_at(jumps: np.ndarray, contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sum of contrast at jumps moved by each displacement, and how many of them lie inside then."""
    turned, inside = jumps[::-1, ::-1].astype(np.float64), np.ones_like(contrast)
    both = [fftconvolve(np.pad(values, REACH), turned, mode="valid") for values in (contrast, inside)]
    return both[0], both[1].round()
