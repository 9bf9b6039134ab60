"""The visibility rules of multi-view lifting: one compiled pass on the CPU, torch operations on an accelerator."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from geoguide.ops.arrays import Array
from geoguide.ops.compiled import compiled
from geoguide.ops.pixel_rows import PixelRows

DEVKIT_DEPTH = 1.0  # metres; the nuScenes devkit's min_dist, below which LiDAR points lie on the camera's casing
DEVKIT_MARGIN = 1.0  # pixels


Focal = tuple[float, float, float, float]  # fx, fy, cx, cy


class Camera(NamedTuple):
    """A checked camera.

    Attributes:
        world_to_cam: float64 [3, 4], metres, the upper rows of the inverted pose.
        focal: (fx, fy, cx, cy) in pixels.
        image_size: (H, W).
    """

    world_to_cam: np.ndarray
    focal: Focal
    image_size: tuple[int, int]


def project_points(
    points: Array, camera: Camera, depth: Array | None, tolerance: float, border: int, devkit: bool = False
) -> tuple[Array, Array, Array]:
    """Apply the visibility rule of `geoguide.lifting` to arguments that the caller has checked.

    numpy arrays take the compiled path, tensors the torch one on their device; both give the same answer.

    Args:
        points: [P, 3] metres; float32 is widened as it is read.
        camera: The view.
        depth: [H, W] metres, of the same kind (numpy or tensor) as the points, or None for no occlusion test; float32
            is widened as it is read.
        tolerance: Share of the measured depth by which a point's may differ.
        border: Pixels at the image's edge that see nothing.
        devkit: Apply the nuScenes devkit's limits in place of `border`.

    Returns:
        Rows and columns int64 [P] (0 where unseen), and visibility bool [P].
    """
    if isinstance(points, Tensor):
        return _project_torch(points, camera, depth, tolerance, border, devkit)
    row, col, visible = (np.empty(len(points), kind) for kind in (np.int64, np.int64, np.bool_))
    depth = np.empty((0, 0), np.float32) if depth is None else np.asarray(depth)
    _project_kernel(points, *camera, depth, tolerance, border, devkit, row, col, visible)
    return row, col, visible


@compiled(nogil=True, error_model="numpy")
def _project_kernel(
    points: np.ndarray, world_to_cam: np.ndarray, focal: Focal, image_size: tuple[int, int], depth: np.ndarray,
    tolerance: float, border: int, devkit: bool, row: np.ndarray, col: np.ndarray, visible: np.ndarray,
) -> None:  # fmt: skip
    """Fill row, col and visible block by block, in short loops that each do one thing.

    So the loops over numbers vectorise, and the reads from the depth image overlap.
    """
    block, width, pixels = 512, np.float64(image_size[1]), depth.reshape(-1)
    xs, ys, zs, ds = np.empty(block), np.empty(block), np.empty(block), np.empty(block)
    accepted, chosen = np.empty(block, np.bool_), np.empty(block, np.int64)
    for start in range(0, len(points), block):
        count = min(block, len(points) - start)
        for j in range(count):
            xs[j], ys[j], zs[j] = points[start + j, 0], points[start + j, 1], points[start + j, 2]
        row[start : start + count] = 0  # here, not by numpy.zeros: fresh pages cost more than the arithmetic
        col[start : start + count] = 0
        visible[start : start + count] = False
        _pixels(xs, ys, zs, count, world_to_cam, focal)  # now columns, rows, depths
        if devkit:
            _inside_devkit(xs, ys, zs, count, image_size, accepted)
        else:
            _inside(xs, ys, zs, count, image_size, border, accepted)
        number = _compact(accepted, count, chosen)
        if depth.size > 0:
            for n in range(number):
                j = chosen[n]
                ds[n] = pixels[np.uint32(ys[j] * width + xs[j])]  # exact: unsigned and flat saves half of the time
            number = _unoccluded(ds, zs, number, tolerance, chosen)
        for n in range(number):
            j = chosen[n]
            row[start + j], col[start + j], visible[start + j] = np.int64(ys[j]), np.int64(xs[j]), True


@compiled(nogil=True, error_model="numpy")
def _pixels(xs: np.ndarray, ys: np.ndarray, zs: np.ndarray, count: int, w: np.ndarray, focal: Focal) -> None:
    """Replace world coordinates by column, row and depth, not rounded; inf or nan at depth 0."""
    fx, fy, cx, cy = focal
    a0, a1, a2, a3 = w[0, 0], w[0, 1], w[0, 2], w[0, 3]
    b0, b1, b2, b3 = w[1, 0], w[1, 1], w[1, 2], w[1, 3]
    c0, c1, c2, c3 = w[2, 0], w[2, 1], w[2, 2], w[2, 3]
    for j in range(count):
        x, y, z = xs[j], ys[j], zs[j]
        ahead = c0 * x + c1 * y + c2 * z + c3
        xs[j] = (a0 * x + a1 * y + a2 * z + a3) * fx / ahead + cx
        ys[j] = (b0 * x + b1 * y + b2 * z + b3) * fy / ahead + cy
        zs[j] = ahead


@compiled(nogil=True)
def _inside(
    columns: np.ndarray, rows: np.ndarray, depths: np.ndarray, count: int, image_size: tuple[int, int],
    border: int, accepted: np.ndarray,
) -> None:  # fmt: skip
    """Which points are ahead of the camera and inside the image, decided on rounded coordinates; rounds them."""
    low = np.float64(border)
    high_row, high_column = np.float64(image_size[0] - border), np.float64(image_size[1] - border)
    for j in range(count):
        u, v = np.rint(columns[j]), np.rint(rows[j])
        columns[j], rows[j] = u, v
        accepted[j] = (depths[j] > 0.0) & (u >= low) & (u < high_column) & (v >= low) & (v < high_row)


@compiled(nogil=True)
def _inside_devkit(
    columns: np.ndarray, rows: np.ndarray, depths: np.ndarray, count: int, image_size: tuple[int, int],
    accepted: np.ndarray,
) -> None:  # fmt: skip
    """As `_inside`, by the nuScenes devkit's limits, decided before rounding; rounds the coordinates."""
    high_row, high_column = image_size[0] - DEVKIT_MARGIN, image_size[1] - DEVKIT_MARGIN
    for j in range(count):
        u, v = columns[j], rows[j]
        columns[j], rows[j] = np.rint(u), np.rint(v)
        inside = (u > DEVKIT_MARGIN) & (u < high_column) & (v > DEVKIT_MARGIN) & (v < high_row)
        accepted[j] = (depths[j] > DEVKIT_DEPTH) & inside


