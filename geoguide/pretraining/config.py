"""The configs of the mini backbones' pretraining: a config's hash names the run, its fields hold every choice."""

from dataclasses import dataclass, field
from typing import Any, Literal

from geoguide.backbones.point_transformer_config import PointTransformerConfig
from geoguide.datasets.config import Edition
from geoguide.errors import ConfigError
from geoguide.frozen import check_fields, unless
from geoguide.ops.arrays import as_config_error, number, whole


@dataclass(frozen=True)
class NetworkConfig:
    """The Point Transformer V3 encoder, small enough for two cores; keys are the official configuration's."""

    voxel: float = 0.1  # metres (Sonata: 0.02, its loss acts on 0.08): a core sees four times as much room per second
    enc_depths: tuple[int, ...] = (1, 1, 2, 1)
    enc_channels: tuple[int, ...] = (48, 64, 96, 128)
    enc_num_head: tuple[int, ...] = (2, 4, 6, 8)
    enc_patch_size: tuple[int, ...] = (256, 256, 256, 256)
    stride: tuple[int, ...] = (2, 2, 2)
    concat: int = 3  # poolings whose features are concatenated (Sonata: 2); the loss acts at that level's resolution

    def encoder_options(self) -> dict[str, Any]:
        """The arguments of `PointTransformerV3`, as plain JSON types.

        Returns:
            The official configuration's keys; no paths are dropped, because the network is small.
        """
        names = ("enc_depths", "enc_channels", "enc_num_head", "enc_patch_size", "stride")
        return {name: list(getattr(self, name)) for name in names} | {"drop_path": 0.0}

    @property
    def level(self) -> int:
        """The stage at whose voxels the loss acts: the finest one that is concatenated."""
        return len(self.enc_depths) - 1 - self.concat

    @property
    def width(self) -> int:
        """Channels of the concatenated features."""
        return sum(self.enc_channels[self.level :])


@dataclass(frozen=True)
class ViewConfig:
    """Crops, augmentation and masks. Pairs are (lowest, highest) of a uniform draw unless they say otherwise."""

    global_share: tuple[float, float] = (0.25, 0.5)  # of the room's points; Sonata: 0.4 to 1, of larger batches
    local_share: tuple[float, float] = (0.05, 0.15)
    local_views: int = 2
    scale: tuple[float, float] = (0.9, 1.1)
    tilt: float = 0.05  # radians about x and y, at most (Sonata: pi / 64)
    lift: float = 0.25  # metres that a view is moved up or down, at most: height alone must not tell classes apart
    jitter: float = 0.005  # metres, deviation of every coordinate's noise
    normal_noise: float = 0.1  # deviation of every component's noise before the normal is made unit again
    color_shift: float = 0.1  # deviation of brightness and of each channel's offset
    color_noise: float = 0.05  # deviation per point and channel
    gray_share: float = 0.2  # views without hue
    mask_cell: tuple[float, float] = (0.15, 0.6)  # metres, edge of masked cells at the start and after `ramp`
    mask_ratio: tuple[float, float] = (0.2, 0.5)  # of the cells, at the start and after `ramp` (Sonata: 0.3, 0.7)
    mask_jitter: float = 0.06  # metres, deviation of masked voxels' places: what they are must not be read off them


