"""What a training learns from: 2D features, or (an oracle) the annotated labels of its scenes."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geoguide.errors import ConfigError, DataError
from geoguide.method.batch import NO_WORD, Supervised
from geoguide.method.distillation import DistillationConfig, vote
from geoguide.method.objective import Objective
from geoguide.ops.indexed import IndexedRows
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.protocols import own_protocol
from geoguide.pipeline.stages import known_label_set
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID

CHUNK = 8192  # points whose features are in memory at a time


class MappedScenes(Sequence[PreparedScene]):
    """Scenes as a function changes them, each when it is asked for.

    Args:
        scenes: The scenes.
        change: Gives the scene in place of a scene.
    """

    def __init__(self, scenes: Sequence[PreparedScene], change: Callable[[PreparedScene], PreparedScene]) -> None:
        self._scenes, self._change = scenes, change

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, number: int) -> PreparedScene:  # ty: ignore[incompatible-method-override]  # no slices
        return self._change(self._scenes[number])


def supervised(config: ExperimentConfig, scenes: Sequence[PreparedScene]) -> Sequence[PreparedScene]:
    """Give training scenes what `train.supervision` says to learn from.

    Args:
        config: The experiment.
        scenes: The prepared training scenes.

    Returns:
        The scenes themselves for "2d", painted with words where the objective learns from these. Else each with the
        text feature of its true class in place of F_2d at every labelled point: what a perfect dense 2D model would
        give that sees through everything.

    Raises:
        DataError: A scene has no labels.
    """
    if config.train.supervision == "2d":
        return _painted(config, scenes) if config.objective.distillation.of_words else scenes
    bare = [scene.name for scene in scenes if scene.labels is None]
    if bare:
        expected = f"train.supervision {config.train.supervision!r} needs training scenes with labels"
        raise DataError(f"{expected}, found none in {len(bare)} of {len(scenes)}, first {bare[0]}")
    text = class_text(config.data.label_set, Protocol(), config.text).vectors.numpy()
    rows = np.concatenate([text, np.zeros_like(text[:1])]).astype(np.float16)  # [K + 1, C], the last for void
    return MappedScenes(scenes, lambda scene: _labelled(scene, rows))


def new_objective(config: ExperimentConfig, scenes: Sequence[PreparedScene]) -> Objective:
    """Make the loss of a training.

    Args:
        config: The experiment.
        scenes: The training scenes, as `supervised` gives them: the widths of their features.

    Returns:
        The objective; with `train.supervision` "classes" a `ClassObjective`.

    Raises:
        ConfigError: Modules beside labels: they repair 2D features, and labels have no faults.
    """
    widths = scenes[0].geometry_width, scenes[0].feature_width
    if config.train.supervision == "2d":
        words = told_text(config) if config.objective.distillation.of_words else None
        return Objective(*widths, config.objective, words)
    if config.objective.distillation != DistillationConfig():
        raise ConfigError("objective.distillation must be left alone with train.supervision other than '2d'")
    if config.objective.modules:
        expected = f"objective.modules must be empty with train.supervision {config.train.supervision!r}"
        raise ConfigError(f"{expected}, found {config.objective.modules}")
    if config.train.supervision == "labels":
        return Objective(*widths, config.objective)
    return ClassObjective(*widths, config, class_text(config.data.label_set, Protocol(), config.text).vectors)


class ClassObjective(Objective):
    """Cross-entropy among the classes, whose scores are dot products with their text: an oracle, closed-set.

    The text vectors of a label set are linearly independent, so that a linear head (`adapter.hidden` empty) is exactly
    multinomial logistic regression: a linear probe of the frozen features, in the text space.

    Args:
        geometry_width: As in `Objective`.
        feature_width: As in `Objective`.
        config: The experiment; of its objective `lambda_sp` counts alone.
        text: float32 [K, C], a vector for each class.
    """

    text: Tensor

    def __init__(self, geometry_width: int, feature_width: int, config: ExperimentConfig, text: Tensor) -> None:
        super().__init__(geometry_width, feature_width, config.objective)
        self.register_buffer("text", text, persistent=False)

    def forward(self, semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            semantic: F_3d^sem, [P, C].
            batch: Its `lifted` are text vectors of the true classes; where not `seen`, there is none.
            generator: Unused, as in `plain_distillation`.

        Returns:
            `point`, and the same as `total`; 0 where no point is labelled.
        """
        scores = semantic @ self.text.T  # [P, K]
        target = (batch.lifted @ self.text.T).argmax(1)  # [P]
        loss = F.cross_entropy(scores, target.masked_fill(~batch.seen, VOID), ignore_index=VOID, reduction="sum")
        loss = self.config.lambda_sp * loss / batch.seen.sum().clamp_min(1)
        return {"point": loss, "total": loss}


def told_text(config: ExperimentConfig) -> Tensor:
    """The text of the names that a training without labels is told, where it paints or labels with words.

    Args:
        config: The experiment.

    Returns:
        float32 [K, C], K names: those of the benchmark's largest label set, since one network is scored on all of them,
        or the finer ones by which its classes are asked for.
    """
    return class_text(known_label_set(config.data), own_protocol(config), config.text).vectors


def _painted(config: ExperimentConfig, scenes: Sequence[PreparedScene]) -> Sequence[PreparedScene]:
    """Each scene painted with words once: 76 kB are kept of a room."""
    text, by = told_text(config), config.objective.distillation.painted_by
    known: dict[str, np.ndarray] = {}

    def change(scene: PreparedScene) -> PreparedScene:
        if scene.lifted is not None and scene.fingerprint not in known:
            known[scene.fingerprint] = paint(scene, text, by).astype(np.int16)
        return replace(scene, words=known.get(scene.fingerprint))

    return MappedScenes(scenes, change)


def paint(scene: PreparedScene, text: Tensor, by: str) -> np.ndarray:
    """Paint the seen points of a scene with words (DMA).

    A point's own word is the one nearest to its lifted feature, so that the frames' votes are their mean feature; then
    the points of a region vote. DMA takes the words of pixels, lets SAM's masks vote in each image, then the frames.

    Args:
        scene: A prepared scene with 2D features.
        text: float32 [K, C].
        by: Within what points vote, see `DistillationConfig.painted_by`.

    Returns:
        int64 [P], -1 where no camera sees a point. O(P K) time; O(CHUNK (C + K)) memory beside the result.
    """
    words = np.full(len(scene), NO_WORD)
    for start in range(0, len(scene), CHUNK):
        part = np.arange(start, min(start + CHUNK, len(scene)))
        lifted, seen = scene.features(part)
        scores = torch.from_numpy(np.asarray(lifted, np.float32)) @ text.T  # [p, K]
        words[part[seen]] = scores.argmax(1).numpy()[seen]
    if by == "points":
        return words
    regions = np.asarray(scene.superpoints, np.int64)
    if by == "masks":
        best = scene.masks.best_of_points()
        regions = np.where(best >= 0, best, len(scene.masks) + regions)
    return np.where(words == NO_WORD, NO_WORD, vote(words, regions, len(text)))


def _labelled(scene: PreparedScene, rows: np.ndarray) -> PreparedScene:
    """The scene with a row of [K + 1, C] by the label of each point in place of its 2D features."""
    assert scene.labels is not None  # `supervised` has looked
    known = np.asarray(scene.labels) != VOID
    index = np.where(known, scene.labels, len(rows) - 1).astype(np.int32)
    return replace(scene, lifted=IndexedRows(rows, index), seen_by=known.astype(np.int32))
