"""Pinhole cameras as files state them: intrinsics, whether they belong to an image, and how they follow a resize.

A camera matrix is [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, with the centre of the top-left pixel at (0, 0).
Sizes of images are (H, W).
"""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from geoguide.datasets.formats.files import need_file, read_matrix, read_npy
from geoguide.errors import DataError

OFF_CENTRE = 0.1  # of the image's extent; real cameras' principal points lie within 0.03 of the middle
Size = tuple[int, int]  # (H, W)
STRETCH = 0.02  # relative; ScanNet's colour, 968 x 1296, is wider by 0.004 than its depth, 480 x 640


def read_intrinsics(path: str | Path) -> np.ndarray:
    """Read a camera matrix.

    Args:
        path: A text file of 3 x 3 or 4 x 4 numbers, or an `.npy` file of 3 x 3.

    Returns:
        The camera matrix, float64 [3, 3].

    Raises:
        DataError: The file is missing or broken, a value is not finite or a focal length is not positive.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return check_camera(read_npy(path, (3, 3), "intrinsics"), path)
    return check_camera(read_matrix(path, ((3, 3), (4, 4)), "intrinsics")[:3, :3], path)


def read_pose(path: Path) -> np.ndarray:
    """Read a camera's pose.

    Args:
        path: A text file or an `.npy` file of 4 x 4 numbers.

    Returns:
        Camera-to-world, float64 [4, 4]; a lost pose holds inf or nan.

    Raises:
        DataError: The file is missing or broken.
    """
    return read_npy(path, (4, 4), "pose") if path.suffix == ".npy" else read_matrix(path, ((4, 4),), "pose")


def check_camera(matrix: np.ndarray, path: Path) -> np.ndarray:
    """Check that a camera matrix is finite and has positive focal lengths.

    Args:
        matrix: The camera matrix [3, 3].
        path: The file that it was read from, for the message.

    Returns:
        `matrix` itself.

    Raises:
        DataError: It is not so.
    """
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(f"{path}: intrinsics need finite values and positive focal lengths")
    return matrix


def check_fits(intrinsics: np.ndarray, size: Size, image: Path, camera: Path) -> None:
    """Check that a camera matrix can belong to images of a size: its principal point must lie near their middle.

    This finds images that were halved, and the colour camera's matrix given for depth images. Lifting would otherwise
    put every feature on the wrong point without a word.

    Args:
        intrinsics: The camera matrix [3, 3].
        size: (H, W) of the image.
        image: The image file, for the message.
        camera: The file that the camera matrix was read from, for the message.

    Raises:
        DataError: The principal point lies farther than a tenth of the extent from the middle.
    """
    extent = np.array(size[::-1], dtype=np.float64)  # (W, H)
    principal = intrinsics[:2, 2]
    if (np.abs(principal - (extent - 1) / 2) > OFF_CENTRE * extent).any():
        width, height = 2 * principal + 1
        fit = f"the intrinsics in {camera.name} hold for about [{height:.0f}, {width:.0f}]"
        raise DataError(f"{image}: image is {list(size)} (H, W), but {fit}")


def check_shape(found: Size, size: Size, image: Path) -> None:
    """Check that a colour image is not stretched when it is resized to the size of the depth images.

    Args:
        found: (H, W) of the colour image.
        size: (H, W) of the depth images.
        image: The colour image file, for the message.

    Raises:
        DataError: The ratios of width to height differ by more than 2 %.
    """
    if abs(found[1] * size[0] / (found[0] * size[1]) - 1) > STRETCH:
        raise DataError(f"{image}: image is {list(found)} (H, W), not of the shape of the depth images, {list(size)}")


def resize_intrinsics(intrinsics: np.ndarray, size: Size, new_size: Size) -> np.ndarray:
    """Adapt a camera matrix to images that are resized (OpenScene's rule).

    fx is multiplied by the ratio of the widths, fy by that of the heights, cx by (w' - 1) / (w - 1), cy likewise.

    Args:
        intrinsics: The camera matrix [3, 3] for images of `size`.
        size: (H, W) before.
        new_size: (H, W) after.

    Returns:
        The camera matrix for images of `new_size`, float64 [3, 3].

    Example:
        >>> camera = np.array([[500.0, 0, 300], [0, 500.0, 200], [0, 0, 1]])
        >>> resize_intrinsics(camera, size=(401, 601), new_size=(201, 301)).round(1).tolist()
        [[250.4, 0.0, 150.0], [0.0, 250.6, 100.0], [0.0, 0.0, 1.0]]
    """
    (height, width), (new_height, new_width) = size, new_size
    resized = np.array(intrinsics, dtype=np.float64)
    resized[0, 0] *= new_width / width
    resized[1, 1] *= new_height / height
    resized[0, 2] *= (new_width - 1) / (width - 1)
    resized[1, 2] *= (new_height - 1) / (height - 1)
    return resized


def at_size(intrinsics: np.ndarray, size: Size, new_size: Size | None) -> tuple[np.ndarray, Size]:
    """Choose the size at which a view's images will be read, which need not be the size of the files.

    Args:
        intrinsics: The camera matrix [3, 3] for the image files.
        size: (H, W) of the image files.
        new_size: (H, W) that was asked for; None: as the files are.

    Returns:
        The camera matrix [3, 3] for the chosen size, and that size (H, W).
    """
    if new_size is None:
        return intrinsics, size
    return resize_intrinsics(intrinsics, size, new_size), (new_size[0], new_size[1])


def common_camera(frames: Sequence[tuple[Path, Path]], path: Path, new_size: Size | None) -> tuple[np.ndarray, Size]:
    """Read the camera that all frames of an RGB-D recording share, and check every image against it, by its header.

    The depth images must have one size. The colour images, which will be resized to it, need only have its shape.

    Args:
        frames: Colour and depth image file of each frame, K >= 1 of them.
        path: The file of the depth images' camera matrix.
        new_size: (H, W) at which the images will be read, None for the depth images' own.

    Returns:
        The camera matrix float64 [3, 3] for images of the chosen size, and that size (H, W).

    Raises:
        DataError: A file is missing or broken, or an image does not fit the others or the camera matrix.
    """
    first_depth = frames[0][1]
    size = read_image_size(first_depth)
    intrinsics = read_intrinsics(path)
    check_fits(intrinsics, size, first_depth, path)
    for color, depth in frames:
        depth_size = read_image_size(depth)
        if depth_size != size:
            expected = f"the frames before and {path.name} are for {list(size)}"
            raise DataError(f"{depth}: image is {list(depth_size)} (H, W), but {expected}")
        check_shape(read_image_size(color), size, color)
    return at_size(intrinsics, size, new_size)


def read_image_size(path: str | Path) -> Size:
    """Read the size of an image from its header, without decoding its pixels.

    Args:
        path: The image file.

    Returns:
        (H, W).

    Raises:
        DataError: The file is missing or no image.
    """
    path = need_file(path, "image")
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not a readable image ({error})") from None


def warn_lost(poses: np.ndarray, names: Iterable[str], where: Path) -> None:
    """Give one warning that names the frames whose pose is lost, where poses decide which scene a frame belongs to.

    Args:
        poses: Camera-to-world [K, 4, 4]; a lost pose holds nan or inf.
        names: Name of each frame, K of them.
        where: The file or folder that the poses were read from, for the message.
    """
    lost = [name for name, pose in zip(names, poses, strict=True) if not np.isfinite(pose).all()]
    if lost:
        warnings.warn(f"{where}: {len(lost)} frames skipped, pose holds nan or inf: {', '.join(lost)}", stacklevel=2)
