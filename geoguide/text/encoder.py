"""What every text encoder shares: names put into prompts, a memory, a disk cache, unit vectors."""

import abc
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from geoguide.errors import InputError
from geoguide.paths import cache_root, replacing

PROMPT = "a photo of a {}"


BATCH = 64


class SentenceEncoder(abc.ABC):
    """Unit vectors of sentences; the model is asked only for sentences that neither memory nor disk holds.

    `name` is for the record, `width` is D, `identity` says which weights: the disk cache tells them apart by it.
    `cache` is the folder of the disk cache: by default `text` in `paths.cache_root()`; None: no disk cache.
    """

    name: str
    width: int
    identity: str

    def __init__(self, cache: str | Path | None = "default") -> None:
        if cache == "default":
            cache = cache_root() / "text"
        self.cache = None if cache is None else Path(cache)
        self._memory: dict[str, np.ndarray] = {}

    @abc.abstractmethod
    def _embed(self, sentences: list[str]) -> np.ndarray:
        """Run the model on at most `BATCH` sentences: float32 [N, D] of any length."""

    def encode(self, names: Sequence[str], prompt: str | Sequence[str] = PROMPT) -> np.ndarray:
        """Embed names through one prompt, or the renormalised mean over several: float32 [N, D] of unit length.

        `prompt` holds `{}` where the name goes. Raises InputError for no names, empty names or a prompt without `{}`,
        DataError where the model is needed and cannot be had.
        """
        names, prompts = _check_names(names), _check_prompts(prompt)
        sentences = [template.replace("{}", name) for template in prompts for name in names]
        self._fill(dict.fromkeys(sentences))
        vectors = np.stack([self._memory[sentence] for sentence in sentences])  # [T * N, D]
        return unit(vectors.reshape(len(prompts), len(names), self.width).mean(axis=0))  # [N, D]

    def _fill(self, sentences: dict[str, None]) -> None:
        """Bring every sentence into memory, from the disk cache where it is there, else from the model."""
        missing = []
        for sentence in sentences:
            if sentence in self._memory:
                continue
            vector = None if self.cache is None else self._read(sentence)
            if vector is None:
                missing.append(sentence)
            else:
                self._memory[sentence] = vector
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            for sentence, vector in zip(batch, unit(self._embed(batch)), strict=True):
                self._memory[sentence] = vector
                self._store(sentence, vector)

    def _entry(self, sentence: str) -> Path:
        key = hashlib.sha256(f"{self.identity}\n{sentence}".encode("utf-8", "surrogatepass")).hexdigest()
        return self.cache / f"{key[:32]}.npz"

    def _read(self, sentence: str) -> np.ndarray | None:
        """The cached vector, or None where there is none that is whole and of this sentence (it is then made again)."""
        try:
            with np.load(self._entry(sentence), allow_pickle=False) as entry:
                stored, vector = str(entry["sentence"]), entry["vector"]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None
        whole = vector.shape == (self.width,) and vector.dtype == np.float32 and abs(np.linalg.norm(vector) - 1) < 1e-3
        return vector if whole and stored == sentence else None

    def _store(self, sentence: str, vector: np.ndarray) -> None:
        if self.cache is None:
            return
        try:
            with replacing(self._entry(sentence)) as temporary:
                np.savez(temporary, sentence=np.array(sentence), vector=vector)
        except OSError as error:
            warnings.warn(f"{self.cache}: text cache is off, not writable ({error})", stacklevel=4)
            self.cache = None


def unit(vectors: np.ndarray) -> np.ndarray:
    """Each row divided by its length: float32 [..., D]."""
    norm = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(norm, 1e-12)).astype(np.float32)


def _check_names(names: Sequence[str]) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"names must be a sequence of strings, found {type(names).__name__}")
    if len(names) == 0:
        raise InputError("names is empty: expected at least one string")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"names must hold non-empty strings, found {name!r}")
    return list(names)


def _check_prompts(prompt: str | Sequence[str]) -> list[str]:
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts:
        raise InputError("prompt is empty: expected a template such as 'a photo of a {}'")
    for template in prompts:
        if not isinstance(template, str) or "{}" not in template:
            raise InputError(f"prompt must hold '{{}}' where the name goes, found {template!r}")
    return prompts
