"""Work on many rows in blocks, whose intermediate results stay in the cache and are computed again to go back.

Sums over blocks round otherwise than sums over all rows at once. So a batch is worked on in blocks above `LARGE` rows,
more than a committed training of an adapter has in a step: its numbers keep their bits.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

LARGE = 2**13  # rows; committed trainings of adapters have 4,000 at most
VERY_LARGE = 2**16  # rows; committed trainings of entire networks have 30,000 at most
ROWS = {"cpu": 2**12, "cuda": 2**15}  # at a time: of 384 float32, 6 MB for the cache, 50 MB for many small cores


def is_large(rows: int, *, network: bool = False) -> bool:
    """Say whether so many rows are worked on in blocks.

    Args:
        rows: Their number.
        network: Whether they go through a network so, which takes a seventh of an adapter's step; else their losses are
            computed so.

    Returns:
        True above `LARGE`; of a network above `VERY_LARGE`.
    """
    return rows > (VERY_LARGE if network else LARGE)


def blocks(rows: Tensor) -> Iterator[slice]:
    """Cut rows into blocks.

    Args:
        rows: [P, ...], on the device that they are worked on.

    Yields:
        Slices of successive rows, which cover all P.
    """
    size = ROWS[rows.device.type]
    for begin in range(0, len(rows), size):
        yield slice(begin, min(begin + size, len(rows)))


def sum_over_rows(function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """Sum what a function gives over rows; of very many in blocks, each computed again on the way back.

    Args:
        function: Takes successive rows of each of `rows` and gives the sum over them, a scalar.
        rows: Tensors [P, ...] of one length and device.

    Returns:
        Scalar. Up to `VERY_LARGE` rows, of entire networks' trainings too, the very number that `function` gives of
        all; above, what it holds for P rows is held for `ROWS` at a time, for one more pass forward.
    """
    if not is_large(len(rows[0]), network=True):
        return function(*rows)
    size = ROWS[rows[0].device.type]
    parts = zip(*(value.split(size) for value in rows), strict=True)
    sums = [checkpoint(function, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    return torch.stack(sums).sum()


def same_precision(device: str) -> "Precision":
    """Remember how a forward pass computes, for what is computed again on the way back.

    Args:
        device: cpu or cuda.

    Returns:
        Its autocast, which can be entered again and again.
    """
    return Precision(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))


class Precision:
    """The autocast of a forward pass (see `same_precision`).

    Args:
        device: cpu or cuda.
        enabled: Whether there was one.
        dtype: Its dtype.
    """

    def __init__(self, device: str, enabled: bool, dtype: torch.dtype) -> None:
        self.device, self.enabled, self.dtype = device, enabled, dtype

    def again(self) -> AbstractContextManager[None]:
        """Enter it.

        Returns:
            A context.
        """
        return torch.autocast(self.device, self.dtype, enabled=self.enabled)
