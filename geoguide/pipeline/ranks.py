"""Several processes for one training, by Lightning Fabric: who is who, and what they average.

What "half the batch each" means: a step is the mean over `train.batches_per_step` batches of one scene each, and the
processes share these batches out. The points of one scene are not split: USD, IMR and IIRC average and compare whole
regions, so that each process would need the features of all points of the others, with gradients. With whole scenes one
sum of gradients a step is all that is exchanged, and one process that takes the same batches one after another learns
the same weights, up to the order of that sum.

Networks here are small beside a step, so the gradients are averaged at once behind the last batch, as one vector.
"""

import atexit
import contextlib
import datetime
import importlib.util
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor

from geoguide import locks
from geoguide.errors import ConfigError, DataError, first_line
from geoguide.paths import check_writable, temporary_root

Answer = TypeVar("Answer")
# One process may wait for another that generates, prepares its share of the scenes, or scores; the default is half an
# hour. One that is gone is known by its connection, without waiting: to gloo alone, while NCCL waits to the end. So
# GPUs average by NCCL what lies on them, and all else is sent round by gloo.
PATIENCE = datetime.timedelta(days=7)
FOLLOWING = 30.0  # seconds that the first process of a machine has to end, where all are asked to
GPU_BACKENDS = "cpu:gloo,cuda:nccl"
BY_FABRIC = "several devices need lightning-fabric: pip install 'geoguide[devices]'"


class LostRankError(DataError):
    """Another process of the training is gone. Where `Ranks.speaks`, that is said; the others end without a word."""


class Ranks:
    """The processes of one training; this class is a training of one process.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        device: Where this process computes; None leaves it to the caller.
    """

    rank = 0
    size = 1
    device: torch.device | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, whole: Sequence[Answer]) -> Sequence[Answer]:
        """What this process takes of something that is shared out.

        Args:
            whole: The same in every process.

        Returns:
            Every `size`-th of it.
        """
        return whole[self.rank :: self.size]

    def average(self, values: Tensor) -> Tensor:
        """Average over the processes.

        Args:
            values: Of the same shape in every process.

        Returns:
            The mean, the same bits in every process.

        Raises:
            LostRankError: Another process is gone.
        """
        return values

    def of_first(self, ask: Callable[[], Answer]) -> Answer:
        """What the first process finds out, which the others wait for.

        Args:
            ask: Called in the first process alone.

        Returns:
            Its answer, in every process.

        Raises:
            LostRankError: Another process is gone.
        """
        return ask()

    def gather(self, value: Answer) -> list[Answer]:
        """What every process has, told to all.

        Args:
            value: Of this process.

        Returns:
            The values by rank.

        Raises:
            LostRankError: Another process is gone.
        """
        return [value]

    def speaks(self) -> bool:
        """Whether this process says that another one is gone, so that there is one line on each machine.

        Returns:
            True in the first process of a machine, or, where that one was killed, in one of the others there.
        """
        return True

    def wait(self) -> None:
        """Wait until every process is here.

        Raises:
            LostRankError: Another process is gone.
        """

    def need_shared(self, folder: Path) -> None:
        """Refuse a folder that lies on another disk for other processes: each machine would do the work of all.

        Args:
            folder: Where what one process has made is read by all.

        Raises:
            DataError: Not every process sees what the first one puts there.
            LostRankError: The same in the other processes, since the first one says it; or another process is gone.
        """
        if self.size == 1:
            return
        check_writable(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.NamedTemporaryFile(dir=folder, prefix=".shared-")
            if self.first
            else contextlib.nullcontext() as mark
        ):
            name = self.of_first(lambda: "" if mark is None else Path(mark.name).name)
            blind = [rank for rank, seen in enumerate(self.gather((folder / name).is_file())) if not seen]
        if blind:
            told = f"process {blind[0]} of {self.size} has another disk there; all machines must share it"
            told = f"{folder}: {told} ($GEOGUIDE_DATA names the folder above)"
            raise DataError(told) if self.first else LostRankError(told)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average the gradients over the processes, in place.

        Args:
            parameters: The same in every process. One without a gradient here, but with one elsewhere, counts as 0.

        Raises:
            LostRankError: Another process is gone.
        """
        if self.size == 1:
            return
        held = [parameter for parameter in parameters if parameter.requires_grad]
        flags = torch.tensor([parameter.grad is not None for parameter in held])
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
        flat = [gradient.reshape(-1) for gradient in gradients]
        mean = self.average(torch.cat([*flat, flags.to(flat[0])]))
        *means, used = mean.split([*(len(part) for part in flat), len(held)])
        # Without a gradient anywhere the optimizer leaves a parameter alone, as in one process: zeros would decay it.
        for parameter, gradient, part, share in zip(held, gradients, means, used.tolist(), strict=True):
            parameter.grad = gradient.copy_(part.view_as(gradient)) if share else None

    def average_numbers(self, values: dict[str, float]) -> dict[str, float]:
        """Average numbers over the processes.

        Args:
            values: Numbers; a name that another process has alone counts as 0 here.

        Returns:
            The means.

        Raises:
            LostRankError: Another process is gone.
        """
        return values


ALONE = Ranks()


class FabricRanks(Ranks):
    """Processes that Lightning Fabric has started: on one machine, or by `srun` and the like on several.

    Args:
        fabric: A launched `lightning_fabric.Fabric`.
    """

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank, self.size, self.device = fabric.global_rank, fabric.world_size, fabric.device
        name = self.of_first(lambda: f"training-{os.getpid()}-{time.time_ns()}")
        self._leader = _Leader(temporary_root() / name, self, leads=fabric.local_rank == 0)
        if self.device.type == "cuda":  # else NCCL warns as the process ends; Fabric does so of its own back ends
            atexit.register(torch.distributed.destroy_process_group)

    def speaks(self) -> bool:
        """As the mark of the first process of this machine says (see `Ranks.speaks`)."""
        return self._leader.is_here or self._leader.was_killed()

    def gather(self, value: Answer) -> list[Answer]:
        """By objects that are sent round (see `Ranks.gather`)."""
        with _lost(self):
            everyone: list[Any] = [None] * self.size
            torch.distributed.all_gather_object(everyone, value)
        return everyone

    def average(self, values: Tensor) -> Tensor:
        """The mean by the back end of the values' device (see `Ranks.average`)."""
        self.wait()  # else NCCL would for ever, where a process is gone
        with _lost(self):
            torch.distributed.all_reduce(values)
        return values.div_(self.size)

    def of_first(self, ask: Callable[[], Answer]) -> Answer:
        """The answer as an object that is sent round (see `Ranks.of_first`)."""
        answer = ask() if self.first else None
        with _lost(self):
            return self._fabric.broadcast(answer)

    def wait(self) -> None:
        """A sum on the CPU (see `Ranks.wait`): a barrier would be one of the GPUs where there are any."""
        with _lost(self):
            torch.distributed.all_reduce(torch.zeros(1))

    def average_numbers(self, values: dict[str, float]) -> dict[str, float]:
        """Means of what every process sends to all (see `Ranks.average_numbers`)."""
        everyone = self.gather(values)
        names = dict.fromkeys(name for one in everyone for name in one)
        return {name: sum(one.get(name, 0.0) for one in everyone) / self.size for name in names}


