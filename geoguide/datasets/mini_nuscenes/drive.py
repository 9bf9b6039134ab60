"""Driving through a street: a 32-beam LiDAR and six cameras, ray-cast at their own times, with a sensor's faults."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from geoguide.datasets.mini.sensor import NO_OBJECT, RayCaster
from geoguide.datasets.mini_nuscenes.categories import CATEGORIES, NOISE
from geoguide.datasets.mini_nuscenes.rig import IMAGE_SIZE, Sensor, through_ego
from geoguide.datasets.mini_nuscenes.site import HALF_TIME
from geoguide.datasets.mini_nuscenes.street import Street, StreetObject
from geoguide.errors import ConfigError

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
    -1 where the echo is no surface."""

    points: np.ndarray
    intensity: np.ndarray
    ring: np.ndarray
    object: np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    """A camera's image: color uint8 [900, 1600, 3]; object int64 [h, w], -1 in the sky, and depth float32 [h, w]
    metres, 0 in the sky, both as they were ray-cast."""

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
    """lidarseg category id uint8 [O + 1] of each object; the last entry, which -1 finds, is noise."""
    return np.array([CATEGORIES.index(item.category) for item in street.objects] + [NOISE], dtype=np.uint8)
