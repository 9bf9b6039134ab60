"""Lifted 2D features written as files of OpenScene's format, for its code and for later runs of ours."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from geoguide.benchmarks import benchmark_of
from geoguide.datasets.formats.fused_features import StreamedFeatures, write_fused
from geoguide.datasets.sources import SceneSource
from geoguide.paths import cache_root
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.stages import Stages
from geoguide.scene import Scene


def export_features(
    scenes: Iterable[Scene | SceneSource], config: ExperimentConfig, folder: str | Path, cache: Path | None = None
) -> tuple[Path, ...]:
    """Write the lifted features F_2d of scenes, which are computed where the cache lacks them; no backbone runs.

    A run on the same scenes reads them again with `data.features` naming the folder (below `data.root`).

    Args:
        scenes: The scenes, or the sources that they are read from.
        config: Its 2D model, `lifting` and `data` decide the features (see `Stages.lifted`).
        folder: Where the files are put: `{scene}.pt` on nuScenes, else `{scene}_0.pt`, as OpenScene names them.
        cache: Folder of the disk cache; None for `paths.cache_root()`.

    Returns:
        The files, in the order of the scenes; none of scenes that have no 2D features.

    Raises:
        DataError: A scene cannot be read.
        WriteError: A file cannot be written.
    """
    ending = benchmark_of(config.data).openscene.fused
    written = []
    for scene in scenes:
        stages = Stages(scene, config, cache or cache_root())
        lifted = stages.lifted
        if lifted is None:
            continue
        if isinstance(lifted, StreamedFeatures):
            features, seen = lifted.rows(np.arange(lifted.num_points))
        else:
            features, seen = lifted[0], np.asarray(lifted[1]) > 0
        written.append(write_fused(Path(folder) / f"{stages.identity.name}{ending}", features, seen))
    return tuple(written)
