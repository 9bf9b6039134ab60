"""The instance masks of a scene, made as a config says."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from geoguide.errors import DataError
from geoguide.instances.geometry import InstanceConfig, segment_instances
from geoguide.instances.masks import InstanceMasks
from geoguide.scene import Scene
from geoguide.superpoints import scene_normals
from geoguide.welding import finder_of


@dataclass(frozen=True)
class MaskConfig:
    """Where class-agnostic instance masks come from."""

    source: Literal["geometry", "annotation"] = "geometry"
    """`geometry` merges superpoints; `annotation` is the ground truth, an oracle variant and named so."""
    geometry: InstanceConfig = field(default_factory=InstanceConfig)


def scene_masks(scene: Scene, superpoints: np.ndarray, config: MaskConfig) -> InstanceMasks:
    """The class-agnostic instance masks M_i of a scene (paper, IMR).

    Args:
        scene: Points, normals (estimated where it has none), and for `annotation` its instances.
        superpoints: int64 [P], ids from 0: what `geometry` merges.
        config: Where the masks come from.

    Returns:
        M masks over the scene's P points; they may overlap.

    Raises:
        DataError: `annotation` is asked for, and the scene has no annotated instances.
    """
    if config.source == "annotation":
        if scene.instances is None:
            raise DataError(f"scene {scene.name}: masks.source 'annotation' needs instance annotations, found none")
        return InstanceMasks.from_labels(scene.instances)
    normals, find = scene_normals(scene), finder_of(scene)
    return segment_instances(scene.points, normals, np.asarray(superpoints), config.geometry, find=find)
