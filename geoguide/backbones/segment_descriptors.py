"""Descriptors of the superpoint that a point belongs to, and of its part: superpoints merged where they meet smoothly.

Size, height and colour of both, and the point's place within; and whether the superpoint belongs to the room's floor or
walls. From geometry and colour alone.
"""

import numpy as np

from geoguide.instances.regions import Regions, merged, room_planes
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_superpoints

REACH = 0.08  # metres: points closer than this touch
_COLUMNS = ("count", "length", "width", "rise", "top", "base", "middle", "red", "green", "blue")
_COLUMNS += ("colour spread", "|nz| mean", "place")
SEGMENT_NAMES = (*(f"{kind} {name}" for kind in ("superpoint", "part") for name in _COLUMNS), "floor", "wall")


def segment_features(scene: Scene, points: np.ndarray, normals: np.ndarray, merge: float) -> np.ndarray:
    """Describe the superpoint and the part that every point belongs to.

    Args:
        scene: Its points and faces give the superpoints, its colours theirs.
        points: float64 [P, 3] metres, the same points with z above the floor.
        normals: float64 [P, 3], unit length; nan counts as 0.
        merge: Contact roughness up to which superpoints become one part; see `geoguide.instances.regions`.

    Returns:
        float64 [P, 28], scaled to about unit range; `SEGMENT_NAMES` names the columns.
    """
    normals = np.nan_to_num(normals)
    regions = Regions.measure(points, normals, scene_superpoints(scene, SuperpointConfig()), REACH)
    shell = room_planes(points, regions)  # [S]
    part = merged(regions, shell < 0, merge)
    part = np.where(shell >= 0, part.max() + 1 + shell, part)  # a wall is one part, whatever it is split into
    part = np.unique(part, return_inverse=True)[1]
    kind = np.stack([2.0 * (shell == 0) - 1.0, 2.0 * (shell > 0) - 1.0], axis=1)  # [S, 2]
    own = _describe(points, scene.colors, normals, regions.index)  # [P, 13]
    whole = _describe(points, scene.colors, normals, part[regions.index])  # [P, 13]
    return np.concatenate([own, whole, kind[regions.index]], axis=1)


def _describe(points: np.ndarray, colors: np.ndarray, normals: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Scaled descriptors [P, 13] of every point's group (superpoint or part), int64 [P] from 0."""
    size = np.bincount(group)  # [S]
    x, y, z = points.T
    flatness = np.abs(normals[:, 2])
    values = np.column_stack([x, y, x * x, y * y, x * y, z, flatness, colors, np.square(colors, dtype=np.float64)])
    mean = group_means(values, group, size)  # [S, 13]
    top, base = np.full(len(size), -np.inf), np.full(len(size), np.inf)
    np.maximum.at(top, group, z)
    np.minimum.at(base, group, z)
    length, width = _plan(mean[:, :5])
    spread = np.sqrt(np.maximum(mean[:, 10:13] - mean[:, 7:10] ** 2, 0)).mean(axis=1)
    columns = [
        np.log(size / 300.0) / 2.0,
        2.0 * np.minimum(length, 3.0) - 2.0,
        3.0 * np.minimum(width, 2.0) - 1.5,
        1.5 * (top - base) - 1.0,
        1.5 * top - 1.2,
        2.0 * base - 0.5,
        1.5 * mean[:, 5] - 1.2,
        4.0 * (mean[:, 7:10] - 0.5),
        10.0 * spread - 1.0,
        3.0 * (mean[:, 6] - 0.5),
    ]
    place = 3.0 * ((z - base[group]) / (top - base + 0.05)[group] - 0.5)
    return np.column_stack([np.column_stack(columns)[group], place])


def group_means(values: np.ndarray, group: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Average the rows of each group.

    Args:
        values: [P, D].
        group: int64 [P] from 0.
        size: int64 [S], how many rows each group has, none of them 0.

    Returns:
        float64 [S, D].
    """
    total = np.stack([np.bincount(group, weights=column, minlength=len(size)) for column in values.T], axis=1)
    return total / size[:, None]


def _plan(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length and width [S] metres of the rectangle with the same second moments as each group's floor plan."""
    x, y, xx, yy, xy = moments.T
    xx, yy, xy = xx - x * x, yy - y * y, xy - x * y
    mean, half = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return np.sqrt(12 * np.maximum(mean + half, 0)), np.sqrt(12 * np.maximum(mean - half, 0))
