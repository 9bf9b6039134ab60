"""Frozen features of a scene tile by tile: memory is that of the largest tile, and some bytes a point.

A tile sees its halo and lies on the whole scene's grid (`Frame`), its edges between the coarsest cells: its voxels,
pooled cells, coordinates and curves are those of the whole. What differs near an edge is what lies beyond the halo, and
everywhere, a little, where along a curve the patches of attention begin.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from geoguide.backbones.joined import JoinedBackbone, JoinedRows
from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.backbones.registry import Backbone
from geoguide.backbones.serialization import MAX_DEPTH
from geoguide.backbones.sonata import Frame
from geoguide.backbones.whole_patches import whole_stages
from geoguide.errors import InputError
from geoguide.ops.arrays import number
from geoguide.ops.indexed import IndexedRows
from geoguide.ops.tiles import FROM, MOST, ROWS, Tiling, plan_steps, tiling
from geoguide.scene import Scene

HALO = 12.8  # metres: see benchmarks/results/large_cloud.json for what less or more of it changes
STEP = 0.8  # metres, for a backbone without voxels
# Bytes of a tile's network and features. With the program, its weights and all points (and their voxels along the
# curves) 10 million points stay within 6 GiB.
BUDGET = 3 << 30
# Bytes that a pass holds at most of a voxel, for each channel of the first stage: 55 to 64 were measured with 48
# channels (the packaged network's sizes on 400,000 voxels, Sonata's on 59,000), 81 with 64.
BYTES = 80


@runtime_checkable
class VoxelBackbone(Protocol):
    """A backbone whose features are the same for all points of a voxel.

    Attributes:
        grid: Edge of a voxel, metres.
        model: The network.
    """

    grid: float
    model: PointTransformerV3

    def encode_voxels(self, scene: Scene, frame: Frame | None = None, own: np.ndarray | None = None) -> IndexedRows:
        """(see `SonataBackbone.encode_voxels`)."""
        ...


@dataclass(frozen=True, eq=False)
class Part:
    """The features of some of a scene's points.

    Attributes:
        rows: int64 [p], which points, ascending; or the slice of all of them.
        features: Their F_3d^G, float32 [p, C1].
    """

    rows: np.ndarray | slice
    features: IndexedRows | JoinedRows


def is_tiled(scene: Scene, tile: float | None) -> bool:
    """Whether a scene is worked on in tiles.

    Args:
        scene: P points.
        tile: Edge of a tile, metres; None to cut scenes of `FROM` points and more.

    Returns:
        True where it is cut; never where one tile holds all of it.

    Raises:
        InputError: `tile` is no positive number.
    """
    if tile is None:
        return len(scene) >= FROM
    if number("tile", tile) == 0:
        raise InputError("tile must be above 0 metres, found 0")
    return bool((np.ptp(scene.points[:, :2], axis=0) > tile).any())


def most_voxels(voxels: VoxelBackbone, width: int) -> int:
    """Say how many voxels a tile may hold, its halo included, so that network and features take `BUDGET`.

    Args:
        voxels: The backbone of the network.
        width: C1, of the features that are kept: a row for each voxel, where no tile has a neighbour.

    Returns:
        `ops.tiles.MOST`, or fewer of a wider network.
    """
    return min(MOST, BUDGET // (BYTES * voxels.model.config.enc_channels[0] + 4 * width))


class Parts:
    """A scene in tiles, and the features of each when its turn comes.

    Args:
        backbone: The frozen backbone.
        scene: P points; normals are those of the whole scene where it has any.
        tile: Edge of a tile, metres, rounded up to the coarsest cells; None for the largest that fits memory (see
            `ops.tiles.tiling`): by its voxels, and of a backbone that describes each point also by its points.
        halo: Metres around a tile that its features see, likewise. Where no `tile` is named and the smallest one would
            not fit memory, it is as large as fits, with a warning.
    """

    def __init__(self, backbone: Backbone, scene: Scene, tile: float | None = None, halo: float = HALO) -> None:
        self._backbone, self._scene = backbone, scene
        # At most one of joined backbones has a network.
        voxels = next((part for part in _members(backbone) if isinstance(part, VoxelBackbone)), None)
        self._frame = None if voxels is None else frame_of(scene.points, voxels)
        limits = []  # the steps of what takes memory, how many of it a tile holds at most, and what it is
        if voxels is None or self._frame is None:
            self.step = STEP
            steps = plan_steps(scene.points, scene.points[:, :2].min(axis=0), STEP)
        else:  # by the arithmetic of voxels, so that none is cut
            cells = int(np.prod(voxels.model.config.stride))
            self.step = voxels.grid * cells
            steps = plan_steps(scene.points - self._frame.origin, np.zeros(2), voxels.grid)
            steps = (steps - self._frame.lowest[:2].astype(np.int32)) // cells
            counted = self._frame.stages[0].plan.numpy() // cells
            limits.append((counted, most_voxels(voxels, backbone.width), "voxels"))
        if any(part is not voxels for part in _members(backbone)):
            limits.append((steps, MOST, "points"))
        edge = None if tile is None else max(1, self._steps(tile))
        wanted = self._steps(halo)
        cuts = [tiling(steps, wanted, edge, counted=counted, most=most, shrink=True) for counted, most, _ in limits]
        least = int(np.argmin([cut.edge + 2 * cut.halo for cut in cuts]))
        self.tiling: Tiling = cuts[least]
        self.halo = halo if self.tiling.halo == wanted else self.tiling.halo * self.step  # metres
        if self.tiling.halo < wanted:
            held = f"the {limits[least][1]:,} {limits[least][2]} that fit memory"
            message = f"{scene.name}: tiles see {self.halo:g} m around them, not {halo:g}, or one would hold more than"
            warnings.warn(f"{message} {held}; labels near borders differ more", stacklevel=2)

    def _steps(self, length: float) -> int:
        """Metres as steps, rounded up; no more than can be numbered, which is more than any scene has."""
        return int(np.ceil(min(length / float(self.step), np.iinfo(np.int32).max)))

    def __len__(self) -> int:
        """How many tiles there are."""
        return len(self.tiling)

    def __iter__(self) -> Iterator[Part]:
        """The features of each tile's own points."""
        for tile in self.tiling:
            found = encoded(self._backbone, part_of(self._scene, tile.rows), self._frame, tile.own)
            yield Part(tile.rows[tile.own], found)


