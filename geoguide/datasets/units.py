"""The unit of a cloud's coordinates: metres, or what the user says; a cloud that cannot be in metres is refused."""

from pathlib import Path

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.errors import DataError, InputError
from geoguide.ops.neighbors import nearest_points

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0, "ft": 0.3048, "in": 0.0254}
# What scans measure, without the outermost 1 % of the points on each side (length of the longest side, height, and
# distance to the nearest other point in the middle): rooms of ScanNet 5.4..8.3 m, 1.1..2.7 m, 13..35 mm; generated
# rooms and houses 2.8..5.0 m, 2.5..2.8 m, 28..50 mm; a real nuScenes frame 89 m, 9.3 m, 45 mm; generated ones 84..90 m,
# 6.4..8.6 m, 103..117 mm. The limits lie beyond all of these by a factor of 4 at least: a building or a street passes.
SMALLEST = 0.05  # m, length below which a cloud of `FEW` points is refused
TALLEST = 100.0  # m, height
SMALL, DENSEST = 0.5, 0.0002  # m: so small a thing, if its points lie denser than any hand-held scanner's
LARGE, SPARSEST = 60.0, 0.5  # m: so large a place, if its points lie so far apart that no object has any shape
FEW, MANY = 100, 500  # points: a handful says nothing of its size; of fewer than MANY the spacing says nothing
SAMPLE = 2000  # points whose nearest neighbour is looked for
TYPICAL = (6.0, 0.03)  # m, length and spacing of a scanned room: the likely unit comes nearest to both


def in_metres(points: np.ndarray, unit: str | None = None) -> np.ndarray:
    """Bring coordinates to metres.

    Args:
        points: [P, 3] in `unit`, P > 0, finite.
        unit: A key of `METRES`; None for metres, which the cloud's size must then allow.

    Returns:
        The coordinates, float64; `points` itself where they are in metres already.

    Raises:
        InputError: An unknown unit; or none is given, and the cloud is too large, small, sparse or dense for metres.

    Example:
        >>> in_metres(np.array([[1500, 0, 250]]), "mm").tolist()
        [[1.5, 0.0, 0.25]]
    """
    check_unit(unit)
    if unit is None:
        _check_metres(points)
    return points if unit in (None, "m") else points.astype(np.float64) * METRES[unit]


def need_metres(points: np.ndarray, path: Path) -> None:
    """Refuse the points of a dataset whose unit is stated, but whose size does not allow it.

    Args:
        points: [P, 3], P > 0, finite.
        path: The file, for the message.

    Raises:
        DataError: They cannot be in metres.
    """
    try:
        in_metres(points)
    except InputError as error:
        raise DataError(f"{path}: {str(error).split('; give the unit')[0]}; this dataset is in metres") from None


def check_unit(unit: str | None) -> None:
    """Refuse an unknown unit.

    Args:
        unit: A key of `METRES`, or None.

    Raises:
        InputError: It is neither.
    """
    if unit is not None and not (isinstance(unit, str) and unit in METRES):
        raise InputError(f"unit must be one of {', '.join(METRES)}, found {unit!r}")


def _check_metres(points: np.ndarray) -> None:
    """Refuse a cloud that cannot be in metres. O(P log P) for the spacing, which is measured only if size asks for it.

    Feet cannot be told from metres: a room of 12 feet is a hall of 12 metres.
    """
    low, high = np.percentile(np.asarray(points, np.float64), (1, 99), axis=0)  # [3] each
    size = high - low
    if len(points) >= FEW and not size.any() and not np.ptp(points, axis=0).any():
        raise InputError(f"all {len(points)} points lie at one place")
    if SMALL <= size.max() <= LARGE or len(points) < FEW:
        return
    spacing = _spacing(points) if len(points) >= MANY else None
    wrong = size.max() < SMALLEST or size[2] > TALLEST
    if spacing is not None:
        wrong |= (size.max() < SMALL and spacing < DENSEST) or (size.max() > LARGE and spacing > SPARSEST)
    if wrong:
        likely = _likely_unit(size.max(), spacing)
        found = _measures(size, spacing, 1.0)
        raise InputError(
            f"coordinates do not look like metres: {found}; in {likely}, {_measures(size, spacing, METRES[likely])}; "
            f"give the unit: --unit {likely} (or {', '.join(unit for unit in METRES if unit not in (likely, 'm'))}; "
            "--unit m takes them as metres)"
        )


def _spacing(points: np.ndarray) -> float:
    """The median distance from a point to the nearest other place; points at one place count once."""
    points = np.asarray(points, np.float64)
    along = points @ (1.0, np.sqrt(2.0), np.sqrt(3.0))  # [P], different for different places but by odd chance
    places = points[np.unique(along, return_index=True)[1]]
    sample = places[np.linspace(0, len(places) - 1, min(SAMPLE, len(places))).astype(np.int64)]
    distance, _ = nearest_points(KDTree(places), sample, 2)  # the place itself first
    return float(np.median(distance[:, -1]))


def _likely_unit(length: float, spacing: float | None) -> str:
    """The unit in which length and spacing come nearest to a room's; a factor too much is as bad as one too little."""
    found = np.array([length] if spacing is None else [length, spacing])
    found = np.maximum(found, np.finfo(np.float64).tiny)
    others = [unit for unit in METRES if unit != "m"]
    misfit = [np.abs(np.log(found * METRES[unit] / TYPICAL[: len(found)])).sum() for unit in others]
    return others[int(np.argmin(misfit))]


def _measures(size: np.ndarray, spacing: float | None, metres: float) -> str:
    """Size [3] and spacing times `metres`, in words."""
    box = " x ".join(f"{side * metres:.3f}".rstrip("0").rstrip(".") for side in size) + " m"
    return box if spacing is None else f"{box} with points {spacing * metres:.3g} m apart"
