"""Weights of the Sonata encoder: finding the file, reading it without running any code of it, and checking it.

The released weights (Hugging Face hub, facebook/sonata) are licensed CC BY-NC 4.0: not for commercial use, and not part
of this package. Revision and SHA-256 are pinned as several public repositories that use the file record them; they
agree with each other and, in the file's size, with the encoder's tensors.
"""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.errors import DataError, InputError, first_line

REPOSITORY, FILENAME = "facebook/sonata", "sonata.pth"
REVISION = "df99897472c09f91ba9288da0a034aacffc0b010"
SHA256 = "c5ced5acdae30d1c469713398073a866e25e6e414e23feed5dc025373657ac50"
HOW_TO = (
    f"fetch the weights (CC BY-NC 4.0, non-commercial) with `hf download {REPOSITORY} {FILENAME} --local-dir weights` "
    f"and use them with `geoguide.backbones.load('sonata', weights='weights/{FILENAME}')`"
)
# What torch raises on damaged files, by which part of the pickle is hit.
_DAMAGES = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
)
_SHOWN = 3  # mismatches of each kind that an error names


def find_weights(path: str | Path | None, revision: str | None = None, sha256: str | None = None) -> tuple[Path, str]:
    """Find the weights file of Sonata, in a folder or on the Hugging Face hub, and check it.

    Args:
        path: The file; None takes the released one from the hub.
        revision: Commit, tag or branch on the hub; None takes the pinned one.
        sha256: 64 hexadecimal digits that the file must have; None allows any file, but a download without revision
            must have the pinned ones.

    Returns:
        The file's path and its SHA-256.

    Raises:
        DataError: The file is missing, cannot be fetched or differs.
        InputError: A revision is given for a file that is not on the hub.
    """
    if path is None:
        if revision is None:
            revision, sha256 = REVISION, sha256 or SHA256
        file = _download(revision)
    elif revision is not None:
        raise InputError(f"revision is for the hub: it must be None with weights={str(path)!r}, found {revision!r}")
    else:
        file = Path(path)
    if not file.is_file():
        raise DataError(f"{file}: weights file not found; {HOW_TO}")
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise DataError(f"{file}: SHA-256 must be {sha256.lower()}, found {digest}")
    return file, digest


def _download(revision: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise DataError(f"sonata: huggingface_hub is not installed; {HOW_TO}") from None
    try:
        return Path(hf_hub_download(REPOSITORY, FILENAME, revision=revision))
    except Exception as error:  # offline, proxy, gone, no space: many classes, one remedy
        raise DataError(f"sonata: cannot download {REPOSITORY}/{FILENAME} ({first_line(error)}); {HOW_TO}") from None


def read_checkpoint(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Read a checkpoint without running any code that may be in it.

    A .safetensors file holds its configuration as JSON in the metadata field "config". Anything else is read by
    torch.load with weights_only=True, so code in it is refused: the official {"config": ..., "state_dict": ...}, or the
    bare tensors. Beside either, a file config.json serves where the file itself has no configuration.

    Args:
        path: The file.

    Returns:
        The configuration (None where there is none) and the tensors by name.

    Raises:
        DataError: The file is truncated, is no checkpoint, or holds more than plain tensors.
    """
    config, state = (_read_safetensors if path.suffix == ".safetensors" else _read_torch)(path)
    beside = path.with_name("config.json")
    if config is None and beside.is_file():
        config = _parsed(beside.read_bytes(), beside)
    return config, state


def _read_safetensors(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("config")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable safetensors file, truncated? ({error})") from None
    return None if text is None else _parsed(text, path), state


def _read_torch(path: Path) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except (*_DAMAGES, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())
        if isinstance(error, pickle.UnpicklingError) and ("Unsupported" in reason or "GLOBAL" in reason):
            raise DataError(f"{path}: holds more than plain tensors, which could run code: refused") from None
        raise DataError(f"{path}: not a checkpoint, or truncated ({reason[:160]})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a dictionary with 'config' and 'state_dict', found {type(value).__name__}")
    state = value.get("state_dict", value)
    if not isinstance(state, dict) or not state or not all(map(_is_plain, state.values())):
        keys = sorted(map(str, value))[:6]
        raise DataError(f"{path}: expected tensors by name under 'state_dict', found keys {keys}")
    config = value.get("config") if "state_dict" in value else None
    if config is not None and not isinstance(config, dict):
        raise DataError(f"{path}: config must be a dictionary, found {type(config).__name__}")
    return config, state


def _is_plain(value: object) -> bool:
    """Whether it is a tensor that holds its values: not sparse, not quantized, not on the meta device."""
    return isinstance(value, Tensor) and value.layout == torch.strided and not (value.is_quantized or value.is_meta)


def _parsed(text: str | bytes, path: Path) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: config is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise DataError(f"{path}: config must be a dictionary, found {type(config).__name__}")
    return {key: value for key, value in config.items() if not key.startswith("_")}  # such keys are notes


def load_encoder(path: Path, **options: Any) -> PointTransformerV3:
    """Load the encoder of a checkpoint, frozen, in float32 and evaluation mode.

    Args:
        path: A file as `read_checkpoint` takes it. Without a configuration in or beside it, the released model's is
            taken.
        **options: Further arguments of `PointTransformerV3`.

    Returns:
        The encoder, on the CPU.

    Raises:
        DataError: As `read_checkpoint`; or the file does not fit the encoder, and the message names the first missing,
            unexpected and misshapen tensors, or the key of the configuration that is not supported.
    """
    config, state = read_checkpoint(path)
    try:
        with torch.device("meta"):  # no memory is spent on values that the file replaces
            model = PointTransformerV3(**(config or {}), **options)
    except (
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:  # a ConfigError is a ValueError; torch: a size beyond 64 bits
        raise DataError(f"{path}: config: {first_line(error)}") from None
    problems = mismatches(model.state_dict(), state)
    if problems:
        which = "the encoder" if config is not None else "the released encoder (the file has no config)"
        raise DataError(f"{path}: does not fit {which}: {'; '.join(problems)}")
    model.load_state_dict({key: tensor.float() for key, tensor in state.items()}, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def mismatches(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Compare the tensors of a file with those that a network expects.

    Args:
        expected: The network's tensors by name; their values are not looked at.
        found: The file's tensors by name.

    Returns:
        A phrase for each kind of disagreement (missing, unexpected, wrong shape, not finite), which names the first
        few; none where they agree.
    """
    shared = [key for key in expected if key in found]
    shapes = {key: (list(expected[key].shape), list(found[key].shape)) for key in shared}
    kinds = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "wrong shape": [f"{key} must be {want}, found {got}" for key, (want, got) in shapes.items() if want != got],
        "not finite": [key for key, (want, got) in shapes.items() if want == got and not found[key].isfinite().all()],
    }
    return [
        f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
        for kind, keys in kinds.items()
        if keys
    ]
