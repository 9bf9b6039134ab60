"""Text encoders: from any words to the vectors that features are compared with (paper, Inference)."""

from geoguide.text.encoders import TextConfig, text_encoder

__all__ = ["TextConfig", "text_encoder"]
