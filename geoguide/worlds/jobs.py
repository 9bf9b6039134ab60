"""Making generated scenes on disk, whatever they show: resumable, in parallel, the same bytes for any worker count.

A `Job` is one scene. It is written into a temporary folder and renamed when complete; its stamp `mini.json` says by
which recipe it was made. The manifest of a data set is written last and says that the set is complete.
"""

import abc
import contextlib
import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tqdm import tqdm

from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.errors import DataError, InputError
from geoguide.frozen import to_dict
from geoguide.locks import alone_in
from geoguide.ops.machine import fitting
from geoguide.ops.workers import worker_pool
from geoguide.paths import LOCK, MAKING, replacing, sweep, working_folder, writing

MANIFEST = "manifest.json"
RECORDING = ".sens"  # files that are added to a finished scene, and are no part of its bytes
SPLIT_NAMES = ("train", "val", "test")
MOST = 2000  # largest number of scenes in a split
SCENE_MEMORY = 768 * 2**20  # bytes: the most that a process takes that makes one, a house of the large edition
STALE = 3600.0  # seconds after which a half-made scene without a lock is taken for the rest of a run that was killed


@dataclass(frozen=True)
class Job(abc.ABC):
    """One scene to make.

    Attributes:
        root: Folder of the data set.
        split: "train", "val" or "test".
        number: Number of the scene within its split.
        config: A dataclass with a seed: with split and number it decides the scene's bytes.
        generator: Version of the generator, the same for all scenes of a kind, as the next three are; raised whenever
            the same seed gives other bytes than before.
        first_number: Number in the name of each split's first scene. They lie so far apart that a split of another
            size changes no name of another split.
        name_format: Format of a scene's name, given its number.
        home: Folder below `root` that holds one folder for each scene.
    """

    root: Path
    split: str
    number: int
    config: Any

    generator: ClassVar[int]
    first_number: ClassVar[dict[str, int]]
    name_format: ClassVar[str]
    home: ClassVar[str]

    @property
    def name(self) -> str:
        """Name of the scene and of its folder."""
        return self.name_format.format(self.first_number[self.split] + self.number)

    @property
    def folder(self) -> Path:
        """Where the scene belongs."""
        return self.root / self.home / self.name

    @property
    def recipe(self) -> dict[str, Any]:
        """All that the scene's bytes depend on, as plain JSON types: what its stamp holds.

        Fields with `frozen.unless`, which came after data were first made, stand in it where they are not the default.
        """
        options = to_dict(self.config, hashed_only=True)
        recipe = {"generator": self.generator, "split": self.split, "number": self.number, **options}
        return json.loads(json.dumps(recipe))  # tuples become lists, as when read back

    def seeds(self, count: int) -> list[int]:
        """Seeds that depend on the config's seed, the split and the number alone.

        Args:
            count: How many.

        Returns:
            That many integers >= 0.
        """
        entropy = np.random.SeedSequence([self.config.seed, SPLIT_NAMES.index(self.split), self.number])
        return [int(value) for value in entropy.generate_state(count)]

    @abc.abstractmethod
    def write(self, folder: Path) -> None:
        """Write the scene, its stamp (recipe and fingerprint) last.

        Args:
            folder: An empty folder.
        """

    def publish(self, folder: Path) -> None:
        """Move the complete scene to where it belongs, in place of an earlier one.

        Args:
            folder: Where `write` has put it.
        """
        discard(self.folder)
        folder.rename(self.folder)


def list_jobs(kind: type[Job], root: Path, counts: tuple[int, int, int], config: Any, what: str) -> list[Job]:
    """The jobs of a data set.

    Args:
        kind: What scenes they make.
        root: Folder of the data set.
        counts: How many scenes of (train, val, test).
        config: See `Job`.
        what: What the counts are called in an error.

    Returns:
        One job for each scene, split by split.

    Raises:
        InputError: `counts` are not three counts of 0..2000, or all are 0.
    """
    if len(counts) != 3 or any(count < 0 or count > MOST for count in counts) or sum(counts) == 0:
        raise InputError(f"{what} must be three counts (train, val, test) of 0..{MOST}, found {tuple(counts)}")
    return [
        kind(root, split, number, config)
        for split, count in zip(SPLIT_NAMES, counts, strict=True)
        for number in range(count)
    ]


@contextlib.contextmanager
def making_in(root: Path) -> Generator[None]:
    """Hold a data set's folder while it is made: a second process that makes it waits, and then finds it made.

    Args:
        root: Folder of the data set; made where it is missing.

    Yields:
        Nothing; the block is the making.

    Raises:
        DataError: The folder cannot be made, or is a file.
    """
    make_folder(root)
    with alone_in(root):
        yield


