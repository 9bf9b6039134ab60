"""The nearest points of a k-d tree, as the arrays that callers index with, and whether nearest points are alike."""

import numpy as np
from pykdtree.kdtree import KDTree

SAMPLE = 4000  # points that are asked
FEWEST = 1000  # points; hand-made scenes of fewer may be divided anyhow
ONE_GROUP = 0.98  # chance of one group, from which on kappa is a ratio of few points


def nearest_points(tree: KDTree, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest of a tree's points, nearest first.

    Args:
        tree: Over N points.
        query: float [Q, 3], Q > 0.
        count: How many to find; all N where there are fewer.

    Returns:
        Distances, float [Q, n], and positions in the tree, int64 [Q, n]; n = min(count, N).
    """
    distance, index = tree.query(query, k=min(count, tree.n))
    return distance.reshape(len(query), -1), index.reshape(len(query), -1).astype(np.int64)


def nearest_kappa(points: np.ndarray, groups: np.ndarray) -> float | None:
    """Tell how far the nearest points belong together, by Cohen's kappa. O(P log P).

    Args:
        points: [P, 3], finite.
        groups: What each belongs to, integers [P] from 0.

    Returns:
        1 where each of the points asked and its nearest other are of one group, 0 where no more are than by chance;
        None where nothing can be told.
    """
    if len(groups) < FEWEST:
        return None
    chance = np.sum((np.bincount(groups) / len(groups)) ** 2)
    if chance > ONE_GROUP:
        return None
    points = points.astype(np.float64)
    row = np.random.default_rng(0).permutation(len(groups))[:SAMPLE]
    near = nearest_points(KDTree(points), points[row], 2)[1]  # [n, 2]
    other = np.where(near[:, 0] == row, near[:, 1], near[:, 0])  # of points at one place either may come first
    return float((np.mean(groups[other] == groups[row]) - chance) / (1 - chance))
