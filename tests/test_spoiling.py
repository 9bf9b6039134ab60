"""Masks made worse in a controlled way, against slow loops."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import config_hash, to_dict
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.quality import mask_quality
from geoguide.instances.regions import NEIGHBORS
from geoguide.instances.scene_masks import MaskConfig, scene_masks
from geoguide.instances.spoiling import CUT, REACH, first_guesses, spoil_masks, touching
from geoguide.scene import Scene

STEP = 0.05  # metres between points


def boxes(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A row of boxes of points, some apart and some touching; points [P, 3] and their boxes [P]."""
    points, owner, x = [], [], 0.0
    for box in range(count):
        shape = rng.integers(2, 6, 3)
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3) * STEP
        points.append(grid + np.array([x, 0, 0]))
        owner.append(np.full(len(grid), box))
        x += shape[0] * STEP + (0.3 if rng.random() < 0.3 else 0.0)
    return np.concatenate(points), np.concatenate(owner)


def slow_touching(masks: InstanceMasks, points: np.ndarray) -> set[tuple[int, int]]:
    """By loops over masks and points; nearest by sorting, so that no point lies between equally near ones."""
    member = masks.dense()
    pairs = set()
    for here in range(len(points)):
        distance = np.linalg.norm(points - points[here], axis=1)
        for there in np.argsort(distance, kind="stable")[: NEIGHBORS + 1]:
            if distance[there] <= REACH:
                for a in np.flatnonzero(member[:, here]):
                    pairs |= {(int(a), int(b)) for b in np.flatnonzero(member[:, there]) if a != b}
    return pairs | {(b, a) for a, b in pairs}


def test_touching_masks_are_those_of_a_slow_search(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 0.5, (300, 3))
    masks = InstanceMasks.from_dense(rng.random((12, 300)) < np.linspace(0.004, 0.05, 12)[:, None])
    found = touching(masks, points).tocoo()
    assert set(zip(found.row.tolist(), found.col.tolist(), strict=True)) == slow_touching(masks, points)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_every_mask_is_whole_merged_with_a_neighbour_or_cut_across_its_longest_side(seed: int, share: float) -> None:
    points, owner = boxes(np.random.default_rng(seed), 8)
    masks = InstanceMasks.from_labels(owner)
    spoiled = spoil_masks(masks, points, share, f"room {seed}").dense()
    pairs, row = slow_touching(masks, points), 0
    for mask in range(len(masks)):
        own = owner == mask
        if (spoiled[row] == own).all():
            assert share < 1.0
            row += 1
        elif spoiled[row][own].all():
            others = np.unique(owner[spoiled[row] & ~own])
            assert len(others) == 1 and (mask, int(others[0])) in pairs
            assert (spoiled[row] == (own | (owner == others[0]))).all()
            row += 1
        else:
            first, second = spoiled[row], spoiled[row + 1]
            assert ((first ^ second) == own).all() and not (first & second).any()
            axis = int(np.ptp(points[own], axis=0).argmax())
            assert points[first, axis].max() < points[second, axis].min()
            assert first.sum() <= CUT[1] * own.sum()  # whole layers of points, rounded down unless that is none
            row += 2
    assert row == len(spoiled)


def test_a_higher_share_spoils_the_same_masks_and_more(rng: np.random.Generator) -> None:
    points, owner = boxes(rng, 60)
    masks = InstanceMasks.from_labels(owner)
    quality, wrong = [], []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        spoiled = spoil_masks(masks, points, share, "room")
        rows = {row.tobytes() for row in spoiled.dense()}
        wrong.append({mask for mask in range(len(masks)) if (owner == mask).tobytes() not in rows})
        quality.append(mask_quality(spoiled, owner, min_points=1)["mean_best_iou"])
        assert len(wrong[-1]) / len(masks) == pytest.approx(share, abs=0.15)
        again = spoil_masks(masks, points, share, "room")
        assert (again.index == spoiled.index).all() and (again.offsets == spoiled.offsets).all()
    assert all(a <= b for a, b in itertools.pairwise(wrong)) and quality == sorted(quality, reverse=True)
    assert quality[0] == 1.0 and 0.3 < quality[-1] < 0.7
    other = spoil_masks(masks, points, 0.5, "another room")
    assert other.index.tobytes() != spoil_masks(masks, points, 0.5, "room").index.tobytes()


def test_other_guesses_at_an_object_go_with_the_first(rng: np.random.Generator) -> None:
    """Else the best of several overlapping masks would outlive any spoiling."""
    points, owner = boxes(rng, 20)
    first = InstanceMasks.from_labels(owner)
    guesses = [(owner == box) | (owner == box + 1) for box in range(19)]  # each is a guess at the box
    masks = InstanceMasks.from_dense(np.concatenate([first.dense(), guesses]))
    np.testing.assert_array_equal(first_guesses(masks), [*range(20), *range(19)])
    for share in (0.0, 0.5, 1.0):
        alone, all_masks = (spoil_masks(one, points, share, "room").dense() for one in (first, masks))
        np.testing.assert_array_equal(all_masks[: len(alone)], alone)  # merged with boxes, not with guesses
        kept = {row.tobytes() for row in all_masks[len(alone) :]}
        whole = {row.tobytes() for row in alone}
        expected = [guess for box, guess in enumerate(guesses) if (owner == box).tobytes() in whole]
        assert kept == {guess.tobytes() for guess in expected}
    assert not kept  # all are spoiled


def test_masks_that_nothing_can_spoil_stay() -> None:
    points = np.repeat([[0.0, 0, 0], [5, 0, 0]], 3, axis=0)  # two places, three points at each
    spoiled = spoil_masks(InstanceMasks.from_labels(np.repeat([0, 1], 3)), points, 1.0, "room")
    assert spoiled.dense().tolist() == [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3]
    assert len(spoil_masks(InstanceMasks.from_labels(np.full(6, -1)), points, 1.0, "room")) == 0


def test_the_option(rng: np.random.Generator) -> None:
    points, owner = boxes(rng, 10)
    scene = Scene("room", points.astype(np.float32), np.zeros((len(points), 3), np.float32), instances=owner)
    exact, worse = (scene_masks(scene, owner, MaskConfig("annotation", spoil=spoil)) for spoil in (0.0, 1.0))
    assert (exact.best_of_points() == owner).all()
    assert mask_quality(worse, owner, min_points=1)["mean_best_iou"] < 0.8
    plain = MaskConfig()
    assert "spoil" not in to_dict(plain, hashed_only=True)
    assert config_hash(plain) != config_hash(dataclasses.replace(plain, spoil=0.5))


def test_wrong_arguments_are_named() -> None:
    masks = InstanceMasks.from_labels(np.zeros(4, np.int64))
    with pytest.raises(InputError, match=r"share must be in 0..1, found 1.5"):
        spoil_masks(masks, np.zeros((4, 3)), 1.5, "room")
    with pytest.raises(InputError, match=r"points must be \[4, 3\], found \[5, 3\]"):
        spoil_masks(masks, np.zeros((5, 3)), 0.5, "room")
    with pytest.raises(ConfigError, match=r"masks.spoil must be in 0..1, found -0.1"):
        MaskConfig(spoil=-0.1)
    with pytest.raises(ConfigError, match=r"masks.source must be one of geometry, annotation"):
        MaskConfig("guess")  # ty: ignore[invalid-argument-type]
