"""A frozen backbone of one's own, registered under its name; an experiment then names it like those of this package.

Any object with `name`, `width` and `encode` (see `Backbone`) will do; the book's page "Bring your own" has one.
"""

import re

import numpy as np

from geoguide.backbones.registry import BACKBONES, Backbone
from geoguide.errors import InputError, require
from geoguide.ops.arrays import host, whole
from geoguide.scene import Scene

OWN: dict[str, Backbone] = {}


class OwnBackbone:
    """A registered backbone, whose features are checked before anything rests on them.

    Args:
        backbone: What the user registered.

    Raises:
        InputError: `name`, `width` or `encode` is missing or is none.
    """

    def __init__(self, backbone: Backbone) -> None:
        lacks = [part for part in ("name", "width", "encode") if not hasattr(backbone, part)]
        require(not lacks, f"a backbone needs name, width and encode, found no {', '.join(lacks)}")
        name, known = backbone.name, {*BACKBONES} - {*OWN}
        word = isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)
        require(word, f"backbone.name must be one word, found {name!r}")
        require(name not in known, f"backbone.name must be none of this package's, found {name!r}")
        self.name, self.width = name, whole(f"width of backbone {name}", backbone.width, 1)
        self._own = backbone

    def encode(self, scene: Scene) -> np.ndarray:
        """As in `Backbone`.

        Args:
            scene: P points.

        Returns:
            float32 [P, C1].

        Raises:
            InputError: What the user's `encode` gives are no numbers, or of another shape.
        """
        rows = host(f"features of backbone {self.name}", self._own.encode(scene))
        if rows.shape != (len(scene), self.width):
            expected = f"[{len(scene)}, {self.width}], points and its width"
            raise InputError(f"features of backbone {self.name} must be {expected}, found {list(rows.shape)}")
        return rows.astype(np.float32)


def register(backbone: Backbone) -> None:
    """Make a backbone of one's own known to this process, under its name.

    A model's file holds the name alone, and none of its code: who loads the model registers the backbone first. Cached
    features and checkpoints know it by that name too, so other features need another name.

    Args:
        backbone: Has a `name` (one word, none of this package's), a `width` C1, and `encode(scene)`, which gives
            numbers [P, C1]. One that was registered under the same name before gives way.

    Raises:
        InputError: A part is missing, or the name is taken.
    """
    own = OwnBackbone(backbone)
    BACKBONES[own.name], OWN[own.name] = lambda: own, own
