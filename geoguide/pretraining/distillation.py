"""Self-distillation over prototypes (Sonata, arXiv 2503.16429): head, Sinkhorn-Knopp, matching, loss, diagnostics.

In this file N counts rows (voxels), K prototypes and M matched pairs.
"""

import numpy as np
import torch
import torch.nn.functional as F
from pykdtree.kdtree import KDTree
from torch import Tensor, nn

from geoguide.errors import InputError


class PrototypeHead(nn.Module):
    """The cosine of features with learned prototypes: an MLP, then unit length; discarded after training.

    Args:
        width: Width C1 of the features.
        hidden: Width of the MLP's hidden layer.
        bottleneck: Width of its output, in which the prototypes lie.
        prototypes: Number K of prototypes.
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, bottleneck))
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.normal_(self.prototypes)

    def forward(self, feat: Tensor) -> Tensor:
        """Compare features with the prototypes.

        Args:
            feat: Float [N, C1].

        Returns:
            Cosines, float [N, K].
        """
        return F.normalize(self.mlp(feat), dim=1) @ F.normalize(self.prototypes, dim=1).T


@torch.no_grad()
def sinkhorn(scores: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Assign rows softly to prototypes so that all prototypes are used equally (Sinkhorn-Knopp centring).

    It works in logarithms: no temperature overflows.

    Args:
        scores: Float [N, K].
        temperature: Divides the scores, above 0.
        iterations: How often columns and rows are normalised, at least 1.

    Returns:
        float32 [N, K] >= 0, rows summing to 1; after many iterations columns sum to N / K.

    Raises:
        InputError: Arguments out of range.
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
    """Mean cross-entropy -sum_k target log softmax(student / temperature).

    Args:
        student: Scores, float [M, K].
        target: Assignments, float [M, K], rows summing to 1.
        temperature: Divides the scores.

    Returns:
        A scalar; 0 where there are no rows.

    Raises:
        InputError: The shapes differ.
    """
    if student.shape != target.shape or student.dim() != 2:
        raise InputError(f"target must be {list(student.shape)} as student is, found {list(target.shape)}")
    if len(student) == 0:
        return student.sum()
    return -(target * F.log_softmax(student / temperature, dim=1)).sum(1).mean()


def match(
    query: np.ndarray, query_group: np.ndarray, key: np.ndarray, key_group: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each query place the nearest key place of the same group.

    One search tree serves all groups: the group is a fourth coordinate, far apart.

    Args:
        query: Places, float [Q, 3], metres.
        query_group: Their groups, integer [Q].
        key: Places, float [N, 3], metres.
        key_group: Their groups, integer [N].
        radius: How far a key place may be, metres, above 0.

    Returns:
        Rows of `query` and rows of `key`, int64 [M] each, rows of `query` ascending; queries without a key place
        within the radius are left out.

    Raises:
        InputError: `radius` is not above 0.
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
    """How many prototypes are in use: exp(entropy of the mean softmax) / K.

    Args:
        scores: Float [N, K].
        temperature: Divides the scores.

    Returns:
        A share in (0, 1]; 1 / K means collapse.
    """
    share = torch.softmax(scores.float() / temperature, dim=1).mean(0)  # [K]
    return float(torch.special.entr(share).sum().exp() / len(share))


def effective_rank(feat: Tensor) -> float:
    """How many directions features use: exp(entropy of their covariance's eigenvalues).

    Args:
        feat: Float [N, D].

    Returns:
        A number in [1, D]; 1 means that one direction is left.
    """
    centred = (feat - feat.mean(0)).double()
    values = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    share = values / values.sum().clamp(min=1e-300)
    return float(torch.special.entr(share).sum().exp())


def spread(feat: Tensor) -> float:
    """How far features differ: mean deviation over rows of the unit-length features, times sqrt(D).

    Args:
        feat: Float [N, D].

    Returns:
        About 1 where they are spread out, 0 where they have collapsed.
    """
    return float(F.normalize(feat.float(), dim=1).std(0, correction=0).mean() * feat.shape[1] ** 0.5)
