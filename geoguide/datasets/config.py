"""Which scenes an experiment is about, as part of its config."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from geoguide.errors import ConfigError
from geoguide.frozen import check_fields, unless
from geoguide.ops.arrays import as_config_error, image_size
from geoguide.paths import generated_folder

Edition = Literal["small", "large"]  # of a generated dataset
GENERATED = "mini-"  # what the names of generated datasets begin with


@dataclass(frozen=True)
class Splits:
    """Which scenes are trained on, watched and scored, by name, in place of a benchmark's own splits.

    Lists of names become tuples. A house of Matterport3D or a drive of nuScenes stands for all of its scenes. A scored
    scene lies in no other split; another scan of its room may (one warning says so). Training scenes may be watched:
    nothing is learned from labels.

    Attributes:
        train: The scenes that are learned from.
        val: Those that the training curve is drawn on; without any there is no curve.
        test: Those that are scored.

    Raises:
        ConfigError: A split is one name in place of several; a name is none, begins or ends with blanks, stands twice
            in a split, or in test and in another one.

    Example:
        >>> Splits(train=("scene0000_00",), test=("scene0000_00",))
        Traceback (most recent call last):
        geoguide.errors.ConfigError: data.splits: 'scene0000_00' stands in train and in test
    """

    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split in ("train", "val", "test"):
            names = getattr(self, split)
            if not isinstance(names, tuple | list):
                raise ConfigError(f"data.splits.{split} must be a tuple of names, found {names!r}")
            object.__setattr__(self, split, names := tuple(names))
            if any(isinstance(name, str) and not name.strip() for name in names):
                raise ConfigError(f"data.splits.{split} holds an empty name")
            wrong = [name for name in names if not isinstance(name, str) or name != name.strip()]
            if wrong:
                raise ConfigError(f"data.splits.{split} must hold names without blanks around them, found {wrong[0]!r}")
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ConfigError(f"data.splits.{split}: {twice!r} stands there twice")
        check_apart(self.train, self.val, self.test)


def check_apart(train: tuple[str, ...], val: tuple[str, ...], test: tuple[str, ...]) -> None:
    """Refuse scenes that are scored and lie in another split too.

    Args:
        train: Names of the training scenes.
        val: Names of the watched scenes.
        test: Names of the scored scenes.

    Raises:
        ConfigError: A scene lies in test and in another split.
    """
    for split, names in (("train", train), ("val", val)):
        both = sorted({*names} & {*test})
        if both:
            raise ConfigError(f"data.splits: {both[0]!r} stands in {split} and in test")


@dataclass(frozen=True)
class DataConfig:
    """Which scenes. `root` says where they lie on this machine and is not part of an experiment's identity."""

    dataset: str = "mini-scannet"  # a benchmark's name (geoguide.benchmarks), with "mini-" before it: generated
    label_set: str = "scannet20"
    frame_skip: int = 1  # mini rooms hold few frames; OpenScene takes every 20th of ScanNet's, by number
    rooms: tuple[int, int, int] = (28, 14, 21)  # generated rooms, houses or streets for train, val, test (mini only)
    room_seed: int = 0
    """Of generated scenes: which world they are drawn from."""
    image_size: tuple[int, int] | None = field(default=None, metadata=unless("image_size", None))
    """(H, W) at which 2D features are made and lifted; None: as the images are (ScanNet: as its depth images)."""
    features: str | None = field(default=None, metadata=unless("features", None))
    """Folder below root of fused 2D features in OpenScene's format; None: the simulated teacher (mini only)."""
    first: tuple[int, int, int] | None = field(default=None, metadata=unless("first", None))
    """Only so many scenes of train, val and test, the first of each list; None: all."""
    root: str | None = field(default=None, metadata={"hash": False})
    splits: Splits | None = field(default=None, metadata=unless("splits", None))
    """The scenes of each split by name; None: the benchmark's own splits."""
    edition: Edition = field(default="small", metadata=unless("edition", "small"))
    """Of a generated dataset: small, what the book generates; large, more and harder scenes (`benchmarks`)."""

    def __post_init__(self) -> None:
        check_fields(self, "data")
        if self.edition != "small" and not self.generated:
            raise ConfigError(f"data.edition is a generated dataset's, found {self.edition!r} of {self.dataset}")
        if self.frame_skip < 1:
            raise ConfigError(f"data.frame_skip must be at least 1, found {self.frame_skip}")
        if self.image_size is not None:
            with as_config_error("data.image_size"):
                image_size(self.image_size)
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
        """Where the scenes lie: `root`, or the place of the generated edition and world (`paths.generated_folder`)."""
        if self.root is not None:
            return Path(self.root)
        return generated_folder(self.dataset, self.edition, self.room_seed)

    @property
    def features_folder(self) -> Path:
        """Where the fused 2D features lie. Raises ConfigError where there are none."""
        if self.features is None:
            raise ConfigError(f"data.features must name the folder of fused features of {self.dataset}")
        return self.folder / self.features
