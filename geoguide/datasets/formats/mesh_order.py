"""Are a mesh's vertices, faces and objects in the order in which they name each other?

Files whose rows were sorted or shuffled one by one have the right lengths and ids. What tells is that a mesh's
neighbours belong together: faces are small, and most neighbours have one object. Measured on 20 generated rooms, 85
generated regions and, of faces alone, one real scan:

| | right | shuffled |
|---|---|---|
| median edge, over the diagonal of the points' box | 0.003 to 0.011 | 0.42 and more (reversed: 0.25 or less) |
| share of neighbours with one object, 0 as by chance, 1 all | 0.93 to 0.97 | 0 |
"""

from pathlib import Path

import numpy as np

from geoguide.errors import DataError

JUDGED = 1000  # faces; hand-made meshes have fewer, scans above 20,000
LONG, SCATTERED = 0.15, 0.5  # limits of the two numbers, far from either side
EVEN = 0.9  # share of neighbours with one object by chance; from there on, one object lies nearly everywhere


def check_small_faces(points: np.ndarray, faces: np.ndarray, path: Path) -> None:
    """Refuse a mesh whose faces join vertices all over it.

    Args:
        points: [P, 3].
        faces: Vertices of each face [F, 3].
        path: The mesh's file, for the message.

    Raises:
        DataError: They do.
    """
    if len(faces) < JUDGED:
        return
    edges = points[faces[:, 0]].astype(np.float64) - points[faces[:, 1]]  # [F, 3]
    length = float(np.median(np.linalg.norm(edges, axis=1)) / np.linalg.norm(np.ptp(points, axis=0)))
    if length > LONG:
        found = f"half of the faces have an edge longer than {length:.0%} of the whole mesh (usual: 1 %)"
        raise DataError(f"{path}: {found}: are its vertices in another order than the faces name them?")


def check_coherent_objects(owner: np.ndarray, faces: np.ndarray, unit: str, groups: Path, segments: Path) -> None:
    """Refuse objects that are strewn over a mesh: whose segments are of other vertices or faces than the mesh's.

    Args:
        owner: Object of each vertex [P] or of each face [F], -1 for none (see `segments.read_objects`).
        faces: Vertices of each face [F, 3].
        unit: "vertices" or "faces", which of them `owner` counts.
        groups: The file of objects, for the message.
        segments: The file of segments, for the message.

    Raises:
        DataError: They are.
    """
    if len(faces) < JUDGED:
        return
    alike = _alike_faces if unit == "faces" else _alike_vertices
    share, chance = alike(owner, faces), alike(np.random.default_rng(0).permutation(owner), faces)
    if chance < EVEN and share - chance < SCATTERED * (1 - chance):
        found = (
            f"only {share:.0%} of neighbours in the mesh belong to one object (by chance: {chance:.0%}, usual: 95 %)"
        )
        raise DataError(f"{groups}: {found}: is {segments.name} in another order than the mesh, or of another one?")


def _alike_vertices(owner: np.ndarray, faces: np.ndarray) -> float:
    """Share of the faces of which two vertices belong to one object."""
    return float((owner[faces[:, 0]] == owner[faces[:, 1]]).mean())


def _alike_faces(owner: np.ndarray, faces: np.ndarray) -> float:
    """Share of the corners of faces that belong to the object of the last face at that vertex."""
    last = np.empty(int(faces.max()) + 1, dtype=np.int64)
    for corner in range(3):
        last[faces[:, corner]] = owner
    return float((last[faces] == owner[:, None]).mean())
