"""Figures of the error anatomy against slow loops over their definitions, and hand cases."""

import itertools

import numpy as np
import pytest

from geoguide.errors import InputError
from geoguide.lifting import Fusion, PixelFeatures
from geoguide.report import anatomy
from geoguide.report.anatomy import Observations, Rules
from geoguide.scene import VOID, Scene, View

NAMES = ("wall", "floor", "chair", "table")
TEXT = np.eye(4, dtype=np.float32)
SMALL = Rules(points=1, object_points=2)


@pytest.fixture
def scene(rng) -> Scene:
    """Eight objects of one class each in a row, points scattered around them; some void."""
    owner = rng.integers(0, 8, 400)
    points = (owner[:, None] * [0.6, 0, 0] + rng.uniform(0, 0.55, (400, 3))).astype(np.float32)
    labels = np.where(rng.random(400) < 0.05, VOID, owner % 4)
    return Scene("room", points, np.zeros((400, 3), np.float32), labels=labels, instances=owner)


@pytest.fixture
def seen(scene, rng) -> Observations:
    """Six views that see about half of the points, right two times of three."""
    table = (rng.random((6, len(scene))) < 0.5) & (scene.labels != VOID)
    view, point = np.nonzero(table)
    answer = np.where(rng.random(len(point)) < 0.67, scene.labels[point], rng.integers(0, 4, len(point)))
    pairs = np.array(
        [(o, v) for v in range(6) for o in range(8) if (scene.instances[point[view == v]] == o).sum() >= 2]
    )
    feature = rng.normal(size=(len(pairs), 4)).astype(np.float32)
    return Observations(point, view, answer, pairs, feature / np.linalg.norm(feature, axis=1, keepdims=True))


def test_views_equal_loops_over_pairs(scene, seen):
    by_point: dict[int, list[int]] = {}
    for point, answer in zip(seen.point, seen.answer, strict=True):
        by_point.setdefault(point, []).append(answer)
    agree, again, same = [], [], []
    for point, answers in by_point.items():
        if len(answers) > 1:
            agree.append(np.mean([a == b for a, b in itertools.permutations(answers, 2)]))
        for number, answer in enumerate(answers):
            others = answers[:number] + answers[number + 1 :]
            wrong = [other for other in others if other != scene.labels[point]]
            if answer != scene.labels[point] and others:
                again.append(len(wrong) / len(others))
                if wrong:
                    same.append(np.mean([other == answer for other in wrong]))
    found = anatomy.of_views(scene, seen)
    expected = {"agree": np.mean(agree), "wrong_again": np.mean(again), "same_wrong": np.mean(same)}
    expected |= {"wrong": np.mean(seen.answer != scene.labels[seen.point])}
    expected |= {"accuracy": 100 * (1 - expected["wrong"])}
    assert found == pytest.approx(expected)


def test_objects_equal_loops(scene, seen):
    wrong: dict[int, list[bool]] = {}
    walls, inside = [], []
    distance = anatomy.boundary_distance(scene)
    for owner, view in seen.object_view:
        here = (seen.view == view) & (scene.instances[seen.point] == owner)
        bad = np.bincount(seen.answer[here], minlength=4).argmax() != owner % 4
        wrong.setdefault(owner, []).append(bad)
        walls += [bad] if owner % 4 == 0 else []
        deep = here & (distance[seen.point] > SMALL.inside)
        inside += [] if bad else (seen.answer[deep] != scene.labels[seen.point[deep]]).tolist()
    found = anatomy.of_objects(scene, seen, TEXT, NAMES, SMALL)
    several = [views for views in wrong.values() if len(views) > 1]
    assert found["never_wrong"] == pytest.approx(np.mean([not any(views) for views in several]))
    assert found["always_wrong"] == pytest.approx(np.mean([all(views) for views in several]))
    assert found["wall_wrong"] == pytest.approx(np.mean(walls))
    assert found["inside_wrong"] == pytest.approx(np.mean(inside))
    away = []
    for owner in range(8):
        rows = seen.feature[seen.object_view[:, 0] == owner]
        away += ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).tolist() if len(rows) > 2 else []
    contrast = np.sqrt(np.mean(((TEXT - TEXT.mean(axis=0)) ** 2).sum(axis=1)))
    assert found["drift"] == pytest.approx(np.sqrt(np.mean(away)) / contrast, rel=1e-5)


