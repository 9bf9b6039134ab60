"""To which side normals look: that from which the surface was seen, by one rule for supplied and estimated ones.

A surface was seen from where nothing stands between it and the sensor. Where the sensor stood is known for a LiDAR's
sweep and for posed frames. Elsewhere `viewpoints` says where somebody may have stood who scanned: free places at eye
height above ground that the scan holds, hence within the room and never behind its walls; outdoors they look down on
the ground and along the street. A point votes for the side of the nearest viewpoints that see it (`seen_side`), and
neighbours on a smooth surface vote together (`oriented`). What nobody can see keeps looking up.
"""

from typing import TYPE_CHECKING

import numpy as np
from pykdtree.kdtree import KDTree
from tqdm import tqdm

from geoguide.ops.compiled import compiled
from geoguide.ops.neighbors import nearest_points
from geoguide.ops.tiles import FROM, MOST, plan_steps, tiling
from geoguide.ops.weld import find_weld
from geoguide.superpoints import upward

if TYPE_CHECKING:  # slow to import, and supplied normals are asked without
    from scipy import sparse

EYES = (1.0, 1.6)  # metres above the ground: a device held in the hand, and before the eyes
PLAN = 0.4  # metres from one viewpoint to the next in the plan
AROUND = 1.0  # metres in the plan, within which the lowest point is the ground: a table beside a floor is none
CLEAR = 0.3  # metres from a viewpoint to the nearest point: nobody's head is nearer to a wall
NEAREST = 32  # viewpoints that a point is asked about: those within some two metres
STEEP = 0.2  # cosine below which a line of sight runs along the surface: the normal's own error decides its sign
VOXEL = 0.05  # metres, at least, of the filled space that lines of sight must not cross
CELLS = 2**26  # voxels of it that are kept (64 MB); larger scans have larger ones
LIFT = 1.25  # voxels above its own surface, from where on a line of sight may be blocked
NEIGHBORS = 8  # of a point, that vote with it
ROUNDS = 40  # a vote goes from neighbour to neighbour so often
SAMPLE = 4000  # points that tell to which side a whole scan's normals look
TOLD = 0.1  # of them that are seen, at least, for a word about the scan
HALO = 8  # steps of PLAN around a tile of a large cloud: as far as the viewpoints that a point is asked about, and more
FEW = 400  # points that are seen, at least: at random the share of so many differs from a half by 0.05


def viewpoints(points: np.ndarray, corner: np.ndarray | None = None) -> np.ndarray:
    """Say where somebody may have stood who scanned these points. O(P log P).

    Args:
        points: [P, 3] metres, z up.
        corner: Of the plan, from which places are counted, [2]; None for the lowest x and y of the points.

    Returns:
        float64 [K, 3]; none where there is no free place above ground, as in a scan of one wall.
    """
    points = np.asarray(points, np.float64)
    corner = points[:, :2].min(axis=0) if corner is None else corner
    cells, cell = np.unique(np.floor((points[:, :2] - corner) / PLAN), axis=0, return_inverse=True)  # [N, 2], [P]
    lowest = np.full(len(cells), np.inf)
    np.minimum.at(lowest, cell.reshape(-1), points[:, 2])
    middle = corner + (cells + 0.5) * PLAN  # [N, 2]
    disc = int(np.pi * (AROUND / PLAN + 1) ** 2)  # cells that lie around one, at most
    flat = np.column_stack([middle, np.zeros(len(cells))])
    distance, near = nearest_points(KDTree(flat), flat, disc)
    ground = np.where(distance <= AROUND, lowest[near], np.inf).min(axis=1)  # [N]
    eyes = np.concatenate([np.column_stack([middle, ground + height]) for height in EYES])  # [2 N, 3]
    above = eyes[:, 2] > np.tile(lowest, len(EYES))
    return eyes[above & (nearest_points(KDTree(points), eyes, 1)[0][:, 0] > CLEAR)]


