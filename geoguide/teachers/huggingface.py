"""Semantic segmentation networks of Hugging Face's transformers (SegFormer, DPT, UPerNet, MaskFormer, Mask2Former).

The image is prepared as `preprocessor_config.json` says (size, scale, mean, deviation), by pillow and numpy: the
library's own processors would need torchvision.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError

from geoguide.errors import DataError, first_line
from geoguide.teachers.closed_set import first_spelling, softmax

# What transformers raises on files of another kind and on damaged ones.
_DAMAGES = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError)


class HuggingFaceSegmenter:
    """A network by its name on the hub, or in a local folder; no code of the repository is run.

    Args:
        model: "nvidia/segformer-b0-finetuned-ade-512-512", say, or a folder with config.json, preprocessor_config.json
            and model.safetensors.
        device: Where it runs.

    Attributes:
        name: `model`, or the folder's name.
        names: K class names from the config, the first of several spellings; None for "other" and background.
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
        labels = self._network.config.id2label
        self.names = tuple(first_spelling(labels[number]) for number in range(len(labels)))
        self._prepare = _preparation(model)
        plain = {key: np.asarray(value).tolist() for key, value in self._prepare.items()}
        self.identity = f"{type(self._network).__name__} {_weights_hash(self._network)} {plain}"

    @torch.inference_mode()
    def answer(self, image: np.ndarray) -> np.ndarray:
        """Classify the pixels of an image.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            float32 [h, w, K], at the network's own resolution.
        """
        height, width = self._prepare["size"] or image.shape[:2]
        pixels = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        values = (np.asarray(pixels, np.float32) * self._prepare["scale"] - self._prepare["mean"]) / self._prepare[
            "std"
        ]
        batch = torch.from_numpy(np.moveaxis(values, 2, 0)[None].astype(np.float32)).to(self.device)
        output = self._network(pixel_values=batch)
        if hasattr(output, "class_queries_logits"):
            return _of_queries(output.class_queries_logits[0], output.masks_queries_logits[0]).cpu().numpy()
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


def _preparation(model: str | Path) -> dict[str, Any]:
    """Size (H, W) or None, scale, mean [3] and deviation [3] of the network's images."""
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        given, _ = ImageProcessingMixin.get_image_processor_dict(model)
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{model}: preprocessor_config.json cannot be read ({first_line(error)})") from None
    if not isinstance(given, dict):
        raise DataError(f"{model}: preprocessor_config.json must hold values by name, found {given!r:.60}")
    normal = given.get("do_normalize", True)
    try:
        scale = float(given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 1.0)
        mean, std = (np.array(given.get(key, other) if normal else other, np.float32) for key, other in
                     (("image_mean", [0.0] * 3), ("image_std", [1.0] * 3)))  # fmt: skip
        size = _size(given.get("size")) if given.get("do_resize", True) else None
    except (TypeError, ValueError) as error:
        raise DataError(f"{model}: preprocessor_config.json: {first_line(error)}") from None
    if mean.shape != (3,) or std.shape != (3,) or not (std > 0).all():
        raise DataError(f"{model}: image_mean and image_std must be three numbers each, found {mean} and {std}")
    return {"size": size, "scale": scale, "mean": mean, "std": std}


def _size(given: Any) -> tuple[int, int] | None:
    """(H, W) of a size as published files write it; None for the image's own. ValueError where it is none."""
    if isinstance(given, dict):
        edge = given.get("shortest_edge")
        given = (given.get("height") or edge, given.get("width") or edge)
    pair = (given, given) if isinstance(given, int) else given
    if not pair or not all(pair):
        return None
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise ValueError(f"size must be height and width in pixels, found {given!r:.60}")
    return pair[0], pair[1]
