"""Every dataset, official layout or OpenScene's, real or generated, as scenes that are listed first and read later.

`list_sources` names the scenes of a split. A `SceneSource` costs nothing until it is loaded, and travels to other
processes. Splits: Matterport3D and the generated data have their own train, val and test. ScanNet and nuScenes withhold
the labels of their test scenes, so there "test" is the official val split, as in the paper's tables, and "val", which
training watches, is every `HELD_OUT`-th room of the official train split, left out of "train".
"""

import abc
import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from geoguide.datasets import matterport3d, nuscenes, openscene_folders, openscene_layout, scannet
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import need_file, need_folder
from geoguide.datasets.formats.fused_features import FusedFeatures, feature_files
from geoguide.datasets.formats.nuscenes_tables import LIDAR, Tables
from geoguide.errors import ConfigError, DataError
from geoguide.scene import Scene
from geoguide.worlds.houses import make_mini_matterport3d
from geoguide.worlds.rooms.make import make_mini_scannet
from geoguide.worlds.streets.make import make_mini_nuscenes

HELD_OUT = 25


OPENSCENE_FOLDERS = {"scannet": "scannet_3d", "matterport3d": "matterport_3d", "nuscenes": "nuscenes_3d"}


_Item = TypeVar("_Item")


@dataclass(frozen=True)
class SceneSource(abc.ABC):
    """One scene of a split, not yet read. path: its folder or file; split: the official one it lies in."""

    path: Path
    split: str
    data: DataConfig

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """As the scene will be called."""

    def load(self, label_set: str | None = None) -> Scene:
        """Read it, with labels of another label set than the config's if one is named. Raises DataError."""
        return self._read(label_set or self.data.label_set)

    @abc.abstractmethod
    def _read(self, labels: str) -> Scene:
        """The scene with labels of that set."""

    @abc.abstractmethod
    def files(self) -> Iterable[Path]:
        """What it is read from."""

    def label_image_classes(self, label_set: str) -> Callable[[np.ndarray], np.ndarray] | None:
        """What turns its label images into classes, None where the label set does that itself (see `teachers`)."""
        return None

    def stamp(self) -> str:
        """A name for the scene as it is on disk now, without reading it: sizes and times of its files."""
        found = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in sorted(self.files())]
        how = [self.name, self.data.label_set, self.data.frame_skip, self.data.image_size]
        return hashlib.sha256(json.dumps([type(self).__name__, how, found]).encode()).hexdigest()[:20]


class ScanNetScene(SceneSource):
    """`scans/sceneXXXX_XX`."""

    @property
    def name(self) -> str:
        return self.path.name

    def _read(self, labels: str) -> Scene:
        data = self.data
        return scannet.load_scene(self.path, labels=labels, frame_skip=data.frame_skip, image_size=data.image_size)

    def files(self) -> Iterable[Path]:
        return (path for path in self.path.rglob("*") if path.is_file())


@dataclass(frozen=True)
class MatterportRegion(SceneSource):
    """A region of the house `path`."""

    region: int
    mapping: Path

    @property
    def name(self) -> str:
        return f"{self.path.name}_region{self.region}"

    def _read(self, labels: str) -> Scene:
        return matterport3d.load_region(
            self.path,
            self.region,
            mapping=self.mapping,
            labels=labels,
            split=self.split,
            image_size=self.data.image_size,
        )

    def files(self) -> Iterable[Path]:
        yield self.mapping
        yield from (self.path / matterport3d.REGIONS).glob(f"region{self.region}.*")
        yield from (path for path in self.path.glob("undistorted_*/*") if path.is_file())

    def label_image_classes(self, label_set: str) -> Callable[[np.ndarray], np.ndarray]:
        return matterport3d.label_image_classes(self.mapping, label_set)


@dataclass(frozen=True)
class NuScenesSample(SceneSource):
    """The key frame `sample` of the tables in `path`."""

    scene: str
    sample: str

    @property
    def name(self) -> str:
        return f"{self.scene}_{self.sample}"

    def _read(self, labels: str) -> Scene:
        if labels != "nuscenes16":
            raise ConfigError(f"nuScenes' label set is 'nuscenes16', found {labels!r}")
        return nuscenes.load_sample(_tables(self.path), self.sample, image_size=self.data.image_size)

    def files(self) -> Iterable[Path]:
        tables = _tables(self.path)
        frames = tables.frames.get(self.sample, {})
        yield from (tables.root / frame["filename"] for frame in frames.values())
        if tables.label_files is not None and LIDAR in frames:
            yield tables.root / tables.label_files[frames[LIDAR]["token"]]
        yield from (tables.path(name) for name in ("calibrated_sensor", "ego_pose"))


class OpenSceneScene(SceneSource):
    """`<root>/<set>_3d/<split>/<scene>.pth`."""

    @property
    def name(self) -> str:
        return openscene_folders.scene_name(self.path)

    def _read(self, labels: str) -> Scene:
        folder = next((n for n, layout in openscene_folders.LAYOUTS.items() if layout.label_set == labels), None)
        if folder is None:
            known = ", ".join(layout.label_set for layout in openscene_folders.LAYOUTS.values())
            raise ConfigError(f"OpenScene's layout has the label sets {known}; found {labels!r}")
        root = self.path.parents[2]
        suffix = openscene_folders.LAYOUTS[folder].suffix
        path = root / folder / self.split / f"{self.name}{suffix}"
        return openscene_layout.load_scene(path, views=self.data.features is None)

    def files(self) -> Iterable[Path]:
        return (self.path,)