def seen_side(points: np.ndarray, normals: np.ndarray, eyes: np.ndarray, every: int = 1) -> np.ndarray:
    """Tell from which side of its surface each point is seen.

    Viewpoints count by the cosine to the normal and inversely to their distance. O(P log P) and `NEAREST` lines of
    sight for each point that is asked about, of some 50 steps.

    Args:
        points: [P, 3] metres.
        normals: [P, 3], unit length.
        eyes: Viewpoints [K, 3].
        every: Ask about every n-th point only.

    Returns:
        float64 [P / every] in -1..1: 1 where all viewpoints that see the point lie on the normal's side, -1 on the
        other; 0 where none sees it.
    """
    points = np.asarray(points, np.float64)
    asked = points[::every]
    if not len(eyes):
        return np.zeros(len(asked))
    tree = KDTree(points)
    near = nearest_points(KDTree(eyes), asked, NEAREST)[1]
    spacing = np.median(nearest_points(tree, asked, NEIGHBORS + 1)[0][:, -1])
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    low, high = low - 0.1 * (high - low) - 1, high + 0.1 * (high - low) + 1  # all but stray points
    voxel = max(VOXEL, spacing, (np.prod(high - low) / CELLS) ** (1 / 3))
    while np.prod((high - low) / voxel + 1) > 4 * CELLS:  # thin, and as wide as only damaged files are
        voxel *= 2
    cell = np.floor((points[((points >= low) & (points < high)).all(axis=1)] - low) / voxel).astype(np.int64)
    filled = np.zeros(np.floor((high - low) / voxel).astype(np.int64) + 1, np.bool_)
    filled[tuple(cell.T)] = True
    return _vote(
        asked, np.asarray(normals, np.float64)[::every], np.asarray(eyes, np.float64), near, low, voxel, filled
    )


def oriented(points: np.ndarray, normals: np.ndarray, sensors: np.ndarray | None = None) -> np.ndarray:
    """Turn normals to the side from which their surface was seen. Which side they look to before does not matter.

    A point's own votes and those of its neighbours, by the square of the cosine between their normals, are averaged
    `ROUNDS` times. O(P log P). Clouds of `ops.tiles.FROM` points and more are worked on in tiles, with the neighbours
    within `HALO`: memory is that of a tile.

    Args:
        points: [P, 3] metres, z up. Points of equal position are one.
        normals: [P, 3], unit length, to either side.
        sensors: Where cameras stood, [K, 3]; what they do not see is seen from `viewpoints`. None: all is.

    Returns:
        [P, 3], of the dtype of `normals`.
    """
    if len(points) < FROM:
        return _oriented(points, normals, sensors)
    corner = points[:, :2].min(axis=0).astype(np.float64)
    tiles, found = tiling(plan_steps(points, corner, PLAN), HALO, most=MOST), np.empty_like(normals)
    for tile in tqdm(tiles, "normals"):
        part = _oriented(points[tile.rows], normals[tile.rows], sensors, corner)
        found[tile.rows[tile.own]] = part[tile.own]
    return found


def _oriented(
    points: np.ndarray, normals: np.ndarray, sensors: np.ndarray | None, corner: np.ndarray | None = None
) -> np.ndarray:
    """`oriented`, all at once; `corner` as in `viewpoints`."""
    weld = find_weld(points)
    places, lines = (points, normals) if weld is None else (weld.mean(points), normals[weld.first])
    places, lines = np.asarray(places, np.float64), upward(np.asarray(lines, np.float64))
    own = _evidence(places, lines, sensors, corner=corner)
    graph = _smoothness(lines, nearest_points(KDTree(places), places, NEIGHBORS + 1)[1])
    side = own
    for _ in range(ROUNDS):
        side = (own + 2.0 * (graph @ side)) / (np.abs(own) + 2.0)
    lines = np.where(side[:, None] < 0, -lines, lines)  # [P, 3]
    return facing(normals, lines if weld is None else lines[weld.index])


