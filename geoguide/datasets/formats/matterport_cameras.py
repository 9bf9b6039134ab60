"""Matterport3D's cameras: `undistorted_camera_parameters/<house>.conf` as `View`s state them; a region's images.

The file's canonical camera looks along -z with +y up, so a camera-to-world matrix M becomes M diag(1, -1, -1, 1): x
right, y down, z forward. Its image origin is the bottom-left corner and pixel (i, j) has its centre at (i + 1/2, j +
1/2) (the dataset's documentation, and its own code, RGBDUtil.cpp); ours is the centre of the top-left pixel, so

    cx' = cx - 1/2        cy' = H - 1/2 - cy

OpenScene leaves cx and cy as they are in the file, which moves its images by 2 (cy - H/2) rows, about 5 of 1024; ask
for origin="top-left" to do the same.

A house's images are not listed by region. `region_views` chooses those of a region by where their cameras stand, for
the official layout and for OpenScene's alike.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.cameras import Size, check_camera, check_fits, checked_pose
from geoguide.datasets.formats.files import read_text
from geoguide.errors import DataError, InputError

DEPTH_SCALE = 4000.0  # units of 0.25 mm
ORIGINS = ("bottom-left", "top-left")
_TURN = np.array([1.0, -1.0, -1.0, 1.0])  # of the columns; no matrix product, which would spread inf as nan
# Cameras; the mean is 0.91 by how a panorama is taken, and in generated houses; about 0 of inverted poses.
JUDGED, UPRIGHT = 12, 0.5
NEAREST = 100  # images that a Matterport3D test region without any inside takes


@dataclass(frozen=True, eq=False)
class Camera:
    """One image of a house.

    Attributes:
        color: Name of the colour image file.
        depth: Name of the depth image file.
        intrinsics: Camera matrix [3, 3] as the .conf file states it, its origin at the bottom left.
        cam_to_world: Pose [4, 4] in OpenCV axes, metres.
    """

    color: str
    depth: str
    intrinsics: np.ndarray
    cam_to_world: np.ndarray


def read_cameras(path: str | Path) -> tuple[Camera, ...]:
    """Read a .conf file.

    Args:
        path: The file.

    Returns:
        All images that it lists, in its order.

    Raises:
        DataError: The file is missing or broken; the message names file and line.
    """
    path = Path(path)
    expected, intrinsics, cameras = None, None, []
    for number, line in enumerate(read_text(path, "camera parameters").split("\n"), start=1):
        command, *values = line.split() or [""]
        if command == "n_images":
            expected = _numbers(values, 1, path, number, command)[0]  # compared alone: it may be anything
        elif command == "intrinsics_matrix":
            intrinsics = check_camera(np.array(_numbers(values, 9, path, number, command)).reshape(3, 3), path)
        elif command == "scan":
            if intrinsics is None:
                raise DataError(f"{path}: line {number}: scan before any intrinsics_matrix")
            pose = np.array(_numbers(values[2:], 16, path, number, command)).reshape(4, 4)
            pose = checked_pose(pose, f"{path}: line {number}: {values[1]}")
            cameras.append(Camera(values[1], values[0], intrinsics, pose * _TURN))
            _check_named_alike(cameras[-1], f"{path}: line {number}")
    if expected is None or len(cameras) != expected:
        stated = "nothing" if expected is None else f"{expected:g}"
        raise DataError(f"{path}: n_images says {stated}, found {len(cameras)} scan lines, truncated?")
    if not cameras:
        raise DataError(f"{path}: lists no image")
    twice, times = Counter(camera.color for camera in cameras).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path}: expected one scan line for each image, found {times} of {twice}")
    return tuple(cameras)


def depth_name(color: str) -> str | None:
    """Name the depth image that belongs to a colour image.

    Args:
        color: Name of the colour image, `<panorama>_i<camera>_<yaw>.<suffix>`.

    Returns:
        `<panorama>_d<camera>_<yaw>.png`; None where the colour image is named otherwise.

    Example:
        >>> depth_name("0b1ed7f2_i1_3.jpg")
        '0b1ed7f2_d1_3.png'
    """
    parts = Path(color).stem.rsplit("_", 2)
    if len(parts) != 3 or not parts[1].startswith("i"):
        return None
    return f"{parts[0]}_d{parts[1][1:]}_{parts[2]}.png"


def _check_named_alike(camera: Camera, where: str) -> None:
    """Refuse the depth image of another image than the colour image, where their names tell."""
    expected = depth_name(camera.color)
    if expected is not None and Path(camera.depth).stem != Path(expected).stem:
        raise DataError(f"{where}: expected {expected} with {camera.color}, found {camera.depth}")


def to_opencv(intrinsics: np.ndarray, size: Size, image: Path, conf: Path, origin: str = "bottom-left") -> np.ndarray:
    """Turn a .conf file's camera matrix into ours, for pixel centres at whole numbers from the top left.

    Args:
        intrinsics: The file's camera matrix [3, 3].
        size: (H, W) of the image.
        image: The image file, for the message.
        conf: The .conf file, for the message.
        origin: Corner of the image that the file's cy counts from: "bottom-left", or "top-left" to do as OpenScene.

    Returns:
        The camera matrix [3, 3].

    Raises:
        DataError: The principal point cannot belong to an image of this size; the message names `image`.
        InputError: `origin` is another word.
    """
    if origin not in ORIGINS:
        raise InputError(f"origin must be one of {', '.join(ORIGINS)}, found {origin!r}")
    check_fits(intrinsics, size, image, conf)
    result = intrinsics.copy()
    if origin == "bottom-left":
        result[0, 2], result[1, 2] = intrinsics[0, 2] - 0.5, size[0] - 0.5 - intrinsics[1, 2]
    return result


def region_views(cameras: np.ndarray, points: np.ndarray, split: str) -> np.ndarray:
    """Choose the images of a region by where their cameras stand (OpenScene's rule): inside its points' bounding box.

    Args:
        cameras: Camera centres of the house's images [K, 3], metres; nan and inf where a pose is lost.
        points: The region's points [P, 3], metres.
        split: Official split of the house. In "test" a region without cameras inside takes the `NEAREST` ones to the
            middle of the box instead.

    Returns:
        Indices of the images, int64, ascending, or the nearest first; never of one whose pose is lost.
    """
    low, high = points.min(axis=0), points.max(axis=0)  # [3]
    inside = np.flatnonzero(((cameras > low) & (cameras < high)).all(axis=1))
    if len(inside) or split != "test":
        return inside
    distance = np.linalg.norm(cameras - (low + high) / 2, axis=1)  # [K]
    order = np.argsort(distance, kind="stable")[:NEAREST]
    return order[np.isfinite(distance[order])]


def check_upright(poses: np.ndarray, where: str) -> None:
    """Refuse cameras that no tripod holds: of each panorama a third looks level, a third 30 degrees up or down each.

    World-to-camera poses put some cameras inside regions by chance, too few for `surface_agreement` to judge.

    Args:
        poses: Camera-to-world, OpenCV axes, of all images of a house [K, 4, 4]; nan and inf where a pose is lost.
        where: Their file or folder, for the message.

    Raises:
        DataError: Most of them are tilted or upside down; of fewer than `JUDGED` nothing is said.
    """
    ups = -poses[np.isfinite(poses).all(axis=(1, 2)), 2, 1]  # cosine of each camera's tilt
    if len(ups) >= JUDGED and ups.mean() < UPRIGHT:
        expected = "camera-to-world poses of upright cameras, z up"
        found = f"a mean cosine of {ups.mean():.2f} between their way up and z (usual: 0.9)"
        raise DataError(f"{where}: expected {expected}, found {found}: world-to-camera, or other axes?")


def _numbers(values: list[str], count: int, path: Path, line: int, command: str) -> list[float]:
    """The words after a command as numbers; `DataError` naming the line unless there are `count` of them."""
    try:
        numbers = [float(value) for value in values]
    except ValueError as error:
        raise DataError(f"{path}: line {line}: {command} needs {count} numbers ({error})") from None
    if len(numbers) != count:
        raise DataError(f"{path}: line {line}: {command} needs {count} numbers, found {len(numbers)}")
    return numbers
