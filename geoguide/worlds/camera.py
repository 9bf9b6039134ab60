"""A simulated RGB-D camera for rooms and houses: what it sees of a mesh, with the faults of a structured-light sensor.

Poses are camera-to-world matrices float64 [4, 4] in metres with OpenCV's axes: x right, y down, z forward.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter, minimum_filter
from scipy.spatial.transform import Rotation

from geoguide.errors import ConfigError
from geoguide.frozen import unless
from geoguide.worlds.casting import NO_OBJECT, RayCaster, pixel_rays
from geoguide.worlds.holes import Holes
from geoguide.worlds.interior import Interior

LAMP = np.array([0.25, 0.15, 0.95])  # direction of the ceiling light that shades the colours
JPEG_QUALITY = 95  # of the colour images on disk


@dataclass(frozen=True)
class SensorConfig:
    """How a room is scanned. Depth noise follows the axial noise measured on Kinect sensors (Nguyen et al., 2012)."""

    frames: int = 50
    image_size: tuple[int, int] = (120, 160)  # H, W
    focal: float = 145.0  # pixels; 58 degrees wide, as a Kinect
    height_range: tuple[float, float] = (1.2, 1.7)  # metres above the floor
    depth_range: tuple[float, float] = (0.3, 6.0)  # metres; nothing is measured outside
    noise_floor: float = 0.0015  # metres
    noise_growth: float = 0.0019  # metres per metre^2, times (depth - 0.4 m)^2
    grazing_cosine: float = 0.25  # below this cosine to the surface's normal readings are lost more and more often
    edge_jump: float = 0.06  # relative depth step that counts as an edge
    edge_dropout: float = 0.6  # share of pixels lost at such an edge
    random_dropout: float = 0.01  # share of pixels lost anywhere
    color_noise: float = 4.0  # standard deviation, in steps of the 8-bit colours
    exposure_drift: float = 0.08  # standard deviation of the brightness factor, which changes smoothly over the frames
    position_error: float = 0.005  # metres between recorded and true position, root mean square; changes smoothly
    rotation_error: float = 0.3  # degrees between recorded and true direction, likewise
    holes: float = field(default=0.0, metadata=unless("holes", 0.0))
    """Share of the surface, in patches, of which no frame of a scan has a reading: dark, shiny, out of reach."""

    def __post_init__(self) -> None:
        if not 0 <= self.holes < 1:
            raise ConfigError(f"sensor.holes must be at least 0 and below 1, found {self.holes}")

    @property
    def intrinsics(self) -> np.ndarray:
        """Camera matrix float64 [3, 3], principal point at the image centre."""
        height, width = self.image_size
        return np.array([[self.focal, 0, (width - 1) / 2], [0, self.focal, (height - 1) / 2], [0, 0, 1]])


@dataclass(frozen=True, eq=False)
class Frame:
    """One simulated frame.

    Attributes:
        color: uint8 [H, W, 3].
        depth: uint16 [H, W], millimetres, 0 where the reading was lost.
        object: int64 [H, W], index into the objects of the room or house, -1 where the ray leaves it.
        cam_to_world: The recorded pose float64 [4, 4], with its error.
        surface: float32 [H, W, 3], the true point that each ray met, NaN where none. Labels are transferred from it;
            it is not written to disk.
    """

    color: np.ndarray
    depth: np.ndarray
    object: np.ndarray
    cam_to_world: np.ndarray
    surface: np.ndarray


def render(
    room: Interior,
    caster: RayCaster,
    pose: np.ndarray,
    recorded: np.ndarray,
    exposure: float,
    config: SensorConfig,
    rng: np.random.Generator,
    holes: Holes | None = None,
) -> Frame:
    """Take one frame of a room or house.

    Args:
        room: Whose colours and objects the camera sees.
        caster: The ray caster of the room's mesh.
        pose: The true pose float64 [4, 4].
        recorded: The pose that the frame says it was taken from, float64 [4, 4].
        exposure: Factor on the brightness, 1 for none.
        config: The sensor.
        rng: Source of the noise.
        holes: Where no reading is taken; None for nowhere.

    Returns:
        The frame, its colours shaded by a lamp and by the angle to the surface.
    """
    shape = config.image_size
    rays = pixel_rays(config.intrinsics, shape).reshape(-1, 3) @ pose[:3, :3].T  # [H W, 3]
    face, depth = caster.cast(np.broadcast_to(pose[:3, 3], rays.shape), rays)  # [H W] each
    hit = face >= 0
    normal = caster.face_normals[face]  # [H W, 3]; rows without a hit are masked below
    cosine = np.abs((normal * rays).sum(axis=1)) / np.linalg.norm(rays, axis=1)  # 1 = seen head-on
    light = 0.5 + 0.3 * np.abs(normal @ (LAMP / np.linalg.norm(LAMP))) + 0.2 * cosine  # [H W]
    color = room.face_color[face] * (exposure * light)[:, None] + rng.normal(0, config.color_noise, (len(face), 3))
    color = np.where(hit[:, None], np.clip(np.rint(color), 0, 255), 0).astype(np.uint8)
    depth = np.where(hit, depth, 0.0)
    surface = np.where(hit[:, None], pose[:3, 3] + depth[:, None] * rays, np.nan).astype(np.float32)
    measured = _measure(depth.reshape(shape), np.where(hit, cosine, 0).reshape(shape), config, rng)
    if holes is not None:
        measured[holes.hold(surface).reshape(shape)] = 0
    return Frame(
        color=color.reshape(*shape, 3),
        depth=measured,
        object=np.where(hit, room.face_object[face], NO_OBJECT).reshape(shape),
        cam_to_world=recorded,
        surface=surface.reshape(*shape, 3),
    )


def _measure(depth: np.ndarray, cosine: np.ndarray, config: SensorConfig, rng: np.random.Generator) -> np.ndarray:
    """True depth [H, W] metres (0 = none) -> uint16 millimetres with noise, range limits and dropouts."""
    sigma = config.noise_floor + config.noise_growth * (depth - 0.4) ** 2
    noisy = depth + sigma * rng.standard_normal(depth.shape)
    near, far = minimum_filter(depth, 3), maximum_filter(depth, 3)
    edge = (far - near) > config.edge_jump * np.maximum(depth, 1e-6)  # [H, W]
    lost = rng.random(depth.shape) < config.random_dropout
    lost |= edge & (rng.random(depth.shape) < config.edge_dropout)
    lost |= rng.random(depth.shape) > cosine / config.grazing_cosine  # certain at cosine 0, never above the limit
    lost |= (noisy < config.depth_range[0]) | (noisy > config.depth_range[1])
    return np.where(lost, 0, np.rint(noisy * 1000)).astype(np.uint16)


def smooth_noise(count: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that changes over about eight frames, as tracking drift does.

    Args:
        count: Number of frames K.
        width: Number of independent columns.
        rng: Source of the noise.

    Returns:
        Float64 [K, width] of unit standard deviation.
    """
    noise = gaussian_filter1d(rng.standard_normal((count + 32, width)), 4.0, axis=0)[16 : 16 + count]
    return noise * np.sqrt(2 * np.sqrt(np.pi) * 4.0)  # the filter divides the variance by 2 sqrt(pi) sigma


def pose_errors(count: int, config: SensorConfig, rng: np.random.Generator) -> np.ndarray:
    """Small rigid motions that turn true poses into recorded ones.

    Args:
        count: Number of frames K.
        config: The sensor, which says how large the errors are.
        rng: Source of the noise.

    Returns:
        Float64 [K, 4, 4], to multiply true poses with from the right.
    """
    errors = np.tile(np.eye(4), (count, 1, 1))  # [K, 4, 4]
    turn = np.deg2rad(config.rotation_error) / np.sqrt(3) * smooth_noise(count, 3, rng)  # [K, 3] rotation vectors
    errors[:, :3, :3] = Rotation.from_rotvec(turn).as_matrix()
    errors[:, :3, 3] = config.position_error / np.sqrt(3) * smooth_noise(count, 3, rng)
    return errors


def look(eye: np.ndarray, yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """The pose of a camera that looks in a direction; z of the world is up.

    Args:
        eye: Its place, float [3].
        yaw: Direction about the vertical, from +x, radians.
        pitch: Angle above the horizon, radians.
        roll: Turn about the viewing direction, radians.

    Returns:
        Camera-to-world float64 [4, 4].
    """
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    pose[:3, 2], pose[:3, 3] = forward, eye
    return pose
