"""Names to vectors: the encoders of words, and which of them a config names."""

from geoguide.text.encoders import TextConfig, text_encoder

__all__ = ["TextConfig", "text_encoder"]
