"""Instance mask quality against dense masks, a transcription of the benchmark's greedy rule, and hand cases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from geoguide.errors import InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.quality import average_precision, instance_ap50, mask_quality, match_instances, overlaps


def sparse_masks(dense):
    return InstanceMasks.from_dense(np.asarray(dense, bool))


def mean_best_iou(masks, truth, **options):
    return mask_quality(masks, truth, **options)["mean_best_iou"]


def random_case(rng):
    points, instances = int(rng.integers(5, 60)), int(rng.integers(0, 6))
    truth = rng.integers(-1, instances, points) * 3 if instances else np.full(points, -1)
    truth[truth < 0] = -1
    dense = rng.random((int(rng.integers(0, 8)), points)) < rng.uniform(0, 1)
    for row in dense:  # most masks are a noisy instance, so that many exceed IoU 0.5
        if instances and rng.random() < 0.8:
            row[:] = (truth == 3 * rng.integers(0, instances)) ^ (rng.random(points) < 0.1)
    return dense, truth, rng.choice([0.2, 0.5, 0.9], len(dense))


def slow_best_iou(dense, truth, min_points):
    best = []
    for one in np.unique(truth[truth >= 0]):
        inside = truth == one
        if inside.sum() >= min_points:
            best.append(max(((mask & inside).sum() / (mask | inside).sum() for mask in dense), default=0.0))
    return float(np.mean(best)) if best else math.nan


def slow_ap(dense, truth, scores, min_points, threshold=0.5):
    """The benchmark's loops: greedy matching per instance, then its own integration over distinct scores."""
    ids = np.unique(truth[truth >= 0])
    iou = [[(m & (truth == g)).sum() / max((m | (truth == g)).sum(), 1) for g in ids] for m in dense]
    use = [m for m in range(len(dense)) if dense[m].sum() >= max(min_points, 1)]
    asked = [g for g in range(len(ids)) if (truth == ids[g]).sum() >= min_points]
    if not asked:
        return math.nan
    rows, missed, visited = [], 0, set()
    for g in asked:
        fitting = [m for m in use if iou[m][g] > threshold and m not in visited]
        visited |= set(fitting[:1])
        hits = sorted((scores[m] for m in fitting), reverse=True)
        missed += not hits
        rows += [(score, rank == 0) for rank, score in enumerate(hits)]
    for m in use:
        if not any(value > threshold for value in iou[m]):
            small = [g for g in range(len(ids)) if g not in asked]
            ignored = (dense[m] & (truth < 0)).sum() + sum((dense[m] & (truth == ids[g])).sum() for g in small)
            if ignored / dense[m].sum() <= threshold:
                rows.append((scores[m], False))
    if not rows:
        return 0.0
    rows.sort()
    y_score, y_true = (np.array(part, float) for part in zip(*rows, strict=True))
    total = np.append(np.cumsum(y_true), 0)
    _, starts = np.unique(y_score, return_index=True)
    precision, recall = np.ones(len(starts) + 1), np.zeros(len(starts) + 1)
    for i, start in enumerate(starts):
        below = total[start - 1]
        tp = total[-2] - below
        precision[i], recall[i] = tp / (len(rows) - start), tp / (tp + below + missed)
    steps = np.convolve(np.concatenate([recall[:1], recall, [0.0]]), [-0.5, 0, 0.5], "valid")
    return float(precision @ steps)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 3, 8]))
def test_equals_slow_rules(seed, min_points):
    rng = np.random.default_rng(seed)
    dense, truth, scores = random_case(rng)
    masks = sparse_masks(dense)
    for given_ in (scores, None):
        expected = slow_ap(dense, truth, np.ones(len(dense)) if given_ is None else given_, min_points)
        np.testing.assert_allclose(instance_ap50(masks, truth, given_, min_points=min_points), expected)
    for threshold in (0.1, 0.25):
        matches = match_instances(masks, truth, scores=scores, threshold=threshold, min_points=min_points)
        expected = slow_ap(dense, truth, scores, min_points, threshold)
        np.testing.assert_allclose(average_precision([matches]), expected)
    expected = slow_best_iou(dense, truth, min_points)
    np.testing.assert_allclose(mean_best_iou(masks, truth, min_points=min_points), expected)
    order = rng.permutation(len(truth))
    shuffled = sparse_masks(dense[:, order])
    np.testing.assert_allclose(mean_best_iou(shuffled, truth[order], min_points=min_points), expected)


