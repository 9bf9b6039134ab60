"""Any CLIP ViT of open_clip as a 2D model: dense features without training (`clip_attention.py`), in sliding windows.

An image is resized, windows of the size that the network was trained on are cut out with overlap, and where they
overlap their features are averaged, patch by patch. Several scales are brought to the finest one's patches and
averaged. The features are the network's own, projected into the joint space and not brought to unit length, so a mean
over windows, scales or views weighs each by its length.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from geoguide.errors import ConfigError, InputError, require
from geoguide.frozen import check_fields, to_dict
from geoguide.teachers.clip_attention import Attention, check_tower, token_features
from geoguide.teachers.image_model import CompactModel
from geoguide.text.encoders import OPEN_CLIP, TextConfig
from geoguide.text.open_clip_towers import (
    changed,
    import_open_clip,
    load_tower,
    model_config,
    parse_name,
    preparation,
    weights_file,
    weights_identity,
)


@dataclass(frozen=True)
class DenseClipConfig:
    """How dense features are made. Lengths are in units of the image side that the network was trained on.

    The defaults are ClearCLIP's attention under SCLIP's windows (224 pixels every 112, of an image whose short side is
    336, for a network of 224); none was tuned here.
    """

    attention: Attention = "qq"  # what takes the place of A(q, k) in the last block
    whole_block: bool = False  # whether the last block's input is added and its MLP follows
    scales: tuple[float, ...] = (1.5,)  # the resized image's short side, a pass for each
    window: float = 1.0  # a window's side; 0: the whole image at once, with interpolated position embeddings
    overlap: float = 0.5  # share of a window's side that neighbours share, rounded to whole patches

    def __post_init__(self) -> None:
        check_fields(self, "open_clip")
        if min(self.scales, default=0) <= 0:
            raise ConfigError(f"open_clip.scales must hold numbers above 0, found {self.scales}")
        if self.window < 0:
            raise ConfigError(f"open_clip.window must be at least 0, found {self.window}")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"open_clip.overlap must be at least 0 and below 1, found {self.overlap}")


VARIANTS = {
    "clip": DenseClipConfig("qk", whole_block=True),  # unchanged: what the others are to be compared with
    "maskclip": DenseClipConfig("v", whole_block=True),
    "sclip": DenseClipConfig("qq+kk", whole_block=True),
    "clearclip": DenseClipConfig("qq", whole_block=False),
}


class OpenClipModel(CompactModel):
    """Dense features of a CLIP ViT in its own text space. The extra `clip`; the network is loaded when it is first run.

    The cache keeps features of patches, not of pixels: 0.6 MB for 320 x 240 pixels at the default settings of ViT-B-16.

    Args:
        name: `MODEL:TAG`, or `MODEL` of weights in a file, as open_clip spells them: "ViT-B-16:laion2b_s34b_b88k".
        weights: A state dict of the whole model (.safetensors, .bin, .pt; no code in it is run); None takes the tag's.
        config: The attention, windows and scales; see `VARIANTS`.
        device: Where it runs.
        batch: Windows that the network looks at together.

    Attributes:
        name: open_clip's name and the attention.
        width: D, of the joint space.
        identity: Which weights, attention, windows and scales these are.
        space: The text space of the same weights.
        config: As given.

    Raises:
        ConfigError: open_clip has no such model or weights.
        DataError: open_clip is not installed, or the file of weights is missing.
        InputError: A batch below 1.
    """

    def __init__(
        self,
        name: str,
        weights: str | Path | None = None,
        config: DenseClipConfig = VARIANTS["clearclip"],
        *,
        device: str | torch.device = "cpu",
        batch: int = 8,
    ) -> None:
        require(batch >= 1, f"batch must be at least 1, found {batch}")
        self._model, self.config, self._device, self._batch = parse_name(name), config, torch.device(device), batch
        self._weights = None if weights is None else Path(weights).expanduser()
        about = model_config(self._model)
        self._prepare = preparation(self._model)
        vision = import_open_clip().CLIPVisionCfg(**about["vision_cfg"])
        self._side, self._patch = int(np.min(vision.image_size)), vision.patch_size
        block = "whole block" if config.whole_block else "attention alone"
        self.name = f"open_clip {name}, {config.attention}, {block}"
        self.width = about["embed_dim"]
        self.identity = f"{weights_identity(self._model, self._weights)} {json.dumps(to_dict(config))}"
        self.space = TextConfig(f"{OPEN_CLIP}{name}", None if weights is None else str(self._weights))

    def compact(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Describe the patches of images.

        Args:
            images: uint8 [H, W, 3] each, of any sizes.

        Returns:
            float32 [h, w, D] for each image: the patches of the finest scale.

        Raises:
            ConfigError: The network is no ViT of open_clip's own, or neither a tag nor a file of weights is given.
            DataError: The weights cannot be had, or do not fit the network.
            InputError: An image of another shape or type.
        """
        for image in images:
            fits = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
            require(fits, f"images must be uint8 [H, W, 3], found {image.dtype} {list(image.shape)}")
        tower = self._tower()
        with torch.inference_mode():
            return [self._patches(tower, image).cpu().numpy() for image in images]

    def expand(self, kept: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Interpolate features of patches to those of pixels.

        Args:
            kept: One array of `compact`, also rounded to float16.
            size: (H, W) of the image.

        Returns:
            float32 [H, W, D].

        Raises:
            InputError: It is nothing that this model says of an image of that size.
        """
        expected = [*self._grid(size, max(self.config.scales)), self.width]
        require(list(kept.shape) == expected, f"{self.name}: a frame must be {expected}, found {list(kept.shape)}")
        return _resized(torch.from_numpy(np.asarray(kept, np.float32)), size).numpy()

    def _tower(self) -> Any:
        path = weights_file(self._model, self._weights)
        tower = load_tower(self._model, "image", path, changed(path))
        check_tower(self._model.model, tower)
        return tower.to(self._device)

    def _grid(self, size: tuple[int, int], scale: float) -> tuple[int, int]:
        """(h, w) patches of an image of (H, W) pixels at a scale."""
        patches = scale * self._side / (min(size) * self._patch)
        return max(1, round(size[0] * patches)), max(1, round(size[1] * patches))

    def _patches(self, tower: Any, image: np.ndarray) -> Tensor:
        """[h, w, D], the mean over scales at the patches of the finest."""
        size = self._grid(image.shape[:2], max(self.config.scales))
        passes = [_resized(self._windows(tower, image, scale), size) for scale in self.config.scales]
        return torch.stack(passes).mean(dim=0)

    def _windows(self, tower: Any, image: np.ndarray, scale: float) -> Tensor:
        """[h, w, D], the mean over the windows that see a patch."""
        grid = self._grid(image.shape[:2], scale)
        pixels = self._prepared(image, grid)  # [3, H', W']
        side = max(1, round(self.config.window * self._side / self._patch)) if self.config.window else max(grid)
        step = max(1, round(side * (1 - self.config.overlap)))
        high, wide = min(side, grid[0]), min(side, grid[1])
        total = pixels.new_zeros(*grid, self.width)
        count = pixels.new_zeros(*grid, 1)
        rows, columns = starts(grid[0], high, min(step, high)), starts(grid[1], wide, min(step, wide))
        for corners in _batches(list(product(rows, columns)), self._batch):
            cut = [_cut(pixels, row, column, high, wide, self._patch) for row, column in corners]
            tokens = token_features(tower, torch.stack(cut), self.config.attention, self.config.whole_block)
            for (row, column), seen in zip(corners, tokens[:, 1:].unflatten(1, (high, wide)), strict=True):
                total[row : row + high, column : column + wide] += seen
                count[row : row + high, column : column + wide] += 1
        return total / count

    def _prepared(self, image: np.ndarray, grid: tuple[int, int]) -> Tensor:
        """The image at the size of so many patches, as the network wants it, float32 [3, h patch, w patch]."""
        filter_ = Image.Resampling[self._prepare.interpolation.upper()]
        size = grid[1] * self._patch, grid[0] * self._patch
        values = np.asarray(Image.fromarray(image).resize(size, filter_), np.float32) / np.float32(255)
        mean, std = (np.array(channel, np.float32) for channel in (self._prepare.mean, self._prepare.std))
        values = (values - mean) / std
        return torch.from_numpy(values).permute(2, 0, 1).to(self._device)


def starts(length: int, window: int, step: int) -> list[int]:
    """Where windows begin so that they cover a line; the last ends where the line ends.

    Args:
        length: Of the line, at least `window`.
        window: Of each window.
        step: From one window to the next, but for the last; at most `window`.

    Returns:
        Ascending positions from 0 to `length - window`.

    Raises:
        InputError: Windows that do not cover the line.

    Example:
        >>> starts(10, 4, 2), starts(9, 4, 4), starts(4, 4, 2)
        ([0, 2, 4, 6], [0, 4, 5], [0])
    """
    if not 1 <= step <= window <= length:
        raise InputError(f"expected 1 <= step <= window <= length, found {step}, {window}, {length}")
    return [*range(0, length - window, step), length - window]


def _batches(items: list[Any], count: int) -> list[list[Any]]:
    return [items[start : start + count] for start in range(0, len(items), count)]


def _cut(pixels: Tensor, row: int, column: int, high: int, wide: int, patch: int) -> Tensor:
    """A window of [3, H', W'], its corner and size in patches."""
    top, left = row * patch, column * patch
    return pixels[:, top : top + high * patch, left : left + wide * patch]


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring [h, w, D] to [H, W, D] bilinearly."""
    if maps.shape[:2] == tuple(size):
        return maps
    layers = maps.permute(2, 0, 1).contiguous()[None]  # a layer at a time: four times as fast as with channels last
    layers = F.interpolate(layers, size=tuple(size), mode="bilinear", align_corners=False)
    return layers[0].permute(1, 2, 0).contiguous()
