"""CLIP's text embeddings: the space in which OpenScene's published 2D features lie (paper, Inference).

OpenSeg's features (768 channels) belong to ViT-L/14@336px, LSeg's (512) to ViT-B/32, both with OpenAI's weights. Only a
sentence that is not yet in the disk cache needs the extra `clip` (open_clip_torch) and the weights. So a machine
without network needs neither: embed the labels where there is one, with the prompt to be used,

    text_encoder("clip-vit-l14-336").encode(load_label_set("scannet20").names, "a {} in a scene")

and copy its `cache/text` in $GEOGUIDE_DATA to the other.
"""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from geoguide.errors import DataError, InputError, first_line
from geoguide.ops.tensor_files import mismatches, read_checkpoint
from geoguide.text.encoder import TextEncoder
from geoguide.text.open_clip_towers import (
    COPY,
    changed,
    digest,
    embedded,
    import_open_clip,
    load_tower,
    model_config,
    parse_name,
    weights_file,
    weights_identity,
)


class Released(NamedTuple):
    """One of the models that OpenAI released.

    Attributes:
        width: D, the length of an embedding.
        repository: A copy of the weights on the Hugging Face hub.
        sha256: SHA-256 of OpenAI's original file.
    """

    width: int
    repository: str
    sha256: str


MODELS = {
    "ViT-L-14-336": Released(
        768,
        "timm/vit_large_patch14_clip_336.openai",
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
    ),
    "ViT-B-32": Released(
        512, "timm/vit_base_patch32_clip_224.openai", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    ),
}


# Prompt ensembles by name, as open_clip calls them.
ENSEMBLES = {"imagenet": "OPENAI_IMAGENET_TEMPLATES", "short": "SIMPLE_IMAGENET_TEMPLATES"}


class ClipTextEncoder(TextEncoder):
    """CLIP's text tower in float32; words beyond its 77 tokens are cut.

    Args:
        model: A key of `MODELS`.
        weights: A state dict that open_clip reads (.safetensors, .bin, .pt), or OpenAI's original .pt; None takes
            OpenAI's from open_clip's cache, or from the Hugging Face hub.
        cache: As in `TextEncoder`.

    Raises:
        InputError: Another model.
    """

    def __init__(
        self, model: str = "ViT-L-14-336", weights: str | Path | None = None, cache: str | Path | None = "default"
    ) -> None:
        if model not in MODELS:
            raise InputError(f"model must be one of {', '.join(MODELS)}, found {model!r}")
        super().__init__(cache)
        self.model = model
        self.weights = None if weights is None else Path(weights).expanduser()
        self.name = f"CLIP {model}"
        self.width = MODELS[model].width

    @property
    def identity(self) -> str:
        """The model, and the SHA-256 of the weights' file where one is given. Raises DataError where it is missing."""
        return f"{self.model} {'openai' if self.weights is None else digest(self.weights, changed(self.weights))}"

    def _embed(self, sentences: list[str]) -> np.ndarray:
        """The projected vector of each sentence's last token."""
        open_clip = import_open_clip()
        path = self.weights or _download(open_clip, self.model)
        tower = _load(self.model, path, changed(path))
        with torch.inference_mode():
            return tower(open_clip.tokenize(sentences)).numpy()


class OpenClipTextEncoder(TextEncoder):
    """The text tower of any of open_clip's CLIP models, in float32; words beyond its context (77 tokens) are cut.

    Args:
        name: `MODEL:TAG`, or `MODEL` of weights in a file; both as open_clip spells them.
        weights: A state dict that open_clip reads (.safetensors, .bin, .pt); None takes the tag's from open_clip's or
            the hub's cache, or downloads them.
        cache: As in `TextEncoder`.

    Raises:
        ConfigError: The name is of another form.
    """

    def __init__(self, name: str, weights: str | Path | None = None, cache: str | Path | None = "default") -> None:
        super().__init__(cache)
        self.model = parse_name(name)
        self.weights = None if weights is None else Path(weights).expanduser()
        self.name = f"open_clip {name}"

    @cached_property
    def width(self) -> int:
        """D, which open_clip knows. Raises ConfigError for an unknown model, DataError without open_clip."""
        return model_config(self.model)["embed_dim"]

    @property
    def identity(self) -> str:
        """The model and its tag, or the SHA-256 of the weights' file. Raises DataError where that is missing."""
        return weights_identity(self.model, self.weights)

    def _embed(self, sentences: list[str]) -> np.ndarray:
        """The projected vector of each sentence's last token."""
        path = weights_file(self.model, self.weights)
        return embedded(self.model, load_tower(self.model, "text", path, changed(path)), sentences).numpy()


def prompt_ensemble(name: str = "imagenet") -> tuple[str, ...]:
    """The prompts that CLIP's authors averaged over for ImageNet, as open_clip holds them.

    Args:
        name: One of `ENSEMBLES`: "imagenet", all 80; "short", the 7 that they found to do nearly as well.

    Returns:
        Templates for `TextEncoder.encode`, which takes the mean of their unit vectors.

    Raises:
        InputError: Another name.
        DataError: open_clip is not installed.
    """
    if name not in ENSEMBLES:
        raise InputError(f"a prompt ensemble must be one of {', '.join(ENSEMBLES)}, found {name!r}")
    return tuple(template("{}") for template in getattr(import_open_clip(), ENSEMBLES[name]))


def _download(open_clip: Any, model: str) -> Path:
    try:
        return Path(open_clip.download_pretrained(open_clip.get_pretrained_cfg(model, "openai")))
    except Exception as error:  # offline, proxy, gone, no space: many classes, one remedy
        fetch = f"hf download {MODELS[model].repository} open_clip_model.safetensors --local-dir weights"
        failed = f"{model}: cannot download CLIP's weights ({first_line(error)})"
        remedy = f"fetch them elsewhere with `{fetch}` and name the file as text.weights, {COPY}"
        raise DataError(f"{failed}; {remedy}") from None


@lru_cache(maxsize=1)
def _load(model: str, path: Path, written: int) -> nn.Module:
    """The text tower in evaluation mode; the image tower is never built. Raises DataError for weights that do not fit.

    OpenAI trained with x * sigmoid(1.702 x) in place of GELU, which is what open_clip's `-quickgelu` stands for.
    """
    import open_clip  # an extra
    from open_clip.transformer import QuickGELU, TextTransformer

    config = open_clip.get_model_config(f"{model}-quickgelu")
    tower = TextTransformer(**config["text_cfg"], output_dim=config["embed_dim"], act_layer=QuickGELU)
    expected = tower.state_dict()
    released = path.suffix == ".pt" and digest(path, written) == MODELS[model].sha256  # it alone may hold TorchScript
    weights = torch.jit.load(path, map_location="cpu").state_dict() if released else read_checkpoint(path)[1]
    state = {key: tensor for key, tensor in weights.items() if key in expected}
    problems = mismatches(expected, state)
    if problems:
        raise DataError(f"{path}: does not fit the text tower of {model}: {'; '.join(problems)}")
    tower.load_state_dict(state)
    return tower.requires_grad_(False).eval()
