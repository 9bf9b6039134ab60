"""The backbone's own network, Point Transformer V3, as a student: from scratch, fine-tuned, or frozen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.backbones import BackboneConfig, PointTransformerV3, open_backbone, upcast
from geoguide.backbones.sonata import EncoderInput, SonataBackbone, encoder_input
from geoguide.backbones.sonata_mini import UntrainedBackbone
from geoguide.errors import ConfigError
from geoguide.frozen import check_fields
from geoguide.method.batch import Batch
from geoguide.ops.arrays import as_config_error, number
from geoguide.ops.blocks import is_large
from geoguide.ops.devices import CPU, put
from geoguide.prepared import PreparedScene
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.students.augment import AugmentConfig, augment_with_normals
from geoguide.students.statistics import mean_and_deviation, mean_lifted, sampled, start_at_mean
from geoguide.students.student import Motion, RateGroup, Student, moved_scenes, scene_of_turn
from geoguide.students.surfaces import Surface, Surfaces

_TOKEN = "embedding.mask_token"  # hides voxels in pretraining; here it would be a parameter that never learns


@dataclass(frozen=True)
class PointTransformerStudentConfig:
    """Where the network starts and how it trains; its shape, voxel and levels are those of the config's backbone.

    Attributes:
        start: The encoder's first weights: those of the config's backbone ("pretrained"), or random ones.
        encoder_rate: Learning rate of the encoder as a share of `train.learning_rate`, which the head has; 0 freezes
            it, and the head learns what an adapter does, from the batches of a network that is trained whole.
        augmented: Whether training scenes are augmented; without, the network learns rooms by heart.
        augment: The augmentations, those of the student `openscene`, so that neither has an advantage. Normals turn
            with the points, so elastic distortion must be off.

    Raises:
        ConfigError: Another start, a rate that is negative, or elastic distortion.
    """

    start: Literal["random", "pretrained"] = "pretrained"
    encoder_rate: float = 1.0
    augmented: bool = True
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(elastic_share=0.0))

    def __post_init__(self) -> None:
        check_fields(self, "point_transformer")
        with as_config_error("point_transformer"):
            number("encoder_rate", self.encoder_rate)
        if self.augment.elastic_share:
            found = f"found {self.augment.elastic_share}"
            raise ConfigError(f"point_transformer.augment.elastic_share must be 0: normals would not follow, {found}")


@dataclass(frozen=True, eq=False, kw_only=True)
class VoxelizedBatch(Batch):
    """A batch whose points each stand for a voxel of the scene: row i of every field is voxel i.

    Attributes:
        coord: float32 [P, 3] metres, augmented and centred.
        grid_coord: int64 [P, 3].
        feat: float32 [P, 9]: coord, colour, normal.
        curves: Seed of the order in which blocks look along the curves.
    """

    coord: Tensor
    grid_coord: Tensor
    feat: Tensor
    curves: int

    @property
    def is_large(self) -> bool:
        """Whether losses are computed in blocks: of very many points alone, as the network takes most of a step."""
        return is_large(len(self), network=True)


class TextPointTransformer(nn.Module):
    """Encoder and head: from voxels to the text space.

    The head is an `Adapter`, the same that the student `adapter` puts on the frozen encoder.

    Args:
        encoder: Of width C1 when its stages are concatenated.
        head: From C1 to C.
        grid: Edge of a voxel, metres.
        concat: Over how many poolings features are concatenated (see `upcast`).
    """

    def __init__(self, encoder: PointTransformerV3, head: Adapter, grid: float, concat: int) -> None:
        super().__init__()
        self.encoder, self.head, self.grid, self.concat = encoder, head, grid, concat

    def forward(self, batch: VoxelizedBatch) -> Tensor:
        """F_3d^sem [P, C] of the batch's voxels (see `Student.forward`)."""
        offset = torch.tensor([len(batch.coord)], device=batch.coord.device)
        stages = self.encoder(batch.coord, batch.grid_coord, batch.feat, offset, shuffle_seed=batch.curves)
        return self.head(upcast(stages, self.concat))

    def geometry(self, surface: Surface) -> Tensor:
        """Compute what the head reads, of a whole scene, as the frozen backbone computes it.

        Args:
            surface: The scene's P points.

        Returns:
            float32 [P, C1], on the network's device.
        """
        rows, voxel = self._voxels(surface)
        return rows[voxel]

    def semantic(self, surface: Surface) -> Tensor:
        """Compute F_3d^sem of a whole scene; each point gets that of its voxel.

        Args:
            surface: The scene's P points.

        Returns:
            float32 [P, C], of any length, on the network's device.
        """
        rows, voxel = self._voxels(surface)
        return self.head.whole(rows)[voxel]

    def _voxels(self, surface: Surface) -> tuple[Tensor, Tensor]:
        """Features of the V voxels [V, C1], and the voxel of each point [P]."""
        made = encoder_input(surface.points, surface.colors, surface.normals, grid=self.grid)
        weight = next(self.parameters())
        coord, grid_coord, feat = on_device(made, slice(None), weight.device)
        coord, feat = coord.to(weight.dtype), feat.to(weight.dtype)  # float64 where a training is
        stages = self.encoder(coord, grid_coord, feat, torch.tensor([len(coord)], device=coord.device))
        return upcast(stages, self.concat).float(), torch.from_numpy(made.inverse[surface.position]).to(coord.device)


