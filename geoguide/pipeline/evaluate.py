"""`evaluate(config)`: score a trained student, the 2D features alone, or both, under a stated protocol."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from geoguide.benchmarks.named import shown
from geoguide.errors import DataError, InputError
from geoguide.instances.masks import annotated_regions
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.ops.segment import segment_sum
from geoguide.pipeline.class_text import ClassText, class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.prepare import prepare_split
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID
from geoguide.students.student import Motion, Student

CHUNK = 65536  # points whose 2D features are in memory at once
# A pass turns the scene by up to TURN about x, y and z (radians, either way) and scales it by 1 - SCALE .. 1 + SCALE:
# OpenScene's voxelizer leaves that on in tests.
TURN = np.array([np.pi / 64, np.pi / 64, np.pi])
SCALE = 0.1


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The scores of a split.

    Attributes:
        confusion: Over all scenes.
        per_scene: By name of the scene.
        protocol: How it was scored.
        unlabelled: Names of the scenes that were left out because they have no labels.
        without_features: In modes fusion and ensemble, names of the scored scenes without 2D features: all of their
            points count as points without a feature do.
    """

    confusion: ConfusionMatrix
    per_scene: dict[str, ConfusionMatrix]
    protocol: Protocol
    unlabelled: tuple[str, ...] = ()
    without_features: tuple[str, ...] = ()

    @property
    def miou(self) -> float:
        """Mean IoU over all scenes in %, absent classes counted as the protocol says."""
        return 100.0 * self.confusion.miou(absent=self.protocol.absent_class)

    @property
    def macc(self) -> float:
        """Mean class accuracy over all scenes in %, absent classes counted as the protocol says."""
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

    Scenes without labels are left out, with one warning that names them.

    `distill`: cosine of F_3d^sem with the text. `fusion`: cosine of F_2d; points that no camera sees have no feature
    and count as the protocol's `no_feature` says. `ensemble`: per point the source with the higher best cosine.

    Args:
        config: The experiment: its data, text and protocol.
        student: The trained student; None in mode fusion.
        split: train, val or test.
        scenes: The prepared scenes of the split; None prepares them, on the student's device.
        label_set: Another label set than the config's, for which the scenes' labels are read; None for the config's.
        progress: Whether to show progress bars.

    Returns:
        The scores.

    Raises:
        InputError: No student in a mode that needs one, two scenes of one name, or scenes made in memory that would
            have to be read again.
        ConfigError: An unknown label set.
        DataError: No scene has labels, none has 2D features in a mode that compares them, or one cannot be read.
    """
    if scenes is None:
        device = "auto" if student is None else student.device
        scenes = prepare_split(config, split, device=device, progress=progress)
    label_set = label_set or config.data.label_set
    return evaluate_label_sets(config, student, scenes, (label_set,))[label_set]


def evaluate_label_sets(
    config: ExperimentConfig, student: Student | None, scenes: Sequence[PreparedScene], label_sets: Sequence[str]
) -> dict[str, Evaluation]:
    """Score several label sets of the same scenes as `evaluate` does; the student's features are computed once.

    Args:
        config: The experiment: its text and protocol, and the label set that the scenes hold labels of.
        student: The trained student; None in mode fusion.
        scenes: The prepared scenes.
        label_sets: Names of label sets; for others than the config's, labels are read from the scenes' files.

    Returns:
        The scores by label set.

    Raises:
        InputError: As `evaluate`.
        ConfigError: As `evaluate`.
        DataError: As `evaluate`.
    """
    protocol = config.protocol
    if protocol.mode != "fusion" and student is None:
        raise InputError(f"evaluate: mode {protocol.mode!r} needs a trained student")
    names = [scene.name for scene in scenes]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:  # scores are kept by name: only the last of them would count
        raise InputError(f"evaluate: scenes must have different names, found {twice!r} more than once")
    without = _without_features(scenes, protocol.mode)
    texts = {name: class_text(name, protocol, config.text) for name in label_sets}
    per_scene: dict[str, dict[str, ConfusionMatrix]] = {name: {} for name in label_sets}
    once = protocol.mode != "fusion" and protocol.repeats == 1  # one pass of the student serves all texts
    for scene in scenes:
        labels = _labels(scene, config, label_sets)
        output = student_output(student, scene) if once and student is not None and labels else None
        for name, target in labels.items():
            if protocol.pooled != "none":
                ids = _classify_pooled(scene, texts[name], protocol.pooled)
            else:
                ids, _ = predict(scene, texts[name], protocol.mode, student, repeats=protocol.repeats, output=output)
            matrix = per_scene[name][scene.name] = ConfusionMatrix(len(load_label_set(name)), protocol.no_feature)
            matrix.update(target, ids)
    return {name: _scored(name, found, names, without, protocol) for name, found in per_scene.items()}


def _without_features(scenes: Sequence[PreparedScene], mode: str) -> tuple[str, ...]:
    """Names of the scenes whose 2D features a mode asks for and does not find; one warning says them."""
    if not scenes:
        raise DataError("no scene to score: the split names none (--test, data.splits)")
    if mode == "distill":
        return ()
    without = tuple(scene.name for scene in scenes if scene.lifted is None)
    if len(without) == len(scenes):
        raise DataError(f"mode {mode}: none of the {len(scenes)} scenes has 2D features, first {without[0]}")
    if without:
        counts = "all of their points count as points without a feature"
        told = f"mode {mode}: {len(without)} of {len(scenes)} scenes have no 2D features, {counts}: {shown(without)}"
        warnings.warn(told, stacklevel=4)
    return without


def _labels(scene: PreparedScene, config: ExperimentConfig, label_sets: Sequence[str]) -> dict[str, np.ndarray]:
    """Labels int64 [P] of a scene by label set, of those that it has."""
    own = config.data.label_set
    found = {name: scene.labels if name == own else scene.load(name).labels for name in label_sets}
    return {name: np.asarray(labels) for name, labels in found.items() if labels is not None}


def _scored(
    label_set: str, found: dict[str, ConfusionMatrix], names: list[str], without: tuple[str, ...], protocol: Protocol
) -> Evaluation:
    """The scores on a label set of the scenes `names`, of which those that have labels are found."""
    unlabelled = tuple(name for name in names if name not in found)
    if not found:
        many = f"none of the {len(names)} scenes has labels of {label_set}, first {names[0]}"
        raise DataError(f"{many}: has no labels, so nothing can be scored")
    if unlabelled:
        told = f"{len(unlabelled)} of {len(names)} scenes have no labels of {label_set} and are left out"
        warnings.warn(f"{told}: {shown(unlabelled)}", stacklevel=4)
    total = sum(found.values(), ConfusionMatrix(len(load_label_set(label_set)), protocol.no_feature))
    return Evaluation(total, found, protocol, unlabelled, tuple(name for name in without if name in found))


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
    """Predict the class of every point of a scene (paper, inference).

    Args:
        scene: The prepared scene.
        text: The classes.
        mode: distill, fusion or ensemble (see `evaluate`).
        student: The trained student; None in mode fusion.
        repeats: Above 1, the mean dot products of that many turned and scaled passes decide (OpenScene's test_repeats);
            modes distill and ensemble only.
        output: `student_output` of the scene, to compute it once for several texts; used with one pass only.

    Returns:
        Class ids int64 [P] (255: no feature) and their cosines float32 [P]. Working memory O(P classes) with several
        passes, else O(chunk classes).

    Raises:
        InputError: An unknown mode, no student in a mode that needs one, features and text of different widths, or
            several passes of a scene made in memory.
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
    """Classify the 2D features: ids int64 [P], 255 without a feature, and cosines float32 [P], 0 there."""
    ids, best = np.full(len(scene), VOID), np.zeros(len(scene), np.float32)
    if scene.lifted is None:
        return ids, best
    for chosen in np.array_split(np.arange(len(scene)), -(-len(scene) // CHUNK)):
        lifted, seen = scene.features(chosen)
        found, cosine = text.classify(F.normalize(torch.from_numpy(np.array(lifted)).float(), dim=-1))
        ids[chosen], best[chosen] = np.where(seen, found, VOID), np.where(seen, cosine, 0)  # [chunk] each
    return ids, best


def _classify_pooled(scene: PreparedScene, text: ClassText, pooled: str) -> np.ndarray:
    """Class ids int64 [P] of the mean 2D feature of each point's region, 255 where no point of it is seen."""
    if scene.lifted is None:
        return np.full(len(scene), VOID)
    _, region = np.unique(_regions(scene, pooled), return_inverse=True)
    index = torch.from_numpy(region.reshape(-1))
    count = int(index.max()) + 1
    total, mass = torch.zeros(count, scene.feature_width), torch.zeros(count)
    for chosen in np.array_split(np.arange(len(scene)), -(-len(scene) // CHUNK)):
        lifted, seen = (torch.from_numpy(np.array(part)) for part in scene.features(chosen))
        total += segment_sum(lifted.float() * seen[:, None], index[chosen], count)
        mass += segment_sum(seen.float(), index[chosen], count)
    ids, _ = text.classify(F.normalize(total, dim=-1))
    return np.where(mass.numpy() > 0, ids, VOID)[index.numpy()]


def _regions(scene: PreparedScene, pooled: str) -> np.ndarray:
    """Region of each point, int64 [P]: its superpoint, or its annotated instance where that is asked and it has one."""
    if pooled == "superpoints":
        return np.asarray(scene.superpoints)
    if scene.instances is None:
        raise DataError(f"scene {scene.name}: protocol.pooled 'instances' needs annotated instances, found none")
    return annotated_regions(np.asarray(scene.instances), np.asarray(scene.superpoints))


def _mean_of_passes(scene: PreparedScene, text: ClassText, mode: str, student: Student, repeats: int) -> Tensor:
    """Mean dot products float32 [P, K] of the turned and scaled passes, of names before these become classes."""
    student.network.eval()
    passes = student.moved(scene, [_motion(number) for number in range(repeats)])
    similarities = (_similarity(features, scene, text, mode) for features in passes)
    return text.pooled(sum(similarities, start=torch.zeros(())) / repeats)


def _motion(number: int) -> Motion:
    """The random turn and scale of pass `number`, as OpenScene's voxelizer draws them."""
    generator = np.random.default_rng([11, number])
    turn = Rotation.from_euler("xyz", generator.uniform(-TURN, TURN)).as_matrix().astype(np.float32)
    return Motion(turn, generator.uniform(1 - SCALE, 1 + SCALE))


def _similarity(features: Tensor, scene: PreparedScene, text: ClassText, mode: str) -> Tensor:
    """Dot products float32 [P, F] of one pass; in ensemble mode of the source that is surer, 3D or 2D."""
    similarity = text.of_names(features)
    if mode == "ensemble" and scene.lifted is not None:
        lifted, seen = scene.features(np.arange(len(scene)))
        lifted = torch.from_numpy(np.array(lifted)).to(features).float()  # [P, C]
        cosine = similarity.max(dim=1).values / features.norm(dim=1)  # [P]
        other = text.of_names(lifted)  # [P, F]
        surer = torch.from_numpy(seen).to(cosine.device) & (other.max(dim=1).values / lifted.norm(dim=1) > cosine)
        similarity = torch.where(surer[:, None], other, similarity)
    return similarity


@torch.inference_mode()
def student_output(student: Student, scene: PreparedScene) -> Tensor:
    """Compute F_3d^sem of every point of a scene, for scoring.

    Args:
        student: The trained student; it is put into evaluation mode.
        scene: The prepared scene.

    Returns:
        float32 [P, C], unit length, on the student's device.
    """
    student.network.eval()
    return F.normalize(student.features(scene), dim=-1)
