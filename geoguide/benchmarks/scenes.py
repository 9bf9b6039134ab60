"""The scenes of any benchmark, official layout or OpenScene's, real or generated: listed, counted, generated.

Splits: Matterport3D and the generated data have their own train, val and test. Where a benchmark withholds the labels
of its test scenes (ScanNet, nuScenes), "test" is the official val split, as OpenScene scores it, and "val", which
training watches, is every `HELD_OUT`-th room of the official train split, left out of "train".
"""

import warnings
from pathlib import Path

from geoguide.benchmarks import benchmark_of, benchmarks
from geoguide.benchmarks.definition import Benchmark
from geoguide.benchmarks.named import named_splits, shared_rooms, shown
from geoguide.datasets import openscene_layout
from geoguide.datasets.check.folder import OPENSCENE, POINTCEPT, RECORDINGS, Kind
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import near_folders, need_folder
from geoguide.datasets.formats.fused_features import FusedFeatures
from geoguide.datasets.openscene_folders import LAYOUTS
from geoguide.datasets.sources import OpenSceneScene, SceneSource, fused_files, without_held_out
from geoguide.datasets.splits import USUAL
from geoguide.errors import ConfigError, DataError


def known_layouts() -> tuple[Kind, ...]:
    """The layouts that a dataset folder may have.

    Returns:
        Each benchmark's official one, OpenScene's, Pointcept's, then recordings of one's own.
    """
    return (*(benchmark.kind for benchmark in benchmarks()), OPENSCENE, POINTCEPT, RECORDINGS)


