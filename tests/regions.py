"""Groups and batches for the tests of the method: random ones, and groups from a dense matrix and back."""

import torch
from torch import Tensor

from geoguide.method.batch import Batch
from geoguide.ops.groups import Groups


def groups_of(dense: Tensor) -> Groups:
    """Groups from bool [G, P]; entries in order of group, then point."""
    group, point = dense.nonzero().T
    return Groups(group.contiguous(), len(dense), dense.shape[1], point.contiguous())


def dense_of(groups: Groups) -> Tensor:
    """bool [G, P] from groups, one entry after another."""
    dense = torch.zeros(groups.count, groups.points, dtype=torch.bool)
    points = range(groups.points) if groups.point is None else groups.point.tolist()
    for group, point in zip(groups.group.tolist(), points, strict=True):
        dense[group, point] = True
    return dense


def random_batch(
    points: int = 60,
    superpoints: int = 7,
    masks: int = 5,
    widths: tuple[int, int] = (5, 8),
    *,
    seen: float = 0.7,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """A batch of given sizes and widths (C1, C), always the same; unseen points have no feature."""
    g = torch.Generator().manual_seed(0)
    is_seen = torch.rand(points, generator=g) < seen
    lifted = torch.randn(points, widths[1], generator=g, dtype=dtype)
    lifted[~is_seen] = 0
    return Batch(
        points=torch.randn(points, 3, generator=g, dtype=dtype),
        geometry=torch.randn(points, widths[0], generator=g, dtype=dtype),
        lifted=lifted,
        seen=is_seen,
        superpoints=Groups.partition(torch.randint(0, superpoints, (points,), generator=g), superpoints),
        masks=groups_of(torch.rand(masks, points, generator=g) < 0.2),
    )
