"""The known backbones by name, and the interface that they share."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.backbones.point_mae import PointMAEBackbone
from geoguide.backbones.sonata import SonataBackbone
from geoguide.backbones.sonata_mini import PACKAGED, MiniSonataBackbone, UntrainedBackbone
from geoguide.backbones.successors import ConcertoBackbone, UtoniaBackbone
from geoguide.errors import ConfigError
from geoguide.scene import Scene


class Backbone(Protocol):
    """What every backbone offers.

    Attributes:
        name: For the record.
        width: C1, the length of a feature.
    """

    name: str
    width: int

    def encode(self, scene: Scene) -> np.ndarray:
        """Describe every point of a scene (paper, F_3d^G).

        Args:
            scene: P points with colours, and normals where the scene has them.

        Returns:
            float32 [P, C1], in the scene's point order.
        """
        ...


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "descriptors": DescriptorBackbone,
    "sonata": SonataBackbone,
    "concerto": ConcertoBackbone,
    "utonia": UtoniaBackbone,
    "point-mae": PointMAEBackbone,
    **{name: partial(MiniSonataBackbone, name=name) for name in PACKAGED},
    "sonata-mini-untrained": UntrainedBackbone,
}


def load(name: str, **options: Any) -> Backbone:
    """Make a backbone by name.

    Args:
        name: A key of `BACKBONES`.
        **options: Arguments of the backbone's constructor, such as `weights`.

    Returns:
        The backbone.

    Raises:
        ConfigError: An unknown name; the message lists the known ones.
        DataError: Weights are missing or do not fit.

    Example:
        >>> import numpy as np
        >>> from geoguide.scene import Scene
        >>> backbone = load("descriptors")
        >>> points = np.random.default_rng(0).random((100, 3), dtype=np.float32)
        >>> backbone.encode(Scene("cube", points, colors=points)).shape == (100, backbone.width)
        True
    """
    if name not in BACKBONES:
        raise ConfigError(f"backbone {name!r} is unknown: expected one of {', '.join(sorted(BACKBONES))}")
    return BACKBONES[name](**options)
