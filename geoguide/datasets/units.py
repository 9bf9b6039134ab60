"""The unit of a cloud's coordinates: metres, or what the user says; a cloud that cannot be in metres is refused."""

import math
from pathlib import Path

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.datasets.upright import looks_up
from geoguide.errors import DataError, InputError
from geoguide.ops.arrays import spread
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
THIN = 0.001  # of the length: what is no wider along both other axes is a line
SAMPLE = 2000  # points whose nearest neighbour is looked for
TYPICAL = (6.0, 0.03)  # m, length and spacing of a scanned room: the likely unit comes nearest to both
# One object, scanned dense and written in cm, is as large as a hall in metres. What tells it is that it stands on no
# ground: of the cells of a 32nd of its length that it covers, seen from above, few have a point in the lowest tenth of
# its height. Rooms 0.61..0.97 (real ones laid on their side 0.69 and more), streets 0.45..0.78; chairs, beds, shelves,
# tables and sofas cut out of the same scans 0.02..0.45. Asked only of what is taller than any room (2.8 m) and not flat
# as a street is (height 0.1 of the length; rooms 0.21..0.97, objects 0.3..3.9). Sloping ground is followed: it
# gives above 0.9 then, not 0.1; of 119 objects of two real and twelve generated rooms 116 stay below 0.5.
TALL, COMPACT, GROUND = 4.0, 0.25, 0.5
SLOPE = 0.2  # height by length of the plane through each cell's lowest point, below which ground is level
OBJECT = (0.4, 0.001)  # m, length and spacing of an object as hand-held scanners see it
WIDE, COARSE = 10.0, 0.12  # m: no room is so long; points farther apart than in any of these scans leave no objects
# A survey from the air: 1 to 4 points a square metre, wide and flat, and a surface without walls: of three scanned
# and twenty generated rooms .38 to 1 of the points stand in columns that rise through 0.3 of the height, of hills none.
AERIAL, FLAT, UPRIGHT = (0.2, 5.0), 0.3, 0.1


def in_metres(points: np.ndarray, unit: str | None = None) -> np.ndarray:
    """Bring coordinates to metres.

    Args:
        points: [P, 3] in `unit`.
        unit: A key of `METRES`; None for metres.

    Returns:
        The coordinates, float64, or `points` itself where they are in metres already.

    Raises:
        InputError: An unknown unit.

    Example:
        >>> in_metres(np.array([[1500, 0, 250]]), "mm").tolist()
        [[1.5, 0.0, 0.25]]
    """
    check_unit(unit)
    return points if unit in (None, "m") else points.astype(np.float64) * METRES[unit]


def unit_of(metres: float | None) -> str | None:
    """Name a unit by its length.

    Args:
        metres: How many metres it is; a foot may be that of the US survey, which is longer by two millionths.

    Returns:
        A key of `METRES`; None for None and for any other length.

    Example:
        >>> unit_of(1200 / 3937), unit_of(0.9144)
        ('ft', None)
    """
    return next(
        (unit for unit, own in METRES.items() if metres is not None and math.isclose(own, metres, rel_tol=1e-5)), None
    )


def unit_as_read(points: np.ndarray, unit: str | None = None, up: str = "z") -> tuple[str, ...]:
    """Say in which unit a cloud was, or what makes metres doubtful where nobody said so.

    Args:
        points: [P, 3] metres, P > 0, finite.
        unit: A key of `METRES`, as the user gave it; None for metres, which the cloud's size must then allow.
        up: A key of `upright.AXES`: which direction of the file was turned to +z, for the message.

    Returns:
        Sentences for `Scene.as_read`.

    Raises:
        InputError: No unit is given, and the cloud is too large, small, sparse or dense for metres, or one object of
            the size of a house.
    """
    if unit is None:
        return _check_metres(points, up)
    return () if unit == "m" else (f"coordinates are in {unit}: multiplied by {METRES[unit]:g}",)


