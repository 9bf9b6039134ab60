"""Pretraining's parts: views against brute force, prototypes against slow loops, and what each must leave alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import from_dict, to_dict
from geoguide.pretraining import views as v
from geoguide.pretraining.config import NetworkConfig, PretrainConfig, ViewConfig
from geoguide.pretraining.distillation import (
    PrototypeHead,
    distillation_loss,
    effective_rank,
    match,
    sinkhorn,
    spread,
    usage,
)

STILL = ViewConfig(jitter=0, normal_noise=0, color_noise=0, color_shift=0, gray_share=0)


@pytest.fixture
def cloud(rng: np.random.Generator) -> v.Cloud:
    points = (rng.random((900, 3)) * [3, 2, 1] + [1, 5, 0]).astype(np.float32)
    normals = rng.standard_normal((900, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return v.Cloud(points, rng.random((900, 3)).astype(np.float32), normals.astype(np.float32))


# --- views ---


def test_crop_takes_the_nearest(cloud, rng):
    center = cloud.points[7]
    found = v.crop(cloud.points, center, 0.1)
    distance = np.linalg.norm(cloud.points - center, axis=1)
    assert set(found) == set(np.argsort(distance)[:90]) and (np.diff(found) > 0).all()
    assert len(v.crop(cloud.points, center, 1e-9)) == 1 and len(v.crop(cloud.points, center, 1.0)) == 900


def test_augmentation_keeps_the_shape(cloud, rng):
    """Without noise: distances change by one factor, angles between normals and directions not at all."""
    turned = v.augment(cloud, STILL, rng)
    a, b = (np.linalg.norm(c.points[1:] - c.points[:-1], axis=1) for c in (cloud, turned))
    factor = b / a
    assert 0.9 <= factor.mean() <= 1.1 and np.ptp(factor) < 1e-4
    inner = [np.einsum("pd,pd->p", c.normals[:-1], c.points[1:] - c.points[:-1]) for c in (cloud, turned)]
    np.testing.assert_allclose(inner[1], inner[0] * factor.mean(), atol=1e-4)
    np.testing.assert_allclose(turned.colors, cloud.colors, atol=1e-6)
    tilt = np.abs(v.rotation(1.0, 0.05, -0.05) - v.rotation(1.0, 0, 0)).max()
    assert tilt < 0.1


def test_rotation_by_hand():
    np.testing.assert_allclose(v.rotation(np.pi / 2, 0, 0) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(v.rotation(0, np.pi / 2, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(v.rotation(0, 0, np.pi / 2) @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_voxels_know_where_they_come_from(cloud, rng):
    config = replace(STILL, scale=(1.0, 1.0), tilt=0.0)
    view = v.make_view(cloud, config, 0.1, rng)
    place = {tuple(p): i for i, p in enumerate(cloud.points.tolist())}
    index = [place[tuple(p)] for p in view.place.tolist()]
    np.testing.assert_allclose(view.feat[:, 3:6], cloud.colors[index], atol=1e-6)
    lift = view.coord[:, 2] - cloud.points[index, 2]
    assert np.ptp(lift) < 1e-4 and abs(lift.mean()) <= config.lift + 1e-5
    assert len(np.unique(view.grid_coord, axis=0)) == len(view) and view.grid_coord.min() == 0
    np.testing.assert_array_equal(view.feat[:, :3], view.coord)


def test_masked_cells_against_a_loop(rng):
    coord = rng.random((400, 3)) * 2
    mask = v.mask_cells(coord, 0.5, 0.4, np.random.default_rng(3))
    shift = np.random.default_rng(3).uniform(0, 0.5, 3)
    cells: dict[tuple, set] = {}
    for row, hidden in zip(coord + shift, mask, strict=True):
        cells.setdefault(tuple(int(x // 0.5) for x in row), set()).add(bool(hidden))
    assert all(len(kinds) == 1 for kinds in cells.values())  # whole cells
    assert sum(kinds == {True} for kinds in cells.values()) == round(0.4 * len(cells))


def test_hiding_moves_masked_voxels_only(cloud, rng):
    view = v.make_view(cloud, STILL, 0.1, rng)
    mask = v.mask_cells(view.coord, 0.4, 0.5, rng)
    hidden = v.hide(view, mask, 0.1, 0.1, rng)
    before = {tuple(p): (tuple(c), tuple(f)) for p, c, f in zip(view.place, view.coord, view.feat, strict=True)}
    kept = [before[tuple(p)] for p in hidden.place[~hidden.mask]]
    assert len(kept) == (~mask).sum()  # none lost
    np.testing.assert_array_equal(hidden.coord[~hidden.mask], [c for c, _ in kept])
    np.testing.assert_array_equal(hidden.feat[~hidden.mask], [f for _, f in kept])
    moved = hidden.coord[hidden.mask] - np.array([before[tuple(p)][0] for p in hidden.place[hidden.mask]])
    assert 0.07 < moved.std() < 0.13
    assert len(np.unique(hidden.grid_coord, axis=0)) == len(hidden) and hidden.grid_coord.min() >= 0
    still = v.hide(view, mask, 0.0, 0.1, rng)
    np.testing.assert_array_equal(still.grid_coord, view.grid_coord)
    np.testing.assert_array_equal(still.mask, mask)


def test_views_of_a_room(cloud):
    config = ViewConfig(local_views=3)
    made = v.make_views(cloud, config, 0.1, 0.5, np.random.default_rng(0))
    again = v.make_views(cloud, config, 0.1, 0.5, np.random.default_rng(0))
    assert len(made.locals) == 3 and not made.globals[0].mask.any() and made.masked[0].mask.any()
    for a, b in zip(made.globals + made.masked + made.locals, again.globals + again.masked + again.locals, strict=True):
        np.testing.assert_array_equal(a.feat, b.feat)
    with pytest.raises(InputError, match=r"ramp must be in \[0, 1\], found 2"):
        v.make_views(cloud, config, 0.1, 2, np.random.default_rng(0))


# --- prototypes ---


def test_sinkhorn_against_a_loop(rng):
    scores = rng.uniform(-1, 1, (7, 4))
    q = np.exp(scores / 0.2)
    for _ in range(3):
        for k in range(4):
            q[:, k] /= q[:, k].sum()
        for n in range(7):
            q[n] /= q[n].sum()
    found = sinkhorn(torch.tensor(scores), 0.2, 3)
    np.testing.assert_allclose(found, q, rtol=1e-5)


def test_sinkhorn_uses_all_prototypes_equally(rng):
    scores = torch.tensor(rng.uniform(-1, 1, (60, 5)))
    scores[:, 0] += 1  # every row prefers the first
    q = sinkhorn(scores, 0.5, 100)
    np.testing.assert_allclose(q.sum(1), np.ones(60), rtol=1e-5)
    np.testing.assert_allclose(q.sum(0), np.full(5, 12), rtol=1e-3)
    assert sinkhorn(torch.tensor([[1.0, -1.0]]), 1e-4).isfinite().all()  # exp(1e4) is not
    for scores_, temperature in ((torch.zeros(0, 3), 1.0), (torch.zeros(3, 3), 0.0)):
        with pytest.raises(InputError):
            sinkhorn(scores_, temperature)


def test_loss_by_hand_and_least_at_the_target():
    student = torch.tensor([[0.1, 0.0], [0.0, 0.3]])
    target = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    expected = (np.log(1 + np.exp(-1)) + 0.5 * (np.log(1 + np.exp(-3)) + np.log(1 + np.exp(3)))) / 2
    assert float(distillation_loss(student, target, 0.1)) == pytest.approx(expected, rel=1e-5)
    same = target.clamp(min=1e-6).log() * 0.1
    assert distillation_loss(same, target, 0.1) < distillation_loss(student, target, 0.1)
    assert float(distillation_loss(student[:0], target[:0], 0.1)) == 0
    with pytest.raises(InputError, match=r"target must be \[2, 2\] as student is, found \[1, 2\]"):
        distillation_loss(student, target[:1], 0.1)


def test_match_against_brute_force(rng):
    query, key = rng.random((80, 3)), rng.random((90, 3))
    gq, gk = rng.integers(0, 3, 80), rng.integers(0, 3, 90)
    rows, columns = match(query, gq, key, gk, 0.2)
    expected = []
    for i in range(80):
        best = [(np.linalg.norm(query[i] - key[j]), j) for j in range(90) if gk[j] == gq[i]]
        distance, j = min(best)
        if distance <= 0.2:
            expected.append((i, j))
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == expected and 0 < len(expected) < 80
    assert len(match(query[:0], gq[:0], key, gk, 0.2)[0]) == len(match(query, gq, key[:0], gk[:0], 0.2)[0]) == 0


def test_collapse_is_seen():
    assert usage(torch.eye(4) * 100, 1.0) == pytest.approx(1.0)
    assert usage(torch.eye(4)[[0, 0]] * 100, 1.0) == pytest.approx(0.25)
    corners = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    assert effective_rank(corners) == pytest.approx(2.0)
    assert effective_rank(corners[:2]) == pytest.approx(1.0)
    assert spread(torch.ones(5, 3)) == pytest.approx(0, abs=1e-6)
    assert spread(torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))) == pytest.approx(1, abs=0.02)


def test_head_gives_cosines():
    head = PrototypeHead(6, 8, 4, 10)
    scores = head(torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * 100)
    assert scores.shape == (20, 10) and scores.abs().max() <= 1 + 1e-6


# --- configuration ---


def test_config_round_trip_and_refusals():
    config = PretrainConfig()
    assert from_dict(PretrainConfig, to_dict(config)) == config
    assert config.network.level == 0 and config.network.width == 48 + 64 + 96 + 128
    coarser = NetworkConfig(concat=1)
    assert coarser.level == 2 and coarser.width == 96 + 128
    for changes, message in (
        ({"steps": 0}, "steps must be"),
        ({"warmup": 0.0}, "warmup must be above 0"),
        ({"network": NetworkConfig(concat=4)}, "network.concat must be 0..3, found 4"),
        ({"network": NetworkConfig(enc_num_head=(5, 4, 6, 8))}, "enc_channels must be multiples"),
        ({"views": ViewConfig(local_share=(0.5, 0.1))}, "views.local_share must be two rising shares"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(config, **changes)
