"""Normals that files lack or hold wrongly: estimated where there is none, unit length, to the side that was seen.

One rule says to which side they look (`orientation`): to that from which the surface was seen. A LiDAR's sweep was seen
from the LiDAR, RGB-D frames from their cameras, any other scan from where somebody may have stood in it. Estimated
normals have no side before and are turned one by one. A file's own sides, of supplied normals and of faces that wind
alike (they wind to the side that was seen, in reconstructions and scans), are more exact than the rule where they agree
with it: at `BELIEVED` of what is seen they stay as they are, where they contradict it as clearly all are turned, and in
between, as of normals without a side or of faces that wind at random, each is turned by the rule.
"""

from collections.abc import Sequence

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.datasets.formats.ply import known_vertex_normals
from geoguide.datasets.orientation import FEW, agreement, facing, oriented
from geoguide.ops.weld import Finder, each_once, find_weld
from geoguide.scene import View
from geoguide.superpoints import estimate_normals

EXACT = 1e-6  # up to here a length differs from 1 by float32 alone: such a normal stays as it is, bit for bit
UNIT = 0.01  # what a length may differ from 1 before it is worth a word: float16 and text of few digits stay below
FLAT = 0.05  # a plane's height, of its length: noise of a scanned wall stays below
# Of 24 generated meshes the median longest edge is 0.02 to 0.03 of the median distance of two random vertices; with the
# faces of another of these meshes 0.37 to 0.9, with shuffled vertices 1. Meshes of fewer vertices may be drawn by hand.
ACROSS, MANY, PAIRS = 0.25, 1000, 5000
SHORTER = 0.95  # of the mean longest edge: what counting from 1 leaves of it; right faces grow by the shift instead
MESH = 0.5  # a mesh has faces at this share of its vertices at least; otherwise it is a cloud with a few faces in it
BELIEVED = 0.8  # of what is seen: the rule errs on up to a tenth itself, normals without a side agree by a half
WOUND = 0.1  # of the edges, across which faces wind against each other: at random it is a half, in scans next to none
APART = 0.25  # metres between the places that frames were taken from: nearer ones see the same
SEEN = "the side that was seen"
NO_NORMALS = "no normals: estimated from the points, each"  # how the sentence about them begins


