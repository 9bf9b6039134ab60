"""Single points or cameras far from all others, by name: what surrounds everything is too large to compute."""

from collections.abc import Callable

import numpy as np

# Times the median distance from the middle, beyond which a position is a stray. The farthest points of rooms lie at 1.4
# to 2.7 times it, of single objects at 3.9, of LiDAR frames at 16.
STRAY = 30.0
LEAST = 1.0  # metres of that distance: cameras that turn on the spot have none
FARTHEST = 1000.0  # metres: a stray beyond is refused. Sonata's grid ends at 1,310 m, and takes the others' room
NAMED = 3
SHARE, GAP, REACH = 0.001, 1.0, 0.25  # see `apart_rows`: of the positions; metres; of the others' own extent


def stray_rows(positions: np.ndarray) -> np.ndarray:
    """Find positions that lie far from all others.

    Args:
        positions: [N, 3] metres.

    Returns:
        Their rows, int64 [n], the farthest first; none of fewer than three.
    """
    if len(positions) < 3:
        return np.zeros(0, np.int64)
    distance = distances(positions)
    rows = np.flatnonzero(distance > STRAY * max(float(np.median(distance)), LEAST))
    return rows[np.argsort(-distance[rows], kind="stable")]


def apart_rows(positions: np.ndarray) -> np.ndarray:
    """Find strays, and the few positions that a gap divides from all others, such as echoes from beneath the ground.

    They need not be far away to do harm: the lowest and the outermost positions say where a scan stands. A gap is at
    least `GAP` wide, and `REACH` of what the others measure along its axis; at most `SHARE` of the positions, one at
    least, lie beyond. Above a scan nothing is looked for.

    Args:
        positions: [N, 3] metres.

    Returns:
        Their rows, int64 [n], the farthest first; only `stray_rows` of fewer than a hundred.
    """
    count, few = len(positions), max(1, int(SHARE * len(positions)))
    if count < 100:
        return stray_rows(positions)
    apart = np.isin(np.arange(count), stray_rows(positions))
    low, high = np.percentile(positions[~apart].astype(np.float64), (1, 99), axis=0)  # [3] each
    gap = np.maximum(GAP, REACH * (high - low))
    for axis, sign in ((0, -1), (0, 1), (1, -1), (1, 1), (2, -1)):
        along = np.where(apart, -np.inf, sign * positions[:, axis].astype(np.float64))
        outer = np.argpartition(along, count - few - 1)[count - few - 1 :]
        outer = outer[np.argsort(along[outer])]  # [few + 1], the outermost last
        wide = np.flatnonzero(np.diff(along[outer]) >= gap[axis])
        apart[outer[wide[0] + 1 :] if len(wide) else []] = True
    rows = np.flatnonzero(apart)
    return rows[np.argsort(-distances(positions)[rows], kind="stable")]


def distances(positions: np.ndarray) -> np.ndarray:
    """How far positions lie from their middle, which strays do not move.

    Args:
        positions: [N, 3] metres.

    Returns:
        Metres, float64 [N].
    """
    positions = np.asarray(positions, np.float64)
    with np.errstate(over="ignore"):
        return np.linalg.norm(positions - np.median(positions, axis=0), axis=1)


def named_rows(rows: np.ndarray, places: np.ndarray, name: Callable[[int], str]) -> str:
    """Name strays and where they lie.

    Args:
        rows: int [n].
        places: [N, 3], coordinates as the user knows them.
        name: What a row is called.

    Returns:
        Such as "point 17 at (1000000, 0, 1.5)", of the first few.
    """
    shown = [f"{name(row)} at ({', '.join(f'{value:.7g}' for value in places[row])})" for row in rows[:NAMED]]
    return ", ".join(shown) + (f" and {len(rows) - NAMED} more" if len(rows) > NAMED else "")