def run_jobs(jobs: Sequence[Job], workers: int | None, progress: bool, what: str) -> bool:
    """Make the scenes that are missing.

    The manifest is removed first: whoever calls this writes it when all else is written.

    Args:
        jobs: The scenes of one data set.
        workers: Number of processes; None for as many as cores and memory allow.
        progress: Whether a progress bar is shown.
        what: What a scene is called in that bar.

    Returns:
        False where all is there already, the manifest too; else True.

    Raises:
        InputError: `workers` is below 1.
        DataError: The root or a scene's place holds files that this program did not write, or scenes of another seed,
            edition or data set; or a scene was not written.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, found {workers}")
    root, missing = jobs[0].root, [job for job in jobs if not finished(job)]
    _sweep(root, root / jobs[0].home)
    if not missing and _complete(root, jobs):
        return False
    _refuse_foreign_root(root, root / jobs[0].home)
    if missing:
        _refuse_another_recipe(root, missing)
    for job in missing:
        refuse_foreign(job.folder)
    make_folder(root / jobs[0].home)
    with writing(root):
        (root / MANIFEST).unlink(missing_ok=True)
    done = _run(missing, workers)
    for job in tqdm(done, total=len(missing), desc=f"mini {what}s", unit=what, disable=not progress):
        if not (job.folder / MINI_STAMP).is_file():
            raise DataError(f"{job.folder}: was not written")
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Args:
        folder: The folder.

    Raises:
        DataError: It cannot be made: a file lies there or above it, or the place may not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = next((place for place in (folder, *folder.parents) if place.is_file()), folder)
        raise DataError(f"{where}: cannot hold generated data ({error.strerror}); choose another folder") from None


def write_lists(jobs: Sequence[Job], name_format: str) -> None:
    """Write one text file for each split that names its scenes, one a line.

    Args:
        jobs: The scenes of one data set.
        name_format: Name of a file below the root, with {} for the split.
    """
    for split in SPLIT_NAMES:
        with replacing(jobs[0].root / name_format.format(split)) as temporary:
            temporary.write_text("".join(f"{job.name}\n" for job in jobs if job.split == split))


def write_manifest(jobs: Sequence[Job], counts_name: str) -> None:
    """Write the manifest, which says that the data set is complete and what it holds.

    Args:
        jobs: The scenes of the data set, all of them made.
        counts_name: The manifest's field for the number of scenes of each split.
    """
    root = jobs[0].root
    scenes = {job.name: read_json(job.folder / MINI_STAMP, ("fingerprint",))["fingerprint"] for job in jobs}
    manifest = {
        "generator": jobs[0].generator,
        **json.loads(json.dumps(to_dict(jobs[0].config, hashed_only=True))),
        counts_name: {split: sum(job.split == split for job in jobs) for split in SPLIT_NAMES},
        "fingerprint": hashlib.sha256(json.dumps(scenes, sort_keys=True).encode()).hexdigest(),
        "scenes": scenes,
    }
    with replacing(root / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")


def write_stamp(folder: Path, recipe: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write a scene's stamp `mini.json`, when all its other files are written.

    Args:
        folder: The scene's folder.
        recipe: The recipe that made it.
        facts: What else the stamp says, counts for example.
    """
    stamp = {"recipe": recipe, "fingerprint": scene_fingerprint(folder), **facts}
    (folder / MINI_STAMP).write_text(json.dumps(stamp, indent=1) + "\n")


def scene_fingerprint(folder: Path) -> str:
    """Compute a hash that tells whether two scenes hold the same bytes.

    Args:
        folder: The scene's folder.

    Returns:
        SHA-256 over the names and bytes of all its files, the stamp and recordings left out: 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != RECORDING)
    for path in sorted(path for path in files if path.name != MINI_STAMP):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def finished(job: Job) -> bool:
    """Whether a scene is made.

    Args:
        job: The scene.

    Returns:
        True where it lies at its place, made by this very recipe.
    """
    stamp = job.folder / MINI_STAMP
    return stamp.is_file() and read_json(stamp, ("recipe",))["recipe"] == job.recipe


def refuse_foreign(folder: Path) -> None:
    """Refuse to replace what this program did not write.

    Args:
        folder: Where a scene is to lie.

    Raises:
        DataError: The folder is there and holds no stamp.
    """
    if folder.exists() and not (folder / MINI_STAMP).is_file():
        raise DataError(f"{folder}: not a generated scene ({MINI_STAMP} is missing); choose another root")


def _refuse_foreign_root(root: Path, home: Path) -> None:
    """Refuse a folder of somebody else's files, which lists and the manifest could replace."""
    if not root.is_dir() or all(path.name.startswith(".") for path in root.iterdir()):
        return
    manifest = root / MANIFEST
    if manifest.is_file():
        generated = "generator" in read_json(manifest, ())
    else:  # a run that was killed leaves finished or half-made scenes, or nothing yet
        scenes = list(home.iterdir()) if home.is_dir() else [root]
        generated = all(path.name.startswith(".") or (path / MINI_STAMP).is_file() for path in scenes)
    if not generated:
        raise DataError(f"{root}: holds other files than generated scenes; choose another folder")


