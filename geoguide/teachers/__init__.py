"""2D teachers: F_2d^M in the paper, per-pixel features of posed images, streamed one view at a time."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from geoguide.lifting import PixelFeatures
from geoguide.scene import Scene


class Teacher(Protocol):
    """What every teacher offers.

    Attributes:
        name: For the record.
        width: C, the length of a feature.
    """

    name: str
    width: int

    def features(self, scene: Scene) -> Iterator[np.ndarray | PixelFeatures]:
        """Describe the pixels of a scene's views, one view at a time and only when asked for.

        Args:
            scene: A scene with K views.

        Yields:
            float32 [H, W, C] for each view, in order; with weights where pixels do not all count alike.
        """
        ...
