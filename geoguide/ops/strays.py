"""Single points or cameras far from all others, by name: what surrounds everything is too large to compute."""

from collections.abc import Callable

import numpy as np

# Times the median distance from the middle, beyond which a position is a stray. The farthest points of rooms lie at 1.4
# to 2.7 times it, of single objects at 3.9, of LiDAR frames at 16.
STRAY = 30.0
LEAST = 1.0  # metres of that distance: cameras that turn on the spot have none
FARTHEST = 1000.0  # metres: a stray beyond is refused. Sonata's grid ends at 1,310 m, and takes the others' room
NAMED = 3


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
