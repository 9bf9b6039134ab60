"""The second stage of a training: who gives the pseudo labels, and what of that a checkpoint holds."""

import abc
import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoguide.method.batch import NO_WORD, Supervised
from geoguide.method.self_distillation import (
    SelfDistillationConfig,
    follow,
    pseudo_label_loss,
    running_mean,
    similarities,
    superpoint_labels,
    voted_labels,
)
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.supervision import told_text
from geoguide.prepared import PreparedScene
from geoguide.students.student import Student


class SelfDistillation(abc.ABC):
    """A second stage; a subclass gives the pseudo labels.

    Args:
        config: Its options.
        first: The step at which it begins.
        student: Whose stage it is.
        text: float32 [K, C], the text of the classes.

    Attributes:
        first: As above.
    """

    def __init__(self, config: SelfDistillationConfig, first: int, student: Student, text: Tensor) -> None:
        self.config, self.first, self.student = config, first, student
        self.text = text.to(student.device)

    @abc.abstractmethod
    def begin(self, scenes: Sequence[PreparedScene]) -> None:
        """Take what the first stage left, before the first step of the second; nothing where a checkpoint had it.

        Args:
            scenes: The training scenes.
        """

    @abc.abstractmethod
    def labels(self, semantic: Tensor, batch: Supervised) -> Tensor:
        """Give the pseudo labels of a batch.

        Args:
            semantic: F_3d^sem of the batch, float [P, C], without gradient.
            batch: The P points.

        Returns:
            int64 [P], equal within a superpoint; -1 for none.
        """

    def terms(self, semantic: Tensor, batch: Supervised) -> dict[str, Tensor]:
        """Compute the loss of a step.

        Args:
            semantic: F_3d^sem of the batch, [P, C].
            batch: The P points.

        Returns:
            As `pseudo_label_loss`.
        """
        with torch.no_grad():
            labels = self.labels(semantic.detach(), batch)
        return pseudo_label_loss(semantic, labels, batch.superpoints, self.text, self.config)

    @abc.abstractmethod
    def follow(self) -> None:
        """Learn of a step that the student has taken."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds.

        Returns:
            Tensors by name.
        """

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Args:
            state: As `state_dict` gave it.

        Raises:
            ValueError: It does not fit.
        """


class HistoryLabels(SelfDistillation):
    """Pseudo labels of what the student has said of each point so far (SAS, stage 2).

    Kept are the dot products with the K classes' text, [P, K] of a scene in place of SAS's features [P, C]: all that is
    asked of the history is linear in them. 1.7 MB of a room of 38,000 points and 20 classes, with its superpoints;
    12 MB with the 160 names of Matterport3D.
    """

    def __init__(self, config: SelfDistillationConfig, first: int, student: Student, text: Tensor) -> None:
        super().__init__(config, first, student, text)
        self._said: dict[str, Tensor] = {}
        self._superpoints: dict[str, np.ndarray] = {}  # copies: scenes may not all stay open

    @torch.no_grad()
    def begin(self, scenes: Sequence[PreparedScene]) -> None:
        """The first stage's output of every point (see `SelfDistillation.begin`). O(scenes) passes of the network."""
        self.student.network.eval()
        for scene in scenes:
            self._superpoints[scene.fingerprint] = np.array(scene.superpoints, np.int32)
            if scene.fingerprint not in self._said:
                said = similarities(self.student.features(scene).float(), self.text, self.config)  # [P, K]
                self._said[scene.fingerprint] = said.to(getattr(torch, self.config.storage)).cpu()

    def labels(self, semantic: Tensor, batch: Supervised) -> Tensor:
        """The points of the batch have a visit, and those of its scenes a label (see `SelfDistillation.labels`)."""
        said = similarities(semantic, self.text, self.config).cpu()  # [P, K]
        found, start = [], 0
        for origin in batch.origins:
            rows = torch.from_numpy(origin.points)
            old, known = self._said[origin.scene], rows >= 0
            new = said[start : start + len(rows)][known]
            old[rows[known]] = running_mean(old[rows[known]], new, self.config.keep)
            own = torch.from_numpy(superpoint_labels(old, self._superpoints[origin.scene]))
            found.append(torch.where(known, own[rows.clamp_min(0)], NO_WORD))
            start += len(rows)
        return torch.cat(found).to(semantic.device)

    def follow(self) -> None:
        """Nothing: a visit was noted when its labels were given (see `SelfDistillation.follow`)."""

    def state_dict(self) -> dict[str, Any]:
        """The history of every scene (see `SelfDistillation.state_dict`)."""
        return dict(self._said)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the history of a checkpoint (see `SelfDistillation.load_state_dict`)."""
        wanted = getattr(torch, self.config.storage)
        for name, said in state.items():
            if said.dtype != wanted or said.ndim != 2 or said.shape[1] != len(self.text):
                raise ValueError(f"history of {name} is {said.dtype} {list(said.shape)}")
        self._said = {name: said.cpu() for name, said in state.items()}


class MeanTeacherLabels(SelfDistillation):
    """Pseudo labels of a network that follows the student slowly, by vote of each superpoint (GGSD, stage 2)."""

    def __init__(self, config: SelfDistillationConfig, first: int, student: Student, text: Tensor) -> None:
        super().__init__(config, first, student, text)
        self.teacher = copy.copy(student)
        self.teacher.network = copy.deepcopy(student.network)
        self._begun = False

    def begin(self, scenes: Sequence[PreparedScene]) -> None:
        """The teacher is the student of the first stage (see `SelfDistillation.begin`)."""
        if not self._begun:
            self.teacher.network.load_state_dict(self.student.network.state_dict())
            self._begun = True
        self.teacher.network.eval()

    def labels(self, semantic: Tensor, batch: Supervised) -> Tensor:
        """One more forward pass; rows that are no kept point have no superpoint (see `SelfDistillation.labels`)."""
        said = similarities(self.teacher.forward(batch).float(), self.text, self.config)  # [P, K]
        rows = torch.from_numpy(np.concatenate([origin.points for origin in batch.origins]))  # [P]
        return voted_labels(said, batch.superpoints).masked_fill(rows.to(said.device) < 0, NO_WORD)

    def follow(self) -> None:
        """Follow the student (see `SelfDistillation.follow`)."""
        follow(self.teacher.network, self.student.network, self.config.keep)

    def state_dict(self) -> dict[str, Any]:
        """The teacher's weights, once there is a teacher (see `SelfDistillation.state_dict`)."""
        return self.teacher.network.state_dict() if self._begun else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the teacher of a checkpoint (see `SelfDistillation.load_state_dict`)."""
        if state:
            self.teacher.network.load_state_dict(state)
            self._begun = True


def new_self_distillation(config: ExperimentConfig, student: Student) -> SelfDistillation | None:
    """Make the second stage that a training asks for.

    Args:
        config: The experiment.
        student: Untrained, on its device.

    Returns:
        The second stage; None where there is none.
    """
    asked, kinds = config.train.self_distillation, {"history": HistoryLabels, "mean_teacher": MeanTeacherLabels}
    if asked.teacher == "none":
        return None
    return kinds[asked.teacher](asked, round(asked.begins * config.train.steps), student, told_text(config))
