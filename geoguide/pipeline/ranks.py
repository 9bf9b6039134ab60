"""Several processes for one training, by Lightning Fabric: who is who, and what they average.

What "half the batch each" means: a step is the mean over `train.batches_per_step` batches of one scene each, and the
processes share these batches out. The points of one scene are not split: USD, IMR and IIRC average and compare whole
regions, so that each process would need the features of all points of the others, with gradients. With whole scenes one
sum of gradients a step is all that is exchanged, and one process that takes the same batches one after another learns
the same weights, up to the order of that sum.

Networks here are small beside a step, so the gradients are averaged at once behind the last batch, as one vector.
"""

import importlib.util
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from geoguide.errors import ConfigError, DataError

Answer = TypeVar("Answer")
BY_FABRIC = "several devices need lightning-fabric: pip install 'geoguide[devices]'"


class LostRankError(DataError):
    """Another process of the training is gone. The first process says so; the others end without a word."""


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

    def wait(self) -> None:
        """Wait until every process is here.

        Raises:
            LostRankError: Another process is gone.
        """

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Average the gradients over the processes, in place.

        Args:
            parameters: The same in every process; one without a gradient anywhere here counts as 0.

        Raises:
            LostRankError: Another process is gone.
        """
        if self.size == 1:
            return
        held = list(parameters)
        for parameter in held:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        gradients = [parameter.grad for parameter in held if parameter.grad is not None]
        mean = self.average(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

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

    def average(self, values: Tensor) -> Tensor:
        """The mean by the back end (see `Ranks.average`)."""
        with _lost(self):
            return self._fabric.all_reduce(values, reduce_op="mean")

    def of_first(self, ask: Callable[[], Answer]) -> Answer:
        """The answer as an object that is sent round (see `Ranks.of_first`)."""
        answer = ask() if self.first else None
        with _lost(self):
            return self._fabric.broadcast(answer)

    def wait(self) -> None:
        """A barrier (see `Ranks.wait`)."""
        with _lost(self):
            self._fabric.barrier()

    def average_numbers(self, values: dict[str, float]) -> dict[str, float]:
        """Means of what every process sends to all (see `Ranks.average_numbers`)."""
        with _lost(self):
            everyone: list[Any] = [None] * self.size
            torch.distributed.all_gather_object(everyone, values)
        names = dict.fromkeys(name for one in everyone for name in one)
        return {name: sum(one.get(name, 0.0) for one in everyone) / self.size for name in names}


@contextmanager
def _lost(ranks: Ranks) -> Generator[None]:
    """What the back ends raise where a process no longer answers is one error."""
    try:
        yield
    except RuntimeError:
        ended = f"a process of the {ranks.size} of this training ended"
        raise LostRankError(f"{ended}; run the same command again to go on from its last checkpoint") from None


def launch(devices: int, nodes: int, device: str) -> Ranks:
    """Start the processes of a training: this command runs again in each of the others, up to here.

    Args:
        devices: Processes on each machine, one for each GPU where GPUs are used.
        nodes: Machines; on each the command is started once, by Slurm, torchrun or by hand with `MASTER_ADDR`,
            `MASTER_PORT` and `NODE_RANK`.
        device: auto, cpu or cuda.

    Returns:
        This process among them.

    Raises:
        ConfigError: lightning-fabric is not installed, or one device is named and several are asked for.
    """
    if devices * nodes == 1:
        return ALONE
    if ":" in device:
        raise ConfigError(f"--device must be auto, cpu or cuda beside --devices, found {device!r}")
    if importlib.util.find_spec("lightning_fabric") is None:
        raise ConfigError(BY_FABRIC)
    from lightning_fabric import Fabric

    gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    kind = "cuda" if gpu else "cpu"
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return FabricRanks(fabric)
