"""A coloured mesh from posed depth images: truncated signed distance fusion, then marching cubes.

Cost: one pass over the voxels of the bounding box per view (about 10 ns a voxel and view) and 24 bytes a voxel, beside
the marching cubes over the box. Views are read one at a time.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numba
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from geoguide.datasets.formats.ply import vertex_normals
from geoguide.errors import InputError
from geoguide.scene import View

BYTES_PER_VOXEL = 24  # distance, weight, colour, colour weight, all float32


FAR = 1.0  # value of free and of unknown space, in units of the truncation


class Reconstruction(NamedTuple):
    """vertices float32 [P, 3] metres; faces int64 [F, 3], turned outwards; colors float32 [P, 3] in [0, 1]; normals
    float32 [P, 3] unit, towards the side the cameras saw."""

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    normals: np.ndarray


def reconstruct(
    views: Sequence[View],
    *,
    voxel: float = 0.04,
    truncation: float | None = None,
    max_depth: float = 6.0,
    min_fragment: int = 100,
    memory_limit: float = 4e9,
) -> Reconstruction:
    """Fuse views with depth and colour into one mesh (Curless and Levoy, 1996).

    voxel: edge in metres; truncation: metres, 3 voxels by default; readings beyond max_depth are not used; connected
    pieces of fewer than min_fragment vertices are removed; memory_limit: bytes the volume may take. Readings count by
    1 / depth^2, as a depth sensor's precision falls. A view whose pose is not finite is skipped with one warning.
    Raises `InputError` when no view has both pose and depth, nothing is reconstructed or the volume would be too large
    (the message names a voxel size that fits).
    """
    if not voxel > 0 or not max_depth > 0:
        raise InputError(f"voxel and max_depth must be positive, found {voxel} and {max_depth}")
    truncation = 3.0 * voxel if truncation is None else truncation
    if truncation < voxel:
        raise InputError(f"truncation must be at least one voxel ({voxel} m), found {truncation}")
    views = _usable(views)
    origin, shape = _bounds([_view_bounds(view, max_depth) for view in views], voxel, truncation, memory_limit)
    volume = _integrate(views, origin, shape, voxel, truncation, max_depth)
    return _extract(volume, origin, voxel, min_fragment)


def _usable(views: Sequence[View]) -> list[View]:
    """Views with a pose and a depth image; one warning names how many were skipped."""
    posed = [view for view in views if view.has_pose and view.pixel_files[1] is not None]
    if not posed:
        raise InputError(f"reconstruct needs views with a finite pose and a depth image, found none among {len(views)}")
    lost = len(views) - len(posed)
    if lost:
        warnings.warn(f"{lost} of {len(views)} frames skipped: no finite pose or no depth image", stacklevel=3)
    return posed


def _view_bounds(view: View, max_depth: float) -> np.ndarray:
    """Corners [2, 3] of the box around a view's readings, [inf, -inf] when it has none."""
    depth = view.depth()
    row, col = np.nonzero((depth > 0) & (depth <= max_depth))
    if len(row) == 0:
        return np.stack([np.full(3, np.inf), np.full(3, -np.inf)])
    pixels = np.stack([col, row, np.ones_like(row)]) * depth[row, col].astype(np.float64)  # [3, N]
    points = view.cam_to_world[:3, :3] @ (np.linalg.inv(view.intrinsics) @ pixels) + view.cam_to_world[:3, 3:]
    return np.stack([points.min(axis=1), points.max(axis=1)])