def list_sources(data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    """The scenes of a split, none of them read. Generated data must be there already (see `generate`).

    Args:
        data: Which dataset. Of a benchmark's own splits, scenes without fused features, where these are asked for, are
            left out with one warning (see `skipped`), as OpenScene does; scenes that `data.splits` names all stay.
        split: "train", "val" or "test".

    Returns:
        The scenes, in the order of the official list or of `data.splits`, which alone may name none.

    Raises:
        ConfigError: Another split, an unknown dataset, or a train split too small to hold rooms out for validation.
        DataError: The split is missing or empty, the folder holds the same dataset in two layouts, or a scene that is
            named is not there.
    """
    found = _all(data, split)
    if data.splits is not None:
        return found
    if not found:
        raise DataError(f"split {split!r} of {data.dataset} holds no scene")
    if data.features is None:
        return found
    kept = tuple(source for source in found if fused_files(source))
    if len(kept) < len(found):
        lost = next(source.name for source in found if source not in kept)
        where = data.features_folder
        warnings.warn(f"{where}: {len(found) - len(kept)} of {len(found)} scenes have none, first {lost}", stacklevel=2)
    if not kept:
        raise DataError(f"{data.features_folder}: holds features of none of the {len(found)} {split} scenes")
    return kept


def skipped(data: DataConfig, split: str) -> int:
    """Count the scenes of a split that have no fused features.

    Args:
        data: Which dataset, and which folder of fused features.
        split: "train", "val" or "test".

    Returns:
        The count; 0 where no fused features are asked for, or where the scenes are named.
    """
    return (
        0
        if data.features is None or data.splits is not None
        else sum(not fused_files(source) for source in _all(data, split))
    )


def fused_width(data: DataConfig) -> int:
    """Count the channels of the fused features that a config names.

    Args:
        data: A config with fused features.

    Returns:
        C, read from the first training scene that has any; where the scenes are named, from the first of any split.

    Raises:
        DataError: No scene has any, or the file is broken.
    """
    splits = ("train",) if data.splits is None else USUAL
    files = (fused_files(source) for split in splits for source in list_sources(data, split))
    first = next((files[0] for files in files if files), None)
    if first is None:
        raise DataError(f"{data.features_folder}: holds features of none of the scenes that data.splits names")
    return FusedFeatures(first).width


def generate(data: DataConfig, workers: int | None = None) -> Path:
    """Generate what is missing of a generated dataset; does nothing where it is complete.

    Args:
        data: Which dataset and edition, how many scenes and from which seed.
        workers: Processes; None for as many as cores and memory allow.

    Returns:
        Its folder.

    Raises:
        ConfigError: The dataset is not a generated one.
        DataError: The folder holds something that was not generated.
    """
    if not data.generated:
        raise ConfigError(f"data.dataset must be a generated one to be made, found {data.dataset!r}")
    return benchmark_of(data).world.make(data.folder, data.rooms, data.room_seed, workers, data.edition)


def _all(data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    """The scenes of a split, whether they have fused features or not; see the top of this file for what a split is."""
    if split not in USUAL:
        raise ConfigError(f"split must be train, val or test, found {split!r}")
    benchmark = benchmark_of(data)
    given = f"--dataset {data.dataset} --edition {data.edition} --seed {data.room_seed}"
    making = f", which `geoguide data make {given}` makes," * (data.generated and data.root is None)
    root = need_folder(data.folder, "data root" + making)
    if not data.generated:
        _check_place(root, data, benchmark)
    if data.splits is not None:
        chosen = named_splits(data.splits, _found(data, root, benchmark))
        shared = shared_rooms(chosen["train"], chosen["test"], benchmark.room)
        if shared and split == "test":
            warnings.warn(f"train and test hold scans of the same rooms: {shown(shared)}", stacklevel=3)
        return chosen[split]
    official, withheld = split, benchmark.withholds_test and not data.generated
    if withheld:
        official = "val" if split == "test" else "train"
    published = None if data.generated else _openscene_folder(root, data, benchmark)
    if published is not None:
        openscene_layout.check_splits_apart(root, published, "val" if withheld else "test")
        paths = openscene_layout.list_scenes(root, published, official)
        found = tuple(OpenSceneScene(path, official, data) for path in paths)
    else:
        found = benchmark.list_official(root, data, official)
    if withheld and official == "train":
        found = without_held_out(found, split, benchmark.room)
    return found if data.first is None else found[: data.first[USUAL.index(split)]]


def _found(data: DataConfig, root: Path, benchmark: Benchmark) -> tuple[SceneSource, ...]:
    """Every scene that lies there, whatever split it belongs to."""
    name = None if data.generated else _openscene_folder(root, data, benchmark)
    if name is None:
        return benchmark.list_all(root, data)
    splits = [split for split in USUAL if (root / name / split).is_dir()]
    paths = {path: split for split in splits for path in openscene_layout.list_scenes(root, name, split)}
    return tuple(OpenSceneScene(path, split, data) for path, split in paths.items())


def _openscene_folder(root: Path, data: DataConfig, benchmark: Benchmark) -> str | None:
    """The 3D folder by which the scenes are listed where the dataset lies there as OpenScene published it, else None.

    A label set with a folder of its own may be there alone. In both layouts the dataset is a `DataError`.
    """
    published = _published(root, data, benchmark)
    if published is not None and (benchmark.has_official_layout(root) or benchmark.has_other_layout(root)):
        whose = "Pointcept has it" if benchmark.has_other_layout(root) else "published"
        both = f"{benchmark.name} as {whose} and as OpenScene published it"
        raise DataError(f"{root}: mixed layouts, holds {both}: split them")
    return published


def _published(root: Path, data: DataConfig, benchmark: Benchmark) -> str | None:
    """The first 3D folder of OpenScene's in `root` that has the config's scenes."""
    names = (
        benchmark.openscene.folder,
        *(one.name for one in LAYOUTS.values() if (one.dataset, one.label_set) == (benchmark.name, data.label_set)),
    )
    return next((name for name in names if (root / name).is_dir()), None)


def _check_place(root: Path, data: DataConfig, benchmark: Benchmark) -> None:
    """Refuse a folder without the benchmark in any layout; one near it that has it is named."""
    if (
        benchmark.has_official_layout(root)
        or benchmark.has_other_layout(root)
        or _published(root, data, benchmark) is not None
        or (benchmark.kind.matches(root) and benchmark.list_all(root, data))
    ):
        return

    def holds(folder: Path) -> bool:
        official = benchmark.has_official_layout(folder) and benchmark.kind.matches(folder)
        return official or benchmark.has_other_layout(folder) or _published(folder, data, benchmark) is not None

    near = near_folders(root, holds) or f"; `geoguide data check {root}` says what else it may be"
    raise DataError(f"{root}: data root without {benchmark.kind.name}, or as OpenScene published it{near}")
