"""The text encoders by name, and which of them an experiment uses."""

from dataclasses import dataclass, field

from geoguide.errors import ConfigError, check_known
from geoguide.frozen import check_fields
from geoguide.text.clip import ENSEMBLES, ClipTextEncoder, OpenClipTextEncoder, prompt_ensemble
from geoguide.text.encoder import TextEncoder
from geoguide.text.minilm import MiniLMTextEncoder
from geoguide.text.open_clip_towers import parse_name

_CLIP = {"clip-vit-l14-336": "ViT-L-14-336", "clip-vit-b32": "ViT-B-32"}
ENCODERS = ("minilm", *_CLIP)
ENSEMBLE = "ensemble:"  # then a name of `clip.ENSEMBLES`
OPEN_CLIP = "open_clip:"  # then MODEL:TAG as open_clip spells them, or MODEL of weights in a file


@dataclass(frozen=True)
class TextConfig:
    """Whose text space: that of the 2D features (OpenSeg: clip-vit-l14-336, LSeg: clip-vit-b32, simulated: minilm).

    Any of open_clip's models: "open_clip:ViT-B-16:laion2b_s34b_b88k", say.
    """

    encoder: str = "minilm"  # the paper's is CLIP's, with its 2D models
    weights: str | None = field(default=None, metadata={"hash": False})  # of CLIP: where the file lies on this machine
    assumed: bool = field(default=False, compare=False, metadata={"hash": False})
    """Whether nobody named the space: it is the one that is known for the width of fused features. Not compared, so
    that an experiment is the same whoever named it; records say it, and models in what they were trained on."""

    def __post_init__(self) -> None:
        check_fields(self, "text")
        if self.encoder.startswith(OPEN_CLIP):
            parse_name(self.encoder.removeprefix(OPEN_CLIP))
            return
        check_fields(self, "text", encoder=(*ENCODERS, f"{OPEN_CLIP}MODEL:TAG"))
        if self.weights is not None and self.encoder not in _CLIP:
            raise ConfigError(f"text.weights must be None for {self.encoder}, whose weights come with a package")


def prompt_templates(prompt: str) -> tuple[str, ...]:
    """The templates that a prompt stands for, of whose unit vectors `TextEncoder.encode` takes the mean.

    Args:
        prompt: One template, several joined by "|", or "ensemble:NAME" (see `clip.prompt_ensemble`).

    Returns:
        The templates.

    Raises:
        InputError: No ensemble of that name.
        DataError: The ensemble is open_clip's, which is not installed.

    Example:
        >>> prompt_templates("a photo of a {}|a {} in a scene")
        ('a photo of a {}', 'a {} in a scene')
    """
    if prompt.startswith(ENSEMBLE):
        return prompt_ensemble(prompt.removeprefix(ENSEMBLE))
    return tuple(prompt.split("|"))


def check_prompt(prompt: str, where: str) -> None:
    """Refuse what stands for no prompt, whether or not open_clip is installed.

    Args:
        prompt: As in `prompt_templates`.
        where: What an error calls it, such as "protocol.prompt".

    Raises:
        ConfigError: An unknown ensemble, or a template without `{}`.
    """
    if prompt.startswith(ENSEMBLE):
        check_known("prompt ensemble", prompt.removeprefix(ENSEMBLE), ENSEMBLES)
    elif not all("{}" in template for template in prompt.split("|")):
        raise ConfigError(f"{where} must hold '{{}}' where the name goes, found {prompt!r}")


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
