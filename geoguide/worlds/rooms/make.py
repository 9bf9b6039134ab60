"""mini-ScanNet on disk: `make_mini_scannet` makes generated rooms in ScanNet v2's official layout.

Making is resumable, and the bytes are the same for any number of workers (see `worlds.jobs`).
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from geoguide.labels import CATEGORY_TABLE
from geoguide.paths import data_root, replacing
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.jobs import Job, list_jobs, making_in, run_jobs, write_lists, write_manifest
from geoguide.worlds.rooms.official import write_room
from geoguide.worlds.rooms.scan import scan_room
from geoguide.worlds.rooms.world import ROOM_TYPES, generate_room

ROOM_COUNTS = (28, 14, 21)  # rooms of train, val, test


@dataclass(frozen=True)
class MiniConfig:
    """What the bytes of a room depend on, beside its number.

    Attributes:
        seed: Source of all rooms and scans.
        voxel: Edge of the reconstruction's voxels, metres.
        sensor: The camera.
    """

    seed: int = 0
    voxel: float = 0.05
    sensor: SensorConfig = field(default_factory=SensorConfig)


class _Room(Job):
    """One room of mini-ScanNet; `number` decides its type."""

    generator = 1
    first_number: ClassVar = {"train": 0, "val": 5000, "test": 7000}
    name_format = "scene{:04d}_00"
    home = "scans"

    def write(self, folder: Path) -> None:
        room_seed, scan_seed = self.seeds(2)
        room = generate_room(room_seed, ROOM_TYPES[self.number % len(ROOM_TYPES)])
        frames = scan_room(room, scan_seed, self.config.sensor)
        write_room(folder, self.name, room, frames, self.config.sensor, self.config.voxel, self.recipe)


def make_mini_scannet(
    root: str | Path | None = None,
    *,
    rooms: tuple[int, int, int] = ROOM_COUNTS,
    seed: int = 0,
    config: MiniConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate, scan, reconstruct and write rooms in ScanNet's layout; about 4 s a room and core.

    The same seed gives the same bytes whatever `workers` is. Each room is made in a temporary folder and renamed when
    complete, and the manifest is written last: a killed run goes on where it stopped. Rooms of another recipe at the
    same place are replaced.

    Args:
        root: Folder of the data set, by default `mini-scannet` in the data folder (see `geoguide.paths`). It then holds
            scans/, the category table, scannetv2_{train,val,test}.txt and the manifest.
        rooms: How many of (train, val, test).
        seed: Source of all rooms and scans.
        config: Camera, voxel and seed, all that decides the bytes; overrides `seed`.
        workers: Number of processes, by default one per core.
        progress: Whether a progress bar is shown.

    Returns:
        The root, ready for `datasets.scannet`.

    Raises:
        InputError: `rooms` are not three counts of 0..2000, or `workers` is below 1.
        DataError: A room's folder is there and was not written by this program.
    """
    root = Path(root) if root is not None else data_root() / "mini-scannet"
    jobs = list_jobs(_Room, root, rooms, config or MiniConfig(seed=seed), "rooms")
    with making_in(root):
        if run_jobs(jobs, workers, progress, "room"):
            with replacing(root / CATEGORY_TABLE.name) as temporary:
                shutil.copyfile(CATEGORY_TABLE, temporary)
            write_lists(jobs, "scannetv2_{}.txt")
            write_manifest(jobs, "rooms")
    return root
