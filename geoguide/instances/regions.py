"""Regions, that is superpoints with their measures: shape, contacts, and which of them make up the room's shell."""

from dataclasses import dataclass

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.ops.neighbors import nearest_points

NEIGHBORS = 12
CHUNK = 1 << 16  # points whose neighbours are in memory at a time
MAX_PLANES = 24
UPRIGHT = 0.25  # |nz| below this is a vertical surface
FLAT = 0.9  # |nz| above this is a horizontal one
THICKNESS = 0.03  # metres: how far a plane's regions may lie from it
FLOOR_REACH = 0.1  # metres: how far a floor region may lie above or below the lowest percentile
CLEARANCE = 0.1  # metres: points so far behind a wall count as behind it
SHELL_HEIGHT = 1.2  # metres: a wall rises at least so far
SHELL_AREA = 0.8  # m^2
BEHIND = 0.04  # share of the room's points that may lie behind a wall, in front of which they stand


@dataclass(frozen=True, eq=False)
class Regions:
    """The S superpoints of P points, measured.

    Attributes:
        index: int64 [P], the region of every point.
        sizes: int64 [S], points of each region.
        areas: float64 [S], m^2.
        centers: float64 [S, 3] metres, mean of the points.
        normals: float64 [S, 3], mean of the normals, unit length.
        low: float64 [S, 3] metres, corner of the bounding box.
        high: float64 [S, 3] metres, the opposite corner.
        contacts: The pairs of regions that touch: first [E] < second [E], and the contact's roughness [E] in [0, 1].
    """

    index: np.ndarray
    sizes: np.ndarray
    areas: np.ndarray
    centers: np.ndarray
    normals: np.ndarray
    low: np.ndarray
    high: np.ndarray
    contacts: tuple[np.ndarray, np.ndarray, np.ndarray]

    @property
    def count(self) -> int:
        """S."""
        return len(self.sizes)

    def surely_behind(self, normal: np.ndarray, offset: float) -> float:
        """Share of the points that lie behind a plane at least, by the boxes of the regions: O(S), not O(P).

        Args:
            normal: float64 [3], of unit length.
            offset: Of the plane along it, metres.

        Returns:
            Of the points in regions that are wholly further than `CLEARANCE` from the plane, on the side of fewer.
        """
        ahead, back = np.maximum(normal, 0), np.minimum(normal, 0)
        nearest = self.low @ ahead + self.high @ back - offset  # [S]
        farthest = self.high @ ahead + self.low @ back - offset
        clear = CLEARANCE + 1e-6  # points that rounding moves across do not count
        return min(self.sizes[nearest > clear].sum(), self.sizes[farthest < -clear].sum()) / len(self.index)

    @classmethod
    def measure(cls, points: np.ndarray, normals: np.ndarray, superpoints: np.ndarray, reach: float) -> "Regions":
        """Measure the superpoints of a scene.

        Args:
            points: float64 [P, 3] metres.
            normals: float64 [P, 3], unit length.
            superpoints: integer [P], any ids.
            reach: Points closer than this are in contact, metres.

        Returns:
            S regions, in the order of the superpoints' ids.
        """
        index = np.unique(superpoints, return_inverse=True)[1]
        sizes = np.bincount(index)  # [S]
        order = np.argsort(index, kind="stable")  # [P]
        starts = np.r_[0, np.cumsum(sizes)[:-1]]  # [S] places in `order`
        normal = np.add.reduceat(normals[order], starts)  # [S, 3]
        spacing, contacts = _neighborhoods(points, normals, index, reach)
        return cls(
            index,
            sizes,
            np.add.reduceat(spacing[order], starts),
            np.add.reduceat(points[order], starts) / sizes[:, None],
            normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9),
            np.minimum.reduceat(points[order], starts),
            np.maximum.reduceat(points[order], starts),
            contacts,
        )


