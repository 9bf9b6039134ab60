"""Where a resumable training stands: its step, its history of losses, and its checkpoint in one file."""

import abc
import hashlib
import io
import math
import pickle
import time
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from geoguide.errors import DataError, no_torch_file, pass_on_shortage
from geoguide.frozen import check_types, config_hash
from geoguide.ops.arrays import spread
from geoguide.paths import check_writable, replacing, sweep

_PLAIN = ("step", "history", "sums", "seconds")  # what a checkpoint holds beside the state dicts of `Progress.parts`
# And its own name, from the hash of the config: a file of another training under this name would be gone on with
# wherever the networks have the same shape. Files from before 0.8 have none.
_OF = "training"
ROWS = 64
# What torch raises on damaged files, by which part of the pickle is hit, and on those of other networks.
_DAMAGES = (
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    EOFError,
    OSError,
    IndexError,
    AttributeError,
    AssertionError,
    zipfile.BadZipFile,
)


@dataclass
class _Plain:
    """The types of `_PLAIN`."""

    step: int
    history: list[dict[str, float]]
    sums: dict[str, float]
    seconds: float = 0.0  # files from before 0.25 have none


@dataclass(eq=False)
class Progress(abc.ABC):
    """A training in progress. A training is a subclass with its networks, and a method that takes one step.

    Attributes:
        step: Number of steps taken.
        history: One row for each call of `log`.
        sums: Sum of each loss term over the steps since the last row, and their number `_steps`.
        before: Seconds that earlier runs took, up to the checkpoint that this one went on from.
    """

    step: int = field(default=0, kw_only=True)
    history: list[dict[str, float]] = field(default_factory=list, kw_only=True)
    sums: dict[str, float] = field(default_factory=dict, kw_only=True)
    before: float = field(default=0.0, kw_only=True)
    _since: float = field(default_factory=time.perf_counter, init=False)

    @property
    def seconds(self) -> float:
        """Seconds that this training took so far, earlier runs included."""
        return self.before + time.perf_counter() - self._since

    @property
    @abc.abstractmethod
    def parts(self) -> dict[str, Any]:
        """The modules and optimizers by name, of which a checkpoint holds the state dicts."""

    def steps(
        self,
        end: int,
        path: Path | None,
        every: int,
        name: str,
        *,
        progress: bool,
        writes: bool = True,
    ) -> Iterator[tqdm]:
        """Go through the steps that are left, from those of an older run on; the caller takes each step in its turn.

        Args:
            end: Number of steps after which the training stops.
            path: The checkpoint, read first where it is there; None for none.
            every: Steps between checkpoints; one more is written at the end.
            name: What the progress bar says.
            progress: Whether to show it.
            writes: Whether this process writes checkpoints; of several that train together one does.

        Yields:
            The progress bar, once for each step, before it is taken.

        Raises:
            DataError: The checkpoint is damaged, lacks something, is of another network, or cannot be written.
        """
        if path is not None:
            self._begin(path, end)
        with tqdm(total=end, initial=self.step, desc=name, disable=not progress) as bar:
            while self.step < end:
                yield bar
                bar.update()
                if writes and path is not None and (self.step == end or self.step % every == 0):
                    self.save(path)

    def _begin(self, path: Path, end: int) -> None:
        """Go on from the checkpoint where it is there; find out now whether the next one can be written."""
        sweep(path.parent)
        if path.is_file():
            self.load(path)
        if self.step < end:
            check_writable(path.parent)

    def count(self, terms: dict[str, float]) -> None:
        """Count a step that was taken.

        Args:
            terms: Its loss terms and whatever else is averaged into the history, by name.
        """
        self.step += 1
        for name, value in (terms | {"_steps": 1}).items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def log(self, name: str, **values: float) -> None:
        """Add a row to the history: the step, `values`, and the mean of each term since the row before.

        Args:
            name: The training's name, for the message.
            **values: What else the row holds.

        Raises:
            DataError: The mean of the term `total` is not finite.
        """
        steps = self.sums.pop("_steps")
        means = {term: total / steps for term, total in sorted(self.sums.items())}
        if not math.isfinite(means["total"]):
            raise DataError(f"{name}: loss is {means['total']} at step {self.step}")
        self.history.append({"step": self.step, **values, **means})
        self.sums = {}

    def save(self, path: Path) -> None:
        """Write a checkpoint; a kill at any moment leaves the old file or the new one.

        Args:
            path: The file.
        """
        states = {name: part.state_dict() for name, part in self.parts.items()}
        content = io.BytesIO()  # torch's own writing of files hides that a disk is full, and names them inside
        torch.save(states | {name: getattr(self, name) for name in _PLAIN} | {_OF: path.stem}, content)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        It is read on the CPU, whence every part takes what it keeps elsewhere: a GPU has no room for all of it twice,
        and an optimizer that counts its steps on the CPU would wait for a GPU at each of them.

        Args:
            path: The file.

        Raises:
            DataError: The file is damaged, lacks something, or is of another network or training.
        """
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            _check_bytes(path)
            if saved.get(_OF, path.stem) != path.stem:
                raise ValueError(f"it is of the training {saved[_OF]}")
            check_types(_Plain, saved, "checkpoint")
            for name in ("step", "seconds"):
                if not 0 <= saved.get(name, 0) < math.inf:
                    raise ValueError(f"{name} must be at least 0 and finite, found {saved[name]}")
            for name, part in self.parts.items():
                for value in _tensors(saved[name]):
                    if not value.isfinite().all():
                        raise ValueError(f"{name} holds nan or inf")
                part.load_state_dict(saved[name])
            self.step, self.history, self.sums = saved["step"], saved["history"], saved["sums"]
            self.before = saved.get("seconds", 0.0)
        except torch.OutOfMemoryError:  # a RuntimeError, and no damage
            raise
        except (*_DAMAGES, pickle.UnpicklingError) as error:
            pass_on_shortage(error, path)
            reason = no_torch_file(path) or " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, pickle.UnpicklingError):
                reason = reason.partition(". ")[0]  # further on torch advises to read it so that code in it is run
            again = "without this file it begins anew"
            raise DataError(f"{path}: not a checkpoint of this training ({reason:.200}); {again}") from None


def checkpoint_path(run_dir: str | Path | None, config: Any, arrays: Iterable[np.ndarray]) -> Path | None:
    """Name the checkpoint of a pretraining, whose config does not say what lies in the folders that it names.

    Args:
        run_dir: Folder of checkpoints; None: none.
        config: A dataclass with a `name`.
        arrays: What is learned from, each of any shape [N, ...]: a few rows tell.

    Returns:
        The file, by the config's name and hash and ten hex digits of every array's shape and type and of at most
        `ROWS` evenly spread rows; None without a folder.
    """
    if run_dir is None:
        return None
    digest = hashlib.sha256()
    for array in arrays:
        chosen = spread(len(array), ROWS)
        digest.update(f"{array.shape} {array.dtype}".encode() + np.ascontiguousarray(array[chosen]).tobytes())
    return Path(run_dir) / f"{config.name}-{config_hash(config)}-{digest.hexdigest()[:10]}.pt"


def _check_bytes(path: Path) -> None:
    """Refuse a file with other bytes than were written: torch writes a checksum of each part, and reads none.

    The zip archive's own, so that files of every version have them; what is no archive is for torch to judge.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:
                raise ValueError(f"the checksum of its part {part} must be that of its bytes, found another")


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    """The tensors of a state dict, however deep: an optimizer's lie two levels down."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for part in state.values():
            yield from _tensors(part)
