"""Features of an image that are computed for the pixels that somebody asks about: most see no point of a scene."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class PixelRows:
    """The features of an image, [H, W, C], of which no more than what is asked for is made.

    Attributes:
        shape: (H, W, C).
        make: Gives the features float32 [n, C] of pixels int64 [n], which are numbered row by row; a pixel's features
            depend on no other pixel that is asked about.

    Example:
        >>> brightness = PixelRows((2, 2, 1), lambda pixels: pixels[:, None].astype(np.float32))
        >>> brightness.make(np.array([3, 1])).tolist(), brightness.whole().tolist()
        ([[3.0], [1.0]], [[[0.0], [1.0]], [[2.0], [3.0]]])
    """

    shape: tuple[int, int, int]
    make: Callable[[np.ndarray], np.ndarray]

    def whole(self) -> np.ndarray:
        """The features of all pixels.

        Returns:
            float32 [H, W, C].
        """
        return self.make(np.arange(self.shape[0] * self.shape[1])).reshape(self.shape)

    def of_points(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The features of the pixels that points fall on, each pixel once.

        Args:
            pixels: int64 [n], the pixel of each point.

        Returns:
            float32 [m, C], features of the m different pixels; and int64 [n], the row of each point.
        """
        place = np.zeros(self.shape[0] * self.shape[1], np.int64)
        place[pixels] = 1
        different = np.flatnonzero(place)  # ascending, so that neighbours in the image are read together
        place[different] = np.arange(len(different))
        return self.make(different), place[pixels]
