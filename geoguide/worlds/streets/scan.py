"""Driving through a street: a 32-beam LiDAR and six cameras, ray-cast at their own times, with a sensor's faults."""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from geoguide.datasets.formats.nuscenes_tables import CAMERAS
from geoguide.errors import ConfigError
from geoguide.worlds.camera import NO_OBJECT
from geoguide.worlds.casting import RayCaster
from geoguide.worlds.site import HALF_TIME
from geoguide.worlds.streets.world import Street, StreetObject
from geoguide.worlds.things.categories import CATEGORIES, NOISE

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
    """Bool [R]: rays [R, 3] of the car's frame, from `origin` [3], that meet the car itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first = (EGO_BODY[:, None, :3] - origin) / rays  # [2, R, 3]
        last = (EGO_BODY[:, None, 3:] - origin) / rays
    enter = np.fmin(first, last).max(axis=-1)
    leave = np.fmax(first, last).min(axis=-1)
    return ((enter < leave) & (leave > 0)).any(axis=0)


BEAMS = 32


TOP, BOTTOM = 10.67, -30.67  # degrees of elevation of the highest and the lowest beam


FAINT = 0.1  # strength below which echoes are lost more and more often


SUN = np.array([0.45, 0.3, 0.84])


@dataclass(frozen=True)
class DriveConfig:
    """How a street is recorded. The LiDAR's real one fires 1084 times a turn; 720 keep a key frame below 1 MB."""

    key_frames: int = 4
    interval: float = 0.5  # seconds between key frames
    turns: int = 720  # firings per turn
    lidar_range: tuple[float, float] = (1.5, 90.0)  # metres
    range_noise: float = 0.02  # metres
    dropout: float = 0.03  # share of echoes lost at random
    fading: float = 55.0  # metres at which an echo is half as strong as close by
    false_echoes: float = 0.002  # share of echoes from rain or dust somewhere on the way
    render_size: tuple[int, int] = (180, 320)  # H, W of the ray-cast image, enlarged to 900 x 1600
    color_noise: float = 4.0  # standard deviation, of 255
    jpeg_quality: int = 60

    def __post_init__(self) -> None:
        height, width = self.render_size
        if height * IMAGE_SIZE[1] != width * IMAGE_SIZE[0]:
            raise ConfigError(f"render_size must have the sides' ratio of 900 x 1600, found {height} x {width}")
        if self.key_frames < 1 or self.times[-1] > HALF_TIME - 0.1:
            raise ConfigError(
                f"key_frames must be at least 1 and all within {2 * HALF_TIME - 0.2:.1f} s, the time for which a "
                f"street's traffic is planned, found {self.key_frames} every {self.interval} s"
            )

    @property
    def times(self) -> np.ndarray:
        """Times [key_frames] in seconds of the LiDAR's turns; their middle is 0."""
        return (np.arange(self.key_frames) - (self.key_frames - 1) / 2) * self.interval


@dataclass(frozen=True, eq=False)
class Sweep:
    """A LiDAR's turn: points float32 [P, 3] in its own frame, intensity [P] 0..255, ring [P] 0..31, object int64 [P],
    -1 where the echo is no surface.
    """

    points: np.ndarray
    intensity: np.ndarray
    ring: np.ndarray
    object: np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    """A camera's image: color uint8 [900, 1600, 3]; object int64 [h, w], -1 in the sky, and depth float32 [h, w]
    metres, 0 in the sky, both as they were ray-cast.
    """

    color: np.ndarray
    object: np.ndarray
    depth: np.ndarray


class Faces:
    """Some objects of a street as one mesh: what a ray that hits a face finds there."""

    def __init__(self, objects: list[tuple[int, StreetObject]], time: float) -> None:
        vertices, faces, count = [], [], 0
        for _, item in objects:
            pose = item.pose(time)
            vertices.append(item.mesh.vertices @ pose[:3, :3].T + pose[:3, 3])
            faces.append(item.mesh.faces + count)
            count += len(item.mesh.vertices)
        self.caster = RayCaster(np.concatenate(vertices), np.concatenate(faces))
        self.object = np.repeat([number for number, _ in objects], [len(item.mesh.faces) for _, item in objects])
        self.color = np.concatenate([item.mesh.color for _, item in objects])


@dataclass(frozen=True, eq=False)
class Hits:
    """What rays meet first: object int64 [R] (-1 nothing), distance [R] in units of the ray, color [R, 3], normal."""

    object: np.ndarray
    distance: np.ndarray
    color: np.ndarray
    normal: np.ndarray


class World:
    """A street to cast rays at, at any time; the search tree of what stands still is built once."""

    def __init__(self, street: Street) -> None:
        numbered = list(enumerate(street.objects))
        self._still = Faces([pair for pair in numbered if pair[1].speed == 0], 0.0)
        self._moving = [pair for pair in numbered if pair[1].speed != 0]

    def cast(self, origin: np.ndarray, rays: np.ndarray, time: float) -> Hits:
        """Cast rays [R, 3] from `origin` [3], both of the street's frame, at `time` seconds."""
        hits = self._against(self._still, origin, rays)
        if not self._moving:
            return hits
        other = self._against(Faces(self._moving, time), origin, rays)
        nearer = other.distance < hits.distance
        return Hits(
            np.where(nearer, other.object, hits.object),
            np.where(nearer, other.distance, hits.distance),
            np.where(nearer[:, None], other.color, hits.color),
            np.where(nearer[:, None], other.normal, hits.normal),
        )

    @staticmethod
    def _against(faces: Faces, origin: np.ndarray, rays: np.ndarray) -> Hits:
        face, distance = faces.caster.cast(np.broadcast_to(origin, rays.shape), rays)
        hit = face >= 0
        return Hits(
            np.where(hit, faces.object[face], NO_OBJECT),
            np.where(hit, distance, np.inf),
            faces.color[face],
            faces.caster.face_normals[face],
        )