def frame_of(points: np.ndarray, backbone: VoxelBackbone) -> Frame:
    """Lay a whole scene on a backbone's grid, and the curves of its encoder through all voxels.

    Args:
        points: float32 [P, 3] metres.
        backbone: The backbone.

    Returns:
        What each part of the scene is encoded by.

    Raises:
        InputError: The scene is too large for the grid.
    """
    frame, found = Frame.of(points, backbone.grid), np.zeros(0, np.int64)
    for start in range(0, len(points), ROWS):
        cell = frame.cells(points[start : start + ROWS], backbone.grid)
        if cell.max() >= 2**MAX_DEPTH - 1:
            reach = backbone.grid * (2**MAX_DEPTH - 1)
            raise InputError(
                f"points must span at most {reach:g} m at this grid, found {np.ptp(points, axis=0).max():g} m"
            )
        found = np.union1d(found, cell[:, 0] << 32 | cell[:, 1] << 16 | cell[:, 2])
    cells = torch.from_numpy(np.stack([found >> 32, found >> 16 & 0xFFFF, found & 0xFFFF], axis=1))
    return replace(frame, stages=whole_stages(cells, backbone.model.config))


def part_of(scene: Scene, rows: np.ndarray) -> Scene:
    """Take some of a scene's points, and the triangles that lie among them.

    Args:
        scene: P points.
        rows: int64 [p], ascending.

    Returns:
        The scene of p points, without views and annotation.
    """
    faces = scene.faces
    if faces is not None:
        place = np.full(len(scene), -1, np.int64)
        place[rows] = np.arange(len(rows))
        faces = place[faces]
        faces = faces[(faces >= 0).all(axis=1)]
    return replace(
        scene,
        points=scene.points[rows],
        colors=scene.colors[rows],
        normals=None if scene.normals is None else scene.normals[rows],
        faces=faces,
        labels=None,
        instances=None,
        views=(),
        intensity=None if scene.intensity is None else scene.intensity[rows],
        as_read=(),
        file_points=None,
    )


def _members(backbone: Backbone) -> tuple[Backbone, ...]:
    return backbone.parts if isinstance(backbone, JoinedBackbone) else (backbone,)


def encoded(
    backbone: Backbone, scene: Scene, frame: Frame | None = None, own: np.ndarray | None = None
) -> IndexedRows | JoinedRows:
    """Describe the points of a scene, or of a part of one.

    Args:
        backbone: The frozen backbone.
        scene: P points.
        frame: Of a part: that of the whole scene.
        own: Of a part: which of its points are described, bool [P].

    Returns:
        float32 [P, C1], or of the own points alone: of voxels, where the backbone has such, one row each.
    """
    if isinstance(backbone, JoinedBackbone):
        return JoinedRows(tuple(encoded(part, scene, frame, own) for part in backbone.parts))
    if isinstance(backbone, VoxelBackbone):
        return backbone.encode_voxels(scene, frame, own)
    rows = backbone.encode(scene)
    rows = rows if own is None else rows[own]
    return IndexedRows(rows, np.arange(len(rows), dtype=np.int32))
