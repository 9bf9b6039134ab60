"""Self-distillation over prototypes (Sonata, arXiv 2503.16429): head, Sinkhorn-Knopp, matching, loss, diagnostics."""

import numpy as np
import torch
import torch.nn.functional as F
from pykdtree.kdtree import KDTree
from torch import Tensor, nn

from geoguide.errors import InputError


class PrototypeHead(nn.Module):
    """Features to their cosine with learned prototypes: MLP, unit length, unit prototypes; discarded after training."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.normal_(self.prototypes)

    def forward(self, feat: Tensor) -> Tensor:
        """[N, width] -> cosines [N, K]"""
        return F.normalize(self.mlp(feat), dim=1) @ F.normalize(self.prototypes, dim=1).T


@torch.no_grad()
def sinkhorn(scores: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Soft assignment of rows to prototypes that uses all prototypes equally (Sinkhorn-Knopp centring).

    scores float [N, K] -> float32 [N, K] >= 0, rows summing to 1; after many iterations columns sum to N / K. Worked
    in logarithms: no temperature overflows. Raises InputError.
    """
    if scores.dim() != 2 or 0 in scores.shape:
        raise InputError(f"scores must be [N, K] with N, K >= 1, found {list(scores.shape)}")
    if temperature <= 0 or iterations < 1:
        raise InputError(f"temperature must be above 0 and iterations at least 1, found {temperature}, {iterations}")
    log = scores.float() / temperature
    for _ in range(iterations):
        log = log - log.logsumexp(0, keepdim=True)
        log = log - log.logsumexp(1, keepdim=True)
    return log.exp()


def distillation_loss(student: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy -sum_k target log softmax(student / temperature): student scores, target [M, K] -> scalar.

    No rows give 0. Raises InputError where the shapes differ.
    """
    if student.shape != target.shape or student.dim() != 2:
        raise InputError(f"target must be {list(student.shape)} as student is, found {list(target.shape)}")
    if len(student) == 0:
        return student.sum()
    return -(target * F.log_softmax(student / temperature, dim=1)).sum(1).mean()


def match(
    query: np.ndarray, query_group: np.ndarray, key: np.ndarray, key_group: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each query place its nearest key place of the same group within `radius` metres.

    query float [Q, 3], query_group int [Q], key float [N, 3], key_group int [N] -> (rows of query, rows of key), int64
    [M] each, rows of query ascending. One tree: the group is a fourth coordinate, far apart. Raises InputError.
    """
    if radius <= 0:
        raise InputError(f"radius must be above 0, found {radius}")
    if len(query) == 0 or len(key) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    apart = 4 * radius
    places = [np.column_stack([p, apart * g]).astype(np.float64) for p, g in ((key, key_group), (query, query_group))]
    distance, index = KDTree(places[0]).query(places[1], k=1, distance_upper_bound=radius * (1 + 1e-9))
    found = np.flatnonzero(np.isfinite(distance) & (index < len(key)))
    return found, index[found].astype(np.int64)


def usage(scores: Tensor, temperature: float) -> float:
    """How many prototypes are in use: exp(entropy of the mean softmax) / K, in (0, 1]. 1 / K means collapse."""
    share = torch.softmax(scores.float() / temperature, dim=1).mean(0)  # [K]
    return float(torch.special.entr(share).sum().exp() / len(share))


def effective_rank(feat: Tensor) -> float:
    """exp(entropy of the covariance's eigenvalues) of features [N, D], in [1, D]: 1 means one direction is left."""
    centred = (feat - feat.mean(0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    share = values / values.sum().clamp(min=1e-300)
    return float(torch.special.entr(share).sum().exp())


def spread(feat: Tensor) -> float:
    """Mean deviation over rows of unit-length features [N, D], times sqrt(D): about 1 when spread out, 0 collapsed."""
    return float(F.normalize(feat.float(), dim=1).std(0, correction=0).mean() * feat.shape[1] ** 0.5)
