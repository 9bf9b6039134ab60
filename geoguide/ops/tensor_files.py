"""Files of tensors: read without running any code in them, and compared with what a network expects."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geoguide.errors import DataError, no_torch_file, pass_on_shortage, refuse_foreign

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
_PARALLEL = "module."  # before the names of a network that DataParallel or its like has wrapped
_SHOWN = 3  # mismatches of each kind that an error names
# Scores beside the weights are at times numpy's numbers. These rebuild a number and nothing else; the names are those
# that numpy gave before and after 2.0.
_NUMBER = np.float64(0).__reduce__()[0]
_NUMBERS: list[Any] = [
    (_NUMBER, "numpy.core.multiarray.scalar"),
    (_NUMBER, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
]


def read_checkpoint(path: Path, under: str = "state_dict") -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Read a checkpoint without running any code that may be in it.

    A .safetensors file holds its configuration as JSON in the metadata field "config". Anything else is read by
    torch.load with weights_only=True, so code in it is refused: the official {"config": ..., "state_dict": ...}, or the
    bare tensors. Beside either, a file config.json serves where the file itself has no configuration.

    Args:
        path: The file.
        under: The key of the tensors in a file of torch, where they are not the whole of it.

    Returns:
        The configuration (None where there is none) and the tensors by name; where all names begin with "module.", as
        a network of several GPUs is saved, without it.

    Raises:
        DataError: The file is truncated, is no checkpoint, or holds more than plain tensors.
    """
    if path.is_file():
        refuse_foreign(path, "weights")
    config, state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path, under)
    if all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): value for name, value in state.items()}
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
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable safetensors file, truncated? ({error})") from None
    return None if text is None else _parsed(text, path), state


def _read_torch(path: Path, under: str) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            value = torch.load(path, map_location="cpu", weights_only=True)
    except (*_DAMAGES, pickle.UnpicklingError) as error:
        pass_on_shortage(error, path)
        other = no_torch_file(path)
        reason = other or " ".join(str(error).split())
        if not other and isinstance(error, pickle.UnpicklingError) and ("Unsupported" in reason or "GLOBAL" in reason):
            raise DataError(f"{path}: holds more than plain tensors, which could run code: refused") from None
        raise DataError(f"{path}: not a checkpoint, or truncated ({reason[:160]})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a dictionary with 'config' and '{under}', found {type(value).__name__}")
    state = value.get(under, value)
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not state or not all(map(_is_plain, state.values())):
        keys = sorted(map(str, value))[:6]
        raise DataError(f"{path}: expected tensors by name under '{under}', found keys {keys}")
    config = value.get("config") if under in value else None
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


def tensor_digest(about: Any, tensors: dict[str, Tensor]) -> str:
    """Digest what a file of tensors holds: its formats see that bytes are missing, not that some are others.

    Args:
        about: What the file says beside them, as JSON types.
        tensors: By name, on the CPU.

    Returns:
        SHA-256, 64 hexadecimal digits; the same for the same numbers in a wider dtype.
    """
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {list(value.shape)}".encode())
        digest.update(value.double().contiguous().numpy())
    return digest.hexdigest()


def mismatches(expected: dict[str, Tensor], found: dict[str, Tensor]) -> list[str]:
    """Compare the tensors of a file with those that a network expects.

    Args:
        expected: The network's tensors by name; their values are not looked at.
        found: The file's tensors by name.

    Returns:
        A phrase for each kind of disagreement (missing, unexpected, wrong shape, wrong type, not finite in the
        network's own type), which names the first few; none where they agree. Floats of another width are no
        disagreement; whole numbers in place of floats are, since rounded weights answer something.
    """
    shared = [key for key in expected if key in found]
    shapes = {key: (list(expected[key].shape), list(found[key].shape)) for key in shared}
    fitting = [key for key, (want, got) in shapes.items() if want == got]
    types = [key for key in fitting if found[key].is_floating_point() != expected[key].is_floating_point()]
    kinds = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "wrong shape": [f"{key} must be {want}, found {got}" for key, (want, got) in shapes.items() if want != got],
        "wrong type": [f"{key} must be {expected[key].dtype}, found {found[key].dtype}" for key in types],
        "not finite": [key for key in fitting if key not in types and not _finite(found[key], expected[key].dtype)],
    }
    return [
        f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''})"
        for kind, keys in kinds.items()
        if keys
    ]


def _finite(found: Tensor, dtype: torch.dtype) -> bool:
    """Whether all values are finite, also in another type: a float64 may be beyond every float32."""
    return bool((found if found.dtype.itemsize <= dtype.itemsize else found.to(dtype)).isfinite().all())