def list_sources(data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    """The scenes of "train", "val" or "test"; generated data is made first where it is missing.

    With fused features, scenes that have none are left out with one warning (see `skipped`). Raises DataError for a
    missing or empty split and for a root that holds the same dataset in two layouts.
    """
    found = _all(data, split)
    if not found:
        raise DataError(f"split {split!r} of {data.dataset} holds no scene")
    if data.features is None:
        return found
    kept = tuple(source for source in found if fused_files(source))
    if len(kept) < len(found):
        lost = next(source.name for source in found if source not in kept)
        where = Path(data.root) / data.features
        warnings.warn(f"{where}: {len(found) - len(kept)} of {len(found)} scenes have none, first {lost}", stacklevel=2)
    if not kept:
        raise DataError(f"{Path(data.root) / data.features}: holds features of none of the {len(found)} {split} scenes")
    return kept


def skipped(data: DataConfig, split: str) -> int:
    """How many scenes of a split have no fused features."""
    return 0 if data.features is None else sum(not fused_files(source) for source in _all(data, split))


def fused_files(source: SceneSource) -> tuple[Path, ...]:
    """Files of fused features of a scene whose config names a folder of them.

    OpenScene published some splits in a folder of their own, whose name ends with the split's: it is looked into too.
    """
    home = Path(source.data.root) / source.data.features
    homes = [folder for folder in (home, home.with_name(f"{home.name}_{source.split}")) if folder.is_dir()]
    if not homes:
        need_folder(home, "folder of fused features")
    return next((files for folder in homes if (files := feature_files(folder, source.name))), ())


def fused_width(data: DataConfig) -> int:
    """Channels of the fused features that a config names, from the first training scene that has any."""
    return FusedFeatures(fused_files(list_sources(data, "train")[0])[0]).width


def teacher_label_set(data: DataConfig) -> str:
    """What a simulated 2D model tells apart: on Matterport3D all 160 names, whatever is scored."""
    return "matterport160" if data.dataset.endswith("matterport3d") else data.label_set


def _all(data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    if split not in ("train", "val", "test"):
        raise ConfigError(f"split must be train, val or test, found {split!r}")
    kind = data.dataset.removeprefix("mini-")
    root = need_folder(data.root, "data root") if data.dataset == kind else make_generated(data)
    if data.dataset == kind and _is_openscene(root, kind):
        return _openscene(root, kind, data, split)
    if kind == "scannet":
        official, keep = _official(data, split, lambda folder: folder.name.split("_")[0])
        return tuple(ScanNetScene(folder, official, data) for folder in keep(scannet.list_scenes(root, official)))
    if kind == "matterport3d":
        mapping = matterport3d.find_mapping(root) or need_file(root / matterport3d.MAPPING, "category mapping")
        return tuple(
            MatterportRegion(house, split, data, region, mapping)
            for house in matterport3d.list_houses(root, split)
            for region in matterport3d.list_regions(house)
        )
    version = _version(root)
    tables = _tables(version)
    official, keep = _official(data, split, lambda scene: scene)
    official = f"mini_{official}" if version.name == "v1.0-mini" else official
    return tuple(
        NuScenesSample(version, official, data, scene, sample)
        for scene in keep(nuscenes.list_scenes(tables, official))
        for sample in nuscenes.list_samples(tables, scene)
    )


def make_generated(data: DataConfig, workers: int | None = None) -> Path:
    """Generate what is missing of a mini dataset, by `workers` processes (default: one per core); returns its root."""
    make = {
        "mini-scannet": functools.partial(make_mini_scannet, rooms=data.rooms),
        "mini-matterport3d": functools.partial(make_mini_matterport3d, houses=data.rooms),
        "mini-nuscenes": functools.partial(make_mini_nuscenes, scenes=data.rooms),
    }[data.dataset]
    return make(data.root, seed=data.room_seed, workers=workers)


def _is_openscene(root: Path, kind: str) -> bool:
    """True where the dataset lies there as OpenScene published it, and only so."""
    published = (root / OPENSCENE_FOLDERS[kind]).is_dir()
    official = {
        "scannet": (root / "scans").is_dir(),
        "matterport3d": matterport3d.scans_folder(root) != root,
        "nuscenes": any(root.glob("v1.0-*")),
    }[kind]
    if published and official:
        raise DataError(f"{root}: mixed layouts, holds {kind} as published and as OpenScene published it: split them")
    return published


def _openscene(root: Path, kind: str, data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    def room(path: Path) -> str:
        return path.name.split("_")[0] if kind == "scannet" else path.stem

    official, keep = (split, tuple) if kind == "matterport3d" else _official(data, split, room)
    paths = keep(openscene_layout.list_scenes(root, OPENSCENE_FOLDERS[kind], official))
    return tuple(OpenSceneScene(path, official, data) for path in paths)


def _official(
    data: DataConfig, split: str, room: Callable[[_Item], str]
) -> tuple[str, Callable[[Sequence[_Item]], tuple[_Item, ...]]]:
    """The official split that holds the scenes of `split`, and what picks them there: see the module's text."""
    if data.dataset.startswith("mini-"):
        return split, tuple
    if split == "test":
        return "val", tuple

    def pick(items: Sequence[_Item]) -> tuple[_Item, ...]:
        watched = set(sorted({room(item) for item in items})[::HELD_OUT])
        return tuple(item for item in items if (room(item) in watched) == (split == "val"))

    return "train", pick


def _version(root: Path) -> Path:
    """The folder of nuScenes' tables: v1.0-trainval where there are several."""
    found = sorted(path for path in root.glob("v1.0-*") if path.is_dir())
    if not found:
        raise DataError(f"{root}: holds no tables of nuScenes (v1.0-trainval, v1.0-mini)")
    return next((path for path in found if path.name == "v1.0-trainval"), found[0])


@functools.lru_cache(maxsize=2)
def _tables(folder: Path) -> Tables:
    return nuscenes.read_tables(folder.parent, folder.name)
