"""Annotation of a reconstructed mesh: the object of each vertex and, as in ScanNet, objects as sets of segments."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.superpoints import segment_mesh
from geoguide.worlds.camera import Frame
from geoguide.worlds.casting import NO_OBJECT

NEIGHBOURS = 8  # surface points that vote on a vertex
PIXEL_STEP = 2  # every second row and column of the true surface points is plenty at the mesh's resolution


@dataclass(frozen=True, eq=False)
class Annotation:
    """What a mesh of P vertices in S segments shows.

    Attributes:
        segment: Segment of each vertex, int64 [P], 0..S-1.
        owner: Object of each segment, int64 [S], -1 for none.
        truth: Object of the true surface nearest to each vertex, int64 [P], -1 where that is too far.
    """

    segment: np.ndarray
    owner: np.ndarray
    truth: np.ndarray

    @property
    def purity(self) -> float:
        """Share of the vertices whose segment belongs to their own object."""
        return float((self.owner[self.segment] == self.truth).mean())


def annotate(
    vertices: np.ndarray,
    faces: np.ndarray,
    frames: list[Frame],
    reach: float,
    follow: Literal["segments", "surface"] = "segments",
) -> Annotation:
    """Give every segment of a mesh the object that most of its vertices lie on (matches ScanNet's annotation).

    Args:
        vertices: Vertices of the reconstruction, float [P, 3] metres.
        faces: Its triangles, integer [F, 3].
        frames: The frames it was reconstructed from, which hold the true surface points.
        reach: A vertex further than this from all of these points, metres, counts as not annotated.
        follow: `surface` cuts the segments where the true surface's objects end, so that each has one alone.

    Returns:
        The annotation; its segments, before they are cut, are ScanNet's own (k 0.01, at least 20 vertices).
    """
    segment = segment_mesh(vertices, faces, k=0.01, min_size=20)
    truth = nearest_object(vertices, frames, reach)
    if follow == "surface":
        (_, owner), segment = np.unique(np.stack([segment, truth]), axis=1, return_inverse=True)
        return Annotation(segment.reshape(-1), owner, truth)
    objects = int(truth.max(initial=NO_OBJECT)) + 1
    segments = int(segment.max()) + 1
    votes = np.bincount(segment * (objects + 1) + truth + 1, minlength=segments * (objects + 1))  # [S * (O + 1)]
    owner = votes.reshape(segments, objects + 1).argmax(axis=1) - 1  # [S]; column 0 counts vertices of no object
    return Annotation(segment, owner, truth)


def nearest_object(vertices: np.ndarray, frames: list[Frame], reach: float) -> np.ndarray:
    """The object that most of the true surface points nearest to each vertex belong to.

    Args:
        vertices: float [P, 3] metres.
        frames: The frames that hold the true surface points.
        reach: Distance within which surface points count, metres.

    Returns:
        int64 [P], -1 where no surface point is within reach; the nearest of several objects with equally many points.
    """
    surface = np.concatenate([frame.surface[::PIXEL_STEP, ::PIXEL_STEP].reshape(-1, 3) for frame in frames])
    owner = np.concatenate([frame.object[::PIXEL_STEP, ::PIXEL_STEP].reshape(-1) for frame in frames])
    hit = owner != NO_OBJECT
    surface, owner = np.ascontiguousarray(surface[hit]), owner[hit]  # [N, 3], [N] surface points of objects
    count = min(NEIGHBOURS, len(surface))
    distance, index = KDTree(surface).query(vertices.astype(np.float32), k=count, distance_upper_bound=reach)
    distance, index = distance.reshape(-1, count), index.reshape(-1, count)  # [P, k], nearest first
    found = np.isfinite(distance)  # [P, k]
    candidate = np.where(found, owner[np.where(found, index, 0)], NO_OBJECT)  # [P, k]
    votes = ((candidate[:, :, None] == candidate[:, None, :]) & found[:, None, :]).sum(axis=2) * found  # [P, k]
    best = votes.argmax(axis=1)  # [P]; the nearest one among equals
    return candidate[np.arange(len(vertices)), best]
