"""Pretraining of the mini backbone without labels (self-distillation after Sonata, arXiv 2503.16429), and probes."""

from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.loop import Pretraining, pretrain

__all__ = ["PretrainConfig", "Pretraining", "pretrain"]
