"""Union-find for compiled kernels: nodes that are joined share a root."""

import numpy as np

from geoguide.ops.compiled import compiled


@compiled(nogil=True)
def find_root(parent: np.ndarray, node: int) -> int:
    """Find the root of a node's tree; halves the path on the way.

    Args:
        parent: int64 [N], each node's parent; a root is its own. Changed in place.
        node: 0..N-1.

    Returns:
        The root.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@compiled(nogil=True)
def join_roots(parent: np.ndarray, rank: np.ndarray, size: np.ndarray, a: int, b: int) -> int:
    """Put two roots under one, by rank.

    Args:
        parent: int64 [N]; changed in place, as the next two.
        rank: int64 [N], 0 at first.
        size: int64 [N], of the tree of each root.
        a: A root.
        b: Another; it stays one where both have the same rank.

    Returns:
        The one that stays a root.
    """
    if rank[a] > rank[b]:
        a, b = b, a
    parent[a] = b
    size[b] += size[a]
    if rank[a] == rank[b]:
        rank[b] += 1
    return b
