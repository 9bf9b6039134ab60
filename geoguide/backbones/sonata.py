"""Sonata (Wu et al., CVPR 2025, arXiv 2503.16429) as the frozen backbone: the paper's F_3d^G.

Points are moved and voxelised as the released demonstration does, encoded, and every point gets its voxel's features.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoguide.backbones.checkpoints import RELEASES, find_weights, load_encoder
from geoguide.backbones.point_transformer import PointTransformerV3, upcast
from geoguide.backbones.serialization import MAX_DEPTH
from geoguide.backbones.whole_patches import WholeStage
from geoguide.errors import DataError, InputError
from geoguide.ops.arrays import coordinates, number
from geoguide.ops.indexed import IndexedRows
from geoguide.ops.origin import far_offset
from geoguide.ops.strays import named_rows, stray_rows
from geoguide.ops.voxels import unique_cells
from geoguide.scene import Scene
from geoguide.superpoints import estimate_normals, scene_normals
from geoguide.welding import welded

GRID = 0.02  # metres, the released model's voxel


@dataclass(frozen=True, eq=False)
class EncoderInput:
    """One scene as the encoder takes it.

    Attributes:
        coord: float32 [V, 3] metres.
        grid_coord: int64 [V, 3].
        feat: float32 [V, 9]: coord, colour, normal.
        selected: int64 [V], the point that stands for each voxel.
        inverse: int64 [P], the voxel of each point.
    """

    coord: np.ndarray
    grid_coord: np.ndarray
    feat: np.ndarray
    selected: np.ndarray
    inverse: np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """How a whole scene lies on an encoder's grid, for its parts: these get the voxels and patches of the whole.

    Attributes:
        origin: float32 [3] metres, what is subtracted from coordinates.
        lowest: int64 [3], the lowest cell of the grid.
        stages: The whole scene's voxels along the encoder's curves; none where only voxels are asked for.
    """

    origin: np.ndarray
    lowest: np.ndarray
    stages: tuple[WholeStage, ...] = ()

    @classmethod
    def of(cls, points: np.ndarray, grid: float) -> "Frame":
        """Lay a scene on a grid: x and y centred on the bounding box, z from 0.

        Args:
            points: float32 [P, 3] metres.
            grid: Edge of a voxel, metres.

        Returns:
            The frame, without stages.
        """
        low, high = points.min(axis=0), points.max(axis=0)
        origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], np.float32)
        # Subtraction, division and floor keep the order of numbers: the lowest cell is that of the lowest coordinate.
        return cls(origin, np.floor((low - origin).astype(np.float64) / grid).astype(np.int64))

    def cells(self, points: np.ndarray, grid: float) -> np.ndarray:
        """Number the cells of points.

        Args:
            points: float32 [P, 3] metres, of the scene or a part of it.
            grid: As of `of`.

        Returns:
            int64 [P, 3], at least 0.
        """
        return np.floor((points - self.origin).astype(np.float64) / grid).astype(np.int64) - self.lowest


def encoder_input(
    points: np.ndarray,
    colors: np.ndarray,
    normals: np.ndarray | None = None,
    *,
    grid: float = GRID,
    frame: Frame | None = None,
) -> EncoderInput:
    """Centre, voxelise and describe a scene (the released demonstration's transform).

    x and y are centred on the bounding box, z starts at 0; a voxel is floor(coord / grid) less the smallest. Of several
    points in a voxel the first stands for it (the released code draws one at random); voxels are sorted by x, y, z.

    Args:
        points: [P, 3] metres, z up; float64 may lie far from the origin.
        colors: [P, 3] in [0, 1].
        normals: [P, 3], or None: then planes are fitted, see `estimate_normals`.
        grid: Edge of a voxel, metres.
        frame: Of the scene that these points are a part of; None where they are all of it.

    Returns:
        V voxels, and which points are in them.

    Raises:
        InputError: Other shapes, nan or inf, no points, colours outside [0, 1], or a scene too large for the grid.
    """
    points = coordinates("points", points, keep_single=True, filled=True)
    points = _singles("points", points - far_offset(points) if points.dtype == np.float64 else points)
    colors = _singles("colors", colors, len(points))
    normals = _singles("normals", estimate_normals(points) if normals is None else normals, len(points))
    if len(colors) and (colors.min() < 0 or colors.max() > 1):
        raise InputError(f"colors must be in [0, 1], found {colors.min():g}..{colors.max():g}")
    if number("grid", grid) == 0:
        raise InputError("grid must be above 0 metres, found 0")
    low, high = points.min(axis=0), points.max(axis=0)
    widest = float((high.astype(np.float64) - low).max())
    if widest / grid > 2**MAX_DEPTH - 4:  # two cells less than the curves hold: both ends may be cut by the grid
        strays = named_rows(stray_rows(points), points, lambda row: f"point {row}")
        found = f"found {widest:g} m" + (f": {strays} lies far from all others" if strays else "")
        raise InputError(f"points must span at most {grid * (2**MAX_DEPTH - 4):g} m at this grid, {found}")
    frame = Frame.of(points, grid) if frame is None else frame
    coord = points - frame.origin  # [P, 3]
    cell = frame.cells(points, grid)
    selected, inverse = unique_cells(cell - cell.min(axis=0))
    feat = np.concatenate([coord, colors, normals], axis=1)[selected]  # [V, 9]
    return EncoderInput(coord[selected], cell[selected], feat, selected, inverse)


def _singles(name: str, value: np.ndarray, count: int | None = None) -> np.ndarray:
    return coordinates(name, value, keep_single=True, filled=True, count=count).astype(np.float32)


@torch.inference_mode()
def encode_voxels(
    model: PointTransformerV3,
    scene: Scene,
    *,
    grid: float,
    concat: int,
    device: torch.device | str = "cpu",
    scale: float = 1.0,
    frame: Frame | None = None,
    own: np.ndarray | None = None,
) -> IndexedRows:
    """Pass a scene through an encoder: `encoder_input`, the stages, `upcast`.

    Args:
        model: The encoder, on `device`.
        scene: P points with colours; normals are estimated where it has none. Points of equal position count once (see
            `welding`).
        grid: Edge of a voxel, metres.
        concat: As in `upcast`.
        device: Where the encoder is.
        scale: What coordinates are multiplied by before the encoder sees them.
        frame: Of the scene that this one is a part of, see `encoder_input`.
        own: bool [P], the points whose features are asked for; the others are seen by these alone. None for all.

    Returns:
        A row float32 [C1] for each voxel, and the voxel of each point: of those asked for.

    Raises:
        InputError: As `encoder_input`.
    """
    scene, weld = welded(scene)
    made = encoder_input(scene.points, scene.colors, scene_normals(scene), grid=grid, frame=frame)
    voxel = made.inverse if weld is None else made.inverse[weld.index]  # [P]
    coord, grid_coord, feat = (torch.from_numpy(a).to(device) for a in (made.coord, made.grid_coord, made.feat))
    if scale != 1:
        coord, feat = coord * scale, torch.cat([feat[:, :3] * scale, feat[:, 3:]], dim=1)
    whole = None if frame is None else frame.stages
    stages = model(coord, grid_coord, feat, torch.tensor([len(coord)], device=device), whole=whole)
    if own is None:
        return IndexedRows(upcast(stages, concat).float().cpu().numpy(), voxel.astype(np.int32))
    used, index = np.unique(voxel[own], return_inverse=True)
    rows = upcast(stages, concat, torch.from_numpy(used).to(device))
    return IndexedRows(rows.float().cpu().numpy(), index.reshape(-1).astype(np.int32))


def encode_scene(model: PointTransformerV3, scene: Scene, **options: Any) -> np.ndarray:
    """Describe every point of a scene by its voxel.

    Args:
        model: The encoder.
        scene: P points.
        **options: As of `encode_voxels`.

    Returns:
        float32 [P, C1], in the scene's point order.

    Raises:
        InputError: As `encoder_input`.
    """
    return encode_voxels(model, scene, **options)[:]


class SonataBackbone:
    """Frozen Sonata features.

    Args:
        weights: A .pth or .safetensors file; None takes the released file from the hub.
        concat: Over how many poolings, from the coarsest stage up, features are concatenated (see `upcast`); None takes
            the released number (of Sonata 2, which makes 1,088 features).
        revision: See `find_weights`.
        sha256: See `find_weights`.
        device: Where the network runs, such as "cuda".
        autocast: Run matrix products in bfloat16 (for GPUs; differs from float32 in the third digit).
        grid: Edge of a voxel, metres.

    Raises:
        DataError: Weights are missing, unsafe or do not fit.
        InputError: The weights take other inputs than coord, colour and normal, or `concat` is out of range.
    """

    name = "sonata"
    _concat = 2  # the released demonstration's
    scale = 1.0  # what coordinates are multiplied by
    _defaults: dict[str, Any] | None = None  # the configuration of a file that has none

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        concat: int | None = None,
        revision: str | None = None,
        sha256: str | None = None,
        device: str | torch.device = "cpu",
        autocast: bool = False,
        grid: float = GRID,
    ) -> None:
        path, self.sha256 = find_weights(weights, revision, sha256, RELEASES.get(self.name, RELEASES["sonata"]))
        self.model = load_encoder(path, self._defaults).to(device)
        self._check_positions(path)
        concat = self._concat if concat is None else concat
        self.device, self.autocast, self.grid = torch.device(device), autocast, grid
        channels, inputs = self.model.config.enc_channels, self.model.config.in_channels
        if inputs != 9:
            raise InputError(f"{path}: in_channels must be 9 (coord, colour, normal), found {inputs}")
        if not 0 <= concat < len(channels):
            raise InputError(f"concat must be 0..{len(channels) - 1}, found {concat}")
        self.concat, self.width = concat, sum(channels[-concat - 1 :])

    def _check_positions(self, path: Path) -> None:
        """Both families share all names of weights but one, and each other's would load and mean nothing."""
        rotary = self.model.config.rope_base is not None
        if rotary != ((self._defaults or {}).get("rope_base") is not None):
            found = f"rope_base {self.model.config.rope_base}"
            wanted = "a rope_base" if not rotary else "rope_base None (utonia's encoder has one)"
            raise DataError(f"{path}: config: {self.name} must have {wanted}, found {found}")

    def encode(self, scene: Scene) -> np.ndarray:
        """Describe every point of a scene (paper, F_3d^G). Deterministic on a CPU.

        Args:
            scene: P points with colours; normals are estimated where it has none.

        Returns:
            float32 [P, C1], in the scene's point order.

        Raises:
            InputError: As `encoder_input`.
        """
        return self.encode_voxels(scene)[:]

    def encode_voxels(self, scene: Scene, frame: Frame | None = None, own: np.ndarray | None = None) -> IndexedRows:
        """Describe every voxel of a scene, or of a part of it: what all of its points share is held once.

        Args:
            scene: P points with colours.
            frame: Of the scene that this one is a part of; None where it is whole.
            own: bool [P], the points whose features are asked for; None for all.

        Returns:
            A row float32 [C1] for each voxel, and the voxel of each point: of those asked for.

        Raises:
            InputError: As `encoder_input`.
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            sizes = {"grid": self.grid, "concat": self.concat, "scale": self.scale}
            return encode_voxels(self.model, scene, device=self.device, frame=frame, own=own, **sizes)
