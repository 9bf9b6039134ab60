"""`evaluate(config)`: score a trained network, the 2D features alone, or both, under a stated protocol."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoguide.baselines.openscene import OpenScene
from geoguide.config import ExperimentConfig, Protocol
from geoguide.errors import InputError
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.model import classify, semantic_features
from geoguide.prepare import PreparedScene, prepare_split
from geoguide.scene import VOID
from geoguide.text import TextEncoder


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
    scenes: list[PreparedScene] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score every labelled point of a split (evaluation as OpenScene: modes distill, fusion, ensemble).

    `distill`: cosine of F_3d^sem with the text. `fusion`: cosine of F_2d; points no camera sees have no feature and
    count as the protocol's `no_feature` says. `ensemble`: per point the source with the higher best cosine.
    """
    protocol = config.protocol
    if protocol.mode != "fusion" and network is None:
        raise InputError(f"evaluate: mode {protocol.mode!r} needs a trained network")
    scenes = prepare_split(config, split, progress=progress) if scenes is None else scenes
    names = load_label_set(config.data.label_set).names
    text = torch.from_numpy(TextEncoder().encode(names, prompt=protocol.prompt))
    total = ConfusionMatrix(len(names), no_feature=protocol.no_feature)
    per_scene = {}
    for scene in scenes:
        matrix = ConfusionMatrix(len(names), no_feature=protocol.no_feature)
        matrix.update(scene.labels, predict(scene, text, protocol.mode, network)[0])
        per_scene[scene.name] = matrix
        total = total + matrix
    return Evaluation(total, per_scene, protocol)


@torch.inference_mode()
def predict(
    scene: PreparedScene, text: Tensor, mode: str, network: nn.Module | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Label ids int64 [P] (255 = no feature) and their cosines float32 [P] in the given mode."""
    if mode != "fusion":
        ids, best = classify(network_output(network, scene), text.to(next(network.parameters()).device))
        if mode == "distill":
            return ids, best
    lifted = F.normalize(torch.from_numpy(np.array(scene.lifted)).float(), dim=-1)
    ids_2d, best_2d = classify(lifted, text)
    seen = scene.views > 0
    if mode == "fusion":
        return np.where(seen, ids_2d, VOID), np.where(seen, best_2d, 0)
    if mode != "ensemble":
        raise InputError(f"mode must be distill, fusion or ensemble, found {mode!r}")
    take_2d = seen & (best_2d > best)
    return np.where(take_2d, ids_2d, ids), np.where(take_2d, best_2d, best)


@torch.inference_mode()
def network_output(network: nn.Module, scene: PreparedScene) -> Tensor:
    """F_3d^sem of every point of a scene, unit length [P, C]."""
    network.eval()
    if isinstance(network, OpenScene):
        return F.normalize(network.encode(scene.points, scene.colors), dim=-1)
    return semantic_features(network, torch.from_numpy(np.array(scene.geometry)))
