"""Augmentations: each does what its name says, repeats from its seed, and leaves its input alone."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from geoguide.errors import ConfigError, InputError
from geoguide.students import augment as module
from geoguide.students.augment import AugmentConfig, augment


@pytest.fixture
def cloud(rng):
    points = rng.uniform(-1, 3, (400, 3)).astype(np.float32)
    return points, rng.uniform(0.2, 0.6, (400, 3)).astype(np.float32)


FUNCTIONS = {
    "elastic_distortion": (0.4, 0.8),
    "rotate_z": (180.0,),
    "random_scale": (0.1,),
    "flip": (0.5,),
    "jitter": (0.01,),
    "auto_contrast": (),
    "chromatic_shift": (0.1,),
    "chromatic_jitter": (0.05,),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_repeats_from_the_seed_and_keeps_its_input(cloud, name):
    values = cloud["chroma" in name or "contrast" in name]
    before, function = values.copy(), getattr(module, name)
    runs = [function(values, *FUNCTIONS[name], np.random.default_rng(seed)) for seed in (3, 3, 6)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2]) and np.array_equal(values, before)
    assert runs[0].dtype == np.float32 and runs[0].shape == values.shape


def test_rotation_and_flip_keep_distances_and_heights(cloud, rng):
    points, _ = cloud
    for moved in (module.rotate_z(points, 180, rng), module.flip(points, 1.0, rng)):
        np.testing.assert_allclose(pdist(moved), pdist(points), atol=1e-4)
        np.testing.assert_array_equal(moved[:, 2], points[:, 2])
    np.testing.assert_array_equal(module.flip(points, 1.0, rng), points * [-1, -1, 1])


def test_rotation_by_hand():
    class Fixed:
        def uniform(self, low, high):
            return high

    turned = module.rotate_z(np.array([[1.0, 0.0, 5.0]]), 90, Fixed())
    np.testing.assert_allclose(turned, [[0, 1, 5]], atol=1e-12)


def test_scale_is_one_factor_in_range(cloud, rng):
    ratio = module.random_scale(cloud[0], 0.1, rng) / cloud[0]
    assert ratio.min() >= 0.9 and ratio.max() <= 1.1 and np.ptp(ratio) < 1e-5


def test_elastic_distortion_is_smooth_and_small(rng):
    """Points 1 cm apart move almost alike; points metres apart do not; shifts are as large as blurred noise."""
    points = rng.uniform(0, 4, (3000, 3))
    near = points + np.array([0.01, 0, 0])
    shift = np.split(module.elastic_distortion(np.concatenate([points, near]), 0.4, 1.0, rng), 2)
    first, second = shift[0] - points, shift[1] - near
    assert np.abs(first - second).max() < 0.03 < first.std()
    kernel = np.convolve(np.ones(3) / 3, np.ones(3) / 3)
    assert 0.3 * (kernel**2).sum() ** 1.5 < first.std() < 1.1 * (kernel**2).sum() ** 1.5


def test_jitter_has_the_deviation_asked_for(rng):
    moved = module.jitter(np.zeros((20000, 3)), 0.02, rng)
    assert abs(moved.std() - 0.02) < 1e-3 and np.abs(moved).max() <= 0.06 + 1e-9


def test_auto_contrast_never_narrows_and_keeps_flat_channels(cloud, rng):
    colors = cloud[1].copy()
    colors[:, 2] = 0.5
    found = module.auto_contrast(colors, rng)
    assert (np.ptp(found[:, :2], axis=0) >= np.ptp(colors[:, :2], axis=0)).all()
    assert (found[:, 2] == 0.5).all() and found.min() >= 0 and found.max() <= 1


def test_chromatic_shift_is_one_colour(cloud, rng):
    shift = module.chromatic_shift(cloud[1], 0.1, rng) - cloud[1]
    assert np.ptp(shift, axis=0).max() < 1e-6 and np.abs(shift).max() <= 0.1
    assert module.chromatic_jitter(np.ones((50, 3)), 0.5, rng).max() == 1.0


def test_dropout_keeps_order_and_at_least_one(rng):
    for count, share in ((1000, 0.2), (1, 0.99), (0, 0.2)):
        kept = module.dropped(count, share, rng)
        assert (1 - share) * count - 1 <= len(kept) <= count and (np.diff(kept) > 0).all()
        assert len(kept) >= min(count, 1)


def test_augment_keeps_track_of_the_points(cloud):
    points, colors = cloud
    still = AugmentConfig((), (), 0, 0, 0, 0, 0, 0, 0, 0, 0.5)
    kept, moved, tinted = augment(points, colors, still, np.random.default_rng(0))
    np.testing.assert_array_equal(moved, points[kept])
    np.testing.assert_array_equal(tinted, colors[kept])
    runs = [augment(points, colors, AugmentConfig(), np.random.default_rng(1)) for _ in range(2)]
    for a, b in zip(*runs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_refuses(cloud, rng):
    points, colors = cloud
    with pytest.raises(InputError, match="points and colors"):
        augment(points, colors[1:], AugmentConfig(), rng)
    with pytest.raises(InputError, match="finite"):
        augment(points * np.nan, colors, AugmentConfig(), rng)
    with pytest.raises(InputError, match="too far apart"):
        module.elastic_distortion(points * 1000, 0.2, 0.4, rng)
    with pytest.raises(ConfigError, match="augment.dropout"):
        AugmentConfig(dropout=1.0)
    with pytest.raises(ConfigError, match="augment.elastic_granularity"):
        AugmentConfig(elastic_granularity=(0.0, 1.0))
