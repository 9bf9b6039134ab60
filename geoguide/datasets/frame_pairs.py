"""The frames of a recording that are compared, thinned, and which readings of one fall on those of another.

Some recordings have another value than 0 or 65535 where there is no reading, mostly the sensor's greatest. It repeats
exactly, as a surface hardly does that a moving camera sees: of the kitchen, whose sensor measures in coarse steps, no
value is that of more than 2 % of the pixels in more than 0.2 of the frames, of the other recordings of
`depth_agreement` and 24 generated rooms in more than 0.03. Gaps are 2 to 22 % of the pixels; filled with 2.047, 4 or
8.191 m they were found in all three real recordings, for the poses do not lead from one such wall to another. Readings
of that value are left out.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from geoguide.scene import View

GAPS = (1, 2, 4, 8, 16, 32, 64)  # frames between the two of a pair: overlap falls, and poses must explain more
STARTS = 6  # places in the recording from which pairs are taken: at most 6 * 8 depth images are read
ROWS = 120  # depth images are thinned to about this many rows
AGREE, THROUGH = 0.05, 1.1  # twice a depth camera's own error at 5 m, and as much again where it is not far off
SPEAKING = 0.1  # share of a frame's points with a verdict below which a pair says nothing
FEWEST = 4  # such pairs, both directions counted, below which nothing is said of the recording
BESIDE, ALONE = 0.1, 3  # of a fill, within which no value is more than a third as frequent: steps of a sensor are
REPEATED, FILLED = 0.02, 0.5  # share of a frame's pixels with one value, and of frames with so many: a fill
SAME = 0.002  # of the depth: a surface that has one depth in two frames lies there by the poses; files round to 0.001
MET = 0.9  # share of the pixels with one value whose poses lead from one frame to another: it is a surface


class Frame(NamedTuple):
    """One view, thinned: every `step`-th row and column of its images from `first` on."""

    depth: np.ndarray  # float64 [h, w], metres, 0 where there is no reading
    pixels: np.ndarray  # int64 [2, N], column and row of the pixels with a reading that are compared
    rays: np.ndarray  # float64 [3, N], per metre of depth
    readings: np.ndarray  # float64 [N]
    intrinsics: np.ndarray  # [3, 3] of the thinned image
    view: View
    first: int
    step: int

    @property
    def pose(self) -> np.ndarray:
        """Camera-to-world [4, 4]."""
        return self.view.cam_to_world


class Fill(NamedTuple):
    """A value that stands for no reading though it is none that means so.

    Attributes:
        depth: Metres, as it is read.
        share: Of all readings, those that have it.
        frames: In how many frames it repeats.
    """

    depth: float
    share: float
    frames: int


class Recording(NamedTuple):
    """The frames of a recording that are compared, by number, the pairs of them, and what fills the frames' gaps."""

    frames: dict[int, Frame]
    pairs: list[tuple[int, int]]
    fill: Fill | None = None
    views: Sequence[View] = ()  # all that have a pose and depth, by number

    @property
    def readings(self) -> np.ndarray:
        """All depth of all frames [N], metres."""
        return np.concatenate([frame.readings for frame in self.frames.values()] or [np.zeros(0)])

    @property
    def median_step(self) -> float:
        """Metres between the cameras of neighbouring frames."""
        near = [(i, j) for i, j in self.pairs if j - i == 1]
        eyes = [self.frames[i].pose[:3, 3] - self.frames[j].pose[:3, 3] for i, j in near]
        return float(np.median(np.linalg.norm(eyes, axis=1))) if eyes else 0.0


def read_recording(views: Sequence[View]) -> Recording:
    """Read the depth of the frames that are compared.

    Args:
        views: Views in the order of the recording, of which those with pose and depth image are used.

    Returns:
        At most 48 frames, and pairs of them; readings of a fill value are left out.

    Raises:
        DataError: A depth image is broken.
    """
    usable = [view for view in views if view.has_pose and view.pixel_files[1] is not None]
    starts = np.unique(np.linspace(0, max(len(usable) - 2, 0), STARTS).astype(int)).tolist()
    pairs = [(start, start + gap) for start in starts for gap in GAPS if start + gap < len(usable)]
    numbers = sorted({*(starts if usable else ()), *(number for pair in pairs for number in pair)})
    frames = {number: _frame(usable[number]) for number in numbers}
    fill = _fill_of(Recording(frames, pairs))
    if fill is not None:
        frames = {number: _without(frame, fill.depth) for number, frame in frames.items()}
    pairs = [(i, j) for i, j in pairs if len(frames[i].readings) and len(frames[j].readings)]
    return Recording(frames, pairs, fill, usable)


def frame_of(recording: Recording, number: int) -> Frame:
    """Take a frame of a recording, by number.

    Args:
        recording: What `read_recording` gives.
        number: Of its views.

    Returns:
        The frame, read now where it is none of those that are compared.

    Raises:
        DataError: Its depth image is broken.
    """
    if number in recording.frames:
        return recording.frames[number]
    frame = _frame(recording.views[number])
    return frame if recording.fill is None else _without(frame, recording.fill.depth)


