"""The names of a benchmark's classes, embedded as a protocol says (paper, inference)."""

from collections.abc import Iterable, KeysView, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from geoguide.errors import InputError
from geoguide.labels import load_label_set
from geoguide.labels.nuscenes import FinerNames, has_finer_names, load_finer_names
from geoguide.text.encoder import same_pair
from geoguide.text.encoders import TextConfig, prompt_templates, text_encoder

if TYPE_CHECKING:  # a model that labels needs no experiment
    from geoguide.pipeline.config import Protocol

OTHER = ("otherfurniture", "other")  # names of the class of other things in ScanNet and Matterport3D
BARE = "other"  # the word that OpenScene embeds for it
PRODUCTS = 1 << 24  # of points and names that are held at a time: 64 MB


@dataclass(frozen=True, eq=False)
class ClassText:
    """The embedded names of the classes that points are compared with.

    Attributes:
        vectors: float32 [F, C], unit vectors of F names.
        finer: Which class each name belongs to; None where name i is class i.
    """

    vectors: Tensor
    finer: FinerNames | None = None

    def similarity(self, features: Tensor) -> Tensor:
        """Compare features with the classes by dot products; of a class with several names the largest counts.

        Args:
            features: float [p, C], any device; of unit length where cosines are wanted.

        Returns:
            [p, N] for N classes, of the features' dtype and device.

        Raises:
            InputError: The features are not C wide, so of another 2D model than the text.
        """
        return self.pooled(self.of_names(features))

    def of_names(self, features: Tensor) -> Tensor:
        """Compare features with the names by dot products.

        Args:
            features: As in `similarity`.

        Returns:
            [p, F], of the features' dtype and device.

        Raises:
            InputError: As `similarity`.
        """
        if features.shape[1] != self.vectors.shape[1]:
            raise InputError(f"features have {features.shape[1]} channels, the text has {self.vectors.shape[1]}")
        return features @ self.vectors.T.to(features)

    def pooled(self, similarity: Tensor) -> Tensor:
        """Turn similarities to names into similarities to classes: of several names the largest counts.

        Args:
            similarity: [p, F], of names.

        Returns:
            [p, N]; the argument itself where name i is class i.
        """
        return similarity if self.finer is None else torch.as_tensor(self.finer.pool(similarity))

    def classify(self, features: Tensor, chunk: int = 65536) -> tuple[np.ndarray, np.ndarray]:
        """Find the most similar class of every point, chunk by chunk.

        Args:
            features: float [P, C], as in `similarity`.
            chunk: Points worked on at a time; fewer where names are so many that these make more than `PRODUCTS`.

        Returns:
            Class ids int64 [P] and their dot products float32 [P]. Working memory O(chunk F), at most O(`PRODUCTS`).
        """
        chunk = min(chunk, max(PRODUCTS // len(self.vectors), 1))
        best = [self.similarity(part).max(dim=1) for part in features.split(chunk)]
        ids = torch.cat([b.indices for b in best]).cpu().numpy()
        return ids, torch.cat([b.values for b in best]).float().cpu().numpy()


def class_text(label_set: str, protocol: "Protocol", text: TextConfig | None = None) -> ClassText:
    """Embed the classes of a label set as a protocol says.

    Args:
        label_set: Name of a label set.
        protocol: Its prompt, its word for the class of other things, and whether finer names are used (where the label
            set has any).
        text: Which text encoder; None for MiniLM.

    Returns:
        The embedded classes.

    Raises:
        ConfigError: An unknown label set.
        DataError: The weights of CLIP are missing, or open_clip, whose prompt ensemble is asked for.
    """
    text = text or TextConfig()
    encoder = text_encoder(text.encoder, text.weights)
    finer = load_finer_names(label_set) if protocol.finer_names and has_finer_names(label_set) else None
    names = load_label_set(label_set).names if finer is None else finer.names
    vectors = encoder.encode(names, prompt=prompt_templates(protocol.prompt))  # [F, C]
    if protocol.other == "bare":
        vectors[[name in OTHER for name in names]] = encoder.encode([BARE], prompt="{}")[0]
    return ClassText(torch.from_numpy(vectors), finer)


def word_text(words: Iterable[str], prompt: str, text: TextConfig) -> ClassText:
    """Embed any words, each a class of its own.

    Args:
        words: At least one, in an order, which the classes' ids follow.
        prompt: What they are put into (see `prompt_templates`).
        text: Which text encoder.

    Returns:
        The embedded words.

    Raises:
        InputError: No words, words without an order (a set), or two that are the same to the text encoder.
        DataError: The weights of CLIP are missing.

    Example:
        >>> word_text(["chair", "whiteboard"], "a photo of a {}", TextConfig()).vectors.shape
        torch.Size([2, 384])
    """
    names = listed(words)
    encoder = text_encoder(text.encoder, text.weights)
    vectors = encoder.encode(names, prompt=prompt_templates(prompt))
    same = same_pair(vectors)
    if same is not None:
        first, second = (names[position] for position in same)
        raise InputError(f"labels: {first!r} and {second!r} are the same to {encoder.name}; keep one of them")
    return ClassText(torch.from_numpy(vectors))


def listed(labels: Iterable[str]) -> list[str]:
    """Labels in their order, which their ids follow.

    Args:
        labels: The words, at least one.

    Returns:
        The words.

    Raises:
        InputError: One text in place of several, no words, or a set, which has no order.
    """
    single = isinstance(labels, str | bytes) or (isinstance(labels, np.ndarray) and labels.ndim == 0)
    unordered = isinstance(labels, Set) and not isinstance(labels, KeysView)
    if single or unordered or not isinstance(labels, Iterable):
        raise InputError(f"labels must be a non-empty list of strings, found {labels!r:.80}")
    names = list(labels)
    if not names:
        raise InputError(f"labels must be a non-empty list of strings, found {names!r}")
    return names