def test_boundary_distance_equals_a_loop(scene):
    expected = np.full(len(scene), np.inf)
    for point in np.flatnonzero(scene.labels != VOID):
        others = scene.points[scene.labels != scene.labels[point]]
        expected[point] = np.sqrt(((others - scene.points[point]) ** 2).sum(axis=1).min())
    np.testing.assert_allclose(anatomy.boundary_distance(scene), expected, rtol=1e-5)


def test_errors_of_the_fusion_fall_into_one_kind_each():
    """A flat grid: one object wholly wrong, one wrong point on a boundary, one alone, and a patch of 5 x 5 points."""
    x, y = np.divmod(np.arange(60 * 30), 30)
    points = np.column_stack([x, y, np.zeros_like(x)]).astype(np.float32) * np.float32(0.06)
    labels = np.where(x < 20, 0, np.where(x < 40, 2, 3))
    answer = labels.copy()
    answer[x >= 40] = 2
    answer[(x == 19) & (y == 3)] = 1
    answer[(x == 5) & (y == 20)] = 1
    answer[(x >= 26) & (x < 31) & (y >= 10) & (y < 15)] = 1
    scene = Scene("grid", points, np.zeros_like(points), labels=labels, instances=labels)
    count = np.where(x < 40, 1, 6)
    found = anatomy.of_fusion(scene, Fusion(TEXT[answer], count), TEXT, Rules(boundary=0.07))
    total = 600 + 1 + 1 + 25
    # The corners of a patch have fewer than half of their neighbours in it; so they count as isolated.
    assert found["share_instance"] == pytest.approx(600 / total)
    assert found["share_boundary"] == pytest.approx(1 / total)
    assert found["share_isolated"] == pytest.approx((1 + 4) / total)
    assert found["share_patch"] == pytest.approx((25 - 4) / total)
    assert found["error_1"] == pytest.approx(100 * 27 / 1200) and found["error_5_8"] == 100


def test_means_repair_what_is_wrong_in_part():
    labels = np.repeat([0, 2], 50)
    answer = labels.copy()
    answer[[0, 1, 60]] = 3
    scene = Scene(
        "two", np.zeros((100, 3), np.float32), np.zeros((100, 3), np.float32), labels=labels, instances=labels
    )
    fused = Fusion(TEXT[answer], np.ones(100, np.int64))
    found = anatomy.of_means(scene, fused, TEXT, superpoints=np.arange(100))
    assert found["superpoint_gain"] == 0
    assert found["fusion"] + found["instance_gain"] == pytest.approx(100)


def camera(name: str) -> View:
    class Depth(View):
        def depth(self) -> np.ndarray:
            return np.full((41, 41), 2, np.float32)

    return Depth(name, np.array([[10.0, 0, 20], [0, 10, 20], [0, 0, 1]]), np.eye(4), (41, 41))


def test_observations_are_points_with_an_answer():
    points = np.array([[0, 0, 2], [0.2, 0, 2], [0.4, 0, 3], [0, 0.4, 2]], np.float32)
    labels = np.array([0, 2, 2, VOID])
    scene = Scene(
        "four", points, np.zeros((4, 3), np.float32), labels=labels, instances=np.zeros(4, np.int64),
        views=(camera("a"), camera("b")),
    )  # fmt: skip
    features = np.tile(TEXT[2], (41, 41, 1))
    silent = PixelFeatures(features, np.zeros((41, 41)))
    found = anatomy.observe(scene, [features, silent], TEXT, Rules(points=1, object_points=1))
    assert found.point.tolist() == [0, 1] and found.answer.tolist() == [2, 2]  # the third is hidden, the last is void
    with pytest.raises(InputError, match="no view sees 200 labelled points"):
        anatomy.observe(scene, [features, silent], TEXT)
    with pytest.raises(InputError, match="labels and instances are needed"):
        anatomy.observe(Scene("bare", points, np.zeros((4, 3), np.float32)), [], TEXT)
