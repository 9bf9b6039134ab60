"""Backbones: the stand-in descriptors against slow loops and hand shapes, and invariances any scene must keep."""

from dataclasses import replace

import numpy as np
import pytest

from geoguide import backbones
from geoguide.backbones.descriptors import DescriptorBackbone, DescriptorConfig, _gap_above, feature_names
from geoguide.errors import ConfigError
from geoguide.scene import Scene

NAMES = feature_names(DescriptorConfig())


@pytest.fixture
def room(rng: np.random.Generator) -> Scene:
    """A floor, two walls, a table: 3,000 points."""
    u, v = rng.random((2, 3000))
    part = rng.integers(0, 4, 3000)
    sides = np.stack(
        [
            np.stack([4 * u, 3 * v, 0 * u], axis=1),
            np.stack([4 * u, 0 * u, 2.5 * v], axis=1),
            np.stack([0 * u, 3 * u, 2.5 * v], axis=1),
            np.stack([2 + u, 1 + 0.6 * v, 0.75 + 0 * u], axis=1),
        ]
    )
    up = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    points = sides[part, np.arange(3000)] + 0.003 * rng.standard_normal((3000, 3))
    return Scene(
        "room", points.astype(np.float32), rng.random((3000, 3)).astype(np.float32), up[part].astype(np.float32)
    )


def column(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, NAMES.index(name)]


def test_shape_and_range(room: Scene) -> None:
    backbone = backbones.load("descriptors")
    features = backbone.encode(room)
    assert backbone.name == "descriptors (stand-in)"
    assert features.shape == (3000, backbone.width) and features.dtype == np.float32
    assert 64 <= backbone.width <= 144 and len(NAMES) == len(set(NAMES)) == backbone.width
    assert np.isfinite(features).all() and np.abs(features).max() <= 4
    assert 0.2 < features.std(axis=0).mean() < 1.5
    np.testing.assert_array_equal(features, backbone.encode(room))


def test_features_tell_floor_wall_and_table_apart(room: Scene) -> None:
    features = backbones.load("descriptors").encode(room)
    z = room.points[:, 2]
    inner = (np.abs(room.points[:, :2] - [2.5, 1.3]) < 0.2).all(axis=1)
    wall = (np.abs(room.points[:, 1]) < 0.02) & (z > 0.4) & (z < 2)
    upright = column(features, "verticality @0.3 m")
    assert upright[wall].mean() > 0.3 and upright[inner].mean() < -1
    assert column(features, "planarity @0.3 m")[wall].mean() > 0.5
    below, above = inner & (z < 0.1), inner & (z > 0.7)
    assert column(features, "gap above")[above].min() == pytest.approx(3.5)  # nothing above the table
    assert column(features, "gap above")[below].max() < 3
    assert column(features, "below")[above].mean() > column(features, "below")[below].mean() + 0.8


def test_height_and_colour_columns_by_formula(room: Scene) -> None:
    features = backbones.load("descriptors").encode(room)
    z = room.points[:, 2].astype(np.float64)
    height = 1.5 * (z - np.percentile(z, 1) - 0.8)
    np.testing.assert_allclose(column(features, "height"), height, atol=1e-5)
    np.testing.assert_allclose(column(features, "green"), 4 * (room.colors[:, 1] - 0.5), atol=1e-5)


def test_segment_columns_give_the_table_top_its_size(room: Scene) -> None:
    features = backbones.load("descriptors").encode(room)
    top = (room.points[:, 2] > 0.7) & (room.points[:, 2] < 0.8) & (room.points[:, :2] > [2.1, 1.1]).all(axis=1)
    top &= (room.points[:, :2] < [2.9, 1.5]).all(axis=1)
    assert np.median(column(features, "superpoint length")[top]) == pytest.approx(2 * 1.0 - 2, abs=0.3)
    assert np.median(column(features, "superpoint width")[top]) == pytest.approx(3 * 0.6 - 1.5, abs=0.3)
    assert np.median(column(features, "superpoint top")[top]) == pytest.approx(1.5 * 0.75 - 1.2, abs=0.1)
    floor = room.points[:, 2] < 0.02
    assert np.median(column(features, "floor")[floor]) == 1 and np.median(column(features, "floor")[top]) == -1


