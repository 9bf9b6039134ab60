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

And is the floor of rooms labelled so? Labels that were counted from another number, or with void as a class, are as
even as right ones. Of labelled points that are level and lie lowest, 94 % and more are "floor" on 2 real ScanNet scans,
4 generated rooms and 15 regions; none are with class ids one too high or too low.

Fused features are asked as labels are: by how much the cosine of nearest points exceeds that of any two, as a share of
what it could. Of the official fusion of 12 real frames 0.99, of a real scan's colours with as much noise in each point
0.31; in another order 0.00, in reverse order 0.50 and late by 100 rows 0.61. Points that follow one another in a file
lie near each other too, but not as near as the nearest: of 3 generated rooms and 5 regions their features have 0.43 to
0.94, those of the nearest 0.94 to 0.99 and always more. Of another scene with as many points the nearest have 0.22 to
0.55, less than those that follow one another: by 0.27 to 0.35 in rooms, by more than `BEHIND` in 12 of 20 pairs of
regions (the others are not told).
"""

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.datasets.formats.fused_features import FusedFeatures
from geoguide.ops.neighbors import FEWEST, nearest_kappa, nearest_points
from geoguide.scene import VOID, Scene

LEAST = 0.6  # of kappa; see the table
FLAT, LOWEST, THICK = 0.9, 0.02, 0.15  # cosine of the tilt; share of the flat points below; metres above that height
ASKED, LEAST_ALIKE, VARIED = 256, 0.2, 1e-4  # points; the share above; mean of 1 - cosine, below which all are alike
BEHIND = 0.1  # by so much nearest points are less alike than points that follow one another in the file; see above
LEAST_FLOOR = 0.3  # share of the points of all scenes: some scans show no floor, or a carpet


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
    kappa = nearest_kappa(scene.points[known], scene.labels[known])
    if kappa is None or kappa >= LEAST:
        return ()
    found = f"neighbouring points have one label hardly more often than by chance (kappa {kappa:.2f}, usual: 0.95)"
    return (f"{found}: are the labels of another scene, or in another order than the points?",)


def feature_doubts(points: np.ndarray, features: FusedFeatures) -> tuple[str, ...]:
    """Say where fused features are not of the points. O(P log P), and `ASKED` rows and two beside each are read.

    Args:
        points: The scene's points [P, 3], finite.
        features: Its features.

    Returns:
        A sentence, or none where features and points fit or nothing can be told.

    Raises:
        DataError: The features cannot be read.
    """
    seen = np.flatnonzero(features.seen)
    if len(seen) < FEWEST:
        return ()
    places = points[seen].astype(np.float64)
    row = np.random.default_rng(0).permutation(len(seen))[:ASKED]
    near = nearest_points(KDTree(places), places[row], 2)[1]  # [n, 2]
    other = np.where(near[:, 0] == row, near[:, 1], near[:, 0])
    following = np.where(row + 1 < len(seen), row + 1, row - 1)  # [n], in the file
    one, next_to, after = (_unit(features.rows(seen[rows])[0]) for rows in (row, other, following))  # [n, C] each
    whole, n = one.sum(axis=0), len(row)
    chance = (whole @ whole - n) / (n * (n - 1))
    alike, in_file = (
        (np.mean((one * rows).sum(axis=1)) - chance) / max(1 - chance, VARIED) for rows in (next_to, after)
    )
    if 1 - chance < VARIED or alike >= max(LEAST_ALIKE, in_file - BEHIND):
        return ()
    found = f"hardly more alike than of any two ({alike:.2f}, usual: 0.9)"
    if alike >= LEAST_ALIKE:
        found = f"less alike than of points that follow one another in the file ({alike:.2f}, these {in_file:.2f})"
    found = f"features of neighbouring points are {found}"
    return (f"{found}: are they of another scene, or in another order than the points?",)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows [n, C] of length one, float64."""
    values = rows.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def floor_counts(scene: Scene, floor: int) -> np.ndarray:
    """Count what a scene's labels say of its lowest level surface; z is up.

    Args:
        scene: The scene.
        floor: The class id of "floor".

    Returns:
        int64 [2]: how many labelled points lie there, and how many of them are labelled as floor; zeros without labels
        or normals.
    """
    if scene.labels is None or scene.normals is None:
        return np.zeros(2, dtype=np.int64)
    flat, height = np.abs(scene.normals[:, 2]) > FLAT, scene.points[:, 2]  # whichever side was seen
    if not flat.any():
        return np.zeros(2, dtype=np.int64)
    level = flat & (np.abs(height - np.quantile(height[flat], LOWEST)) < THICK) & (scene.labels != VOID)
    return np.array([level.sum(), (scene.labels[level] == floor).sum()], dtype=np.int64)


def floor_doubts(counts: np.ndarray) -> tuple[str, ...]:
    """Say where the labels of scenes are of another order of classes.

    Args:
        counts: int64 [2], the sum of all scenes' `floor_counts`.

    Returns:
        A sentence, or none where the labels can be right or nothing can be told.
    """
    level, floor = counts.tolist()
    if level < FEWEST or floor >= LEAST_FLOOR * level:
        return ()
    found = f"of the lowest level surfaces {floor / level:.0%} of the labelled points are floor (usual: 95 %)"
    return (f"{found}: are the labels of another order of classes, counted from another number, or void as a class?",)
