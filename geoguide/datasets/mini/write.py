"""mini-ScanNet: generated rooms on disk in ScanNet v2's official layout; resumable, the same for any worker count."""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.datasets.mini.official import write_scene
from geoguide.datasets.mini.room import ROOM_TYPES, generate_room
from geoguide.datasets.mini.sensor import SensorConfig, scan_room
from geoguide.datasets.reading import read_json
from geoguide.datasets.scannet import MINI_STAMP
from geoguide.errors import DataError, InputError
from geoguide.files import replacing
from geoguide.labels import CATEGORY_TABLE

GENERATOR = 1  # raised whenever the same seed gives other bytes than before
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
FIRST_NUMBER = {"train": 0, "val": 5000, "test": 7000}  # so that more rooms of one split rename none of another
DEFAULT_ROOMS = (28, 14, 21)
STALE = 3600.0  # seconds after which a half-made scene is a dead run's


@dataclass(frozen=True)
class MiniConfig:
    """What the bytes of a scene depend on, beside its number: the seed, the mesh's voxel [m] and the sensor."""

    seed: int = 0
    voxel: float = 0.05
    sensor: SensorConfig = field(default_factory=SensorConfig)


@dataclass(frozen=True)
class _Job:
    root: Path
    split: str
    number: int  # within the split
    config: MiniConfig

    @property
    def name(self) -> str:
        return f"scene{FIRST_NUMBER[self.split] + self.number:04d}_00"

    @property
    def folder(self) -> Path:
        return self.root / "scans" / self.name

    @property
    def recipe(self) -> dict:
        recipe = {"generator": GENERATOR, "split": self.split, "number": self.number, **asdict(self.config)}
        return json.loads(json.dumps(recipe))  # tuples become lists, as when read back


def default_mini_root() -> Path:
    """`$GEOGUIDE_DATA/mini-scannet` , else `data/mini-scannet` in the project (or working) folder."""
    if os.environ.get("GEOGUIDE_DATA"):
        return Path(os.environ["GEOGUIDE_DATA"]) / "mini-scannet"
    here = Path.cwd()
    project = next((home for home in (here, *here.parents) if (home / "geoguide" / "scene.py").is_file()), here)
    return project / "data" / "mini-scannet"


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
    root = Path(root) if root is not None else default_mini_root()
    if len(rooms) != 3 or any(count < 0 or count > 2000 for count in rooms) or sum(rooms) == 0:
        raise InputError(f"rooms must be three counts (train, val, test) of 0..2000, found {tuple(rooms)}")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, found {workers}")
    config = config or MiniConfig(seed=seed)
    jobs = [
        _Job(root, split, number, config) for split, count in zip(SPLITS, rooms, strict=True) for number in range(count)
    ]
    missing = [job for job in jobs if not _finished(job)]
    if not missing and _complete(root, jobs):
        return root
    for job in missing:
        _refuse_foreign(job.folder)
    (root / "scans").mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    _sweep(root)
    for name in tqdm(_run(missing, workers), total=len(missing), desc="mini rooms", unit="room", disable=not progress):
        if not (root / "scans" / name / MINI_STAMP).is_file():
            raise DataError(f"{root / 'scans' / name}: was not written")
    _write_lists(root, jobs)
    return root


def data_fingerprint(root: str | Path) -> str:
    """SHA-256 of a generated data set's content, from its manifest: what a record names as its data."""
    return str(read_json(Path(root) / MANIFEST, ("fingerprint",))["fingerprint"])


def _run(jobs: list[_Job], workers: int | None) -> Iterator[str]:
    """Make the scenes, yielding each one's name when done."""
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        yield from map(_make_scene, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = [pool.submit(_make_scene, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make_scene(job: _Job) -> str:
    """Make one scene in a temporary folder and rename it into place, unless another run has just done so."""
    if _finished(job):
        return job.name
    entropy = np.random.SeedSequence([job.config.seed, SPLITS.index(job.split), job.number])
    room_seed, scan_seed = (int(value) for value in entropy.generate_state(2))
    room = generate_room(room_seed, ROOM_TYPES[job.number % len(ROOM_TYPES)])
    frames = scan_room(room, scan_seed, job.config.sensor)
    temporary = Path(tempfile.mkdtemp(prefix=f".making-{job.name}-", dir=job.root / "scans"))
    try:
        write_scene(temporary, job.name, room, frames, job.config.sensor, job.config.voxel, job.recipe)
        temporary.chmod(0o755)
        if not _finished(job):
            _refuse_foreign(job.folder)
            if job.folder.exists():
                shutil.rmtree(job.folder)
            temporary.rename(job.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return job.name


def _refuse_foreign(folder: Path) -> None:
    """Raise `DataError` when the folder holds something that this program did not write."""
    if folder.exists() and not (folder / MINI_STAMP).is_file():
        raise DataError(f"{folder}: not a generated scene ({MINI_STAMP} is missing); choose another root")


def _finished(job: _Job) -> bool:
    stamp = job.folder / MINI_STAMP
    return stamp.is_file() and read_json(stamp, ("recipe",))["recipe"] == job.recipe


def _complete(root: Path, jobs: list[_Job]) -> bool:
    path = root / MANIFEST
    return path.is_file() and set(read_json(path, ("scenes",))["scenes"]) == {job.name for job in jobs}


def _sweep(root: Path) -> None:
    """Remove half-made scenes that a killed run left."""
    for folder in (root / "scans").glob(".making-*"):
        if time.time() - folder.stat().st_mtime > STALE:
            shutil.rmtree(folder)


def _write_lists(root: Path, jobs: Iterable[_Job]) -> None:
    """Category table, split lists, and the manifest as the last file."""
    jobs = list(jobs)
    with replacing(root / CATEGORY_TABLE.name) as temporary:
        shutil.copyfile(CATEGORY_TABLE, temporary)
    for split in SPLITS:
        with replacing(root / f"scannetv2_{split}.txt") as temporary:
            temporary.write_text("".join(f"{job.name}\n" for job in jobs if job.split == split))
    scenes = {job.name: read_json(job.folder / MINI_STAMP, ("fingerprint",))["fingerprint"] for job in jobs}
    manifest = {
        "generator": GENERATOR,
        **json.loads(json.dumps(asdict(jobs[0].config))),
        "rooms": {split: sum(job.split == split for job in jobs) for split in SPLITS},
        "fingerprint": hashlib.sha256(json.dumps(scenes, sort_keys=True).encode()).hexdigest(),
        "scenes": scenes,
    }
    with replacing(root / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")