def _refuse_another_recipe(root: Path, missing: Sequence[Job]) -> None:
    """Refuse to replace a set of another seed, edition or data set: each has a folder of its own.

    Scenes of another version of the generator alone are made anew: this version cannot make the old ones again.
    """
    stamps = [job.folder / MINI_STAMP for job in missing]
    made = [read_json(stamp, {"recipe": dict})["recipe"] for stamp in stamps if stamp.is_file()]
    if (root / MANIFEST).is_file():
        made.append(read_json(root / MANIFEST, ()))
    config = json.loads(json.dumps(to_dict(missing[0].config, hashed_only=True)))
    versions = {*missing[0].recipe} - {*config}  # of the program, beside the scene's split and number
    asked = _flat(config)
    for held in (_options(recipe, versions) for recipe in made):
        other = next((name for name in ("seed", *sorted({*held, *asked})) if held.get(name) != asked.get(name)), None)
        if other is not None:
            found, expected = (f"{values[other]!r:.60}" if other in values else "none" for values in (held, asked))
            what = f"holds data of {other} {found}, asked for {other} {expected}"
            raise DataError(f"{root}: {what}: choose another folder, or delete it")


def _options(held: dict[str, Any], versions: set[str]) -> dict[str, Any]:
    """What a recipe or a manifest says of the world alone, by dotted name: no versions, no scenes and no counts."""
    counts = {name for name, value in held.items() if isinstance(value, dict) and {*value} == {*SPLIT_NAMES}}
    left_out = {"fingerprint", "scenes"} | versions | counts
    return _flat({name: value for name, value in held.items() if name not in left_out})


def _flat(held: dict[str, Any]) -> dict[str, Any]:
    """Values by dotted name, in place of dictionaries within dictionaries."""
    flat: dict[str, Any] = {}
    for name, value in held.items():
        parts = _flat(value) if isinstance(value, dict) else None
        flat |= {name: value} if parts is None else {f"{name}.{part}": inner for part, inner in parts.items()}
    return flat


def discard(folder: Path) -> None:
    """Remove a scene's folder if there is one; it is moved aside first, so that a kill leaves all of it or nothing.

    Args:
        folder: The scene's folder.
    """
    if folder.exists():
        with working_folder(folder) as aside:
            folder.rename(aside / folder.name)


def _run(jobs: list[Job], workers: int | None) -> Iterator[Job]:
    """Make the scenes, yielding each one when done."""
    workers = min(workers or fitting(SCENE_MEMORY, len(jobs)), len(jobs))
    if workers <= 1:
        yield from map(_make, jobs)
        return
    with worker_pool(workers, computing=False) as pool:
        for made in as_completed([pool.submit(_make, job) for job in jobs]):
            yield made.result()


def _make(job: Job) -> Job:
    """Make one scene in a temporary folder and publish it, unless another run has just done so."""
    if finished(job):
        return job
    with working_folder(job.folder) as place, writing(job.folder), warnings.catch_warnings():
        # Of a camera too near to what it looks at: in a generated scene as it should be, as in a real one.
        warnings.filterwarnings("ignore", message=".* hold no reading")
        made = place / job.name
        made.mkdir()
        job.write(made)
        if not finished(job):
            refuse_foreign(job.folder)
            job.publish(made)
    return job


def _complete(root: Path, jobs: Sequence[Job]) -> bool:
    """Whether the manifest names just these scenes."""
    path = root / MANIFEST
    return path.is_file() and set(read_json(path, {"scenes": dict})["scenes"]) == {job.name for job in jobs}


def _sweep(root: Path, home: Path) -> None:
    """Remove what killed runs left; working folders of versions before 0.6 have no lock, so that only age tells."""
    for folder in (root, home):
        sweep(folder)
    for folder in home.glob(f"{MAKING}*"):
        if not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime > STALE:
            shutil.rmtree(folder, ignore_errors=True)
