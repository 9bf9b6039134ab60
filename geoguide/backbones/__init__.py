"""Frozen 3D backbones: F_3d^G in the paper. One interface for learned networks and for hand-made descriptors."""

from geoguide.backbones.config import BackboneConfig, identity, open_backbone
from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.backbones.own import register
from geoguide.backbones.point_transformer import PointTransformerV3, upcast
from geoguide.backbones.registry import BACKBONES, Backbone, load
from geoguide.backbones.sonata import SonataBackbone
from geoguide.backbones.sonata_mini import MiniSonataBackbone, UntrainedBackbone

__all__ = ["BACKBONES", "Backbone", "BackboneConfig", "DescriptorBackbone", "MiniSonataBackbone", "PointTransformerV3",
           "SonataBackbone", "UntrainedBackbone", "identity", "load", "open_backbone", "register",
           "upcast"]  # fmt: skip
