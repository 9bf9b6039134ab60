"""Semantic segmentation networks of Hugging Face's transformers (SegFormer, DPT, UPerNet, MaskFormer, Mask2Former).

The image is prepared by the library's own processor that `preprocessor_config.json` names: the one that needs pillow
and numpy alone, not torchvision, whose builds fit one torch each. The middle is not cut out: every pixel is answered.
"""

import hashlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from geoguide.errors import DataError, ReadAs, first_line
from geoguide.teachers.closed_set import first_spelling, softmax

# What transformers raises on files of another kind and on damaged ones.
_DAMAGES = (
    *(OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, ArithmeticError, ImportError),
    SafetensorError,
)


class HuggingFaceSegmenter:
    """A network by its name on the hub, or in a local folder; no code of the repository is run.

    Args:
        model: "nvidia/segformer-b0-finetuned-ade-512-512", say, or a folder with config.json, preprocessor_config.json
            and model.safetensors.
        device: Where it runs.

    Attributes:
        name: `model`, or the folder's name.
        names: K class names from the config, the first of several spellings; None for "other" and background. A warning
            says where they are what transformers calls classes that nobody has named.
        identity: Hash of the weights, wherever they came from, and how images are prepared.
        gives_probabilities: True.

    Raises:
        DataError: It is not there, or no segmentation network.
    """

    gives_probabilities = True

    def __init__(self, model: str | Path, *, device: str | torch.device = "cpu") -> None:
        local = Path(model).is_dir()
        self.name = Path(model).name if local else str(model)
        self.device = torch.device(device)
        self._network = _loaded(model).to(self.device).eval()
        self.names = _class_names(self._network.config.id2label, model)
        self._processor = _processor(model)
        settings = json.dumps(self._processor.to_dict(), sort_keys=True, default=str)
        self.identity = f"{type(self._network).__name__} {_weights_hash(self._network)} {settings}"

    @torch.inference_mode()
    def answer(self, image: np.ndarray) -> np.ndarray:
        """Classify the pixels of an image.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            float32 [h, w, K], at the network's own resolution.

        Raises:
            DataError: The network cannot look at an image of that size, or does not score classes pixel by pixel.
        """
        try:
            output = self._network(pixel_values=_prepared(self._processor, image).to(self.device))
        except torch.OutOfMemoryError:  # a RuntimeError, and not the image's fault
            raise
        except _DAMAGES as error:
            size = f"{image.shape[0]} x {image.shape[1]} pixels"
            raise DataError(f"{self.name}: cannot look at an image of {size} ({first_line(error)})") from None
        if hasattr(output, "class_queries_logits"):
            return _of_queries(output.class_queries_logits[0], output.masks_queries_logits[0]).cpu().numpy()
        if getattr(output, "logits", None) is None or output.logits.ndim != 4:
            raise DataError(f"{self.name}: {type(self._network).__name__} does not score classes pixel by pixel")
        return softmax(np.moveaxis(output.logits[0].float().cpu().numpy(), 0, 2))


def _of_queries(classes: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """[h, w, K] from queries [Q, K + 1] (the last: no object) and masks [Q, h, w], as MaskFormer's inference does."""
    scores = torch.einsum("qk,qhw->hwk", classes.softmax(dim=-1)[:, :-1].float(), masks.float().sigmoid())
    return scores / scores.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def _weights_hash(network: torch.nn.Module) -> str:
    """SHA-256 of all tensors of a network and their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _loaded(model: str | Path) -> Any:
    from transformers import AutoConfig, AutoModelForSemanticSegmentation, AutoModelForUniversalSegmentation

    queries = AutoModelForUniversalSegmentation._model_mapping
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        kind = AutoModelForUniversalSegmentation if type(config) in queries else AutoModelForSemanticSegmentation
        network, report = kind.from_pretrained(
            model, config=config, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except _DAMAGES as error:
        raise DataError(f"{model}: no segmentation network of transformers ({first_line(error)})") from None
    missing = sorted(report["missing_keys"])  # which it would fill with random numbers
    if missing:
        raise DataError(
            f"{model}: no segmentation network of transformers: {len(missing)} tensors missing, {missing[0]}"
        )
    return network


def _class_names(labels: dict[int, str], model: str | Path) -> tuple[str | None, ...]:
    """The first spelling of each class, in the order of their numbers."""
    numbers = range(len(labels))
    missing = [number for number in numbers if not isinstance(labels.get(number), str)]
    if missing:
        found = f"no name for {missing[0]}"
        raise DataError(f"{model}: config.json: id2label must name classes 0..{len(labels) - 1}, found {found}")
    unnamed = sum(re.fullmatch(r"LABEL_\d+", labels[number]) is not None for number in numbers)
    if unnamed:
        found = f"{unnamed} of {len(labels)} classes are called LABEL_0 and so on, which mean nothing as text"
        warnings.warn(f"{model}: config.json: id2label must hold class names; {found}", ReadAs, stacklevel=4)
    return tuple(first_spelling(labels[number]) for number in numbers)


def _processor(model: str | Path) -> Any:
    """The processor of a network's images, tried on one: it must give the whole of it, and nothing beside it."""
    from transformers import AutoImageProcessor
    from transformers.utils import logging

    image, level = np.zeros((37, 53, 3), np.uint8), logging.get_verbosity()
    logging.set_verbosity_error()  # else it advises to install torchvision
    try:
        processor = AutoImageProcessor.from_pretrained(model, backend="pil", trust_remote_code=False)
        values, bare = _prepared(processor, image), _prepared(processor, image, do_pad=False, pad_size=None)
    except _DAMAGES as error:
        raise DataError(f"{model}: preprocessor_config.json: {first_line(error)}") from None
    finally:
        logging.set_verbosity(level)
    if values.shape != bare.shape or getattr(processor, "do_split_image", False):
        which = "do_pad, pad_size or do_split_image"
        raise DataError(f"{model}: preprocessor_config.json: images must be taken whole and bare, found {which}")
    return processor


def _prepared(processor: Any, image: np.ndarray, **changes: Any) -> torch.Tensor:
    """What a network is given of an image, float32 [1, 3, h, w]; ValueError where it cannot be made."""
    settings = {"do_center_crop": False, "input_data_format": "channels_last", "return_tensors": "pt"}
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # what is divided by 0 is refused below
        warnings.simplefilter("ignore", RuntimeWarning)
        values = processor(image, **settings | changes)["pixel_values"].float()
    if values.ndim != 4 or values.shape[:2] != (1, 3) or not values.isfinite().all():
        found = "nan or inf" if values.isfinite().logical_not().any() else list(values.shape)
        raise ValueError(f"an image must become finite numbers [1, 3, h, w], found {found}")
    return values
