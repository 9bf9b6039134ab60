"""Differences over scenes drawn anew: against a slow loop over merged matrices, and what must hold of the interval."""

import dataclasses

import numpy as np
import pytest
from fake_records import fake_record

from geoguide.errors import DataError, InputError
from geoguide.experiments.confusions import pack_matrices, pack_sums, unpack_counts
from geoguide.experiments.placing import on
from geoguide.experiments.presets import adapter_only, fusion
from geoguide.experiments.records import Record
from geoguide.labels import load_label_set
from geoguide.metrics import ConfusionMatrix
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report.scene_bootstrap import keeps_scenes, two_level

CLASSES = len(load_label_set("scannet20"))


def kept(config: ExperimentConfig, matrices: dict[str, ConfusionMatrix], **further: dict) -> Record:
    held = {"confusions": pack_matrices(matrices), "class_sums": further}
    return dataclasses.replace(fake_record(config), **held)


def rooms(
    rng: np.random.Generator, count: int, wrong: float, no_feature: str = "openscene", classes: int = CLASSES
) -> dict[str, ConfusionMatrix]:
    """Rooms of six classes each; how hard a room is, is its own, the same for whatever `wrong`."""
    found = {}
    for number in range(count):
        room = np.random.default_rng([7, number])
        present, hard = room.permutation(classes)[:6], room.uniform(0.5, 1.5)
        target = room.choice(present, 400)
        prediction = np.where(rng.random(400) < wrong * hard, rng.integers(0, classes, 400), target)
        prediction[rng.random(400) < 0.05] = 255
        found[f"room{number}"] = ConfusionMatrix(classes, no_feature)
        found[f"room{number}"].update(target, prediction)
    return found


def slowly(first: dict, second: dict, draws: int, seed: int, absent: str) -> tuple[float, tuple[float, float]]:
    """The difference and its interval by merging the matrices of every draw."""
    names, matrix = sorted(first), next(iter(first.values()))
    nothing_yet = ConfusionMatrix(matrix.num_classes, matrix.no_feature)

    def gap(drawn: list[str]) -> float:
        one, two = (sum((held[name] for name in drawn), nothing_yet).miou(absent) for held in (first, second))
        return 100 * (one - two)

    count, gaps = len(names), []
    for weights in np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws):
        gaps.append(gap([name for name, times in zip(names, weights, strict=True) for _ in range(times)]))
    return gap(names), tuple(np.percentile(gaps, [2.5, 97.5]))


@pytest.mark.parametrize("absent", ["zero", "skip", "union"])
@pytest.mark.parametrize("no_feature", ["openscene", "wrong", "drop"])
def test_equals_a_slow_loop(rng: np.random.Generator, absent: str, no_feature: str):
    config = fusion().replace(protocol__absent_class=absent, protocol__no_feature=no_feature)
    first, second = (rooms(rng, 7, wrong, no_feature) for wrong in (0.2, 0.5))
    turned = dict(reversed(second.items()))  # a record may hold them in another order
    found = two_level([kept(config, first)], [kept(config.replace(seed=1), turned)], draws=40, seed=3)
    difference, ends = slowly(first, second, 40, 3, absent)
    assert (*found.gap, found.low, found.high) == pytest.approx((difference, *ends), abs=1e-9)
    assert found.scenes == 7 and found.low < found.gap[0] < found.high


def test_further_label_sets_are_compared_by_their_sums(rng: np.random.Generator):
    classes = len(load_label_set("matterport40"))
    first, second = (rooms(rng, 6, wrong, classes=classes) for wrong in (0.2, 0.3))
    pair = (kept(adapter_only(seed), {}, matterport40=pack_sums(held)) for seed, held in enumerate((first, second)))
    found = two_level(*([record] for record in pair), "matterport40", draws=40, seed=3)
    difference, ends = slowly(first, second, 40, 3, "zero")
    assert (*found.gap, found.low, found.high) == pytest.approx((difference, *ends), abs=1e-9)


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("matterport3d", ["house7000_region0", "house7000_region10", "house7001_region0", "house7002_region1"]),
        ("nuscenes", ["scene-7000_aa", "scene-7000_bb", "scene-7001_aa", "scene-7002_cc"]),
        ("scannet", ["scene7000_00", "scene7000_01", "scene7001_00", "scene7002_00"]),
    ],
)
def test_what_was_drawn_together_is_one_sample(rng: np.random.Generator, dataset: str, names: list[str]):
    """Regions of a house, key frames of a drive and scans of a room are as one scene that holds them all."""
    config = on(fusion(), dataset)
    classes = len(load_label_set(config.data.label_set))
    parts = [dict(zip(names, rooms(rng, 4, wrong, classes=classes).values(), strict=True)) for wrong in (0.2, 0.4)]
    merged = [{"a": part[names[0]] + part[names[1]], "b": part[names[2]], "c": part[names[3]]} for part in parts]
    apart, whole = (two_level(*([kept(config, held)] for held in pair), draws=60, seed=3) for pair in (parts, merged))
    assert apart.scenes == whole.scenes == 3
    assert (apart.low, apart.high, apart.scene_error) == pytest.approx((whole.low, whole.high, whole.scene_error))
    assert apart.gap == pytest.approx(whole.gap)


def test_a_record_does_not_differ_from_itself(rng: np.random.Generator):
    row = [kept(fusion(), rooms(rng, 5, 0.3))]
    found = two_level(row, row, draws=50)
    assert (*found.gap, found.scene_error, found.low, found.high) == (0, 0, 0, 0)