@dataclass(frozen=True)
class DistillationConfig:
    """Prototypes, temperatures and terms. Weights and temperatures are Sonata's."""

    hidden: int = 256
    bottleneck: int = 128
    prototypes: int = 512  # Sonata: 4096 of 65,536 points a view
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)  # at the start and after `ramp`
    sinkhorn_iterations: int = 3
    matches: int = 1500  # student voxels per term and step
    radius: float = 0.1  # metres within which voxels of two views are the same place: one voxel of the loss's level
    mask_weight: float = 0.25  # masked global view to the same view
    roll_weight: float = 0.25  # masked global view to the other global view
    local_weight: float = 0.5  # local views to the first global view
    # Not Sonata's, but MaskFeat's (arXiv 2112.09133): predict hand-made descriptors of the untouched room. A core has
    # time for a few thousand small steps, in which the other terms alone hardly leave their start; 0 turns it off.
    describe_weight: float = 10.0


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that decides the weights. Raises `ConfigError` for values out of range."""

    name: str = field(default="sonata-mini", metadata={"hash": False})
    network: NetworkConfig = field(default_factory=NetworkConfig)
    views: ViewConfig = field(default_factory=ViewConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    benchmark_rooms: int = 28  # training rooms of mini-ScanNet, without their labels
    rooms: int = 24  # more rooms, generated for this purpose alone, in a folder of their own
    room_seed: int = 2503  # never the seed of a benchmark: its rooms' recipes, and so the rooms, are others
    steps: int = 4500
    rooms_per_step: int = 1  # a core learns faster from many small steps than from few large ones
    learning_rate: float = 2e-3
    final_learning_rate: float = 1e-5
    warmup: float = 0.08  # share of the steps over which the rate rises from 0
    ramp: float = 0.3  # share of the steps over which masks and the teacher's temperature grow
    weight_decay: float = 0.04
    clip: float = 3.0  # norm of the gradient
    momentum: tuple[float, float] = (0.99, 1.0)  # of the teacher's average, at the start and the end (cosine)
    log_every: int = 50
    checkpoint_every: int = 50
    seed: int = 0
    edition: Edition = field(default="small", metadata=unless("edition", "small"))  # of all of these rooms
    world: Literal["rooms", "streets"] = field(default="rooms", metadata=unless("world", "rooms"))
    """What is pretrained on: meshes of rooms, or LiDAR sweeps of streets, of which `rooms` then counts the streets."""

    def __post_init__(self) -> None:
        check_fields(self, "pretraining")
        if self.world == "streets" and self.benchmark_rooms:
            raise ConfigError(f"pretraining: benchmark_rooms must be 0 on streets, found {self.benchmark_rooms}")
        with as_config_error("pretraining"):
            for name in ("rooms", "benchmark_rooms", "room_seed", "seed"):
                whole(name, getattr(self, name), 0)
            for name in ("steps", "rooms_per_step", "log_every", "checkpoint_every"):
                whole(name, getattr(self, name), 1)
            for name in ("learning_rate", "final_learning_rate", "weight_decay", "clip"):
                number(name, getattr(self, name))
        for name in ("warmup", "ramp"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"pretraining: {name} must be above 0 and at most 1, found {getattr(self, name)}")
        PointTransformerConfig.checked(self.network.encoder_options())
        concat, last = self.network.concat, len(self.network.enc_depths) - 1
        if not 0 <= concat <= last:
            raise ConfigError(f"pretraining: network.concat must be 0..{last}, found {concat}")
        for name in ("global_share", "local_share"):
            low, high = getattr(self.views, name)
            if not 0 < low <= high <= 1:
                raise ConfigError(f"pretraining: views.{name} must be two rising shares in (0, 1], found {low}, {high}")


_FINE = NetworkConfig(
    voxel=0.05,
    enc_depths=(1, 1, 1, 2, 1),
    enc_channels=(32, 48, 64, 96, 128),
    enc_num_head=(2, 3, 4, 6, 8),
    enc_patch_size=(256,) * 5,
    stride=(2, 2, 2, 2),
    concat=4,
)

# A sweep's points lie decimetres apart, and things and gaps are larger than indoors.
_SWEPT = ViewConfig(
    global_share=(0.3, 0.6), mask_cell=(0.5, 2.0), mask_jitter=0.2, jitter=0.02, color_shift=0.0, color_noise=0.0
)

PACKAGED = {
    "sonata-mini": PretrainConfig(),
    # A rung of the ladder of frozen features (claim C12): the same, stopped early by a schedule of its own.
    "sonata-mini-tenth": PretrainConfig(name="sonata-mini-tenth", steps=PretrainConfig().steps // 10),
    # Half the voxel and a stage more, on five times the rooms, of the edition whose scans are nearer to real ones.
    "sonata-mini-5cm": PretrainConfig(
        name="sonata-mini-5cm",
        network=_FINE,
        distillation=DistillationConfig(radius=0.05),
        benchmark_rooms=200,
        rooms=40,
        steps=3000,
        edition="large",
    ),
    "sonata-mini-streets": PretrainConfig(
        name="sonata-mini-streets",
        network=NetworkConfig(voxel=0.2),
        views=_SWEPT,
        distillation=DistillationConfig(radius=0.2),
        benchmark_rooms=0,
        rooms=120,
        room_seed=2504,
        steps=1500,
        world="streets",
    ),
}
