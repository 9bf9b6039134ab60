"""Two packaged 2D models fused by measured capability, in the manner of SAS (lineage of the paper; see `sas-mini.md`).

At a pixel the first model's class is l and the second's s. With each model's measured capability m of a class,
w1 = m1[l] + m1[s] and w2 = m2[s] + m2[l], both divided by their sum, then softmax over (w1, w2) / 0.05, weigh the two
features. Where the first model says "other" its feature stays.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.frozen import from_dict
from geoguide.ops.pixel_rows import PixelRows
from geoguide.paths import WEIGHTS
from geoguide.teachers.image_model import PixelModel
from geoguide.teachers.mini_dense import MiniDenseModel
from geoguide.text_files import parse_json, read_text

TEMPERATURE = 0.05  # SAS's


@dataclass(frozen=True)
class Capability:
    """How well two models do on each of K classes, measured on images of single things.

    Attributes:
        names: K classes.
        models: Names of the packaged models.
        sha256: Of their files.
        first: IoU of each class, in [0, 1], of the first model.
        second: Of the second.
        other: The class that names nothing, whose capability is 0.
    """

    names: tuple[str, ...]
    models: tuple[str, str]
    sha256: tuple[str, str]
    first: tuple[float, ...]
    second: tuple[float, ...]
    other: str

    def __post_init__(self) -> None:
        for name in ("first", "second"):
            values = getattr(self, name)
            if len(values) != len(self.names) or not all(0 <= value <= 1 for value in values):
                raise ConfigError(
                    f"capability.{name} must be {len(self.names)} numbers of 0 to 1, found {values!r:.60}"
                )


def read_capability(path: Path) -> Capability:
    """Read a file of capabilities.

    Args:
        path: The .json file.

    Returns:
        Its field `capability`.

    Raises:
        DataError: It is missing or broken.
    """
    found = parse_json(read_text(path, "capability file"), path)
    try:
        return from_dict(Capability, found["capability"], "capability")
    except (ConfigError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not written by `geoguide pretrain sas-mini` ({error})") from None


class FusedMiniModel(PixelModel):
    """Two packaged models as one, by a file of capabilities that `geoguide pretrain sas-mini` wrote.

    Args:
        name: Of the packaged file, `sas-mini`; the model's name.
        capability: Another file, or what one holds; None takes the packaged one.

    Attributes:
        names: K classes whose capability was measured.
        capability: float32 [2, K].
        measured: What the file holds.
        first: The model whose "other" stays.
        second: The other model.

    Raises:
        DataError: The file is missing or broken, or was measured with other weights than there are.
    """

    def __init__(self, name: str = "sas-mini", capability: str | Path | Capability | None = None) -> None:
        where = WEIGHTS / f"{name}.json" if capability is None else capability
        self.measured = where if isinstance(where, Capability) else read_capability(Path(where))
        self.name = name
        self.first, self.second = (MiniDenseModel(member) for member in self.measured.models)
        self.width, self.space = self.first.width, self.first.space
        if (self.first.identity, self.second.identity) != self.measured.sha256:
            file, models = name if isinstance(where, Capability) else where, " and ".join(self.measured.models)
            raise DataError(f"{file}: field sha256 is not that of the packaged {models}")
        self.names = self.measured.names
        self.capability = np.array([self.measured.first, self.measured.second], np.float32)  # [2, K]
        self.identity = hashlib.sha256(f"{self.measured}\n{TEMPERATURE}".encode()).hexdigest()
        self._text = self.text(self.names)

    def compact(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Say of images what the cache keeps.

        Args:
            images: uint8 [H, W, 3] each.

        Returns:
            Codes of both models one after the other, float32 [1, 1, N] for each: their grids may differ.
        """
        both = zip(self.first.compact(images), self.second.compact(images), strict=True)
        return [np.concatenate([codes.reshape(1, 1, -1) for codes in pair], axis=-1) for pair in both]

    def expand_rows(self, kept: np.ndarray, size: tuple[int, int]) -> PixelRows:
        """`expand`, of which only what is asked for is made.

        Args:
            kept: As in `expand`.
            size: As in `expand`.

        Returns:
            The features [H, W, C].

        Raises:
            InputError: As in `expand`.
        """
        shapes = [model.code_shape(size) for model in (self.first, self.second)]
        cut, count = math.prod(shapes[0]), sum(map(math.prod, shapes))
        if kept.shape != (1, 1, count):
            raise InputError(f"{self.name}: a kept frame must be [1, 1, {count}], found {list(kept.shape)}")
        first = self.first.expand_rows(kept[0, 0, :cut].reshape(shapes[0]), size)
        second = self.second.expand_rows(kept[0, 0, cut:].reshape(shapes[1]), size)
        other = self.names.index(self.measured.other) if self.measured.other in self.names else -1

        def make(pixels: np.ndarray) -> np.ndarray:
            return fuse_by_capability(first.make(pixels), second.make(pixels), self._text, self.capability, other)

        return PixelRows(first.shape, make)


def fuse_by_capability(
    first: np.ndarray, second: np.ndarray, text: np.ndarray, capability: np.ndarray, other: int = -1
) -> np.ndarray:
    """Weigh two models' features by how well each does on the classes that the two say.

    Args:
        first: float32 [..., C], unit vectors.
        second: float32 [..., C], unit vectors.
        text: float32 [K, C].
        capability: float32 [2, K], at least 0: of each model, of each class.
        other: The class of the first model at which its feature stays; -1 for none.

    Returns:
        float32 [..., C].
    """
    one, two = (first @ text.T).argmax(axis=-1), (second @ text.T).argmax(axis=-1)  # [...] each
    weight = capability[:, one] + capability[:, two]  # [2, ...]
    total = weight.sum(axis=0)
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1), 0.5)  # neither knows anything: the mean
    share = 1 / (1 + np.exp((weight[1] - weight[0]) / TEMPERATURE))  # softmax over two
    share = np.where(one == other, 1, share).astype(np.float32)[..., None]
    return share * first + (1 - share) * second


def open_mini(name: str, weights: str | Path | None = None) -> MiniDenseModel | FusedMiniModel:
    """Open a packaged 2D model of either kind.

    Args:
        name: `lseg-mini`, `openseg-mini`, `lseg-streets-mini` or `sas-mini`.
        weights: Another file: .safetensors of a network, .json of a fused model; None takes the packaged one.

    Returns:
        The model.

    Raises:
        DataError: Its file is missing or broken.

    Example:
        >>> open_mini("lseg-mini").width
        384
    """
    if weights is None:
        alone = (WEIGHTS / f"{name}.json").is_file() and not (WEIGHTS / f"{name}.safetensors").is_file()
    else:
        alone = Path(weights).suffix == ".json"
    return FusedMiniModel(name, weights) if alone else MiniDenseModel(name, weights)
