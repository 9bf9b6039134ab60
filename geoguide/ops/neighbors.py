"""The nearest points of a k-d tree, as the arrays that callers index with."""

import numpy as np
from pykdtree.kdtree import KDTree


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
