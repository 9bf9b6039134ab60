"""Diagnostics on a hand-made scene where the answer is known."""

import numpy as np
import pytest
import torch

from geoguide.instances.masks import InstanceMasks
from geoguide.method.superpoint_distillation import SuperpointDistillation, USDConfig
from geoguide.prepared import PreparedScene
from geoguide.report.diagnostics import error_inside_superpoints, target_quality

TEXT = torch.eye(3)


@pytest.fixture
def scene() -> PreparedScene:
    """Two superpoints of class 0: in one a third of the points look like class 1, in the other two thirds do."""
    lifted = np.zeros((12, 3), np.float16)
    wrong = np.array([1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0], bool)
    lifted[~wrong, 0], lifted[wrong, 1] = 1, 1
    return PreparedScene(
        name="hand", provenance="mini", fingerprint="", points=np.zeros((12, 3), np.float32),
        colors=np.zeros((12, 3), np.float32), labels=np.zeros(12, np.int64), instances=None,
        geometry=np.zeros((12, 2), np.float16), lifted=lifted, seen_by=np.ones(12, np.int32),
        superpoints=np.repeat([0, 1], 6), masks=InstanceMasks.from_labels(np.zeros(12, np.int64)),
    )  # fmt: skip


def test_mean_pooling_repairs_minorities_and_the_ceiling_everything(scene: PreparedScene) -> None:
    usd = SuperpointDistillation(2, 3, USDConfig())
    table = target_quality([scene], TEXT, {"untrained": usd}).set_index("target")["mAcc"] * 3 / 100  # 1 class of 3
    assert table["no pooling"] == pytest.approx(0.5)
    assert table["mean of the superpoint"] == pytest.approx(0.5)  # one superpoint right, one wrong
    assert table["weighted by W, untrained"] == table["mean of the superpoint"]
    assert table["weighted by the true error (ceiling)"] == pytest.approx(1.0)


def test_error_share(scene: PreparedScene) -> None:
    error = np.array([1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0], float)
    inside = sum(((part - part.mean()) ** 2).sum() for part in (error[:6], error[6:]))
    assert error_inside_superpoints([scene], TEXT) == pytest.approx(inside / ((error - error.mean()) ** 2).sum())
