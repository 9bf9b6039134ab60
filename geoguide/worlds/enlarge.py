"""Enlarging an image as pillow does, bit by bit, several times faster than pillow on one core.

Pillow blends columns first and rows then, by the cubic kernel of its four nearest, in integers: a weight is counted in
2^-22, a sum is rounded, cut to 8 bits, and only then goes into the second pass. Both passes are done here in the same
integers, but on whole rows at once, which compilers turn into vector instructions.
"""

import functools

import numpy as np

from geoguide.ops.compiled import compiled

PRECISION = 22  # bits of a weight
SUPPORT = 2.0  # pixels on either side that the cubic kernel reaches
SHARPNESS = -0.5  # pillow's parameter of the cubic kernel


def enlarge(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge an image by the cubic kernel: what `PIL.Image.resize` gives with `Resampling.BICUBIC`.

    Args:
        image: uint8 [h, w, 3].
        size: (H, W), neither below the image's.

    Returns:
        uint8 [H, W, 3].
    """
    (height, width, _), (new_height, new_width) = image.shape, size
    columns = np.ascontiguousarray(image.swapaxes(0, 1)).reshape(width, -1)  # [w, 3 h]
    wide = _blend(columns, *_weights(width, new_width)).reshape(new_width, height, 3)
    rows = np.ascontiguousarray(wide.swapaxes(0, 1)).reshape(height, -1)  # [h, 3 W]
    return _blend(rows, *_weights(height, new_height)).reshape(*size, 3)


@functools.lru_cache(maxsize=8)
def _weights(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `new` pixels the first of its old ones, int64 [new], and the weights of these, int32 [new, 5]."""
    center = (np.arange(new) + 0.5) * (old / new)  # [new]
    first = np.maximum((center - SUPPORT + 0.5).astype(np.int64), 0)
    last = np.minimum((center + SUPPORT + 0.5).astype(np.int64), old)
    at = first[:, None] + np.arange(5)  # [new, 5]
    away = np.abs(at - center[:, None] + 0.5)
    a = SHARPNESS
    near = ((a + 2.0) * away - (a + 3.0)) * away * away + 1
    far = (((away - 5) * away + 8) * away - 4) * a
    weight = np.where(away < 1.0, near, np.where(away < SUPPORT, far, 0.0)) * (at < last[:, None])
    # One after the other, as pillow sums them; a weight that is left out adds 0.
    total = functools.reduce(np.add, weight.T)  # [new]
    scaled = weight * (1.0 / total)[:, None] * (1 << PRECISION)
    return first, np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int32)


@compiled()
def _blend(image: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted sums of rows, uint8 [old, N] -> [new, N]; see `_weights`."""
    width = image.shape[1]
    blended = np.empty((len(first), width), np.uint8)
    total = np.empty(width, np.int32)
    for row in range(len(first)):
        total[:] = 1 << (PRECISION - 1)
        for tap in range(weights.shape[1]):
            weight = weights[row, tap]
            if weight == 0:
                continue
            source = image[first[row] + tap]
            for col in range(width):
                total[col] += np.int32(source[col]) * weight
        for col in range(width):
            blended[row, col] = min(max(total[col] >> PRECISION, 0), 255)
    return blended
