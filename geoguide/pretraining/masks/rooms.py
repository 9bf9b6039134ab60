"""Training rooms as the proposer's training takes them: measured parts and their instances; no label enters."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoguide.backbones import BackboneConfig, open_backbone
from geoguide.datasets.formats.files import MINI_STAMP
from geoguide.datasets.scannet import list_scenes, load_scene
from geoguide.errors import DataError
from geoguide.instances.parts import Parts
from geoguide.paths import generated_folder
from geoguide.pretraining.masks.config import ProposerTrainConfig
from geoguide.pretraining.masks.loss import Truth
from geoguide.pretraining.rooms import Identity, identity
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_normals, scene_superpoints
from geoguide.welding import finder_of
from geoguide.worlds.jobs import MANIFEST
from geoguide.worlds.rooms.make import make_mini_scannet


@dataclass(frozen=True, eq=False)
class RoomView:
    """One way to see a room.

    Attributes:
        parts: Its superpoints, measured.
        truth: How they overlap its annotated instances.
    """

    parts: Parts
    truth: Truth

    def crop(self, middle: int, count: int, min_points: int) -> "RoomView":
        """The parts nearest to one of them.

        Args:
            middle: Which part.
            count: How many, at most.
            min_points: Instances with fewer points there are left out.

        Returns:
            The cut view.
        """
        centers = self.parts.regions.centers
        near = np.argsort(np.linalg.norm(centers - centers[middle], axis=1), kind="stable")[:count]
        chosen = np.sort(near)
        shared = self.truth.shared[chosen]
        shared = shared[:, shared.sum(0) >= min_points]
        return RoomView(self.parts.take(chosen), Truth(shared, self.truth.sizes[chosen]))


def training_rooms(config: ProposerTrainConfig) -> tuple[list[list[RoomView]], list[Identity]]:
    """Read and measure the training rooms, generated first where they are missing; two seconds of a core a room.

    Args:
        config: Which rooms, and how they are seen.

    Returns:
        The views of each room, and (seed, split, number) of every room.

    Raises:
        DataError: There are fewer rooms than asked for.
    """
    folder = generated_folder("mini-scannet", config.edition)
    if not (folder / MANIFEST).is_file():
        make_mini_scannet(folder, edition=config.edition)
    chosen = list_scenes(folder, "train")[: config.rooms]
    if len(chosen) < config.rooms:
        raise DataError(f"{folder}: rooms={config.rooms} training rooms, found {len(chosen)}")
    return [views_of(path, config) for path in chosen], [identity(path) for path in chosen]


def views_of(folder: Path, config: ProposerTrainConfig) -> list[RoomView]:
    """See a generated room in the ways of a training.

    Args:
        folder: The room's folder.
        config: The ways, and the backbones.

    Returns:
        A view for each way.

    Raises:
        DataError: No generated room, or it is not readable.
    """
    if not (folder / MINI_STAMP).is_file():
        raise DataError(f"{folder}: no generated room")
    scene = load_scene(folder)
    features = [open_backbone(BackboneConfig(name), "cpu").encode(scene) for name in config.backbones]
    assert scene.instances is not None
    found = []
    for faces, k, min_size in config.views:
        seen: Scene = scene if faces else replace(scene, faces=None)
        superpoints = scene_superpoints(seen, SuperpointConfig(k, min_size))
        normals, find = scene_normals(seen), finder_of(seen)
        parts = Parts.measure(seen.points, normals, seen.colors, superpoints, np.concatenate(features, axis=1), find)
        found.append(RoomView(parts, Truth.count(superpoints, scene.instances, config.min_points)))
    return found
