"""The baseline OpenScene (CVPR 2023): an entire MinkUNet18A is trained, from coloured voxels to lifted 2D features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.backbones.mink_unet import MinkUNet, Pyramid, grid_pyramid
from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields
from geoguide.method.batch import NO_WORD, Origin
from geoguide.ops.devices import put
from geoguide.ops.groups import Groups
from geoguide.ops.voxels import cells_of, unique_cells
from geoguide.prepared import PreparedScene
from geoguide.students.augment import AugmentConfig, augment, check_cloud
from geoguide.students.statistics import mean_lifted, start_at_mean
from geoguide.students.student import Motion, Student, scene_of_turn

NO_SUPERPOINT = -1  # of a point that was not kept


@dataclass(frozen=True)
class OpenSceneConfig:
    """The network and its input. OpenScene: width 1, 2 cm, 8 scenes a step; the values here are for mini rooms.

    Attributes:
        width: Widths of all layers as a share of MinkUNet18A's; small, because one CPU core must train it.
        voxel: Edge of a voxel in metres; mini clouds have a point every 5 cm, ScanNet's every 2 cm.
        scenes_per_step: Scenes in a training batch; for the same time, twice the steps learn more than twice the
            scenes.
        input_color: OpenScene's switch of the same name; without colours every voxel's input is 1.
        augmented: Whether training scenes are augmented; without, the network learns rooms by heart.
        augment: The augmentations; without elastic distortion, which slows learning here.

    Raises:
        ConfigError: width, voxel or scenes_per_step is not positive.
    """

    width: float = 0.25
    voxel: float = 0.1
    scenes_per_step: int = 1
    input_color: bool = True
    augmented: bool = True
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(elastic_share=0.0))

    def __post_init__(self) -> None:
        check_fields(self, "openscene")
        if self.width <= 0 or self.voxel <= 0 or self.scenes_per_step < 1:
            found = f"{self.width}, {self.voxel}, {self.scenes_per_step}"
            raise ConfigError(f"openscene: width, voxel and scenes_per_step must be positive, found {found}")


@dataclass(frozen=True, eq=False)
class VoxelBatch:
    """V voxels of several scenes; each voxel stands for one of its points, as in OpenScene's voxelizer.

    Attributes:
        grid_coord: int64 [V, 3], position in voxels, from 0 in each scene.
        item: int64 [V], number of the scene in the batch.
        features: float32 [V, 3], input of the network (see `OpenScene.inputs`).
        lifted: F_2d of the voxel's point, float32 [V, C]; zero where unseen.
        seen: bool [V], whether that point has a 2D feature.
        superpoints: Q_i, those of all scenes, a partition of the voxels; of each scene the voxels whose point was not
            kept are one more, in which none is seen.
        origins: Which points of which scenes the voxels stand for.
        pyramid: Neighbours of the voxels on all of the network's grids: made with the batch, while the step before it
            is computed.
        words: The class that the voxel's point is painted with, int64 [V], -1 for none; None where nothing was painted.
    """

    grid_coord: Tensor
    item: Tensor
    features: Tensor
    lifted: Tensor
    seen: Tensor
    superpoints: Groups
    origins: tuple[Origin, ...]
    pyramid: Pyramid
    words: Tensor | None = None

    def mean_lifted(self, level: str) -> Tensor:
        """The mean 2D feature of the seen voxels of each region (see `Supervised.mean_lifted`).

        Args:
            level: superpoints, the only level here.

        Returns:
            [S, C].
        """
        return getattr(self, level).mean(self.lifted, self.seen.to(self.lifted.dtype))


class OpenScene(nn.Module):
    """MinkUNet18A from coloured voxels to the text space, every weight trained (OpenScene, CVPR 2023).

    Args:
        out_width: C.
        config: Its settings.
    """

    def __init__(self, out_width: int, config: OpenSceneConfig) -> None:
        super().__init__()
        self.config = config
        self.network = MinkUNet(3, out_width, config.width)

    def forward(self, batch: VoxelBatch) -> Tensor:
        """F_3d^sem [V, C] of the batch's voxels (see `Student.forward`)."""
        return self.network(batch.grid_coord, batch.item, batch.features, batch.pyramid)

    def encode(self, points: np.ndarray, colors: np.ndarray) -> Tensor:
        """Compute F_3d^sem of one cloud; each point gets the feature of its voxel.

        Args:
            points: float [P, 3], metres, z up.
            colors: float [P, 3] in [0, 1].

        Returns:
            float32 [P, C], of any length, on the network's device.

        Raises:
            InputError: Not [P, 3] both, no point, or points that are not finite or too far apart.
        """
        check_cloud(points, colors)
        grid, first, inverse = voxelize(points, self.config.voxel)
        weight = next(self.parameters())
        coord = torch.from_numpy(grid).to(weight.device)  # [V, 3]
        inputs = self.inputs(colors[first], coord.device).to(weight.dtype)  # float64 where a training is
        features = self.network(coord, torch.zeros_like(coord[:, 0]), inputs)  # [V, C]
        return features[torch.from_numpy(inverse).to(coord.device)]

    def inputs(self, colors: np.ndarray, device: torch.device) -> Tensor:
        """Make the input of the network.

        Args:
            colors: float [V, 3] in [0, 1].
            device: Where the input is put.

        Returns:
            float32 [V, 3]: the colours mapped to [-1, 1], or ones without `input_color`.
        """
        values = put(torch.from_numpy(np.ascontiguousarray(colors, np.float32)), device)
        return values * 2 - 1 if self.config.input_color else torch.ones_like(values)

    def batch(self, scenes: list[PreparedScene], seed: list[int], device: torch.device) -> VoxelBatch:
        """Make a training batch of whole scenes, augmented and voxelised.

        Args:
            scenes: Prepared scenes.
            seed: Decides everything random.
            device: Where the batch is put.

        Returns:
            The voxels of all scenes, scene after scene.
        """
        parts = [self._part(scene, np.random.default_rng([*seed, i])) for i, scene in enumerate(scenes)]
        item = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])  # [V]
        grid, colors, lifted, seen, _ = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        places = [part[-1] for part in parts]
        superpoints, painted = _of_points(scenes, places)
        grid_coord, items = put(torch.from_numpy(grid), device), put(torch.from_numpy(item), device)
        return VoxelBatch(
            grid_coord=grid_coord,
            item=items,
            features=self.inputs(colors, device),
            lifted=put(torch.from_numpy(lifted), device).float(),
            seen=put(torch.from_numpy(seen), device),
            superpoints=Groups.partition(torch.from_numpy(superpoints)).to(device),
            origins=tuple(Origin(scene.fingerprint, place) for scene, place in zip(scenes, places, strict=True)),
            pyramid=grid_pyramid(grid_coord, items),
            words=None if painted is None else put(torch.from_numpy(painted), device),
        )

    def _part(self, scene: PreparedScene, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Of one scene: grid_coord and colours [V, 3], F_2d [V, C], seen bool [V], and points int64 [V] (`kept_at`)."""
        points, colors = scene.cloud
        kept = np.arange(len(points))
        if self.config.augmented:
            kept, points, colors = augment(points, colors, self.config.augment, generator)
        grid, first, _ = voxelize(points, self.config.voxel)
        chosen = kept[first]  # [V]
        features = scene.cloud_features(chosen, int(generator.integers(2**31)))
        return grid, colors[first], *features, scene.kept_at(chosen)


def _of_points(scenes: list[PreparedScene], places: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Superpoints of the points that were chosen of several scenes, int64 [V] from 0; and their words, if any."""
    found, words, start = [], [], 0
    for scene, place in zip(scenes, places, strict=True):
        own = np.where(place >= 0, scene.superpoints[place], NO_SUPERPOINT)
        names, number = np.unique(own, return_inverse=True)
        found.append(start + number)
        start += len(names)
        if scene.words is not None:
            words.append(np.where(place >= 0, scene.words[place], NO_WORD).astype(np.int64))
    return np.concatenate(found), np.concatenate(words) if words else None


class OpenSceneStudent(Student[OpenScene]):
    """OpenScene as a student: the whole network is trained, on whole scenes as voxels.

    Args:
        network: The network.
        config: Its settings.
    """

    name = "openscene"
    frozen = False
    names_backbone = False
    has_regions = False

    def __init__(self, network: OpenScene, config: OpenSceneConfig) -> None:
        self.network, self.config = network, config

    @classmethod
    def untrained(cls, scenes: Sequence[PreparedScene], config: OpenSceneConfig) -> "OpenSceneStudent":
        """Make a student with a new network, whose output starts at the mean 2D feature of the training scenes.

        The adapter starts there too, so that neither student has a head start.

        Args:
            scenes: The training scenes: the width and the mean of their 2D features.
            config: Its settings.

        Returns:
            The student on the CPU; its weights come from torch's global random state.
        """
        network = OpenScene(scenes[0].feature_width, config)
        start_at_mean(network.network.head, mean_lifted(scenes))
        return cls(network, config)

    def draw(self, scenes: Sequence[PreparedScene], step: int, seed: int, device: torch.device) -> VoxelBatch:
        """The `scenes_per_step` scenes whose turn it is, whole, augmented and voxelised (see `Student.draw`)."""
        count = self.config.scenes_per_step
        chosen = [scene_of_turn(scenes, step * count + number, seed) for number in range(count)]
        return self.network.batch(chosen, [seed, 2, step], device)

    def forward(self, batch: VoxelBatch) -> Tensor:
        """Compute F_3d^sem of a batch.

        Args:
            batch: V voxels.

        Returns:
            float [V, C], of any length.
        """
        return self.network(batch)

    def features(self, scene: PreparedScene, chosen: np.ndarray | None = None) -> Tensor:
        """F_3d^sem [p, C]; the network always reads the whole scene (see `Student.features`)."""
        features = self.network.encode(*scene.cloud)
        if scene.whole is not None:
            features = features[torch.from_numpy(np.array(scene.whole.kept)).to(features.device)]
        return features if chosen is None else features[torch.from_numpy(chosen).to(features.device)]

    def moved(self, scene: PreparedScene, motions: Sequence[Motion]) -> Iterator[Tensor]:
        """F_3d^sem [P, C] for each motion, from points and colours alone (see `Student.moved`)."""
        for motion in motions:
            yield self.network.encode(motion.points(np.asarray(scene.points)), np.asarray(scene.colors))


def voxelize(points: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the occupied voxels of a cloud, sorted by (x, y, z).

    Args:
        points: float [P, 3], metres.
        size: Edge of a voxel, metres.

    Returns:
        Position of each voxel, int64 [V, 3], from 0; the first point of the cloud in each voxel, int64 [V]; and the
        voxel of each point, int64 [P].

    Raises:
        InputError: No point, points that are not finite, or too far apart for `size`.
    """
    if len(points) == 0 or not np.isfinite(points).all():
        raise InputError(f"points must be finite and not empty, found {len(points)} points, or nan or inf among them")
    grid = cells_of(points.astype(np.float64), size)  # [P, 3]
    first, inverse = unique_cells(grid)
    return grid[first], first, inverse
