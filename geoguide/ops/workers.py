"""Processes that do jobs side by side, on this machine: every pool of the package is started and ended here."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from tqdm import tqdm

from geoguide.errors import LostWorkerError, shortage
from geoguide.locks import GUARD, check_begun, end_with_parent
from geoguide.signals import deferred


@contextlib.contextmanager
def worker_pool(count: int, *, computing: bool = True) -> Generator[Executor]:
    """Processes that do jobs, each begun when it is first needed; it ends with this one, even where that is killed.

    A worker computes on one thread, since there is a worker per core, and of several GPUs it has its own:
    `resolve_device` names that one in it. Where the block is left by an error, jobs that have not begun are dropped;
    by Ctrl-C, or what else asks this process to end, the workers are ended at once.

    Args:
        count: How many, at least 1.
        computing: Whether jobs use torch; workers that make or copy files are spared its import, which takes seconds.

    Yields:
        Takes the jobs: functions of modules, with arguments that can be pickled. Their results are to be waited for
        within the block.

    Raises:
        LostWorkerError: A worker was killed, or none could begin; memory, or a GPU's, does not suffice for several.
    """
    check_begun()
    spawn, others = _Spawn(), {*multiprocessing.active_children()}
    with deferred():
        begun = spawn.Value("i", 0)
        pool = _Pool(count, spawn, _begin, (begun, computing))
    try:
        yield pool
    except (KeyboardInterrupt, BrokenProcessPool) as error:  # a signal to end is the first too, see `guard`
        pool.shutdown(wait=False, cancel_futures=True)  # first: where a worker is lost it fails at cancelled jobs
        mine = {*multiprocessing.active_children()} - others
        for worker in mine:
            worker.terminate()
        for worker in mine:
            worker.join()
        if isinstance(error, KeyboardInterrupt):
            raise
        if not begun.value:
            raise LostWorkerError(f"no worker process could begin, what it said stands above: {GUARD}") from None
        raise LostWorkerError(
            "a worker process was ended from outside, most often for want of memory: fewer --workers need less"
        ) from None
    except Exception as error:
        lacks = shortage(error)
        if count > 1 and lacks is not None and lacks.startswith("not enough memory"):
            raise LostWorkerError(f"{lacks}: {count} processes share it, fewer --workers need less") from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    """A pool that takes a job, and starts the worker for it, whole or not at all.

    A signal in between left a lock held, for which the process waited for ever when it ended, or a worker half begun.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As in `Executor`."""
        with deferred():
            return super().submit(fn, *args, **kwargs)


class _Worker(SpawnProcess):
    """A process that Ctrl-C does not reach before `_begin` ignores it: in its imports it would print a traceback."""

    def start(self) -> None:
        """Start it with the signal blocked, which it inherits."""
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            super().start()
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Spawn(SpawnContext):
    Process = _Worker


def _begin(begun: Any, computing: bool) -> None:
    """Start as a worker; `begun` counts those before, a shared number with a lock."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the process that waits ends them
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end_with_parent()
    # Else the first bar makes a lock among processes, and of a worker that is ended Python says that it left it behind.
    tqdm.set_lock(threading.RLock())
    with begun.get_lock():
        number, begun.value = begun.value, begun.value + 1
    if computing:
        import torch

        from geoguide.ops.devices import take_gpu

        torch.set_num_threads(1)
        take_gpu(number)