def agreement(points: np.ndarray, normals: np.ndarray, sensors: np.ndarray | None = None) -> float | None:
    """Measure how far normals look to the side from which their surface was seen, at some `SAMPLE` points.

    Args:
        points: [P, 3] metres, z up.
        normals: [P, 3], unit length.
        sensors: As in `oriented`.

    Returns:
        The share in 0..1 of what is seen; None where less than `TOLD`, or fewer than `FEW`, of the points are
        seen at all.
    """
    evidence = _evidence(points, normals, sensors, max(1, len(points) // SAMPLE))
    told = np.count_nonzero(evidence)
    if told < max(FEW, TOLD * len(evidence)):
        return None
    return float(evidence[evidence > 0].sum() / np.abs(evidence).sum())


def facing(normals: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Turn normals to the half-space of a direction; those across it stay.

    Args:
        normals: [P, 3].
        towards: Directions [P, 3] of any length.

    Returns:
        [P, 3], of the dtype of `normals`.
    """
    away = np.einsum("pd,pd->p", np.asarray(normals, np.float64), towards) < 0
    return np.where(away[:, None], -normals, normals)


def _evidence(
    points: np.ndarray,
    normals: np.ndarray,
    sensors: np.ndarray | None,
    every: int = 1,
    corner: np.ndarray | None = None,
) -> np.ndarray:
    """`seen_side` from the sensors, and from `viewpoints` where no sensor tells."""
    told = np.zeros(len(points[::every])) if sensors is None else seen_side(points, normals, sensors, every)
    if (told != 0).all():
        return told
    return np.where(told != 0, told, seen_side(points, normals, viewpoints(points, corner), every))


def _smoothness(normals: np.ndarray, nearest: np.ndarray) -> "sparse.csr_matrix":
    """How much each neighbour says about a point's side, signed, [P, P]; a row's absolute values sum to 1."""
    from scipy import sparse

    count = len(normals)
    row, column = np.repeat(np.arange(count), nearest.shape[1]), nearest.reshape(-1)
    cosine = np.einsum("ed,ed->e", normals[row], normals[column])
    weight = np.where(row == column, 0.0, cosine * np.abs(cosine))
    graph = sparse.csr_matrix((weight, (row, column)), shape=(count, count))
    graph = graph + graph.T
    total = np.asarray(abs(graph).sum(axis=1)).reshape(-1)
    return sparse.diags(1 / np.maximum(total, 1e-12)) @ graph


@compiled(nogil=True, error_model="numpy")
def _vote(
    points: np.ndarray,
    normals: np.ndarray,
    eyes: np.ndarray,
    near: np.ndarray,
    low: np.ndarray,
    voxel: float,
    filled: np.ndarray,
) -> np.ndarray:
    """`seen_side` of each point [P] by its viewpoints `near` [P, k]."""
    found = np.zeros(len(points))
    for p in range(len(points)):
        total, most = 0.0, 0.0
        for k in range(near.shape[1]):
            step = eyes[near[p, k]] - points[p]
            length = np.sqrt((step * step).sum())
            cosine = (step * normals[p]).sum() / length
            if not abs(cosine) >= STEEP:  # nan too, of a point at the viewpoint
                continue
            if _is_free(points[p] - low, step / length, LIFT * voxel / abs(cosine), length, voxel, filled):
                total += cosine / length
                most += abs(cosine) / length
        if most > 0:
            found[p] = total / most
    return found


@compiled(nogil=True, error_model="numpy")
def _is_free(
    start: np.ndarray, step: np.ndarray, begin: float, length: float, voxel: float, filled: np.ndarray
) -> bool:
    """Whether no filled voxel lies between `begin` and `length` metres along a line of sight."""
    along = begin
    while along < length:
        i = int(np.floor((start[0] + along * step[0]) / voxel))
        j = int(np.floor((start[1] + along * step[1]) / voxel))
        k = int(np.floor((start[2] + along * step[2]) / voxel))
        inside = 0 <= i < filled.shape[0] and 0 <= j < filled.shape[1] and 0 <= k < filled.shape[2]
        if inside and filled[i, j, k]:
            return False
        along += 0.5 * voxel
    return True
