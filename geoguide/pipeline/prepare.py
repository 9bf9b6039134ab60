"""Prepared scenes: every frozen stage of a scene or of a whole split, cached on disk.

A scene whose files have not changed is not even read, and none is ever held in memory.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

import torch
from tqdm import tqdm

try:
    import resource
except ImportError:  # Windows
    resource = None

from geoguide.benchmarks.scenes import generate, list_sources
from geoguide.datasets.config import DataConfig
from geoguide.datasets.sources import SceneSource
from geoguide.datasets.splits import USUAL
from geoguide.errors import check_known
from geoguide.ops.devices import resolve_device
from geoguide.ops.workers import worker_pool
from geoguide.paths import cache_root, sweep
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.ranks import Ranks
from geoguide.pipeline.stages import Stages
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene

# Of a split, at once. The parts of their mapped files that were read count as this process's memory; but to open a
# scene again takes up to 0.2 s, ten steps' time, and with 64 of 200 rooms open two steps in three would do so.
OPEN_SCENES = 200
HANDLES = 16  # that an open scene holds, one for each mapped file: 12 measured, of LiDAR and of further stages more
SPLITS = 6  # that may be open side by side (`experiments.run` keeps that many)
RESERVED = 64  # handles for everything else: the program's libraries, pipes of workers, what is just being written


def prepare(
    source: Scene | SceneSource,
    config: ExperimentConfig,
    cache: Path | None = None,
    device: str | torch.device = "auto",
    *,
    training: bool = False,
) -> PreparedScene:
    """Run every frozen stage on a scene, or read the stages from the cache.

    Args:
        source: A scene of a dataset, whose files are read only where they have changed or a stage is missing; or a
            scene in memory, whose files cannot be read again (`PreparedScene.load`).
        config: Its parts decide the stages (see `Stages`).
        cache: Folder of the disk cache; None for `paths.cache_root()`.
        device: Where the backbone's network runs, if its features are not in the cache (see `Stages`).
        training: As in `Stages`.

    Returns:
        The prepared scene.

    Raises:
        ConfigError: As `Stages.prepared`.
        DataError: As `Stages.prepared`.
    """
    return Stages(source, config, cache or cache_root(), device=device, training=training).prepared()


def open_scenes() -> int:
    """How many scenes of a split may stay open, as this process may open files.

    Returns:
        At most `OPEN_SCENES`. 200 scenes of three splits need 7,200 handles, where Linux gives 1,024 and macOS 256.
    """
    if resource is None:
        return OPEN_SCENES
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed == resource.RLIM_INFINITY:
        return OPEN_SCENES
    return max(1, min(OPEN_SCENES, (allowed - RESERVED) // (HANDLES * SPLITS)))


class PreparedScenes(Sequence[PreparedScene]):
    """The prepared scenes of a split, opened when asked for; at most `open_scenes()` stay open.

    Indexed by positions 0..len-1, without slices and negative numbers. Opening a scene whose stages are all in the
    cache takes a few milliseconds.

    Args:
        sources: The scenes.
        config: Its parts decide the stages.
        device: As in `prepare`.
        training: As in `prepare`.
    """

    def __init__(
        self,
        sources: Sequence[SceneSource],
        config: ExperimentConfig,
        device: str | torch.device = "auto",
        *,
        training: bool = False,
    ) -> None:
        listed = self.sources = tuple(sources)
        place, opened = resolve_device(device), functools.lru_cache(open_scenes())  # the same in a thread that reads
        # Nothing here points back to this object: in a cycle its files would stay open until a garbage collection.
        self._open = opened(lambda number: prepare(listed[number], config, device=place, training=training))

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> PreparedScene:  # ty: ignore[incompatible-method-override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._open(number)


def scene_sources(data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    """The scenes of a split, not yet read; generated data is made first where it is missing.

    Args:
        data: Which dataset.
        split: "train", "val" or "test".

    Returns:
        The scenes, as `benchmarks.scenes.list_sources` lists them; it also says what is raised.
    """
    if data.generated:
        check_known(f"split of {data.dataset}", split, USUAL)  # before minutes of work
        generate(data)
    return list_sources(data, split)


def prepare_split(
    config: ExperimentConfig,
    split: str,
    *,
    workers: int = 1,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> PreparedScenes:
    """Prepare every scene of a split; stages that are missing are computed now.

    Args:
        config: The experiment; `data` says which scenes.
        split: train, val or test.
        workers: Number of processes that compute missing stages; with 1, this process does.
        device: As in `prepare`.
        progress: Whether to show a progress bar.

    Returns:
        The prepared scenes, opened when asked for.

    Raises:
        ConfigError: As `Stages.prepared`.
        DataError: As `Stages.prepared`, or the split has no scene.
    """
    sources = scene_sources(config.data, split)
    if workers > 1:
        with worker_pool(workers) as pool:
            prepare_by(pool, [(config, split)], device=device, progress=progress)
    else:
        _sweep_cache()
    scenes = PreparedScenes(sources, config, device, training=split == "train")
    for _ in tqdm(scenes, f"prepare {split}", disable=not progress or workers > 1):
        pass  # opening a scene computes the stages that it lacks
    return scenes


def prepare_by(
    pool: Executor,
    parts: Sequence[tuple[ExperimentConfig, str]],
    *,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> None:
    """Let the processes of a pool compute what the scenes of several splits lack.

    All scenes are handed over at once, so that no process waits for the end of a split; a scene that lies in several is
    one job. Where nothing is missing the pool is not asked, and starts no process.

    Args:
        pool: Of `worker_pool`.
        parts: Experiments, and of each a split.
        device: As in `prepare`.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: As `prepare_split`.
        DataError: As `prepare_split`.
    """
    lacking: dict[tuple[Path, str], list[functools.partial[None]]] = {}
    for config, split in parts:
        for source in scene_sources(config.data, split):
            training = split == "train"
            if not _is_prepared(source, config, training=training):
                job = functools.partial(_warm, source, config, device, training=training)
                lacking.setdefault((source.path, source.name), []).append(job)
    _sweep_cache()
    running = [pool.submit(_run_all, jobs) for jobs in lacking.values()]
    for job in tqdm(running, f"prepare {' '.join(dict.fromkeys(split for _, split in parts))}", disable=not progress):
        job.result()


def prepare_shared(
    config: ExperimentConfig, split: str, ranks: Ranks, *, device: str | torch.device = "auto", progress: bool = True
) -> PreparedScenes:
    """Prepare a split by several processes that call this alike: each computes what its share of the scenes lacks.

    Args:
        config: As in `prepare_split`.
        split: As in `prepare_split`.
        ranks: The processes.
        device: As in `prepare`, of this process.
        progress: Whether to show a progress bar.

    Returns:
        All prepared scenes, as `prepare_split`.

    Raises:
        ConfigError: As `prepare_split`.
        DataError: As `prepare_split`, or another process is gone, or does not share the cache folder.
    """
    if ranks.size > 1:
        ranks.need_shared(cache_root())
        ranks.of_first(lambda: len(scene_sources(config.data, split)))  # generated by one process, where it is missing
        for source in ranks.share(scene_sources(config.data, split)):
            prepare(source, config, device=device, training=split == "train")
        ranks.wait()
    return prepare_split(config, split, device=device, progress=progress)


class _NotReadError(Exception):
    """A stage is not in the cache, and the scene was not to be read."""


class _CachedStages(Stages):
    """The stages of a scene that are in the cache; `_NotReadError` of others."""

    @functools.cached_property
    def scene(self) -> Scene:
        raise _NotReadError


def _is_prepared(source: SceneSource, config: ExperimentConfig, *, training: bool) -> bool:
    """Whether all stages of a scene are in the cache: as long as a scene takes that is opened."""
    try:
        _CachedStages(source, config, cache_root(), training=training).prepared()
    except _NotReadError:
        return False
    return True


def _sweep_cache() -> None:
    """Remove what killed processes left in the cache."""
    for folder in cache_root().glob("*"):
        sweep(folder)


def _run_all(jobs: Sequence[Callable[[], None]]) -> None:
    for job in jobs:
        job()


def _warm(source: SceneSource, config: ExperimentConfig, device: str | torch.device, *, training: bool) -> None:
    prepare(source, config, device=device, training=training)
