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
from geoguide.errors import DataError, pass_on_shortage
from geoguide.image_files import UNREADABLE, image_fault, is_turned, map_npy
from geoguide.ops.arrays import image_size
from geoguide.ops.cameras import camera_fault, pose_fault
from geoguide.scene import View, is_lost

OFF_CENTRE = 0.1  # of the image's extent; real cameras' principal points lie within 0.03 of the middle
Size = tuple[int, int]  # (H, W)
LEAST_FOCAL = 0.1  # of the image's extent: 157 degrees are seen
STRETCH = 0.02  # relative; ScanNet's colour, 968 x 1296, is wider by 0.004 than its depth, 480 x 640


def read_intrinsics(path: str | Path) -> np.ndarray:
    """Read a camera matrix.

    Args:
        path: A text file of 3 x 3 or 4 x 4 numbers, or an `.npy` file of 3 x 3.

    Returns:
        The camera matrix, float64 [3, 3].

    Raises:
        DataError: The file is missing or broken, or it is no camera matrix (see `camera_of`).
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        return check_camera(read_npy(path, (3, 3), "intrinsics"), path)
    return camera_of(read_matrix(path, ((3, 3), (4, 4)), "intrinsics"), path)


def read_pose(path: Path) -> np.ndarray:
    """Read a camera's pose.

    Args:
        path: A text file or an `.npy` file of 4 x 4 numbers.

    Returns:
        Camera-to-world, float64 [4, 4]; a lost pose holds inf or nan.

    Raises:
        DataError: The file is missing or broken, or the pose is no rigid motion.
    """
    pose = read_npy(path, (4, 4), "pose") if path.suffix.lower() == ".npy" else read_matrix(path, ((4, 4),), "pose")
    return checked_pose(pose, str(path))


def checked_pose(pose: np.ndarray, where: str) -> np.ndarray:
    """Check that a pose is a rigid motion, or else says that the camera was lost.

    Args:
        pose: Pose [4, 4], in either direction.
        where: The file, and where in it the pose stands, for the message.

    Returns:
        The pose itself; all nan where its rotation is zero, which some tools write for a lost camera.

    Raises:
        DataError: The last row is not 0 0 0 1, or the rotation is scaled, mirrored or sheared; the message says which.
    """
    if is_lost(pose):
        return pose if not np.isfinite(pose).all() else np.full((4, 4), np.nan)
    fault = pose_fault(pose)
    if fault is not None:
        raise DataError(f"{where}: {fault}")
    return pose


def camera_of(matrix: np.ndarray, path: Path) -> np.ndarray:
    """Take the camera matrix of what a file states.

    Args:
        matrix: [3, 3], or [4, 4] as ScanNet states it, whose further row and column say nothing.
        path: The file that it was read from, for the message.

    Returns:
        The camera matrix, float64 [3, 3].

    Raises:
        DataError: The fourth row or column says something, as that of a projection matrix does, or as `check_camera`.
    """
    beyond = np.concatenate([matrix[:3, 3:].ravel(), matrix[3:, :3].ravel()])  # [6], or none
    if beyond.any():
        found = " ".join(f"{value:.4g}" for value in beyond)
        raise DataError(f"{path}: intrinsics must have zeros beyond the first three rows and columns, found {found}: "
                        "a projection matrix, or a pose?")  # fmt: skip
    return check_camera(matrix[:3, :3], path)


def check_camera(matrix: np.ndarray, path: Path | str) -> np.ndarray:
    """Check that a camera matrix is [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], finite, in pixels.

    Lifting and fusion use these four numbers only, so any other number in it would be lost without a word.

    Args:
        matrix: The camera matrix [3, 3].
        path: The file that it was read from, for the message.

    Returns:
        `matrix` itself.

    Raises:
        DataError: It is not so.
    """
    fault = camera_fault(matrix)
    if fault is not None:
        raise DataError(f"{path}: {fault}")
    return matrix


class MisfitError(DataError):
    """A camera matrix does not look as if it belonged to an image, by its principal point."""


def check_fits(intrinsics: np.ndarray, size: Size, image: Path, camera: Path) -> None:
    """Check that a camera matrix can belong to images of a size: its principal point must lie near their middle.

    This finds images that were halved, and the colour camera's matrix given for depth images. Lifting would otherwise
    put every feature on the wrong point without a word. Images that were cropped at one side are recognised: their
    principal point lies off the middle by another share along one axis than along the other (see `is_cropped`).

    Args:
        intrinsics: The camera matrix [3, 3].
        size: (H, W) of the image.
        image: The image file, for the message.
        camera: The file that the camera matrix was read from, for the message.

    Raises:
        MisfitError: The principal point lies farther than a tenth of the extent from the middle, and not as in a crop.
        DataError: The focal length would see more than any pinhole camera does, as one in millimetres would.
    """
    focal, extent = intrinsics[[0, 1], [0, 1]], np.array(size[::-1])
    if (focal < LEAST_FOCAL * extent).any():
        found = f"focal lengths of {focal[0]:.4g} and {focal[1]:.4g} pixels in {camera.name}: in millimetres?"
        raise DataError(f"{image}: image is {list(size)} (H, W), expected focal lengths of its extent, found {found}")
    if is_off_centre(intrinsics, size) and not is_cropped(intrinsics, size):
        width, height = 2 * intrinsics[:2, 2] + 1
        fit = f"the intrinsics in {camera.name} hold for about [{height:.0f}, {width:.0f}]"
        raise MisfitError(f"{image}: image is {list(size)} (H, W), but {fit}")


def is_off_centre(intrinsics: np.ndarray, size: Size) -> bool:
    """Tell whether the principal point lies farther than a tenth of the extent from an image's middle.

    Args:
        intrinsics: The camera matrix [3, 3].
        size: (H, W) of the image.

    Returns:
        Whether it does, along either axis.
    """
    extent = np.array(size[::-1], dtype=np.float64)  # (W, H)
    return bool((np.abs(intrinsics[:2, 2] - (extent - 1) / 2) > OFF_CENTRE * extent).any())


def is_cropped(intrinsics: np.ndarray, size: Size) -> bool:
    """Tell whether an image looks cropped: off-centre, but not as one of another size than the camera matrix is for.

    An image of another size has its principal point off the middle by the same share along both axes, and one that was
    turned by 90 degrees fits with its axes exchanged. What is neither, with the principal point inside, is a crop.

    Args:
        intrinsics: The camera matrix [3, 3].
        size: (H, W) of the image.

    Returns:
        Whether it looks so. A crop by the same share along both axes does not.
    """
    share = (intrinsics[:2, 2] + 0.5) / size[::-1]  # of the width and height
    resized = abs(share[0] / share[1] - 1) <= OFF_CENTRE if (share > 0).all() else True
    turned = not is_off_centre(intrinsics, (size[1], size[0]))
    return is_off_centre(intrinsics, size) and not resized and not turned and bool((share < 1).all())


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
        turn = ": its EXIF data ask for a rotation, which is not done to posed images" if is_turned(image) else ""
        shapes = f"image is {list(found)} (H, W), not of the shape of the depth images, {list(size)}"
        raise DataError(f"{image}: {shapes}{turn}")


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
    resized[0, 2] *= (new_width - 1) / max(width - 1, 1)
    resized[1, 2] *= (new_height - 1) / max(height - 1, 1)
    return resized


def at_size(intrinsics: np.ndarray, size: Size, new_size: Size | None) -> tuple[np.ndarray, Size]:
    """Choose the size at which a view's images will be read, which need not be the size of the files.

    Args:
        intrinsics: The camera matrix [3, 3] for the image files.
        size: (H, W) of the image files.
        new_size: (H, W) that was asked for; None: as the files are.

    Returns:
        The camera matrix [3, 3] for the chosen size, and that size (H, W).

    Raises:
        InputError: `new_size` is no height and width.
    """
    if new_size is None:
        return intrinsics, size
    new_size = image_size(new_size)
    return resize_intrinsics(intrinsics, size, new_size), new_size


def common_camera(
    frames: Sequence[tuple[Path, Path]], path: Path, new_size: Size | None, *, off_centre: bool = False
) -> tuple[np.ndarray, Size]:
    """Read the camera that all frames of an RGB-D recording share, and check every image against it, by its header.

    The depth images must have one size. The colour images, which will be resized to it, need only have its shape.

    Args:
        frames: Colour and depth image file of each frame, K >= 1 of them.
        path: The file of the depth images' camera matrix.
        new_size: (H, W) at which the images will be read, None for the depth images' own.
        off_centre: Whether a principal point far from the middle is accepted, because the caller checks in another way
            that images and camera matrix belong together.

    Returns:
        The camera matrix float64 [3, 3] for images of the chosen size, and that size (H, W).

    Raises:
        DataError: A file is missing or broken, or an image does not fit the others.
        MisfitError: The images do not fit the camera matrix.
    """
    first_depth = frames[0][1]
    size = read_image_size(first_depth)
    intrinsics = read_intrinsics(path)
    if not off_centre:
        check_fits(intrinsics, size, first_depth, path)
    for color, depth in frames:
        check_alike(color, depth, size, path)
    return at_size(intrinsics, size, new_size)


def check_alike(color: Path, depth: Path, size: Size, camera: Path) -> None:
    """Check that the images of a frame are for the camera that all frames share, by their headers.

    Args:
        color: The colour image, which need only have the depth images' shape.
        depth: The depth image.
        size: (H, W) of the first depth image.
        camera: The file of the depth images' camera matrix, for the message.

    Raises:
        DataError: An image is missing or broken, or of another size or shape.
    """
    depth_size = read_image_size(depth)
    if depth_size != size:
        expected = f"the frames before and {camera.name} are for {list(size)}"
        raise DataError(f"{depth}: image is {list(depth_size)} (H, W), but {expected}")
    check_shape(read_image_size(color), size, color)


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
    if path.suffix.lower() == ".npy":
        shape = map_npy(path).shape
        if len(shape) < 2 or 0 in shape:
            raise DataError(f"{path}: expected an image [H, W], found an array {list(shape)}")
        return shape[0], shape[1]
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UNREADABLE as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable image ({image_fault(error, path)})") from None


def warn_lost(poses: np.ndarray, names: Iterable[str], where: Path) -> None:
    """Give one warning that names the frames whose pose is lost, where poses decide which scene a frame belongs to.

    Args:
        poses: Camera-to-world [K, 4, 4]; a lost pose holds nan or inf.
        names: Name of each frame, K of them.
        where: The file or folder that the poses were read from, for the message.
    """
    lost = [name for name, pose in zip(names, poses, strict=True) if is_lost(pose)]
    if lost:
        warnings.warn(f"{where}: {len(lost)} frames skipped, pose holds nan or inf: {', '.join(lost)}", stacklevel=2)


def frames_as_read(views: Sequence[View]) -> tuple[str, ...]:
    """Say what was decided about a recording's frames: lost poses, poses that repeat, crops, EXIF rotations.

    Args:
        views: The recording's views.

    Returns:
        Sentences for `Scene.as_read`. Crops and EXIF data are looked for in the first frame.
    """
    sentences = [*_lost_frames(views), *_repeated_poses(views)]
    if views and is_off_centre(views[0].intrinsics, views[0].image_size):
        column, row = views[0].intrinsics[:2, 2]
        where = f"({column:.0f}, {row:.0f}) in {list(views[0].image_size)} (H, W)"
        sentences.append(f"the principal point is off the middle, {where}: images are taken as cropped")
    color = views[0].pixel_files[0] if views else None
    if is_turned(color):
        sentences.append("EXIF data of the images ask for a rotation: not done, poses are for the pixels as stored")
    return tuple(sentences)


def _repeated_poses(views: Sequence[View]) -> tuple[str, ...]:
    poses = [view.cam_to_world.tobytes() for view in views if view.has_pose]
    again = len(poses) - len(set(poses))
    return (f"{again} of {len(views)} frames have exactly the pose of another frame",) if again else ()


def _lost_frames(views: Sequence[View]) -> tuple[str, ...]:
    lost = [view.name for view in views if not view.has_pose]
    first = ", ".join(lost[:3]) + (", ..." if len(lost) > 3 else "")
    sentence = f"{len(lost)} of {len(views)} frames are left out, their pose is lost (not finite or zero): {first}"
    return (sentence,) if lost else ()
