"""Descriptors of the segment a point belongs to: its superpoint, and superpoints merged where they meet smoothly.

Size, height, colour and the point's place within; and whether the segment is part of the room's floor or walls. From
geometry and colour alone.
"""

import numpy as np

from geoguide.instances.regions import Regions, merged, room_planes
from geoguide.scene import Scene
from geoguide.superpoints import segment_mesh, segment_points

REACH = 0.08  # metres: points closer than this touch


_COLUMNS = ("count", "length", "width", "rise", "top", "base", "middle", "red", "green", "blue")


_COLUMNS += ("colour spread", "|nz| mean", "place")


SEGMENT_NAMES = (*(f"{kind} {name}" for kind in ("superpoint", "part") for name in _COLUMNS), "floor", "wall")


def segment_features(scene: Scene, points: np.ndarray, normals: np.ndarray, merge: float) -> np.ndarray:
    """Scaled descriptors [P, 28] from points float64 [P, 3] with z above the floor and unit normals [P, 3].

    `merge` is the contact roughness up to which superpoints become one part; see `geoguide.regions`.
    """
    normals = np.nan_to_num(normals)
    if scene.faces is not None and len(scene.faces):
        superpoints = segment_mesh(scene.points, scene.faces)
    else:
        superpoints = segment_points(scene.points, None if scene.normals is None else scene.normals)
    regions = Regions.measure(points, normals, superpoints, REACH)
    shell = room_planes(points, regions)  # [S]
    part = merged(regions, shell < 0, merge)
    part = np.where(shell >= 0, part.max() + 1 + shell, part)  # a wall is one part, whatever it is split into
    part = np.unique(part, return_inverse=True)[1]
    kind = np.stack([2.0 * (shell == 0) - 1.0, 2.0 * (shell > 0) - 1.0], axis=1)  # [S, 2]
    own = _describe(points, scene.colors, normals, regions.index)
    return np.concatenate(
        [own, _describe(points, scene.colors, normals, part[regions.index]), kind[regions.index]], axis=1
    )


def _describe(points: np.ndarray, colors: np.ndarray, normals: np.ndarray, segment: np.ndarray) -> np.ndarray:
    """Scaled descriptors [P, 13] of every point's segment, int64 [P] from 0."""
    size = np.bincount(segment)  # [S]
    x, y, z = points.T
    flatness = np.abs(normals[:, 2])
    columns = np.column_stack([x, y, x * x, y * y, x * y, z, flatness, colors, np.square(colors, dtype=np.float64)])
    mean = np.stack([np.bincount(segment, weights=column) for column in columns.T], axis=1) / size[:, None]
    top, base = np.full(len(size), -np.inf), np.full(len(size), np.inf)
    np.maximum.at(top, segment, z)
    np.minimum.at(base, segment, z)
    length, width = _plan(mean[:, :5])
    spread = np.sqrt(np.maximum(mean[:, 10:13] - mean[:, 7:10] ** 2, 0)).mean(axis=1)
    table = np.column_stack(
        [
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
    )
    place = 3.0 * ((z - base[segment]) / (top - base + 0.05)[segment] - 0.5)
    return np.column_stack([table[segment], place])


def _plan(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length and width [S] metres of the rectangle with the same second moments as the segment's floor plan."""
    x, y, xx, yy, xy = moments.T
    xx, yy, xy = xx - x * x, yy - y * y, xy - x * y
    mean, half = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return np.sqrt(12 * np.maximum(mean + half, 0)), np.sqrt(12 * np.maximum(mean - half, 0))
