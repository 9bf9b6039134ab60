"""A scan as a trained model sees it: encoded once, then asked for words as often as wanted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoguide.pipeline.class_text import word_text
from geoguide.text.encoders import TextConfig


@dataclass(frozen=True, eq=False)
class EncodedScan:
    """F_3d^sem of a scan, each different row once: 4 C bytes a voxel beside 4 a point.

    Attributes:
        rows: float32 [R, C], unit length, on the model's device.
        index: int32 [P], the row of each point.
        prompt: What words are put into.
        text: Whose text space it is.
    """

    rows: Tensor
    index: np.ndarray
    prompt: str
    text: TextConfig

    def __len__(self) -> int:
        """P."""
        return len(self.index)

    @torch.inference_mode()
    def label(self, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Label every point with the most similar word.

        Args:
            labels: The words, at least one.

        Returns:
            Ids int64 [P] into `labels`, and their cosines float32 [P].

        Raises:
            InputError: As `word_text`.
        """
        ids, scores = word_text(labels, self.prompt, self.text).classify(self.rows)
        return ids[self.index], scores[self.index]

    @torch.inference_mode()
    def score_rows(self, text: str) -> np.ndarray:
        """Compare each different row with a query; `index` says which of them is a point's.

        Args:
            text: Any words.

        Returns:
            The cosine of every row with the text, float32 [R] in [-1, 1].

        Raises:
            InputError: No text.
        """
        return word_text([text], self.prompt, self.text).similarity(self.rows)[:, 0].cpu().numpy()

    def score(self, text: str) -> np.ndarray:
        """The heat map of one query.

        Args:
            text: Any words.

        Returns:
            The cosine of every point with the text, float32 [P] in [-1, 1].

        Raises:
            InputError: No text.
        """
        return self.score_rows(text)[self.index]
