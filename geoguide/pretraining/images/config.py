"""The configs of the mini 2D models: their worlds, the gap between these and the benchmarks, network and training."""

from dataclasses import dataclass, field
from typing import Literal

from geoguide.errors import ConfigError
from geoguide.frozen import check_fields, unless
from geoguide.ops.arrays import as_config_error, number, whole
from geoguide.teachers.mini_network import DenseNetConfig

Kind = Literal["rooms", "streets"]


@dataclass(frozen=True)
class GapConfig:
    """How the training worlds differ from the benchmarks', so that a network errs there as real ones do elsewhere.

    In the benchmarks a colour gives no class away. In the training worlds things of a name wear the colours of a few
    specimens, so that a network learns colours that mislead it there, whole objects at a time and in every view.
    """

    specimens: int = 3  # per name, whose colours the things of that name wear
    faithful: float = 0.8  # share of the things that wear them; the others keep the colour they were drawn in
    texture: float = 0.12  # deviation of the brightness of stripes on a thing
    ambient: tuple[float, float] = (0.3, 0.6)  # share of the light that has no direction, drawn for each world
    tint: float = 0.05  # deviation of the light's three channels, drawn for each world
    brightness: float = 1.2  # factor on all colours
    exposure: float = 0.15  # deviation of brightness, drawn for each image
    noise: tuple[float, float] = (0.0, 10.0)  # deviation of a pixel's colour, in 8-bit steps, drawn for each image
    blur: tuple[float, float] = (0.0, 1.0)  # pixels, deviation of the blur, drawn for each image

    def __post_init__(self) -> None:
        with as_config_error("gap"):
            whole("specimens", self.specimens, 1)
            for name in ("faithful", "texture", "tint", "brightness", "exposure"):
                number(name, getattr(self, name), 0)
        if self.faithful > 1:
            raise ConfigError(f"gap: faithful must be at most 1, found {self.faithful}")


@dataclass(frozen=True)
class WorldsConfig:
    """Which worlds are rendered. A world is a function of kind, seed, split and number."""

    kind: Kind = "rooms"
    seed: int = 1306  # of no benchmark (0) and of no pretraining (2503)
    train: int = 120  # worlds to train on
    held_out: int = 21  # worlds that are only scored
    views: int = 12  # images of each
    image_size: tuple[int, int] = (120, 160)  # H, W
    gap: GapConfig = field(default_factory=GapConfig)

    def __post_init__(self) -> None:
        check_fields(self, "worlds")
        with as_config_error("worlds"):
            for name in ("train", "held_out", "views"):
                whole(name, getattr(self, name), 1)
            whole("seed", self.seed, 0)


@dataclass(frozen=True)
class DenseTrainConfig:
    """Everything that decides the weights of a mini 2D model. Raises `ConfigError` for values out of range."""

    name: str = field(default="lseg-mini", metadata={"hash": False})
    worlds: WorldsConfig = field(default_factory=WorldsConfig)
    network: DenseNetConfig = field(default_factory=DenseNetConfig)
    loss: Literal["pixels", "regions"] = "pixels"  # LSeg: every pixel; OpenSeg: the mean feature of every region
    coarse: bool = False  # whether the text says the coarse names of `names.csv`
    temperature: float = 0.03  # cosines are divided by it (LSeg: 0.07; MiniLM's texts lie closer together than CLIP's)
    pull: float = 1.0  # weight of the distance, 1 - cosine, between a pixel's feature and its name's text
    steps: int = 1500
    batch: int = 16
    crop: tuple[int, int] = (
        96,
        128,
    )  # H, W of the part of an image that a step looks at, multiples of the network's stride
    learning_rate: float = 2e-3
    warmup: float = 0.05  # share of the steps over which the rate rises; then it falls along half a cosine
    weight_decay: float = 0.02
    clip: float = 2.0  # norm of the gradient
    brightness: float = 0.1  # deviation of the factor on an image's colours
    log_every: int = 50
    checkpoint_every: int = 100
    seed: int = 0
    reading: float = field(default=0.0, metadata=unless("reading", 0.0))
    """Temperature at which the trained model says what it sees: as the mean of the taught names' texts, weighted with
    the softmax of the cosines over it; 0: as the network's own vector. The training does not depend on it."""

    def __post_init__(self) -> None:
        check_fields(self, "image training")
        with as_config_error("image training"):
            for name in ("steps", "batch", "log_every", "checkpoint_every"):
                whole(name, getattr(self, name), 1)
            for name in ("temperature", "learning_rate", "weight_decay", "clip", "brightness", "pull", "reading"):
                number(name, getattr(self, name))
        stride = self.network.stride
        if any(
            crop % stride or not 0 < crop <= side for crop, side in zip(self.crop, self.worlds.image_size, strict=True)
        ):
            largest = f"multiples of {stride} up to {list(self.worlds.image_size)}"
            raise ConfigError(f"image training: crop must be {largest}, found {list(self.crop)}")
        if not 0 < self.warmup <= 1:
            raise ConfigError(f"image training: warmup must be above 0 and at most 1, found {self.warmup}")
