"""Hand-made geometric descriptors at several scales: a stand-in for the pretrained 3D backbone (paper, F_3d^G).

Nothing here is learned. Shape is described on voxel grids of growing size (pgeof's eigenvalue features over the
neighbours in a radius of three voxels), then brought back to the points; heights, colours, the surroundings' layout,
the distance to the room's outline and the size and height of the point's own superpoint complete it. A turn of the
scene about z changes no feature (up to the voxel grid).
"""

from dataclasses import dataclass

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.backbones.segment_descriptors import SEGMENT_NAMES, group_means, segment_features
from geoguide.errors import ConfigError
from geoguide.ops.neighbors import nearest_points
from geoguide.ops.voxels import cells_of, unique_cells
from geoguide.scene import Scene
from geoguide.welding import at_positions

HEIGHTS = np.array([0.1, 0.35, 0.55, 0.8, 1.1, 1.6, 2.1])  # metres above the floor; edges of the 8 height bins
SHAPE = ("linearity", "planarity", "scattering", "verticality", "curvature", "surface", "volume")
_PGEOF_COLUMNS = (0, 1, 2, 3, 10, 8, 9)  # where pgeof keeps SHAPE


@dataclass(frozen=True)
class DescriptorConfig:
    """Not from the paper: sizes chosen so that one scene of 40,000 points takes about two seconds on one core."""

    voxels: tuple[float, ...] = (0.04, 0.1, 0.2, 0.4)  # metres, finest first
    reach: float = 3.0  # neighbourhood radius in voxels: 0.12, 0.3, 0.6 and 1.2 m
    neighbors: int = 48  # at most so many per neighbourhood; a flat patch fills about 28 voxels, a corner 50
    context_scales: int = 2  # the coarsest so many scales also describe the layout around the point
    merge: float = 0.2  # contact roughness up to which superpoints merge into parts
    column: float = 0.2  # metres, size of the vertical columns that say what is above and below

    def __post_init__(self) -> None:
        if not self.voxels or any(v <= 0 for v in self.voxels) or list(self.voxels) != sorted(set(self.voxels)):
            raise ConfigError(f"descriptors: voxels must be positive and increasing, found {self.voxels}")
        if self.reach <= 0 or self.neighbors < 4 or self.column <= 0:
            raise ConfigError("descriptors: reach and column must be positive and neighbors at least 4")
        if not 0 <= self.context_scales <= len(self.voxels):
            raise ConfigError(f"descriptors: context_scales must be 0..{len(self.voxels)}, found {self.context_scales}")


class DescriptorBackbone:
    """The backbone of hand-made descriptors. Deterministic; a permutation of the points permutes the rows.

    Args:
        config: Sizes and scales; None takes the defaults.
    """

    name = "descriptors (stand-in)"

    def __init__(self, config: DescriptorConfig | None = None) -> None:
        self.config = config or DescriptorConfig()
        self.width = len(feature_names(self.config))

    def encode(self, scene: Scene) -> np.ndarray:
        """Describe every point of a scene.

        Args:
            scene: P points with colours; normals are estimated where it has none. Points of equal position count once
                (see `welding`).

        Returns:
            float32 [P, C1], in the scene's point order; of about unit range by fixed constants, clipped to [-4, 4].
            `feature_names` names the columns.
        """
        return at_positions(scene, self._describe)

    def _describe(self, scene: Scene) -> np.ndarray:
        config = self.config
        points = _levelled(scene.points)  # [P, 3]
        colors = scene.colors.astype(np.float64)
        grids = [_Grid(points, colors, voxel, config) for voxel in config.voxels]
        normals = grids[0].to_points(points, grids[0].normals) if scene.normals is None else scene.normals
        blocks = [_point_block(points, colors, np.asarray(normals, np.float64)), _room_block(points, config.column)]
        for level, grid in enumerate(grids):
            context = level >= len(grids) - config.context_scales
            blocks.append(grid.to_points(points, grid.describe(context)))
        blocks.append(segment_features(scene, points, np.asarray(normals, np.float64), config.merge))
        features = np.clip(np.concatenate(blocks, axis=1), -4.0, 4.0)  # [P, C1]
        return np.nan_to_num(features).astype(np.float32)  # pgeof gives nan where all neighbours coincide


