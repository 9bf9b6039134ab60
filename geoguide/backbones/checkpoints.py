"""Weights of the Sonata encoder: finding the file, and checking it.

The released weights (Hugging Face hub, facebook/sonata) are licensed CC BY-NC 4.0: not for commercial use, and not part
of this package. Revision and SHA-256 are pinned as several public repositories that use the file record them; they
agree with each other and, in the file's size, with the encoder's tensors.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch

from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.errors import DataError, InputError, first_line
from geoguide.ops.tensor_files import mismatches, read_checkpoint

REPOSITORY, FILENAME = "facebook/sonata", "sonata.pth"
REVISION = "df99897472c09f91ba9288da0a034aacffc0b010"
SHA256 = "c5ced5acdae30d1c469713398073a866e25e6e414e23feed5dc025373657ac50"
HOW_TO = (
    f"fetch the weights (CC BY-NC 4.0, non-commercial) with `hf download {REPOSITORY} {FILENAME} --local-dir weights` "
    f"and use them with `geoguide.backbones.load('sonata', weights='weights/{FILENAME}')`"
)


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
