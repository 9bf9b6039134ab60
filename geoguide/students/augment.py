"""Augmentation of a coloured training cloud with the steps that OpenScene's recipe names, each a small pure function.

Points are float [P, 3] in metres with z up, colours float [P, 3] in [0, 1]; inputs are never written to, and every
function draws from the numpy generator that it is given. The strengths are our own, of the order that
sparse-convolution recipes for ScanNet use; neither paper states them.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates, uniform_filter

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields

MAX_CELLS = 2_000_000  # nodes of the noise grid: 16 MB per axis of displacement


@dataclass(frozen=True)
class AugmentConfig:
    """How strong each augmentation is; a strength of 0 turns it off.

    Attributes:
        elastic_granularity: Metres between the nodes of the random field, one elastic distortion each, fine to coarse.
        elastic_magnitude: Metres, deviation of each field before it is blurred.
        elastic_share: Share of scenes that are distorted.
        rotate: Largest turn about z in degrees, either way.
        scale: Largest change of size as a share: 0.1 is a factor of 0.9 to 1.1.
        flip: Chance of a mirror image, for each horizontal axis.
        jitter: Standard deviation of the points' noise in metres; OpenScene has none, as voxels swallow it.
        contrast_share: Share of scenes whose contrast is stretched.
        chromatic_shift: Largest shift of all colours, as a share of the colour range.
        chromatic_jitter: Standard deviation of each point's colour noise, as a share of the colour range.
        dropout: Largest share of points that are dropped.

    Raises:
        ConfigError: A share out of range, or granularities and magnitudes that do not go together.
    """

    elastic_granularity: tuple[float, ...] = (0.2, 0.8)
    elastic_magnitude: tuple[float, ...] = (0.4, 1.6)
    elastic_share: float = 0.95
    rotate: float = 180.0
    scale: float = 0.1
    flip: float = 0.5
    jitter: float = 0.0
    contrast_share: float = 0.2
    chromatic_shift: float = 0.1
    chromatic_jitter: float = 0.05
    dropout: float = 0.2

    def __post_init__(self) -> None:
        check_fields(self, "augment")
        for name in ("elastic_share", "flip", "contrast_share", "scale", "dropout"):
            if not 0 <= getattr(self, name) < (1 if name in ("scale", "dropout") else 1 + 1e-9):
                raise ConfigError(f"augment.{name} must be a share between 0 and 1, found {getattr(self, name)}")
        granularity, magnitude = self.elastic_granularity, self.elastic_magnitude
        if len(granularity) != len(magnitude) or min(granularity, default=1) <= 0:
            found = f"{granularity} and {magnitude}"
            raise ConfigError(f"augment.elastic_granularity must be positive, one per magnitude, found {found}")


def augment(
    points: np.ndarray, colors: np.ndarray, config: AugmentConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Apply all augmentations in turn.

    Points are dropped first, which makes the rest cheaper, and shapes are distorted before they are turned.

    Args:
        points: float [P, 3], metres, z up.
        colors: float [P, 3] in [0, 1].
        config: How strong each augmentation is.
        generator: Decides everything random.

    Returns:
        The points that remain, int64 [p], ascending ids; and their new points and colours, [p, 3] each.

    Raises:
        InputError: Not [P, 3] both, points that are not finite, or too far apart for the elastic distortion.
    """
    check_cloud(points, colors)
    if not np.isfinite(points).all():
        raise InputError("points must be finite, found nan or inf")
    kept = dropped(len(points), config.dropout, generator)
    points, colors = points[kept], colors[kept]
    if generator.random() < config.elastic_share:
        for granularity, magnitude in zip(config.elastic_granularity, config.elastic_magnitude, strict=True):
            points = elastic_distortion(points, granularity, magnitude, generator)
    points = rotate_z(points, config.rotate, generator)
    points = flip(random_scale(points, config.scale, generator), config.flip, generator)
    points = jitter(points, config.jitter, generator)
    return kept, points, recolor(colors, config, generator)


