"""The visibility rule of multi-view lifting: one compiled pass on the CPU, torch operations on an accelerator."""

from typing import NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from geoguide.ops.arrays import Array


class Camera(NamedTuple):
    """A checked camera: world_to_cam float64 [3, 4]; focal (fx, fy, cx, cy) pixels; image_size (H, W)."""

    world_to_cam: np.ndarray
    focal: tuple[float, float, float, float]
    image_size: tuple[int, int]


def project_points(
    points: Array, camera: Camera, depth: Array | None, tolerance: float, border: int
) -> tuple[Array, Array, Array]:
    """Rows and columns int64 [P] (0 where unseen) and visibility bool [P] of points [P, 3], depth [H, W].

    The caller has checked everything; float32 points and depth are widened as they are read. numpy arrays take the compiled path, tensors the torch one (on their device).
    """
    if isinstance(points, Tensor):
        return _project_torch(points, camera, depth, tolerance, border)
    row, col = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64)
    visible = np.zeros(len(points), np.bool_)
    depth = np.empty((0, 0), np.float32) if depth is None else depth
    _project_kernel(
        points, camera.world_to_cam, camera.focal, camera.image_size, depth, tolerance, border, row, col, visible
    )
    return row, col, visible


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _project_kernel(points, world_to_cam, focal, image_size, depth, tolerance, border, row, col, visible):
    w = world_to_cam
    fx, fy, cx, cy = focal
    height, width = image_size
    for i in range(points.shape[0]):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        pz = w[2, 0] * x + w[2, 1] * y + w[2, 2] * z + w[2, 3]
        if not pz > 0.0:
            continue
        px = w[0, 0] * x + w[0, 1] * y + w[0, 2] * z + w[0, 3]
        py = w[1, 0] * x + w[1, 1] * y + w[1, 2] * z + w[1, 3]
        u = np.rint(px * fx / pz + cx)
        v = np.rint(py * fy / pz + cy)
        if not (u >= border and u < width - border and v >= border and v < height - border):
            continue
        r, c = np.int64(v), np.int64(u)
        if depth.size > 0:
            d = np.float64(depth[r, c])
            if not (d > 0.0 and d < np.inf and abs(d - pz) <= tolerance * d):
                continue
        row[i], col[i], visible[i] = r, c, True


def _project_torch(
    points: Tensor, camera: Camera, depth: Tensor | None, tolerance: float, border: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel's rule, operation for operation."""
    (fx, fy, cx, cy), (height, width) = camera.focal, camera.image_size
    x, y, z = points.unbind(1)
    px, py, pz = (a * x + b * y + c * z + d for a, b, c, d in camera.world_to_cam.tolist())  # [P] each
    ahead = pz > 0
    safe = torch.where(ahead, pz, 1.0)
    u, v = torch.round(px * fx / safe + cx), torch.round(py * fy / safe + cy)
    visible = ahead & (u >= border) & (u < width - border) & (v >= border) & (v < height - border)
    row, col = (torch.where(visible, pixel, 0.0).long() for pixel in (v, u))  # [P]
    if depth is not None:
        d = depth[row, col].double()
        visible = visible & (d > 0) & (d < torch.inf) & ((d - pz).abs() <= tolerance * d)
    return row * visible, col * visible, visible


def add_visible(total: Array, count: Array, feature: Array, row: Array, col: Array, visible: Array) -> None:
    """Add each visible point's pixel of feature [H, W, C] to total float32 [P, C], and 1 to count [P], in place.

    Only the visible rows of the map are copied, converted or moved between devices.
    """
    if isinstance(total, Tensor):
        ids = visible.nonzero()[:, 0]
        rows = _rows(feature, row[ids], col[ids])
        total.index_add_(0, ids, torch.as_tensor(rows).to(total.device, torch.float32))
        count.index_add_(0, ids, torch.ones_like(ids))
        return
    ids = np.flatnonzero(visible)
    rows = _rows(feature, row[ids], col[ids])
    rows = rows.float().cpu().numpy() if isinstance(rows, Tensor) else rows
    _add_rows(total, count, ids, np.ascontiguousarray(rows, dtype=np.float32))


def _rows(feature: Array, row: Array, col: Array) -> Array:
    """feature[row, col] -> [n, C], gathered where the map lies."""
    if isinstance(feature, Tensor):
        place = feature.device
        return feature[torch.as_tensor(row).to(place), torch.as_tensor(col).to(place)]
    row, col = (index.cpu().numpy() if isinstance(index, Tensor) else index for index in (row, col))
    if feature.flags.c_contiguous:
        return feature.reshape(-1, feature.shape[2]).take(row * feature.shape[1] + col, axis=0)
    return feature[row, col]


@numba.njit(cache=True, nogil=True)
def _add_rows(total, count, ids, rows):
    for i in range(ids.shape[0]):
        count[ids[i]] += 1
        for j in range(rows.shape[1]):
            total[ids[i], j] += rows[i, j]