@compiled(nogil=True)
def _compact(accepted: np.ndarray, count: int, chosen: np.ndarray) -> np.int64:
    """Write the numbers of the accepted points to `chosen`, without a branch, and return how many there are."""
    number = np.int64(0)
    for j in range(count):
        chosen[number] = j
        number += np.int64(accepted[j])
    return number


@compiled(nogil=True)
def _unoccluded(
    measured: np.ndarray, depths: np.ndarray, count: np.int64, tolerance: float, chosen: np.ndarray
) -> np.int64:
    """Keep in `chosen` the points at the depth that the image measured, and return how many there are.

    measured[n] is the image's depth at point chosen[n]; depths has the depth of every point of the block.
    """
    number = np.int64(0)
    for n in range(count):
        j, d = chosen[n], measured[n]
        chosen[number] = j
        number += np.int64((d > 0.0) & (d < np.inf) & (abs(d - depths[j]) <= tolerance * d))
    return number


def _project_torch(
    points: Tensor, camera: Camera, depth: Array | None, tolerance: float, border: int, devkit: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel's rules in torch, operation for operation."""
    height, width = camera.image_size
    u, v, pz = pixels_torch(points, camera)
    if devkit:
        visible = (pz > DEVKIT_DEPTH) & (u > DEVKIT_MARGIN) & (u < width - DEVKIT_MARGIN)
        visible = visible & (v > DEVKIT_MARGIN) & (v < height - DEVKIT_MARGIN)
    u, v = torch.round(u), torch.round(v)
    if not devkit:
        visible = (pz > 0) & (u >= border) & (u < width - border) & (v >= border) & (v < height - border)
    row, col = (torch.where(visible, pixel, 0.0).long() for pixel in (v, u))  # [P]
    if depth is not None:
        d = torch.as_tensor(depth)[row, col].double()
        visible = visible & (d > 0) & (d < torch.inf) & ((d - pz).abs() <= tolerance * d)
    return row * visible, col * visible, visible


def pixels_torch(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
    """Project points without rounding.

    Args:
        points: [P, 3] metres.
        camera: The view.

    Returns:
        Column and row in pixels, without meaning behind the camera, and depth in metres: float64 [P] each.
    """
    fx, fy, cx, cy = camera.focal
    x, y, z = points.double().unbind(1)
    px, py, pz = (a * x + b * y + c * z + d for a, b, c, d in camera.world_to_cam.tolist())  # [P] each
    safe = torch.where(pz > 0, pz, 1.0)
    return px * fx / safe + cx, py * fy / safe + cy, pz


def add_visible(total: Array, count: Array, feature: Array | PixelRows, row: Array, col: Array, visible: Array) -> None:
    """Add the pixels that see a point to the point's sum, in place.

    Only the visible rows of the map are copied, converted or moved between devices; of `PixelRows` only they are made.

    Args:
        total: float32 [P, C], the sums, written to.
        count: int64 [P], the number of views that see each point, written to.
        feature: [H, W, C], the view's map: numpy, a tensor on any device, or `PixelRows`.
        row: int64 [P], each point's pixel.
        col: int64 [P].
        visible: bool [P], which points the view sees.
    """
    if isinstance(total, Tensor):
        ids = torch.as_tensor(visible).nonzero()[:, 0]
        rows = _rows(feature, row[ids], col[ids]) if len(ids) else total[:0]
        total.index_add_(0, ids, torch.as_tensor(rows).to(total.device, torch.float32))
        torch.as_tensor(count).index_add_(0, ids, torch.ones_like(ids))
        return
    ids, count = np.flatnonzero(visible), np.asarray(count)
    if isinstance(feature, PixelRows):
        if len(ids):
            pixels = np.asarray(row[ids] * feature.shape[1] + col[ids])
            _add_rows(total, count, ids, *feature.of_points(pixels))
        return
    if isinstance(feature, Tensor) and feature.device.type == "cpu" and feature.dtype == torch.float32:
        feature = feature.numpy()
    if isinstance(feature, np.ndarray) and feature.dtype == np.float32 and feature.flags.c_contiguous:
        _add_rows(total, count, ids, feature.reshape(-1, feature.shape[2]), row[ids] * feature.shape[1] + col[ids])
        return
    rows = _rows(feature, row[ids], col[ids])
    rows = rows.float().cpu().numpy() if isinstance(rows, Tensor) else rows
    _add_rows(total, count, ids, np.ascontiguousarray(rows, dtype=np.float32), np.arange(len(ids)))


def _rows(feature: Array | PixelRows, row: Array, col: Array) -> Array:
    """feature[row, col], [n, C], gathered on the map's own device."""
    if isinstance(feature, PixelRows):
        made, place = feature.of_points(np.asarray(torch.as_tensor(row * feature.shape[1] + col).cpu()))
        return made[place]
    if isinstance(feature, Tensor):
        place = feature.device
        return feature[torch.as_tensor(row).to(place), torch.as_tensor(col).to(place)]
    row, col = (index.cpu().numpy() if isinstance(index, Tensor) else index for index in (row, col))
    return feature[row, col]


@compiled(nogil=True)
def _add_rows(total: np.ndarray, count: np.ndarray, ids: np.ndarray, rows: np.ndarray, index: np.ndarray) -> None:
    """total[ids] += rows[index] and count[ids] += 1 for distinct ids, without a copy of the rows."""
    for n in range(len(ids)):
        i, r = ids[n], index[n]
        count[i] += 1
        for channel in range(rows.shape[1]):
            total[i, channel] += rows[r, channel]
