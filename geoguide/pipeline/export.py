"""Lifted 2D features written as files of OpenScene's format, for its code and for later runs of ours."""

import functools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from geoguide.benchmarks import benchmark_of
from geoguide.datasets.formats.fused_features import StreamedFeatures, write_fused
from geoguide.datasets.sources import SceneSource
from geoguide.ops.workers import worker_pool
from geoguide.paths import cache_root
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.stages import Stages
from geoguide.scene import Scene


def export_features(
    scenes: Iterable[Scene | SceneSource],
    config: ExperimentConfig,
    folder: str | Path,
    cache: Path | None = None,
    *,
    workers: int = 1,
) -> tuple[Path, ...]:
    """Write the lifted features F_2d of scenes, which are computed where the cache lacks them; no backbone runs.

    A run on the same scenes reads them again with `data.features` naming the folder (below `data.root`).

    Args:
        scenes: The scenes, or the sources that they are read from.
        config: Its 2D model, `lifting` and `data` decide the features (see `Stages.lifted`).
        folder: Where the files are put: `{scene}.pt` on nuScenes, else `{scene}_0.pt`, as OpenScene names them.
        cache: Folder of the disk cache; None for `paths.cache_root()`.
        workers: Processes that lift and write; with 1, this process does.

    Returns:
        The files, in the order of the scenes; none of scenes that have no 2D features.

    Raises:
        DataError: A scene cannot be read.
        WriteError: A file cannot be written.
    """
    write = functools.partial(_export, config=config, folder=Path(folder), cache=cache or cache_root())
    if workers > 1:
        with worker_pool(workers) as pool:
            written = [*pool.map(write, scenes)]
    else:
        written = [*map(write, scenes)]
    return tuple(path for path in written if path is not None)


def _export(scene: Scene | SceneSource, config: ExperimentConfig, folder: Path, cache: Path) -> Path | None:
    """Write the features of one scene; None where it has none."""
    stages = Stages(scene, config, cache)
    lifted = stages.lifted
    if lifted is None:
        return None
    if isinstance(lifted, StreamedFeatures):
        features, seen = lifted.rows(np.arange(lifted.num_points))
    else:
        features, seen = lifted[0], np.asarray(lifted[1]) > 0
    return write_fused(folder / f"{stages.identity.name}{benchmark_of(config.data).openscene.fused}", features, seen)