def on_device(made: EncoderInput, rows: slice | np.ndarray, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Some voxels as the encoder takes them.

    Args:
        made: The voxels of a scene.
        rows: Which, and in what order.
        device: Where they are put.

    Returns:
        coord float32 [v, 3], grid_coord int64 [v, 3] and feat float32 [v, 9].
    """
    coord, grid_coord, feat = (
        put(torch.from_numpy(part[rows]), device) for part in (made.coord, made.grid_coord, made.feat)
    )
    return coord, grid_coord, feat


class PointTransformerStudent(Student[TextPointTransformer]):
    """The backbone's network, all of whose weights are trained; whole scenes, one a step, a point for each voxel.

    Its batches have regions and the frozen features of the config's backbone, so the modules can be used.

    Args:
        network: The network.
        config: Its settings.
    """

    name = "point_transformer"
    frozen = False
    names_backbone = True
    has_regions = True

    def __init__(self, network: TextPointTransformer, config: PointTransformerStudentConfig) -> None:
        self.network, self.config = network, config
        self.surfaces = Surfaces()

    @classmethod
    def untrained(
        cls,
        scenes: Sequence[PreparedScene],
        config: PointTransformerStudentConfig,
        backbone: BackboneConfig,
        head: AdapterConfig,
        device: torch.device = CPU,
    ) -> "PointTransformerStudent":
        """Make a student at its start: the head standardises what the encoder gives, and gives the mean 2D feature.

        Args:
            scenes: The training scenes, by whose statistics the head starts; one is encoded for each of those sampled.
            config: Where the encoder starts.
            backbone: Whose network it is.
            head: Shape of the head, which is an adapter.
            device: Where the network is put, and encodes these scenes.

        Returns:
            The student; random weights come from torch's global random state, that of the CPU.

        Raises:
            ConfigError: The backbone has no network, or no trained weights to start from.
            InputError: A scene was made in memory: its normals cannot be read.
        """
        source = network_of(backbone, config.start)
        encoder = thawed(source.model, pretrained=config.start == "pretrained")
        encoder.requires_grad_(config.encoder_rate > 0)
        adapter = Adapter(source.width, scenes[0].feature_width, head)
        student = cls(TextPointTransformer(encoder, adapter, source.grid, source.concat).to(device), config)
        with torch.no_grad():
            student.network.eval()
            some = [student.geometry(scene)[::16].cpu() for scene in sampled(scenes)]
            adapter.standardise(*mean_and_deviation(some))
        start_at_mean(adapter.last, mean_lifted(scenes))
        return student

    def draw(self, scenes: Sequence[PreparedScene], step: int, seed: int, device: torch.device) -> VoxelizedBatch:
        """The scene whose turn it is, whole, augmented and voxelised (see `Student.draw`)."""
        scene, generator = scene_of_turn(scenes, step, seed), np.random.default_rng([seed, 2, step])
        surface = self.surfaces.of(scene)
        kept, points = np.arange(len(surface.points)), surface.points
        colors, normals = surface.colors, surface.normals
        if self.config.augmented:
            kept, points, colors, normals = augment_with_normals(
                points, colors, normals, self.config.augment, generator
            )
        made = encoder_input(points, colors, normals, grid=self.network.grid)
        chosen = surface.first[kept[made.selected]]  # [V] ids of the scene's points, one for each voxel
        order = np.argsort(chosen)
        curves, draw = (int(value) for value in generator.integers(2**31, size=2))
        coord, grid_coord, feat = on_device(made, order, device)
        batch = scene.batch(chosen[order], device, draw)
        return VoxelizedBatch(**vars(batch), coord=coord, grid_coord=grid_coord, feat=feat, curves=curves)

    def forward(self, batch: VoxelizedBatch) -> Tensor:
        """F_3d^sem [P, C] of the batch (see `Student.forward`)."""
        return self.network(batch)

    def features(self, scene: PreparedScene, chosen: np.ndarray | None = None) -> Tensor:
        """F_3d^sem [p, C]; the network always reads the whole scene (see `Student.features`)."""
        features = self.network.semantic(self.surfaces.of(scene))
        return features if chosen is None else features[torch.from_numpy(chosen).to(features.device)]

    def geometry(self, scene: PreparedScene) -> Tensor:
        """Compute what the head reads: before training, with the pretrained start, the backbone's frozen features.

        Args:
            scene: The prepared scene.

        Returns:
            float32 [P, C1], on the student's device.
        """
        return self.network.geometry(self.surfaces.of(scene))

    def moved(self, scene: PreparedScene, motions: Sequence[Motion]) -> Iterator[Tensor]:
        """F_3d^sem [P, C] for each motion; the scene's files are read again for its normals (see `Student.moved`)."""
        for moved in moved_scenes(scene, motions):
            yield self.network.semantic(Surface.of(moved))

    def rate_groups(self) -> list[RateGroup]:
        """The encoder at its own rate, the head at the full one (see `Student.rate_groups`)."""
        network = self.network
        return [(list(network.encoder.parameters()), self.config.encoder_rate), (list(network.head.parameters()), 1.0)]

    def saved_adapter(self) -> Adapter | None:
        """Return the part that a saved model holds, where the encoder is the frozen backbone's.

        Returns:
            The head; None where the encoder is trained too.
        """
        still = self.config.encoder_rate == 0 and self.config.start == "pretrained"
        return self.network.head if still else None


def network_of(config: BackboneConfig, start: str) -> SonataBackbone | UntrainedBackbone:
    """Find the network of a backbone, or of the one of joined backbones that has one.

    Args:
        config: Which backbone.
        start: "pretrained" or "random": whether its weights are asked for too.

    Returns:
        The backbone with `model`, `grid`, `concat` and `width`.

    Raises:
        ConfigError: It has no network, one that sees scaled coordinates (utonia's), or none with trained weights where
            these are asked for.
    """
    wanted = SonataBackbone if start == "pretrained" else SonataBackbone | UntrainedBackbone
    for part in config.parts:
        backbone = open_backbone(part, "cpu")
        if isinstance(backbone, wanted) and getattr(backbone, "scale", 1.0) == 1.0:
            return backbone
    needs = "a backbone with trained weights" if start == "pretrained" else "a backbone that is a network"
    raise ConfigError(f"train.model point_transformer, start {start!r}: backbone.name must be {needs}"
                      f", found {config.name!r}")  # fmt: skip


def thawed(model: PointTransformerV3, *, pretrained: bool) -> PointTransformerV3:
    """Make an encoder of the same shape that can be trained; the token that hides voxels is left out.

    Args:
        model: A frozen encoder, which stays as it is.
        pretrained: Whether the new one starts from its weights, or from random ones of torch's global state.

    Returns:
        The encoder, in training mode.
    """
    options = vars(model.config) | {"mask_token": False, "freeze_encoder": False}
    encoder = PointTransformerV3(**options, patch_rule=model.patch_rule, scene_depth=model.scene_depth)
    if pretrained:
        encoder.load_state_dict({name: value for name, value in model.state_dict().items() if name != _TOKEN})
    return encoder
