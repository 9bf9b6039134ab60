"""mini-nuScenes on disk: `make_mini_nuscenes` makes generated streets in nuScenes' official layout.

Making is resumable, and the bytes are the same for any number of workers (see `worlds.jobs`).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from PIL import Image

from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.datasets.formats.nuscenes_tables import MINI_HOME
from geoguide.errors import DataError, check_known
from geoguide.paths import generated_folder, replacing
from geoguide.worlds.jobs import SPLIT_NAMES, Job, discard, list_jobs, making_in, run_jobs, write_manifest
from geoguide.worlds.streets.contents import STREETS
from geoguide.worlds.streets.official import (
    MAP,
    OFFICIAL,
    PER_SCENE,
    STREETS_VERSION,
    TABLES,
    shared_records,
    write_street,
)
from geoguide.worlds.streets.scan import DriveConfig, scan_street
from geoguide.worlds.streets.world import generate_street

GENERATOR = 1  # version of the streets: raised whenever the same seed gives other bytes than before
STREET_COUNTS = (15, 10, 10)  # streets of train, val, test
COUNTS = {"small": STREET_COUNTS, "large": (120, 20, 60)}  # the same by edition; the streets are of one kind
PREFIX = "scene-"


@dataclass(frozen=True)
class StreetConfig:
    """What the bytes of a street depend on, beside its number.

    Attributes:
        seed: Source of all streets and drives.
        drive: The sensors.
    """

    seed: int = 0
    drive: DriveConfig = field(default_factory=DriveConfig)


class _Street(Job):
    """One street of mini-nuScenes; `number` decides its kind. The real scenes end at 1110; ours begin at 2000."""

    generator = GENERATOR
    first_number: ClassVar = {"train": 2000, "val": 5000, "test": 7000}
    name_format = PREFIX + "{:04d}"
    home = MINI_HOME

    def write(self, folder: Path) -> None:
        street_seed, scan_seed = self.seeds(2)
        street = generate_street(street_seed, list(STREETS)[self.number % len(STREETS)])
        sensors, key_frames = scan_street(street, scan_seed, self.config.drive)
        number, quality = self.first_number[self.split] + self.number, self.config.drive.jpeg_quality
        write_street(folder, self.name, number, street, sensors, key_frames, quality, self.recipe)

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
    scenes: tuple[int, int, int] | None = None,
    seed: int = 0,
    edition: str = "small",
    config: StreetConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate streets, drive through them and write them in nuScenes' layout; about 1.3 s and 3.5 MB a street.

    (That is for one core and four key frames.) The same seed gives the same bytes whatever `workers` is. A killed run
    goes on where it stopped: a scene's stamp is written after its files, the tables after all scenes and the manifest
    last. A larger set may be made of a smaller one, not the other way round.

    Args:
        root: Folder of the data set, by default the edition's and seed's in the data folder (see `geoguide.paths`). Its
            tables are v1.0-streets/, with the splits "train", "val" and "test" in splits.json, which the devkit reads
            too. mini.json marks the set as generated; mini/SCENE/ holds what nuScenes has not (see `official`).
        scenes: How many of (train, val, test); None for the edition's counts.
        seed: Source of all streets and drives.
        edition: A key of `COUNTS`.
        config: Drive and seed, all that decides the bytes; overrides `seed`.
        workers: Number of processes; None for as many as cores and memory allow.
        progress: Whether a progress bar is shown.

    Returns:
        The root, ready for `datasets.nuscenes`.

    Raises:
        ConfigError: An unknown edition.
        InputError: `scenes` are not three counts of 0..2000, or `workers` is below 1.
        DataError: The root holds files that this program did not write, streets of another recipe, or streets that are
            not asked for: the devkit counts the files.
    """
    check_known("edition", edition, COUNTS)
    config = config or StreetConfig(seed=seed)
    root = Path(root) if root is not None else generated_folder("mini-nuscenes", edition, config.seed)
    jobs = list_jobs(_Street, root, COUNTS[edition] if scenes is None else scenes, config, "scenes")
    with making_in(root):
        _claim(root)
        _refuse_more(root, jobs)
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
        temporary.write_text(json.dumps({"dataset": "mini-nuScenes", "version": STREETS_VERSION}) + "\n")


def _write_tables(root: Path, jobs: list[Job]) -> None:
    """Write the json tables, splits.json and the map, from the scenes' own records."""
    parts = [read_json(job.folder / TABLES, dict.fromkeys(PER_SCENE, list)) for job in jobs]
    tables = {name: [record for part in parts for record in part[name]] for name in PER_SCENE}
    _prune(root, {record["filename"] for name in ("sample_data", "lidarseg") for record in tables[name]})
    tables |= shared_records([record["token"] for record in tables["log"]])
    splits = {split: [job.name for job in jobs if job.split == split] for split in SPLIT_NAMES}
    # In the devkit "train", "val" and "test" mean the real scenes; it finds ours as "streets_train" and so on.
    splits |= {f"streets_{split}": names for split, names in splits.items()}
    for name, value in {**tables, "splits": splits}.items():
        with replacing(root / STREETS_VERSION / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(value, indent=0) + "\n")
    with replacing(root / MAP) as temporary:  # the devkit insists on one; ours is blank
        Image.new("L", (4, 4)).save(temporary)


def _refuse_more(root: Path, jobs: list[Job]) -> None:
    """Refuse a folder that holds streets which are not asked for: the devkit counts the files, so they cannot stay."""
    stamps = (root / MINI_HOME).glob(f"{PREFIX}*/{MINI_STAMP}")
    more = sorted({stamp.parent.name for stamp in stamps} - {job.name for job in jobs})
    if more:
        what = f"holds {len(more)} generated scenes that are not asked for, first {more[0]}"
        raise DataError(f"{root}: {what}: choose another folder, or delete it")


def _prune(root: Path, wanted: set[str]) -> None:
    """Remove files of scenes that a killed run has not made to their end: the devkit counts the files."""
    for pattern in (f"samples/*/{PREFIX}*__*", f"lidarseg/{STREETS_VERSION}/*_lidarseg.bin"):
        for path in root.glob(pattern):
            if path.relative_to(root).as_posix() not in wanted:
                path.unlink()
