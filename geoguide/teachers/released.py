"""Fused 2D features that others released: which model made them, and the text space that they lie in.

Files of fused features say neither. They are told by the name of their folder, where it holds one of those below
("scannet_multiview_openseg"), else by their width.

Their authors' prompt is that of the protocols `openscene`, which real data are scored by unless another is named;
`--protocol strict` scores them with this book's own prompt, which was tried with MiniLM.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geoguide.errors import ConfigError, ReadAs
from geoguide.text.encoders import TextConfig, text_encoder

SCENE_PROMPT = "a {} in a scene"  # OpenScene's evaluation prompt, which those that follow it kept


@dataclass(frozen=True)
class ReleasedFeatures:
    """One release of fused features: their text space, and their authors' prompt in it.

    Attributes:
        name: The 2D model, as it stands in the folder's name.
        width: C.
        space: The text space that they lie in.
        source: Who released them, and what made them.
        prompt: What the authors put names into.
    """

    name: str
    width: int
    space: TextConfig
    source: str
    prompt: str = SCENE_PROMPT

    def text(self, names: Sequence[str], prompt: str | Sequence[str] | None = None) -> np.ndarray:
        """Embed names in the features' text space.

        Args:
            names: K names.
            prompt: One template or several; None for the authors'.

        Returns:
            float32 [K, C], vectors of unit length.

        Raises:
            InputError: No names, an empty name, or a prompt without `{}`.
            DataError: The text model is needed and cannot be had.
        """
        encoder = text_encoder(self.space.encoder, self.space.weights)
        return encoder.encode(names, self.prompt if prompt is None else prompt)


_LARGE, _BASE = TextConfig("clip-vit-l14-336"), TextConfig("clip-vit-b32")
RELEASED = {
    features.name: features
    for features in (
        ReleasedFeatures("openseg", 768, _LARGE, "OpenScene: OpenSeg, regions aligned with captions"),
        ReleasedFeatures("lseg", 512, _BASE, "OpenScene: LSeg, pixels aligned with annotated names"),
        ReleasedFeatures("sas", 512, _BASE, "SAS: LSeg and SEEM's masks with captions, by each one's capability"),
    )
}
# By width alone; 384 is nobody's release but what this package's own 2D models give.
_BY_WIDTH = {384: TextConfig("minilm")} | {features.width: features.space for features in RELEASED.values()}


def released_features(folder: str) -> ReleasedFeatures | None:
    """Tell released features by the name of their folder.

    Args:
        folder: Such as "scannet_multiview_openseg".

    Returns:
        The release whose name is a word of it; None where none is.

    Example:
        >>> released_features("matterport_multiview_openseg_test").width
        768
    """
    words = re.split(r"[^a-z0-9]+", folder.lower())
    return next((features for name, features in RELEASED.items() if name in words), None)


def space_of_features(folder: str, width: int) -> TextConfig:
    """The text space of fused features: that of the release, else the one that is known for the width.

    Two spaces may have one width (every ViT-B of CLIP has 512), so features of one's own need their space said: a
    `ReadAs` warning tells of a space that was chosen by the width alone, and the space itself says that it is assumed.

    Args:
        folder: The name of the features' folder.
        width: C, their channels.

    Returns:
        The space.

    Raises:
        ConfigError: A release of another width, or a width that nothing is known of.
    """
    features = released_features(folder)
    if features is not None and features.width != width:
        expected = f"those of {features.name} have {features.width}"
        raise ConfigError(f"data.features: {folder} has {width} channels; {expected} ({features.source})")
    if width not in _BY_WIDTH:
        known = ", ".join(map(str, sorted(_BY_WIDTH)))
        raise ConfigError(f"data.features: {folder} has {width} channels; texts are known for {known}")
    if features is not None:
        return features.space
    space = replace(_BY_WIDTH[width], assumed=True)
    how = f"text space {space.encoder} was chosen by their {width} channels alone; name another with --text"
    warnings.warn(f"data.features: {folder}: {how}", ReadAs, stacklevel=2)
    return space
