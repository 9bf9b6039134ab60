"""A simulated RGB-D camera for rooms and houses: what it sees of a mesh, with the faults of a structured-light sensor.

Poses are camera-to-world matrices float64 [4, 4] in metres with OpenCV's axes: x right, y down, z forward.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from geoguide.errors import ConfigError
from geoguide.frozen import unless
from geoguide.ops.compiled import compiled
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
    rays = _rays(config) @ pose[:3, :3].T  # [H W, 3]
    face, depth = caster.cast(np.broadcast_to(pose[:3, 3], rays.shape), rays)  # [H W] each
    normal = caster.face_normals[face]  # [H W, 3]; rows without a hit are left out below
    lamp = normal @ (LAMP / np.linalg.norm(LAMP))  # [H W]
    noise = rng.normal(0, config.color_noise, (len(face), 3))  # [H W, 3]
    color, cosine, surface = _shade(face, depth, rays, pose[:3, 3], normal, lamp, room.face_color, exposure, noise)
    measured = _measure(depth.reshape(shape), cosine.reshape(shape), config, rng)
    if holes is not None:
        measured[holes.hold(surface).reshape(shape)] = 0
    return Frame(
        color=color.reshape(*shape, 3),
        depth=measured,
        object=np.where(face >= 0, room.face_object[face], NO_OBJECT).reshape(shape),
        cam_to_world=recorded,
        surface=surface.reshape(*shape, 3),
    )


@lru_cache(maxsize=1)
def _rays(config: SensorConfig) -> np.ndarray:
    """The rays of all pixels in the camera's axes, float64 [H W, 3], which all frames of a scan share."""
    rays = pixel_rays(config.intrinsics, config.image_size).reshape(-1, 3)
    rays.setflags(write=False)
    return rays


@compiled()
def _shade(
    face: np.ndarray,
    depth: np.ndarray,
    rays: np.ndarray,
    eye: np.ndarray,
    normal: np.ndarray,
    lamp: np.ndarray,
    face_color: np.ndarray,
    exposure: float,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What P rays from `eye` [3] see, in one compiled pass: their colour, cosine to the surface, and where they end.

    `face` [P] is -1 where a ray meets none; its `depth` [P], then without meaning, is set to 0 here. `normal` [P, 3]
    belongs to the face that each ray meets, and `lamp` [P] is its cosine to the lamp. Returns the colour uint8 [P, 3],
    the cosine float64 [P] and the surface point float32 [P, 3]; 0, 0 and NaN where there is none.
    """
    color, cosine = np.zeros(normal.shape, np.uint8), np.zeros(len(face))
    surface = np.full(normal.shape, np.nan, np.float32)
    for p in range(len(face)):
        if face[p] < 0:
            depth[p] = 0
            continue
        x, y, z = rays[p, 0], rays[p, 1], rays[p, 2]
        across = normal[p, 0] * x + normal[p, 1] * y + normal[p, 2] * z
        cosine[p] = abs(across) / np.sqrt(x * x + y * y + z * z)  # 1 = seen head-on
        light = exposure * (0.5 + 0.3 * abs(lamp[p]) + 0.2 * cosine[p])
        for axis in range(3):
            shade = np.rint(face_color[face[p], axis] * light + noise[p, axis])
            color[p, axis] = np.uint8(min(max(shade, 0.0), 255.0))
            surface[p, axis] = eye[axis] + depth[p] * rays[p, axis]
    return color, cosine, surface


def _measure(depth: np.ndarray, cosine: np.ndarray, config: SensorConfig, rng: np.random.Generator) -> np.ndarray:
    """True depth float32 [H, W] metres (0 = none) -> uint16 millimetres with noise, range limits and dropouts."""
    sigma = config.noise_floor + config.noise_growth * (depth - 0.4) ** 2
    noisy = depth + sigma * rng.standard_normal(depth.shape)
    lost = rng.random(depth.shape) < config.random_dropout
    lost |= (rng.random(depth.shape) < config.edge_dropout) & _edges(depth, np.float32(config.edge_jump))
    lost |= rng.random(depth.shape) > cosine / config.grazing_cosine  # certain at cosine 0, never above the limit
    lost |= (noisy < config.depth_range[0]) | (noisy > config.depth_range[1])
    return np.where(lost, 0, np.rint(noisy * 1000)).astype(np.uint16)


@compiled()
def _edges(depth: np.ndarray, jump: float) -> np.ndarray:
    """Where float32 [H, W] differs by more than the share `jump` of itself within 3 x 3 pixels, bool [H, W]."""
    height, width = depth.shape
    edge = np.zeros(depth.shape, np.bool_)
    for row in range(height):
        for col in range(width):
            near = far = depth[row, col]
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(col - 1, 0), min(col + 2, width)):
                    near, far = min(near, depth[r, c]), max(far, depth[r, c])
            edge[row, col] = far - near > jump * max(depth[row, col], np.float32(1e-6))
    return edge


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
    right, down, forward = directions(np.array([yaw]), np.array([pitch]))[0].T  # [3] each
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = np.cos(roll) * down - np.sin(roll) * right
    pose[:3, 2], pose[:3, 3] = forward, eye
    return pose


def directions(yaw: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """The axes of cameras that look in some directions, held upright.

    Args:
        yaw: Directions about the vertical, from +x, radians, float64 [N].
        pitch: Angles above the horizon, radians, float64 [N].

    Returns:
        Float64 [N, 3, 3]; the columns are right, down and forward in the world.
    """
    across, ahead, level, rise = np.sin(yaw), np.cos(yaw), np.cos(pitch), np.sin(pitch)  # [N] each
    x, y = ahead * level, across * level  # forward; right is (across, -ahead, 0), and down forward x right
    zero = np.zeros(len(yaw))
    right = np.stack([across, -ahead, zero], axis=1)  # [N, 3]
    down = np.stack([rise * ahead, rise * across, x * -ahead - y * across], axis=1)
    return np.stack([right, down, np.stack([x, y, rise], axis=1)], axis=2)
