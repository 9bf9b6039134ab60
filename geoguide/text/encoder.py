"""What every text encoder shares: names put into prompts, a memory, a disk cache, and vectors of unit length."""

import abc
import hashlib
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.errors import NUMPY_DAMAGES, InputError, pass_on_shortage
from geoguide.paths import cache_root, replacing, sweep

PROMPT = "a photo of a {}"
# Distance below which two vectors are those of the same words. Measured on MiniLM: padding in other batches moves a
# vector by 7e-7; "chair" and "a chair" are 0.07 apart, "chair" and "chairs" 0.4.
SAME = 1e-4
FEW = 100  # names that are compared pair by pair
BATCH = 64  # sentences that the model is asked for at a time
LONG = 2.0  # seconds after which a progress bar is shown
_OFF: set[Path] = set()  # disk caches that cannot be written to; the user is told once of each


class TextEncoder(abc.ABC):
    """The base class of text encoders: sentences to vectors of unit length.

    The model is asked only for sentences that neither the memory nor the disk cache holds. A new encoder is a subclass
    that says what the attributes are, and defines `_embed`.

    Args:
        cache: The folder of the disk cache; "default" is `text` in `paths.cache_root()`, None is no disk cache.

    Attributes:
        name: For the record.
        width: D, the length of a vector.
        identity: Which weights these are; the disk cache tells them apart by it.
    """

    name: str
    width: int

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """Which weights these are."""

    def __init__(self, cache: str | Path | None = "default") -> None:
        if cache == "default":
            cache = cache_root() / "text"
        self.cache = None if cache is None else Path(cache)
        self._memory: dict[str, np.ndarray] = {}

    @abc.abstractmethod
    def _embed(self, sentences: list[str]) -> np.ndarray:
        """Run the model on at most `BATCH` sentences: float32 [N, D] of any length."""

    def encode(self, names: Sequence[str], prompt: str | Sequence[str] = PROMPT) -> np.ndarray:
        """Embed names through one prompt, or by the mean over several, brought to unit length again.

        Args:
            names: N names.
            prompt: One template or several, each with `{}` where the name goes.

        Returns:
            float32 [N, D], vectors of unit length.

        Raises:
            InputError: No names, an empty name, or a prompt without `{}`.
            DataError: The model is needed and cannot be had.
        """
        names, prompts = _check_names(names), _check_prompts(prompt)
        sentences = [template.replace("{}", name) for template in prompts for name in names]
        self._fill(dict.fromkeys(sentences))
        vectors = np.stack([self._memory[sentence] for sentence in sentences])  # [T * N, D]
        return unit(vectors.reshape(len(prompts), len(names), self.width).mean(axis=0))  # [N, D]

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Find the names with letters that the model does not know, so that it does not know what they mean.

        Args:
            names: Any names.

        Returns:
            Those, in order; none of a model that knows every letter.
        """
        return []

    def _fill(self, sentences: dict[str, None]) -> None:
        """Bring every sentence into memory, from the disk cache where it is there, else from the model."""
        if self.cache is not None:
            sweep(self.cache)
        missing = []
        for sentence in sentences:
            if sentence in self._memory:
                continue
            vector = None if self.cache is None else self._read(self.cache / self._entry(sentence), sentence)
            if vector is None:
                missing.append(sentence)
            else:
                self._memory[sentence] = vector
        with tqdm(total=len(missing), desc="embed words", delay=LONG, disable=len(missing) <= BATCH) as bar:
            for start in range(0, len(missing), BATCH):
                batch = missing[start : start + BATCH]
                for sentence, vector in zip(batch, unit(self._embed(batch)), strict=True):
                    self._memory[sentence] = vector
                    self._store(sentence, vector)
                bar.update(len(batch))

    def _entry(self, sentence: str) -> str:
        """The name of the sentence's file in the disk cache."""
        key = hashlib.sha256(f"{self.identity}\n{sentence}".encode("utf-8", "surrogatepass")).hexdigest()
        return f"{key[:32]}.npz"

    def _read(self, path: Path, sentence: str) -> np.ndarray | None:
        """The cached vector, or None where there is none that is whole and of this sentence (it is then made again)."""
        try:
            with np.errstate(all="ignore"), np.load(path, allow_pickle=False) as entry:  # of a damaged header's shape
                stored, vector = str(entry["sentence"]), entry["vector"]
        except NUMPY_DAMAGES as error:
            pass_on_shortage(error, path)
            return None
        if vector.shape != (self.width,) or vector.dtype != np.float32 or stored != sentence:
            return None
        length = np.linalg.norm(vector.astype(np.float64))  # whatever a damaged file holds: no overflow
        return vector if abs(length - 1) < 1e-3 else None

    def _store(self, sentence: str, vector: np.ndarray) -> None:
        if self.cache is None or self.cache in _OFF:
            return
        try:
            with replacing(self.cache / self._entry(sentence), swept=True) as temporary:  # by `_fill`, once for all
                np.savez(temporary, sentence=np.array(sentence), vector=vector)
        except OSError as error:
            _OFF.add(self.cache)
            warnings.warn(f"text cache is off: {error}", stacklevel=4)


