"""What the places of a frame say of another frame's depth: which small faults of a recording show.

Places are cells of 10 x 10 pixels of a thinned image, asked by the median of their differences. Flying pixels and noise
of single readings vanish there, wrong poses do not: with a fifth of the readings anywhere, or 5 % of noise, 0.77 to
0.85 of the pixels of the recordings of `depth_agreement` agree and 0.95 to 1.00 of the places; where something is
wrong, as many places as pixels. And small faults show: 0.03 to 0.13 of the places that agree are off by more than 2 %
of the depth as recorded, 0.2 to 0.6 with poses that scatter by 5 cm, are a quarter of a frame late or tilted by 5 to 10
degrees, with depth or path longer by a tenth, a focal length off by a tenth, depth images moved by 20 of 640 pixels.
"""

from typing import NamedTuple

import numpy as np

from geoguide.datasets.frame_pairs import AGREE, SPEAKING, THROUGH, Frame, Recording, seen_by

CELLS = (12, 16)  # places of a frame, down and across
TOLD, FINE = 8, 0.02  # points of a place, of fewer nothing is said; of the depth, by which places are off (see above)
ROUGH = 0.35  # share of places that are off by more, above which it is said
# Above SMOOTH it is asked whether one of SMALL_FAULTS brings it down to MENDED of what it is; where nothing is wrong
# none does.
SMOOTH, MENDED = 0.12, 0.6
MANY = 300  # places, of fewer nothing is said; in 20 or more frames of the recordings there are 500 to 5,000
# What depth and focal length are multiplied by, and by which shares of the image its principal point is moved.
SMALL_FAULTS: dict[str, tuple[float, float, float, float]] = {
    **{f"depth is multiplied by {factor:g}, or the path divided by it": (factor, 1.0, 0.0, 0.0)
       for factor in (0.75, 0.8, 0.85, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3)},
    **{f"the focal length is multiplied by {factor:g}": (1.0, factor, 0.0, 0.0) for factor in (0.8, 0.9, 1.1, 1.25)},
    **{f"the principal point lies {100 * abs(by):g} % of the width further to the {side}": (1.0, 1.0, by, 0.0)
       for by, side in ((-0.06, "left"), (0.06, "right"))},
    **{f"the principal point lies {100 * abs(by):g} % of the height further {side}": (1.0, 1.0, 0.0, by)
       for by, side in ((-0.06, "up"), (0.06, "down"))},
}  # fmt: skip


class Places(NamedTuple):
    """What the places of one frame, cells of its image, say of another's points.

    Attributes:
        speaks: Whether enough of the points get a verdict.
        off: By how much of the depth the points lie before it, the median of each place that gets a verdict [n].
    """

    speaks: bool
    off: np.ndarray


class OfPlaces(NamedTuple):
    """What all places of all pairs of frames that overlap say.

    Attributes:
        told: How many get a verdict.
        share: Those of them that agree; nan without any.
        rough: Of these those that are off by more than `FINE` nevertheless; nan likewise.
    """

    told: int
    share: float
    rough: float


def of_places(recording: Recording) -> OfPlaces:
    """Compare the places of all frames that are compared.

    Args:
        recording: What `read_recording` gives.

    Returns:
        What they say.
    """
    found = [places(recording.frames[one], recording.frames[other])
             for i, j in recording.pairs for one, other in ((i, j), (j, i))]  # fmt: skip
    off = np.abs(np.concatenate([np.zeros(0), *(place.off for place in found if place.speaks)]))
    near = off <= AGREE
    share, rough = (near.mean(), (off[near] > FINE).mean()) if near.any() else (np.nan, np.nan)
    return OfPlaces(len(off), float(share), float(rough))


def places(one: Frame, other: Frame) -> Places:
    """Compare the points of one frame with the places of another.

    Args:
        one: The frame whose points are looked for.
        other: The frame that may see them.

    Returns:
        What its places say.
    """
    _, pixel, reading, z = seen_by(one, other, np.linalg.inv(other.pose) @ one.pose, 1.0)
    off = (reading - z) / reading  # [n]
    verdict = np.abs(off) <= AGREE
    verdict |= reading > THROUGH * z
    (rows, columns), (height, width) = CELLS, other.depth.shape
    cell = columns * (rows * pixel[1] // height) + columns * pixel[0] // width  # [n]
    order = np.lexsort((off, cell))
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    count = np.diff(starts, append=len(cell))
    told = count >= TOLD
    median = off[order][starts[told] + count[told] // 2]  # of each place
    told = (np.abs(median) <= AGREE) | (median > 1 - 1 / THROUGH)
    return Places(bool(verdict.sum() >= SPEAKING * len(one.readings)), median[told])


def small_fault(recording: Recording, found: OfPlaces) -> tuple[str, float] | None:
    """Find the small fault of depth or intrinsics without which far fewer places would be rough.

    Args:
        recording: What `read_recording` gives.
        found: What `of_places` gives for it.

    Returns:
        What mends it, and how many places would be rough then; None where nothing does, or few are.
    """
    if not found.rough > SMOOTH or found.told < MANY:
        return None
    read = {text: of_places(_read_as(recording, change)) for text, change in SMALL_FAULTS.items()}
    rough = {text: other.rough for text, other in read.items() if 2 * other.told > found.told}
    text, least = min(rough.items(), key=lambda item: item[1], default=("", np.inf))
    return (text, least) if least < MENDED * found.rough else None


def roughness(found: OfPlaces, fault: tuple[str, float] | None) -> tuple[str, ...]:
    """Say where many of the places that agree are off nevertheless, or fewer would be without a fault.

    Args:
        found: What `of_places` gives.
        fault: What `small_fault` gives.

    Returns:
        A sentence, or none.
    """
    said = f"the frames' depth agrees roughly: {100 * found.rough:.0f} % of the places are off by more than "
    said += f"{100 * FINE:g} % of the depth"
    if fault is not None:
        return (f"{said}, {100 * fault[1]:.0f} % if {fault[0]}: is that right?",)
    if found.told < MANY or not found.rough > ROUGH:
        return ()
    return (f"{said} (usual: 3 to 13 %): poses, intrinsics or depth may be slightly wrong, and surfaces blurred",)


def _read_as(recording: Recording, change: tuple[float, float, float, float]) -> Recording:
    """The recording with depth and focal length multiplied, and its principal point moved by shares of the image."""
    depth, focal, right, down = change
    frames = {}
    for number, frame in recording.frames.items():
        camera, (height, width) = frame.intrinsics.copy(), frame.depth.shape
        camera[[0, 1], [0, 1]] *= focal
        camera[:2, 2] += right * width, down * height
        rays = np.linalg.inv(camera) @ np.vstack([frame.pixels, np.ones((1, len(frame.readings)))])
        frames[number] = frame._replace(
            depth=depth * frame.depth, readings=depth * frame.readings, intrinsics=camera, rays=rays
        )
    return recording._replace(frames=frames)
