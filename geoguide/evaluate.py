"""`evaluate(config)`: score a trained network, the 2D features alone, or both, under a stated protocol."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from geoguide.augment import random_scale
from geoguide.backbones import BackboneConfig, open_backbone
from geoguide.baselines.openscene import OpenScene
from geoguide.class_text import ClassText, class_text
from geoguide.config import ExperimentConfig, Protocol
from geoguide.errors import DataError, InputError
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.model import adapter_output
from geoguide.prepare import PreparedScene, prepare_split
from geoguide.scene import VOID, Scene

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
    network: nn.Module | None = None,
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
    return evaluate_label_sets(config, network, scenes, (label_set,))[label_set]


def evaluate_label_sets(
    config: ExperimentConfig,
    network: nn.Module | None,
    scenes: Sequence[PreparedScene],
    label_sets: Sequence[str],
) -> dict[str, Evaluation]:
    """As `evaluate`, on several label sets of the same scenes: features are computed once, text by text compared."""
    protocol = config.protocol
    if protocol.mode != "fusion" and network is None:
        raise InputError(f"evaluate: mode {protocol.mode!r} needs a trained network")
    texts = {name: class_text(name, protocol, config.text) for name in label_sets}
    per_scene: dict[str, dict[str, ConfusionMatrix]] = {name: {} for name in label_sets}
    for scene in scenes:
        once = protocol.mode != "fusion" and protocol.repeats == 1
        output = network_output(network, scene) if once else None
        for name, text in texts.items():
            labels = scene.labels if name == config.data.label_set else _labels(scene, name)
            if labels is None:
                raise DataError(f"scene {scene.name}: has no labels, so nothing can be scored")
            how = {"repeats": protocol.repeats, "backbone": config.backbone, "output": output}
            ids, _ = predict(scene, text, protocol.mode, network, **how)
            matrix = ConfusionMatrix(len(load_label_set(name)), no_feature=protocol.no_feature)
            matrix.update(labels, ids)
            per_scene[name][scene.name] = matrix
    empty = {name: ConfusionMatrix(len(load_label_set(name)), no_feature=protocol.no_feature) for name in label_sets}
    return {name: Evaluation(sum(found.values(), empty[name]), found, protocol) for name, found in per_scene.items()}


def _labels(scene: PreparedScene, label_set: str) -> np.ndarray | None:
    if scene.origin is None:
        raise InputError(f"scene {scene.name}: labels of {label_set} need a scene of a dataset")
    return scene.origin.load(label_set).labels


@torch.inference_mode()
def predict(
    scene: PreparedScene,
    text: ClassText,
    mode: str,
    network: nn.Module | None = None,
    *,
    repeats: int = 1,
    backbone: BackboneConfig | None = None,
    output: Tensor | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Label ids int64 [P] (255 = no feature) and their cosines float32 [P] in the given mode.

    output: `network_output` of the scene where it is known already (one pass).

    repeats: above 1, the mean dot products of that many turned and scaled passes decide (OpenScene's test_repeats),
    for which `backbone` encodes the scene anew. Working memory O(P classes) then, else O(chunk classes).
    """
    if mode not in ("distill", "fusion", "ensemble"):
        raise InputError(f"mode must be distill, fusion or ensemble, found {mode!r}")
    if mode == "fusion":
        return _classify_lifted(scene, text)
    if repeats > 1:
        still = _still(scene, network, backbone)
        mean = sum(_pass(scene, still, text, mode, network, backbone, number) for number in range(repeats)) / repeats
        best = mean.max(dim=1)
        return best.indices.cpu().numpy(), best.values.float().cpu().numpy()
    ids, best = text.classify(network_output(network, scene) if output is None else output)
    if mode == "distill":
        return ids, best
    ids_2d, best_2d = _classify_lifted(scene, text)
    take_2d = (ids_2d != VOID) & (best_2d > best)
    return np.where(take_2d, ids_2d, ids), np.where(take_2d, best_2d, best)


def _classify_lifted(scene: PreparedScene, text: ClassText) -> tuple[np.ndarray, np.ndarray]:
    """Ids int64 [P], 255 without a 2D feature, and cosines float32 [P], 0 there."""
    ids, best = np.full(len(scene), VOID), np.zeros(len(scene), np.float32)
    for chosen in np.array_split(np.arange(len(scene)), -(-len(scene) // CHUNK)):
        lifted, seen = scene.features(chosen)
        found, cosine = text.classify(F.normalize(torch.from_numpy(np.array(lifted)).float(), dim=-1))
        ids[chosen], best[chosen] = np.where(seen, found, VOID), np.where(seen, cosine, 0)
    return ids, best


def _still(scene: PreparedScene, network: nn.Module, backbone: BackboneConfig | None) -> Scene | None:
    """The scene that passes turn and encode anew; None for a network that encodes points itself."""
    if isinstance(network, OpenScene):
        return None
    if backbone is None or scene.origin is None:
        raise InputError(f"scene {scene.name}: repeats need its backbone, and a scene of a dataset to encode anew")
    return scene.origin.load()


def _pass(
    scene: PreparedScene,
    still: Scene | None,
    text: ClassText,
    mode: str,
    network: nn.Module,
    backbone: BackboneConfig | None,
    number: int,
) -> Tensor:
    """Dot products float32 [P, K] of one turned and scaled pass; in ensemble mode of the source that is surer."""
    network.eval()
    generator = np.random.default_rng([11, number])
    turn = Rotation.from_euler("xyz", generator.uniform(-TURN, TURN)).as_matrix().astype(np.float32)
    points = random_scale(scene.points @ turn, SCALE, generator)
    if still is None:
        features = network.encode(points, scene.colors)
    else:
        normals = None if still.normals is None else still.normals @ turn
        geometry = open_backbone(backbone).encode(replace(still, points=points, normals=normals))
        features = adapter_output(network, torch.from_numpy(geometry))
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
def network_output(network: nn.Module, scene: PreparedScene) -> Tensor:
    """F_3d^sem of every point of a scene, unit length [P, C]."""
    network.eval()
    if isinstance(network, OpenScene):
        return F.normalize(network.encode(scene.points, scene.colors), dim=-1)
    return F.normalize(adapter_output(network, torch.from_numpy(np.array(scene.geometry))), dim=-1)