def spelling(name: str) -> str:
    """What every encoder here makes of a name first: case, runs of spaces and composed letters do not matter.

    Args:
        name: Any words.

    Returns:
        The words; names that differ in nothing else have the same.

    Example:
        >>> spelling("Office  Chair") == spelling("office chair")
        True
    """
    return " ".join(unicodedata.normalize("NFC", name).lower().split())


def same_pair(vectors: np.ndarray) -> tuple[int, int] | None:
    """Find two names that an encoder cannot tell apart: other case, accents or letters that it does not know.

    Args:
        vectors: float32 [N, D], unit vectors of N names.

    Returns:
        Positions of the first such pair, or None. About O(N log N D) time, for the vectors of names lie far apart, and
        O(N D) memory, also where many are the same.
    """
    if len(vectors) <= FEW:
        far = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors, axis=2) > SAME
        first, second = np.nonzero(~np.tril(np.ones_like(far), 0) & ~far)  # sorted by the first, then the second
        return (int(first[0]), int(second[0])) if len(first) else None
    from scipy.spatial import KDTree  # slow to import, and few ask for so many words

    tree = KDTree(vectors)
    alike = np.flatnonzero(tree.query_ball_point(vectors, SAME, return_length=True) > 1)
    if not len(alike):
        return None
    first = int(alike[0])
    return first, min(other for other in tree.query_ball_point(vectors[first], SAME) if other != first)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Divide each vector by its length.

    Args:
        vectors: float [..., D].

    Returns:
        float32 [..., D]; zero vectors stay zero.
    """
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norm, 1e-12)).astype(np.float32)


def _check_names(names: Sequence[str]) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"names must be a sequence of strings, found {type(names).__name__}")
    if len(names) == 0:
        raise InputError("names is empty: expected at least one string")
    for name in names:
        if isinstance(name, str) and any("\ud800" <= letter <= "\udfff" for letter in name):
            raise InputError(f"names must hold text, found half a letter in {name!r}")
        if not isinstance(name, str) or not any(letter.isprintable() and not letter.isspace() for letter in name):
            raise InputError(f"names must hold non-empty strings, found {name!r}")
    return list(names)


def _check_prompts(prompt: str | Sequence[str]) -> list[str]:
    if not isinstance(prompt, Iterable):
        raise InputError(f"prompt must be a template or several, found {prompt!r}")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise InputError("prompt is empty: expected a template such as 'a photo of a {}'")
    for template in prompts:
        if not isinstance(template, str) or "{}" not in template:
            raise InputError(f"prompt must hold '{{}}' where the name goes, found {template!r}")
    return prompts
