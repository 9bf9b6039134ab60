"""Do the depth images of a recording agree with one another under its poses, intrinsics and depth unit?

A cloud that is fused from a recording agrees with that recording's poses whatever they are. What can tell wrong poses
from right ones is one frame's depth against another's: a point that frame i measures must not lie where frame j looks
through. Of the points of i that project into j at depth z, where j reads d,

    agree: |d - z| <= 0.05 d        seen through: d > 1.1 z        (nearer readings: j's view is blocked, no verdict)
    share = agree / (agree + seen through), pooled over pairs of frames near and far in time that overlap.

A pair of frames says something where at least a tenth of the points get a verdict. Measured on recordings of 7-Scenes
(a kitchen) and ScanNet (two rooms), whole and thinned to every 2nd to 4th frame, and on the same harmed:

| | share | refused |
|---|---|---|
| as recorded | 0.97 to 1.00 | 0 of 8 |
| world-to-camera, transposed rotations, other camera axes | 0.08 to 0.56 | 46 of 48 |
| poses shuffled, one pose for all frames, poses late by one frame | 0.10 to 0.63 | 23 of 24 |
| depth unit wrong by 4 to 10, poses in feet | 0.11 to 0.69 | 44 of 48 |
| focal length doubled | 0.20 to 0.72 | 14 of 16 |
| focal length wrong by a quarter | 0.53 to 0.92 | 3 of 16 |
| principal point off by a tenth of the width | 0.84 to 0.97 | 0 of 8 |
| distances along the rays instead of depth along the axis | 0.80 to 0.96 | 12 of 13, all that overlap enough |
| poses in mm or cm | no overlap | 14 of 16 |

Refusals are counted with `WRONG` for all; with `WRONG_OF_FEW`, where pairs are few, fewer recordings are refused.
Of the others it is said that nothing could be checked or that agreement is low; of small faults of intrinsics nothing.
A turned or moved world changes nothing. Distances (renderers write either) agree like slightly wrong poses; they are
told by what taking them for distances does: it brings them to 0.96 and more, and right recordings down to 0.75 to 0.91.

What the table leaves is asked of places, see `frame_places`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from geoguide.datasets.frame_pairs import AGREE, FEWEST, SPEAKING, THROUGH, Frame, Recording, read_recording, seen_by
from geoguide.datasets.frame_places import of_places, roughness, small_fault
from geoguide.datasets.units import METRES
from geoguide.errors import DataError
from geoguide.scene import View

WRONG, DOUBTFUL = 0.75, 0.9  # shares; see the table above
# With fewer pairs than ENOUGH the share scatters more. Of some 1,000 draws of 2 to 8 frames from the recordings of the
# table (random, or runs of neighbours; about half overlap enough for a verdict) the right poses gave 0.73 and more with
# few pairs, 0.83 and more with enough. The lower limit was chosen on these draws, and costs detection where pairs are
# few: permuted poses are refused in 86 of 100 draws instead of 89, translations 1.5 times too long in 39 instead of 76.
ENOUGH, WRONG_OF_FEW = 8, 0.6
ODD = 0.5  # share of a single frame; with one wrong pose among 8 to 40 the right frames keep 0.6, mostly 0.9
# A wrong pose mostly looks to where no other frame looks. A frame that none confirms is named where this share of the
# other frames' pairs overlap: in 3 of 180 draws of 3 to 20 right frames from the recordings of the table, of 225 draws
# with one pose harmed (inverted, 3 m off, transposed, identity, other axes) in 105, beside 27 that are contradicted.
DENSE = 0.6
CLEAR = 0.95  # share above which another reading of the files is named as the likely one
UNHARMED = 0.985  # share above which depth is not asked whether it is distances; those reach 0.96
UNUSABLE = 0.98  # share of readings beyond the limit
NEAR = 0.8  # metres of median depth, below which depth without overlap looks like another unit; rooms have 1.7 to 2.1
USUAL_DEPTH = 0.2  # metres; depth cameras begin to see here
FAR_STEP = 5.0  # median depths between neighbouring cameras, above which poses look like another unit of length
Move = Callable[[np.ndarray], np.ndarray]  # of a pose [4, 4]


def _transposed(pose: np.ndarray) -> np.ndarray:
    """The pose with its rotation transposed and its translation kept."""
    turned = pose.copy()
    turned[:3, :3] = pose[:3, :3].T
    return turned


def _reordered(order: list[int]) -> Move:
    """Brings rotations whose quaternions were read in another order to what they were; `order` of x y z w as read."""

    def move(pose: np.ndarray) -> np.ndarray:
        from scipy.spatial.transform import Rotation  # slow to import, and only asked where something is wrong

        turned = pose.copy()
        turned[:3, :3] = Rotation.from_quat(Rotation.from_matrix(pose[:3, :3]).as_quat()[order]).as_matrix()
        return turned

    return move


_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenGL's camera: x right, y up, z back
_LEFT = np.diag([-1.0, -1.0, 1.0, 1.0])  # PyTorch3D's camera
_ROBOT = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # to x forward, y left, z up
CONVENTIONS: dict[str, Move] = {
    "the poses look like world-to-camera, expected camera-to-world: invert them": np.linalg.inv,
    "the rotations look transposed, expected camera-to-world": _transposed,
    "the camera axes look like OpenGL's (y up, z back), expected x right, y down, z forward": lambda pose: pose @ _FLIP,
    "the poses look like world-to-camera with OpenGL's axes (y up, z back), expected camera-to-world with x right, y "
    "down, z forward": lambda pose: np.linalg.inv(pose) @ _FLIP,
    "the camera axes look like PyTorch3D's (x left, y up), expected x right, y down, z forward": lambda pose: (
        pose @ _LEFT
    ),
    "the camera axes look like x forward, y left, z up, expected x right, y down, z forward": lambda pose: (
        pose @ _ROBOT
    ),
    "the rotations look like quaternions x y z w that were read as w x y z": _reordered([3, 0, 1, 2]),
    "the rotations look like quaternions w x y z that were read as x y z w": _reordered([1, 2, 3, 0]),
}
DEPTH_SCALES = (100.0, 256.0, 1000.0, 4000.0, 5000.0, 6553.5, 10000.0)  # cm, KITTI, mm, Matterport3D, TUM, Replica
_OR_UNIT = " (or --unit, where it is the poses that are not in metres)"
_ANY_CAUSE = (
    "expected camera-to-world poses in metres with camera axes x right, y down, z forward, in the order of the frames, "
    "and the depth images' intrinsics and unit (see --depth-scale and --unit)"
)


class Agreement(NamedTuple):
    """How well depth images agree.

    Attributes:
        pairs: Pairs of frames that overlap, both directions counted.
        tried: Pairs of frames that were compared.
        share: Of the points that get a verdict, those that the other frame confirms; nan without any.
    """

    pairs: int
    tried: int
    share: float

    @property
    def known(self) -> bool:
        """Whether enough frames overlap for a verdict."""
        return self.pairs >= FEWEST

    @property
    def contradicted(self) -> bool:
        """Whether there is a verdict, and a bad one."""
        return self.known and self.share < (WRONG if self.pairs >= ENOUGH else WRONG_OF_FEW)

    @property
    def confirmed(self) -> bool:
        """Whether there is a verdict, and a good one."""
        return self.known and self.share >= DOUBTFUL


def depth_agreement(views: Sequence[View]) -> Agreement:
    """Measure how well the depth images of a recording agree with one another.

    At most 48 depth images are read; cost does not grow with the recording.

    Args:
        views: Views in the order of the recording, of which those with pose and depth image are used.

    Returns:
        The agreement.

    Raises:
        DataError: A depth image is broken.
    """
    return _agreement(read_recording(views))


def check_depth(
    views: Sequence[View],
    where: str,
    max_depth: float,
    doubt: DataError | None = None,
    recording: Recording | None = None,
) -> tuple[str, ...]:
    """Refuse a recording whose depth images contradict one another; say what else is unusual about its depth.

    Args:
        views: The views, in the order of the recording.
        where: The file or folder of the recording, for the message.
        max_depth: Metres beyond which readings are not used.
        doubt: What speaks against the intrinsics: raised unless the frames clearly agree.
        recording: What `read_recording` gives for these views, where it has been read.

    Returns:
        Sentences for `Scene.as_read`; none where the frames agree and nothing is unusual.

    Raises:
        DataError: They contradict one another (the message says which other reading of poses or depth agrees, where
            one does), nearly all readings lie beyond `max_depth`, or a depth image is broken.
    """
    if not views:
        return ()
    recording = recording or read_recording(views)
    found = _agreement(recording)
    if doubt is not None and not (found.known and found.share >= CLEAR):
        raise doubt
    _check_distances(recording, found, where)
    said = _odd_frames(recording)
    by_places = of_places(recording)
    if found.confirmed:
        said = roughness(by_places, small_fault(recording, by_places)) + said
        return said + _depth_as_read(recording.readings, views[0].depth_scale, where, max_depth)
    cause = _likely_cause(recording, found, views[0].depth_scale) if recording.pairs else None
    noisy = found.known and cause is None and by_places.share >= DOUBTFUL
    if cause is not None or (found.contradicted and not noisy):
        raise DataError(f"{where}: {_contradiction(found)}; {cause or '; '.join((*said, _ANY_CAUSE))}")
    if found.known:
        fault = small_fault(recording, by_places)
        sentence = f"the frames' depth agrees by {found.share:.2f} only (usual: 0.97 and more): "
        if fault is None and by_places.share >= CLEAR:
            sentence += f"by {by_places.share:.2f} of its places' medians, so that readings are noisy, or fly at edges"
        else:
            sentence += "poses, intrinsics or depth unit may be slightly wrong"
        said = (roughness(by_places, fault) if fault else ()) + said
    else:
        overlap = f"{found.pairs} of {found.tried} pairs of frames overlap, {FEWEST} are needed"
        sentence = f"whether poses, intrinsics and depth fit together could not be checked: {overlap}"
    return (sentence, *said, *_depth_as_read(recording.readings, views[0].depth_scale, where, max_depth))


def _check_distances(recording: Recording, found: Agreement, where: str) -> None:
    """`DataError` where the frames clearly agree if what they hold are distances along the pixels' rays."""
    if not found.known or found.share >= UNHARMED:
        return
    other = _agreement(Recording({n: _along_axis(frame) for n, frame in recording.frames.items()}, recording.pairs))
    if other.known and other.share >= max(CLEAR, found.share):
        agree = f"the frames' depth agrees by {found.share:.2f} only, by {other.share:.2f} if it is taken for distances"
        raise DataError(f"{where}: {agree} from the camera along each pixel's ray: expected depth along the camera's "
                        "axis, divide each distance by the length of K^-1 (column, row, 1)")  # fmt: skip


