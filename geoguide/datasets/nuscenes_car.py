"""Where nuScenes' cars have their sensors: what no LiDAR, camera or pose of one can be, by its place and direction.

Cameras look around: each image ends beyond where the next one begins. The least overlap of two neighbours, measured:

| cameras | least overlap |
|---|---|
| a real key frame; 140 generated ones | 4.5 degrees; 3.7 and more |
| intrinsics of CAM_BACK, the wide one, exchanged with any other camera's | -2.1 and less |

Two of the other five, whose intrinsics are alike but for a few pixels, cannot be told when exchanged.
"""

import itertools
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from geoguide.datasets.formats.nuscenes_tables import CAMERAS, LIDAR
from geoguide.errors import DataError
from geoguide.scene import View

# A sensor stands on the car: within 2.5 m of its origin, and a camera may see up to 50 ms before or after the LiDAR, in
# which the car drives 2 m at most. Cameras and LiDAR are level within a few degrees.
REACH, UPRIGHT = 10.0, 0.5  # metres; cosine of the tilt
STEEPEST = 0.9  # cosine of the car's own tilt, 26 degrees: no street is so steep
LOOKS = {"CAM_FRONT": 0, "CAM_FRONT_RIGHT": -55, "CAM_BACK_RIGHT": -110, "CAM_BACK": 180}  # degrees to the left
LOOKS |= {"CAM_BACK_LEFT": 110, "CAM_FRONT_LEFT": 55}
ASIDE = 40.0  # degrees off that; the next camera is 55 away, and the ones of the cars differ by a few
NEAR, JUDGED = 10.0, 1000  # metres; points, of fewer of which nothing is said: a sweep has 34,000
# Share of the points within NEAR: of a real sweep 0.64, of 140 generated ones 0.36 and more, thinned to one point in
# 0.5 m 0.12 and more; around a place 30 m away 0.06 and less.
AMID = 0.08
# Metres of the cameras above the ground: 1.5 on the cars, of a real sweep and of generated ones; 3.3 where the points
# are still in the LiDAR's coordinates.
HIGH = (0.5, 2.5)
STREET, BIN = 15.0, 0.2  # metres: the ground is looked for so near; half of the height within which it lies


def check_lidar(pose: np.ndarray, where: str) -> None:
    """Refuse a LiDAR that stands beside the car, or does not stand upright.

    Args:
        pose: LiDAR to car, [4, 4], finite.
        where: File and record, for the message.

    Raises:
        DataError: It stands elsewhere.
    """
    distance = float(np.linalg.norm(pose[:3, 3]))
    if distance > REACH:
        found = f"found it {distance:.0f} m away"
        raise DataError(f"{where}: field translation: expected {LIDAR} on the car in metres, {found}")
    if pose[2, 2] < UPRIGHT:
        expected = f"{LIDAR} upright, a quaternion w, x, y, z from sensor to car"
        found = f"found it tilted by {_degrees(pose[2, 2]):.0f} degrees"
        raise DataError(f"{where}: field rotation: expected {expected}, {found}")


def check_ego(pose: np.ndarray, where: str) -> None:
    """Refuse a car that does not stand on its wheels.

    Args:
        pose: Car to world, [4, 4], finite.
        where: File and record, for the message.

    Raises:
        DataError: It is tilted as no street is.
    """
    if pose[2, 2] < STEEPEST:
        expected = "a car on its wheels, a quaternion w, x, y, z from car to world"
        found = f"found it tilted by {_degrees(pose[2, 2]):.0f} degrees"
        raise DataError(f"{where}: field rotation: expected {expected}, {found}")


def check_mount(view: View, where: str) -> None:
    """Refuse a camera that is far from the car, tilted or looks another way than its channel says.

    Args:
        view: The camera, named by its channel, in the car's coordinates.
        where: File and record, for the message.

    Raises:
        DataError: It stands elsewhere, or looks elsewhere.
    """
    if not view.has_pose:
        return
    pose = view.cam_to_world
    distance = float(np.linalg.norm(pose[:3, 3]))
    if distance > REACH:
        raise DataError(f"{where}: field ego_pose_token: expected {view.name} on the car in metres, found it "
                        f"{distance:.0f} m from where the car is when {LIDAR} measures")  # fmt: skip
    found = np.degrees(np.arctan2(pose[1, 2], pose[0, 2]))
    if -pose[2, 1] < UPRIGHT or abs(_turn(found - LOOKS[view.name])) > ASIDE:
        expected = f"{view.name} level and looking {LOOKS[view.name]} degrees to the left"
        raise DataError(f"{where}: field calibrated_sensor_token: expected {expected}, a quaternion w, x, y, z "
                        f"from sensor to car; found it looking {found:.0f} degrees, tilted by "
                        f"{_degrees(-pose[2, 1]):.0f}")  # fmt: skip