def stated_as_read(points: np.ndarray, stated: str, up: str = "z") -> tuple[str, ...]:
    """As `unit_as_read`, of a unit that the file itself says, which its size must allow too.

    Args:
        points: [P, 3] metres, P > 0, finite.
        stated: A key of `METRES`.
        up: As in `unit_as_read`.

    Returns:
        Sentences for `Scene.as_read`.

    Raises:
        InputError: The size does not allow it.
    """
    try:
        doubts = unit_as_read(points, None, up)
    except InputError as error:
        reason = str(error).partition("; ")[0]
        raise InputError(f"its coordinate system is in {stated}, but {reason}; --unit says another") from None
    return (f"its coordinate system is in {stated}: multiplied by {METRES[stated]:g}", *doubts)


def extent_as_read(points: np.ndarray, unit: str | None = None) -> str:
    """Say how large a scan is, so that a user sees a wrong unit: feet, above all, cannot be told from metres.

    Args:
        points: [P, 3] metres.
        unit: As the user gave it.

    Returns:
        A sentence for `Scene.as_read`.

    Example:
        >>> extent_as_read(np.array([[0.0, 0, 0], [6.1, 4.9, 2.5]]))
        'the scan measures 6.1 x 4.9 x 2.5 m, taken as metres'
    """
    how = "taken as metres" if unit is None else f"its unit given as {unit}"
    return f"the scan measures {_box(np.ptp(np.asarray(points, np.float64), axis=0), 1)}, {how}"


def need_metres(points: np.ndarray, path: Path) -> None:
    """Refuse the points of a dataset whose unit is stated, but whose size does not allow it.

    Args:
        points: [P, 3], P > 0, finite.
        path: The file, for the message.

    Raises:
        DataError: They cannot be in metres.
    """
    try:
        unit_as_read(points)
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


def _check_metres(points: np.ndarray, up: str) -> tuple[str, ...]:
    """Refuse a cloud that cannot be in metres, and say what is unusual of one that may be.

    O(P log P) for the spacing, which is measured only if size asks for it. Feet cannot be told from metres: a room of
    12 feet is a hall of 12 metres.
    """
    if len(points) < FEW:
        return ()
    low, high = np.percentile(np.asarray(points, np.float64), (1, 99), axis=0)  # [3] each
    size = high - low
    if not size.any() and not np.ptp(points, axis=0).any():
        raise InputError(f"all {len(points)} points lie at one place")
    if np.sort(size)[1] < THIN * size.max():
        hint = "are two coordinates degrees (longitude, latitude)? They must be metres; --unit m takes them as such"
        raise InputError(f"points lie on one line, {_box(size, 3)}: {hint}")
    if SMALL <= size.max() <= WIDE and size[2] <= TALL:
        return ()
    spacing = _spacing(points) if len(points) >= MANY else None
    if spacing is not None and size.max() <= LARGE and _is_one_object(points, low, high):
        other = looks_up(points, up)
        if other is not None:
            raise InputError(f"a place so high that it looks as if {other} pointed up, and not {up}: give --up {other}")
        found = f"coordinates look like those of one object, not of a place in metres: {_measures(size, spacing, 1.0)}"
        found += ", and no ground under it"
        raise InputError(f"{found}; {_hint(size, spacing, OBJECT)}")
    wrong = size.max() < SMALLEST or size[2] > TALLEST
    if spacing is not None:
        wrong |= (size.max() < SMALL and spacing < DENSEST) or (size.max() > LARGE and spacing > SPARSEST)
    if wrong:
        raise InputError(_refusal(size, spacing, spacing is not None and _is_survey(points, size, spacing)))
    if spacing is not None and size.max() > WIDE and spacing > COARSE and not _is_street(size):
        return (f"points lie {spacing:.2g} m apart, too far for the objects of a room: is the unit metres? See --unit",)
    return ()


def _refusal(size: np.ndarray, spacing: float | None, survey: bool) -> str:
    """Why a cloud is refused, with the unit to give."""
    found = _measures(size, spacing, 1.0)
    if not survey:
        return f"coordinates do not look like metres: {found}; {_hint(size, spacing, TYPICAL)}"
    unfit = "far too wide and coarse for rooms and streets, whose objects it cannot show"
    asked = f"--unit m takes it as it is; if it is none, {_hint(size, spacing, TYPICAL)}"
    return f"in metres this is a survey from the air, of {found}: {unfit}; {asked}"


