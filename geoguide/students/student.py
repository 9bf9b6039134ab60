"""The interface of a student: it draws its batches, and computes F_3d^sem of a batch and of a whole scene.

A *student* is a network that learns from 2D features. Training and scoring use this interface alone, so that a further
student is one class in this folder, named in `pipeline/student.py`.
"""

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from geoguide.method.batch import Supervised
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene
from geoguide.students.adapter import Adapter

Network = TypeVar("Network", bound=nn.Module)
RateGroup = tuple[list[nn.Parameter], float]  # parameters, and their learning rate as a share of the config's


@dataclass(frozen=True, eq=False)
class Motion:
    """A rotation and a scaling of a scene: points become scale * (points @ turn).

    Attributes:
        turn: float32 [3, 3], a rotation matrix, applied from the right.
        scale: One factor for all axes.
    """

    turn: np.ndarray
    scale: float

    def points(self, points: np.ndarray) -> np.ndarray:
        """Turn and scale points.

        Args:
            points: float [P, 3], metres.

        Returns:
            [P, 3] of the same dtype.
        """
        return (points @ self.turn) * points.dtype.type(self.scale)

    def normals(self, normals: np.ndarray | None) -> np.ndarray | None:
        """Turn normals.

        Args:
            normals: float [P, 3], or None.

        Returns:
            [P, 3]; None for None.
        """
        return None if normals is None else normals @ self.turn


def moved_scenes(scene: PreparedScene, motions: Sequence[Motion]) -> Iterator[Scene]:
    """Read a scene's files again, for its normals, and move it.

    Args:
        scene: The prepared scene.
        motions: What is done to it.

    Yields:
        The scene after each.

    Raises:
        InputError: It was made in memory (see `PreparedScene.load`).
    """
    still = scene.load()
    for motion in motions:
        points, normals = motion.points(np.asarray(scene.points)), motion.normals(still.normals)
        yield replace(still, points=points, normals=normals)


class Student(abc.ABC, Generic[Network]):
    """A network that learns F_3d^sem from lifted 2D features.

    Attributes:
        name: Its name in configs (`train.model`).
        frozen: Whether it reads the features of a frozen 3D backbone.
        names_backbone: Whether a record names the backbone of the config: its features are read, or its weights are
            where training starts.
        has_regions: Whether its batches are a `Batch`, with the geometry, superpoints and masks that the modules need.
        network: The part that is trained; `Student[Adapter]` is a student whose network is an `Adapter`.
        config: Its own settings, a frozen dataclass.
    """

    name: ClassVar[str]
    frozen: ClassVar[bool]
    names_backbone: ClassVar[bool]
    has_regions: ClassVar[bool]
    network: Network
    config: Any

    @property
    def device(self) -> torch.device:
        """The device of the network's weights."""
        return next(self.network.parameters()).device

    @abc.abstractmethod
    def draw(self, scenes: Sequence[PreparedScene], step: int, seed: int, device: torch.device) -> Supervised:
        """Make the batch of one training step; everything random in it derives from `seed` and `step`.

        Args:
            scenes: The training scenes.
            step: Number of the step, from 0.
            seed: The experiment's seed.
            device: Where the batch is put.

        Returns:
            A batch that `forward` takes.
        """

    @abc.abstractmethod
    def forward(self, batch: Any) -> Tensor:
        """Compute F_3d^sem of a batch.

        Args:
            batch: As `draw` returns it; `Any` because each student has its own kind of batch.

        Returns:
            float [P, C] for the P points or voxels of the batch, of any length.
        """

    @abc.abstractmethod
    def features(self, scene: PreparedScene, chosen: np.ndarray | None = None) -> Tensor:
        """Compute F_3d^sem of a scene.

        Args:
            scene: The prepared scene.
            chosen: int64 [p], point ids; None for all points.

        Returns:
            float [p, C], of any length, on the student's device.
        """

    @abc.abstractmethod
    def moved(self, scene: PreparedScene, motions: Sequence[Motion]) -> Iterator[Tensor]:
        """Compute F_3d^sem of a scene once for each motion: each time the scene is moved and encoded anew.

        Args:
            scene: The prepared scene.
            motions: Each starts from the scene as it is.

        Yields:
            float [P, C] for each motion, of any length, on the student's device.

        Raises:
            InputError: The student has to read the scene's files again, but the scene was made in memory.
        """

    def rate_groups(self) -> list[RateGroup]:
        """Split the network's parameters by their learning rates.

        Returns:
            Groups, of which the last has the rate of the objective's own parameters too.
        """
        return [(list(self.network.parameters()), 1.0)]

    def saved_adapter(self) -> Adapter | None:
        """Return the part that a saved model holds (paper, Total).

        Returns:
            The adapter; None where there is none on the frozen backbone: the entire network would have to be saved.
        """
        return None


def scene_of_turn(scenes: Sequence[PreparedScene], turn: int, seed: int) -> PreparedScene:
    """Pick the scene of a turn: every epoch visits each scene once, in a new order.

    Args:
        scenes: The training scenes.
        turn: Number of the turn, from 0; an epoch has as many turns as there are scenes.
        seed: Decides, with the number of the epoch, the order.

    Returns:
        One of the scenes.
    """
    epoch, position = divmod(turn, len(scenes))
    return scenes[np.random.default_rng([seed, 1, epoch]).permutation(len(scenes))[position]]