def feature_names(config: DescriptorConfig) -> list[str]:
    """The columns of the descriptors.

    Args:
        config: Sizes and scales.

    Returns:
        C1 names, in order.
    """
    names = ["nz", "|nz|", "height", "height share", "red", "green", "blue", "saturation", "brightness"]
    names += ["to outline", "to tall column", "above", "below", "column fill", "column top", "gap above"]
    for level, voxel in enumerate(config.voxels):
        tag = f"@{voxel * config.reach:.2g} m"
        names += [f"{name} {tag}" for name in SHAPE]
        names += [f"{name} {tag}" for name in ("height offset", "height spread", "height range")]
        names += [f"{name} {tag}" for name in ("red", "green", "blue", "colour spread", "|nz| mean", "|nz| spread")]
        if level >= len(config.voxels) - config.context_scales:
            names += [f"height bin {i} {tag}" for i in range(len(HEIGHTS) + 1)]
            names += [f"flat above {tag}", f"flat below {tag}", f"upright {tag}"]
    return names + list(SEGMENT_NAMES)


def _levelled(points: np.ndarray) -> np.ndarray:
    """float64 [P, 3]: xy centred on the bounding box, z above the floor (the lowest percentile)."""
    points = points.astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    base = (low + high) / 2
    base[2] = np.percentile(points[:, 2], 1)
    return points - base


