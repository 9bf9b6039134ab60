"""Closed-set segmentation networks as 2D models in the text space: class probabilities times text (ConSE).

A network that knows K classes by name gives a pixel the mean of the names' text embeddings, weighted with its class
probabilities (Norouzi et al. 2014, for images): features that any words can be compared with, as far as the text
encoder relates them to the K names.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from geoguide.errors import InputError
from geoguide.lifting import PixelFeatures
from geoguide.scene import Scene


class Segmenter(Protocol):
    """A network that tells K classes apart.

    Attributes:
        name: For the record.
        names: K class names; None for an answer that names nothing ("other", background).
    """

    name: str
    names: Sequence[str | None]

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Classify the pixels of an image.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            float32 [h, w, K], at least 0, summing to 1 over the classes; of any height and width.
        """
        ...


class ClosedSetTeacher:
    """A segmenter's answers in the text space.

    A pixel's weight is the probability of all classes that have a name; its feature is the mean over these.

    Args:
        segmenter: The network.
        text: float32 [N, D], the embedding of each name that is not None, in order.

    Attributes:
        name: The segmenter's.
        width: D.

    Raises:
        InputError: `text` has another number of rows than the segmenter has names.
    """

    def __init__(self, segmenter: Segmenter, text: np.ndarray) -> None:
        self.segmenter, self.text = segmenter, np.asarray(text, np.float32)
        self.named = np.array([name is not None for name in segmenter.names])
        if self.text.ndim != 2 or len(self.text) != self.named.sum():
            raise InputError(f"text must be [{self.named.sum()}, D], found {list(self.text.shape)}")
        self.name, self.width = segmenter.name, self.text.shape[1]

    def features(self, scene: Scene) -> Iterator[PixelFeatures]:
        """Describe the pixels of a scene's views, one view at a time and only when asked for.

        Args:
            scene: A scene whose K views have colour images.

        Yields:
            Features [H, W, D] and weights [H, W] for each view, in order.

        Raises:
            DataError: A colour image is missing or cannot be read; the message names it.
        """
        for view in scene.views:
            yield self.pixels(view.color())

    def pixels(self, image: np.ndarray) -> PixelFeatures:
        """Describe the pixels of an image.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            Features float32 [H, W, D] and weights float32 [H, W] in [0, 1].
        """
        answers = resized(self.segmenter.probabilities(image)[..., self.named], image.shape[:2])  # [H, W, N]
        weight = answers.sum(axis=-1)
        mean = answers / np.where(weight > 0, weight, 1)[..., None]
        return PixelFeatures(mean @ self.text, weight)


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring maps to another size, bilinearly.

    Args:
        maps: float32 [h, w, K].
        size: (H, W).

    Returns:
        float32 [H, W, K].
    """
    if maps.shape[:2] == size:
        return maps
    layers = (Image.fromarray(layer).resize(size[::-1], Image.Resampling.BILINEAR) for layer in np.moveaxis(maps, 2, 0))
    return np.stack([np.asarray(layer) for layer in layers], axis=-1)


def one_hot(labels: np.ndarray, count: int) -> np.ndarray:
    """Probabilities of a network that gives labels only: all or nothing, so its doubts are lost.

    Args:
        labels: Integers [H, W] in 0..count-1.
        count: K.

    Returns:
        float32 [H, W, K].

    Raises:
        InputError: A label outside of 0..count-1.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise InputError(f"labels must be in 0..{count - 1}, found {labels.min()}..{labels.max()}")
    return np.eye(count, dtype=np.float32)[labels]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of a network that gives logits.

    Args:
        logits: float32 [H, W, K].

    Returns:
        float32 [H, W, K].
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
