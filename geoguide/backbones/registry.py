"""The known backbones by name, and the interface that they share."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.backbones.sonata import SonataBackbone
from geoguide.backbones.sonata_mini import MiniSonataBackbone, UntrainedBackbone
from geoguide.errors import ConfigError
from geoguide.scene import Scene


class Backbone(Protocol):
    """What every backbone offers: a name for the record, its width C1, and features per point."""

    name: str
    width: int

    def encode(self, scene: Scene) -> np.ndarray:
        """Frozen features F_3d^G, float32 [P, C1], in the scene's point order."""
        ...


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "descriptors": DescriptorBackbone,
    "sonata": SonataBackbone,
    "sonata-mini": MiniSonataBackbone,
    "sonata-mini-untrained": UntrainedBackbone,
}


def load(name: str, **options: Any) -> Backbone:
    """Make a backbone by name, `options` going to its constructor; an unknown name is a ConfigError listing them."""
    if name not in BACKBONES:
        raise ConfigError(f"backbone {name!r} is unknown: expected one of {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name](**options)