def check_around(views: Mapping[str, View], where: str) -> None:
    """Refuse cameras that do not look around from one car, whatever the coordinates of their poses.

    Args:
        views: Channel -> camera. Those without a pose are left out.
        where: Their folder, for the message.

    Raises:
        DataError: Two of them stand farther from each other than on a car, or look otherwise to each other than their
            channels do.
    """
    posed = {channel: view for channel, view in views.items() if view.has_pose}
    if not posed:
        return
    first, *others = posed
    looks = _headings(list(posed.values()))
    for channel, look in zip(others, looks[1:], strict=True):
        apart = float(np.linalg.norm(posed[channel].cam_to_world[:3, 3] - posed[first].cam_to_world[:3, 3]))
        expected = _turn(LOOKS[channel] - LOOKS[first])
        if apart > REACH:
            expected = f"{posed[channel].name} and {posed[first].name} on one car"
            raise DataError(f"{where}: expected {expected}, found them {apart:.0f} m from each other")
        if abs(_turn(look - expected)) > ASIDE:
            expected = f"{posed[channel].name} to look {expected:.0f} degrees to the left of {posed[first].name}"
            hint = "one pose for all cameras, world-to-camera, or other axes than x right, y down, z forward?"
            raise DataError(f"{where}: expected {expected}, found {look:.0f}: {hint}")


def check_amid(points: np.ndarray, views: Sequence[View], where: str) -> None:
    """Refuse cameras that do not stand where a sweep was taken: its points are the denser the nearer.

    Args:
        points: One sweep, [P, 3] metres, in the coordinates of the poses.
        views: The cameras of its car. Those without a pose are left out.
        where: Their folder, for the message.

    Raises:
        DataError: Few of the points are near the cameras, or the cameras are not as high above the ground as on a car.
    """
    eyes = [view.cam_to_world[:3, 3] for view in views if view.has_pose]
    if not eyes or len(points) < JUDGED:
        return
    share = float(np.mean(np.linalg.norm(points - np.mean(eyes, axis=0), axis=1) < NEAR))
    if share < AMID:
        found = f"found {share:.1%} of the points within {NEAR:.0f} m of them (usual: 40 %)"
        raise DataError(
            f"{where}: expected cameras where the LiDAR was, {found}: poses of another scene or coordinates?"
        )
    height = np.mean(eyes, axis=0)[2] - street_place(points)[2]
    if not HIGH[0] < height < HIGH[1]:
        hint = "points and poses in coordinates of different sensors, or z not up?"
        raise DataError(f"{where}: expected cameras 1.5 m above the ground, found {height:.1f} m: {hint}")


def street_place(points: np.ndarray) -> np.ndarray:
    """Find where the car stood by its sweep alone, whose points are the denser the nearer, most of them on the ground.

    Args:
        points: One sweep, [P, 3] metres, z up.

    Returns:
        A place on the ground, [3]: of a real sweep and 4 generated drives within 3 m of the car, the ground's height
        within 0.2 m.
    """
    middle = np.median(points[:, :2], axis=0)
    near = points[np.linalg.norm(points[:, :2] - middle, axis=1) < STREET, 2]
    height = near if len(near) else points[:, 2]
    count = np.bincount(np.floor((height - height.min()) / BIN).astype(np.int64), minlength=2)
    return np.array([*middle, height.min() + BIN * (1 + (count[:-1] + count[1:]).argmax())])


def warn_gaps(views: Mapping[str, View], where: str) -> None:
    """Warn where an image ends before the next one begins: cameras of nuScenes' cars see all around.

    Args:
        views: Channel -> camera. Nothing is said unless all six are there, with poses.
        where: File of their intrinsics, for the message.
    """
    if not set(CAMERAS) <= set(views) or not all(views[channel].has_pose for channel in CAMERAS):
        return
    ring = [views[channel] for channel in CAMERAS]  # clockwise
    looks = _headings(ring)
    for left, right in itertools.pairwise([*range(len(ring)), 0]):
        overlap = _sides(ring[left])[1] + _sides(ring[right])[0] - (looks[left] - looks[right]) % 360
        if overlap < 0:
            found = f"{-overlap:.0f} degrees between them that neither sees"
            names = f"{ring[left].name} and {ring[right].name}"
            hint = "are intrinsics of two cameras exchanged? Points would be seen in wrong places of images"
            warnings.warn(f"{where}: expected {names} to overlap, found {found}: {hint}", stacklevel=3)
            return


def _headings(views: Sequence[View]) -> np.ndarray:
    """Where cameras look to in the first one's axes, degrees [K] to the left."""
    ahead = np.array([view.cam_to_world[:3, 2] for view in views]) @ views[0].cam_to_world[:3, :3]  # [K, 3]
    return np.degrees(np.arctan2(-ahead[:, 0], ahead[:, 2]))


def _sides(view: View) -> tuple[float, float]:
    """Degrees that a camera sees to the left and to the right of where it looks."""
    focal, centre, last = view.intrinsics[0, 0], view.intrinsics[0, 2], view.image_size[1] - 1
    return float(np.degrees(np.arctan2(centre, focal))), float(np.degrees(np.arctan2(last - centre, focal)))


def _turn(degrees: float) -> float:
    """An angle in -180..180."""
    return (degrees + 180) % 360 - 180


def _degrees(cosine: float) -> float:
    """The angle of a cosine."""
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