class _Grid:
    """The mean points of a scene's V voxels of one size, with each voxel's neighbours within a radius."""

    def __init__(self, points: np.ndarray, colors: np.ndarray, voxel: float, config: DescriptorConfig) -> None:
        self.voxel, self.radius = voxel, voxel * config.reach
        first, inverse = unique_cells(cells_of(points, voxel))  # [V], [P]
        count, size = len(first), np.bincount(inverse)
        self.points = group_means(points, inverse, size)  # [V, 3]
        self.colors = group_means(colors, inverse, size)  # [V, 3]
        self.tree = KDTree(self.points)
        distance, index = nearest_points(self.tree, self.points, config.neighbors)
        self.inside = distance <= self.radius  # [V, k], the voxel itself always
        self.index = np.where(self.inside, index, np.arange(count)[:, None])
        self.weight = self.inside / self.inside.sum(axis=1, keepdims=True)  # [V, k]
        pointers = np.concatenate([[0], np.cumsum(self.inside.sum(axis=1))]).astype(np.uint32)
        flat = self.index[self.inside].astype(np.uint32)
        import pgeof  # slow to import, like scipy; other backbones do without

        # [V, 11] the columns of pgeof; zeros where fewer than four neighbours are there
        self.shape = pgeof.compute_features(self.points.astype(np.float32), flat, pointers, k_min=4, verbose=False)
        self.normals = self.shape[:, 4:7].astype(np.float64)

    def _pool(self, values: np.ndarray) -> np.ndarray:
        """Mean over the neighbourhood: [V, D] -> [V, D]."""
        return np.einsum("vk,vkd->vd", self.weight, values[self.index])

    def describe(self, context: bool) -> np.ndarray:
        """Scaled descriptors of every voxel, [V, D]; with `context` also the layout around it."""
        z = self.points[:, 2]
        flatness = np.abs(self.normals[:, 2])
        raw = np.column_stack([z, z**2, self.colors, self.colors**2, flatness, flatness**2])  # [V, 10]
        mean = self._pool(raw)
        neighbor_z = z[self.index]  # [V, k]
        spread = np.sqrt(np.maximum(mean[:, 1] - mean[:, 0] ** 2, 0))
        color_spread = np.sqrt(np.maximum(mean[:, 5:8] - mean[:, 2:5] ** 2, 0)).mean(axis=1)
        flat_spread = np.sqrt(np.maximum(mean[:, 9] - mean[:, 8] ** 2, 0))
        columns = [
            self._scaled_shape(),
            2.0 * (z - mean[:, 0]) / self.radius,
            4.0 * (spread / self.radius - 0.25),
            2.0 * (neighbor_z.max(axis=1) - neighbor_z.min(axis=1)) / self.radius - 2.0,
            4.0 * (mean[:, 2:5] - 0.5),
            10.0 * color_spread - 1.0,
            3.0 * (mean[:, 8] - 0.5),
            5.0 * (flat_spread - 0.2),
        ]
        return np.column_stack(columns + (self._layout(z, flatness) if context else []))

    def _scaled_shape(self) -> np.ndarray:
        """SHAPE brought to about unit range: ratios centred on one half, sizes relative to the radius."""
        shape = self.shape[:, _PGEOF_COLUMNS].astype(np.float64)  # [V, 7]
        ratios = 3.0 * (shape[:, :4] - 0.5)
        curvature = 8.0 * shape[:, 4:5] - 1.0
        size = 10.0 * shape[:, 5:] / self.radius - np.array([4.0, 2.75])
        return np.concatenate([ratios, curvature, size], axis=1)

    def _layout(self, z: np.ndarray, flatness: np.ndarray) -> list[np.ndarray]:
        """How much of the surroundings lies at each height, and how much of it is flat or upright."""
        height = np.eye(len(HEIGHTS) + 1)[np.searchsorted(HEIGHTS, z)]  # [V, 8]
        upright = (flatness < 0.3)[:, None]
        flat = flatness[self.index] > 0.8  # [V, k]
        rise = z[self.index] - z[:, None]  # [V, k]
        above = (self.weight * (flat & (rise > 0.15))).sum(axis=1)
        below = (self.weight * (flat & (rise < -0.15))).sum(axis=1)
        return [4.0 * self._pool(height) - 0.5, 4.0 * above - 0.5, 4.0 * below - 0.5, 3.0 * self._pool(upright) - 1.5]

    def to_points(self, points: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Inverse-distance mean of the three nearest voxels: [V, D] -> [P, D]."""
        distance, index = nearest_points(self.tree, points, 3)
        weight = 1.0 / (distance + 0.1 * self.voxel)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.einsum("pk,pkd->pd", weight, values[index])


def _point_block(points: np.ndarray, colors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The point's own normal, height and colour, scaled [P, 9]."""
    z = points[:, 2]
    ceiling = max(np.percentile(z, 99), 0.5)
    saturation = colors.max(axis=1) - colors.min(axis=1)
    columns = [
        1.5 * normals[:, 2],
        3.0 * (np.abs(normals[:, 2]) - 0.5),
        1.5 * (z - 0.8),
        3.0 * (z / ceiling - 0.4),
        4.0 * (colors - 0.5),
        4.0 * saturation - 1.0,
        4.0 * (colors.mean(axis=1) - 0.5),
    ]
    return np.column_stack(columns)


def _room_block(points: np.ndarray, column: float) -> np.ndarray:
    """Distance to the room's outline and to the next tall column, and the point's place in its own column, [P, 7]."""
    z = points[:, 2]
    cell = unique_cells(cells_of(points * [1, 1, 0], column))[1]  # [P] the column of each point
    size = np.bincount(cell)  # [columns]
    top, bottom = np.full(len(size), -np.inf), np.full(len(size), np.inf)
    np.maximum.at(top, cell, z)
    np.minimum.at(bottom, cell, z)
    center = group_means(points[:, :2], cell, size)  # [columns, 2]
    filled = unique_cells(cells_of(points, column))[0]  # one point of each filled voxel
    fill = np.bincount(cell[filled]) * column / (top - bottom + column)
    tall = top - bottom >= 0.75 * (np.percentile(z, 99) - np.percentile(z, 1))
    to_tall = np.full(len(points), 3.0)
    if tall.any():
        to_tall = np.minimum(KDTree(center[tall]).query(points[:, :2], k=1)[0].reshape(-1), 3.0)
    columns = [
        2.0 * np.minimum(_outline_distance(points[:, :2]), 2.5) - 1.5,
        2.0 * to_tall - 1.0,
        1.5 * (top[cell] - z) - 1.0,
        1.5 * (z - bottom[cell]) - 0.5,
        3.0 * (fill[cell] - 0.6),
        1.5 * (top[cell] - 1.2),
        4.0 * _gap_above(z, cell) - 0.5,
    ]
    return np.column_stack(columns)


def _gap_above(z: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Free height up to the next filled 0.1 m level of the same column, at most 1 m [P]."""
    order = np.lexsort((z, cell))
    level = np.floor(z / 0.1)
    new = np.r_[True, (np.diff(cell[order]) != 0) | (np.diff(level[order]) != 0)]
    first = order[new]  # [R] one point of each run: the points of one column and level
    same = np.r_[np.diff(cell[first]) == 0, False]
    height = np.where(same, np.r_[np.diff(level[first]), 0] * 0.1 - 0.1, 1.0)
    gap = np.empty(len(z))
    gap[order] = np.clip(height, 0.0, 1.0)[np.cumsum(new) - 1]
    return gap


def _outline_distance(xy: np.ndarray) -> np.ndarray:
    """Distance to the convex hull of the floor plan, metres [P]; 0 where there is no plan (a line, a few points)."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(xy)
    except (QhullError, ValueError):
        return np.zeros(len(xy))
    return -(xy @ hull.equations[:, :2].T + hull.equations[:, 2]).max(axis=1)
