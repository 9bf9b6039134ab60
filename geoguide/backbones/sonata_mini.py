"""The mini backbones: small encoders pretrained without labels on generated scenes, with their weights in the package.

See `weights/sonata-mini.md` and the cards beside it for what each was trained on and how; they know generated scenes
only.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from geoguide import paths
from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.backbones.sonata import Frame, SonataBackbone, encode_voxels
from geoguide.errors import DataError, InputError, pass_on_shortage, refuse_foreign
from geoguide.ops.indexed import IndexedRows
from geoguide.scene import Scene

WEIGHTS = paths.WEIGHTS / "sonata-mini.safetensors"
PACKAGED = {name: paths.WEIGHTS / f"{name}.safetensors" for name in ("sonata-mini", "sonata-mini-tenth",
            "sonata-mini-5cm", "sonata-mini-streets")}  # fmt: skip


class MiniSonataBackbone(SonataBackbone):
    """Frozen features of a mini backbone; see `SonataBackbone`.

    Args:
        weights: A file that `geoguide pretrain` wrote; None takes the packaged one of that name.
        name: Which mini backbone: a key of `PACKAGED`.
        concat: Over how many poolings features are concatenated; None takes the number that the loss saw.
        sha256: What the file must have; None allows any.
        device: Where the network runs.

    Attributes:
        pretraining: The configuration that it was trained with.
        step: How many steps it was trained.
        rooms: The rooms it was trained on: tuples (seed, split, number).

    Raises:
        DataError: The file is missing, or is no file of `geoguide pretrain`.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        name: str = "sonata-mini",
        concat: int | None = None,
        sha256: str | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.name = name
        path = PACKAGED[name] if weights is None else Path(weights)
        notes = read_notes(path)
        self.pretraining: dict[str, Any] = notes["pretraining"]
        self.step = int(notes["step"])
        self.rooms = tuple((int(seed), str(split), int(number)) for seed, split, number in notes["rooms"])
        network = self.pretraining["network"]
        noted = network["concat"] if concat is None else concat
        try:
            super().__init__(path, concat=noted, sha256=sha256, device=device, grid=network["voxel"])
        except InputError as error:
            if concat is not None:
                raise  # the argument's fault, not the file's
            raise DataError(f"{path}: pretraining.network: {error}") from None


class UntrainedBackbone:
    """The mini backbone's network with random weights: the control that says what pretraining added.

    Args:
        seed: Of the weights.
        device: Where the network runs.

    Raises:
        DataError: The packaged weights, whose configuration is taken, are missing.
    """

    name = "sonata-mini-untrained"

    def __init__(self, *, seed: int = 0, device: str | torch.device = "cpu") -> None:
        notes = read_notes(WEIGHTS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = PointTransformerV3(**notes["config"]).to(device).requires_grad_(False).eval()
        network = notes["pretraining"]["network"]
        self.grid, self.concat, self.device = network["voxel"], network["concat"], torch.device(device)
        self.width = sum(self.model.config.enc_channels[-self.concat - 1 :])

    def encode(self, scene: Scene) -> np.ndarray:
        """Describe every point of a scene.

        Args:
            scene: P points with colours and, at best, normals; these are estimated where it has none.

        Returns:
            float32 [P, `width`], in the order of the scene's points.

        Raises:
            InputError: As `sonata.encoder_input`.
        """
        return self.encode_voxels(scene)[:]

    def encode_voxels(self, scene: Scene, frame: Frame | None = None, own: np.ndarray | None = None) -> IndexedRows:
        """(see `SonataBackbone.encode_voxels`)."""
        sizes = {"grid": self.grid, "concat": self.concat}
        return encode_voxels(self.model, scene, device=self.device, frame=frame, own=own, **sizes)


def read_notes(path: Path) -> dict[str, Any]:
    """Read what `geoguide pretrain` notes in a weights file.

    Args:
        path: The .safetensors file.

    Returns:
        "config" (the encoder's), "pretraining" (the configuration it was trained with), "step" and "rooms".

    Raises:
        DataError: The file is missing, truncated or was not written by `geoguide pretrain`.
    """
    if not path.is_file():
        which = f" {path.stem}" if path in PACKAGED.values() else ""
        raise DataError(f"{path}: weights file not found; make one with `geoguide pretrain{which}`")
    refuse_foreign(path, "weights")
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
        parsed = {name: json.loads(notes[name]) for name in ("config", "pretraining", "step", "rooms")}
        network = parsed["pretraining"]["network"]
        rooms = all([*map(type, room)] == [int, str, int] for room in parsed["rooms"])
        if not rooms or not type(parsed["step"]) is type(network["concat"]) is int or not network["voxel"] > 0:
            raise ValueError("step, rooms or pretraining.network in its metadata are no numbers as expected")
        if not isinstance(parsed["config"], dict):
            raise ValueError(f"config in its metadata must be an object, found {parsed['config']!r:.60}")
        return parsed
    except KeyError as error:
        raise DataError(f"{path}: not written by `geoguide pretrain` (metadata has no {error})") from None
    except (SafetensorError, OSError, ValueError, TypeError, IndexError, RecursionError) as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable safetensors file, truncated? ({error})") from None
