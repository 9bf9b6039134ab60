"""Records of the scenes at hand: an experiment names its scenes and not what their files hold, so these may change."""

import functools
from pathlib import Path

from tqdm import tqdm

from geoguide.benchmarks.scenes import list_sources
from geoguide.datasets.config import DataConfig
from geoguide.experiments.records import Record, find, same_scenes
from geoguide.paths import cache_root
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.identity import Identity, of_all
from geoguide.worlds.jobs import MANIFEST


def find_here(config: ExperimentConfig, folder: Path | None = None) -> Record | None:
    """The record of a config, unless it was made from other scenes than those that lie in the config's folders.

    A line says so where it was, and where that cannot be told. Generated scenes follow from the config, and where the
    folders are not at hand the record stands: nothing is compared then.

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        The record, or None where it must be computed.

    Raises:
        DataError: As `records.find`, or a scene that the config names is not in its folder, or broken.
    """
    record = find(config, folder)
    found = None if record is None else scenes_at_hand(config)
    if record is None or found is None:
        return record
    same = same_scenes(record.data, found)
    where = config.tested().data.folder
    if same is None:
        said = "names its scenes as an older version did; --force computes it again"
        _say_once(f"{record.file}: whether it is of the scenes in {where} is not known: it {said}")
    elif not same:
        prints = f"fingerprint {record.data['fingerprint']}, found {found['fingerprint']}"
        _say_once(f"{record.file}: of other scenes than lie in {where} ({prints}): computed again")
    return record if same is not False else None


def all_generated(config: ExperimentConfig) -> bool:
    """Whether the config of an experiment decides what its scenes hold.

    Args:
        config: The experiment.

    Returns:
        True where all scenes that it learns from and is scored on are generated.
    """
    return config.data.generated and config.tested().data.generated


def scenes_at_hand(config: ExperimentConfig) -> dict[str, object] | None:
    """Name the scenes of an experiment as they are now. Those that were never opened are read.

    Args:
        config: The experiment.

    Returns:
        `of_all` of them; None where all are generated, or a folder is not there.

    Raises:
        DataError: A scene is not in its folder, or broken.
    """
    parts = ((config.data, "train"), (config.data, "val"), (config.tested().data, "test"))
    if all_generated(config) or not all(_is_there(data) for data, _ in parts):
        return None
    sources = [source for data, split in parts for source in list_sources(data, split)]
    return of_all([Identity.of_source(source, cache_root(), source.load).fingerprint for source in sources])


@functools.cache
def _say_once(line: str) -> None:
    tqdm.write(line)


def _is_there(data: DataConfig) -> bool:
    return (data.folder / MANIFEST).is_file() if data.generated else data.folder.is_dir()
