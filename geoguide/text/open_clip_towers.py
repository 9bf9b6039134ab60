"""open_clip's models by name: what they are, where their weights are, and one tower of them at a time.

A name is `MODEL` or `MODEL:TAG`, both as open_clip spells them (`open_clip.list_pretrained()`): "ViT-B-16:openai". The
tag says which weights; without one a file must. Nothing here but `parse_name` works without the extra `clip`, which is
imported only when it is asked for: torchvision, which open_clip needs, must fit the installed torch.
"""

import difflib
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from geoguide.errors import ConfigError, DataError, check_known, first_line
from geoguide.ops.tensor_files import mismatches, read_checkpoint

INSTALL = (
    "`pip install -c constraints.txt -e '.[clip]'` (torchvision must be built for the installed torch: beside a CPU "
    "build take it from the index that torch came from)"
)
COPY = "or copy the text cache of a machine that has embedded these words (cache/text in $GEOGUIDE_DATA)"
Part = Literal["image", "text"]
_IMAGE = "visual."  # how names of the image tower's tensors begin
_UNUSED = ("logit_scale", "logit_bias")  # of the training's loss


class OpenClipName(NamedTuple):
    """Which of open_clip's models.

    Attributes:
        model: The network, a name in `open_clip.list_models()`.
        tag: Its weights, one of `open_clip.list_pretrained_tags_by_model(model)`; None where a file holds them.
    """

    model: str
    tag: str | None


def parse_name(name: str) -> OpenClipName:
    """Take a name apart; whether open_clip knows it is not looked at.

    Args:
        name: `MODEL` or `MODEL:TAG`.

    Returns:
        Both parts.

    Raises:
        ConfigError: Another form.

    Example:
        >>> parse_name("ViT-B-16:laion2b_s34b_b88k")
        OpenClipName(model='ViT-B-16', tag='laion2b_s34b_b88k')
    """
    model, *tag = name.split(":")
    if not model or len(tag) > 1 or "" in tag:
        raise ConfigError(f"open_clip's models are named MODEL or MODEL:TAG, found {name!r}")
    return OpenClipName(model, tag[0] if tag else None)


def import_open_clip() -> Any:
    """Import open_clip, the extra `clip`.

    Returns:
        The package.

    Raises:
        DataError: It is not installed, or its torchvision does not fit the installed torch.
    """
    try:
        import open_clip  # an extra
    except (ImportError, OSError, RuntimeError) as error:  # the last two: a torchvision that does not fit torch
        raise DataError(f"CLIP needs open_clip_torch ({first_line(error)}): {INSTALL}, {COPY}") from None
    return open_clip


class Preparation(NamedTuple):
    """How an image is prepared for a model.

    Attributes:
        mean: Of each channel of images in [0, 1], which is taken off.
        std: What each channel is then divided by.
        interpolation: "bicubic" or "bilinear", for resizing.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


def model_config(name: OpenClipName) -> dict[str, Any]:
    """What open_clip's own file says of a model, with the activation that the weights were trained with.

    Args:
        name: The model.

    Returns:
        `embed_dim`, `vision_cfg`, `text_cfg` and more, as `open_clip.get_model_config` gives them.

    Raises:
        ConfigError: open_clip has no such model, or no such weights of it.
        DataError: open_clip is not installed.
    """
    open_clip = import_open_clip()
    known = open_clip.list_models()
    if name.model not in known:
        near = ", ".join(difflib.get_close_matches(name.model, known, n=3)) or "none"
        raise ConfigError(f"open_clip has no model {name.model!r}; names like it: {near} (open_clip.list_models())")
    config = open_clip.get_model_config(name.model)
    # The weights decide: open_clip itself only warns where the model's name says otherwise.
    config["quick_gelu"] = config.get("quick_gelu", False) or _pretrained(name).get("quick_gelu", False)
    return config


def preparation(name: OpenClipName) -> Preparation:
    """How a model's weights want their images; OpenAI's mean and deviation where a file holds the weights.

    Args:
        name: The model.

    Returns:
        Mean, deviation and interpolation.

    Raises:
        ConfigError: open_clip has no such weights.
        DataError: open_clip is not installed.
    """
    open_clip, source = import_open_clip(), _pretrained(name)
    mean, std = source.get("mean", open_clip.OPENAI_DATASET_MEAN), source.get("std", open_clip.OPENAI_DATASET_STD)
    return Preparation(tuple(mean), tuple(std), source.get("interpolation", "bicubic"))


def _pretrained(name: OpenClipName) -> dict[str, Any]:
    """Where the tag's weights are and how they were trained; empty without a tag."""
    if name.tag is None:
        return {}
    open_clip = import_open_clip()
    source = open_clip.get_pretrained_cfg(name.model, name.tag)
    if not source:
        check_known(f"weights of {name.model}", name.tag, open_clip.list_pretrained_tags_by_model(name.model))
    return source


