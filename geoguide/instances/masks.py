"""Class-agnostic instance masks M_i over the points of a scene: how they are held and compared (paper, IMR)."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from geoguide.errors import InputError
from geoguide.ops.groups import Groups
from geoguide.scene import NO_INSTANCE


def annotated_regions(instances: np.ndarray, superpoints: np.ndarray) -> np.ndarray:
    """Annotated objects as regions of all points (an oracle): points of no object stay in their superpoint.

    Args:
        instances: int64 [P], -1 for no instance.
        superpoints: int64 [P], ids from 0.

    Returns:
        int64 [P], ids with gaps.
    """
    instances, superpoints = np.asarray(instances), np.asarray(superpoints)
    return np.where(instances == NO_INSTANCE, instances.max() + 1 + superpoints, instances)


@dataclass(frozen=True, eq=False)
class InstanceMasks:
    """M masks over P points that may overlap, as lists of point ids (paper, IMR).

    Attributes:
        index: int64 or int32 [nnz], the point ids of all masks, one mask after the other.
        offsets: int64 [M + 1]: mask i holds the points `index[offsets[i]:offsets[i + 1]]`.
        num_points: P.
        scores: float32 [M], higher is likelier an object; None becomes 1 for every mask.

    Raises:
        InputError: Other shapes or dtypes, offsets that do not rise from 0 to nnz, or points outside 0..P-1.

    Example:
        >>> import numpy as np
        >>> masks = InstanceMasks.from_dense(np.array([[1, 1, 0, 0], [0, 1, 1, 1]], dtype=bool))
        >>> masks.index.tolist(), masks.offsets.tolist(), masks.sizes().tolist()
        ([0, 1, 1, 2, 3], [0, 2, 5], [2, 3])
        >>> len(masks), len(masks.take(np.array([1])))
        (2, 1)
    """

    index: np.ndarray
    offsets: np.ndarray
    num_points: int
    scores: np.ndarray = None  # ty: ignore[invalid-assignment]  # an array once made, see below

    def __post_init__(self) -> None:
        index, offsets = self.index, self.offsets
        if index.dtype not in (np.int64, np.int32) or offsets.dtype != np.int64 or index.ndim != 1 or offsets.ndim != 1:
            found = f"{index.dtype}{list(index.shape)} and {offsets.dtype}{list(offsets.shape)}"
            raise InputError(f"instance masks: index must be int64 or int32 [nnz], offsets int64 [n], found {found}")
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(index) or (np.diff(offsets) < 0).any():
            raise InputError(f"instance masks: offsets must rise from 0 to {len(index)}")
        if index.size and (index.min() < 0 or index.max() >= self.num_points):
            raise InputError(f"instance masks: index names points outside 0..{self.num_points - 1}")
        if self.scores is None:
            object.__setattr__(self, "scores", np.ones(len(self), dtype=np.float32))
        elif self.scores.shape != (len(self),) or self.scores.dtype.kind != "f":  # unsigned ones cannot be negated
            found = f"{self.scores.dtype} {list(self.scores.shape)}"
            raise InputError(f"instance masks: scores must be floats [{len(self)}], found {found}")
        elif np.isnan(self.scores).any():
            found = f"nan for mask {int(np.isnan(self.scores).argmax())}"
            raise InputError(f"instance masks: scores must be numbers, found {found}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def sizes(self) -> np.ndarray:
        """The number of points in every mask.

        Returns:
            int64 [M].
        """
        return np.diff(self.offsets)

    def best_of_points(self) -> np.ndarray:
        """Find the mask of highest score that holds each point, the first on a tie.

        Returns:
            int64 [P], -1 where there is none.
        """
        best = np.full(self.num_points, -1)
        for mask in np.argsort(-self.scores, kind="stable")[::-1]:  # over masks, a few hundred; the best one last
            best[self.index[self.offsets[mask] : self.offsets[mask + 1]]] = mask
        return best

    def dense(self) -> np.ndarray:
        """The masks as a table.

        Returns:
            bool [M, P], of M * P bytes.
        """
        return self.sparse().toarray().astype(bool)

    def sparse(self) -> csr_matrix:
        """The masks as a sparse matrix.

        Returns:
            float32 CSR [M, P] of ones.
        """
        ones = np.ones(len(self.index), dtype=np.float32)
        return csr_matrix((ones, self.index, self.offsets), shape=(len(self), self.num_points))

    def groups(self, chosen: np.ndarray) -> Groups:
        """The masks among some of the points, as the modules take them; masks that hold none of these are left out.

        Args:
            chosen: int64 [p], ascending point ids.

        Returns:
            Groups over the p points, renumbered; O(P + entries) integers.
        """
        return self.among(chosen)[0]

    def among(self, chosen: np.ndarray) -> tuple[Groups, np.ndarray]:
        """The masks among some of the points, and which masks these are.

        Args:
            chosen: int64 [p], ascending point ids.

        Returns:
            The groups as `groups` gives them, and int64 [m], the number of each group among the M masks.
        """
        mask, point = self._entries(chosen)
        present, mask = np.unique(mask, return_inverse=True)
        return Groups(torch.from_numpy(mask), len(present), len(chosen), torch.from_numpy(point)), present

    def restricted(self, chosen: np.ndarray) -> "InstanceMasks":
        """All M masks over some of the points; masks that hold none of these are empty.

        Args:
            chosen: int64 [p], ascending point ids.

        Returns:
            M masks over p points, in the same order, with their scores; `index` is int32, as many scenes stay open.
        """
        mask, point = self._entries(chosen)
        offsets = np.concatenate([[0], np.bincount(mask, minlength=len(self)).cumsum()]).astype(np.int64)
        return InstanceMasks(point.astype(np.int32), offsets, len(chosen), self.scores)

    def _entries(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mask of each entry that is among the chosen points, and its position there; int64 [n] each."""
        position = np.full(self.num_points, -1, np.int64)
        position[chosen] = np.arange(len(chosen))
        mask = np.repeat(np.arange(len(self)), self.sizes())  # [nnz]
        point = position[self.index]  # [nnz], -1 where it was not chosen
        return mask[point >= 0], point[point >= 0]

    def take(self, which: np.ndarray) -> "InstanceMasks":
        """Some of the masks.

        Args:
            which: int64 [m], the positions of masks.

        Returns:
            m masks in this order, with their scores.
        """
        return self.from_sparse(self.sparse()[which], self.scores[which])

    @classmethod
    def from_dense(cls, masks: np.ndarray, scores: np.ndarray | None = None) -> "InstanceMasks":
        """Make masks from a table.

        Args:
            masks: bool [M, P].
            scores: [M], or None for 1.

        Returns:
            M masks over P points.

        Raises:
            InputError: Another shape or dtype.
        """
        masks = np.asarray(masks)
        if masks.ndim != 2 or masks.dtype != bool:
            raise InputError(f"masks must be bool [M, P], found {masks.dtype} {list(masks.shape)}")
        return cls.from_sparse(csr_matrix(masks), scores)

    @classmethod
    def from_labels(cls, instances: np.ndarray) -> "InstanceMasks":
        """Make one mask for each annotated instance: the oracle variant.

        Args:
            instances: integer [P], an instance id for each point, negative where there is none.

        Returns:
            A mask for each id from 0 up, in the order of ids.

        Raises:
            InputError: Another shape or dtype.
        """
        instances = np.asarray(instances)
        if instances.ndim != 1 or instances.dtype.kind not in "iu":
            raise InputError(f"instances must be integers [P], found {instances.dtype} {list(instances.shape)}")
        points = np.flatnonzero(instances >= 0)
        ids, row = np.unique(instances[points], return_inverse=True)
        ones = np.ones(len(points), dtype=np.float32)
        return cls.from_sparse(csr_matrix((ones, (row, points)), shape=(len(ids), len(instances))))

    @classmethod
    def from_sparse(cls, matrix: csr_matrix, scores: np.ndarray | None = None) -> "InstanceMasks":
        """Make masks from a sparse matrix.

        Args:
            matrix: CSR [M, P], whose stored entries are the masks; its indices are sorted in place.
            scores: [M], or None for 1.

        Returns:
            M masks over P points.
        """
        matrix.sort_indices()
        scores = np.asarray(np.ones(matrix.shape[0]) if scores is None else scores, dtype=np.float32)
        return cls(matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64), matrix.shape[1], scores)


def iou_matrix(masks: InstanceMasks, others: InstanceMasks) -> csr_matrix:
    """Intersection over union of every pair of masks that shares a point, through one sparse product.

    Args:
        masks: M masks over P points.
        others: N masks over the same points.

    Returns:
        float64 CSR [M, N], with sorted indices; pairs that share nothing are not stored.

    Raises:
        InputError: The masks are over different numbers of points.
    """
    if masks.num_points != others.num_points:
        raise InputError(f"masks must be of {masks.num_points} points, found {others.num_points}")
    member = masks.sparse()
    both = (member @ (member if others is masks else others.sparse()).T).tocsr().astype(np.float64)  # [M, N]
    both.sort_indices()
    row = np.repeat(np.arange(len(masks)), np.diff(both.indptr))
    union = masks.sizes()[row] + others.sizes()[both.indices] - both.data
    return csr_matrix((both.data / np.maximum(union, 1.0), both.indices, both.indptr), shape=both.shape)