def _along_axis(frame: Frame) -> Frame:
    """The frame with its distances turned into depth."""
    row, col = np.indices(frame.depth.shape)
    rays = np.linalg.inv(frame.intrinsics) @ np.stack([col, row, np.ones_like(row)]).reshape(3, -1)
    lengths = np.linalg.norm(rays, axis=0).reshape(frame.depth.shape)  # [h, w]
    return frame._replace(depth=frame.depth / lengths, readings=frame.readings / np.linalg.norm(frame.rays, axis=0))


def _depth_as_read(readings: np.ndarray, scale: float, where: str, max_depth: float) -> tuple[str, ...]:
    """A sentence where readings [N] are unusual for a depth camera; `DataError` where hardly any would be used."""
    if not len(readings):
        return ()
    median, beyond = float(np.median(readings)), float((readings > max_depth).mean())
    unit = f"the median depth is {median:.3g} m at {scale:g} units a metre"
    found = f"{unit}, and {100 * beyond:.0f} % of the readings lie beyond {max_depth:g} m"
    hint = "is that unit right? Give --depth-scale (1000 is mm, 5000 TUM's, 256 KITTI's), --unit for poses not in m, "
    hint += "and --max-depth for large places"
    if beyond > UNUSABLE:
        raise DataError(f"{where}: {found}, where they are not used; {hint}")
    return () if median >= USUAL_DEPTH and beyond <= 0.5 else (f"{found}; {hint}",)


