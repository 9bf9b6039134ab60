"""Diagnostics on a hand-made scene where the answer is known."""

import numpy as np
import pytest
import torch

from geoguide.instances.masks import InstanceMasks
from geoguide.method.superpoint_distillation import SuperpointDistillation, USDConfig
from geoguide.ops.groups import Groups
from geoguide.prepared import PreparedScene
from geoguide.report.diagnostics import changes_by_size, error_inside_superpoints, target_quality, votes
from geoguide.scene import VOID

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


def test_votes_of_points_and_of_superpoints(scene: PreparedScene) -> None:
    """The superpoint with two lies in six overrules them, that with four the truth; the blind say nothing."""
    lifted, superpoints = torch.from_numpy(scene.lifted).float(), Groups.partition(torch.from_numpy(scene.superpoints))
    own, pooled = votes(lifted, torch.ones(12, dtype=torch.bool), superpoints, TEXT)
    assert own.tolist() == [1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0] and pooled.tolist() == [0] * 6 + [1] * 6
    seen = torch.tensor([True] * 2 + [False] * 10)
    own, pooled = votes(lifted, seen, superpoints, TEXT)
    assert own.tolist() == [1, 1] + [-1] * 10 and pooled.tolist() == [1] * 6 + [-1] * 6


def test_changes_by_size_match_a_loop(rng: np.random.Generator) -> None:
    superpoints = np.repeat(np.arange(9), [1, 2, 3, 5, 8, 13, 21, 34, 55])
    before, after, labels = (rng.integers(low, 3, len(superpoints)) for low in (-1, -1, 0))
    labels[::7] = VOID
    table = changes_by_size(before, after, superpoints, labels, edges=(3, 13, 500)).set_index("superpoint size")
    for name, low, high in (("below 3", 0, 3), ("3 to 12", 3, 13), ("13 to 499", 13, 500)):
        sizes = {s: (superpoints == s).sum() for s in range(9)}
        points = [p for p in range(len(superpoints)) if low <= sizes[superpoints[p]] < high]
        counted = [(before[p], after[p], labels[p]) for p in points if before[p] >= 0 <= after[p] and labels[p] != VOID]
        line = table.loc[name]
        assert line["points"] == len(points) and line["superpoints"] == len({superpoints[p] for p in points})
        assert line["changed"] == pytest.approx(100 * np.mean([a != b for a, b, _ in counted]))
        assert line["won"] == pytest.approx(100 * np.mean([a != t and b == t for a, b, t in counted]))
        assert line["lost"] == pytest.approx(100 * np.mean([a == t and b != t for a, b, t in counted]))
    assert table.loc["500 and more", "points"] == 0 and np.isnan(table.loc["500 and more", "lost"])