def test_neighbourhood_means_equal_a_slow_loop(room: Scene) -> None:
    config = DescriptorConfig(voxels=(0.25,), context_scales=1, neighbors=500)
    backbone = DescriptorBackbone(config)
    few = np.arange(0, 3000, 10)
    scene = Scene("few", room.points[few], room.colors[few], room.normals[few])
    got = backbone.encode(scene)[:, feature_names(config).index("green @0.75 m")]
    points = scene.points.astype(np.float64)
    origin = (points.min(0) + points.max(0)) / 2
    origin[2] = np.percentile(points[:, 2], 1)
    cells = {}
    for i, cell in enumerate(np.floor((points - origin) / 0.25).astype(int)):
        cells.setdefault(tuple(cell), []).append(i)
    centers = np.array([points[ids].mean(0) for ids in cells.values()])
    green = np.array([scene.colors[ids, 1].mean() for ids in cells.values()])
    pooled = np.array([green[np.linalg.norm(centers - c, axis=1) <= 0.75].mean() for c in centers])
    expected = []
    for point in points:
        distance = np.linalg.norm(centers - point, axis=1)
        near = np.argsort(distance)[:3]
        weight = 1 / (distance[near] + 0.025)
        expected.append(4 * ((weight * pooled[near]).sum() / weight.sum() - 0.5))
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_gap_above_equals_a_slow_loop(rng: np.random.Generator) -> None:
    z, cell = 2 * rng.random(200), rng.integers(0, 12, 200)
    for i, gap in enumerate(_gap_above(z, cell)):
        higher = [int(h // 0.1) for h in z[cell == cell[i]] if h // 0.1 > z[i] // 0.1]
        expected = min((min(higher) - z[i] // 0.1 - 1) * 0.1, 1.0) if higher else 1.0
        assert gap == pytest.approx(expected, abs=1e-9)


def test_a_permutation_of_points_permutes_the_rows(room: Scene, rng: np.random.Generator) -> None:
    backbone = backbones.load("descriptors")
    order = rng.permutation(len(room))
    mixed = replace(room, points=room.points[order], colors=room.colors[order], normals=room.normals[order])
    np.testing.assert_allclose(backbone.encode(mixed), backbone.encode(room)[order], atol=2e-3)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_quarter_turn_about_z_changes_nothing(room: Scene, quarter: int) -> None:
    turn = np.round(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32))
    turn = np.linalg.matrix_power(turn, quarter)
    turned = replace(room, points=room.points @ turn.T, normals=room.normals @ turn.T)
    backbone = backbones.load("descriptors")
    difference = np.abs(backbone.encode(turned) - backbone.encode(room))
    assert np.quantile(difference, 0.999) < 2e-3  # a point on a voxel's border may fall on its other side


def test_any_turn_about_z_changes_little(room: Scene) -> None:
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    turned = replace(room, points=room.points @ turn.T, normals=room.normals @ turn.T)
    backbone = backbones.load("descriptors")
    first, second = backbone.encode(room), backbone.encode(turned)
    kept = [np.corrcoef(a, b)[0, 1] for a, b in zip(first.T, second.T, strict=True) if a.std() > 0.1]
    assert np.median(kept) > 0.95


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_points_give_finite_features(count: int, rng: np.random.Generator) -> None:
    points = rng.random((count, 3)).astype(np.float32)
    features = backbones.load("descriptors").encode(Scene("few", points, points))
    assert features.shape == (count, len(NAMES)) and np.isfinite(features).all()


@pytest.mark.parametrize("direction", [(0, 0, 0), (1, 1, 1), (0, 0, 1)])
def test_points_in_one_place_or_on_a_line_give_finite_features(direction: tuple[float, ...]) -> None:
    points = np.linspace(0, 1, 50, dtype=np.float32)[:, None] * np.array(direction, np.float32)
    features = backbones.load("descriptors").encode(Scene("line", points, np.zeros((50, 3), np.float32)))
    assert np.isfinite(features).all()


def test_without_normals_they_come_from_the_points(room: Scene) -> None:
    features = backbones.load("descriptors").encode(replace(room, normals=None))
    wall = (np.abs(room.points[:, 1]) < 0.02) & (room.points[:, 2] > 0.4) & (room.points[:, 2] < 2)
    assert np.median(column(features, "|nz|")[wall]) < -0.9


def test_unknown_backbone_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="backbone 'sonatta' is unknown: expected one of concerto, descriptors"):
        backbones.load("sonatta")


IMPOSSIBLE = [{"voxels": v} for v in ((), (0.1, 0.1), (0.2, 0.1))]
IMPOSSIBLE += [{"reach": 0}, {"neighbors": 2}, {"column": 0}, {"context_scales": 9}]


@pytest.mark.parametrize("options", IMPOSSIBLE)
def test_impossible_config(options: dict) -> None:
    with pytest.raises(ConfigError, match="descriptors:"):
        DescriptorConfig(**options)