def test_perfect_masks_and_a_duplicate():
    truth = np.repeat([4, 4, 9, -1], 100)
    perfect = np.stack([truth == 4, truth == 9])
    assert instance_ap50(sparse_masks(perfect), truth, np.array([0.3, 0.8])) == 1.0
    assert mean_best_iou(sparse_masks(perfect), truth) == 1.0
    match = match_instances(sparse_masks(perfect[[0, 0, 1]]), truth, scores=np.array([0.1, 0.9, 0.5]))
    assert sorted(zip(match.score.tolist(), match.correct.tolist(), strict=True)) == [
        (0.1, False),
        (0.5, True),
        (0.9, True),
    ]
    assert instance_ap50(sparse_masks(np.zeros((0, 400))), truth) == 0.0


def test_void_and_small_instances_are_not_asked_for():
    truth = np.concatenate([np.zeros(200), np.ones(50), np.full(150, -1)]).astype(int)
    dense = np.stack([truth == 0, truth == 1, truth == -1, (truth == -1) | (truth == 1)])
    assert instance_ap50(sparse_masks(dense), truth) == 1.0
    assert mean_best_iou(sparse_masks(dense[1:]), truth) == 0.0
    assert math.isnan(mean_best_iou(sparse_masks(dense), np.full(400, -1)))
    assert math.isnan(instance_ap50(sparse_masks(dense), np.full(400, -1)))


def test_several_scenes_pool_their_masks():
    truth = np.repeat([0, 1], 100)
    good = match_instances(sparse_masks(np.stack([truth == 0, truth == 1])), truth, scores=np.array([0.9, 0.8]))
    bad = match_instances(sparse_masks((np.arange(200) % 2 == 0)[None]), truth, scores=np.array([0.1]))
    assert average_precision([good]) == 1.0 and average_precision([bad]) == 0.0
    assert 0.4 < average_precision([good, bad]) < 0.6
    precision, recall, _ = precision_recall_curve([1, 1, 0], [0.9, 0.8, 0.1])
    steps = np.convolve(np.concatenate([recall[:1], recall, [0.0]]), [-0.5, 0, 0.5], "valid") / 2  # 2 of 4 found
    assert average_precision([good, bad]) == pytest.approx(float(precision @ steps))


def test_a_point_named_twice_counts_once():
    masks = InstanceMasks(np.array([2, 0, 2, 2]), np.array([0, 4]), num_points=3)
    over = overlaps(masks, np.array([5, -1, 5]))
    assert over.mask_size.tolist() == [2] and over.shared.tolist() == [2] and over.iou.tolist() == [1.0]


@pytest.mark.parametrize(
    ("index", "offsets", "message"),
    [
        ([0, 1], [0, 3], "offsets must rise from 0 to 2"),
        ([0, 1], [0, 2, 1, 2], "offsets must rise"),
        ([0, 4], [0, 2], "index names points outside 0..3"),
        ([-1, 1], [0, 2], "index names points outside 0..3"),
        ([0.0, 1.0], [0, 2], r"index must be int64 or int32 \[nnz\], .* found float64\[2\] and int64\[2\]"),
        ([0], [], "offsets must rise from 0 to 1"),
    ],
)
def test_refuses_masks(index, offsets, message):
    with pytest.raises(InputError, match=message):
        InstanceMasks(np.array(index), np.array(offsets, dtype=int), num_points=4)


def test_refuses_other_arguments():
    masks = sparse_masks(np.ones((2, 4)))
    cases = [
        (lambda: mean_best_iou(masks, np.zeros(5, int)), "masks are over 4 points, instances over 5"),
        (lambda: mean_best_iou(masks, np.zeros(4)), "instances must hold integers"),
        (lambda: mean_best_iou(masks, np.zeros((4, 1), int)), r"instances must be \[P\]"),
        (lambda: instance_ap50(masks, np.zeros(4, int), np.ones(3)), r"scores must be finite \[2\]"),
        (lambda: match_instances(masks, np.zeros(4, int), threshold=0.0), "threshold must be in"),
        (lambda: mean_best_iou(masks, np.zeros(4, int), min_points=-1), "min_points must be"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