def test_pairing_cancels_what_is_hard_for_both(rng: np.random.Generator):
    """The paired interval is far narrower than one record's own spread; four times the scenes halve it."""
    widths = []
    for count in (20, 80):
        first, second = ([kept(fusion(), rooms(rng, count, wrong))] for wrong in (0.30, 0.34))
        found = two_level(first, second, draws=2000)
        widths.append(found.high - found.low)
        assert found.low < found.gap[0] < found.high
        empty = [kept(fusion(), {f"room{number}": nothing(number) for number in range(count)})]
        alone = two_level(first, empty, draws=2000)
        assert widths[-1] < 0.8 * (alone.high - alone.low)
    assert 0.3 < widths[1] / widths[0] < 0.7


def nothing(number: int) -> ConfusionMatrix:
    """A room where every point is wrong: mIoU 0 in any draw."""
    room = np.random.default_rng([7, number])
    target = room.choice(room.permutation(CLASSES)[:6], 400)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(target, (target + 1) % CLASSES)
    return matrix


def rows_of_seeds(rng: np.random.Generator, seeds: int, count: int) -> tuple[list[Record], list[Record]]:
    """Two rows: the same rooms for every seed, some seeds better than others."""
    wrong = rng.uniform(0.2, 0.3, seeds)
    return tuple(
        [kept(adapter_only(seed), rooms(rng, count, wrong[seed] + shift)) for seed in range(seeds)]
        for shift in (0.0, 0.05)
    )


@pytest.mark.parametrize("metric", ["miou", "macc"])
def test_two_levels_equal_a_slow_loop(rng: np.random.Generator, metric: str):
    first, second = rows_of_seeds(rng, 3, 6)
    found = two_level(first, second, metric=metric, draws=30, seed=4)
    again, draws = np.random.default_rng(4), []
    scenes = again.multinomial(6, np.full(6, 1 / 6), size=30)
    seeds = again.multinomial(3, np.full(3, 1 / 3), size=30)

    def score(record: Record, weights: np.ndarray) -> float:
        held = unpack_counts({name: record.confusions[name] for name in sorted(record.confusions)}, "scannet20")
        truth, predicted = np.nonzero(counts := np.tensordot(weights, held, 1))  # [C, C + 1], the last without feature
        times, whole = counts[truth, predicted], ConfusionMatrix(CLASSES, record.config.protocol.no_feature)
        whole.update(np.repeat(truth, times), np.repeat(np.where(predicted == CLASSES, 255, predicted), times))
        return 100 * (whole.miou() if metric == "miou" else whole.macc())

    for weights in (np.ones(6, int), *scenes):
        draws.append([score(one, weights) - score(two, weights) for one, two in zip(first, second, strict=True)])
    gaps = np.array(draws)  # [1 + draws, seeds]
    np.testing.assert_allclose(found.gap, gaps[0], atol=1e-9)
    assert found.scene_error == pytest.approx(gaps[1:].mean(axis=1).std(ddof=1) * np.sqrt(6 / 5))
    both = [np.repeat(gap, times).mean() for gap, times in zip(gaps[1:], seeds, strict=True)]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(both, [2.5, 97.5])), abs=1e-9)
    assert found.scenes == 6 and keeps_scenes(first)


def test_the_error_over_scenes_is_that_of_a_mean_where_scores_are_means():
    """Of one class present in all scenes with as many points, mAcc is a mean over scenes: s / sqrt(S)."""
    right = np.random.default_rng(1).integers(20, 100, 30)
    held = {}
    for number, hits in enumerate(right):
        matrix = ConfusionMatrix(CLASSES)
        matrix.update(np.zeros(100, int), np.where(np.arange(100) < hits, 0, 1))
        held[f"room{number:02d}"] = matrix
    config = adapter_only().replace(protocol__absent_class="skip")
    none = {name: ConfusionMatrix(CLASSES) for name in held}
    for matrix in none.values():
        matrix.update(np.zeros(100, int), np.ones(100, int))
    pair = [kept(config.replace(seed=seed), rows) for seed, rows in enumerate((held, none))]
    found = two_level(pair[:1], pair[1:], metric="macc", draws=20_000)
    assert found.gap == pytest.approx([right.mean()])
    assert found.scene_error == pytest.approx(right.std(ddof=1) / np.sqrt(30), rel=0.02)


def test_an_untrained_row_stands_for_every_seed_and_few_scenes_say_nothing(rng: np.random.Generator):
    first, second = rows_of_seeds(rng, 3, 5)
    one = kept(fusion(), rooms(rng, 5, 0.3))
    found = two_level(first, [one], draws=50)
    each = [two_level([record], [one], draws=50).gap[0] for record in first]
    np.testing.assert_allclose(found.gap, each)
    lonely = [kept(adapter_only(), rooms(rng, 1, wrong)) for wrong in (0.2, 0.3)]
    assert two_level(lonely[:1], lonely[1:], draws=20).scene_error == np.inf
    with pytest.raises(InputError, match="rows must have a record for each seed, found 3 and 2"):
        two_level(first, second[:2])
    with pytest.raises(InputError, match="rows must have a record for each seed, found 0 and 0"):
        two_level([], [])
    with pytest.raises(InputError, match="draws must be at least 2, found 1"):
        two_level(first, second, draws=1)
    with pytest.raises(InputError, match="confidence must lie within 0 and 1, found 95"):
        two_level(first, second, confidence=95)
    with pytest.raises(DataError, match="keeps no counts of its scenes"):
        two_level(first, [fake_record(fusion())])
    with pytest.raises(DataError, match="scored on other scenes, only one of them on room5"):
        two_level(first, [kept(fusion(), rooms(rng, 6, 0.3))])
    assert not keeps_scenes([*first, fake_record(fusion())]) and not keeps_scenes(first, "matterport40")
