"""Point-MAE (Pang et al., ECCV 2022, arXiv 2203.06604) and encoders like it as frozen backbones: tokens of groups.

Points fall into groups, each the nearest of a centre; a small PointNet makes a token of a group, and a plain
transformer lets all tokens see each other. A point's features are those of the centres around it, as in the released
part segmentation. The pretraining has seen single objects: what it knows of a room was not measured.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pykdtree.kdtree import KDTree
from torch import Tensor, nn
from torch.nn import functional

from geoguide.backbones.checkpoints import RELEASES, adopt, find_weights
from geoguide.errors import ConfigError, DataError, first_line
from geoguide.ops.arrays import coordinates, whole
from geoguide.ops.neighbors import nearest_points
from geoguide.ops.tensor_files import mismatches, read_checkpoint
from geoguide.ops.voxels import cells_of, unique_cells
from geoguide.scene import Scene

VOXEL = 0.05  # metres; ours: a room then has some ten thousand points, where an object had 1,024
MAX_GROUPS = 2048  # ours: attention among G tokens costs O(G^2)
_POINTS_PER_GROUP = 16  # released: 64 groups of 1,024 points
_AROUND = 3  # centres that a point's features come from, as released
_DEEPEST = 300  # blocks are built before they are compared with a file's
_ROWS = 65_536  # points that are interpolated at a time
_PRETRAINING = ("mask_token", "decoder_pos_embed.", "MAE_decoder.", "increase_dim.")  # of the file, not of the encoder


@dataclass(frozen=True)
class PointMAEConfig:
    """Sizes of the encoder; keys and defaults are the released pretraining's (cfgs/pretrain.yaml).

    Attributes:
        trans_dim: D, features of a token.
        depth: Blocks, a multiple of 3: features are taken after each third.
        num_heads: Attention heads, which divide D.
        group_size: Points in a group.

    Raises:
        ConfigError: A value is impossible.
    """

    trans_dim: int = 384
    depth: int = 12
    num_heads: int = 6
    group_size: int = 32

    def __post_init__(self) -> None:
        try:
            for field in fields(self):
                whole(field.name, getattr(self, field.name), 1)
        except ValueError as error:
            raise ConfigError(f"point-mae: {error}") from None
        if self.depth % 3 or self.depth > _DEEPEST or self.trans_dim % self.num_heads:
            expected = f"depth a multiple of 3 up to {_DEEPEST}, and trans_dim of num_heads"
            raise ConfigError(f"point-mae: expected {expected}, found {self}")


class GroupEmbedding(nn.Module):
    """Token of each group: a PointNet twice, the second time beside the first's largest features.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_conv = _pointwise(3, 128, 256)
        self.second_conv = _pointwise(512, 512, width)

    def forward(self, groups: Tensor) -> Tensor:
        """Embed the groups.

        Args:
            groups: float [G, K, 3], points as seen from their centre.

        Returns:
            float [G, D].
        """
        feat = self.first_conv(groups.transpose(1, 2))  # [G, 256, K]
        most = feat.amax(dim=2, keepdim=True).expand_as(feat)
        return self.second_conv(torch.cat([most, feat], dim=1)).amax(dim=2)


def _pointwise(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, hidden, 1), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Conv1d(hidden, outputs, 1))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(1, 2, 0, 3)
        mixed = functional.scaled_dot_product_attention(query, key, value)  # [heads, G, D / heads]
        return self.proj(mixed.transpose(0, 1).flatten(1))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(tokens))))


