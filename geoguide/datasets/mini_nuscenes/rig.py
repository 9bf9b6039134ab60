"""The car's sensors: where nuScenes mounts its LiDAR and six cameras, and when each of them looks."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from geoguide.datasets.nuscenes_tables import CAMERAS

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
MOUNT_ERROR = 0.3  # degrees: no two cars are alike
# The car itself as boxes x0 y0 z0 x1 y1 z1: body and cabin.
EGO_BODY = np.array([[-0.9, -0.87, 0.2, 3.1, 0.87, 0.95], [-0.7, -0.75, 0.3, 1.8, 0.75, 1.5]])


@dataclass(frozen=True, eq=False)
class Sensor:
    """A mounted sensor: to_ego [4, 4]; delay [s] against the LiDAR; intrinsics [3, 3] of 1600 x 900, None for LiDAR."""

    channel: str
    to_ego: np.ndarray
    delay: float
    intrinsics: np.ndarray | None = None


def mount_sensors(rng: np.random.Generator) -> tuple[Sensor, dict[str, Sensor]]:
    """One car's LiDAR (x right, y ahead, z up) and its cameras by channel, each mounted a little differently."""
    to_ego = np.eye(4)
    to_ego[:3, :3] = Rotation.from_euler("z", LIDAR_HEADING, degrees=True).as_matrix()
    to_ego[:3, 3] = LIDAR_PLACE
    lidar = Sensor("LIDAR_TOP", to_ego, 0.0)
    cameras = {}
    for channel in CAMERAS:
        place, heading, (focal, cx, cy), delay = MOUNTS[channel]
        error = Rotation.from_rotvec(np.deg2rad(MOUNT_ERROR) * rng.standard_normal(3)).as_matrix()
        pose = np.eye(4)
        pose[:3, :3] = error @ Rotation.from_euler("z", heading, degrees=True).as_matrix() @ OPTICAL
        pose[:3, 3] = place
        intrinsics = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        cameras[channel] = Sensor(channel, pose, delay / 1000, intrinsics)
    return lidar, cameras


def through_ego(origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """bool [R]: rays [R, 3] of the car's frame, from `origin` [3], that meet the car itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (EGO_BODY[:, None, :3] - origin) / rays  # [2, R, 3]
        last = (EGO_BODY[:, None, 3:] - origin) / rays
    enter = np.fmin(first, last).max(axis=-1)
    leave = np.fmax(first, last).min(axis=-1)
    return ((enter < leave) & (leave > 0)).any(axis=0)
