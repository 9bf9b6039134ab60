"""The packaged 2D models: small networks that were trained to match pixels of generated images with text.

`weights/lseg-mini.md` and the cards beside it say what each was trained on, and how well it does where.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from geoguide.errors import ConfigError, DataError, InputError, pass_on_shortage
from geoguide.frozen import from_dict, to_dict
from geoguide.ops.pixel_rows import PixelRows
from geoguide.paths import WEIGHTS, replacing
from geoguide.teachers.image_model import PixelModel
from geoguide.teachers.mini_network import DenseNet, DenseNetConfig, channels_last, unit_codes
from geoguide.text.encoders import TextConfig

SMALLEST = 8  # pixels: of narrower images too little is left to look at


class MiniDenseModel(PixelModel):
    """A packaged 2D model. Of an image the cache keeps codes, for every few pixels of the size that it looks at.

    Where its training has a `reading` temperature, a pixel's feature is not the network's own vector but the mean of
    the texts of the names it was taught, weighted with the network's probabilities of them (as `closed_set` does).

    Args:
        name: Of the packaged weights, `lseg-mini` for example; the model's name.
        weights: Another file that `geoguide pretrain NAME` wrote; None takes the packaged one.

    Attributes:
        height: Pixels; the image is brought to this height before the network looks at it.
        notes: What the file says of the training: "config", "step", "worlds" and "names".
        worlds: The generated worlds that it was trained on, tuples (seed, split, number): `check_disjoint` takes them.

    Raises:
        DataError: The file is missing, or none that `geoguide pretrain NAME` wrote.
    """

    def __init__(self, name: str = "lseg-mini", weights: str | Path | None = None) -> None:
        path = WEIGHTS / f"{name}.safetensors" if weights is None else Path(weights)
        self.name, self.space = name, TextConfig("minilm")
        self.network, self.notes, self.identity = read_network(path)
        self.width = self.network.config.width
        self.height = int(self.notes["config"]["worlds"]["image_size"][0])
        self.worlds = tuple((int(seed), str(split), int(number)) for seed, split, number in self.notes["worlds"])
        self.reading = float(self.notes["config"].get("reading", 0.0))

    @functools.cached_property
    def _taught(self) -> Tensor:
        """The texts of the names it was taught, float32 [K, C]."""
        return torch.from_numpy(self.text(self.notes["names"]))

    def compact(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Say of images what the cache keeps.

        Args:
            images: uint8 [H, W, 3] each.

        Returns:
            Codes float32 [h, w, r] for each; their features have unit length.

        Raises:
            InputError: An image is narrower than eight pixels.
        """
        return [self._codes(image) for image in images]

    @torch.inference_mode()
    def expand_rows(self, kept: np.ndarray, size: tuple[int, int]) -> PixelRows:
        """`expand`, of which every pixel has its unit code and only what is asked for a feature.

        Args:
            kept: As in `expand`.
            size: As in `expand`.

        Returns:
            The features [H, W, C].

        Raises:
            InputError: As in `expand`.
        """
        expected = self.code_shape(size)
        if kept.shape != expected:
            raise InputError(f"{self.name}: a kept frame must be {list(expected)}, found {list(kept.shape)}")
        codes = torch.from_numpy(np.asarray(kept, np.float32)).permute(2, 0, 1)[None]
        codes = F.interpolate(codes, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)  # [H, W, r]
        unit = unit_codes(codes, self.network.basis).flatten(0, 1)  # [H W, r]
        return PixelRows((*size, self.width), functools.partial(self._features, unit))

    @torch.inference_mode()
    def _features(self, unit: Tensor, pixels: np.ndarray) -> np.ndarray:
        """The features [n, C] of some of the unit codes [H W, r]."""
        unit = unit.T[:, torch.from_numpy(pixels)].T  # as it lies: columns one after the other
        if not self.reading:
            return (unit @ self.network.basis).numpy()
        chances = (unit @ self._names_of_codes / self.reading).softmax(dim=-1)  # [n, K]
        return (chances @ self._taught).numpy()

    @functools.cached_property
    def _names_of_codes(self) -> Tensor:
        """How much each name has of each code, float32 [r, K]."""
        return self.network.basis @ self._taught.T

    def code_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """Say what `compact` gives of an image.

        Args:
            size: (H, W) of the image.

        Returns:
            (h, w, r).
        """
        height, width = (-(-side // self.network.config.stride) for side in self._looked_at(size))
        return height, width, self.network.config.code

    @torch.inference_mode()
    def _codes(self, image: np.ndarray) -> np.ndarray:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < SMALLEST:
            least = f"uint8 [H, W, 3] of at least {SMALLEST} pixels a side"
            raise InputError(f"{self.name}: an image must be {least}, found {image.dtype} {list(image.shape)}")
        pixels = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
        size = self._looked_at(image.shape[:2])
        if size != image.shape[:2]:
            pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)
        codes = self.network(pixels.contiguous(memory_format=torch.channels_last))[0].permute(1, 2, 0)
        return unit_codes(codes, self.network.basis).contiguous().numpy()

    def _looked_at(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size at which an image of `size` is looked at."""
        return self.height, max(SMALLEST, round(size[1] * self.height / size[0]))


def write_network(path: Path, network: DenseNet, notes: dict[str, Any]) -> None:
    """Write a network in float16, with its sizes and notes as metadata.

    Args:
        path: The .safetensors file.
        network: The network.
        notes: JSON types by name.
    """
    half: dict[str, Tensor] = {}
    for key, value in network.state_dict().items():
        half[key] = (value.half() if value.is_floating_point() else value).contiguous()
    said = {name: json.dumps(note) for name, note in ({"network": to_dict(network.config)} | notes).items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(half, said))


def read_network(path: Path) -> tuple[DenseNet, dict[str, Any], str]:
    """Read what `write_network` wrote.

    Args:
        path: The .safetensors file.

    Returns:
        The network, frozen, its values float32; the notes; and the SHA-256 of the file.

    Raises:
        DataError: The file is missing, truncated or no such file.
    """
    if not path.is_file():
        raise DataError(f"{path}: weights file not found; make one with `geoguide pretrain NAME`")
    try:
        content = path.read_bytes()
        with safe_open(path, framework="pt") as file:
            notes = {name: json.loads(note) for name, note in (file.metadata() or {}).items()}
        network = DenseNet(from_dict(DenseNetConfig, notes.pop("network"), "network"))
        state = {key: value.float() if value.is_floating_point() else value for key, value in load(content).items()}
        network.load_state_dict(state)
        if not all(value.isfinite().all() for value in network.state_dict().values()):
            raise ValueError("its weights hold nan or inf")
        if not int(notes["config"]["worlds"]["image_size"][0]) >= SMALLEST:
            raise ValueError("config.worlds.image_size in its metadata is no size")
        if not all([*map(type, world)] == [int, str, int] for world in notes["worlds"]):
            raise ValueError("worlds in its metadata are no (seed, split, number)")
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, ConfigError) as error:
        pass_on_shortage(error, path)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: no weights of `geoguide pretrain NAME` ({reason:.160})") from None
    network = channels_last(network).requires_grad_(False).eval()
    return network, notes, hashlib.sha256(content).hexdigest()
