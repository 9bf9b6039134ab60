"""Masks made worse in a controlled way, so that what the modules owe to mask quality can be measured: oracle to poor.

The errors are those of real masks: an object grown together with one that it touches, or cut in two.
"""

import hashlib

import numpy as np
from pykdtree.kdtree import KDTree
from scipy import sparse

from geoguide.errors import InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.regions import NEIGHBORS
from geoguide.ops.neighbors import nearest_points

REACH = 0.08  # metres: masks that come closer touch, as in `InstanceConfig.reach`
CUT = (0.3, 0.7)  # least and greatest share of a mask's points on one side of a cut


def spoil_masks(masks: InstanceMasks, points: np.ndarray, share: float, name: str) -> InstanceMasks:
    """Merge some masks with one that they touch, and cut others in two across their longest side.

    Each mask is spoiled by itself at the chance `share`, merged or cut at equal chances; one that touches none is cut,
    one of a single position stays. The mask that another is merged with stays as it is, unless it is spoiled too: so
    `share` is the share of objects whose mask is wrong. Masks that overlap one before them are other guesses at the
    same object, which would outlive it: they stay where that one is whole, and are left out where it is spoiled.
    O(P log P) time; a loop over masks, a few hundred.

    Args:
        masks: M masks over P points.
        points: float [P, 3] metres.
        share: Chance of each mask to be spoiled, 0..1.
        name: Of the scene: with the number of a mask it decides what happens to it, whatever `share` is, so that masks
            spoiled at a lower share are spoiled alike at a higher one.

    Returns:
        Up to 2 M masks: in the order of the masks, the halves of a cut one after the other; scores are kept.

    Raises:
        InputError: A share outside 0..1, or points that are not [P, 3].
    """
    if not 0 <= share <= 1:
        raise InputError(f"share must be in 0..1, found {share}")
    if points.shape != (masks.num_points, 3):
        raise InputError(f"points must be [{masks.num_points}, 3], found {list(points.shape)}")
    contacts, first = touching(masks, points), first_guesses(masks)  # [M, M], [M]
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    found, scores = [], []
    for mask in range(len(masks)):
        rng = np.random.default_rng([seed, first[mask]])
        own = masks.index[masks.offsets[mask] : masks.offsets[mask + 1]]
        parts = [own]
        if rng.random() < share:
            others = contacts.indices[contacts.indptr[mask] : contacts.indptr[mask + 1]]
            others = others[first[others] == others]
            if first[mask] != mask:
                parts = []
            elif rng.random() < 0.5 and len(others):
                other = others[rng.integers(len(others))]
                parts = [np.union1d(own, masks.index[masks.offsets[other] : masks.offsets[other + 1]])]
            else:
                parts = _halves(own, points[own], rng.uniform(*CUT))
        found += parts
        scores += [masks.scores[mask]] * len(parts)
    sizes = np.array([len(part) for part in found], np.int64)
    index = np.concatenate([*found, np.zeros(0, np.int64)]).astype(np.int64)
    return InstanceMasks(
        index, np.r_[0, np.cumsum(sizes)].astype(np.int64), masks.num_points, np.array(scores, np.float32)
    )


def first_guesses(masks: InstanceMasks) -> np.ndarray:
    """Which mask each is another guess at: the first that it shares a point with, of those that are none themselves.

    Args:
        masks: M masks over P points, better ones first.

    Returns:
        int64 [M]; of a mask that overlaps none of these before it, its own number.
    """
    member = masks.sparse()  # [M, P]
    overlap = (member @ member.T).tocsr()  # [M, M], of those that share a point
    overlap.sort_indices()
    first = np.arange(len(masks))
    for mask in range(len(masks)):  # over masks, a few hundred of a room
        shared = overlap.indices[overlap.indptr[mask] : overlap.indptr[mask + 1]]
        before = shared[(shared < mask) & (first[shared] == shared)]
        first[mask] = before[0] if len(before) else mask
    return first


def touching(masks: InstanceMasks, points: np.ndarray) -> sparse.csr_matrix:
    """Which masks touch: one holds a point that is among the nearest of a point of the other, and within reach.

    Args:
        masks: M masks over P points.
        points: float [P, 3] metres.

    Returns:
        CSR [M, M] with sorted indices, whose stored entries are the pairs that touch, both ways; none with itself.
    """
    distance, neighbor = nearest_points(KDTree(points), points, NEIGHBORS + 1)  # [P, k] each
    near = distance <= REACH
    edges = (np.nonzero(near)[0], neighbor[near])
    graph = sparse.csr_matrix((np.ones(len(edges[0]), np.float32), edges), shape=(len(points),) * 2)
    member = masks.sparse()  # [M, P]
    contacts = (member @ (graph + graph.T) @ member.T).tolil()
    contacts.setdiag(0)
    contacts = contacts.tocsr()
    contacts.eliminate_zeros()
    contacts.sort_indices()
    return contacts


def _halves(index: np.ndarray, points: np.ndarray, share: float) -> list[np.ndarray]:
    """A mask's points, ids [n] at places [n, 3], on both sides of a cut across the longest side of their box.

    Points of equal position stay together; a mask of one position stays whole.
    """
    along = points[:, int(np.ptp(points, axis=0).argmax())]  # [n]
    border = np.sort(along)[int(share * len(along))]
    first = along < border if along.min() < border else along == border
    return [part for part in (index[first], index[~first]) if len(part)]
