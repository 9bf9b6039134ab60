"""Commands on data: make, check and clean."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from geoguide.benchmarks import benchmark_of
from geoguide.cli.arguments import DepthScale, MaxDepth, Seed, Unit, Up, Within, Workers, output_folder, refuse_unread
from geoguide.cli.common import GO_ON, READING, GeneratedDataset, Positional
from geoguide.datasets.config import DataConfig, Edition
from geoguide.errors import ConfigError

Cached = Literal[
    "lifted", "kept", "geometry", "means", "superpoints", "masks", "scene", "frames", "text", "checkpoints"
]
CLEANING = {"kind", "all", "older_than", "dry_run"}  # options of `data clean`


@dataclass(frozen=True)
class Data:
    """Make the embedded benchmark, check a dataset folder, or clean the cache.

    make: generate mini-ScanNet, mini-Matterport3D or mini-nuScenes (in the benchmarks' own layouts); what is finished
    is kept, so it resumes. Writes a data card beside the data (croissant.json).
    check: say which dataset and layout a folder is (ScanNet, Matterport3D, nuScenes, OpenScene's published folders,
    ScanNet as Pointcept preprocesses it, or your own RGB-D recordings, read as --unit, --up, --depth-scale and
    --max-depth say), what of it is complete, missing or broken, file by file, and what can be run with it.
    clean: remove features that commands keep to be faster and compute again where they are missing (see --kind), and
    say what was freed and what stays. Generated data, models, records and files of others are never removed.
    """

    action: Positional[Literal["make", "check", "clean"]]
    path: Positional[Path | None] = None
    """Folder; default data/ and the name of the dataset."""
    dataset: GeneratedDataset = "mini-scannet"
    edition: Edition = "small"
    """small: what the book generates; large: more scenes, and rooms that are harder to divide into objects."""
    rooms: tuple[int, int, int] | None = None
    """Rooms of mini-ScanNet to make: train, val, test; default 28 14 21, of the large edition 200 30 120."""
    houses: tuple[int, int, int] | None = None
    """Houses of mini-Matterport3D to make: train, val, test; default 8 3 6, of the large edition 40 8 20."""
    scenes: tuple[int, int, int] | None = None
    """Scenes of mini-nuScenes, four key frames each: train, val, test; default 15 10 10, of the large 120 20 60."""
    unit: Unit = None
    up: Up = None
    depth_scale: DepthScale = None
    max_depth: MaxDepth = None
    sens: bool = False
    """Also write the frames of mini-ScanNet as ScanNet's own .sens recordings, for readers that know only those."""
    seed: Seed = 0
    workers: Workers = None
    kind: tuple[Cached, ...] = ()
    """What `clean` removes; default lifted kept geometry means: features of points and their means, nearly all of the
    bytes. frames: what 2D models said of images. checkpoints: of trainings, interrupted ones too."""
    all: bool = False
    """Let `clean` remove every kind."""
    older_than: Annotated[float, Within(0)] = 0
    """Days: `clean` leaves what was written since."""
    dry_run: bool = False
    """Only say what `clean` would remove."""

    interrupted = GO_ON

    def run(self) -> int:
        """Make or check the data, or clean the cache.

        Returns:
            Exit code: 0, or 1 where `check` finds a problem.
        """
        from geoguide.benchmarks.data_card import write_card
        from geoguide.benchmarks.scenes import generate, known_layouts

        if self.action == "clean":
            return self._clean()
        refuse_unread(self, CLEANING, "`data clean`")
        root = None if self.path is None else str(self.path)
        data = DataConfig(self.dataset, room_seed=self.seed, root=root, edition=self.edition)
        counted = {"rooms", "houses", "scenes"}
        if self.action == "check":
            refuse_unread(self, counted | {"sens", "seed", "workers"}, "`data make`")
            from geoguide.datasets.check import check_folder

            how = {name: getattr(self, name) for name in READING if getattr(self, name) is not None}
            return check_folder(data.folder, known_layouts(), how)
        refuse_unread(self, READING, "`data check`")
        world = benchmark_of(data).world
        others = counted - {world.unit} | (set() if world.recordings else {"sens"})
        refuse_unread(self, others, "another --dataset")
        output_folder(data.folder, "$GEOGUIDE_DATA" if self.path is None else "the folder of `data make`")
        counts = getattr(self, world.unit) or world.editions[self.edition]
        made = generate(replace(data, rooms=counts), self.workers)
        if self.sens and world.recordings:
            world.recordings(made)
        print(f"{world.titled(self.edition)} is complete in {made}; {write_card(data).name} describes it")
        return 0

    def _clean(self) -> int:
        """Clean the cache, and say what was freed."""
        from geoguide.pipeline.cleaning import LARGE, WHAT, clean

        refuse_unread(
            self, {field.name for field in fields(self)} - CLEANING - {"action"}, "`data make` and `data check`"
        )
        if self.all and self.kind:
            raise ConfigError("--all and --kind exclude each other")
        kinds = tuple(WHAT) if self.all else self.kind or LARGE
        for line in clean(kinds, older_than=self.older_than, dry_run=self.dry_run).lines():
            print(line)
        return 0
