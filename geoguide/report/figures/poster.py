"""Still pictures of clouds, for where nothing can be turned: before a reader asks to, without WebGL, in print."""

import base64
import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 560, 420  # pixels


def draw_cloud(points: np.ndarray, colors: np.ndarray, eye: tuple[float, float, float]) -> np.ndarray:
    """Points seen from afar (orthographic), the nearest in front.

    Args:
        points: float [N, 3], N > 0, z up.
        colors: uint8 [N, 3].
        eye: The direction from the cloud to the eye, not straight from above or below.

    Returns:
        uint8 [HEIGHT, WIDTH, 4]; transparent where no point is.
    """
    towards = np.asarray(eye, dtype=np.float64) / np.linalg.norm(eye)  # [3]
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    up = np.cross(towards, right)
    flat = np.asarray(points, dtype=np.float64) @ np.stack([right, -up, towards], axis=1)  # [N, 3]: x, y down, nearness
    low, high = flat.min(axis=0), flat.max(axis=0)  # [3] each
    # Points touch: about as wide as their mean distance on the picture, one to four pixels.
    size = int(np.clip(np.ceil(np.sqrt(WIDTH * HEIGHT / len(flat))), 1, 4))
    extent = np.maximum(high - low, 1e-6)[:2]
    scale = float(np.min((np.array([WIDTH, HEIGHT]) - size) / extent))
    margin = (np.array([WIDTH, HEIGHT]) - size - extent * scale) / 2  # [2]
    place = np.floor((flat[:, :2] - low[:2]) * scale + margin).astype(np.int64)  # [N, 2]: column, row
    canvas = np.zeros((HEIGHT, WIDTH, 4), dtype=np.uint8)
    order = np.argsort(flat[:, 2], kind="stable")  # the last one written stays
    painted = np.concatenate([colors, np.full((len(colors), 1), 255)], axis=1).astype(np.uint8)[order]  # [N, 4]
    columns, rows = place[order].T
    for across in range(size):
        for down in range(size):
            canvas[np.minimum(rows + down, HEIGHT - 1), np.minimum(columns + across, WIDTH - 1)] = painted
    return canvas


def as_data_url(image: np.ndarray) -> str:
    """A picture as text that a page carries.

    Args:
        image: uint8 [H, W, 4].

    Returns:
        `data:image/webp;base64,...`.
    """
    buffer = io.BytesIO()
    Image.fromarray(image, "RGBA").save(buffer, format="WEBP", quality=75, alpha_quality=60, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
