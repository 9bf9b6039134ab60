"""Masks that a small network proposes: trained on generated rooms without class names, packaged with this software.

See `weights/masks-mini.md` for what it was trained on and how good it is.
"""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from scipy import sparse

from geoguide import paths
from geoguide.errors import ConfigError, DataError, InputError, refuse_foreign
from geoguide.frozen import from_dict, to_dict
from geoguide.instances.geometry import InstanceConfig, suppress
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.parts import Parts
from geoguide.instances.proposer import MaskProposer, ProposerConfig
from geoguide.scene import Scene
from geoguide.superpoints import scene_normals
from geoguide.welding import finder_of

WEIGHTS = paths.WEIGHTS / "masks-mini.safetensors"
WINDOW = 1200  # parts that are looked at together: a pair takes some 300 bytes
QUERIES = WINDOW  # of a window: all its parts; fewer, spread out, missed small objects of the validation rooms
_DAMAGES = (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError, ConfigError, AttributeError)
NOTED = ("network", "backbones", "training", "step", "rooms")


@dataclass(frozen=True, eq=False)
class Proposer:
    """A trained network, and what it must be given.

    Attributes:
        network: Frozen.
        backbones: Names of the backbones whose frozen features it takes, side by side.
        sha256: Of its file.
        notes: The file's other notes: "training" (its config), "step" and "rooms" (seed, split, number).
    """

    network: MaskProposer
    backbones: tuple[str, ...]
    sha256: str
    notes: dict[str, Any]


def open_proposer(weights: str | Path | None = None, sha256: str | None = None) -> Proposer:
    """Open a network's file; it is read once.

    Args:
        weights: A file that `geoguide pretrain masks-mini` wrote; None for the packaged one.
        sha256: What the file must have; None allows any.

    Returns:
        The network.

    Raises:
        DataError: The file is missing, no such file, or has another SHA-256.
    """
    path = WEIGHTS if weights is None else Path(weights)
    if not path.is_file():
        raise DataError(f"{path}: weights of masks.source 'learned' not found; make them with `geoguide pretrain "
                        "masks-mini`")  # fmt: skip
    found = _read(path, path.stat().st_mtime_ns)
    if sha256 is not None and found.sha256 != sha256:
        raise DataError(f"{path}: masks.sha256 must be {sha256}, found {found.sha256}")
    return found


def propose_masks(scene: Scene, superpoints: np.ndarray, features: np.ndarray, proposer: Proposer) -> InstanceMasks:
    """Propose masks of a scene's objects, each made of whole superpoints (in place of the paper's Mask3D).

    Deterministic. Every superpoint is a query; masks that overlap a better one by more than
    `InstanceConfig.max_overlap` are dropped, and those that are smaller than geometry's. A scene of more superpoints
    than `WINDOW` is looked at in overlapping windows.

    Args:
        scene: P points with colours; normals are estimated where it has none.
        superpoints: int64 [P], ids from 0.
        features: float [P, C1], of the proposer's backbones, side by side.
        proposer: The network.

    Returns:
        M masks with scores in [0, 1], the IoU that the network thinks they have, best first.

    Raises:
        InputError: Features of another shape.
    """
    wanted = (len(scene), proposer.network.config.features)
    if features.shape != wanted:
        names = ", ".join(proposer.backbones)
        raise InputError(f"features of {names} must be {list(wanted)}, found {list(features.shape)}")
    normals, find = scene_normals(scene), finder_of(scene)
    parts = Parts.measure(scene.points, normals, scene.colors, superpoints, features, find)
    index = np.unique(superpoints, return_inverse=True)[1]
    groups, scores = propose_groups(parts, proposer.network)
    masks = InstanceMasks.from_sparse((groups @ InstanceMasks.from_labels(index).sparse()).tocsr(), scores)
    return suppress(masks.take(np.flatnonzero(masks.sizes() >= InstanceConfig().min_points)))


