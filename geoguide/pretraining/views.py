"""Views of a room for self-distillation (Sonata, arXiv 2503.16429, section 4): crops, augmentation, masks.

Everything is a pure function of a room and a `numpy.random.Generator`, the source of all that is random. Every voxel of
a view keeps `place`, its place in the untouched room, by which voxels of two views are matched.
"""

from dataclasses import dataclass

import numpy as np

from geoguide.backbones.sonata import encoder_input
from geoguide.errors import InputError
from geoguide.ops.voxels import cells_of, unique_cells
from geoguide.pretraining.config import ViewConfig


@dataclass(frozen=True, eq=False)
class Cloud:
    """A room without labels; z is up.

    Attributes:
        points: float32 [P, 3] metres.
        colors: float32 [P, 3], 0..1.
        normals: float32 [P, 3], unit.
        descriptors: Hand-made descriptors of each point in the whole room, float16 [P, D]; None where none are asked
            for.
    """

    points: np.ndarray
    colors: np.ndarray
    normals: np.ndarray
    descriptors: np.ndarray | None = None

    @property
    def described(self) -> np.ndarray:
        """The descriptors; [P, 0] where there are none."""
        return np.empty((len(self), 0), np.float16) if self.descriptors is None else self.descriptors

    def __len__(self) -> int:
        return len(self.points)

    def take(self, index: np.ndarray) -> "Cloud":
        """Some of the points.

        Args:
            index: Rows, int64 [p].

        Returns:
            These points, in that order.
        """
        return Cloud(self.points[index], self.colors[index], self.normals[index], self.described[index])


@dataclass(frozen=True, eq=False)
class PointView:
    """A view of a room: its V voxels, as the encoder takes them.

    Attributes:
        coord: Places in the view, float32 [V, 3] metres.
        grid_coord: Voxel coordinates, int64 [V, 3] >= 0.
        feat: float32 [V, 9]: coord, colour, normal.
        place: Places in the untouched room, float32 [V, 3] metres.
        mask: Voxels hidden behind the mask token, bool [V].
        point: The point of the cloud that each voxel kept, int64 [V].
        descriptors: Descriptors of that point in the untouched room, float16 [V, D].
    """

    coord: np.ndarray
    grid_coord: np.ndarray
    feat: np.ndarray
    place: np.ndarray
    mask: np.ndarray
    point: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.coord)


@dataclass(frozen=True, eq=False)
class RoomViews:
    """The views of one room.

    Attributes:
        globals: Two global views.
        masked: The same two with some voxels masked.
        locals: The local views.
    """

    globals: tuple[PointView, PointView]
    masked: tuple[PointView, PointView]
    locals: tuple[PointView, ...]


def make_views(cloud: Cloud, config: ViewConfig, voxel: float, ramp: float, rng: np.random.Generator) -> RoomViews:
    """Draw all views of one room.

    The second global view and all local ones are centred on points of the first, so that they overlap it.

    Args:
        cloud: The room.
        config: Sizes of crops, augmentation and masks.
        voxel: Edge of the voxels, metres.
        ramp: How far the masks have grown, 0 to 1.
        rng: Source of all that is random.

    Returns:
        The views.

    Raises:
        InputError: `ramp` is not in [0, 1].
    """
    if not 0 <= ramp <= 1:
        raise InputError(f"ramp must be in [0, 1], found {ramp}")
    first = crop(cloud.points, cloud.points[rng.integers(len(cloud))], rng.uniform(*config.global_share))

    def around(share: tuple[float, float]) -> np.ndarray:
        return crop(cloud.points, cloud.points[rng.choice(first)], rng.uniform(*share))

    regions = [first, around(config.global_share)] + [around(config.local_share) for _ in range(config.local_views)]
    views = [make_view(cloud.take(region), config, voxel, rng) for region in regions]
    cell, ratio = (low + (high - low) * ramp for low, high in (config.mask_cell, config.mask_ratio))
    masks = [mask_cells(view.coord, cell, ratio, rng) for view in views[:2]]
    masked = [hide(view, mask, config.mask_jitter, voxel, rng) for view, mask in zip(views, masks, strict=False)]
    return RoomViews((views[0], views[1]), (masked[0], masked[1]), tuple(views[2:]))


def crop(points: np.ndarray, center: np.ndarray, share: float) -> np.ndarray:
    """The points nearest to a place.

    Args:
        points: float [P, 3] metres.
        center: The place, float [3].
        share: How many of the points, 0 to 1.

    Returns:
        Their rows, int64 [p], ascending; at least one.
    """
    count = max(1, round(share * len(points)))
    distance = np.square(points - center).sum(axis=1)  # [P]
    return np.sort(np.argpartition(distance, count - 1)[:count])