class PointMAEEncoder(nn.Module):
    """The encoder, with the released file's parameter names (less its prefix).

    Args:
        config: Its sizes.
    """

    def __init__(self, config: PointMAEConfig) -> None:
        super().__init__()
        width = config.trans_dim
        self.config = config
        self.encoder = GroupEmbedding(width)
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        blocks = nn.ModuleList(_Block(width, config.num_heads) for _ in range(config.depth))
        self.blocks = nn.ModuleDict({"blocks": blocks})
        self.norm = nn.LayerNorm(width)

    def forward(self, groups: Tensor, centres: Tensor) -> Tensor:
        """Describe the groups of one cloud; nothing is masked.

        Args:
            groups: float [G, K, 3], points as seen from their centre.
            centres: float [G, 3].

        Returns:
            float [G, 3 D]: after a third, two thirds and all of the blocks.
        """
        tokens, places = self.encoder(groups), self.pos_embed(centres)
        levels = []
        for number, block in enumerate(cast(nn.ModuleList, self.blocks["blocks"]), start=1):
            tokens = block(tokens + places)  # the places anew before every block, as released
            if number % (self.config.depth // 3) == 0:
                levels.append(self.norm(tokens))
        return torch.cat(levels, dim=1)


def farthest_points(points: np.ndarray, count: int) -> np.ndarray:
    """Choose points that are far from each other: the first, then always the farthest from all chosen.

    Args:
        points: float [N, 3].
        count: How many; all where there are fewer. Costs O(N count).

    Returns:
        int64 [min(count, N)], positions in the order in which they are chosen; of equal ones the first.
    """
    chosen = np.zeros(min(count, len(points)), np.int64)
    distance = np.full(len(points), np.inf)
    for step in range(1, len(chosen)):  # over the centres; the points are an array operation
        distance = np.minimum(distance, ((points - points[chosen[step - 1]]) ** 2).sum(axis=1))
        chosen[step] = distance.argmax()
    return chosen


def interpolate(values: np.ndarray, centres: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Give points the features of the three centres around them, weighted by 1 / squared distance (as released).

    Args:
        values: float32 [G, D].
        centres: float [G, 3].
        points: float [P, 3].

    Returns:
        float32 [P, D].
    """
    tree, told = KDTree(np.ascontiguousarray(centres)), np.empty((len(points), values.shape[1]), np.float32)
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        distance, index = nearest_points(tree, np.ascontiguousarray(points[rows]), _AROUND)
        weight = 1 / (distance**2 + 1e-8)
        weight = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)  # [rows, 3]
        told[rows] = np.einsum("rn,rnd->rd", weight, values[index])
    return told


def load_point_mae(path: Path) -> PointMAEEncoder:
    """Load the encoder of a checkpoint, frozen and in float32; no code in the file is run.

    Args:
        path: A file of torch with "base_model", as released, or tensors alone (.safetensors, .pth). The encoder's keys
            begin with MAE_encoder. or with nothing; what only pretraining needs is left out. A config.json beside it
            may say other sizes than the released ones (see `PointMAEConfig`).

    Returns:
        The encoder, in evaluation mode, on the CPU.

    Raises:
        DataError: As `read_checkpoint`; or the file does not fit, and the message names the first missing, unexpected
            and misshapen tensors.
    """
    found, state = read_checkpoint(path, under="base_model")
    try:
        with torch.device("meta"):  # no memory is spent on values that the file replaces
            encoder = PointMAEEncoder(PointMAEConfig(**(found or {})))
    except (ConfigError, TypeError, RuntimeError) as error:  # torch: a size beyond 64 bits
        raise DataError(f"{path}: config: {first_line(error)}") from None
    state = _encoders_own(state)
    problems = mismatches(encoder.state_dict(), state)
    if problems:
        raise DataError(f"{path}: does not fit the encoder of Point-MAE: {'; '.join(problems)}")
    return adopt(encoder, state)


def _encoders_own(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors under its own names, and any that neither it nor the pretraining has."""
    state = {key: value for key, value in state.items() if not key.startswith(_PRETRAINING)}
    return {key.removeprefix("MAE_encoder."): value for key, value in state.items()}


class PointMAEBackbone:
    """Frozen Point-MAE features. Colours and normals are not looked at.

    The cloud is thinned to one point a voxel (their mean), centred on its mean and scaled into the unit ball, as in
    pretraining; a centre for every 16 points, chosen farthest first, at most `MAX_GROUPS`.

    Args:
        weights: The file, see `load_point_mae`; there is no download.
        sha256: What the file must have; None allows any.
        device: Where the network runs.

    Raises:
        DataError: Weights are missing, unsafe or do not fit.
    """

    name = "point-mae"

    def __init__(
        self, weights: str | Path | None = None, *, sha256: str | None = None, device: str | torch.device = "cpu"
    ) -> None:
        path, self.sha256 = find_weights(weights, None, sha256, RELEASES[self.name])
        self.model, self.device = load_point_mae(path).to(device), torch.device(device)
        self.width = 3 * self.model.config.trans_dim

    @torch.inference_mode()
    def encode(self, scene: Scene) -> np.ndarray:
        """Describe every point of a scene (paper, F_3d^G).

        Args:
            scene: P points.

        Returns:
            float32 [P, C1], in the scene's point order.
        """
        points = coordinates("points", scene.points, keep_single=True, filled=True).astype(np.float64)
        _, voxel = unique_cells(cells_of(points, VOXEL))
        thinned = _means(points, voxel)  # [V, 3]
        middle = thinned.mean(axis=0)
        radius = max(float(np.sqrt(((thinned - middle) ** 2).sum(axis=1)).max()), 1e-8)
        points, thinned = (points - middle) / radius, (thinned - middle) / radius
        count = min(max(1, len(thinned) // _POINTS_PER_GROUP), MAX_GROUPS)
        centres = thinned[farthest_points(thinned, count)]
        _, near = nearest_points(KDTree(thinned), centres, self.model.config.group_size)  # [G, K]
        groups = (thinned[near] - centres[:, None]).astype(np.float32)
        inputs = (torch.from_numpy(a).to(self.device) for a in (groups, centres.astype(np.float32)))
        return interpolate(self.model(*inputs).float().cpu().numpy(), centres, points)


def _means(points: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Mean of the points in each cell, float64 [V, 3]."""
    sums = np.stack([np.bincount(cell, weights=axis) for axis in points.T], axis=1)
    return sums / np.bincount(cell)[:, None]
