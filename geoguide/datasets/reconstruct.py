"""A coloured mesh from posed depth images: truncated signed distance fusion, then marching cubes.

Cost: one pass per view over the voxels of the bounding box that the view can see (about 10 ns each) and 24 bytes a
voxel of the box, beside the marching cubes over it. Views are read one at a time.
"""

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes

from geoguide.datasets.formats.ply import vertex_normals
from geoguide.errors import InputError
from geoguide.ops.compiled import compiled
from geoguide.scene import View

BYTES_PER_VOXEL = 24  # distance, weight, colour, colour weight, all float32
Grid = tuple[int, int, int]  # number of voxels along x, y, z
TRUNCATION = 3.0  # voxels from a surface up to which readings say something about it
FAR = 1.0  # value of free and of unknown space, in units of the truncation


class Reconstruction(NamedTuple):
    """A coloured mesh.

    Attributes:
        vertices: float32 [P, 3], metres.
        faces: Vertices of each triangle, int64 [F, 3], turned outwards.
        colors: float32 [P, 3] in [0, 1].
        normals: float32 [P, 3], unit, towards the side that the cameras saw.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colors: np.ndarray
    normals: np.ndarray


def reconstruct(
    views: Sequence[View], *, voxel: float, max_depth: float = 6.0, min_fragment: int = 100, memory_limit: float = 4e9
) -> Reconstruction:
    """Fuse views with depth and colour into one mesh (Curless and Levoy, 1996).

    Readings count by 1 / depth^2, as a depth sensor's precision falls. A view without a finite pose or without depth is
    skipped; one warning says how many, and another which depth images hold no reading.

    Args:
        views: The views, K of them.
        voxel: Edge of a voxel in metres.
        max_depth: Readings beyond this, in metres, are not used.
        min_fragment: Connected pieces of fewer vertices are removed.
        memory_limit: Bytes that the volume may take.

    Returns:
        The mesh, in the world of the poses.

    Raises:
        InputError: An argument is out of range, no view has both pose and depth, nothing is reconstructed, or the
            volume would be too large (the message names a voxel size that fits).
    """
    if not voxel > 0 or not max_depth > 0:
        raise InputError(f"voxel and max_depth must be positive, found {voxel} and {max_depth}")
    views = _usable(views)
    boxes = [_view_bounds(view, max_depth) for view in views]
    blind = [view.name for view, box in zip(views, boxes, strict=True) if not np.isfinite(box).all()]
    first_voxel, shape = _bounds(boxes, voxel, memory_limit)
    if blind:
        first = ", ".join(blind[:3]) + (", ..." if len(blind) > 3 else "")
        lost = f"{len(blind)} of {len(views)} depth images hold no reading up to {max_depth:g} m"
        warnings.warn(f"{lost}: {first}", stacklevel=2)
    volume = _integrate(views, first_voxel, shape, voxel, max_depth)
    return _extract(volume, first_voxel, voxel, min_fragment)


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
    points = view.cam_to_world[:3, :3] @ (np.linalg.inv(view.intrinsics) @ pixels) + view.cam_to_world[:3, 3:]  # [3, N]
    return np.stack([points.min(axis=1), points.max(axis=1)])


def _bounds(boxes: Iterable[np.ndarray], voxel: float, memory_limit: float) -> tuple[np.ndarray, Grid]:
    """Position [3] of the first voxel, and shape (x, y, z), of the grid around all boxes, each [2, 3]."""
    low = np.min([box[0] for box in boxes], axis=0)  # [3]
    high = np.max([box[1] for box in boxes], axis=0)
    if not np.isfinite(low).all():
        raise InputError("reconstruct: no view holds a depth reading within max_depth")
    low, high = low - TRUNCATION * voxel, high + TRUNCATION * voxel
    shape = np.ceil((high - low) / voxel) + 1  # floats: a stray pose may ask for more voxels than integers count
    need = _volume_bytes(shape)
    if need > memory_limit:
        fits = voxel
        while _volume_bytes((high - low) / fits + 8) > memory_limit:  # + 8: the margin grows with the voxel
            fits *= 1.02
        size = " x ".join(f"{length:.1f}" for length in high - low)
        large = f"voxel {voxel} m over {size} m needs {need / 1e9:.3g} GB, the limit is {memory_limit / 1e9:.3g} GB"
        raise InputError(f"{large}: use a voxel of at least {fits + 0.0005:.3f} m, or a smaller max_depth")
    return low, (int(shape[0]), int(shape[1]), int(shape[2]))


def _volume_bytes(shape: np.ndarray) -> float:
    """What a grid of this shape [3] takes in memory."""
    return float(np.prod(shape.astype(np.float64))) * BYTES_PER_VOXEL


class _Volume(NamedTuple):
    """What the views say about each voxel."""

    distance: np.ndarray  # float32 [X, Y, Z], in units of the truncation, positive in front of a surface
    weight: np.ndarray  # float32 [X, Y, Z], 0 = never observed
    color: np.ndarray  # float32 [X, Y, Z, 3], 0..255
    color_weight: np.ndarray  # float32 [X, Y, Z]


def _integrate(views: list[View], first_voxel: np.ndarray, shape: Grid, voxel: float, max_depth: float) -> _Volume:
    """The volume of this shape after all views; `first_voxel` [3] is where the grid begins in the world."""
    distance, weight = np.full(shape, FAR, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    color, color_weight = np.zeros((*shape, 3), dtype=np.float32), np.zeros(shape, dtype=np.float32)
    volume = _Volume(distance, weight, color, color_weight)
    for view in views:
        world_to_cam = np.linalg.inv(view.cam_to_world)
        start = world_to_cam[:3, :3] @ first_voxel + world_to_cam[:3, 3]  # [3], the first voxel in camera axes
        step = world_to_cam[:3, :3] * voxel  # [3, 3], columns: one voxel along x, y, z
        depth = view.depth()
        depth[depth > max_depth] = 0
        color = view.color() if view.pixel_files[0] is not None else np.zeros((0, 0, 3), dtype=np.uint8)
        _fuse_view(*volume, start, step, view.intrinsics, depth, color, TRUNCATION * voxel)
    return volume


@compiled()
def _seen_of_column(
    base: tuple[float, float, float],
    step: np.ndarray,
    lens: tuple[float, float, float, float],
    size: tuple[int, int],
    far: float,
    count: int,
) -> tuple[int, int]:
    """The range of k that holds all voxels `base` + k `step[:, 2]` of a column which lie in a view's pyramid.

    In front of the camera each side of the pyramid, and its end at the depth `far`, is a half-space a + b k >= 0. The
    range is a voxel too long rather than too short: `_fuse_view` still asks where each voxel falls.
    """
    (x, y, z), (dx, dy, dz) = base, (step[0, 2], step[1, 2], step[2, 2])
    fx, fy, cx, cy = lens
    left, right, top, bottom = cx + 1, size[1] - cx, cy + 1, size[0] - cy  # pixels, half a pixel more than there are
    low, high = 0.0, count - 1.0
    for a, b in (
        (z, dz),
        (far - z, -dz),
        (fx * x + left * z, fx * dx + left * dz),
        (right * z - fx * x, right * dz - fx * dx),
        (fy * y + top * z, fy * dy + top * dz),
        (bottom * z - fy * y, bottom * dz - fy * dy),
    ):
        if b > 0:
            low = max(low, -a / b - 1)
        elif b < 0:
            high = min(high, -a / b + 1)
        elif a < 0:
            return 0, 0
    return int(min(low, count)), int(max(high, -1.0)) + 1


@compiled()
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
    """Blend one view into the volume, in place; a compiled loop over the voxels that the view can see.

    `start` [3] is the first voxel in the camera's axes, the columns of `step` [3, 3] lead from a voxel to the next
    along x, y and z. `depth` [H, W] is in metres, 0 where there is no reading; `image` [H, W, 3], or [0, 0, 3] for a
    view without colour.
    """
    height, width = depth.shape
    colored, far = image.shape[0] > 0, depth.max() + 1.1 * truncation
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    for i in range(distance.shape[0]):
        for j in range(distance.shape[1]):
            bx = start[0] + i * step[0, 0] + j * step[0, 1]
            by = start[1] + i * step[1, 0] + j * step[1, 1]
            bz = start[2] + i * step[2, 0] + j * step[2, 1]
            first, last = _seen_of_column((bx, by, bz), step, (fx, fy, cx, cy), (height, width), far, distance.shape[2])
            for k in range(first, last):
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
                weight[i, j, k] = old + w
                if ahead >= truncation and distance[i, j, k] == FAR:  # free space, which it was before
                    continue
                distance[i, j, k] = (old * distance[i, j, k] + w * min(1.0, ahead / truncation)) / (old + w)
                if colored and ahead < truncation:
                    old = color_weight[i, j, k]
                    for c in range(3):
                        color[i, j, k, c] = (old * color[i, j, k, c] + w * image[row, col, c]) / (old + w)
                    color_weight[i, j, k] = old + w


def _extract(volume: _Volume, first_voxel: np.ndarray, voxel: float, min_fragment: int) -> Reconstruction:
    """The mesh where the distance passes zero between observed voxels, without fragments."""
    if not (volume.distance < 0).any():
        raise InputError("reconstruct: the views' depth forms no surface")
    grid, faces, _, _ = marching_cubes(volume.distance, level=0.0, gradient_direction="descent")
    low = np.floor(grid).astype(np.int64)  # [P, 3]; every vertex lies on the edge between voxels low and high
    high = np.ceil(grid).astype(np.int64)
    observed = (volume.weight[tuple(low.T)] > 0) & (volume.weight[tuple(high.T)] > 0)
    faces = faces.astype(np.int64)
    faces = faces[observed[faces].all(axis=1)]
    corners = grid[faces]  # [F, 3, 3]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    faces = _without_fragments(faces[area > 1e-6], len(grid), min_fragment)
    if len(faces) == 0:
        raise InputError(f"reconstruct: no surface of at least {min_fragment} vertices; try a larger voxel")
    named = np.zeros(len(grid), dtype=bool)
    named[faces] = True
    used, faces = np.flatnonzero(named), (np.cumsum(named) - 1)[faces]  # [P] of the mesh, [F, 3] rows of these
    share = np.linalg.norm(grid[used] - low[used], axis=1)  # [P], 0 at low, 1 at high
    low_weight = (1 - share) * volume.color_weight[tuple(low[used].T)]
    high_weight = share * volume.color_weight[tuple(high[used].T)]
    colors = low_weight[:, None] * volume.color[tuple(low[used].T)]
    colors = colors + high_weight[:, None] * volume.color[tuple(high[used].T)]
    colors /= np.maximum(low_weight + high_weight, 1e-12)[:, None]
    vertices = (first_voxel + voxel * grid[used].astype(np.float64)).astype(np.float32)
    colors = np.clip(colors / 255.0, 0.0, 1.0).astype(np.float32)
    return Reconstruction(vertices, faces, colors, vertex_normals(vertices, faces))


def _without_fragments(faces: np.ndarray, count: int, min_fragment: int) -> np.ndarray:
    """Faces [F, 3] of connected pieces with at least `min_fragment` vertices."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])  # [2 F, 2]
    graph = coo_matrix((np.ones(len(edges), dtype=bool), edges.T), shape=(count, count))
    piece = connected_components(graph, directed=False)[1]  # [count]
    return faces[np.bincount(piece)[piece[faces[:, 0]]] >= min_fragment]
