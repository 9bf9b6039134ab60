"""nuScenes' LiDAR files: rows of 5 float32, x right, y forward, z up in the LiDAR's own coordinates, intensity, ring.

The ring tells what the other columns cannot: it is the number of the laser, and lasers stand still in the LiDAR. Echoes
of a higher ring come from a higher elevation, and each ring's echoes follow one another clockwise, as the LiDAR turns.
Measured on the echoes beyond 3 m of a real key frame and of 40 generated ones:

| columns x, y, z | correlation of ring and elevation | clockwise steps of a ring |
|---|---|---|
| as recorded | 0.999, 1.00 | 0.998, 1.00 |
| tilted by 5 degrees | 0.961, 0.91 to 0.94 | 0.998, 1.00 |
| y and z, or x and z exchanged; turned round | -0.17 to 0.17 | 0.40 to 0.60 |
| z negated (upside down), or rings counted from above | -0.999, -1.00 | 0.998, 1.00 |
| moved to the car's coordinates, or 1.84 m up | 0.40 to 0.82 | 0.98 to 1.00 |
| rows of another order than the rings' | -0.02 to 0.02 | 0.49 to 0.51 |
| x and y exchanged, or one of them negated (mirrored) | 0.999, 1.00 | 0.002, 0.00 |
| all columns in another order of rows | 0.999, 1.00 | 0.49 to 0.51 |
"""

from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import need_file
from geoguide.datasets.formats.ply import finite_points
from geoguide.errors import DataError

COLUMNS = 5  # x, y, z, intensity, ring
RINGS = 32  # lasers of the sensor
FAR = 3.0  # metres; nearer echoes are of the car itself, and lasers do not start in one point
JUDGED = 500  # echoes beyond that, of which all of the table holds too: of fewer nothing is said
RISING, CLOCKWISE = 0.9, 0.25  # least correlation and share of the table


def read_lidar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a LiDAR file.

    Args:
        path: The file.

    Returns:
        Points float32 [P, 3] in metres, in the LiDAR's coordinates, and intensity float32 [P].

    Raises:
        DataError: The file is missing or truncated, a column holds what it cannot, or the points are not where the
            lasers of their rings look to.
    """
    size = need_file(path, "LiDAR file").stat().st_size
    if size == 0 or size % (4 * COLUMNS):
        expected = f"rows of {COLUMNS} float32 (x, y, z, intensity, ring; {4 * COLUMNS} bytes)"
        raise DataError(f"{path}: expected {expected}, found {size} bytes: truncated, or another number of columns?")
    rows = np.fromfile(path, dtype="<f4").reshape(-1, COLUMNS)  # [P, 5]
    points = finite_points(rows[:, :3], path, "columns 0..2 (x, y, z)")
    ring = rows[:, 4]
    wrong = ~((ring >= 0) & (ring < RINGS) & (ring == np.rint(ring)))
    if wrong.any():
        found = f"{ring[wrong][0]:g} in row {int(np.argmax(wrong))}: another number of columns?"
        raise DataError(f"{path}: column 4 (ring): expected whole numbers 0..{RINGS - 1}, found {found}")
    if not np.isfinite(rows[:, 3]).all():
        raise DataError(f"{path}: column 3 (intensity): expected finite numbers, found nan or inf")
    _check_rings(points.astype(np.float64), ring, path)
    return points, np.ascontiguousarray(rows[:, 3], dtype=np.float32)


def _check_rings(points: np.ndarray, ring: np.ndarray, path: Path) -> None:
    """Refuse points float64 [P, 3] that are not where the lasers of their `ring` [P] look to, or that are mirrored."""
    far = np.linalg.norm(points, axis=1) > FAR
    points, ring = points[far], ring[far]
    if len(points) < JUDGED or np.ptp(ring) == 0:
        return
    axes = "expected x right, y forward, z up of the LiDAR itself"
    elevation = np.arctan2(points[:, 2], np.linalg.norm(points[:, :2], axis=1))
    rising = np.corrcoef(ring, elevation)[0, 1] if np.ptp(elevation) > 0 else 0.0
    if rising < RISING:
        found = f"ring and elevation correlate by {rising:.2f} (usual: 1.00)"
        hint = "upside down?" if rising < -RISING else "another order of columns, coordinates of the car?"
        raise DataError(f"{path}: columns 0..2 (x, y, z): {axes}, found that {found}: {hint}")
    order = np.argsort(ring, kind="stable")
    azimuth = np.arctan2(points[order, 1], points[order, 0])
    step = (np.diff(azimuth) + np.pi) % (2 * np.pi) - np.pi
    clockwise = np.mean(step[(np.diff(ring[order]) == 0) & (step != 0)] < 0)
    if clockwise < CLOCKWISE:
        found = f"found a LiDAR that turns counter-clockwise ({clockwise:.0%} of its steps are clockwise)"
        raise DataError(f"{path}: columns 0..2 (x, y, z): {axes}, {found}: x and y exchanged, or mirrored?")
