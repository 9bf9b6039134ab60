"""One frozen config per experiment. Its hash names the run: same config, same record."""

from dataclasses import dataclass, field
from typing import Literal

from geoguide.errors import ConfigError
from geoguide.frozen import unless


@dataclass(frozen=True)
class DataConfig:
    """Which scenes. `root` says where they lie on this machine and is not part of an experiment's identity."""

    dataset: Literal["mini-scannet", "mini-matterport3d", "mini-nuscenes", "scannet", "matterport3d", "nuscenes"] = (
        "mini-scannet"
    )
    label_set: str = "scannet20"
    frame_skip: int = 1  # mini rooms hold few frames; OpenScene takes every 20th of ScanNet's
    rooms: tuple[int, int, int] = (28, 14, 21)  # generated rooms, houses or streets for train, val, test (mini only)
    room_seed: int = 0
    image_size: tuple[int, int] | None = field(default=None, metadata=unless("image_size", None))
    """(H, W) at which 2D features are made and lifted; None: as the images are (ScanNet: as its depth images)."""
    features: str | None = field(default=None, metadata=unless("features", None))
    """Folder below root of fused 2D features in OpenScene's format; None: the simulated teacher (mini only)."""
    root: str | None = field(default=None, metadata={"hash": False})

    def __post_init__(self) -> None:
        if not self.dataset.startswith("mini-") and self.root is None:
            raise ConfigError(f"data.root must name the folder of {self.dataset}")
