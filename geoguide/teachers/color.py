"""The simplest teacher: a pixel's colour. Lifted to points it must give the cloud's own colours, a check of lifting."""

from collections.abc import Iterator

import numpy as np

from geoguide.scene import Scene


class ColorTeacher:
    """RGB in [0, 1] as a 3-channel feature."""

    name = "color"
    width = 3

    def features(self, scene: Scene) -> Iterator[np.ndarray]:
        """One float32 [H, W, 3] array per view, in order; DataError names a colour file that cannot be read."""
        for view in scene.views:
            yield view.color().astype(np.float32) / np.float32(255)
