"""The car of the streets: where its LiDAR and its cameras are mounted, the beams of the LiDAR, and what the car hides.

The car's frame lies on the ground below the rear axle, x ahead, y left, z up; metres. The LiDAR's frame is x right,
y ahead, z up; a camera's x right, y down, z forward.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from geoguide.datasets.formats.nuscenes_tables import CAMERAS, LIDAR

# Mounts as on one of the data set's cars, rounded: channel -> (x, y, z) [m] and heading [degrees] in the car's
# frame, focal length and principal point [pixels of 1600 x 900], and milliseconds between the shutter and the LiDAR.
MOUNTS: dict[str, tuple[tuple[float, float, float], float, tuple[float, float, float], float]] = {
    "CAM_FRONT": ((1.701, 0.016, 1.511), 0.0, (1266.4, 816.3, 491.5), -35.0),
    "CAM_FRONT_RIGHT": ((1.551, -0.493, 1.496), -56.4, (1260.8, 808.0, 495.3), -28.0),
    "CAM_BACK_RIGHT": ((1.015, -0.481, 1.562), -112.3, (1259.5, 807.3, 501.2), -20.0),
    "CAM_BACK": ((0.028, 0.003, 1.579), 180.0, (809.2, 829.2, 481.8), -10.0),
    "CAM_BACK_LEFT": ((1.036, 0.485, 1.591), 108.6, (1256.7, 792.1, 492.8), 0.0),
    "CAM_FRONT_LEFT": ((1.524, 0.495, 1.509), 55.5, (1272.6, 826.6, 479.8), -43.0),
}
LIDAR_PLACE, LIDAR_HEADING = (0.944, 0.0, 1.840), -89.9
IMAGE_SIZE = (900, 1600)  # H, W of nuScenes' images
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # camera axes in a frame of x ahead, z up
MOUNT_ERROR = 0.3  # degrees, standard deviation about each axis: every car has its cameras mounted anew
# The car itself as boxes x0 y0 z0 x1 y1 z1: body and cabin.
EGO_BODY = np.array([[-0.9, -0.87, 0.2, 3.1, 0.87, 0.95], [-0.7, -0.75, 0.3, 1.8, 0.75, 1.5]])
BEAMS = 32
TOP, BOTTOM = 10.67, -30.67  # degrees of elevation of the highest and the lowest beam


@dataclass(frozen=True, eq=False)
class Sensor:
    """A mounted sensor.

    Attributes:
        channel: nuScenes' name of it.
        to_ego: Its pose in the car's frame, float64 [4, 4].
        delay: Seconds between the LiDAR's turn and its own reading.
    """

    channel: str
    to_ego: np.ndarray
    delay: float


@dataclass(frozen=True, eq=False)
class MountedCamera(Sensor):
    """A mounted camera.

    Attributes:
        intrinsics: Camera matrix float64 [3, 3], in pixels of 1600 x 900.
    """

    intrinsics: np.ndarray


def mount_sensors(rng: np.random.Generator) -> tuple[Sensor, dict[str, MountedCamera]]:
    """Equip one car, its cameras mounted a little differently from those of any other.

    Args:
        rng: Source of the differences.

    Returns:
        The LiDAR, and the cameras by channel.
    """
    to_ego = np.eye(4)
    to_ego[:3, :3] = Rotation.from_euler("z", LIDAR_HEADING, degrees=True).as_matrix()
    to_ego[:3, 3] = LIDAR_PLACE
    lidar = Sensor(LIDAR, to_ego, 0.0)
    cameras = {}
    for channel in CAMERAS:
        place, heading, (focal, cx, cy), delay = MOUNTS[channel]
        error = Rotation.from_rotvec(np.deg2rad(MOUNT_ERROR) * rng.standard_normal(3)).as_matrix()
        pose = np.eye(4)
        pose[:3, :3] = error @ Rotation.from_euler("z", heading, degrees=True).as_matrix() @ OPTICAL
        pose[:3, 3] = place
        intrinsics = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        cameras[channel] = MountedCamera(channel, pose, delay / 1000, intrinsics)
    return lidar, cameras


def through_ego(origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Which rays meet the car itself.

    Args:
        origin: Where the rays start, float [3], in the car's frame.
        rays: Where they go, float [R, 3].

    Returns:
        True where a ray meets the car, bool [R].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (EGO_BODY[:, None, :3] - origin) / rays  # [2, R, 3]
        last = (EGO_BODY[:, None, 3:] - origin) / rays
    enter = np.fmin(first, last).max(axis=-1)  # [2, R]
    leave = np.fmax(first, last).min(axis=-1)
    return ((enter < leave) & (leave > 0)).any(axis=0)


def beam_directions(turns: int) -> tuple[np.ndarray, np.ndarray]:
    """The beams of one turn of the LiDAR.

    Args:
        turns: Firings per turn, R = 32 `turns`.

    Returns:
        Unit rays float64 [R, 3] in the LiDAR's frame, firing by firing, and the ring (beam) int64 [R] of each.
    """
    elevation = np.deg2rad(np.linspace(BOTTOM, TOP, BEAMS))[None, :]  # [1, 32]
    azimuth = (2 * np.pi * np.arange(turns) / turns)[:, None]  # [turns, 1]
    rays = np.stack(
        [np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth), np.sin(elevation) + 0 * azimuth],
        axis=-1,
    )
    return rays.reshape(-1, 3), np.tile(np.arange(BEAMS), turns)
