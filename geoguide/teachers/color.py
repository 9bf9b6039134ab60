"""The simplest teacher: a pixel's colour. Lifted to points it must give the cloud's own colours, a check of lifting."""

from collections.abc import Iterator

import numpy as np

from geoguide.scene import Scene


class ColorTeacher:
    """RGB in [0, 1] as a 3-channel feature."""

    name = "color"
    width = 3

    def features(self, scene: Scene) -> Iterator[np.ndarray]:
        """The colours of a scene's views.

        Args:
            scene: A scene whose K views have colour images.

        Yields:
            float32 [H, W, 3] in [0, 1] for each view, in order.

        Raises:
            DataError: A colour image is missing or cannot be read; the message names it.
        """
        for view in scene.views:
            yield view.color().astype(np.float32) / np.float32(255)
