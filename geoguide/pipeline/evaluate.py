"""`evaluate(config)`: score a trained network, the 2D features alone, or both, under a stated protocol."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from geoguide.errors import DataError, InputError
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.pipeline.class_text import ClassText, class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.prepare import prepare_split
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID
from geoguide.students.student import Motion, Student

CHUNK = 65536  # points whose 2D features are in memory at once


TURN = np.array([np.pi / 64, np.pi / 64, np.pi])  # radians either way about x, y and z, and a scale of 0.9 .. 1.1:


SCALE = 0.1  # what OpenScene's voxelizer leaves on in tests


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Confusion over a split and per scene; `miou` and `macc` follow the protocol, in %."""

    confusion: ConfusionMatrix
    per_scene: dict[str, ConfusionMatrix]
    protocol: Protocol

    @property
    def miou(self) -> float:
        return 100.0 * self.confusion.miou(absent=self.protocol.absent_class)

    @property
    def macc(self) -> float:
        return 100.0 * self.confusion.macc(absent=self.protocol.absent_class)


def evaluate(
    config: ExperimentConfig,
    student: Student | None = None,
    *,
    split: str = "test",
    scenes: Sequence[PreparedScene] | None = None,
    label_set: str | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score every labelled point of a split (evaluation as OpenScene: modes distill, fusion, ensemble).

    `distill`: cosine of F_3d^sem with the text. `fusion`: cosine of F_2d; points no camera sees have no feature and
    count as the protocol's `no_feature` says. `ensemble`: per point the source with the higher best cosine. label_set:
    another one than the config's; the scenes' labels are then read for it. Raises DataError for scenes without labels.
    """
    scenes = prepare_split(config, split, progress=progress) if scenes is None else scenes
    label_set = label_set or config.data.label_set
    return evaluate_label_sets(config, student, scenes, (label_set,))[label_set]


def evaluate_label_sets(
    config: ExperimentConfig,
    student: Student | None,
    scenes: Sequence[PreparedScene],
    label_sets: Sequence[str],
) -> dict[str, Evaluation]:
    """As `evaluate`, on several label sets of the same scenes: features are computed once, text by text compared."""
    protocol = config.protocol
    if protocol.mode != "fusion" and student is None:
        raise InputError(f"evaluate: mode {protocol.mode!r} needs a trained student")
    texts = {name: class_text(name, protocol, config.text) for name in label_sets}
    per_scene: dict[str, dict[str, ConfusionMatrix]] = {name: {} for name in label_sets}
    for scene in scenes:
        output = None
        if student is not None and protocol.mode != "fusion" and protocol.repeats == 1:
            output = student_output(student, scene)
        for name, text in texts.items():
            labels = scene.labels if name == config.data.label_set else scene.load(name).labels
            if labels is None:
                raise DataError(f"scene {scene.name}: has no labels, so nothing can be scored")
            ids, _ = predict(scene, text, protocol.mode, student, repeats=protocol.repeats, output=output)
            matrix = ConfusionMatrix(len(load_label_set(name)), no_feature=protocol.no_feature)
            matrix.update(labels, ids)
            per_scene[name][scene.name] = matrix
    empty = {name: ConfusionMatrix(len(load_label_set(name)), no_feature=protocol.no_feature) for name in label_sets}
    return {name: Evaluation(sum(found.values(), empty[name]), found, protocol) for name, found in per_scene.items()}


@torch.inference_mode()
def predict(
    scene: PreparedScene,
    text: ClassText,
    mode: str,
    student: Student | None = None,
    *,
    repeats: int = 1,
    output: Tensor | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The class of every point of a scene.

    Args:
        scene: The prepared scene.
        text: The classes.
        mode: distill, fusion or ensemble (see `evaluate`).
        student: What was trained; None in mode fusion.
        repeats: Above 1, the mean dot products of that many turned and scaled passes decide (OpenScene's test_repeats).
        output: `student_output` of the scene where it is known already (one pass).

    Returns:
        Class ids int64 [P] (255: no feature) and their cosines float32 [P]. Working memory O(P classes) with several
        passes, else O(chunk classes).

    Raises:
        InputError: An unknown mode, or no student in a mode that needs one.
    """
    if mode not in ("distill", "fusion", "ensemble"):
        raise InputError(f"mode must be distill, fusion or ensemble, found {mode!r}")
    if mode == "fusion":
        return _classify_lifted(scene, text)
    if student is None:
        raise InputError(f"predict: mode {mode!r} needs a trained student")
    if repeats > 1:
        best = _mean_of_passes(scene, text, mode, student, repeats).max(dim=1)
        return best.indices.cpu().numpy(), best.values.float().cpu().numpy()
    ids, cosine = text.classify(student_output(student, scene) if output is None else output)
    if mode == "distill":
        return ids, cosine
    ids_2d, cosine_2d = _classify_lifted(scene, text)
    take_2d = (ids_2d != VOID) & (cosine_2d > cosine)
    return np.where(take_2d, ids_2d, ids), np.where(take_2d, cosine_2d, cosine)


def _classify_lifted(scene: PreparedScene, text: ClassText) -> tuple[np.ndarray, np.ndarray]:
    """Ids int64 [P], 255 without a 2D feature, and cosines float32 [P], 0 there."""
    ids, best = np.full(len(scene), VOID), np.zeros(len(scene), np.float32)
    for chosen in np.array_split(np.arange(len(scene)), -(-len(scene) // CHUNK)):
        lifted, seen = scene.features(chosen)
        found, cosine = text.classify(F.normalize(torch.from_numpy(np.array(lifted)).float(), dim=-1))
        ids[chosen], best[chosen] = np.where(seen, found, VOID), np.where(seen, cosine, 0)
    return ids, best


def _mean_of_passes(scene: PreparedScene, text: ClassText, mode: str, student: Student, repeats: int) -> Tensor:
    """Mean dot products float32 [P, K] of the turned and scaled passes."""
    student.network.eval()
    passes = student.moved(scene, [_motion(number) for number in range(repeats)])
    similarities = (_similarity(features, scene, text, mode) for features in passes)
    return sum(similarities, start=torch.zeros(())) / repeats


def _motion(number: int) -> Motion:
    """What OpenScene's voxelizer does to the scene in pass `number`."""
    generator = np.random.default_rng([11, number])
    turn = Rotation.from_euler("xyz", generator.uniform(-TURN, TURN)).as_matrix().astype(np.float32)
    return Motion(turn, generator.uniform(1 - SCALE, 1 + SCALE))


def _similarity(features: Tensor, scene: PreparedScene, text: ClassText, mode: str) -> Tensor:
    """Dot products float32 [P, K] of one pass; in ensemble mode of the source that is surer, 3D or 2D."""
    similarity = text.similarity(features)
    if mode == "ensemble":
        lifted, seen = scene.features(np.arange(len(scene)))
        lifted = torch.from_numpy(np.array(lifted)).to(features).float()
        cosine = similarity.max(dim=1).values / features.norm(dim=1)
        other = text.similarity(lifted)
        surer = torch.from_numpy(seen).to(cosine.device) & (other.max(dim=1).values / lifted.norm(dim=1) > cosine)
        similarity = torch.where(surer[:, None], other, similarity)
    return similarity


@torch.inference_mode()
def student_output(student: Student, scene: PreparedScene) -> Tensor:
    """F_3d^sem of every point of a scene, unit length [P, C]."""
    student.network.eval()
    return F.normalize(student.features(scene), dim=-1)
