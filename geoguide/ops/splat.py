"""The depth image that a cloud itself gives a camera: a z-buffer of square splats, compiled or in torch operations."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from geoguide.ops.arrays import Array
from geoguide.ops.compiled import compiled
from geoguide.ops.projection import Camera, Focal, pixels_torch


def splat_points(points: Array, camera: Camera, radius: float, most: int) -> Array:
    """Depth of the nearest point whose splat covers each pixel; the caller has checked the arguments.

    A point of depth z > 0 covers the pixels within floor(radius * max(fx, fy) / z), at most `most`, of its own. numpy
    takes the compiled path, a tensor the torch one on its device; both give the same numbers.

    Args:
        points: [P, 3] metres.
        camera: The view.
        radius: Metres that a point covers to either side.
        most: Pixels that a point covers to either side, at most.

    Returns:
        float64 [H, W] metres, 0 where no splat falls; numpy or a tensor, as the points are.
    """
    if isinstance(points, Tensor):
        return _splat_torch(points, camera, radius, most)
    image = np.full(camera.image_size, np.inf)
    _splat_kernel(points, camera.world_to_cam, camera.focal, radius, most, image)
    image[np.isinf(image)] = 0.0
    return image


@compiled(nogil=True, error_model="numpy")
def _splat_kernel(points: np.ndarray, w: np.ndarray, focal: Focal, radius: float, most: int, image: np.ndarray) -> None:
    """Lower every covered pixel of `image` to the point's depth."""
    (fx, fy, cx, cy), (height, width) = focal, image.shape
    reach = radius * max(abs(fx), abs(fy))
    for i in range(len(points)):
        x, y, z = np.float64(points[i, 0]), np.float64(points[i, 1]), np.float64(points[i, 2])
        ahead = w[2, 0] * x + w[2, 1] * y + w[2, 2] * z + w[2, 3]
        if not ahead > 0.0:
            continue
        u = np.rint((w[0, 0] * x + w[0, 1] * y + w[0, 2] * z + w[0, 3]) * fx / ahead + cx)
        v = np.rint((w[1, 0] * x + w[1, 1] * y + w[1, 2] * z + w[1, 3]) * fy / ahead + cy)
        half = min(np.float64(most), np.floor(reach / ahead))
        if not (u + half >= 0 and u - half < width and v + half >= 0 and v - half < height):
            continue  # as floats: a point just ahead of the camera may lie beyond any integer
        top, bottom = np.int64(max(v - half, 0.0)), np.int64(min(v + half, height - 1.0))
        left, right = np.int64(max(u - half, 0.0)), np.int64(min(u + half, width - 1.0))
        for row in range(top, bottom + 1):
            for col in range(left, right + 1):
                image[row, col] = min(image[row, col], ahead)


def _splat_torch(points: Tensor, camera: Camera, radius: float, most: int) -> Tensor:
    """The same by spreading minima over neighbouring pixels, `most` times by one pixel.

    A point enters where as many spreads are left as its splat is wide to one side, so the widest splats enter first.
    """
    (fx, fy, _, _), (height, width) = camera.focal, camera.image_size
    u, v, z = pixels_torch(points, camera)
    half = (radius * max(abs(fx), abs(fy)) / torch.where(z > 0, z, 1.0)).floor().clamp(max=most)
    u, v = torch.round(u), torch.round(v)
    touching = (z > 0) & (u + half >= 0) & (u - half < width) & (v + half >= 0) & (v - half < height)
    u, v, z, half = (part[touching] for part in (u, v, z, half))
    canvas = (height + 2 * most, width + 2 * most)  # centres may lie outside the image by as much as `most`
    place = (v.long() + most) * canvas[1] + u.long() + most
    farness = torch.full((canvas[0] * canvas[1],), -torch.inf, dtype=torch.float64, device=points.device)  # of -depth
    for left in range(most, -1, -1):
        now = half == left
        farness.scatter_reduce_(0, place[now], -z[now], "amax")
        if left:
            farness = max_pool2d(farness.view(1, 1, *canvas), 3, stride=1, padding=1).flatten()
    depth = -farness.view(canvas)[most : most + height, most : most + width]
    return torch.where(depth.isinf(), 0.0, depth)
