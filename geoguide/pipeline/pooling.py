"""Means of the frozen features over all points of a region, and the part of a training scene that is kept on disk."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, vstack

from geoguide.datasets.formats.fused_features import StreamedFeatures
from geoguide.frozen import check_fields
from geoguide.instances.masks import InstanceMasks
from geoguide.ops.arrays import as_config_error, whole
from geoguide.ops.indexed import IndexedRows

CHUNK = 8192  # points whose features are in memory at a time, as float64: 50 MB of 768 channels

Lifted = tuple[np.ndarray, np.ndarray] | StreamedFeatures  # as `Stages.lifted` gives it


@dataclass(frozen=True)
class PoolingConfig:
    """Over which points of a training scene means are taken, and which are kept. The paper states none of it.

    Raises:
        ConfigError: A word that is not among those listed, or a number out of range.
    """

    means: Literal["sampled", "exact"] = "sampled"
    """Superpoint and mask means of frozen quantities (S_3d^G and S_2d in USD's input, S_2d as the target where W is
    uniform, F_mask^G and its like in IIRC, what looks alike in IMR): over the points of the step's batch, or over all
    points of the scene. What depends on the student or on W is pooled over the batch in either case."""
    batches: Literal["points", "superpoints"] = "points"
    """What a step draws: random points, or random superpoints with all their points, until there are `points_per_step`;
    the last one may go beyond. Every pool of such a batch is complete; with `kept_points`, as far as it was kept."""
    kept_points: int | None = None
    """So many random points of each training scene keep their 2D and 3D features, as OpenScene's 20,000; None: all. The
    features of all points are then computed in memory and not written; their exact means over superpoints and masks
    are. Scenes of val and test stay whole, and so does the cloud that an entire network reads: its targets are few."""

    def __post_init__(self) -> None:
        check_fields(self, "pooling")
        if self.kept_points is not None:
            with as_config_error("pooling"):
                whole("kept_points", self.kept_points, 1)


def region_means(
    geometry: np.ndarray | IndexedRows, lifted: Lifted, superpoints: np.ndarray, masks: InstanceMasks
) -> dict[str, np.ndarray]:
    """Average the frozen features over all points of every superpoint and mask.

    Args:
        geometry: F_3d^G, float16 [P, C1].
        lifted: F_2d and which points are seen; a point that several files hold counts once.
        superpoints: int64 [P], from 0 to S - 1.
        masks: M masks over these points.

    Returns:
        `geometry` [S + M, C1] and `lifted` [S + M, C], superpoints first, the latter over the seen points and 0 where
        none is; `seen` int64 [S + M], how many are. Sums are in float64; means are kept in float32, because USD looks
        at differences from them, which float16 rounds by a thousandth of the features' length, and they are few.
        O(P (C + C1)) time for masks that do not overlap much; O(CHUNK (C + C1)) memory beside the result.
    """
    count = len(superpoints)
    partition = csr_matrix((np.ones(count, np.float32), (superpoints, np.arange(count))))
    members: csc_matrix = vstack([partition, masks.sparse()]).tocsc().astype(np.float64)  # [S + M, P]
    sums: list[np.ndarray] = [np.zeros(1), np.zeros(1), np.zeros(1)]
    for start in range(0, count, CHUNK):
        part = np.arange(start, min(start + CHUNK, count))
        features, seen = rows(lifted, part)
        inside = members[:, start : start + CHUNK]
        for number, values in enumerate((geometry[part], np.where(seen[:, None], features, 0), seen[:, None])):
            sums[number] = sums[number] + inside @ values.astype(np.float64)
    sizes, seen = np.asarray(members.sum(1)), sums[2]  # [S + M, 1]
    return {
        "geometry": (sums[0] / np.maximum(sizes, 1)).astype(np.float32),
        "lifted": (sums[1] / np.maximum(seen, 1)).astype(np.float32),
        "seen": seen[:, 0].astype(np.int64),
    }


def rows(lifted: Lifted, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read the 2D features of some points, whichever of several files holds them.

    Args:
        lifted: F_2d.
        chosen: int64 [p], point ids.

    Returns:
        float16 [p, C], and which of them are seen, bool [p].
    """
    if isinstance(lifted, tuple):
        return lifted[0][chosen], np.asarray(lifted[1][chosen]) > 0
    features, seen = lifted.rows(chosen, 0)
    for file in range(1, len(lifted.files)):
        others, also = lifted.rows(chosen, file)
        features[also] = others[also]  # files are subsets of one fusion: where two hold a point they agree
        seen |= also
    return features, seen


def kept_points(count: int, kept: int, fingerprint: str) -> np.ndarray:
    """Choose the points of a training scene whose features are kept; fewer are a part of more.

    Args:
        count: P.
        kept: How many are kept, where there are more.
        fingerprint: Of the scene's content, hexadecimal: decides which, so that every experiment keeps the same.

    Returns:
        int64 [min(kept, P)], ascending.
    """
    return np.sort(np.random.default_rng(int(fingerprint, 16)).permutation(count)[:kept])