def augment_with_normals(
    points: np.ndarray, colors: np.ndarray, normals: np.ndarray, config: AugmentConfig, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Apply all augmentations but elastic distortion; normals are turned and mirrored with the points.

    Args:
        points: float [P, 3], metres, z up.
        colors: float [P, 3] in [0, 1].
        normals: float [P, 3], unit length.
        config: How strong each augmentation is.
        generator: Decides everything random.

    Returns:
        The points that remain, int64 [p], ascending ids; and their new points, colours and normals, [p, 3] each.

    Raises:
        ConfigError: The config asks for elastic distortion, which normals cannot follow.
        InputError: Not [P, 3] all.
    """
    if config.elastic_share:
        raise ConfigError(f"augment.elastic_share must be 0 where there are normals, found {config.elastic_share}")
    check_cloud(points, colors)
    check_cloud(points, normals)
    kept = dropped(len(points), config.dropout, generator)
    turn = flip(rotate_z(np.eye(3, dtype=points.dtype), config.rotate, generator), config.flip, generator)
    points = random_scale(points[kept] @ turn, config.scale, generator)
    points = jitter(points, config.jitter, generator)
    return kept, points, recolor(colors[kept], config, generator), normals[kept] @ turn


def recolor(colors: np.ndarray, config: AugmentConfig, generator: np.random.Generator) -> np.ndarray:
    """Stretch the contrast, shift all colours and add noise to each point's.

    Args:
        colors: float [P, 3] in [0, 1].
        config: How strong each of the three is.
        generator: Decides everything random.

    Returns:
        [P, 3] of the same dtype, in [0, 1].
    """
    if generator.random() < config.contrast_share:
        colors = auto_contrast(colors, generator)
    colors = chromatic_shift(colors, config.chromatic_shift, generator)
    return chromatic_jitter(colors, config.chromatic_jitter, generator)


def elastic_distortion(
    points: np.ndarray, granularity: float, magnitude: float, generator: np.random.Generator
) -> np.ndarray:
    """Move points by a smooth random field: Gaussian noise every `granularity` metres, blurred, times `magnitude`.

    Args:
        points: float [P, 3], metres.
        granularity: Metres between the nodes of the field.
        magnitude: Metres, standard deviation of the noise before it is blurred; 0 moves nothing.
        generator: Draws the noise.

    Returns:
        [P, 3] of the same dtype.

    Raises:
        InputError: The field would hold more than `MAX_CELLS` nodes (a stray far point).
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
        moved[:, axis] = points[:, axis] + magnitude * map_coordinates(field, where, order=1, mode="nearest")
    return moved


def rotate_z(points: np.ndarray, degrees: float, generator: np.random.Generator) -> np.ndarray:
    """Turn about the vertical axis through the origin.

    Args:
        points: float [P, 3].
        degrees: The angle is uniform up to this, either way.
        generator: Draws the angle.

    Returns:
        [P, 3] of the same dtype.
    """
    angle = np.deg2rad(generator.uniform(-degrees, degrees))
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], points.dtype)


def random_scale(points: np.ndarray, amount: float, generator: np.random.Generator) -> np.ndarray:
    """Multiply by one factor.

    Args:
        points: float [P, 3].
        amount: The factor is uniform in 1 - amount .. 1 + amount.
        generator: Draws the factor.

    Returns:
        [P, 3] of the same dtype.
    """
    return points * points.dtype.type(generator.uniform(1 - amount, 1 + amount))


def flip(points: np.ndarray, chance: float, generator: np.random.Generator) -> np.ndarray:
    """Mirror x and y, each with the given chance; z never.

    Args:
        points: float [P, 3].
        chance: Between 0 and 1.
        generator: Draws whether each axis is mirrored.

    Returns:
        [P, 3] of the same dtype.
    """
    signs = np.where(generator.random(2) < chance, -1, 1)
    return points * np.array([*signs, 1], points.dtype)


def jitter(points: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to every coordinate.

    Args:
        points: float [P, 3], metres.
        deviation: Standard deviation in metres; noise is clipped at three of them.
        generator: Draws the noise.

    Returns:
        [P, 3] of the same dtype.
    """
    noise = np.clip(generator.standard_normal(points.shape, dtype=np.float32), -3, 3)
    return points + (deviation * noise).astype(points.dtype)


def auto_contrast(colors: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Blend, by a random share, with the colours stretched so that each channel fills [0, 1]; flat channels stay.

    Args:
        colors: float [P, 3] in [0, 1].
        generator: Draws the share.

    Returns:
        [P, 3] of the same dtype, in [0, 1].
    """
    low, high = colors.min(0, initial=1), colors.max(0, initial=0)
    spread = np.where(high > low, high - low, 1)
    share = generator.random()
    stretched = np.where(high > low, (colors - low) / spread, colors)
    return ((1 - share) * colors + share * stretched).astype(colors.dtype)


def chromatic_shift(colors: np.ndarray, amount: float, generator: np.random.Generator) -> np.ndarray:
    """Add one random colour to the whole scene.

    Args:
        colors: float [P, 3] in [0, 1].
        amount: The colour's channels are uniform in -amount .. amount.
        generator: Draws the colour.

    Returns:
        [P, 3] of the same dtype, clipped to [0, 1].
    """
    return np.clip(colors + generator.uniform(-amount, amount, 3).astype(colors.dtype), 0, 1)


def chromatic_jitter(colors: np.ndarray, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to every point's colour.

    Args:
        colors: float [P, 3] in [0, 1].
        deviation: Standard deviation, as a share of the colour range.
        generator: Draws the noise.

    Returns:
        [P, 3] of the same dtype, clipped to [0, 1].
    """
    noise = generator.standard_normal(colors.shape, dtype=np.float32)
    return np.clip(colors + (deviation * noise).astype(colors.dtype), 0, 1)


def dropped(count: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """Drop a random share of the points.

    Args:
        count: P.
        share: The dropped share is uniform in 0 .. share.
        generator: Draws the share and the points.

    Returns:
        The points that remain, int64 [p], ascending ids; at least one where there is one.
    """
    remaining = max(min(count, 1), count - int(count * generator.uniform(0, share)))
    return np.sort(generator.choice(count, remaining, replace=False, shuffle=False))


def check_cloud(points: np.ndarray, colors: np.ndarray) -> None:
    """Check the shapes of a coloured cloud.

    Args:
        points: [P, 3].
        colors: [P, 3].

    Raises:
        InputError: Another shape.
    """
    if points.ndim != 2 or points.shape[1] != 3 or colors.shape != points.shape:
        raise InputError(f"points and colors must be [P, 3], found {list(points.shape)} and {list(colors.shape)}")
