"""Work on many rows of a CPU in parts, each of which one thread takes through several operations.

torch shares every operation among its threads, which meet again after each. In parts they meet once, and what an
operation leaves is still in a thread's cache for the next one. The numbers are the same: a row's own sums do not depend
on how many other rows there are (of two and more).
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch
from torch import Tensor

ROWS = 1024  # at a time: 384 float32 and 1536 between the layers of an MLP are 8 MB
Item = TypeVar("Item")


def in_parts(work: Callable[[slice], None], rows: Tensor, size: int = ROWS) -> None:
    """Call a function for all rows, part by part and in any order, without a graph.

    Parts are of one length, give or take a row. On another device than a CPU there is one part.

    Args:
        work: Takes successive rows; what it writes must not be read or written for others.
        rows: [N, ...], of which the length and the device are read.
        size: At most so many rows in a part, about.
    """
    count, threads = len(rows), torch.get_num_threads()
    if rows.device.type != "cpu" or count <= 1:
        work(slice(0, count))
        return
    parts = -(-count // size)
    parts = min(-(-parts // threads) * threads, max(count // 2, 1))  # as much for every thread
    each_of(work, [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)])


def each_of(work: Callable[[Item], None], items: list[Item]) -> None:
    """Call a function for every item, by as many threads as torch has, in any order, without a graph.

    Args:
        work: Takes an item; what it writes must not be read or written for others.
        items: What the threads take, one after the other.
    """
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def run(item: Item) -> None:
        with torch.inference_mode(inference), torch.no_grad():  # of a thread, not of the process
            work(item)

    if threads == 1 or len(items) == 1:
        for item in items:
            run(item)
    else:
        list(_pool(threads, os.getpid()).map(run, items))  # raises what a thread has raised


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads in which torch computes alone; not those of the process that this one was forked from."""
    started = Barrier(threads + 1)

    def alone() -> None:
        torch.get_num_threads()  # a thread's first question sets its number to the process's
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, f"rows of {process}", alone)
    for _ in range(threads):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(threads)  # threads that start later take the number that was set last
    return pool
