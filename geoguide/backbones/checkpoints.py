"""Weights that others released: where they are, under which licence, finding the file, and checking it.

None of them is part of this package. Those of Sonata, Concerto and Utonia are licensed CC BY-NC 4.0: not for commercial
use. Of Sonata's file revision and SHA-256 are pinned as several public repositories that use it record them; they agree
with each other and, in the file's size, with the encoder's tensors. No such record was found of the others, which are
therefore never downloaded here: their file is named, and checked tensor by tensor.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.errors import DataError, InputError, first_line
from geoguide.ops.tensor_files import mismatches, read_checkpoint

REPOSITORY, FILENAME = "facebook/sonata", "sonata.pth"
REVISION = "df99897472c09f91ba9288da0a034aacffc0b010"
SHA256 = "c5ced5acdae30d1c469713398073a866e25e6e414e23feed5dc025373657ac50"
_NC = "CC BY-NC 4.0, non-commercial"
Network = TypeVar("Network", bound=torch.nn.Module)


@dataclass(frozen=True)
class Release:
    """Where a backbone's weights are to be had.

    Attributes:
        name: The backbone's, a key of `registry.BACKBONES`.
        filename: The file, below weights/ once it is fetched.
        licence: Of the weights.
        command: What fetches it.
    """

    name: str
    filename: str
    licence: str
    command: str

    @property
    def how_to(self) -> str:
        """One line: how to get the weights, their licence, and how they are used then."""
        use = f"geoguide.backbones.load('{self.name}', weights='weights/{self.filename}')"
        return f"fetch the weights ({self.licence}) with `{self.command}` and use them with `{use}`"


def _on_the_hub(name: str, repository: str, filename: str) -> Release:
    return Release(name, filename, _NC, f"hf download {repository} {filename} --local-dir weights")


_POINT_MAE = "https://github.com/Pang-Yatian/Point-MAE/releases/download/main/pretrain.pth"
SONATA = _on_the_hub("sonata", REPOSITORY, FILENAME)
RELEASES = {
    "sonata": SONATA,
    "concerto": _on_the_hub("concerto", "Pointcept/Concerto", "concerto_large.pth"),  # also _base, _small
    "utonia": _on_the_hub("utonia", "Pointcept/Utonia", "utonia.pth"),
    "point-mae": Release("point-mae", "pretrain.pth", "MIT, as its code",
                         f"curl -L --create-dirs -o weights/pretrain.pth {_POINT_MAE}"),
}  # fmt: skip
HOW_TO = SONATA.how_to


def find_weights(
    path: str | Path | None, revision: str | None = None, sha256: str | None = None, release: Release = SONATA
) -> tuple[Path, str]:
    """Find a weights file, in a folder or (Sonata's) on the Hugging Face hub, and check it.

    Args:
        path: The file; None takes Sonata's released one from the hub.
        revision: Commit, tag or branch on the hub; None takes the pinned one.
        sha256: 64 hexadecimal digits that the file must have; None allows any file, but a download without revision
            must have the pinned ones.
        release: Whose weights they are.

    Returns:
        The file's path and its SHA-256.

    Raises:
        DataError: The file is missing, cannot be fetched or differs.
        InputError: A revision is given for a file that is not on the hub.
    """
    if path is None and release is not SONATA:
        raise DataError(f"{release.name}: no weights file is named; {release.how_to}")
    if path is None:
        if revision is None:
            revision, sha256 = REVISION, sha256 or SHA256
        file = _download(revision)
    elif revision is not None:
        raise InputError(f"revision is for the hub: it must be None with weights={str(path)!r}, found {revision!r}")
    else:
        file = Path(path)
    if not file.is_file():
        raise DataError(f"{file}: weights file not found; {release.how_to}")
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


def load_encoder(path: Path, defaults: dict[str, Any] | None = None, **options: Any) -> PointTransformerV3:
    """Load the encoder of a checkpoint, frozen, in float32 and evaluation mode.

    Args:
        path: A file as `read_checkpoint` takes it.
        defaults: The configuration where there is none in or beside the file; None for the released Sonata model's.
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
            model = PointTransformerV3(**(config or defaults or {}), **options)
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
    return adopt(model, state)


def adopt(network: Network, state: dict[str, torch.Tensor]) -> Network:
    """Give a network the tensors of a checkpoint that fits it.

    Args:
        network: On the meta device.
        state: Its tensors, of floats of any width.

    Returns:
        The network, frozen, in float32 and evaluation mode.
    """
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    network.load_state_dict(state, strict=True, assign=True)
    return network.requires_grad_(False).eval()
