"""What SAS's storage of its history does to pseudo labels: float16 beside float32, on drawn products (chapter 04)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from geoguide.method.self_distillation import SelfDistillationConfig, running_mean, superpoint_labels

VISITS = (30, 300, 3000)  # of a scene in the second stage: SAS has 30 epochs
SUPERPOINTS, SIZE, CLASSES = 200, 5, 20
MEAN, SPREAD = 0.3, 0.05  # of the products of a unit feature with the text of classes, whose common direction is large
_STORAGES = {"float32": torch.float32, "float16": torch.float16}
DRAWS = 8  # of what a student says of a point from visit to visit; they come in turn


def drawn_products(noise: float, seed: int) -> tuple[Tensor, Tensor, np.ndarray]:
    """Draw what a student said at the end of the first stage, and what it says in the second, of points with text.

    In the second it has another opinion of every superpoint: as far from the first as classes are from each other.

    Args:
        noise: Standard deviation from point to point and from visit to visit.
        seed: Decides everything random.

    Returns:
        First float32 [P, K]; then float32 [`DRAWS`, P, K]; superpoints int64 [P].
    """
    g = torch.Generator().manual_seed(seed)
    superpoints = torch.arange(SUPERPOINTS).repeat_interleave(SIZE)  # [P]
    first = MEAN + SPREAD * torch.randn(SUPERPOINTS, CLASSES, generator=g)  # [S, K]
    later = first + SPREAD * torch.randn(SUPERPOINTS, CLASSES, generator=g)
    shape = (DRAWS, len(superpoints), CLASSES)
    said = later[superpoints] + noise * torch.randn(shape, generator=g)
    return first[superpoints] + noise * torch.randn(shape[1:], generator=g), said, superpoints.numpy()


def storage_table(
    visits: Sequence[int] = VISITS, keep: float = SelfDistillationConfig.keep, *, noise: float = 0.02, seed: int = 0
) -> pd.DataFrame:
    """How many labels the history of the second stage changes, by how it is stored. Two seconds for 3000 visits.

    Args:
        visits: Numbers of visits, ascending.
        keep: What is kept of the history at each of them.
        noise: As in `drawn_products`.
        seed: As in `drawn_products`.

    Returns:
        A line per number of visits: how much of the way to what the student says now the history has gone, the share
        of points whose label is another than that of the first stage, with each storage, and the share that float16
        gives another label than float32 does; all in %.
    """
    first, said, superpoints = drawn_products(noise, seed)
    begun, held = superpoint_labels(first, superpoints), {name: first.to(kind) for name, kind in _STORAGES.items()}
    lines, done = [], 0
    for count in visits:
        for visit in range(done, count):
            held = {name: running_mean(old, said[visit % DRAWS], keep) for name, old in held.items()}
        done = count
        labels = {name: superpoint_labels(old, superpoints) for name, old in held.items()}
        line = {"visits": count, "of the way (%)": 100 * (1 - keep**count)}
        line |= {f"labels changed, {name} (%)": 100 * float((own != begun).mean()) for name, own in labels.items()}
        other = float((labels["float16"] != labels["float32"]).mean())
        lines.append(line | {"float16 other than float32 (%)": 100 * other})
    return pd.DataFrame(lines)
