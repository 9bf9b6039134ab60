"""The instance masks of a scene, made as a config says."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from geoguide.errors import ConfigError, DataError
from geoguide.frozen import check_choices, unless
from geoguide.instances.geometry import InstanceConfig, segment_instances
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.spoiling import spoil_masks
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_normals, scene_superpoints
from geoguide.welding import finder_of


@dataclass(frozen=True)
class MaskConfig:
    """Where class-agnostic instance masks come from."""

    source: Literal["geometry", "annotation"] = "geometry"
    """`geometry` merges superpoints; `annotation` is the ground truth, an oracle variant and named so."""
    geometry: InstanceConfig = field(default_factory=InstanceConfig)
    spoil: float = field(default=0.0, metadata=unless("spoil", 0.0))
    """Share of the masks, whatever their source, that are merged with one they touch or cut in two: with `annotation`
    any quality between the oracle's and that of real masks (`spoil_masks`)."""
    superpoints: SuperpointConfig | None = field(default=None, metadata=unless("superpoints", None))
    """Which superpoints `geometry` merges; None: those of the experiment. So that one can change and the other not."""

    def __post_init__(self) -> None:
        check_choices(self, "masks")
        if not 0 <= self.spoil <= 1:
            raise ConfigError(f"masks.spoil must be in 0..1, found {self.spoil}")


def scene_masks(scene: Scene, superpoints: np.ndarray, config: MaskConfig) -> InstanceMasks:
    """The class-agnostic instance masks M_i of a scene (paper, IMR).

    Args:
        scene: Points, normals (estimated where it has none), and for `annotation` its instances.
        superpoints: int64 [P], ids from 0: what `geometry` merges, unless the config names others.
        config: Where the masks come from.

    Returns:
        M masks over the scene's P points; they may overlap.

    Raises:
        DataError: `annotation` is asked for, and the scene has no annotated instances.
    """
    masks = _masks(scene, superpoints, config)
    return spoil_masks(masks, scene.points, config.spoil, scene.name) if config.spoil else masks


def _masks(scene: Scene, superpoints: np.ndarray, config: MaskConfig) -> InstanceMasks:
    """The masks as their source has them."""
    if config.source == "annotation":
        if scene.instances is None:
            raise DataError(f"scene {scene.name}: masks.source 'annotation' needs instance annotations, found none")
        return InstanceMasks.from_labels(scene.instances)
    if config.superpoints is not None:
        superpoints = scene_superpoints(scene, config.superpoints)
    normals, find = scene_normals(scene), finder_of(scene)
    return segment_instances(scene.points, normals, np.asarray(superpoints), config.geometry, find=find)
