"""Symptoms of the three kinds of error: against loops, by hand, and of real predictions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoguide.errors import DataError, InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.method.objective import MODULES
from geoguide.pipeline.class_text import ClassText, class_text
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate
from geoguide.pipeline.student import new_student
from geoguide.prepared import PreparedScene
from geoguide.report import mechanisms
from geoguide.report.mechanisms import (
    BEFORE,
    FEWEST,
    INSTANCE_POINTS,
    WHOLE,
    Symptoms,
    drift_between,
    instance_means,
    largest_share,
    share_fragmented,
    share_mixed,
)
from geoguide.scene import NO_INSTANCE, VOID


def slow_shares(groups: np.ndarray, answers: np.ndarray) -> dict[int, tuple[int, float]]:
    found = {}
    for group in sorted(set(groups.tolist())):
        own = answers[groups == group].tolist()
        found[group] = (len(own), max(map(own.count, own)) / len(own))
    return found


def test_shares_match_a_loop(rng: np.random.Generator) -> None:
    for _ in range(20):
        count = int(rng.integers(0, 300))
        groups, answers = rng.integers(0, 9, count), rng.integers(0, 4, count)
        ids, sizes, shares = largest_share(groups, answers)
        expected = slow_shares(groups, answers)
        assert dict(zip(ids.tolist(), zip(sizes.tolist(), shares.tolist(), strict=True), strict=True)) == expected
    with pytest.raises(InputError, match="as groups are"):
        largest_share(np.zeros(3, int), np.zeros(2, int))


def test_mixed_superpoints_by_hand() -> None:
    superpoints = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    predicted = np.array([5, 5, 5, 5, 6, 7, VOID, 7])  # 1 is mixed; 2 and what is told of 3 are single points
    assert share_mixed(predicted, superpoints) == 0.5
    assert np.isnan(share_mixed(np.full(8, VOID), superpoints))


def test_fragmented_instances_by_hand() -> None:
    sizes = [INSTANCE_POINTS, 100, 100, INSTANCE_POINTS - 1, 50]
    instances = np.repeat([3, 0, 1, 7, NO_INSTANCE], sizes)
    predicted = np.zeros(len(instances), np.int64)
    start = np.r_[0, np.cumsum(sizes)]
    edge = round(WHOLE * 100)
    predicted[start[1] + edge : start[2]] = 1  # just whole
    predicted[start[2] + edge - 1 : start[3]] = 1  # just not
    predicted[start[3] : start[3] + 14] = 1  # too small to count
    predicted[start[4] :] = np.arange(50) % 5  # no instance
    assert share_fragmented(predicted, instances) == pytest.approx(1 / 3)
    assert np.isnan(share_fragmented(predicted, np.full(len(instances), NO_INSTANCE)))


def test_means_and_drift_match_a_loop(rng: np.random.Generator) -> None:
    sizes = rng.integers(INSTANCE_POINTS - 10, 90, 40)
    instances = np.repeat(rng.permutation(len(sizes)) - 1, sizes)
    labels = np.where(rng.random(len(instances)) < 0.9, (instances + 1) % 5, rng.integers(0, 5, len(instances)))
    labels[::11] = VOID
    features = rng.normal(size=(len(instances), 6))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features[::7] = 0  # without a feature
    order = rng.permutation(len(instances))
    classes, means = instance_means(features[order], labels[order], instances[order])
    expected = []
    for instance in range(instances.max() + 1):
        own = (instances == instance) & (labels != VOID) & features.any(axis=1)
        if own.sum() >= INSTANCE_POINTS:
            told = labels[own].tolist()
            mean = features[own].mean(axis=0)
            expected.append((max(sorted(set(told)), key=told.count), mean / np.linalg.norm(mean)))
    assert classes.tolist() == [one[0] for one in expected]
    np.testing.assert_allclose(means, [one[1] for one in expected])
    text = rng.normal(size=(5, 6))
    away = []
    for label in range(5):
        own = means[classes == label]
        if len(own) >= FEWEST:
            away += [np.linalg.norm(one - own.mean(axis=0)) ** 2 for one in own]
    unit = np.sqrt(np.mean([np.linalg.norm(one - text.mean(axis=0)) ** 2 for one in text]))
    assert drift_between(classes, means, text) == pytest.approx(np.sqrt(np.mean(away)) / unit)
    assert drift_between(np.array([0, 0, 1]), means[:3], text) is None  # no class with three
    assert drift_between(np.zeros(4, int), means[[0, 0, 0, 0]], text) == pytest.approx(0, abs=1e-7)


def hand_scene(**changes: object) -> PreparedScene:
    """Two instances of one class, in two superpoints each, all seen."""
    count = 4 * INSTANCE_POINTS
    superpoints, instances = np.repeat(np.arange(4), INSTANCE_POINTS), np.repeat([0, 1], 2 * INSTANCE_POINTS)
    lifted = np.zeros((count, 3), np.float16)
    lifted[:, 0] = 1
    lifted[:3, :2] = [0, 1]  # a few wrong points: one mixed superpoint, a whole instance
    lifted[3 * INSTANCE_POINTS :, :] = [0, 0, 1]  # a wrong superpoint: no mixed one, a fragmented instance
    parts = {
        "name": "hand", "provenance": "mini", "fingerprint": "", "points": np.zeros((count, 3), np.float32),
        "colors": np.zeros((count, 3), np.float32), "labels": np.zeros(count, np.int64), "instances": instances,
        "geometry": np.zeros((count, 2), np.float16), "lifted": lifted, "seen_by": np.ones(count, np.int32),
        "superpoints": superpoints, "masks": InstanceMasks.from_labels(instances),
    }  # fmt: skip
    return PreparedScene(**parts | changes)


def test_symptoms_of_lifted_features_by_hand() -> None:
    text = ClassText(torch.eye(3))
    scenes = [hand_scene(), hand_scene(name="calm", lifted=np.tile(np.float16([2, 0, 0]), (4 * INSTANCE_POINTS, 1)))]
    found = mechanisms.symptoms(mechanisms.of_lifted(scenes, text), np.eye(3), seed=0, miou=50.0)
    assert found.mixed == {"hand": 0.25, "calm": 0.0} and found.fragmented == {"hand": 0.5, "calm": 0.0}
    half = INSTANCE_POINTS
    sums = np.array([[2 * half - 3, 3, 0], [half, 0, half], [1, 0, 0], [1, 0, 0]], float)
    means = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    away = ((means - means.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert found.drift == pytest.approx(np.sqrt(away) / np.sqrt(2 / 3), abs=1e-4)
    blind = hand_scene(seen_by=np.zeros(4 * INSTANCE_POINTS, np.int32))
    nothing = mechanisms.symptoms(mechanisms.of_lifted([blind], text), np.eye(3), seed=0, miou=0.0)
    assert (nothing.mixed, nothing.fragmented, nothing.drift) == ({}, {}, None)
    with pytest.raises(InputError, match="labels and instances are needed"):
        mechanisms.symptoms(mechanisms.of_lifted([hand_scene(instances=None)], text), np.eye(3), seed=0, miou=0.0)


def test_a_student_is_measured_as_it_is_scored(
    tiny: ExperimentConfig, tiny_scenes: dict[str, list[PreparedScene]]
) -> None:
    """Untrained networks do for this: their predictions are the ones that `evaluate` counts."""
    student = new_student(tiny, tiny_scenes["train"])
    text = class_text(tiny.data.label_set, tiny.protocol, tiny.text)
    predicted = list(mechanisms.of_student(student, tiny_scenes["test"], text))
    confusion = evaluate(tiny, student, scenes=tiny_scenes["test"]).confusion.matrix
    labels = np.concatenate([np.asarray(scene.labels) for scene, _, _ in predicted])
    ids = np.concatenate([ids for _, ids, _ in predicted])
    assert np.trace(confusion) == (ids == labels)[labels != VOID].sum()
    np.testing.assert_allclose(np.linalg.norm(predicted[0][2], axis=1), 1, rtol=1e-5)
    found = mechanisms.symptoms(predicted, text.vectors.numpy(), seed=0, miou=1.0)
    assert set(found.mixed) == {scene.name for scene in tiny_scenes["test"]} and 0 < found.drift < 5


def some() -> dict[str, Symptoms]:
    base = Symptoms(0, 40.0, 0.3, {"a": 0.5, "b": 0.6, "c": 0.7}, {"a": 0.2, "b": 0.2, "c": 0.2})
    calm = replace(base, miou=45.0, drift=0.25, mixed={"a": 0.4, "b": 0.4, "c": 0.6})
    return {BEFORE: base, "works-best/full": calm, "works-best/without usd": base}


def test_table_and_sentence_by_hand(tmp_path) -> None:
    table = mechanisms.symptom_table(some()).set_index("row")
    assert table.loc["works-best/full", "mixed superpoints (%)"] == "46.7"
    assert table.loc["works-best/full", f"mixed superpoints, {mechanisms.CHANGE}"] == "-13.3 ± 14.3"
    assert table.loc[BEFORE, f"mixed superpoints, {mechanisms.CHANGE}"] == ""
    assert table.loc["works-best/without usd", f"fragmented instances, {mechanisms.CHANGE}"] == "+0.0 ± 0.0"
    text = mechanisms.mechanism_sentence(some()).splitlines()
    assert "adapter 60.0 %, all modules but this 60.0 %, all 46.7 % (-13.3" in text[0]
    assert text[1] == "- **IMR**: not measured."
    without = {f"works-best/without {module}": some()[BEFORE] for module in ("imr", "iirc")}
    full = replace(some()["works-best/full"], fragmented={"a": 0.1, "b": 0.1, "c": 0.11})
    text = mechanisms.mechanism_sentence(some() | without | {"works-best/full": full}).splitlines()
    assert "all 10.3 % (-9.7 ± 1.4 points" in text[1]
    assert "all modules but this 0.300, all 0.250." in text[2]
    mechanisms.write_symptoms(some(), tmp_path / "m.json")
    assert mechanisms.read_symptoms(tmp_path / "m.json") == some()
    (tmp_path / "m.json").write_text("[]")
    with pytest.raises(DataError, match="must hold symptoms by row"):
        mechanisms.read_symptoms(tmp_path / "m.json")


def test_the_committed_file_has_the_adapter_and_each_module_dropped() -> None:
    found = mechanisms.read_symptoms()
    assert list(found) == ["2D fusion", BEFORE, "works-best/full", *(f"works-best/without {m}" for m in MODULES)]
    assert len({(one.seed, *one.mixed) for one in found.values()}) == 1  # of one seed, on the same scenes
    assert "not measured" not in mechanisms.mechanism_sentence(found)