def _bounds(
    boxes: Iterable[np.ndarray], voxel: float, truncation: float, memory_limit: float
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Origin [3] and shape (x, y, z) of the voxel grid around all boxes."""
    low = np.min([box[0] for box in boxes], axis=0)
    high = np.max([box[1] for box in boxes], axis=0)
    if not np.isfinite(low).all():
        raise InputError("reconstruct: no view holds a depth reading within max_depth")
    low, high = low - truncation, high + truncation
    shape = np.ceil((high - low) / voxel).astype(np.int64) + 1
    need = _volume_bytes(shape)
    if need > memory_limit:
        fits = voxel
        while _volume_bytes((high - low) / fits + 8) > memory_limit:  # + 8: the margin grows with the voxel
            fits *= 1.02
        size = " x ".join(f"{length:.1f}" for length in high - low)
        raise InputError(
            f"voxel {voxel} m over {size} m needs {need / 1e9:.3g} GB, the limit is {memory_limit / 1e9:.3g} GB: "
            f"use a voxel of at least {fits + 0.0005:.3f} m, or a smaller max_depth"
        )
    return low, (int(shape[0]), int(shape[1]), int(shape[2]))


def _volume_bytes(shape: np.ndarray) -> float:
    return float(np.prod(shape.astype(np.float64))) * BYTES_PER_VOXEL


class _Volume(NamedTuple):
    distance: np.ndarray  # float32 [X, Y, Z], in units of the truncation, positive in front of a surface
    weight: np.ndarray  # float32 [X, Y, Z], 0 = never observed
    color: np.ndarray  # float32 [X, Y, Z, 3], 0..255
    color_weight: np.ndarray  # float32 [X, Y, Z]


def _integrate(
    views: list[View],
    origin: np.ndarray,
    shape: tuple[int, int, int],
    voxel: float,
    truncation: float,
    max_depth: float,
) -> _Volume:
    volume = _Volume(
        np.full(shape, FAR, dtype=np.float32),
        np.zeros(shape, dtype=np.float32),
        np.zeros((*shape, 3), dtype=np.float32),
        np.zeros(shape, dtype=np.float32),
    )
    for view in views:
        world_to_cam = np.linalg.inv(view.cam_to_world)
        start = world_to_cam[:3, :3] @ origin + world_to_cam[:3, 3]  # grid origin in camera axes
        step = world_to_cam[:3, :3] * voxel  # columns: one voxel along x, y, z
        depth = view.depth()
        depth[depth > max_depth] = 0
        color = view.color() if view.pixel_files[0] is not None else np.zeros((0, 0, 3), dtype=np.uint8)
        _fuse_view(*volume, start, step, view.intrinsics, depth, color, truncation)
    return volume


@numba.njit(cache=True)
def _fuse_view(
    distance: np.ndarray,
    weight: np.ndarray,
    color: np.ndarray,
    color_weight: np.ndarray,
    start: np.ndarray,
    step: np.ndarray,
    intrinsics: np.ndarray,
    depth: np.ndarray,
    image: np.ndarray,
    truncation: float,
) -> None:
    """Blend one view into the volume, in place; a compiled loop over voxels."""
    height, width = depth.shape
    colored = image.shape[0] > 0
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    for i in range(distance.shape[0]):
        for j in range(distance.shape[1]):
            bx = start[0] + i * step[0, 0] + j * step[0, 1]
            by = start[1] + i * step[1, 0] + j * step[1, 1]
            bz = start[2] + i * step[2, 0] + j * step[2, 1]
            for k in range(distance.shape[2]):
                z = bz + k * step[2, 2]
                if z <= 0.05:
                    continue
                u = fx * (bx + k * step[0, 2]) / z + cx
                v = fy * (by + k * step[1, 2]) / z + cy
                if u < -0.5 or v < -0.5 or u >= width - 0.5 or v >= height - 0.5:
                    continue
                row, col = int(v + 0.5), int(u + 0.5)
                reading = depth[row, col]
                ahead = reading - z
                if reading <= 0 or ahead < -truncation:
                    continue
                w = 1.0 / max(reading * reading, 0.25)
                old = weight[i, j, k]
                distance[i, j, k] = (old * distance[i, j, k] + w * min(1.0, ahead / truncation)) / (old + w)
                weight[i, j, k] = old + w
                if colored and ahead < truncation:
                    old = color_weight[i, j, k]
                    for c in range(3):
                        color[i, j, k, c] = (old * color[i, j, k, c] + w * image[row, col, c]) / (old + w)
                    color_weight[i, j, k] = old + w


def _extract(volume: _Volume, origin: np.ndarray, voxel: float, min_fragment: int) -> Reconstruction:
    """Zero surface between observed voxels, without fragments."""
    if not (volume.distance < 0).any():
        raise InputError("reconstruct: the views' depth forms no surface")
    grid, faces, _, _ = marching_cubes(volume.distance, level=0.0, gradient_direction="descent")
    low = np.floor(grid).astype(np.int64)  # [P, 3]; every vertex lies on the edge between voxels low and high
    high = np.ceil(grid).astype(np.int64)
    observed = (volume.weight[tuple(low.T)] > 0) & (volume.weight[tuple(high.T)] > 0)
    faces = faces.astype(np.int64)
    faces = faces[observed[faces].all(axis=1)]
    corners = grid[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    faces = _without_fragments(faces[area > 1e-6], len(grid), min_fragment)
    if len(faces) == 0:
        raise InputError(f"reconstruct: no surface of at least {min_fragment} vertices; try a larger voxel")
    kept, index = np.unique(faces, return_inverse=True)
    faces = index.reshape(-1, 3).astype(np.int64)
    share = np.linalg.norm(grid[kept] - low[kept], axis=1)  # [P], 0 at low, 1 at high
    low_weight = (1 - share) * volume.color_weight[tuple(low[kept].T)]
    high_weight = share * volume.color_weight[tuple(high[kept].T)]
    colors = low_weight[:, None] * volume.color[tuple(low[kept].T)]
    colors = colors + high_weight[:, None] * volume.color[tuple(high[kept].T)]
    colors /= np.maximum(low_weight + high_weight, 1e-12)[:, None]
    vertices = (origin + voxel * grid[kept].astype(np.float64)).astype(np.float32)
    colors = np.clip(colors / 255.0, 0.0, 1.0).astype(np.float32)
    return Reconstruction(vertices, faces, colors, vertex_normals(vertices, faces))


def _without_fragments(faces: np.ndarray, count: int, min_fragment: int) -> np.ndarray:
    """Faces [F, 3] of connected pieces with at least `min_fragment` vertices."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges), dtype=bool), edges.T), shape=(count, count))
    piece = connected_components(graph, directed=False)[1]
    return faces[np.bincount(piece)[piece[faces[:, 0]]] >= min_fragment]
