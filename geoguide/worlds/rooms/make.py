"""mini-ScanNet on disk: `make_mini_scannet` makes generated rooms in ScanNet v2's official layout.

Making is resumable, and the bytes are the same for any number of workers (see `worlds.jobs`).
"""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from geoguide.datasets.formats.files import read_json
from geoguide.datasets.scannet import SEGMENTS, list_scenes
from geoguide.errors import check_known
from geoguide.frozen import unless
from geoguide.labels import CATEGORY_TABLE, load_category_table, load_label_set
from geoguide.paths import generated_folder, replacing
from geoguide.scene import VOID
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.jobs import Job, list_jobs, making_in, run_jobs, write_lists, write_manifest
from geoguide.worlds.rooms.official import write_room
from geoguide.worlds.rooms.recipe import ROOM_TYPES, RoomRecipe
from geoguide.worlds.rooms.scan import scan_room
from geoguide.worlds.rooms.world import generate_room


@dataclass(frozen=True)
class MiniConfig:
    """What the bytes of a room depend on, beside its number.

    Attributes:
        seed: Source of all rooms and scans.
        voxel: Edge of the reconstruction's voxels, metres.
        sensor: The camera.
        contents: How rooms are furnished and annotated.
    """

    seed: int = 0
    voxel: float = 0.05
    sensor: SensorConfig = field(default_factory=SensorConfig)
    contents: RoomRecipe = field(default_factory=RoomRecipe, metadata=unless("contents", RoomRecipe()))


GENERATOR = 1  # version of the rooms: raised whenever the same seed gives other bytes than before
MIN_POINTS = 100  # vertices: ScanNet's benchmark asks for no smaller instance
ROOM_COUNTS = (28, 14, 21)  # rooms of train, val, test
# The same by edition: the large edition's test rooms hold at least 20 annotated objects of each class.
COUNTS = {"small": ROOM_COUNTS, "large": (200, 30, 120)}
EDITIONS = {
    "small": MiniConfig(),
    "large": MiniConfig(
        # Chosen by two figures alone, superpoint purity and mean best IoU of masks: benchmarks/results/rooms.json. The
        # annotation (purity 1.00 to 0.95, IoU 0.78 to 0.65) and the noise (IoU to 0.54) decide them; clutter, contacts
        # and holes move them by 0.05 at most.
        sensor=SensorConfig(noise_floor=0.009, noise_growth=0.006, holes=0.2),
        contents=RoomRecipe((*ROOM_TYPES, "bathroom"), rare=0.9, clutter=2.0, touching=0.8, annotation="surface"),
    ),
}


class _Room(Job):
    """One room of mini-ScanNet; `number` decides its type."""

    generator = GENERATOR
    first_number: ClassVar = {"train": 0, "val": 5000, "test": 7000}
    name_format = "scene{:04d}_00"
    home = "scans"

    def write(self, folder: Path) -> None:
        room_seed, scan_seed = self.seeds(2)
        config, contents = self.config, self.config.contents
        room = generate_room(room_seed, contents.cycle[self.number % len(contents.cycle)], contents)
        frames = scan_room(room, scan_seed, config.sensor)
        write_room(folder, self.name, room, frames, config.sensor, config.voxel, self.recipe, contents.annotation)


def make_mini_scannet(
    root: str | Path | None = None,
    *,
    rooms: tuple[int, int, int] | None = None,
    seed: int = 0,
    edition: str = "small",
    config: MiniConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate, scan, reconstruct and write rooms in ScanNet's layout; about 1 s a room and core.

    The same seed gives the same bytes whatever `workers` is. Each room is made in a temporary folder and renamed when
    complete, and the manifest is written last: a killed run goes on where it stopped. Rooms of another recipe at the
    same place are refused.

    Args:
        root: Folder of the data set, by default the edition's and seed's in the data folder (see `geoguide.paths`). It
            then holds scans/, the category table, scannetv2_{train,val,test}.txt and the manifest.
        rooms: How many of (train, val, test); None for the edition's counts.
        seed: Source of all rooms and scans.
        edition: A key of `EDITIONS`.
        config: All that decides the bytes; overrides `seed` and the edition's.
        workers: Number of processes; None for as many as cores and memory allow.
        progress: Whether a progress bar is shown.

    Returns:
        The root, ready for `datasets.scannet`.

    Raises:
        ConfigError: An unknown edition.
        InputError: `rooms` are not three counts of 0..2000, or `workers` is below 1.
        DataError: A room's folder is there and was not written by this program, or the root holds another recipe's.
    """
    check_known("edition", edition, EDITIONS)
    config = config or replace(EDITIONS[edition], seed=seed)
    root = Path(root) if root is not None else generated_folder("mini-scannet", edition, config.seed)
    jobs = list_jobs(_Room, root, COUNTS[edition] if rooms is None else rooms, config, "rooms")
    with making_in(root):
        if run_jobs(jobs, workers, progress, "room"):
            with replacing(root / CATEGORY_TABLE.name) as temporary:
                shutil.copyfile(CATEGORY_TABLE, temporary)
            write_lists(jobs, "scannetv2_{}.txt")
            write_manifest(jobs, "rooms")
    return root


def instance_counts(root: str | Path, split: str, *, min_points: int = MIN_POINTS) -> dict[str, int]:
    """Count the annotated objects of each of the 20 classes in a split of a generated set.

    Args:
        root: Folder of the data set.
        split: "train", "val" or "test".
        min_points: Objects of which the scan holds fewer vertices are not counted.

    Returns:
        The count of each class, in the order of the classes.

    Raises:
        DataError: The split is empty, or a room is not whole.
    """
    table, classes = load_category_table(), load_label_set("scannet20")
    total = np.zeros(VOID + 1, np.int64)
    for folder in list_scenes(root, split):
        groups = read_json(folder / f"{folder.name}.aggregation.json", {"segGroups": list})["segGroups"]
        segments = read_json(folder / f"{folder.name}{SEGMENTS}", {"segIndices": list})["segIndices"]
        sizes = np.bincount(segments)  # [S] vertices of each segment
        seen = [table.ids[group["label"]] for group in groups if sizes[group["segments"]].sum() >= min_points]
        total += np.bincount(classes.from_raw(table.nyu40(np.array(seen, np.int64))), minlength=len(total))
    return dict(zip(classes.names, total.tolist(), strict=False))
