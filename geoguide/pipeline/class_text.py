"""The words that stand for a benchmark's classes, embedded as a protocol says (paper, inference)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoguide.errors import InputError
from geoguide.labels import load_label_set
from geoguide.labels.nuscenes import FinerNames, has_finer_names, load_finer_names
from geoguide.pipeline.config import Protocol
from geoguide.text.encoders import TextConfig, text_encoder

OTHER = ("otherfurniture", "other")  # what ScanNet and Matterport3D call the class of other things


BARE = "other"


@dataclass(frozen=True, eq=False)
class ClassText:
    """Unit vectors float32 [F, C] of names, and which class each name belongs to (None: name i is class i)."""

    vectors: Tensor
    finer: FinerNames | None = None

    def similarity(self, features: Tensor) -> Tensor:
        """Dot products of features [p, C] with the classes [p, K]: a class with several names has its best.

        Raises InputError where features are not of the text's width: another 2D model's.
        """
        if features.shape[1] != self.vectors.shape[1]:
            raise InputError(f"features have {features.shape[1]} channels, the text has {self.vectors.shape[1]}")
        found = features @ self.vectors.T.to(features)
        return found if self.finer is None else self.finer.pool(found)

    def classify(self, features: Tensor, chunk: int = 65536) -> tuple[np.ndarray, np.ndarray]:
        """The most similar class of features [P, C]: ids int64 [P] and similarities float32 [P], chunk by chunk."""
        best = [self.similarity(part).max(dim=1) for part in features.split(chunk)]
        ids = torch.cat([b.indices for b in best]).cpu().numpy()
        return ids, torch.cat([b.values for b in best]).float().cpu().numpy()


def class_text(label_set: str, protocol: Protocol, text: TextConfig | None = None) -> ClassText:
    """The classes of a label set under a protocol's prompt, word for "other" and finer names (where it has any).

    text: whose embeddings, by default MiniLM's. Raises DataError where CLIP's weights are missing.
    """
    text = text or TextConfig()
    encoder = text_encoder(text.encoder, text.weights)
    finer = load_finer_names(label_set) if protocol.finer_names and has_finer_names(label_set) else None
    names = load_label_set(label_set).names if finer is None else finer.names
    vectors = encoder.encode(names, prompt=protocol.prompt)
    if protocol.other == "bare":
        bare = encoder.encode([BARE], prompt="{}")[0]
        vectors[[name in OTHER for name in names]] = bare
    return ClassText(torch.from_numpy(vectors), finer)
