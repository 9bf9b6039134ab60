"""Training augmentation of a coloured cloud, as OpenScene's recipe names it: small pure functions, one generator each.

Points are float [P, 3] in metres with z up, colours float [P, 3] in [0, 1]; inputs are never written to. The strengths
are our own, of the order that sparse-convolution recipes for ScanNet use; neither paper states them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates, uniform_filter

from geoguide.errors import ConfigError, InputError

MAX_CELLS = 2_000_000  # nodes of the noise grid: 16 MB per axis of displacement


@dataclass(frozen=True)
class AugmentConfig:
    """How strong each augmentation is; a strength of 0 turns it off."""

    elastic_granularity: tuple[float, ...] = (0.2, 0.8)  # metres, one distortion each, fine to coarse
    elastic_magnitude: tuple[float, ...] = (0.4, 1.6)  # metres, before blurring
    elastic_share: float = 0.95  # of scenes
    rotate: float = 180.0  # degrees about z, either way
    scale: float = 0.1  # 0.9 .. 1.1
    flip: float = 0.5  # chance per horizontal axis
    jitter: float = 0.0  # metres; OpenScene has none: voxels swallow it
    contrast_share: float = 0.2  # of scenes
    chromatic_shift: float = 0.1  # of the colour range
    chromatic_jitter: float = 0.05  # standard deviation
    dropout: float = 0.2  # at most this share of points

    def __post_init__(self) -> None:
        for name in ("elastic_share", "flip", "contrast_share", "scale", "dropout"):
            if not 0 <= getattr(self, name) < (1 if name in ("scale", "dropout") else 1 + 1e-9):
                raise ConfigError(f"augment.{name} must be a share between 0 and 1, found {getattr(self, name)}")
        if (
            len(self.elastic_granularity) != len(self.elastic_magnitude)
            or min(self.elastic_granularity, default=1) <= 0
        ):
            raise ConfigError(
                f"augment.elastic_granularity must be positive, one per magnitude, found {self.elastic_granularity} "
                f"and {self.elastic_magnitude}"
            )


def augment(
    points: np.ndarray, colors: np.ndarray, config: AugmentConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All augmentations in turn: points [P, 3], colors [P, 3] -> kept int64 [p], their points and colours [p, 3].

    Shapes are disturbed before they are turned, points are dropped first: the rest then costs less.
    """
    _check(points, colors)
    kept = dropped(len(points), config.dropout, generator)
    points, colors = points[kept], colors[kept]
    if generator.random() < config.elastic_share:
        for granularity, magnitude in zip(config.elastic_granularity, config.elastic_magnitude, strict=True):
            points = elastic_distortion(points, granularity, magnitude, generator)
    points = rotate_z(points, config.rotate, generator)
    points = flip(random_scale(points, config.scale, generator), config.flip, generator)
    points = jitter(points, config.jitter, generator)
    if generator.random() < config.contrast_share:
        colors = auto_contrast(colors, generator)
    colors = chromatic_shift(colors, config.chromatic_shift, generator)
    return kept, points, chromatic_jitter(colors, config.chromatic_jitter, generator)


def elastic_distortion(
    points: np.ndarray, granularity: float, magnitude: float, generator: np.random.Generator
) -> np.ndarray:
    """Move points by a smooth random field: Gaussian noise every `granularity` metres, blurred, times `magnitude`.

    A grid that would hold more than `MAX_CELLS` nodes (a stray far point) is an InputError.
    """
    if magnitude == 0 or len(points) == 0:
        return points
    low = points.min(0)
    size = np.floor((points.max(0) - low) / granularity).astype(np.int64) + 3
    if float(np.prod(size.astype(np.float64))) > MAX_CELLS:
        raise InputError(f"points span {size.tolist()} cells of {granularity} m, more than {MAX_CELLS}: too far apart")
    where = ((points - low) / granularity + 1).T  # [3, P] in grid units
    moved = np.empty_like(points)
    for axis in range(3):
        field = generator.standard_normal(size, dtype=np.float32)
        field = uniform_filter(uniform_filter(field, 3, mode="constant"), 3, mode="constant")
        shift = map_coordinates(field, where, order=1, mode="nearest")
        moved[:, axis] = points[:, axis] + magnitude * shift
    return moved


def rotate_z(points: np.ndarray, degrees: float, generator: np.random.Generator) -> np.ndarray:
    """Turn about the vertical axis through the origin by a uniform angle up to `degrees` either way."""
    angle = np.deg2rad(generator.uniform(-degrees, degrees))
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], points.dtype)


def random_scale(points: np.ndarray, amount: float, generator: np.random.Generator) -> np.ndarray:
    """Multiply by one uniform factor in 1 - amount .. 1 + amount."""
    return points * points.dtype.type(generator.uniform(1 - amount, 1 + amount))


def flip(points: np.ndarray, chance: float, generator: np.random.Generator) -> np.ndarray:
    """Mirror x and y, each with the given chance; z never."""
    signs = np.where(generator.random(2) < chance, -1, 1)
    return points * np.array([*signs, 1], points.dtype)


def jitter(points: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of the given standard deviation in metres, cut at three of them."""
    noise = np.clip(generator.standard_normal(points.shape, dtype=np.float32), -3, 3)
    return points + (deviation * noise).astype(points.dtype)


def auto_contrast(colors: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Blend, by a random share, with the colours stretched so that each channel fills [0, 1]; flat channels stay."""
    low, high = colors.min(0, initial=1), colors.max(0, initial=0)
    spread = np.where(high > low, high - low, 1)
    share = generator.random()
    stretched = np.where(high > low, (colors - low) / spread, colors)
    return ((1 - share) * colors + share * stretched).astype(colors.dtype)


def chromatic_shift(colors: np.ndarray, amount: float, generator: np.random.Generator) -> np.ndarray:
    """Add one uniform colour in -amount .. amount to the whole scene, clipped to [0, 1]."""
    return np.clip(colors + generator.uniform(-amount, amount, 3).astype(colors.dtype), 0, 1)


def chromatic_jitter(colors: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of the given standard deviation to every point, clipped to [0, 1]."""
    noise = generator.standard_normal(colors.shape, dtype=np.float32)
    return np.clip(colors + (deviation * noise).astype(colors.dtype), 0, 1)


def dropped(count: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """Points that remain when a uniform share up to `share` is dropped: int64, ascending; one remains at least."""
    remaining = max(min(count, 1), count - int(count * generator.uniform(0, share)))
    return np.sort(generator.choice(count, remaining, replace=False, shuffle=False))


def _check(points: np.ndarray, colors: np.ndarray) -> None:
    if points.ndim != 2 or points.shape[1] != 3 or colors.shape != points.shape:
        raise InputError(
            f"points and colors must be [P, 3], found {list(np.shape(points))} and {list(np.shape(colors))}"
        )
    if not np.isfinite(points).all():
        raise InputError("points must be finite, found nan or inf")