def _hint(size: np.ndarray, spacing: float | None, typical: tuple[float, float]) -> str:
    likely = _likely_unit(size.max(), spacing, typical)
    rest = ", ".join(unit for unit in METRES if unit not in (likely, "m"))
    inside = f"in {likely}, {_measures(size, spacing, METRES[likely])}; give the unit: --unit {likely} (or {rest}"
    return f"{inside}; --unit m takes them as metres)"


def _is_one_object(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether a cloud, between `low` and `high` [3], is compact, higher than a room, and stands on no ground."""
    size, side = high - low, float((high - low)[:2].max()) / 32
    if size[2] <= TALL or size[2] < COMPACT * size[:2].max() or side == 0:
        return False
    inside = points[((points >= low) & (points <= high)).all(axis=1)].astype(np.float64) - low
    key, cell = np.unique(np.floor(inside[:, :2] / side).astype(np.int64) @ (64, 1), return_inverse=True)  # [N], [n]
    if not len(key):
        return False
    corner, cell, height = np.stack(np.divmod(key, 64), axis=1), cell.reshape(-1), inside[:, 2]
    lowest = np.full(len(key), np.inf)
    np.minimum.at(lowest, cell, height)
    slope = np.linalg.lstsq(np.column_stack([(corner + 0.5) * side, np.ones(len(corner))]), lowest, rcond=None)[0][:2]
    bottom = 0.0
    if np.hypot(*slope) > SLOPE:
        height = height - inside[:, :2] @ slope
        bottom = np.percentile(height, 1)
    return len(np.unique(cell[height <= bottom + 0.1 * size[2]])) < GROUND * len(corner)


def _is_street(size: np.ndarray) -> bool:
    """Whether a cloud is as wide and flat as what a LiDAR on a car sees, whose echoes lie far apart at its rim."""
    return bool(size.max() > LARGE and size[2] < COMPACT * size.max())


def _is_survey(points: np.ndarray, size: np.ndarray, spacing: float) -> bool:
    """Whether a cloud is wide, flat, without walls, and of the spacing of surveys from the air."""
    if not (AERIAL[0] <= spacing <= AERIAL[1] and size.max() > LARGE and size[2] <= FLAT * size.max()):
        return False
    cell = np.floor(np.asarray(points[:, :2], np.float64) / (4 * spacing)).astype(np.int64)
    column = np.unique(cell, axis=0, return_inverse=True)[1].reshape(-1)  # [P]
    order = np.argsort(column, kind="stable")
    starts = np.flatnonzero(np.diff(column[order], prepend=-1))
    height = points[order, 2]
    rise = np.maximum.reduceat(height, starts) - np.minimum.reduceat(height, starts)  # of each column
    return bool((rise[column] > FLAT * size[2]).mean() < UPRIGHT)


def _spacing(points: np.ndarray) -> float:
    """The median distance from a point to the nearest other place; points at one place count once."""
    points = np.asarray(points, np.float64)
    along = points @ (1.0, np.sqrt(2.0), np.sqrt(3.0))  # [P], different for different places but by odd chance
    places = points[np.unique(along, return_index=True)[1]]
    sample = places[spread(len(places), SAMPLE)]
    distance, _ = nearest_points(KDTree(places), sample, 2)  # the place itself first
    return float(np.median(distance[:, -1]))


def _likely_unit(length: float, spacing: float | None, typical: tuple[float, float]) -> str:
    """The unit in which length and spacing come nearest to typical ones; a factor too much is as bad as too little."""
    found = np.array([length] if spacing is None else [length, spacing])
    found = np.maximum(found, np.finfo(np.float64).tiny)
    others = [unit for unit in METRES if unit != "m"]
    misfit = [np.abs(np.log(found * METRES[unit] / typical[: len(found)])).sum() for unit in others]
    return others[int(np.argmin(misfit))]


def _measures(size: np.ndarray, spacing: float | None, metres: float) -> str:
    """Size [3] and spacing times `metres`, in words."""
    box = _box(size * metres, 3)
    return box if spacing is None else f"{box} with points {spacing * metres:.3g} m apart"


def _box(size: np.ndarray, digits: int) -> str:
    return " x ".join(f"{side:.{digits}f}".rstrip("0").rstrip(".") for side in size) + " m"