def filled_normals(
    points: np.ndarray, normals: np.ndarray, of_faces: np.ndarray | None = None
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Bring normals to unit length, and replace those that are zero, NaN or inf: by the faces', else estimated ones.

    All are taken as missing where all are the same (what some programs write in place of none) though the points are
    no plane.

    Args:
        points: float32 [P, 3] metres.
        normals: numbers [P, 3] of any length.
        of_faces: Unit normals of the mesh, float32 [P, 3]; None for a cloud.

    Returns:
        Unit normals, float32 [P, 3], or None for a cloud that has none at all: then every stage estimates them as it
        does for a cloud without normals. And what was done, one sentence each.
    """
    count, instead = len(points), "estimated from the points" if of_faces is None else "taken from the faces"
    normals = np.where(np.isfinite(normals).all(axis=1, keepdims=True), normals, 0).astype(np.float64)
    length = np.linalg.norm(normals, axis=1)  # [P], 0 where a number is missing
    known = (length > 0) & np.isfinite(length)
    if not known.any():
        return of_faces, (f"all {count} normals are zero or not finite: {instead}",)
    if _is_placeholder(points, normals, known):
        same = " ".join(f"{value:.3g}" for value in normals[known][0])
        return of_faces, (f"all {count} normals are ({same}), though the points are no plane: {instead}",)
    said: list[str] = []
    odd = int((np.abs(length[known] - 1) > UNIT).sum())
    if odd:
        said.append(f"{odd} of {count} normals are not of unit length: normalised")
    unit = np.zeros((count, 3), np.float32)
    unit[known] = normals[known] / np.where(np.abs(length - 1) > EXACT, length, 1.0)[known, None]
    if not known.all():
        said.append(f"{count - int(known.sum())} of {count} normals are zero or not finite: {instead}")
        if of_faces is None:
            unit = estimated_where_missing(points, unit, known)
        else:
            unit[~known] = of_faces[~known]
    return unit, tuple(said)


def mesh_normals(
    points: np.ndarray, faces: np.ndarray, find: Finder = find_weld
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Compute the normals of a mesh, and estimate those of vertices that no face (with an area) touches.

    Args:
        points: The vertices, float32 [P, 3] metres.
        faces: int64 [F, 3].
        find: How equal positions are found.

    Returns:
        Unit normals, float32 [P, 3], and the faces, wound to the side that was seen; or None for both where fewer than
        `MESH` of the vertices have a normal by them: such a mesh is read as a cloud. And what was done, one sentence
        each.
    """
    if not len(faces):
        return None, None, ("the mesh has no faces: read as a cloud",)
    faces, counted = _counted_from_zero(points, faces)
    if _is_tangled(points, faces):
        return None, None, ("most faces join vertices across the whole scan, as those of another mesh or in another "
                            "order would: read as a cloud without faces",)  # fmt: skip
    normals, known = known_vertex_normals(points, faces, find)
    count = len(points)
    if known.sum() < MESH * count and len(once := each_once(faces)) < len(faces):  # a sheet's two sides cancel
        repeated = f"{len(faces) - len(once)} of {len(faces)} faces repeat another, as its other side: left out"
        faces, counted = once, (*counted, repeated)
        normals, known = known_vertex_normals(points, faces, find)
    touched = int(known.sum())
    if touched < MESH * count:
        return None, None, (f"faces give {touched} of {count} vertices a normal: read as a cloud without faces",)
    if touched < count:
        missing = f"{count - touched} of {count} vertices belong to no face with an area"
        counted = (*counted, f"{missing}: normals estimated from the points")
        normals = estimated_where_missing(points, normals, known, find)
    normals, faces, told = _wound(points, normals, faces, find)
    return normals, faces, counted + told


def _counted_from_zero(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """The faces; less one where vertex 0 is unused and their edges become clearly shorter so, and a sentence then."""
    if faces.min() < 1:
        return faces, ()
    as_read, less_one = (_longest_edges(points, each).mean() for each in (faces, faces - 1))
    if less_one >= SHORTER * as_read:
        return faces, ()
    found = f"mean longest edge {less_one:.3g} m instead of {as_read:.3g} m"
    return faces - 1, (f"faces count vertices from 1, by the length of their edges ({found}): read so",)


def _is_tangled(points: np.ndarray, faces: np.ndarray) -> bool:
    """Whether the faces of a mesh of many vertices are about as long as two vertices taken at random lie apart."""
    count = len(points)
    if count < MANY:
        return False
    first, second = np.random.default_rng(0).integers(count, size=(2, PAIRS))
    apart = np.median(np.linalg.norm(points[first].astype(np.float64) - points[second], axis=1))
    return bool(np.median(_longest_edges(points, faces)) > ACROSS * apart)


def _longest_edges(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Length of the longest edge of each face, float64 [F]."""
    corners = points.astype(np.float64)[faces]  # [F, 3, 3]
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)


def estimated_where_missing(
    points: np.ndarray, normals: np.ndarray, known: np.ndarray, find: Finder = find_weld
) -> np.ndarray:
    """Estimate the missing normals; each looks to the side to which the nearest known one looks.

    Args:
        points: [P, 3] metres.
        normals: Unit normals float32 [P, 3]; read where `known`.
        known: bool [P], at least one.
        find: How equal positions are found.

    Returns:
        float32 [P, 3].
    """
    estimate = estimate_normals(points, find=find)[~known]  # [n, 3]
    coordinates = np.asarray(points, np.float64)
    _, nearest = KDTree(coordinates[known]).query(coordinates[~known], k=1)
    along = np.einsum("nd,nd->n", estimate, normals[known][nearest.reshape(-1).astype(np.int64)])  # [n]
    filled = normals.copy()
    filled[~known] = np.where(along[:, None] < 0, -estimate, estimate)
    return filled


def seen_normals(
    points: np.ndarray, faces: np.ndarray, views: Sequence[View] = (), find: Finder = find_weld
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """The normals of a scan's mesh, or of its vertices where the faces are missing; all to the side that was seen.

    Args:
        points: The vertices, float32 [P, 3] metres, z up.
        faces: int64 [F, 3].
        views: Those with a pose say where the cameras stood.
        find: How equal positions are found.

    Returns:
        Unit normals, float32 [P, 3]; the faces, wound accordingly, None for a cloud; and what was done.
    """
    normals, wound, said = mesh_normals(points, faces, find)
    if normals is not None:
        return normals, wound, said
    normals, told = sided_normals(points, None, camera_places(views), find)
    return normals, None, said + told


def sided_normals(
    points: np.ndarray, normals: np.ndarray | None, sensors: np.ndarray | None = None, find: Finder = find_weld
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Give a cloud normals that look to the side that was seen; the module says when supplied ones are believed.

    Args:
        points: float32 [P, 3] metres, z up.
        normals: Unit normals, float32 [P, 3], or None.
        sensors: Where the cameras stood, [K, 3]; None where that is not known.
        find: How equal positions are found.

    Returns:
        Unit normals, float32 [P, 3], and what was done.
    """
    seen = SEEN if sensors is None else "the side that the cameras saw"
    if normals is None:
        said = f"{NO_NORMALS} to {seen}"
        return oriented(points, estimate_normals(points, find=find), sensors), (said,)
    share = agreement(points, normals, sensors)
    if share is None or share >= BELIEVED:
        return normals, ()
    if share <= 1 - BELIEVED:
        return -normals, (f"normals look away from {seen}: all turned",)
    return oriented(points, normals, sensors), (f"{share:.0%} of the normals look to {seen}: each turned by itself",)


def swept_normals(points: np.ndarray, lidar: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Estimate the normals of one LiDAR sweep: each looks to the sensor, so that the ground looks up.

    Args:
        points: float32 [P, 3] metres.
        lidar: Where the sensor stood, [3].

    Returns:
        Unit normals, float32 [P, 3], and what was done.
    """
    normals = facing(estimate_normals(points), np.asarray(lidar, np.float64) - points)
    return normals, (f"{NO_NORMALS} towards the LiDAR",)


def camera_places(views: Sequence[View]) -> np.ndarray | None:
    """Say where the cameras of a recording stood.

    Args:
        views: Any views.

    Returns:
        float64 [K, 3], `APART` from one another; None where no view has a pose.
    """
    places = [np.asarray(view.cam_to_world[:3, 3], np.float64) for view in views if view.has_pose]
    if not places:
        return None
    return np.stack(places)[np.unique(np.floor(np.stack(places) / APART), axis=0, return_index=True)[1]]


def _wound(
    points: np.ndarray, normals: np.ndarray, faces: np.ndarray, find: Finder
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Normals [P, 3] and faces [F, 3] of a mesh, by the side that was seen, and what was done."""
    share = _against(points, faces, find)
    if share > WOUND:
        normals = oriented(points, estimate_normals(points, find=find))
        corners = points.astype(np.float64)[faces]  # [F, 3, 3]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # [F, 3]
        away = np.einsum("fd,fd->f", across, normals[faces].sum(axis=1)) < 0
        turned = np.where(away[:, None], faces[:, [0, 2, 1]], faces)
        of_faces, known = known_vertex_normals(points, turned, find)  # finer than planes through neighbours
        normals = np.where(known[:, None], of_faces, normals)
        said = f"faces wind against each other across {share:.0%} of the edges: each turned to {SEEN}"
        return normals, turned, (said,)
    seen = agreement(points, normals)
    if seen is None or seen > 1 - BELIEVED:
        return normals, faces, ()
    return -normals, faces[:, [0, 2, 1]], (f"faces wind away from {SEEN}: all turned, and the normals",)


def _against(points: np.ndarray, faces: np.ndarray, find: Finder) -> float:
    """Share of the edges between two faces that both run along in the same direction; 0 where there are few such."""
    weld = find(points)
    faces = faces if weld is None else weld.faces(faces)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]  # one that names a vertex twice has no side
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)  # [3 F] the edges, by corner
    edge = np.minimum(start, end) * len(points) + np.maximum(start, end)
    order = np.argsort(edge, kind="stable")
    edge, rises = edge[order], (start < end)[order]
    first = np.flatnonzero(np.diff(edge, prepend=-1))  # of each edge
    pair = first[np.diff(np.append(first, len(edge))) == 2]  # of two faces
    return float((rises[pair] == rises[pair + 1]).mean()) if len(pair) >= FEW else 0.0


def _is_placeholder(points: np.ndarray, normals: np.ndarray, known: np.ndarray) -> bool:
    """Whether all normals are one and the same while the points do not lie in a plane across it."""
    first = normals[known][0]
    if (normals[known] != first).any():
        return False
    low, high = np.percentile(points, (1, 99), axis=0)  # [3] each
    height = np.ptp(np.percentile(points @ (first / np.linalg.norm(first)), (1, 99)))
    return bool(height > FLAT * (high - low).max())