@torch.no_grad()
def propose_groups(
    parts: Parts, network: MaskProposer, *, window: int = WINDOW
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Propose groups of parts.

    Args:
        parts: S parts.
        network: In the mode for evaluation.
        window: Parts that are looked at together, at most.

    Returns:
        float32 CSR [Q, S] of ones, rows that hold nothing left out; and float32 [Q], the IoU that each is thought to
        have.
    """
    found, scores = [], []
    for seen, asked in windows(parts.regions.centers, parts.regions.areas, window):
        part = parts if len(seen) == len(parts) else parts.take(seen)
        among = spread_out(part.regions.centers[asked], QUERIES, int(part.regions.areas[asked].argmax()))
        share = torch.from_numpy(part.regions.sizes / part.regions.sizes.sum()).float()
        drawn = network(part.measures(), part.relations(), share, torch.from_numpy(asked[among]))
        row, column = (drawn.logits[-1] > 0).numpy().nonzero()
        ones = np.ones(len(row), np.float32)
        found.append(sparse.csr_matrix((ones, (row, seen[column])), shape=(len(among), len(parts))))
        scores.append(drawn.score.sigmoid().numpy())
    groups, score = sparse.vstack(found).tocsr(), np.concatenate(scores)
    filled = np.flatnonzero(np.diff(groups.indptr))
    return groups[filled], score[filled]


def windows(centers: np.ndarray, areas: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Cut many parts into overlapping windows, so that every part is asked about in one of them.

    Args:
        centers: float [S, 3] metres.
        areas: float [S] m^2.
        size: Parts of a window, at most; the nearer half of them is asked about.

    Returns:
        Of each window its parts, int64 ascending, and the positions among these that are asked about. One window of all
        parts where they are few enough.
    """
    if len(centers) <= size:
        return [(np.arange(len(centers)), np.arange(len(centers)))]
    left, found = np.ones(len(centers), bool), []
    while left.any():  # over windows: each asks about `size` / 2 parts at most, and about one at least
        middle = np.flatnonzero(left)[areas[left].argmax()]
        nearest = np.argsort(np.linalg.norm(centers - centers[middle], axis=1), kind="stable")[:size]
        asked = nearest[: max(1, size // 2)]
        asked = asked[left[asked]]
        left[asked] = False
        seen = np.sort(nearest)
        found.append((seen, np.searchsorted(seen, np.sort(asked))))
    return found


def spread_out(centers: np.ndarray, count: int, first: int) -> np.ndarray:
    """Choose places far from each other: each is the one farthest from all before it (furthest-point sampling).

    Args:
        centers: float [S, 3].
        count: How many, at most S.
        first: The first one.

    Returns:
        int64 [min(count, S)], different ones unless centres coincide; O(count S) time.
    """
    chosen = [first]
    distance = np.linalg.norm(centers - centers[first], axis=1)
    for _ in range(min(count, len(centers)) - 1):  # over queries, a few hundred
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(centers - centers[chosen[-1]], axis=1))
    return np.array(chosen)


def write_proposer(path: Path, network: MaskProposer, notes: dict[str, Any]) -> Path:
    """Write a network in float16, with its sizes and notes as metadata.

    Args:
        path: The .safetensors file.
        network: The network.
        notes: "backbones", "training", "step" and "rooms", as JSON types.

    Returns:
        `path`.
    """
    half = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    said = {name: json.dumps(note) for name, note in ({"network": to_dict(network.config)} | notes).items()}
    with paths.replacing(path) as temporary:
        temporary.write_bytes(save(half, said))
    return path


@functools.lru_cache(maxsize=4)
def _read(path: Path, _changed: int) -> Proposer:
    try:
        content = path.read_bytes()
        refuse_foreign(path, "weights", content)
        with safe_open(path, framework="pt") as file:
            said = file.metadata() or {}
        notes = {name: json.loads(said[name]) for name in NOTED}
        network = MaskProposer(from_dict(ProposerConfig, notes.pop("network"), "network"))
        network.load_state_dict({name: value.float() for name, value in load(content).items()})
        if not all(value.isfinite().all() for value in network.state_dict().values()):
            raise ValueError("its weights hold nan or inf")
        names = notes.pop("backbones")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise ValueError("backbones in its metadata are no names")
    except _DAMAGES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: no weights of `geoguide pretrain masks-mini` ({reason:.160})") from None
    return Proposer(network.requires_grad_(False).eval(), tuple(names), hashlib.sha256(content).hexdigest(), notes)
