"""OpenScene's distillation: MinkUNet18A trained entirely, from coloured voxels to the lifted 2D features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.backbones.mink_unet import MinkUNet
from geoguide.errors import ConfigError, InputError
from geoguide.ops.voxels import cells_of, unique_cells
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID
from geoguide.students.augment import AugmentConfig, augment
from geoguide.students.statistics import mean_lifted, start_at_mean
from geoguide.students.student import Motion, Student, scene_of_turn


@dataclass(frozen=True)
class OpenSceneConfig:
    """The network and its input. OpenScene: width 1, 2 cm, 8 scenes a step; the values here are for mini rooms."""

    width: float = 0.25  # of MinkUNet18A's; one CPU core must train it
    voxel: float = 0.1  # metres; mini clouds have a point every 5 cm, ScanNet's every 2 cm
    scenes_per_step: int = 1  # for the same time, twice the steps learn more than twice the scenes
    input_color: bool = True  # OpenScene's switch of the same name; without it every voxel's input is 1
    augmented: bool = True  # in training only
    # Without elastic distortion, which slows learning here; without any augmentation the network learns rooms by heart.
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(elastic_share=0.0))

    def __post_init__(self) -> None:
        if self.width <= 0 or self.voxel <= 0 or self.scenes_per_step < 1:
            raise ConfigError(
                f"openscene: width, voxel and scenes_per_step must be positive, found {self.width}, {self.voxel}, "
                f"{self.scenes_per_step}"
            )


@dataclass(frozen=True, eq=False)
class VoxelBatch:
    """Voxels of several scenes: grid_coord int64 [V, 3], item int64 [V], features [V, 3], lifted [V, C], seen bool [V].

    Each voxel stands for one of its points, as in OpenScene's voxelizer.
    """

    grid_coord: Tensor
    item: Tensor
    features: Tensor
    lifted: Tensor
    seen: Tensor


class OpenScene(nn.Module):
    """Coloured points to the text space through MinkUNet18A, every weight trained (OpenScene, CVPR 2023)."""

    def __init__(self, out_width: int, config: OpenSceneConfig) -> None:
        super().__init__()
        self.config = config
        self.network = MinkUNet(3, out_width, config.width)

    def forward(self, batch: VoxelBatch) -> Tensor:
        """F_3d^sem per voxel [V, C]."""
        return self.network(batch.grid_coord, batch.item, batch.features)

    def encode(self, points: np.ndarray, colors: np.ndarray) -> Tensor:
        """Points float [P, 3] metres z up, colors [P, 3] in [0, 1] -> [P, C]: each point has its voxel's feature."""
        if points.ndim != 2 or points.shape[1] != 3 or points.shape != colors.shape:
            raise InputError(f"points and colors must be [P, 3], found {list(points.shape)} and {list(colors.shape)}")
        grid, first, inverse = voxelize(points, self.config.voxel)
        device = next(self.parameters()).device
        coord = torch.from_numpy(grid).to(device)
        features = self.network(coord, torch.zeros_like(coord[:, 0]), self.inputs(colors[first], device))
        return features[torch.from_numpy(inverse).to(device)]

    def inputs(self, colors: np.ndarray, device: torch.device) -> Tensor:
        """Colours in [-1, 1], or ones."""
        values = torch.from_numpy(np.ascontiguousarray(colors, np.float32)).to(device)
        return values * 2 - 1 if self.config.input_color else torch.ones_like(values)

    def batch(self, scenes: "list[PreparedScene]", seed: list[int], device: torch.device) -> VoxelBatch:
        """Whole scenes, augmented and voxelised, as one training batch; everything random derives from `seed`."""
        parts = [self._part(scene, np.random.default_rng([*seed, i])) for i, scene in enumerate(scenes)]
        item = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
        grid, colors, lifted, seen = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return VoxelBatch(
            grid_coord=torch.from_numpy(grid).to(device),
            item=torch.from_numpy(item).to(device),
            features=self.inputs(colors, device),
            lifted=torch.from_numpy(lifted).to(device).float(),
            seen=torch.from_numpy(seen).to(device),
        )

    def _part(self, scene: "PreparedScene", generator: np.random.Generator) -> tuple[np.ndarray, ...]:
        points, colors, kept = scene.points, scene.colors, np.arange(len(scene))
        if self.config.augmented:
            kept, points, colors = augment(points, colors, self.config.augment, generator)
        grid, first, _ = voxelize(points, self.config.voxel)
        chosen = kept[first]
        return grid, colors[first], *scene.features(chosen, int(generator.integers(2**31)))


class OpenSceneStudent(Student):
    """OpenScene's student: the whole network is trained, on whole scenes as voxels.

    Args:
        network: The network.
        config: Its settings.
    """

    name = "openscene"
    frozen = False
    has_regions = False

    def __init__(self, network: OpenScene, config: OpenSceneConfig) -> None:
        self.network, self.config = network, config

    @classmethod
    def untrained(cls, scenes: Sequence[PreparedScene], config: OpenSceneConfig) -> "OpenSceneStudent":
        """A network that starts at the mean 2D feature of the training scenes, so that neither student is ahead."""
        network = OpenScene(scenes[0].feature_width, config)
        start_at_mean(network.network.head, mean_lifted(scenes))
        return cls(network, config)

    def draw(self, scenes: Sequence[PreparedScene], step: int, seed: int, device: torch.device) -> VoxelBatch:
        """The few scenes whose turn it is, whole, augmented and voxelised (see `Student.draw`)."""
        count = self.config.scenes_per_step
        chosen = [scene_of_turn(scenes, step * count + number, seed) for number in range(count)]
        return self.network.batch(chosen, [seed, 2, step], device)

    def forward(self, batch: VoxelBatch) -> Tensor:
        """F_3d^sem of each voxel, [V, C]."""
        return self.network(batch)

    def features(self, scene: PreparedScene, chosen: np.ndarray | None = None) -> Tensor:
        """F_3d^sem of the points; the network always sees the whole scene (see `Student.features`)."""
        features = self.network.encode(scene.points, scene.colors)
        return features if chosen is None else features[torch.from_numpy(chosen).to(features.device)]

    def moved(self, scene: PreparedScene, motions: Sequence[Motion]) -> Iterator[Tensor]:
        """Points and colours are all that the network needs."""
        for motion in motions:
            yield self.network.encode(motion.points(scene.points), scene.colors)


def openscene_supervision(count: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Points bool [P] that OpenScene's nuScenes preprocessing gives a feature: seen, and labelled in the ground truth.

    count int64 [P] from `lifting.fuse`; labels int64 [P], 255 void. Only for reproducing OpenScene's numbers: ground
    truth here decides which points have features. Everywhere else a point has one where count > 0.
    """
    if count.shape != labels.shape:
        raise InputError(f"count and labels must be [P], found {list(count.shape)} and {list(labels.shape)}")
    return (count > 0) & (labels != VOID)


def voxelize(points: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Occupied voxels of points [P, 3]: grid_coord int64 [V, 3] from 0, a point of each int64 [V], voxel of each [P].

    Sorted by (x, y, z); a voxel's point is its first in the cloud. Non-finite points are an InputError.
    """
    if len(points) == 0 or not np.isfinite(points).all():
        raise InputError(f"points must be finite and not empty, found {len(points)} points, or nan or inf among them")
    grid = cells_of(points.astype(np.float64), size)
    first, inverse = unique_cells(grid)
    return grid[first], first, inverse
