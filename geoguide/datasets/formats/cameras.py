"""Pinhole cameras as files state them: intrinsics, whether they fit an image, and how they follow a resize."""

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from geoguide.datasets.formats.files import need_file, read_matrix
from geoguide.errors import DataError

OFF_CENTRE = 0.1  # of the image's extent; real cameras' principal points lie within 0.03 of the middle


STRETCH = 0.02  # relative; ScanNet's colour, 968 x 1296, is wider by 0.004 than its depth, 480 x 640


def read_intrinsics(path: str | Path) -> np.ndarray:
    """Camera matrix float64 [3, 3] from a 3x3 or 4x4 text file, checked to be finite with positive focal lengths."""
    return check_camera(read_matrix(path, ((3, 3), (4, 4)), "intrinsics")[:3, :3], Path(path))


def check_camera(matrix: np.ndarray, path: Path) -> np.ndarray:
    """The camera matrix [3, 3] itself; `DataError` naming `path` unless finite with positive focal lengths."""
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(f"{path}: intrinsics need finite values and positive focal lengths")
    return matrix


def check_fits(intrinsics: np.ndarray, size: tuple[int, int], image: Path, source: Path) -> None:
    """`DataError` naming `image` where its size (H, W) cannot be the one that intrinsics [3, 3] of `source` hold for.

    The principal point must lie near the middle. Images halved, or colour intrinsics for depth images, are found so;
    lifting would otherwise put every feature on the wrong point without a word.
    """
    extent = np.array(size[::-1], dtype=np.float64)  # (W, H)
    principal = intrinsics[:2, 2]
    if (np.abs(principal - (extent - 1) / 2) > OFF_CENTRE * extent).any():
        width, height = 2 * principal + 1
        raise DataError(
            f"{image}: image is {list(size)} (H, W), but the intrinsics in {source.name} hold for about "
            f"[{height:.0f}, {width:.0f}]"
        )


def check_frame(color: Path, depth: Path, size: tuple[int, int], source: Path) -> None:
    """`DataError` naming the image of a frame that intrinsics in `source`, for depth of `size` (H, W), do not hold for.

    Depth must have that size; colour, which will be resized to it, only its shape.
    """
    found = read_image_size(depth)
    if found != tuple(size):
        raise DataError(
            f"{depth}: image is {list(found)} (H, W), but the frames before and {source.name} are for {list(size)}"
        )
    check_shape(read_image_size(color), size, color)


def check_shape(found: tuple[int, int], size: tuple[int, int], image: Path) -> None:
    """`DataError` naming `image` where its colour, `found` (H, W), would be stretched when resized to `size`."""
    if abs(found[1] * size[0] / (found[0] * size[1]) - 1) > STRETCH:
        raise DataError(f"{image}: image is {list(found)} (H, W), not of the shape of the depth images, {list(size)}")


def resize_intrinsics(intrinsics: np.ndarray, size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """Camera matrix [3, 3] for images resized from `size` to `new_size`, both (H, W) (OpenScene's rule).

    fx by the width ratio, fy by the height ratio, cx by (w' - 1) / (w - 1), cy likewise.
    """
    (height, width), (new_height, new_width) = size, new_size
    resized = np.array(intrinsics, dtype=np.float64)
    resized[0, 0] *= new_width / width
    resized[1, 1] *= new_height / height
    resized[0, 2] *= (new_width - 1) / (width - 1)
    resized[1, 2] *= (new_height - 1) / (height - 1)
    return resized


def read_image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) from an image's header, without decoding its pixels."""
    path = need_file(path, "image")
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a readable image ({error})") from None


def warn_lost(poses: np.ndarray, names: Iterable[str], where: Path) -> None:
    """One warning that names the frames of poses [K, 4, 4] with nan or inf: nothing says which scene they show."""
    lost = [name for name, pose in zip(names, poses, strict=True) if not np.isfinite(pose).all()]
    if lost:
        warnings.warn(f"{where}: {len(lost)} frames skipped, pose holds nan or inf: {', '.join(lost)}", stacklevel=2)