def _contradiction(found: Agreement) -> str:
    if not found.known:
        return f"under these poses hardly any frames overlap ({found.pairs} of {found.tried} pairs)"
    contradicted = f"{100 * (1 - found.share):.0f} % of what frames measure is seen through by other frames"
    return f"the frames' depth contradicts their poses: {contradicted} (usual: 3 %)"


def _agreement(recording: Recording, move: Move | None = None, stretch: float = 1.0) -> Agreement:
    """The agreement, with every pose moved by `move` and all depth multiplied by `stretch`."""
    table = _table(recording, move or _same, stretch)
    speaking = table[_speaks(table)]
    return Agreement(len(speaking), len(table), float(_share(speaking)))


def _speaks(table: np.ndarray) -> np.ndarray:
    return table[:, 1:].sum(axis=1) >= SPEAKING * table[:, 0]


def _share(table: np.ndarray) -> float:
    """Of all verdicts in a table [n, 3] those that agree; nan without any."""
    agree, through = table[:, 1:].sum(axis=0)
    return agree / (agree + through) if agree + through else np.nan


def _odd_frames(recording: Recording) -> tuple[str, ...]:
    """Sentences on single frames of those that were read.

    One names those whose depth contradicts that of two others or more, one those whose depth no other frame confirms.
    """
    table = _table(recording, _same, 1.0)
    pair = np.repeat(np.array(recording.pairs).reshape(-1, 2), 2, axis=0)  # [2 pairs, 2]
    speaks, agree, through = _speaks(table), table[:, 1], table[:, 2]
    confirms = speaks & (agree >= ODD * (agree + through))
    of_frame = {number: (pair == number).any(axis=1) for number in recording.frames}
    told = {number: rows & speaks for number, rows in of_frame.items() if (rows & speaks).sum() > 2}
    odd = [number for number, rows in told.items() if _share(table[rows]) < ODD]
    lone = [n for n, rows in of_frame.items() if n not in odd and rows.sum() > 2 and not confirms[rows].any()]
    said = ()
    if 0 < len(odd) <= len(told) / 4:  # else it is no matter of single frames
        said += (f"depth of frames {_named(recording, odd)} contradicts that of the others: are their poses wrong?",)
    others = ~np.isin(pair, lone).any(axis=1)
    if 0 < len(lone) <= len(of_frame) / 4 and others.any() and speaks[others].mean() >= DENSE:
        said += (f"no other frame confirms the depth of frames {_named(recording, lone)}: are their poses wrong?",)
    return said


