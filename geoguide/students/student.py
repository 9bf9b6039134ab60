"""What every student offers: it draws its batches, says F_3d^sem of a batch and of a whole scene, and names itself.

A *student* is a network that learns from 2D features. Training and scoring know students by this interface alone, so
that a further one is a class of its own here and a line in `pipeline.student`.
"""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.errors import InputError
from geoguide.method.batch import Supervised
from geoguide.prepared import PreparedScene
from geoguide.students.adapter import Adapter


@dataclass(frozen=True, eq=False)
class Motion:
    """A scene turned and scaled: points become scale (points @ turn).

    Attributes:
        turn: float32 [3, 3], a rotation.
        scale: A factor.
    """

    turn: np.ndarray
    scale: float

    def points(self, points: np.ndarray) -> np.ndarray:
        """Moved points: float [P, 3] -> [P, 3] of the same dtype."""
        return (points @ self.turn) * points.dtype.type(self.scale)

    def normals(self, normals: np.ndarray | None) -> np.ndarray | None:
        """Turned normals: float [P, 3] -> [P, 3]; None stays None."""
        return None if normals is None else normals @ self.turn


class Student(abc.ABC):
    """A network that learns F_3d^sem from lifted 2D features.

    Attributes:
        name: What configs (`train.model`) and records call it.
        frozen: Whether it reads the features of a frozen 3D backbone.
        has_regions: Whether its batches hold geometry, superpoints and masks (are a `Batch`), which the modules need.
        network: What is trained.
        config: Its own settings, a frozen dataclass.
    """

    name: ClassVar[str]
    frozen: ClassVar[bool]
    has_regions: ClassVar[bool]
    network: nn.Module
    config: Any

    @property
    def device(self) -> torch.device:
        """Where the network's weights lie."""
        return next(self.network.parameters()).device

    @abc.abstractmethod
    def draw(self, scenes: Sequence[PreparedScene], step: int, seed: int, device: torch.device) -> Supervised:
        """A step's batch; everything random in it derives from `seed` and `step`.

        Args:
            scenes: The training scenes.
            step: Number of the step, from 0.
            seed: Of the experiment.
            device: Where the batch is put.

        Returns:
            What `forward` takes.
        """

    @abc.abstractmethod
    def forward(self, batch: Any) -> Tensor:
        """F_3d^sem of a drawn batch, [P, C] (P points or voxels), of any length."""

    @abc.abstractmethod
    def features(self, scene: PreparedScene, chosen: np.ndarray | None = None) -> Tensor:
        """F_3d^sem of a scene.

        Args:
            scene: The prepared scene.
            chosen: int64 [p], point ids; None for all points.

        Returns:
            float [p, C], of any length, on the student's device.
        """

    @abc.abstractmethod
    def moved(self, scene: PreparedScene, motions: Sequence[Motion]) -> Iterator[Tensor]:
        """F_3d^sem of a scene that is encoded anew after each motion.

        Args:
            scene: The prepared scene.
            motions: How it is turned and scaled, one after the other.

        Yields:
            float [P, C] for each motion, of any length.

        Raises:
            InputError: The scene cannot be read again, and the student needs that.
        """

    def kept(self) -> Adapter:
        """What inference keeps of it (paper, Total).

        Returns:
            The adapter.

        Raises:
            InputError: It has none: the whole network would have to be kept.
        """
        raise InputError("only an adapter on a frozen backbone can be saved as a model, found an entire network")


def scene_of_turn(scenes: Sequence[PreparedScene], turn: int, seed: int) -> PreparedScene:
    """The scene whose turn it is: epochs visit every scene once, in an order that `seed` and the epoch decide."""
    epoch, position = divmod(turn, len(scenes))
    return scenes[np.random.default_rng([seed, 1, epoch]).permutation(len(scenes))[position]]
