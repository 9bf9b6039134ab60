"""Do neighbouring points have the same labels, as they do where labels and points are of one order?

The share of points whose nearest other point has their label, as Cohen's kappa: 1 where all have, 0 where no more have
than of points taken at random. Measured:

| labels | kappa |
|---|---|
| as annotated: a real ScanNet scan; 11 generated rooms, 12 regions, 140 key frames | 0.96; 0.94 and more |
| of boxes, on a real key frame of nuScenes | 0.99 |
| in another order than the points | -0.01 to 0.02 |
| in reverse order: key frame, ScanNet scan | 0.25, 0.58 |
| late by 100 rows, on a key frame | 0.63 (not told) |
"""

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.ops.neighbors import nearest_points
from geoguide.scene import VOID, Scene

SAMPLE = 4000  # points that are asked
FEWEST = 1000  # labelled points; hand-made scenes of fewer may be of any labels
ONE_CLASS = 0.98  # chance of equal labels, from which on kappa is a ratio of few points
LEAST = 0.6  # of kappa; see the table


def label_doubts(scene: Scene) -> tuple[str, ...]:
    """Say where a scene's labels are not of its points. O(P log P).

    Args:
        scene: The scene.

    Returns:
        A sentence, or none where labels and points fit or nothing can be told.
    """
    if scene.labels is None:
        return ()
    known = scene.labels != VOID
    points, labels = scene.points[known].astype(np.float64), scene.labels[known]
    if len(labels) < FEWEST:
        return ()
    chance = np.sum((np.bincount(labels) / len(labels)) ** 2)
    if chance > ONE_CLASS:
        return ()
    row = np.random.default_rng(0).permutation(len(labels))[:SAMPLE]
    near = nearest_points(KDTree(points), points[row], 2)[1]  # [n, 2]
    other = np.where(near[:, 0] == row, near[:, 1], near[:, 0])  # of points at one place either may come first
    kappa = (np.mean(labels[other] == labels[row]) - chance) / (1 - chance)
    if kappa >= LEAST:
        return ()
    found = f"neighbouring points have one label hardly more often than by chance (kappa {kappa:.2f}, usual: 0.95)"
    return (f"{found}: are the labels of another scene, or in another order than the points?",)