def _named(recording: Recording, numbers: Sequence[int]) -> str:
    return ", ".join(recording.frames[number].view.name for number in numbers)


def _table(recording: Recording, move: Move, stretch: float) -> np.ndarray:
    """Points, points that agree and that are seen through, of each pair in either direction: [2 pairs, 3]."""
    counts = []
    for i, j in recording.pairs:
        for one, other in ((i, j), (j, i)):
            one, other = recording.frames[one], recording.frames[other]
            counts.append(_compare(one, other, np.linalg.inv(move(other.pose)) @ move(one.pose), stretch))
    return np.array(counts, dtype=np.float64).reshape(-1, 3)


def _compare(one: Frame, other: Frame, motion: np.ndarray, stretch: float) -> tuple[int, int, int]:
    """How many points one frame has, how many the other confirms, and how many it sees through."""
    _, _, reading, z = seen_by(one, other, motion, stretch)
    agree, through = np.abs(reading - z) <= AGREE * reading, reading > THROUGH * z
    return len(one.readings), int(agree.sum()), int(through.sum())


def _likely_cause(recording: Recording, found: Agreement, depth_scale: float) -> str | None:
    """The other reading of the files under which the frames agree best, where they clearly do under any."""
    need = (
        FEWEST if found.contradicted else max(FEWEST, found.tried / 6)
    )  # a recording that is right may overlap as little as that
    best, cause = CLEAR, None
    for text, move, stretch in _other_readings(recording, found, depth_scale):
        other = _agreement(recording, move, stretch)
        if other.pairs >= need and other.share >= best:
            best, cause = other.share, text
    return cause


def _other_readings(recording: Recording, found: Agreement, depth_scale: float) -> list[tuple[str, Move, float]]:
    """What the files may mean instead: a sentence, what it does to a pose, and the factor of all depth."""
    readings = [(text, move, 1.0) for text, move in CONVENTIONS.items()]
    # Without overlap a smaller world always gives some, also to flat ground that is seen piece by piece.
    if found.known or recording.median_step > FAR_STEP * np.median(recording.readings):
        readings += [(f"the poses look like {unit}, expected m: try --unit {unit}", _scaled(metres), 1.0)
                     for unit, metres in METRES.items() if unit != "m"]  # fmt: skip
    if found.known or np.median(recording.readings) < NEAR:
        for scale in DEPTH_SCALES:
            text = f"the depth looks like {scale:g} units a metre, not {depth_scale:g}: try --depth-scale {scale:g}"
            readings.append((text + _OR_UNIT, _same, depth_scale / scale))
    return readings


def _same(pose: np.ndarray) -> np.ndarray:
    return pose


def _scaled(metres: float) -> Move:
    """Brings poses whose translations count so many metres to metres."""
    factors = np.ones((4, 4))
    factors[:3, 3] = metres
    return lambda pose: pose * factors