def _frame(view: View) -> Frame:
    depth = view.depth()
    step = max(1, depth.shape[0] // ROWS)
    first = step // 2
    thin = depth[first::step, first::step].astype(np.float64)  # [h, w]
    intrinsics = np.array(view.intrinsics, dtype=np.float64)
    intrinsics[:2, 2] -= first
    intrinsics[:2] /= step
    row, col = np.nonzero(thin)
    odd = (row + col) % 2 == 0  # half of the pixels speak, all listen
    pixels, ones = np.stack([col[odd], row[odd]]), np.ones((1, odd.sum()))
    rays, readings = np.linalg.inv(intrinsics) @ np.vstack([pixels, ones]), thin[row[odd], col[odd]]
    return Frame(thin, pixels, rays, readings, intrinsics, view, first, step)


def _fill_of(recording: Recording) -> Fill | None:
    """The value that repeats in most frames, unless it is a surface."""
    often: Counter[float] = Counter()
    for frame in recording.frames.values():
        values, count = np.unique(frame.depth[frame.depth > 0], return_counts=True)
        often.update(values[count > REPEATED * frame.depth.size].tolist())
    value, frames = max(often.items(), key=lambda item: item[1], default=(0.0, 0))
    if frames < FEWEST or frames <= FILLED * len(recording.frames) or _is_surface(recording, value):
        return None
    values, count = np.unique(
        np.concatenate([frame.depth.ravel() for frame in recording.frames.values()]), return_counts=True
    )
    beside = (values != value) & (np.abs(values - value) <= BESIDE * value)
    if (count[beside] * ALONE > count[values == value]).any():
        return None  # a step of a sensor that measures in coarse ones
    return Fill(value, float((recording.readings == value).mean()), frames)


def _is_surface(recording: Recording, value: float) -> bool:
    """Whether frames that read a value at one place do so by the poses too: of flat ground without noise they do.

    A camera that never moves sees all there is to see again, so of its frames nothing is told.
    """
    near = [np.zeros(0, bool)]
    for i, j in recording.pairs:
        one, other = recording.frames[i], recording.frames[j]
        one = _where(one, one.readings == value)
        _, _, reading, z = seen_by(one, other, np.linalg.inv(other.pose) @ one.pose, 1.0)
        near.append(np.abs(z[reading == value] - value) <= SAME * value)
    met = np.concatenate(near)
    return len(met) > 0 and bool(met.mean() >= MET)


def _where(frame: Frame, kept: np.ndarray) -> Frame:
    """The frame with those of its N readings alone to speak, bool [N]."""
    return frame._replace(pixels=frame.pixels[:, kept], rays=frame.rays[:, kept], readings=frame.readings[kept])


def _without(frame: Frame, value: float) -> Frame:
    """The frame without the readings of one value."""
    return _where(frame, frame.readings != value)._replace(depth=np.where(frame.depth == value, 0, frame.depth))


def seen_by(one: Frame, other: Frame, motion: np.ndarray, stretch: float) -> tuple[np.ndarray, ...]:
    """Find where the points of one frame fall on readings of another.

    Args:
        one: The frame whose points are looked for.
        other: The frame that may see them.
        motion: From the camera of the one to that of the other [4, 4].
        stretch: What all depth is multiplied by.

    Returns:
        Of those that do the numbers [n], pixels [2, n] (column, row), readings and own depth [n] each.
    """
    local = motion[:3, :3] @ (one.rays * one.readings * stretch) + motion[:3, 3:]  # [3, N]
    number = np.flatnonzero(local[2] > 1e-3)
    local = local[:, number]
    col, row = np.rint((other.intrinsics @ local)[:2] / local[2]).clip(-1, 1 << 30).astype(np.int64)
    inside = (row >= 0) & (col >= 0) & (row < other.depth.shape[0]) & (col < other.depth.shape[1])
    number, pixel, z = number[inside], np.stack([col, row])[:, inside], local[2, inside]
    reading = other.depth[pixel[1], pixel[0]] * stretch
    seen = reading > 0
    return number[seen], pixel[:, seen], reading[seen], z[seen]


def same_points(recording: Recording, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the pixels of two frames that show the same points, by depth and poses.

    Args:
        recording: What `read_recording` gives.
        i: A frame's number there.
        j: Another's.

    Returns:
        Column and row of the n points in the images of frame i and of frame j, int64 [2, n] each.
    """
    one, other = recording.frames[i], recording.frames[j]
    number, pixel, reading, z = seen_by(one, other, np.linalg.inv(other.pose) @ one.pose, 1.0)
    near = np.abs(reading - z) <= AGREE * reading
    return one.first + one.step * one.pixels[:, number[near]], other.first + other.step * pixel[:, near]
