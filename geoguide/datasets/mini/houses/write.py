"""mini-Matterport3D: generated houses on disk in Matterport3D's official layout; resumable, equal for any workers."""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.datasets.mini.houses.house import generate_house
from geoguide.datasets.mini.houses.official import write_house, write_mapping
from geoguide.datasets.mini.houses.scan import HouseConfig, scan_house
from geoguide.datasets.mini.houses.vocabulary import TABLE, load_vocabulary
from geoguide.datasets.mini.write import FIRST_NUMBER, MANIFEST, SPLITS, STALE, default_mini_root
from geoguide.datasets.reading import read_json
from geoguide.datasets.scannet import MINI_STAMP
from geoguide.errors import DataError, InputError
from geoguide.files import replacing

GENERATOR = 1  # raised whenever the same seed gives other bytes than before
DEFAULT_HOUSES = (8, 3, 6)  # six consecutive houses hold every name
MAX_HOUSES = 1000
MAPPING = "category_mapping.tsv"
SCANS = Path("v1") / "scans"


@dataclass(frozen=True)
class _Job:
    root: Path
    split: str
    number: int  # within the split
    config: HouseConfig

    @property
    def name(self) -> str:
        return f"house{FIRST_NUMBER[self.split] + self.number:04d}"  # without _, which separates house and region

    @property
    def folder(self) -> Path:
        return self.root / SCANS / self.name

    @property
    def recipe(self) -> dict:
        table = hashlib.sha256(TABLE.read_bytes()).hexdigest()[:12]
        recipe = {"generator": GENERATOR, "split": self.split, "number": self.number, "vocabulary": table}
        return json.loads(json.dumps(recipe | asdict(self.config)))  # tuples become lists, as when read back


def default_houses_root() -> Path:
    """`mini-matterport3d` beside `mini-scannet`: below $GEOGUIDE_DATA, else the project's `data`."""
    return default_mini_root().with_name("mini-matterport3d")


def make_mini_matterport3d(
    root: str | Path | None = None,
    *,
    houses: tuple[int, int, int] = DEFAULT_HOUSES,
    seed: int = 0,
    config: HouseConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate, scan, reconstruct and write houses (train, val, test counts); returns the root.

    `root` then holds v1/scans/, category_mapping.tsv and scenes_{train,val,test}.txt for `datasets.matterport3d`, and a
    manifest with the number of annotated objects of every name per split. The same seed gives the same bytes whatever
    `workers` is (processes, one per core by default). Each house is made in a temporary folder and renamed when
    complete, the manifest is written last: a killed run goes on where it stopped. Houses of another recipe at the same
    place are replaced; folders this program did not write raise `DataError`. `config` overrides `seed`. About 7 s and
    20 MB a house.
    """
    root = Path(root) if root is not None else default_houses_root()
    if len(houses) != 3 or any(count < 0 or count > MAX_HOUSES for count in houses) or sum(houses) == 0:
        raise InputError(f"houses must be three counts (train, val, test) of 0..{MAX_HOUSES}, found {tuple(houses)}")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, found {workers}")
    config = config or HouseConfig(seed=seed)
    jobs = [
        _Job(root, split, number, config)
        for split, count in zip(SPLITS, houses, strict=True)
        for number in range(count)
    ]
    missing = [job for job in jobs if not _finished(job)]
    if not missing and _complete(root, jobs):
        return root
    for job in missing:
        _refuse_foreign(job.folder)
    (root / SCANS).mkdir(parents=True, exist_ok=True)
    (root / MANIFEST).unlink(missing_ok=True)
    _sweep(root)
    for name in tqdm(_run(missing, workers), "mini houses", len(missing), unit="house", disable=not progress):
        if not (root / SCANS / name / MINI_STAMP).is_file():
            raise DataError(f"{root / SCANS / name}: was not written")
    _write_lists(root, jobs)
    return root


def instance_counts(root: str | Path, split: str) -> dict[str, int]:
    """Annotated objects of each of the 160 names in a split of a generated set, in the order of the classes."""
    return dict(read_json(Path(root) / MANIFEST, ("instances",))["instances"][split])


def _run(jobs: list[_Job], workers: int | None) -> Iterator[str]:
    """Make the houses, yielding each one's name when done."""
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        yield from map(_make_house, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = [pool.submit(_make_house, job) for job in jobs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _make_house(job: _Job) -> str:
    """Make one house in a temporary folder and rename it into place, unless another run has just done so."""
    if _finished(job):
        return job.name
    entropy = np.random.SeedSequence([job.config.seed, SPLITS.index(job.split), job.number])
    house_seed, scan_seed = (int(value) for value in entropy.generate_state(2))
    house = generate_house(house_seed, job.number, job.config.regions)
    shots = scan_house(house, scan_seed, job.config)
    temporary = Path(tempfile.mkdtemp(prefix=f".making-{job.name}-", dir=job.root / SCANS))
    try:
        write_house(temporary, job.name, house, shots, job.config, job.recipe)
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
        raise DataError(f"{folder}: not a generated house ({MINI_STAMP} is missing); choose another root")


def _finished(job: _Job) -> bool:
    stamp = job.folder / MINI_STAMP
    return stamp.is_file() and read_json(stamp, ("recipe",))["recipe"] == job.recipe


def _complete(root: Path, jobs: list[_Job]) -> bool:
    path = root / MANIFEST
    return path.is_file() and set(read_json(path, ("scenes",))["scenes"]) == {job.name for job in jobs}


def _sweep(root: Path) -> None:
    """Remove half-made houses that a killed run left."""
    for folder in (root / SCANS).glob(".making-*"):
        if time.time() - folder.stat().st_mtime > STALE:
            shutil.rmtree(folder)


def _write_lists(root: Path, jobs: list[_Job]) -> None:
    """Category mapping, split lists, and the manifest as the last file."""
    with replacing(root / MAPPING) as temporary:
        write_mapping(temporary)
    stamps = {job.name: read_json(job.folder / MINI_STAMP, ("fingerprint", "instances")) for job in jobs}
    instances = {}
    for split in SPLITS:
        names = [job.name for job in jobs if job.split == split]
        with replacing(root / f"scenes_{split}.txt") as temporary:
            temporary.write_text("".join(f"{name}\n" for name in names))
        total = sum((Counter(stamps[name]["instances"]) for name in names), Counter())
        instances[split] = {entry.name: total[entry.name] for entry in load_vocabulary()}
    scenes = {name: stamp["fingerprint"] for name, stamp in stamps.items()}
    manifest = {
        "generator": GENERATOR,
        **json.loads(json.dumps(asdict(jobs[0].config))),
        "houses": {split: sum(job.split == split for job in jobs) for split in SPLITS},
        "fingerprint": hashlib.sha256(json.dumps(scenes, sort_keys=True).encode()).hexdigest(),
        "scenes": scenes,
        "instances": instances,
    }
    with replacing(root / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")
