"""mini-ScanNet: generated rooms on disk in ScanNet v2's official layout; resumable, the same for any worker count."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from geoguide.labels import CATEGORY_TABLE
from geoguide.paths import data_root, replacing
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.jobs import (
    MANIFEST,
    SPLITS,
    Job,
    data_fingerprint,
    list_jobs,
    run_jobs,
    write_manifest,
)
from geoguide.worlds.rooms.official import write_scene
from geoguide.worlds.rooms.scan import scan_room
from geoguide.worlds.rooms.world import ROOM_TYPES, generate_room

__all__ = ["MANIFEST", "MiniConfig", "data_fingerprint", "make_mini_scannet"]


GENERATOR = 1  # raised whenever the same seed gives other bytes than before


DEFAULT_ROOMS = (28, 14, 21)


@dataclass(frozen=True)
class MiniConfig:
    """What the bytes of a scene depend on, beside its number: the seed, the mesh's voxel [m] and the sensor."""

    seed: int = 0
    voxel: float = 0.05
    sensor: SensorConfig = field(default_factory=SensorConfig)


class _Room(Job):
    """One room of mini-ScanNet."""

    generator = GENERATOR
    first_number: ClassVar = {"train": 0, "val": 5000, "test": 7000}
    name_format = "scene{:04d}_00"
    home = "scans"

    def write(self, folder: Path) -> None:
        room_seed, scan_seed = self.seeds(2)
        room = generate_room(room_seed, ROOM_TYPES[self.number % len(ROOM_TYPES)])
        frames = scan_room(room, scan_seed, self.config.sensor)
        write_scene(folder, self.name, room, frames, self.config.sensor, self.config.voxel, self.recipe)


def make_mini_scannet(
    root: str | Path | None = None,
    *,
    rooms: tuple[int, int, int] = DEFAULT_ROOMS,
    seed: int = 0,
    config: MiniConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate, scan, reconstruct and write rooms (train, val, test counts); returns the root.

    The same seed gives the same bytes whatever `workers` is (processes, one per core by default). Each scene is made in
    a temporary folder and renamed when complete, and the manifest is written last: a killed run goes on where it
    stopped. Scenes of another recipe at the same place are replaced; scenes this program did not write raise
    `DataError`. `config` overrides `seed`. About 4 s a room and core.
    """
    root = Path(root) if root is not None else data_root() / "mini-scannet"
    jobs = list_jobs(_Room, root, rooms, config or MiniConfig(seed=seed), "rooms")
    if run_jobs(jobs, workers, progress, "room"):
        _write_lists(root, jobs)
        write_manifest(jobs, "rooms")
    return root


def _write_lists(root: Path, jobs: list[Job]) -> None:
    """Category table and split lists."""
    with replacing(root / CATEGORY_TABLE.name) as temporary:
        shutil.copyfile(CATEGORY_TABLE, temporary)
    for split in SPLITS:
        with replacing(root / f"scannetv2_{split}.txt") as temporary:
            temporary.write_text("".join(f"{job.name}\n" for job in jobs if job.split == split))
