"""Does each frame of a recording follow on the one before, or does its path break?

Where tracking was lost and began anew, where two recordings were joined, or where a single pose is wrong, each part
agrees with itself, and hardly any of the pairs that `depth_agreement` compares leads from one to the other. So the
frames on both sides of the largest steps of the path are compared, place by place (`frame_places.places`). Of a
kitchen of 7-Scenes and a room of ScanNet, thinned to 40 and 30 frames, nothing is said as recorded, in reverse, in any
order, of every third frame, or with poses that scatter; where the second half is moved by 2 m, begins at the origin, or
is of another room, it is. A turn by 10 degrees is too little, and a room whose neighbours hardly overlap tells nothing.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from geoguide.datasets.frame_pairs import Frame, Recording, frame_of
from geoguide.datasets.frame_places import places

STEPS = 12  # the largest steps of a path that are looked at: at most so many pairs of depth images are read
FEWEST = 16  # frames; of fewer nothing is said
FAR, OFF = 0.03, 0.5  # of the depth, and share of the places of two neighbours that are off by more
QUIET = 0.15  # median of that share over all steps looked at, above which all poses scatter, or depth does
TOLD = 20  # places with a verdict, of fewer nothing is said
MANY = 4  # of all steps looked at, one in so many that break: then it is no matter of single steps
DENSE = 0.75  # share of the steps looked at whose frames overlap; where fewer do, nothing is said
LARGE = 4.0  # times the median step, from which on neighbours that do not overlap are spoken of


class Step(NamedTuple):
    """From frame number `number` of a recording to the next.

    Attributes:
        number: The frame's number.
        length: Metres that the camera moves.
        angle: Degrees that it turns.
    """

    number: int
    length: float
    angle: float


def step_doubts(recording: Recording) -> tuple[str, ...]:
    """Say where a path of the camera breaks.

    Args:
        recording: What `read_recording` gives; at most 24 further depth images are read.

    Returns:
        A sentence; none where each frame follows on the one before, or nothing can be told.

    Raises:
        DataError: A depth image is broken.
    """
    steps = _steps(recording)
    if len(steps) + 1 < FEWEST:
        return ()
    lengths, angles = np.array([step[1:] for step in steps]).T + 1e-6  # [K - 1] each
    size = np.maximum(lengths / np.median(lengths), angles / np.median(angles))
    chosen = {steps[row]: size[row] for row in np.argsort(-size, kind="stable")[:STEPS]}
    frame = functools.cache(functools.partial(frame_of, recording))  # of two steps in a row the middle one is read once
    off = {step: _off(frame, step.number) for step in chosen}
    overlapping = [share for share in off.values() if not np.isnan(share)]
    if len(overlapping) < DENSE * len(chosen) or np.median(overlapping) > QUIET:
        return ()
    wrong = sorted(step for step, share in off.items() if share > OFF)
    apart = sorted(step for step, share in off.items() if np.isnan(share) and chosen[step] > LARGE)
    broken = sorted([*wrong, *apart])
    if not broken or len(broken) > len(chosen) / MANY:
        return ()
    named = ", ".join(f"{recording.views[k].name} to {recording.views[k + 1].name}" for k, _, _ in broken)
    first, usual = broken[0], f"{np.median(lengths):.2f} m and {np.median(angles):.0f} degrees"
    moved = f"the camera moves by {first.length:.2f} m and {first.angle:.0f} degrees, else by {usual}"
    what = "depth of neighbours does not fit together" if wrong else "neighbours see nothing in common"
    return (f"{what}, frames {named} ({moved}): was tracking lost, or are two recordings joined?",)


def _steps(recording: Recording) -> list[Step]:
    """The steps, but for those of a camera that stood: where half of them are none, each other would be large."""
    poses = np.array([view.cam_to_world for view in recording.views]).reshape(-1, 4, 4)  # [K, 4, 4]
    lengths = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    turns = np.einsum("kij,kij->k", poses[1:, :3, :3], poses[:-1, :3, :3])  # trace of the rotation between the two
    angles = np.degrees(np.arccos(np.clip((turns - 1) / 2, -1, 1)))
    moved = np.flatnonzero((poses[1:] != poses[:-1]).any(axis=(1, 2)))
    return [Step(int(number), float(lengths[number]), float(angles[number])) for number in moved]


def _off(frame: Callable[[int], Frame], number: int) -> float:
    """Of the places of a frame and the next that get a verdict those that are off; nan where they do not overlap."""
    one, other = frame(number), frame(number + 1)
    speaking = [place.off for place in (places(one, other), places(other, one)) if place.speaks]
    if not speaking:
        return np.nan
    off = np.abs(np.concatenate(speaking))
    return float((off > FAR).mean()) if len(off) >= TOLD else 0.0
