"""The text encoders by name, and which of them an experiment uses."""

from dataclasses import dataclass, field

from geoguide.errors import ConfigError
from geoguide.frozen import check_choices
from geoguide.text.clip import ClipTextEncoder, OpenClipTextEncoder
from geoguide.text.encoder import TextEncoder
from geoguide.text.minilm import MiniLMTextEncoder
from geoguide.text.open_clip_towers import parse_name

_CLIP = {"clip-vit-l14-336": "ViT-L-14-336", "clip-vit-b32": "ViT-B-32"}
ENCODERS = ("minilm", *_CLIP)
OPEN_CLIP = "open_clip:"  # then MODEL:TAG as open_clip spells them, or MODEL of weights in a file


@dataclass(frozen=True)
class TextConfig:
    """Whose text space: that of the 2D features (OpenSeg: clip-vit-l14-336, LSeg: clip-vit-b32, simulated: minilm).

    Any of open_clip's models: "open_clip:ViT-B-16:laion2b_s34b_b88k", say.
    """

    encoder: str = "minilm"  # the paper's is CLIP's, with its 2D models
    weights: str | None = field(default=None, metadata={"hash": False})  # of CLIP: where the file lies on this machine

    def __post_init__(self) -> None:
        if self.encoder.startswith(OPEN_CLIP):
            parse_name(self.encoder.removeprefix(OPEN_CLIP))
            return
        check_choices(self, "text", encoder=(*ENCODERS, f"{OPEN_CLIP}MODEL:TAG"))
        if self.weights is not None and self.encoder not in _CLIP:
            raise ConfigError(f"text.weights must be None for {self.encoder}, whose weights come with a package")


def text_encoder(kind: str = "minilm", weights: str | None = None) -> TextEncoder:
    """Make a text encoder by name, with the default disk cache.

    Args:
        kind: One of `ENCODERS`, or "open_clip:MODEL:TAG".
        weights: CLIP's weights file; None looks in the hub's cache, and downloads what is missing.

    Returns:
        The encoder; no model is loaded yet.

    Raises:
        ConfigError: An unknown name, or weights for an encoder that has its own.
    """
    config = TextConfig(kind, weights)
    if config.encoder.startswith(OPEN_CLIP):
        return OpenClipTextEncoder(config.encoder.removeprefix(OPEN_CLIP), config.weights)
    return ClipTextEncoder(_CLIP[config.encoder], config.weights) if config.encoder in _CLIP else MiniLMTextEncoder()
