"""The scan of mini-nuScenes: `scan_street(street, seed, config)` drives through a street with a LiDAR and six cameras.

Each sensor sees the street as it is at the sensor's own time; its readings have the faults of real ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from PIL import Image

from geoguide.errors import ConfigError
from geoguide.ops.compiled import compiled
from geoguide.worlds.car import IMAGE_SIZE, MountedCamera, Sensor, beam_directions, mount_sensors, through_ego
from geoguide.worlds.casting import NO_OBJECT, RayCaster, pixel_rays
from geoguide.worlds.site import HALF_TIME
from geoguide.worlds.streets.world import Street, StreetObject

FAINT = 0.1  # strength below which echoes are lost more and more often
SUN = np.array([0.45, 0.3, 0.84])  # direction of the light that shades the colours
PROBES = 48  # points of an object that are tested for visibility


@dataclass(frozen=True)
class DriveConfig:
    """How a street is recorded. The real LiDAR fires 1084 times a turn; 720 keep a key frame below 1 MB."""

    key_frames: int = 4
    interval: float = 0.5  # seconds between key frames
    turns: int = 720  # firings per turn
    lidar_range: tuple[float, float] = (1.5, 90.0)  # metres
    range_noise: float = 0.02  # metres
    dropout: float = 0.03  # share of echoes lost at random
    fading: float = 55.0  # metres at which an echo has half the strength that it has close by
    false_echoes: float = 0.002  # share of echoes from rain or dust somewhere on the way
    render_size: tuple[int, int] = (180, 320)  # H, W of the ray-cast image, enlarged to 900 x 1600
    color_noise: float = 4.0  # standard deviation, in steps of the 8-bit colours
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
    """One turn of the LiDAR with P echoes.

    Attributes:
        points: float32 [P, 3] metres, in the LiDAR's frame.
        intensity: Strength of each echo, float [P], 0..255.
        ring: Beam of each echo, int64 [P], 0..31.
        object: Object of each echo, int64 [P], -1 where the echo is no surface.
    """

    points: np.ndarray
    intensity: np.ndarray
    ring: np.ndarray
    object: np.ndarray


@dataclass(frozen=True, eq=False)
class Picture:
    """One image of a camera; `object` and `depth` are of the size that was ray-cast.

    Attributes:
        color: uint8 [900, 1600, 3].
        object: Object of each pixel, int64 [h, w], -1 in the sky.
        depth: float32 [h, w] metres, 0 in the sky.
    """

    color: np.ndarray
    object: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """What the car records at one key frame.

    Attributes:
        time: Seconds, of the LiDAR's turn; each camera takes its picture at a delay to it.
        sweep: The LiDAR's turn.
        things: What is annotated: for each thing (an object with a box) that the LiDAR meets its number of echoes and
            the share of its surface that the LiDAR sees, 0 to 1.
        pictures: The cameras, and the image of each.
    """

    time: float
    sweep: Sweep
    things: dict[int, tuple[int, float]]
    pictures: list[tuple[MountedCamera, Picture]]


def scan_street(street: Street, seed: int, config: DriveConfig) -> tuple[list[Sensor], Iterator[KeyFrame]]:
    """Drive through a street; the same street, seed and config give the same readings.

    Args:
        street: The street.
        seed: Source of the mounts and of all faults.
        config: The drive.

    Returns:
        The car's sensors, the LiDAR first; and the key frames, each of which is recorded when it is asked for.
    """
    rng = np.random.default_rng(seed)
    lidar, cameras = mount_sensors(rng)
    return [lidar, *cameras.values()], _drive(street, lidar, list(cameras.values()), config, rng)


def _drive(
    street: Street, lidar: Sensor, cameras: list[MountedCamera], config: DriveConfig, rng: np.random.Generator
) -> Iterator[KeyFrame]:
    """The key frames of a drive."""
    caster = StreetCaster(street)
    for time in config.times.tolist():
        turn = take_sweep(street, caster, lidar, time, config, rng)
        images = [
            (camera, take_picture(street, caster, camera, time + camera.delay, config, rng)) for camera in cameras
        ]
        yield KeyFrame(time, turn, _things(street, caster, lidar, time, turn), images)


class Faces:
    """Some objects of a street as one mesh, at one time.

    Args:
        objects: Numbers and objects.
        time: Seconds.

    Attributes:
        caster: The ray caster of the mesh, in the street's frame.
        object: Number of the object of each face, int64 [F].
        color: Colour of each face, uint8 [F, 3].
    """

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
    """What R rays meet first.

    Attributes:
        object: Number of the object, int64 [R], -1 for none.
        distance: In lengths of the ray, float32 [R], infinite for none.
        color: uint8 [R, 3]; without meaning for none.
        normal: Unit normal of the surface, float32 [R, 3]; likewise.
    """

    object: np.ndarray
    distance: np.ndarray
    color: np.ndarray
    normal: np.ndarray


class StreetCaster:
    """A street to cast rays at, at any time; the search tree of what stands still is built once.

    Args:
        street: The street.
    """

    def __init__(self, street: Street) -> None:
        numbered = list(enumerate(street.objects))
        self._still = Faces([pair for pair in numbered if pair[1].speed == 0], 0.0)
        moving = [pair for pair in numbered if pair[1].speed != 0]
        self._moving_at = lru_cache(maxsize=1)(partial(Faces, moving)) if moving else None

    def cast(self, origin: np.ndarray, rays: np.ndarray, time: float) -> Hits:
        """Find what rays meet first.

        Args:
            origin: Where they start, float [3], in the street's frame.
            rays: Where they go, float [R, 3].
            time: Seconds.

        Returns:
            What each ray meets.
        """
        rays = np.ascontiguousarray(rays, dtype=np.float32)
        origins = np.empty_like(rays)
        origins[:] = origin
        face, distance = self._still.caster.cast(origins, rays)  # [R] each
        hit = face >= 0
        distance[~hit] = np.inf
        number = np.where(hit, self._still.object[face], NO_OBJECT)
        hits = Hits(number, distance, self._still.color[face], self._still.caster.face_normals[face])
        if self._moving_at is not None:
            self._put_before(hits, self._moving_at(time), origins, rays)
        return hits

    @staticmethod
    def _put_before(hits: Hits, faces: Faces, origins: np.ndarray, rays: np.ndarray) -> None:
        """Change the hits of those rays that meet one of `faces` earlier."""
        face, distance = faces.caster.cast(origins, rays)  # [R] each
        nearer = np.flatnonzero((face >= 0) & (distance < hits.distance))
        face = face[nearer]
        hits.object[nearer], hits.distance[nearer] = faces.object[face], distance[nearer]
        hits.color[nearer], hits.normal[nearer] = faces.color[face], faces.caster.face_normals[face]


def take_sweep(
    street: Street, caster: StreetCaster, lidar: Sensor, time: float, config: DriveConfig, rng: np.random.Generator
) -> Sweep:
    """Take one turn of the LiDAR, as if in one instant; echoes of the car itself are left out.

    Args:
        street: The street.
        caster: The same street, to cast rays at.
        lidar: The LiDAR.
        time: Seconds.
        config: The drive.
        rng: Source of the faults.

    Returns:
        The echoes.
    """
    rays, ring = beam_directions(config.turns)  # [R, 3], [R]
    pose = street.ego_pose(time) @ lidar.to_ego
    hits = caster.cast(pose[:3, 3], rays @ pose[:3, :3].T, time)
    near, far = config.lidar_range
    distance = np.where(np.isfinite(hits.distance), hits.distance, 1e6)  # [R]
    cosine = np.abs((hits.normal * (rays @ pose[:3, :3].T)).sum(axis=1))  # [R]
    grey = hits.color.mean(axis=1) / 255  # [R]
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


def take_picture(
    street: Street,
    caster: StreetCaster,
    camera: MountedCamera,
    time: float,
    config: DriveConfig,
    rng: np.random.Generator,
) -> Picture:
    """Take the image of a camera.

    Args:
        street: The street.
        caster: The same street, to cast rays at.
        camera: The camera.
        time: Seconds, of its shutter.
        config: The drive.
        rng: Source of the noise.

    Returns:
        The image, its colours shaded by the sun and fading into haze.
    """
    shape = config.render_size
    pose = street.ego_pose(time) @ camera.to_ego
    rays = pixel_rays(camera.intrinsics, shape, IMAGE_SIZE[0] / shape[0]).reshape(-1, 3) @ pose[:3, :3].T
    hits = caster.cast(pose[:3, 3], rays, time)
    sun = hits.normal @ (SUN / np.linalg.norm(SUN))  # [h w]
    depth = np.where(hits.object >= 0, hits.distance, 0).astype(np.float32)  # [h w]
    haze = np.exp(-depth / 250)  # [h w]
    noise = rng.normal(0, config.color_noise, (len(rays), 3))  # [h w, 3]
    color = _shade(hits.object, hits.color, sun, haze, rays, noise)
    image = Image.fromarray(color.reshape(*shape, 3)).resize(IMAGE_SIZE[::-1], Image.Resampling.BICUBIC)
    return Picture(np.asarray(image), hits.object.reshape(shape), depth.reshape(shape))


@compiled()
def _shade(
    number: np.ndarray, color: np.ndarray, sun: np.ndarray, haze: np.ndarray, rays: np.ndarray, noise: np.ndarray
) -> np.ndarray:
    """The colours uint8 [P, 3] of P pixels, in one compiled pass.

    `number` [P] is -1 in the sky. What is not sky has a `color` uint8 [P, 3], `sun` [P], its cosine to the sun, and
    `haze` float32 [P], the share of its light that gets through the air.
    """
    horizon, zenith = (215.0, 222.0, 230.0), (130.0, 165.0, 215.0)
    shaded = np.empty(color.shape, np.uint8)
    for p in range(len(number)):
        x, y, z = rays[p, 0], rays[p, 1], rays[p, 2]
        up = min(max(z / np.sqrt(x * x + y * y + z * z), 0.0), 1.0)
        light, lost = 0.55 + 0.45 * abs(sun[p]), np.float32(1) - haze[p]
        for axis in range(3):
            value = horizon[axis] * (1 - up) + zenith[axis] * up  # of the sky
            if number[p] >= 0:
                value = haze[p] * np.float32(color[p, axis]) * light + lost * value
            shaded[p, axis] = np.uint8(min(max(np.rint(value + noise[p, axis]), 0.0), 255.0))
    return shaded


def _things(
    street: Street, caster: StreetCaster, lidar: Sensor, time: float, turn: Sweep
) -> dict[int, tuple[int, float]]:
    """Number of echoes and visible share of each thing that the LiDAR meets; the share is that seen from the LiDAR."""
    count = np.bincount(turn.object[turn.object >= 0], minlength=len(street.objects))  # [O]
    things = [k for k, item in enumerate(street.objects) if item.size is not None and count[k] > 0]
    if not things:
        return {}
    eye, probes = (street.ego_pose(time) @ lidar.to_ego)[:3, 3], []
    for k in things:
        mesh, pose = street.objects[k].mesh, street.objects[k].pose(time)
        centers = mesh.vertices[mesh.faces[np.linspace(0, len(mesh.faces) - 1, PROBES).astype(int)]].mean(axis=1)
        probes.append(centers @ pose[:3, :3].T + pose[:3, 3])  # [PROBES, 3]
    hits = caster.cast(eye, np.concatenate(probes) - eye, time)
    seen = (hits.object.reshape(-1, PROBES) == np.array(things)[:, None]).mean(axis=1)  # [number of things]
    return {k: (int(count[k]), share) for k, share in zip(things, seen.tolist(), strict=True)}