def beam_directions(turns: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rays float64 [turns * 32, 3] in the LiDAR's frame, firing by firing, and the ring int64 of each."""
    elevation = np.deg2rad(np.linspace(BOTTOM, TOP, BEAMS))[None, :]
    azimuth = (2 * np.pi * np.arange(turns) / turns)[:, None]
    rays = np.stack(
        [np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth), np.sin(elevation) + 0 * azimuth],
        axis=-1,
    )
    return rays.reshape(-1, 3), np.tile(np.arange(BEAMS), turns)


def sweep(
    street: Street, world: World, lidar: Sensor, time: float, config: DriveConfig, rng: np.random.Generator
) -> Sweep:
    """One turn of the LiDAR, taken as one instant; the car's own echoes are left out."""
    rays, ring = beam_directions(config.turns)
    pose = street.ego_pose(time) @ lidar.to_ego
    hits = world.cast(pose[:3, 3], rays @ pose[:3, :3].T, time)
    near, far = config.lidar_range
    distance = np.where(np.isfinite(hits.distance), hits.distance, 1e6)
    cosine = np.abs((hits.normal * (rays @ pose[:3, :3].T)).sum(axis=1))
    grey = hits.color.mean(axis=1) / 255
    strength = (0.15 + grey) * (0.3 + 0.7 * cosine) * np.exp2(-((distance / config.fading) ** 2))
    echo = (hits.object >= 0) & (distance > near) & (distance < far) & (rng.random(len(rays)) >= config.dropout)
    echo &= rng.random(len(rays)) < np.clip(strength / FAINT, 0, 1)
    echo &= ~through_ego(lidar.to_ego[:3, 3], rays @ lidar.to_ego[:3, :3].T)
    false = echo & (rng.random(len(rays)) < config.false_echoes)
    measured = distance + config.range_noise * rng.standard_normal(len(rays))
    measured = np.where(false, near + (distance - near) * rng.random(len(rays)), measured)
    intensity = 255 * np.clip(0.35 * strength * rng.lognormal(0, 0.25, len(rays)), 0, 1)
    return Sweep(
        (rays * measured[:, None])[echo].astype(np.float32),
        np.rint(np.where(false, 1.0, intensity))[echo],
        ring[echo],
        np.where(false, NO_OBJECT, hits.object)[echo],
    )


def pixel_rays(camera: Sensor, size: tuple[int, int]) -> np.ndarray:
    """Rays [h, w, 3], z = 1, in the camera's axes, through the centres of the pixels of an image of `size` (h, w)."""
    height, width = size
    scale = IMAGE_SIZE[0] / height
    rows, cols = np.mgrid[:height, :width]
    u, v = (cols + 0.5) * scale - 0.5, (rows + 0.5) * scale - 0.5  # in pixels of 1600 x 900
    k = camera.intrinsics
    return np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones((height, width))], axis=-1)


def picture(
    street: Street, world: World, camera: Sensor, time: float, config: DriveConfig, rng: np.random.Generator
) -> Picture:
    """The image that a camera takes at `time`, its shutter's own."""
    shape = config.render_size
    pose = street.ego_pose(time) @ camera.to_ego
    rays = pixel_rays(camera, shape).reshape(-1, 3) @ pose[:3, :3].T
    hits = world.cast(pose[:3, 3], rays, time)
    seen = (hits.object >= 0)[:, None]
    light = 0.55 + 0.45 * np.abs(hits.normal @ (SUN / np.linalg.norm(SUN)))
    haze = np.exp(-np.where(np.isfinite(hits.distance), hits.distance, 0) / 250)[:, None]
    up = np.clip(rays[:, 2:] / np.linalg.norm(rays, axis=1, keepdims=True), 0, 1)  # [h w, 1]
    sky = np.array([215.0, 222, 230]) * (1 - up) + np.array([130.0, 165, 215]) * up
    color = np.where(seen, haze * hits.color * light[:, None] + (1 - haze) * sky, sky)
    color = np.clip(np.rint(color + rng.normal(0, config.color_noise, color.shape)), 0, 255).astype(np.uint8)
    image = Image.fromarray(color.reshape(*shape, 3)).resize(IMAGE_SIZE[::-1], Image.Resampling.BICUBIC)
    depth = np.where(seen[:, 0], hits.distance, 0).astype(np.float32)
    return Picture(np.asarray(image), hits.object.reshape(shape), depth.reshape(shape))


def category_ids(street: Street) -> np.ndarray:
    """Lidarseg category id uint8 [O + 1] of each object; the last entry, which -1 finds, is noise."""
    return np.array([CATEGORIES.index(item.category) for item in street.objects] + [NOISE], dtype=np.uint8)