def weights_file(name: OpenClipName, weights: Path | None) -> Path:
    """The file with a model's weights, downloaded where it is not in the cache of open_clip or the hub.

    Args:
        name: The model.
        weights: A file to take instead.

    Returns:
        The file.

    Raises:
        ConfigError: Neither a tag nor a file, or an unknown tag.
        DataError: The weights cannot be had.
    """
    if weights is not None:
        return weights
    open_clip, source = import_open_clip(), _pretrained(name)
    if not source:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name.model)) or "none"
        raise ConfigError(f"{name.model}: give a file of weights, or a tag as in {name.model}:TAG; its tags: {tags}")
    try:
        return Path(open_clip.download_pretrained(source))
    except Exception as error:  # offline, proxy, gone, no space: many classes, one remedy
        where = source.get("hf_hub") or source.get("url")
        failed = f"{name.model}:{name.tag}: cannot download CLIP's weights ({first_line(error)})"
        raise DataError(f"{failed}; fetch {where} elsewhere and give the file as weights") from None


def changed(path: Path) -> int:
    """When a file of weights was written, so that a replaced file is read again.

    Args:
        path: The file.

    Returns:
        Nanoseconds.

    Raises:
        DataError: It is not there.
    """
    if not path.is_file():
        raise DataError(f"{path}: CLIP's weights not found")
    return path.stat().st_mtime_ns


@lru_cache(maxsize=8)
def digest(path: Path, written: int) -> str:
    """The SHA-256 of a file of weights, computed once.

    Args:
        path: The file.
        written: Of `changed(path)`.

    Returns:
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_identity(name: OpenClipName, weights: Path | None) -> str:
    """Which weights these are: caches tell models apart by it.

    Args:
        name: The model.
        weights: Their file; None for the tag's.

    Returns:
        The model with its tag, or with the file's SHA-256.

    Raises:
        DataError: The file is missing.
    """
    return f"open_clip {name.model} {name.tag if weights is None else digest(weights, changed(weights))}"


@lru_cache(maxsize=2)  # of one model both towers
def load_tower(name: OpenClipName, part: Part, path: Path, written: int) -> Any:
    """One tower of a model, frozen, in float32 and evaluation mode; the other takes no memory.

    Args:
        name: The model.
        part: Which tower.
        path: The file with the weights; no code in it is run.
        written: Of `changed(path)`.

    Returns:
        "image": the image tower. "text": the model without it, to be asked by `encode_text`.

    Raises:
        ConfigError: open_clip has no such model, or it is of another kind than CLIP's two towers.
        DataError: The file cannot be read, or does not fit the tower.
    """
    model = _without_values(name)
    expected = {key: value for key, value in model.state_dict().items()
                if key.startswith(_IMAGE) == (part == "image") and key not in _UNUSED}  # fmt: skip
    _, found = read_checkpoint(path)
    state = {key: value.float() for key, value in found.items() if key in expected}
    problems = mismatches(expected, state)
    if problems:
        raise DataError(f"{path}: does not fit the {part} tower of {name.model}: {'; '.join(problems)}")
    model.load_state_dict(state, strict=False, assign=True)
    if part == "image":
        return model.visual.requires_grad_(False).eval()
    del model.visual
    if model.attn_mask is not None:  # it is no part of the weights: no word sees those after it
        model.attn_mask = torch.full(model.attn_mask.shape, float("-inf")).triu_(1)
    return model.requires_grad_(False).eval()


def _without_values(name: OpenClipName) -> Any:
    """The network as its config says, without memory for its parameters."""
    import_open_clip()
    from open_clip.model import CLIP

    config = model_config(name)
    if config.pop("custom_text", False) or config["text_cfg"].get("hf_model_name"):
        raise ConfigError(f"{name.model} has a text tower of another make (CoCa, SigLIP, Hugging Face): not supported")
    config = {key: value for key, value in config.items() if not key.startswith("init_")}
    with torch.device("meta"):
        return CLIP(**config)


def embedded(name: OpenClipName, tower: Any, sentences: list[str]) -> Tensor:
    """Run a text tower.

    Args:
        name: The model.
        tower: Its text tower, of `load_tower`.
        sentences: N sentences; what is beyond the tower's context (77 tokens) is cut.

    Returns:
        float32 [N, D], of any length.

    Raises:
        DataError: The tokenizer is one of the hub's and cannot be had.
    """
    try:
        tokens = import_open_clip().get_tokenizer(name.model)(sentences)
    except Exception as error:  # only tokenizers of the hub fail: offline, proxy, gone: many classes, one remedy
        raise DataError(f"{name.model}: cannot load its tokenizer from the hub ({first_line(error)}), {COPY}") from None
    with torch.inference_mode():
        return tower.encode_text(tokens)
