"""A small network trained entirely, from raw points: the other side of the paper's preliminary experiment."""

import numpy as np
import torch
from pykdtree.kdtree import KDTree
from torch import Tensor, nn

from geoguide.errors import InputError
from geoguide.ops.segment import segment_mean

CELLS = (0.1, 0.25, 0.6)  # metres; the grids on which neighbourhoods are pooled
NEIGHBORS = 8


class EntireNetwork(nn.Module):
    """Raw points to the text space, every weight trained (paper, preliminary experiment; OpenScene's setting).

    A small stand-in for OpenScene's MinkUNet18A: features are pooled into ever coarser grid cells, mixed there with the
    nearest cells relative to their offset, and carried back to the points. Input: height, position relative to the
    cell, and colour; no hand-made descriptor.
    """

    def __init__(self, out_width: int, width: int = 96) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(7, width), nn.GELU(), nn.Linear(width, width))
        self.edges = nn.ModuleList(
            nn.Sequential(nn.Linear(width + 3, width), nn.GELU(), nn.Linear(width, width)) for _ in CELLS
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in CELLS)
        self.head = nn.Sequential(
            nn.Linear(width * (1 + len(CELLS)), 256), nn.LayerNorm(256), nn.GELU(), nn.Linear(256, out_width)
        )

    def forward(self, points: Tensor, colors: Tensor) -> Tensor:
        """points [P, 3] metres z up, colors [P, 3] in [0, 1] -> [P, C]. Cost O(P width^2 + cells k width)."""
        if points.dim() != 2 or points.shape != colors.shape or points.shape[1] != 3:
            raise InputError(f"points and colors must be [P, 3], found {list(points.shape)} and {list(colors.shape)}")
        floor = torch.quantile(points[:: max(1, len(points) // 10000), 2], 0.01)
        height = (points[:, 2:] - floor) / 2.0  # [P, 1]
        cell = torch.floor(points / CELLS[0])
        features = self.stem(torch.cat([height, points / CELLS[0] - cell - 0.5, colors - 0.5], dim=1))  # [P, D]
        levels, owner, position = [features], torch.arange(len(points), device=points.device), points
        for size, edge, norm in zip(CELLS, self.edges, self.norms, strict=True):
            _, parent = torch.unique(torch.floor(position / size).long(), dim=0, return_inverse=True)
            count = int(parent.max()) + 1
            features = segment_mean(features, parent, count)
            position = segment_mean(position, parent, count)
            owner = parent[owner]
            near = nearest_cells(position)  # [cells, k]
            offset = (position[near] - position.unsqueeze(1)) / size  # [cells, k, 3]
            mixed = edge(torch.cat([features[near], offset], dim=-1)).amax(dim=1)
            features = norm(features + mixed)
            levels.append(features[owner])
        return self.head(torch.cat(levels, dim=1))


def nearest_cells(position: Tensor) -> Tensor:
    """The k nearest cells of each, itself included: [cells, 3] -> int64 [cells, k]."""
    where = np.ascontiguousarray(position.detach().cpu().numpy())
    _, near = KDTree(where).query(where, k=min(NEIGHBORS, len(where)))
    return torch.from_numpy(near.reshape(len(where), -1).astype(np.int64)).to(position.device)