def make_view(cloud: Cloud, config: ViewConfig, voxel: float, rng: np.random.Generator) -> PointView:
    """Augment points and voxelise them; of several in a voxel a random one stays.

    As `encoder_input`, except that heights stay those of the room: a crop of a shelf does not stand on the floor.

    Args:
        cloud: The points of the view.
        config: The augmentation.
        voxel: Edge of the voxels, metres.
        rng: Source of all that is random.

    Returns:
        The view, nothing of it masked; `point` are rows of `cloud`.
    """
    order = rng.permutation(len(cloud))
    turned = augment(cloud.take(order), config, rng)
    made = encoder_input(turned.points, turned.colors, turned.normals, grid=voxel)
    lowest = np.array([0, 0, turned.points[:, 2].min()], np.float32)
    feat = made.feat.copy()
    feat[:, :3] += lowest
    point = order[made.selected]
    mask = np.zeros(len(point), np.bool_)
    place, descriptors = cloud.points[point], cloud.described[point]
    return PointView(made.coord + lowest, made.grid_coord, feat, place, mask, point, descriptors)


def augment(cloud: Cloud, config: ViewConfig, rng: np.random.Generator) -> Cloud:
    """Turn about z by any angle, tilt, mirror, scale, lift and jitter; disturb normals and colours.

    Args:
        cloud: The points.
        config: How much of each.
        rng: Source of all that is random.

    Returns:
        The points in the same order, their descriptors as they were.
    """
    turn = rotation(rng.uniform(-np.pi, np.pi), *rng.uniform(-config.tilt, config.tilt, 2))
    turn[:, 0] *= rng.choice([-1.0, 1.0])  # a mirrored x axis
    points = rng.uniform(*config.scale) * cloud.points.astype(np.float64) @ turn.T  # [P, 3]
    points[:, 2] += rng.uniform(-config.lift, config.lift)
    points += config.jitter * rng.standard_normal(points.shape)
    normals = cloud.normals @ turn.T + config.normal_noise * rng.standard_normal(points.shape)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    colors = recolor(cloud.colors, config, rng)
    points, colors, normals = (array.astype(np.float32) for array in (points, colors, normals))
    return Cloud(points, colors, normals, cloud.descriptors)


def rotation(about_z: float, about_x: float, about_y: float) -> np.ndarray:
    """A rotation first about z, then x, then y.

    Args:
        about_z: Radians.
        about_x: Radians.
        about_y: Radians.

    Returns:
        The matrix float64 [3, 3], for columns.
    """
    (cz, cx, cy), (sz, sx, sy) = (f(np.array([about_z, about_x, about_y])) for f in (np.cos, np.sin))
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return y @ x @ z


def recolor(colors: np.ndarray, config: ViewConfig, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, each channel's offset and each point's colour, and now and then take away all hue.

    Args:
        colors: float [P, 3], 0..1.
        config: How much of each.
        rng: Source of all that is random.

    Returns:
        Float64 [P, 3], 0..1.
    """
    colors = colors.astype(np.float64)
    if rng.random() < config.gray_share:
        colors = np.repeat(colors.mean(axis=1, keepdims=True), 3, axis=1)
    contrast = np.exp(config.color_shift * rng.standard_normal())
    offset = config.color_shift * (rng.standard_normal() + rng.standard_normal(3)) / np.sqrt(2)
    noise = config.color_noise * rng.standard_normal(colors.shape)
    return np.clip((colors - 0.5) * contrast + 0.5 + offset + noise, 0, 1)


def mask_cells(coord: np.ndarray, cell: float, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Choose voxels to mask: those in some of the occupied cubes of a grid at a random offset.

    Args:
        coord: Places of the voxels, float [V, 3] metres.
        cell: Edge of the cubes, metres.
        ratio: Share of the occupied cubes that are chosen.
        rng: Source of the offset and the choice.

    Returns:
        bool [V].
    """
    first, inverse = unique_cells(cells_of(coord + rng.uniform(0, cell, 3), cell))  # [cubes], [V]
    hidden = np.zeros(len(first), np.bool_)
    hidden[rng.permutation(len(first))[: round(ratio * len(first))]] = True
    return hidden[inverse]


def hide(view: PointView, mask: np.ndarray, jitter: float, voxel: float, rng: np.random.Generator) -> PointView:
    """Mask some voxels of a view and move them.

    The mask token hides what a voxel is, but convolutions and curves still see where it lies, which is enough to read
    off its surface (Sonata's geometric shortcut); so masked voxels move, and unmasked ones stay where they were. Where
    two then share a voxel, an unmasked one stays, else one of them.

    Args:
        view: The view.
        mask: The voxels to mask, bool [V].
        jitter: Deviation of the noise that moves them, metres.
        voxel: Edge of the voxels, metres.
        rng: Source of the noise, and of what stays where two share a voxel.

    Returns:
        The view with at most V voxels.
    """
    step = np.where(mask[:, None], jitter * rng.standard_normal(view.coord.shape), 0)  # [V, 3] metres
    shift = np.floor(np.mod(view.coord / voxel, 1) + step / voxel).astype(np.int64)  # 0 where nothing moves
    cell = view.grid_coord + shift
    cell -= np.minimum(cell.min(axis=0), 0)
    order = np.lexsort((rng.permutation(len(view)), mask))  # unmasked first, then at random
    kept = order[unique_cells(cell[order])[0]]  # sorted by x, y, z, as `encoder_input` has them
    coord = (view.coord + step).astype(np.float32)[kept]
    feat = view.feat[kept].copy()
    feat[:, :3] = coord
    return PointView(coord, cell[kept], feat, view.place[kept], mask[kept], view.point[kept], view.descriptors[kept])
