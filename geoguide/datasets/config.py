"""Which scenes an experiment is about, as part of its config."""

from dataclasses import dataclass, field
from pathlib import Path

from geoguide.errors import ConfigError
from geoguide.frozen import unless
from geoguide.paths import data_root

GENERATED = "mini-"  # what the names of generated datasets begin with


@dataclass(frozen=True)
class DataConfig:
    """Which scenes. `root` says where they lie on this machine and is not part of an experiment's identity."""

    dataset: str = "mini-scannet"  # a benchmark's name (geoguide.benchmarks), with "mini-" before it: generated
    label_set: str = "scannet20"
    frame_skip: int = 1  # mini rooms hold few frames; OpenScene takes every 20th of ScanNet's
    rooms: tuple[int, int, int] = (28, 14, 21)  # generated rooms, houses or streets for train, val, test (mini only)
    room_seed: int = 0
    image_size: tuple[int, int] | None = field(default=None, metadata=unless("image_size", None))
    """(H, W) at which 2D features are made and lifted; None: as the images are (ScanNet: as its depth images)."""
    features: str | None = field(default=None, metadata=unless("features", None))
    """Folder below root of fused 2D features in OpenScene's format; None: the simulated teacher (mini only)."""
    first: tuple[int, int, int] | None = field(default=None, metadata=unless("first", None))
    """Only so many scenes of train, val and test, the first of each list; None: all."""
    root: str | None = field(default=None, metadata={"hash": False})

    def __post_init__(self) -> None:
        if self.room_seed < 0:
            raise ConfigError(f"data.room_seed must be at least 0, found {self.room_seed}")
        if self.first is not None and min(self.first) < 1:
            raise ConfigError(f"data.first must hold three counts from 1, found {self.first}")
        if not self.generated and self.root is None:
            raise ConfigError(f"data.root must name the folder of {self.dataset}")

    @property
    def generated(self) -> bool:
        """Whether the scenes are generated ("mini") and not recorded."""
        return self.dataset.startswith(GENERATED)

    @property
    def benchmark(self) -> str:
        """The benchmark whose layout and label sets the data have."""
        return self.dataset.removeprefix(GENERATED)

    @property
    def folder(self) -> Path:
        """Where the scenes lie: `root`, or the generated dataset's place in `paths.data_root()`."""
        return data_root() / self.dataset if self.root is None else Path(self.root)

    @property
    def features_folder(self) -> Path:
        """Where the fused 2D features lie. Raises ConfigError where there are none."""
        if self.features is None:
            raise ConfigError(f"data.features must name the folder of fused features of {self.dataset}")
        return self.folder / self.features
