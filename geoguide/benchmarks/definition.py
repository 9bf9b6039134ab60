"""What a benchmark is to this project: one object with every fact of it, of the real data and of the generated twin."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from geoguide.datasets.check.folder import Kind
from geoguide.datasets.config import GENERATED, DataConfig, Edition
from geoguide.datasets.sources import SceneSource
from geoguide.errors import check_known
from geoguide.lifting import LiftingConfig


@dataclass(frozen=True)
class FileKind:
    """Files of one kind in the folder of a generated dataset, as its data card lists them.

    Attributes:
        name: A word for it, unique in its world.
        about: What such a file holds, with units.
        format: Its MIME type.
        place: A pattern below the folder that matches these files and no others.
    """

    name: str
    about: str
    format: str
    place: str


@dataclass(frozen=True)
class World:
    """The generated twin of a benchmark.

    Attributes:
        title: What messages call it.
        place: Where one is in it, in plain words: rooms, houses, streets.
        unit: What is counted when it is made; the command's option of the same name.
        editions: How many of them each edition has: train, val, test. `small` is what the book generates.
        make: Generates what is missing in a folder; takes (folder, counts, seed, workers, edition), returns the folder.
        lifting: How its 2D features are lifted.
        about: What a scene is and how it was made, for the data card.
        limits: What the card warns of, beside what holds for all worlds.
        files: What its folder holds.
        severity: Scales the faults of the simulated 2D model, so that 2D fusion scores 35 to 45 mIoU on the validation
            scenes: with 160 names there is more to confuse than with 20.
        image_size: (H, W) at which 2D features are made and lifted; None: as the images are.
        recordings: Writes what is missing of the benchmark's own recordings of a complete folder, for readers that know
            only those; None where there are no such files.
    """

    title: str
    place: str
    unit: str
    editions: dict[str, tuple[int, int, int]]
    make: Callable[[Path, tuple[int, int, int], int, int | None, str], Path]
    lifting: LiftingConfig
    about: str
    limits: str
    files: tuple[FileKind, ...]
    severity: float = 1.0
    image_size: tuple[int, int] | None = None
    recordings: Callable[[Path], int] | None = None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Scenes of train, val and test of the small edition."""
        return self.editions["small"]

    def titled(self, edition: str) -> str:
        """What messages call an edition.

        Args:
            edition: A key of `editions`.

        Returns:
            The world's title; of another edition than the small one with its name.
        """
        return self.title if edition == "small" else f"{self.title}, {edition} edition"


@dataclass(frozen=True)
class OpenSceneRecipe:
    """What OpenScene does on the real benchmark, so far as it decides a number here.

    Attributes:
        lifting: How it lifts 2D features.
        voxel: Metres, of its network's input.
        scenes_per_step: Of its network's training.
        folder: What it published the points as: `<folder>/<split>/<scene>.pth`.
        fused: What the names of its files of fused features end with after the scene's name.
    """

    lifting: LiftingConfig
    voxel: float
    scenes_per_step: int
    folder: str
    fused: str = "_0.pt"


@dataclass(frozen=True)
class Benchmark:
    """Every fact of a benchmark. Adding one: a module with such an object, and its name in `benchmarks.NAMES`.

    Attributes:
        name: What commands, configs and `results/paper.json` call it.
        title: What tables call it.
        label_set: The classes that are scored first.
        more_label_sets: Further ones of the same scenes (long tail).
        known_names: The label set whose names the simulated 2D model tells apart, and a training is told that paints or
            labels with words, whatever is scored; None: the scored.
        kind: How its official layout is recognised and checked.
        has_official_layout: Whether it lies in a folder as published by its authors.
        list_official: Its scenes in that layout or the other one; takes (folder, config, official split) and returns
            them in order.
        list_all: Every scene that lies in a folder of these layouts, whatever list it is in; takes (folder, config).
            Each has the official split that lists it, and "train" where none does.
        withholds_test: Whether the labels of its test scenes are withheld: "test" is then its official val split, as in
            the paper's tables, and "val", which training watches, is held out of the official train split.
        room: From a scene, in either layout, the room (or drive) that it shows.
        drawn_with: From the name of a scored scene, the room, house or drive that it was drawn with. Regions of one
            house, or key frames of one drive, are alike, and no samples of their own.
        openscene: What OpenScene does on it.
        citation: The paper of the real dataset.
        world: Its generated twin.
        other_layout: Whether it lies in a folder as another project preprocesses it; None: none is read.
        entire_network_seeds: How many seeds of the entirely trained network the main table has: ten to twenty processor
            minutes each.
    """

    name: str
    title: str
    label_set: str
    kind: Kind
    has_official_layout: Callable[[Path], bool]
    list_official: Callable[[Path, DataConfig, str], tuple[SceneSource, ...]]
    list_all: Callable[[Path, DataConfig], tuple[SceneSource, ...]]
    withholds_test: bool
    room: Callable[[SceneSource], str]
    drawn_with: Callable[[str], str]
    openscene: OpenSceneRecipe
    citation: str
    world: World
    more_label_sets: tuple[str, ...] = ()
    known_names: str | None = None
    other_layout: Callable[[Path], bool] | None = None
    entire_network_seeds: int = 3

    def has_other_layout(self, root: Path) -> bool:
        """Tell whether it lies in a folder as another project preprocesses it.

        Args:
            root: The folder.

        Returns:
            What `other_layout` says, if anything.
        """
        return self.other_layout is not None and self.other_layout(root)

    def generated_data(self, edition: Edition = "small") -> DataConfig:
        """The config of the generated twin's scenes.

        Args:
            edition: Which of the world's editions.

        Returns:
            The config: as many scenes as the edition has, at the world's image size.

        Raises:
            ConfigError: Another edition.
        """
        check_known("edition", edition, self.world.editions)
        world, name = self.world, GENERATED + self.name
        counts = world.editions[edition]
        return DataConfig(name, self.label_set, rooms=counts, image_size=world.image_size, edition=edition)

    def real_data(self, root: str | Path, features: str | None) -> DataConfig:
        """The config of the real scenes.

        Args:
            root: Their folder, in the official layout or OpenScene's.
            features: The folder of fused 2D features below `root`; None for none.

        Returns:
            The config: every 20th frame, as OpenScene.
        """
        return DataConfig(self.name, self.label_set, frame_skip=20, features=features, root=str(root))
