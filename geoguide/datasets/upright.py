"""Which way is up: +z, or what the user says; a cloud that looks as if another axis pointed up is told so."""

import numpy as np

from geoguide.errors import InputError

AXES = dict(zip(("x", "y", "z", "-x", "-y", "-z"), (*np.eye(3), *-np.eye(3)), strict=True))  # each [3]
TURNS = {  # the smallest rotation that takes each to z: which column every new one is, and its sign
    "x": ((2, 1, 0), (-1, 1, 1)),
    "y": ((0, 2, 1), (1, -1, 1)),
    "z": ((0, 1, 2), (1, 1, 1)),
    "-x": ((2, 1, 0), (1, 1, -1)),
    "-y": ((0, 2, 1), (1, 1, -1)),
    "-z": ((0, 1, 2), (1, -1, -1)),
}
# A place is closed below, by its ground, and open above, where nobody scanned a ceiling. Of the cells of a 32nd of its
# length that it covers, seen along an axis, a share has a point in the first tenth of its extent, and another in the
# last tenth. First less last: along +z .49 to .84 of 20 rooms without a ceiling, real ones too, and -.20 to .00 of 4
# with one; along x and y -.45 to .48 of all. Of 206 rooms one is closed so at a side, which is longer than it is high:
# places are rather wide than high.
CELLS, END = 32, 0.1
OPEN, UNDECIDED = 0.5, 0.45
LEAST, PLACE = 500, 2.0  # points and metres: of less nothing is said
MOST = 200_000  # points that are looked at


def check_up(up: str) -> None:
    """Refuse what is no direction.

    Args:
        up: A key of `AXES`.

    Raises:
        InputError: It is none.
    """
    if up not in AXES:
        raise InputError(f"up must be one of {', '.join(AXES)}, found {up!r}")


def turned(rows: np.ndarray, up: str) -> np.ndarray:
    """Turn vectors so that a direction points along +z.

    Args:
        rows: Numbers [P, 3].
        up: A key of `AXES`.

    Returns:
        [P, 3], exactly the same numbers in another order, some with the other sign; integers as float64.
    """
    columns, signs = TURNS[up]
    kept = rows if rows.dtype.kind == "f" else rows.astype(np.float64)
    return kept[:, columns] * np.array(signs, kept.dtype)


def looks_up(points: np.ndarray, up: str = "z") -> str | None:
    """Guess by shape which direction points up, where it is not +z; of a large cloud some points are looked at.

    Args:
        points: [P, 3] metres.
        up: A key of `AXES`: which direction of the file was turned to +z.

    Returns:
        A key of `AXES`, of the file; None where +z is as likely, and where nothing can be said.
    """
    if len(points) < LEAST:
        return None
    points = np.asarray(points[:: -(-len(points) // MOST)], np.float64)
    low, high = np.percentile(points, (1, 99), axis=0)  # [3] each
    size = high - low
    if size.max() < PLACE or size.min() <= 0:
        return None
    inside = points[((points >= low) & (points <= high)).all(axis=1)]
    closed = np.array([_first_less_last(inside, low, size, axis) for axis in range(3)])  # [3]
    likely = [axis for axis in range(3) if abs(closed[axis]) >= OPEN and size[axis] <= size[2]]
    if closed[2] > UNDECIDED or not likely:
        return None
    axis = min(likely, key=lambda axis: size[axis])
    found = ("-" if closed[axis] < 0 else "") + "xyz"[axis]
    return next(name for name in AXES if np.array_equal(turned(AXES[name][None], up)[0], AXES[found]))


def up_as_read(points: np.ndarray, up: str = "z") -> tuple[str, ...]:
    """Say where a cloud looks as if another direction pointed up than was taken, by default or as the user gave it.

    Args:
        points: [P, 3] metres, turned so that it is +z.
        up: A key of `AXES`: which direction of the file it is.

    Returns:
        A sentence for `Scene.as_read`, or none.
    """
    looks = looks_up(points, up)
    if looks is None:
        return ()
    return (f"{up} is taken as up, but the cloud looks as if {looks} pointed up: labels mean little then; see --up",)


def _first_less_last(points: np.ndarray, low: np.ndarray, size: np.ndarray, axis: int) -> float:
    """How much more of a cloud's cells, seen along an axis, are closed at its first end than at its last."""
    others = [other for other in range(3) if other != axis]
    side = size[others].max() / CELLS
    cell = np.floor((points[:, others] - low[others]) / side).astype(np.int64) @ (2 * CELLS, 1)  # [P]
    along = (points[:, axis] - low[axis]) / size[axis]  # [P] in [0, 1]
    first, last = (len(np.unique(cell[end])) for end in (along <= END, along >= 1 - END))
    return (first - last) / len(np.unique(cell))