def _neighborhoods(
    points: np.ndarray, normals: np.ndarray, index: np.ndarray, reach: float
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The area that each point stands for, m^2 [P]; and pairs of regions that touch, with the contact's roughness.

    That is 0 smooth, convex up to 0.5, concave up to 1. Memory beside the points is that of `CHUNK` of them, and of
    the neighbours in another region.
    """
    tree, spacing, codes, roughs = KDTree(points), np.empty(len(points)), [], []
    for start in range(0, len(points), CHUNK):
        part = slice(start, start + CHUNK)
        distance, neighbor = nearest_points(tree, points[part], NEIGHBORS + 1)  # [n, k] each
        spacing[part] = np.pi * distance[:, -1] ** 2 / distance.shape[1]
        neighbor = neighbor[:, 1:]
        near = (distance[:, 1:] <= reach) & (index[neighbor] != index[part, None])
        here, there = start + np.nonzero(near)[0], neighbor[near]  # points that touch another region's
        step = points[there] - points[here]
        step /= np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-9)
        bend = (1.0 - (normals[here] * normals[there]).sum(axis=1)) / 2.0  # 0 flat, 0.5 a right angle, 1 opposite
        opening = ((normals[there] - normals[here]) * step).sum(axis=1)  # positive on convex edges
        roughs.append(np.clip(np.where(opening > 0, 0.5 * bend, 0.2 + bend) * (bend > 0.02), 0.0, 1.0))
        low, high = np.minimum(index[here], index[there]), np.maximum(index[here], index[there])
        codes.append(low * (index.max() + 1) + high)
    unique, inverse, amount = np.unique(np.concatenate(codes), return_inverse=True, return_counts=True)
    roughness = np.bincount(inverse, weights=np.concatenate(roughs), minlength=len(unique)) / amount  # [E]
    return spacing, (*np.divmod(unique, index.max() + 1), roughness)


def room_planes(points: np.ndarray, regions: Regions) -> np.ndarray:
    """Find the planes of the room's shell (floor and walls), and the regions that belong to each.

    Args:
        points: float64 [P, 3] metres, z up.
        regions: S regions of these points.

    Returns:
        int64 [S], the plane of each region: 0 the floor, then walls; -1 for none.
    """
    plane = np.full(regions.count, -1)
    floor = np.percentile(points[:, 2], 1)
    flat = np.abs(regions.normals[:, 2]) > FLAT
    plane[flat & (np.abs(regions.centers[:, 2] - floor) < FLOOR_REACH)] = 0
    upright = (np.abs(regions.normals[:, 2]) < UPRIGHT) & (np.abs(regions.normals[:, :2]).max(axis=1) > UPRIGHT)
    tall = upright & (regions.high[:, 2] - regions.low[:, 2] > SHELL_HEIGHT) & (regions.areas > SHELL_AREA)
    for seed in np.argsort(-regions.areas, kind="stable"):  # over the tall upright regions, largest first
        if plane.max() >= MAX_PLANES:
            break
        if not tall[seed] or plane[seed] >= 0:
            continue
        normal = regions.normals[seed] * [1, 1, 0]
        normal /= np.linalg.norm(normal)
        offset = normal @ regions.centers[seed]
        if regions.surely_behind(normal, offset) > BEHIND:  # most walls of a large scan, told without its points
            continue
        side = points @ normal - offset
        if min((side > CLEARANCE).mean(), (side < -CLEARANCE).mean()) > BEHIND:
            continue
        apart = np.abs(regions.centers @ normal - offset)
        parallel = np.abs(regions.normals @ normal) > FLAT
        plane[(plane < 0) & upright & parallel & (apart < THICKNESS)] = max(plane.max(), 0) + 1
    return plane


def merged(regions: Regions, free: np.ndarray, tolerance: float) -> np.ndarray:
    """Join regions over smooth contacts.

    Args:
        regions: S regions.
        free: bool [S], the regions that may join.
        tolerance: Roughness of a contact up to which two free regions join.

    Returns:
        int64 [S], the group of every region, from 0.
    """
    first, second, roughness = regions.contacts
    keep = free[first] & free[second] & (roughness <= tolerance)
    from scipy import sparse  # slow to import, and descriptors without segments do without
    from scipy.sparse.csgraph import connected_components

    graph = sparse.coo_matrix((np.ones(keep.sum()), (first[keep], second[keep])), shape=(regions.count,) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)
