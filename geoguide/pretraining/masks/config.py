"""The config of the mask proposer's training: its hash names the run, its fields hold every choice."""

from dataclasses import dataclass, field

from geoguide.datasets.config import Edition
from geoguide.errors import ConfigError
from geoguide.instances.proposer import ProposerConfig
from geoguide.ops.arrays import as_config_error, number, whole


@dataclass(frozen=True)
class ProposerTrainConfig:
    """Everything that decides the weights. Raises `ConfigError` for values out of range."""

    name: str = field(default="masks-mini", metadata={"hash": False})
    network: ProposerConfig = field(default_factory=ProposerConfig)
    backbones: tuple[str, ...] = ("sonata-mini-5cm", "descriptors")
    """Whose frozen features it takes, side by side as they are; neither was made with class names."""
    edition: Edition = "large"
    rooms: int = 105  # training rooms, with their instances alone
    views: tuple[tuple[bool, float, int], ...] = ((True, 0.01, 20), (False, 0.01, 20), (True, 0.004, 10))
    """Ways to see a room, whose superpoints differ as they do between scanners: whether they are of the mesh or of its
    points alone, as of scans without faces; and their k and smallest size (`SuperpointConfig`)."""
    steps: int = 1500  # of one room each
    crop_share: float = 0.9  # of the steps, which see the `crop` parts around one of them: they cost a quarter
    crop: int = 200
    queries: int = 64  # of a step
    matched: bool = True  # whether each instance also draws a query by Hungarian matching, as in Mask3D
    min_points: int = 20  # smaller instances teach nothing
    scale: tuple[float, float] = (0.85, 1.15)  # of all lengths, drawn for each step
    noise: float = 0.1  # deviation added to every number that describes a part
    cross_entropy: float = 5.0  # weights of the terms; the first two are Mask3D's
    dice: float = 2.0
    score: float = 2.0
    learning_rate: float = 1e-3
    warmup: int = 100  # steps
    weight_decay: float = 0.05
    clip: float = 1.0  # norm of the gradient
    log_every: int = 50
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        with as_config_error("proposer training"):
            for name in ("rooms", "steps", "crop", "queries", "min_points", "log_every", "checkpoint_every"):
                whole(name, getattr(self, name), 1)
            whole("seed", self.seed, 0)
            for name in (
                "crop_share",
                "noise",
                "cross_entropy",
                "dice",
                "score",
                "learning_rate",
                "weight_decay",
                "clip",
            ):
                number(name, getattr(self, name), 0)
        if not self.views or not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError("proposer training: views must not be empty, scale two rising factors above 0")
