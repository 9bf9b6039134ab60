"""Sonata's successors as frozen backbones: Concerto and Utonia, stronger pretraining of the same encoder (claim C12).

What sets them apart is from their public code (github.com/Pointcept/Concerto and Utonia) and the configurations of
their pretraining (github.com/Pointcept/Pointcept); their weights were never opened here.
"""

from geoguide.backbones.sonata import SonataBackbone


class ConcertoBackbone(SonataBackbone):
    """Frozen Concerto features (Zhang et al., NeurIPS 2025, arXiv 2510.23607); see `SonataBackbone`.

    The encoder is Sonata's, of the sizes that the file's own configuration says (base: as Sonata; large: 64 to 768
    channels), as are voxels and input. Only the pretraining differs, jointly with images.
    """

    name = "concerto"


class UtoniaBackbone(SonataBackbone):
    """Frozen Utonia features (Zhang et al., 2026, arXiv 2603.03283); see `SonataBackbone`.

    The encoder also turns queries and keys by position (see `RotaryPosition`). Coordinates of rooms are halved before
    its voxels of 1 cm, as its demonstration and its evaluation on ScanNet do: voxels are again 2 cm of the scene. All
    five stages are concatenated, as in that evaluation (1,386 features).
    """

    name = "utonia"
    _concat = 4
    scale = 0.5
    _defaults = {  # noqa: RUF012 (read only)
        "enc_channels": [54, 108, 216, 432, 576],
        "enc_num_head": [3, 6, 12, 24, 32],
        "rope_base": 10,
    }
