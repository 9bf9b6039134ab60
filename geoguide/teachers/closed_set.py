"""Closed-set segmentation networks as 2D models in a text space: class probabilities times text (ConSE).

A network that knows K classes by name gives a pixel the mean of the names' text embeddings, weighted with its class
probabilities (Norouzi et al. 2014, for images): features that any words can be compared with, as far as the text
encoder relates them to the K names. A network that gives labels only is all or nothing, so its doubts are lost; its
name then says so.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from geoguide.errors import DataError, InputError
from geoguide.lifting import PixelFeatures
from geoguide.ops.arrays import host
from geoguide.teachers.image_model import CompactModel
from geoguide.text.encoder import PROMPT
from geoguide.text.encoders import TextConfig, text_encoder
from geoguide.text_files import read_text

MOST = 65535  # number of a class
FEW = 255  # classes, of which an image of labels is opened whole; of more, those that it shows
ROUNDING = 0.02  # what probabilities of 8 bits or half precision may sum to beside 1
INDEX = re.compile(r"\s*(\d+)[,: ]")  # before a name: of a table, or of a mapping
MARKS = re.compile(r"""\s*(-\s|[\[{"'#])""")  # how lines of JSON and YAML and comments begin
FURTHER = re.compile(r"[,;]\s*[\d.]+\s*([,;]|$)|(\s\d+){3}\s*$")  # columns of numbers behind a name, as colours are
OTHER = ("other", "background", "unlabeled", "void", "ignore")  # as published lists name what they do not know


class Segmenter(Protocol):
    """A network that tells K classes apart.

    Attributes:
        name: For the record.
        names: K class names; None for an answer that names nothing ("other", background). Two may be the same.
        identity: Which weights and settings these are.
        gives_probabilities: Whether it gives them; else labels.
    """

    name: str
    names: Sequence[str | None]
    identity: str
    gives_probabilities: bool

    def answer(self, image: np.ndarray) -> np.ndarray:
        """Classify the pixels of an image.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            Of any height and width: probabilities float32 [h, w, K], at least 0, summing to 1 over the classes; or
            labels, whole numbers [h, w] in 0..K-1.
        """
        ...


class ClosedSetModel(CompactModel):
    """A segmenter's answers in a text space.

    A pixel's weight is the probability of all classes that have a name; its feature is the mean over these. The cache
    keeps the probabilities of the N named classes, no larger than the image or the network's answer (2 h w N bytes a
    frame), or the labels (1 or 2 h w bytes).

    Args:
        segmenter: The network.
        space: The text space; any, for the names are words.
        prompt: What the names are put into.

    Attributes:
        name: The segmenter's, and what it gives.
        width: D, of the text space.
        identity: As `ImageModel`.
        space: As above.
        segmenter: As above.

    Raises:
        InputError: No class has a name, or a name is blank.
    """

    def __init__(self, segmenter: Segmenter, space: TextConfig | None = None, prompt: str = PROMPT) -> None:
        self.segmenter, self.space, self._prompt = segmenter, space or TextConfig(), prompt
        self._names = [name for name in segmenter.names if name is not None]
        wrong = [name for name in self._names if not isinstance(name, str) or not name.strip()]
        if wrong:
            place = f"class {list(segmenter.names).index(wrong[0])} of {len(segmenter.names)}"
            raise InputError(f"{segmenter.name}: class names must be words or None, found {wrong[0]!r} for {place}")
        if not self._names:
            raise InputError(f"{segmenter.name}: none of its {len(segmenter.names)} classes has a name")
        encoder = text_encoder(self.space.encoder, self.space.weights)
        given = "class probabilities" if segmenter.gives_probabilities else "classes, labels only"
        self.name, self.width = f"{segmenter.name} ({len(self._names)} {given})", encoder.width
        self.identity = f"{segmenter.identity}; {list(segmenter.names)}; {encoder.name} {encoder.identity}; {prompt}"

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """The embedded names, float32 [N, D]."""
        return self.text(self._names, self._prompt)

    @functools.cached_property
    def _position(self) -> np.ndarray:
        """Of each class among the N named ones, uint8 or uint16 [K]; N for those without a name."""
        count = len(self._names)
        named = np.array([name is not None for name in self.segmenter.names])
        return np.where(named, named.cumsum() - 1, count).astype(np.min_scalar_type(count))

    def compact(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the network says of the classes that have a name.

        Args:
            images: uint8 [H, W, 3] each.

        Returns:
            For each image float32 [h, w, N]; or labels [h, w] in 0..N, N for no answer.

        Raises:
            InputError: The network answers what it must not (see `Segmenter.answer`).
        """
        return [self._named(self.segmenter.answer(image), image.shape[:2]) for image in images]

    def expand(self, kept: np.ndarray, size: tuple[int, int]) -> PixelFeatures:
        """Make the features of what `compact` said.

        Args:
            kept: An answer.
            size: (H, W).

        Returns:
            Features float32 [H, W, D] and weights float32 [H, W].

        Raises:
            InputError: It is no answer of this network.
        """
        count, shown = len(self._names), slice(None)
        if kept.ndim == 2 and kept.dtype.kind == "u":
            if count > FEW and kept.max(initial=0) <= count:
                shown = np.unique(np.append(kept, 0))
                kept = np.searchsorted(shown, kept)
                shown = shown[shown < count]
            kept = one_hot(kept, len(self.vectors[shown]) + 1)[..., :-1]
        elif kept.ndim != 3 or kept.shape[2] != count:
            raise InputError(f"{self.name}: an answer must be [h, w, {count}] or labels [h, w], found {kept.shape}")
        return convex_mean(resized(np.asarray(kept, np.float32), size), self.vectors[shown])

    def _named(self, answer: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """An answer of all classes as one of the named ones, checked; no larger than the image."""
        answer = host(f"{self.name}: an answer", answer, "fiub")
        count, found = len(self.segmenter.names), f"{answer.dtype} {list(answer.shape)}"
        if answer.ndim == 2 and answer.dtype.kind in "iu" and answer.size:
            if not 0 <= answer.min() <= answer.max() < count:
                found = f"{answer.min()}..{answer.max()}"
                raise InputError(f"{self.name}: labels must be in 0..{count - 1}, found {found}")
            return self._position[answer]
        if answer.ndim != 3 or answer.shape[2] != count or answer.dtype.kind != "f" or not answer.size:
            raise InputError(f"{self.name}: an answer must be floats [h, w, {count}] or labels [h, w], found {found}")
        answer = answer.astype(np.float32, copy=False)
        if not (np.isfinite(answer).all() and answer.min() >= 0):
            raise InputError(f"{self.name}: probabilities must be finite and at least 0")
        most = answer.sum(axis=-1).max()
        if most > 1 + ROUNDING:
            found = f"found a pixel of {most:.3g}; are these logits?"
            raise InputError(f"{self.name}: probabilities must sum to 1 over the classes, {found}")
        least = min(answer.shape[0], size[0]), min(answer.shape[1], size[1])
        return resized(answer[..., self._position < len(self._names)], least)


def convex_mean(probabilities: np.ndarray, text: np.ndarray) -> PixelFeatures:
    """The mean of the names' vectors, weighted with their probabilities.

    Args:
        probabilities: float32 [H, W, N], at least 0, of the N classes that have a name; they sum to 1 or less.
        text: float32 [N, D].

    Returns:
        Features float32 [H, W, D], 0 where no named class is likely, and weights float32 [H, W], the sums.
    """
    weight = probabilities.sum(axis=-1)
    mean = probabilities / np.where(weight > 0, weight, 1)[..., None]
    return PixelFeatures(mean @ text, weight)


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring maps to another size, bilinearly.

    Args:
        maps: float32 [h, w, K].
        size: (H, W).

    Returns:
        float32 [H, W, K].
    """
    if maps.shape[:2] == tuple(size):
        return maps
    layers = (Image.fromarray(layer).resize(size[::-1], Image.Resampling.BILINEAR) for layer in np.moveaxis(maps, 2, 0))
    return np.stack([np.asarray(layer) for layer in layers], axis=-1)


def one_hot(labels: np.ndarray, count: int) -> np.ndarray:
    """Probabilities of a network that gives labels only: all or nothing, so its doubts are lost.

    Args:
        labels: Integers [H, W] in 0..count-1.
        count: K.

    Returns:
        float32 [H, W, K].

    Raises:
        InputError: A label outside of 0..count-1.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < count:
        raise InputError(f"labels must be in 0..{count - 1}, found {labels.min()}..{labels.max()}")
    return np.eye(count, dtype=np.float32)[labels]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of a network that gives logits.

    Args:
        logits: float32 [H, W, K].

    Returns:
        float32 [H, W, K]. A network of a single class tells it from all else, so this is the logistic function of it:
        the softmax of one number is 1 whatever the number is.

    Example:
        >>> softmax(np.array([[[-2.0]]])).round(3).tolist(), softmax(np.array([[[0, -2.0]]])).round(3).tolist()
        ([[[0.119]]], [[[0.881, 0.119]]])
    """
    if logits.shape[-1] == 1:
        return np.exp(-np.logaddexp(0, -logits))
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def read_names(path: Path) -> tuple[str | None, ...]:
    """Read the class names of a network, in any encoding that `text_files.read_text` takes.

    Args:
        path: A text file, one name a line in the order of the classes; or `number<tab>name` on each line, where numbers
            that are left out have no name. Of several spellings ("door, double door") the first counts; "other",
            "background" and so on are no names.

    Returns:
        K names, None for a class without one.

    Raises:
        DataError: The file cannot be read, a line is blank, a number stands twice, is none or beyond 65535, a name has
            no letter or more than one column, or the file is another kind of list (JSON, YAML, numbers before names
            without a tab): taken literally, "0" or "- wall" would be looked for in the scene.
    """
    try:
        lines = read_text(path, "list").rstrip("\n").split("\n")
    except DataError as error:
        raise DataError(f"class names cannot be read: {error}") from None
    numbered = any("\t" in line for line in lines)
    indexed = not numbered and _indexed(lines)
    names: dict[int, str | None] = {}
    for row, line in enumerate(lines):
        number, _, name = line.partition("\t") if numbered else (str(row), "", line)
        number = int(number) if number.strip().isdecimal() else -1
        first = first_spelling(name)
        literal = (
            indexed
            or "\t" in name
            or MARKS.match(name)
            or FURTHER.search(name)
            or not (first is None or any(map(str.isalpha, first)))
        )
        if literal or not 0 <= number <= MOST or number in names:
            expected = f"a class name, or a new number, tab and name, numbers up to {MOST}, one a line"
            raise DataError(f"{path}: line {row + 1}: expected {expected}, found {line!r:.80}")
        names[number] = first
    return tuple(names.get(number) for number in range(max(names) + 1))


def _indexed(lines: Sequence[str]) -> bool:
    """Whether all lines, the first may be a heading, begin with numbers that increase: they are none of the names."""
    for part in (lines, lines[1:]):
        found = [INDEX.match(line) for line in part]
        numbers = [int(match[1]) for match in found if match]
        if len(numbers) == len(part) > 1 and all(a < b for a, b in itertools.pairwise(numbers)):
            return True
    return False


def first_spelling(name: str) -> str | None:
    """The first of a class's spellings, as published lists write them.

    Args:
        name: "door, double door" or "chair; seat".

    Returns:
        "door"; None for "other", "background" and so on.
    """
    first = name.split(",")[0].split(";")[0].strip()
    return None if first.lower() in OTHER else first
