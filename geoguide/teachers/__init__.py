"""2D teachers: F_2d^M in the paper, per-pixel features of posed images, streamed one view at a time."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from geoguide.scene import Scene


class Teacher(Protocol):
    """What every teacher offers: a name for the record, its width C, and features per pixel."""

    name: str
    width: int

    def features(self, scene: Scene) -> Iterator[np.ndarray]:
        """One float32 [H, W, C] array for each of `scene.views`, in order; made only when asked for."""
        ...
