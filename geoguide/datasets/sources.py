"""Scenes that are listed first and read later: what stands for one scene of a split until somebody asks for it.

A `SceneSource` costs nothing until it is loaded, and travels to other processes. Each benchmark has its own
(`geoguide.benchmarks`); scenes in the folders that OpenScene published are the same for all three.
"""

import abc
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from geoguide.datasets import openscene_folders, openscene_layout
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import need_folder
from geoguide.datasets.formats.fused_features import feature_files
from geoguide.errors import ConfigError
from geoguide.scene import Scene

HELD_OUT = 25  # every so many-th room of an official train split is watched during training and left out of it
Item = TypeVar("Item")


@dataclass(frozen=True)
class SceneSource(abc.ABC):
    """One scene of a split, not yet read.

    Attributes:
        path: Its folder or file.
        split: The official split it lies in.
        data: The config that lists it.
    """

    path: Path
    split: str
    data: DataConfig

    @property
    def name(self) -> str:
        """As the scene will be called: as its folder or file, where a benchmark does not say otherwise."""
        return self.path.name

    @property
    def listed_as(self) -> str:
        """What lists of splits call it: its own name, or that of the house or drive that it belongs to."""
        return self.name

    def load(self, label_set: str | None = None) -> Scene:
        """Read the scene.

        Args:
            label_set: What its labels are classes of; None for the config's.

        Returns:
            The scene.

        Raises:
            DataError: Its files are missing or broken.
            ConfigError: The dataset does not have this label set.
        """
        return self._read(label_set or self.data.label_set)

    @abc.abstractmethod
    def _read(self, labels: str) -> Scene:
        """The scene with labels of that set."""

    @abc.abstractmethod
    def files(self) -> Iterable[Path]:
        """What the scene is read from.

        Returns:
            Every file whose change may change the scene, in any order.
        """

    def label_image_classes(self, label_set: str) -> Callable[[np.ndarray], np.ndarray] | None:
        """What turns its label images into classes.

        Args:
            label_set: The classes that are meant.

        Returns:
            A function of an int64 [H, W] image, or None where the label set does that itself (see `teachers`).
        """
        return None

    def stamp(self) -> str:
        """Name the scene as it is on disk now, without reading it.

        Returns:
            Twenty hex digits, of the names, sizes and times of its files and of how it is read.
        """
        found = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in sorted(self.files())]
        how = [self.name, self.data.label_set, self.data.frame_skip, self.data.image_size]
        return hashlib.sha256(json.dumps([type(self).__name__, how, found]).encode()).hexdigest()[:20]


class OpenSceneScene(SceneSource):
    """A scene as OpenScene published it: `<root>/<set>_3d/<split>/<scene>.pth`."""

    @property
    def name(self) -> str:
        """The file's name without what all files of its set end with."""
        return openscene_folders.scene_name(self.path)

    def _read(self, labels: str) -> Scene:
        layouts = openscene_folders.LAYOUTS
        folder = next((name for name, layout in layouts.items() if layout.label_set == labels), None)
        if folder is None:
            known = ", ".join(layout.label_set for layout in layouts.values())
            raise ConfigError(f"OpenScene's layout has the label sets {known}; found {labels!r}")
        path = self.path.parents[2] / folder / self.split / f"{self.name}{layouts[folder].suffix}"
        return openscene_layout.load_scene(path, views=self.data.features is None)

    def files(self) -> Iterable[Path]:
        """List what a change of which makes the scene another.

        Returns:
            The one file.
        """
        return (self.path,)


def fused_files(source: SceneSource) -> tuple[Path, ...]:
    """The files of a scene's fused 2D features.

    OpenScene published some splits in a folder of their own, whose name ends with the split's: it is looked into too.

    Args:
        source: A scene whose config names a folder of fused features.

    Returns:
        Its files, as `feature_files` lists them; empty where it has none.

    Raises:
        DataError: There is no such folder, or the files are not whole.
    """
    home = source.data.features_folder
    homes = [folder for folder in (home, home.with_name(f"{home.name}_{source.split}")) if folder.is_dir()]
    if not homes:
        need_folder(home, "folder of fused features")
    return next((files for folder in homes if (files := feature_files(folder, source.name))), ())


def without_held_out(items: Sequence[Item], split: str, room: Callable[[Item], str]) -> tuple[Item, ...]:
    """Divide an official train split whose validation split is kept for reporting.

    Args:
        items: The scenes of the official train split.
        split: "val" for the scenes of every `HELD_OUT`-th room, "train" for all others.
        room: Which room a scene shows: scans of one room stay together.

    Returns:
        The scenes of that part, in order.

    Raises:
        ConfigError: There are fewer than `HELD_OUT` rooms: one of a few would be lost for training, unasked.
    """
    rooms = sorted({room(item) for item in items})
    if len(rooms) < HELD_OUT:
        found = f"found {len(rooms)} (fewer than {HELD_OUT}) in the train split"
        how = "name the scenes: --train, --val (or none) and --test; data.splits of a config"
        raise ConfigError(f"data.splits: too few rooms to hold some out for validation, {found}; {how}")
    watched = set(rooms[::HELD_OUT])
    return tuple(item for item in items if (room(item) in watched) == (split == "val"))
