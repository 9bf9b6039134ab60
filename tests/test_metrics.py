"""Scores against scikit-learn, OpenScene's and ScanNet's own output, and hand cases."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score, recall_score

from geoguide.errors import InputError
from geoguide.metrics import ConfusionMatrix

SETS = ["scannet_3d", "matterport_3d", "nuscenes_3d", "matterport_3d_40", "matterport_3d_80", "matterport_3d_160"]


def filled(num_classes, target, prediction, **options):
    result = ConfusionMatrix(num_classes, **options)
    result.update(np.asarray(target), np.asarray(prediction))
    return result


@pytest.fixture(scope="module")
def official(golden):
    return np.load(golden / "metrics/C_metrics.npz")


@pytest.mark.parametrize("name", SETS)
def test_golden_openscene(official, name):
    target, prediction = official[f"{name}/gt"], official[f"{name}/pred"]
    found = filled(len(official[f"{name}/iou"]), target, prediction)
    np.testing.assert_array_equal(found.matrix.T, official[f"{name}/confusion_pred_x_gt"])
    np.testing.assert_allclose(found.iou(), official[f"{name}/iou"], atol=1e-9)
    np.testing.assert_allclose(found.class_accuracy(), official[f"{name}/acc"], atol=1e-9)
    assert found.miou() == pytest.approx(float(official[f"{name}/mean_iou"]), abs=1e-9)
    assert found.macc() == pytest.approx(float(official[f"{name}/mean_acc"]), abs=1e-9)
    assert found.miou("skip") == pytest.approx(np.nanmean(official[f"{name}/iou"]), abs=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_golden_openscene_without_features(official, name):
    target, prediction = official[f"{name}/gt"], official[f"{name}/pred"].copy()
    prediction[np.unpackbits(official[f"{name}/nofeat_mask_bits"]).astype(bool)] = 255
    found = filled(len(official[f"{name}/iou"]), target, prediction)
    np.testing.assert_allclose(found.iou(), official[f"{name}/nofeat_iou"], atol=1e-9)
    np.testing.assert_allclose(found.class_accuracy(), official[f"{name}/nofeat_acc"], atol=1e-9)
    assert found.miou() == pytest.approx(float(official[f"{name}/nofeat_mean_iou"]), abs=1e-9)
    assert found.macc() == pytest.approx(float(official[f"{name}/nofeat_mean_acc"]), abs=1e-9)


def test_golden_scannet_benchmark(official):
    """Two scenes; predictions outside the 20 classes are misses there. Absent classes: 0 there, NaN here."""
    to_class = np.full(256, 255)
    to_class[official["scannet_bench/valid_ids"]] = np.arange(20)
    scenes = [
        filled(20, *(to_class[official[f"scannet_bench/{kind}{i}"]] for kind in ("gt", "pred")), no_feature="wrong")
        for i in (0, 1)
    ]
    both = scenes[0] + scenes[1]
    np.testing.assert_allclose(np.nan_to_num(both.iou()), official["scannet_bench/iou"], atol=1e-9)
    np.testing.assert_array_equal(np.diagonal(both.matrix), official["scannet_bench/tp"])


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 60))
def test_equals_sklearn(seed, num_classes, count):
    rng = np.random.default_rng(seed)
    target, prediction = rng.integers(0, num_classes, (2, count))
    found = filled(num_classes, target, prediction)
    classes, present = np.arange(num_classes), np.isin(np.arange(num_classes), target)
    np.testing.assert_array_equal(found.matrix, confusion_matrix(target, prediction, labels=classes))
    iou = jaccard_score(target, prediction, labels=classes, average=None, zero_division=0.0)
    recall = recall_score(target, prediction, labels=classes, average=None, zero_division=0.0)
    np.testing.assert_allclose(found.iou(), np.where(present, iou, np.nan))
    np.testing.assert_allclose(found.class_accuracy(), np.where(present, recall, np.nan))
    assert found.accuracy() == pytest.approx(np.mean(target == prediction))
    union = present | np.isin(classes, prediction)
    for values, score in ((np.where(present, iou, 0), found.miou), (np.where(present, recall, 0), found.macc)):
        assert score("zero") == pytest.approx(values.mean())
        assert score("skip") == pytest.approx(values[present].mean())
        assert score("union") == pytest.approx(values[union].mean())
    order = rng.permutation(count)
    parts = [filled(num_classes, target[part], prediction[part]) for part in np.array_split(order, 3)]
    np.testing.assert_array_equal((parts[0] + parts[1]).merge(parts[2]).matrix, found.matrix)


def test_rules_on_a_hand_case():
    """Classes 0 (3 points), 1 (2), 2 absent but predicted once, 3 absent; one point of class 0 has no feature."""
    target, prediction = [0, 0, 0, 1, 1, 255], [0, 255, 2, 1, 0, 3]
    expected = {  # IoU of 0 and 1, recall of 0 and 1, accuracy
        "openscene": ((1 / 3, 1 / 2), (1 / 3, 1 / 2), 2 / 5),
        "wrong": ((1 / 4, 1 / 2), (1 / 3, 1 / 2), 2 / 5),
        "drop": ((1 / 3, 1 / 2), (1 / 2, 1 / 2), 2 / 4),
    }
    for rule, (iou, recall, accuracy) in expected.items():
        found = filled(4, target, prediction, no_feature=rule)
        np.testing.assert_allclose(found.iou(), [*iou, math.nan, math.nan])
        np.testing.assert_allclose(found.class_accuracy(), [*recall, math.nan, math.nan])
        assert found.accuracy() == pytest.approx(accuracy)
        for absent, classes in (("zero", 4), ("skip", 2), ("union", 3)):
            assert found.miou(absent) == pytest.approx(sum(iou) / classes)
            assert found.macc(absent) == pytest.approx(sum(recall) / classes)
        np.testing.assert_array_equal(found.unpredicted, [1, 0, 0, 0])


def test_class_with_points_but_no_feature_at_all():
    found = filled(2, [0, 1, 1], [0, 255, 255])
    np.testing.assert_array_equal(found.iou(), [1.0, 0.0])
    assert found.miou("skip") == 0.5
    np.testing.assert_array_equal(filled(2, [0, 1, 1], [0, 255, 255], no_feature="drop").iou(), [1.0, math.nan])


def test_nothing_scored_is_nan():
    for found in (ConfusionMatrix(3), filled(3, [255, 255], [1, 77]), filled(3, *np.zeros((2, 0), int))):
        assert np.isnan(found.iou()).all() and math.isnan(found.accuracy())
        assert all(math.isnan(score(rule)) for score in (found.miou, found.macc) for rule in ("zero", "skip", "union"))
        assert found.matrix.dtype == np.int64 and found.matrix.sum() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_dtypes_shapes_and_tensors(rng, device, dtype):
    target, prediction = (rng.choice([0, 1, 2, 19, 255], (2, 40, 30))).astype(dtype)
    expected = filled(20, target.reshape(-1).astype(np.int64), prediction.reshape(-1).astype(np.int64)).matrix
    for pair in ((target, prediction), [torch.tensor(one, device=device) for one in (target, prediction)]):
        found = ConfusionMatrix(20)
        found.update(*pair)
        np.testing.assert_array_equal(found.matrix, expected)


def test_inputs_and_results_are_not_shared():
    target, prediction = np.array([0, 1, 255]), np.array([255, 1, 0])
    found = filled(2, target, prediction)
    np.testing.assert_array_equal(target, [0, 1, 255])
    np.testing.assert_array_equal(prediction, [255, 1, 0])
    found.matrix[:] = 7
    found.unpredicted[:] = 7
    np.testing.assert_array_equal(found.matrix, [[0, 0], [0, 1]])
    parts = found.merge(found)
    parts.update(target, prediction)
    assert found.matrix.sum() == 1 and parts.matrix.sum() == 3


@pytest.mark.parametrize(
    ("target", "prediction", "message"),
    [
        ([0, 1], [0], r"prediction must be \[2\] as target is, found \[1\]"),
        ([0, 2], [0, 1], "target must be 0..1 or 255, found 2"),
        ([0, -100], [0, 1], "target must be 0..1 or 255, found -100"),
        ([0, 1], [0, 2], "prediction must be 0..1 or 255, found 2"),
        ([0, 1], [-1, 1], "prediction must be 0..1 or 255, found -1"),
        ([0.0, 1.0], [0, 1], "target must hold integers"),
        ([0, 1], [0.5, 1], "prediction must hold integers"),
    ],
)
def test_update_refuses_and_adds_nothing(target, prediction, message):
    found = ConfusionMatrix(2)
    with pytest.raises(InputError, match=message):
        found.update(np.array(target), np.array(prediction))
    assert found.matrix.sum() == 0 and found.unpredicted.sum() == 0


def test_refuses_rules_and_sizes():
    for bad in (0, 256, 2.5, "x"):
        with pytest.raises(InputError, match="num_classes must be"):
            ConfusionMatrix(bad)
    with pytest.raises(InputError, match="no_feature must be one of openscene, wrong, drop, found 'ignore'"):
        ConfusionMatrix(2, no_feature="ignore")
    with pytest.raises(InputError, match="absent must be one of zero, skip, union, found 'nan'"):
        ConfusionMatrix(2).miou("nan")
    with pytest.raises(InputError, match="agree in num_classes"):
        ConfusionMatrix(2) + ConfusionMatrix(3)
    with pytest.raises(InputError, match="agree in no_feature"):
        ConfusionMatrix(2) + ConfusionMatrix(2, "wrong")
