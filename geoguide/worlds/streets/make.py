"""mini-nuScenes: generated streets on disk in nuScenes' official layout; resumable, the same for any worker count."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from PIL import Image

from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.datasets.formats.nuscenes_tables import MINI_HOME
from geoguide.errors import DataError
from geoguide.paths import data_root, replacing
from geoguide.worlds.jobs import SPLITS, Job, discard, list_jobs, run_jobs, write_manifest
from geoguide.worlds.streets.contents import STREETS
from geoguide.worlds.streets.official import MAP, OFFICIAL, PER_SCENE, TABLES, VERSION, shared_records, write_scene
from geoguide.worlds.streets.scan import DriveConfig
from geoguide.worlds.streets.world import generate_street

__all__ = ["DEFAULT_SCENES", "VERSION", "StreetConfig", "make_mini_nuscenes"]


GENERATOR = 1  # raised whenever the same seed gives other bytes than before


DEFAULT_SCENES = (15, 10, 10)


PREFIX = "scene-"


@dataclass(frozen=True)
class StreetConfig:
    """What the bytes of a scene depend on, beside its number: the seed and the drive."""

    seed: int = 0
    drive: DriveConfig = field(default_factory=DriveConfig)


class _StreetJob(Job):
    """One street. The real data set's scenes end at 1110; ours begin at 2000."""

    generator = GENERATOR
    first_number: ClassVar = {"train": 2000, "val": 5000, "test": 7000}
    name_format = PREFIX + "{:04d}"
    home = MINI_HOME

    def write(self, folder: Path) -> None:
        street_seed, drive_seed = self.seeds(2)
        street = generate_street(street_seed, list(STREETS)[self.number % len(STREETS)])
        number = self.first_number[self.split] + self.number
        write_scene(folder, self.name, number, street, drive_seed, self.config.drive, self.recipe)

    def publish(self, folder: Path) -> None:
        """Move the official files to where nuScenes has them, then the folder with the stamp: it says all is there."""
        discard(self.folder)  # its files are about to be replaced
        official = folder / OFFICIAL
        for path in sorted(path for path in official.rglob("*") if path.is_file()):
            target = self.root / path.relative_to(official)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        for emptied in sorted(official.rglob("*"), reverse=True):
            emptied.rmdir()
        official.rmdir()
        super().publish(folder)


def make_mini_nuscenes(
    root: str | Path | None = None,
    *,
    scenes: tuple[int, int, int] = DEFAULT_SCENES,
    seed: int = 0,
    config: StreetConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate streets, drive through them and write them as nuScenes (train, val, test scenes); returns the root.

    The tables are `root/v1.0-streets`; splits "train", "val", "test" are in its splits.json, which the devkit reads
    too. `root/mini.json` marks the set as generated; `root/mini/SCENE` holds what nuScenes has not (`official.py`).
    The same seed gives the same bytes whatever `workers` is (processes, one per core by default). A killed run goes on
    where it stopped: a scene's stamp is written after its files, the tables after all scenes and the manifest last.
    Scenes of another recipe and generated scenes that are not asked for are removed. A root that this program did not
    write raises `DataError`. `config` overrides `seed`. About 1.5 s of one core and 3.5 MB a scene of four key frames.
    """
    root = Path(root) if root is not None else data_root() / "mini-nuscenes"
    jobs = list_jobs(_StreetJob, root, scenes, config or StreetConfig(seed=seed), "scenes")
    _claim(root)
    if run_jobs(jobs, workers, progress, "street"):
        _write_tables(root, jobs)
        write_manifest(jobs, "scenes_per_split")
    return root


def _claim(root: Path) -> None:
    """Mark the root as generated before anything else is written; refuse one that holds someone else's files."""
    stamp = root / MINI_STAMP
    if stamp.is_file():
        return
    if root.exists() and (not root.is_dir() or any(not path.name.startswith(".") for path in root.iterdir())):
        raise DataError(f"{root}: not a generated data set ({MINI_STAMP} is missing); choose another root")
    with replacing(stamp) as temporary:
        temporary.write_text(json.dumps({"dataset": "mini-nuScenes", "version": VERSION}) + "\n")


def _write_tables(root: Path, jobs: list[Job]) -> None:
    """The json tables, splits.json and the map, from the scenes' own records."""
    parts = [read_json(job.folder / TABLES, PER_SCENE) for job in jobs]
    tables = {name: [record for part in parts for record in part[name]] for name in PER_SCENE}
    _prune(root, jobs, {record["filename"] for name in ("sample_data", "lidarseg") for record in tables[name]})
    tables |= shared_records([record["token"] for record in tables["log"]])
    splits = {split: [job.name for job in jobs if job.split == split] for split in SPLITS}
    # The devkit gives "train", "val" and "test" its own scenes' names: it finds ours under names of their own.
    splits |= {f"streets_{split}": names for split, names in splits.items()}
    for name, value in {**tables, "splits": splits}.items():
        with replacing(root / VERSION / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(value, indent=0) + "\n")
    with replacing(root / MAP) as temporary:  # the devkit insists on one; ours is blank
        Image.new("L", (4, 4)).save(temporary)


def _prune(root: Path, jobs: list[Job], wanted: set[str]) -> None:
    """Remove generated scenes and files of other numbers or recipes: the devkit counts the files."""
    names = {job.name for job in jobs}
    for stamp in (root / MINI_HOME).glob(f"{PREFIX}*/{MINI_STAMP}"):
        if stamp.parent.name not in names:
            discard(stamp.parent)
    for pattern in (f"samples/*/{PREFIX}*__*", f"lidarseg/{VERSION}/*_lidarseg.bin"):
        for path in root.glob(pattern):
            if path.relative_to(root).as_posix() not in wanted:
                path.unlink()