class _Leader:
    """Tells whether the first process on this machine was killed: it holds a file locked, which it removes as it ends.

    Args:
        mark: The file.
        ranks: All processes; each makes this at the same time.
        leads: Whether this is that process.

    Attributes:
        is_here: As `leads`.
    """

    def __init__(self, mark: Path, ranks: Ranks, *, leads: bool) -> None:
        self.is_here, self._mark = leads, mark
        if leads:
            mark.parent.mkdir(mode=0o700, exist_ok=True)
            self._handle = os.open(mark, os.O_CREAT | os.O_RDWR)
            with contextlib.suppress(OSError):  # no locks here: then nobody speaks for a process that was killed
                locks.take(self._handle)
            atexit.register(mark.unlink, missing_ok=True)  # a kill leaves it
        ranks.wait()
        if not leads:
            self._handle = os.open(mark, os.O_RDWR)

    def was_killed(self) -> bool:
        """Wait until that process is gone; True in one of those that ask, where it did not end by itself."""
        try:
            locks.take(self._handle)
        except OSError:
            return False
        left = os.fstat(self._handle).st_nlink > 0
        self._mark.unlink(missing_ok=True)
        return left


@contextlib.contextmanager
def _lost(ranks: Ranks) -> Generator[None]:
    """What the back ends raise where a process no longer answers is one error."""
    try:
        yield
    except torch.OutOfMemoryError:  # a RuntimeError, of this process
        raise
    except RuntimeError:
        atexit.unregister(torch.distributed.destroy_process_group)  # it would wait for the process that is gone
        ended = f"a process of the {ranks.size} of this training ended"
        raise LostRankError(f"{ended}; run the same command again to go on from its last checkpoint") from None


def launch(devices: int, nodes: int, device: str) -> Ranks:
    """Start the processes of a training: this command runs again in each of the others, up to here.

    Args:
        devices: Processes on each machine, one for each GPU where GPUs are used.
        nodes: Machines. Slurm starts the command once for each process (`srun --ntasks-per-node=DEVICES`), and so does
            torchrun; else it is started by hand once on each machine, with `MASTER_ADDR`, `MASTER_PORT` and
            `NODE_RANK`.
        device: auto, cpu or cuda.

    Returns:
        This process among them.

    Raises:
        ConfigError: lightning-fabric is not installed, one device is named and several are asked for, there are not
            so many, or Slurm has not started so many processes.
    """
    if devices * nodes == 1:
        return ALONE
    if ":" in device:
        raise ConfigError(f"--device must be auto, cpu or cuda beside --devices, found {device!r}")
    if importlib.util.find_spec("lightning_fabric") is None:
        raise ConfigError(BY_FABRIC)
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    kind = "cuda" if gpu else "cpu"
    strategy = DDPStrategy(timeout=PATIENCE, process_group_backend=GPU_BACKENDS if gpu else None)
    asked = f"--devices {devices} --nodes {nodes}"
    started = f"Slurm takes `srun --nodes={nodes} --ntasks-per-node={devices}`, which starts each process"
    try:
        fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy=strategy)
        fabric.launch()
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(f"{asked}: {first_line(error)} ({started})") from None
    if fabric.world_size != devices * nodes:
        raise ConfigError(f"{asked}: expected {devices * nodes} processes, found {fabric.world_size} ({started})")
    if fabric.local_rank and isinstance(fabric.strategy.cluster_environment, LightningEnvironment):
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) != signal.SIG_IGN:  # `nohup`: the first process ignores it, too
                signal.signal(number, _follow)
    return FabricRanks(fabric)


def _follow(number: int, frame: FrameType | None) -> None:
    """End behind the process that started this one, which Ctrl-C and `timeout` ask to end too, and which says so.

    Where this one ended first, Fabric would kill that one, whatever it is at.
    """
    first, until = os.getppid(), time.monotonic() + FOLLOWING
    while os.getppid() == first and time.monotonic() < until:
        time.sleep(0.05)
    raise LostRankError("the first process of this training ended")
