"""Annotation of a reconstructed mesh the way ScanNet was annotated: objects are sets of segments."""

from dataclasses import dataclass

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.superpoints import segment_mesh
from geoguide.worlds.camera import NO_OBJECT, Frame

NEIGHBOURS = 8


PIXEL_STEP = 2  # every second row and column of the true surface points is plenty at the mesh's resolution


@dataclass(frozen=True, eq=False)
class Annotation:
    """segment int64 [P], ids 0..S-1; owner int64 [S], object of each segment or -1; truth int64 [P], object of the
    nearest true surface or -1 where that is too far; purity: share of vertices whose segment's object is their own.
    """

    segment: np.ndarray
    owner: np.ndarray
    truth: np.ndarray

    @property
    def purity(self) -> float:
        return float((self.owner[self.segment] == self.truth).mean())


def annotate(vertices: np.ndarray, faces: np.ndarray, frames: list[Frame], reach: float) -> Annotation:
    """Give every segment of a mesh the object that most of its vertices lie on (matches ScanNet's annotation).

    vertices [P, 3], faces [F, 3] of the reconstruction; frames hold the true surface points; a vertex further than
    `reach` metres from all of them counts as not annotated. Segments are ScanNet's own (k 0.01, at least 20 vertices).
    """
    segment = segment_mesh(vertices, faces, k=0.01, min_size=20)
    truth = nearest_object(vertices, frames, reach)
    objects = int(truth.max(initial=NO_OBJECT)) + 1
    segments = int(segment.max()) + 1
    votes = np.bincount(segment * (objects + 1) + truth + 1, minlength=segments * (objects + 1))
    owner = votes.reshape(segments, objects + 1).argmax(axis=1) - 1  # column 0 counts vertices of no object
    return Annotation(segment, owner, truth)


def nearest_object(vertices: np.ndarray, frames: list[Frame], reach: float) -> np.ndarray:
    """int64 [P]: the object that most of the nearest true surface points within `reach` metres belong to, or -1."""
    surface = np.concatenate([frame.surface[::PIXEL_STEP, ::PIXEL_STEP].reshape(-1, 3) for frame in frames])
    owner = np.concatenate([frame.object[::PIXEL_STEP, ::PIXEL_STEP].reshape(-1) for frame in frames])
    hit = owner != NO_OBJECT
    surface, owner = np.ascontiguousarray(surface[hit]), owner[hit]
    count = min(NEIGHBOURS, len(surface))
    distance, index = KDTree(surface).query(vertices.astype(np.float32), k=count, distance_upper_bound=reach)
    distance, index = distance.reshape(-1, count), index.reshape(-1, count)  # [P, k], nearest first
    found = np.isfinite(distance)
    candidate = np.where(found, owner[np.where(found, index, 0)], NO_OBJECT)  # [P, k]
    votes = ((candidate[:, :, None] == candidate[:, None, :]) & found[:, None, :]).sum(axis=2) * found
    best = votes.argmax(axis=1)  # the nearest one among equals
    return candidate[np.arange(len(vertices)), best]
