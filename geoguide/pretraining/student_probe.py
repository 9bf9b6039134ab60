"""Does distillation corrupt the prior? The backbone's network, probed before and after it is trained."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from geoguide.errors import DataError
from geoguide.labels import load_label_set
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.student import new_student
from geoguide.prepared import PreparedScene
from geoguide.pretraining.probing import ProbeConfig, ProbeRoom, probe
from geoguide.students.point_transformer import PointTransformerStudent

POINTS = 4000  # random points of each room that are probed: whole rooms are 26 MB each, and say the same


def probe_before_and_after(
    config: ExperimentConfig,
    trained: PointTransformerStudent,
    scenes: Mapping[str, Sequence[PreparedScene]],
    settings: ProbeConfig | None = None,
) -> dict[str, dict[str, Any]]:
    """Take all measures of `probing.probe` of what the head reads, at the student's start and at its end.

    With the pretrained start, `before` are the frozen features that the student `adapter` reads (claim C1: a linear
    probe that falls says that distillation has unlearned something).

    Args:
        config: The experiment; its seed decides a random start.
        trained: The student after its training.
        scenes: The prepared scenes of train, val and test, with labels and instances: they fit the probes, choose the
            regularisation, and are reported.
        settings: Settings of the probes.

    Returns:
        Rows of `probing.probe`: "before" and "after".

    Raises:
        ConfigError: The config is of another student.
        DataError: A scene has no labels or instances.
    """
    torch.manual_seed(config.seed)
    start = new_student(config, scenes["train"], trained.device)
    assert isinstance(start, PointTransformerStudent)
    settings = settings or ProbeConfig()
    classes = len(load_label_set(config.data.label_set))
    rows = {}
    for name, student in (("before", start), ("after", trained)):
        rooms = {split: [_room(student, scene) for scene in scenes[split]] for split in ("train", "val", "test")}
        rows[name] = probe(rooms["train"], rooms["val"], rooms["test"], classes, settings)
    return rows


@torch.inference_mode()
def _room(student: PointTransformerStudent, scene: PreparedScene) -> ProbeRoom:
    """Some points of a room with what the student's head reads, rounded to float16 as cached frozen features are."""
    if scene.labels is None or scene.instances is None:
        raise DataError(f"scene {scene.name}: a probe needs labels and instances")
    student.network.eval()
    chosen = np.sort(np.random.default_rng(0).permutation(len(scene))[:POINTS])
    features = student.geometry(scene)[torch.from_numpy(chosen).to(student.device)].cpu().numpy()
    labels, instances = (np.asarray(values)[chosen] for values in (scene.labels, scene.instances))
    return ProbeRoom(scene.name, features.astype(np.float16), labels, instances)
