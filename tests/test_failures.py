"""Failures: the hardest scene without the bias of few classes, orange where wrong, confusions against a plain loop."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fake_records import fake_record

from geoguide.errors import DataError, InputError
from geoguide.experiments.presets import preset
from geoguide.experiments.records import Record
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.report import failures


def scored(scenes, guesses, classes: int, absent: str = "zero") -> Record:
    names = load_label_set("scannet20").names[:classes]
    total, by_scene = ConfusionMatrix(classes), {}
    for scene, guess in zip(scenes, guesses, strict=True):
        one = ConfusionMatrix(classes)
        one.update(scene.labels, guess)
        by_scene[scene.name] = 100 * one.miou(absent)
        total = total + one
    config = preset().replace(protocol__absent_class=absent)
    return fake_record(config, scene_miou=by_scene, iou=dict.fromkeys(names), confusion=total.matrix.tolist())


@pytest.mark.parametrize("absent", ["zero", "skip"])
def test_hardest_scene_is_hard_and_not_merely_poor_in_classes(absent):
    few = SimpleNamespace(name="few", labels=np.array([0, 0, 1, 1, 255]))  # 2 of 10 classes, all right
    many = SimpleNamespace(name="many", labels=np.arange(10))  # all 10, half of them right
    guesses = [np.array([0, 0, 1, 1, 4]), np.where(np.arange(10) < 5, np.arange(10), (np.arange(10) + 1) % 5)]
    record = scored([few, many], guesses, 10, absent)
    if absent == "zero":
        assert record.metrics.scene_miou["few"] < record.metrics.scene_miou["many"]
    scene, miou = failures.hardest_scene(record, [few, many])
    one = ConfusionMatrix(10)
    one.update(many.labels, guesses[1])
    assert scene is many and miou == pytest.approx(100 * one.miou("skip"))
    with pytest.raises(DataError, match="none of its scored scenes"):
        failures.hardest_scene(record, [SimpleNamespace(name="other", labels=np.zeros(3, int))])


def test_wrong_points_are_orange_and_unscored_ones_pale():
    colors = failures.error_colors(np.array([1, 1, 255]), np.array([1, 2, 1]))
    np.testing.assert_allclose(colors, [failures.RIGHT, failures.WRONG, failures.UNSCORED])
    with pytest.raises(InputError, match=r"prediction must be \[3\]"):
        failures.error_colors(np.zeros(3, int), np.zeros(2, int))


def test_confusions_are_the_largest_cells_off_the_diagonal(rng):
    scene = SimpleNamespace(name="a", labels=rng.integers(0, 6, 400))
    record = scored([scene], [rng.integers(0, 6, 400)], 6)
    matrix, names = record.metrics.confusion, list(record.metrics.iou)
    cells = [(matrix[i][j], i, j) for i in range(6) for j in range(6) if i != j]
    turned = replace(record.metrics, iou=dict(reversed(record.metrics.iou.items())))  # json's keys have no order
    assert failures.confusions(replace(record, metrics=turned), 5).equals(failures.confusions(record, 5))
    table = failures.confusions(record, 5)
    counts = sorted((count for count, _, _ in cells), reverse=True)
    for count, (_, line) in zip(counts[:5], table.iterrows(), strict=True):
        true, taken = names.index(line.iloc[0]), names.index(line.iloc[1])
        assert true != taken and matrix[true][taken] == count
        assert line.iloc[2] == pytest.approx(100 * count / sum(matrix[true]))
        assert line.iloc[3] == pytest.approx(100 * count / sum(counts))
    assert len(failures.confusions(record, 100)) == sum(c > 0 for c, _, _ in cells)


def test_no_mistake_gives_an_empty_table():
    scene = SimpleNamespace(name="a", labels=np.arange(3))
    assert failures.confusions(scored([scene], [np.arange(3)], 3)).empty
