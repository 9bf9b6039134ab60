"""VCCS superpoints against a slow flow, a hand case, and what holds of every partition; the three methods by name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import Delaunay
from skimage.color import rgb2lab

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.pipeline.config import ExperimentConfig
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_superpoints
from geoguide.superpoints.vccs import DEPTH, VCCSConfig, segment_voxels

FINE = VCCSConfig(voxel=0.1, spacing=0.35)
METHODS = ("graph", "vccs", "points")


def cloud(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points near two crossing sheets, of patches of colour."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.6, 0.6, (count, 3))
    sheet = rng.random(count) < 0.5
    points[sheet, 2] *= 0.02
    points[~sheet, 0] *= 0.02
    colors = np.where(points[:, 1:2] > 0, [0.8, 0.3, 0.2], [0.2, 0.3, 0.8]) + rng.uniform(-0.1, 0.1, (count, 3))
    normals = np.where(sheet[:, None], [0.0, 0, 1], [1.0, 0, 0]) + rng.normal(0, 0.1, (count, 3))
    return points, colors, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def axis(normals: list[np.ndarray]) -> np.ndarray:
    """The direction that normals of either sign agree on most."""
    return np.linalg.svd(np.array(normals))[2][0]


def slow_clusters(points, colors, normals, config: VCCSConfig) -> np.ndarray:
    """The flow with dictionaries of voxels, one at a time; numbers of clusters by point, -1 for none."""
    cells = [tuple(c) for c in np.floor(points / config.voxel).astype(int).tolist()]
    names = sorted(set(cells))
    members = {name: [i for i, cell in enumerate(cells) if cell == name] for name in names}
    lab = rgb2lab(colors)
    at = {n: (lab[m].mean(0), points[m].mean(0), axis([normals[i] for i in m])) for n, m in members.items()}
    touching = {n: [m for m in names if m != n and max(abs(a - b) for a, b in zip(n, m, strict=True)) <= 1]
                for n in names}  # fmt: skip

    def distance(name, centre):
        color, place, normal = at[name]
        terms = ((color - centre[0]) / 100) ** 2, (place - centre[1]) ** 2 / (3 * config.spacing**2)
        bend = 1 - abs(normal @ centre[2])
        return np.sqrt(config.color * terms[0].sum() + config.space * terms[1].sum() + config.normal * bend**2)

    coarse: dict[tuple, list] = {}
    for name in names:
        coarse.setdefault(tuple(np.floor(at[name][1] / config.spacing).astype(int).tolist()), []).append(name)
    seeds = [min(own, key=lambda n: ((at[n][1] - (np.array(cell) + 0.5) * config.spacing) ** 2).sum())
             for cell, own in sorted(coarse.items())]  # fmt: skip
    centres, owner = [at[seed] for seed in seeds], {}
    for _ in range(config.iterations):
        owner = {seed: number for number, seed in enumerate(seeds)}
        least = {seed: distance(seed, centres[number]) for number, seed in enumerate(seeds)}
        front = list(seeds)
        for _ in range(int(DEPTH * config.spacing / config.voxel)):
            claims: dict[tuple, tuple[float, int]] = {}
            for name in front:
                for other in touching[name]:
                    claim = (distance(other, centres[owner[name]]), owner[name])
                    if claim[0] < least.get(other, np.inf) and claim < claims.get(other, (np.inf, 0)):
                        claims[other] = claim
            for name, (price, number) in claims.items():
                owner[name], least[name] = number, price
            front = list(claims)
        groups = [[n for n in names if owner.get(n) == number] for number in sorted(set(owner.values()))]
        means = [tuple(np.mean([at[n][part] for n in own], axis=0) for part in (0, 1)) for own in groups]
        seeds = [min(own, key=lambda n: (((at[n][1] - mean[1]) ** 2).sum(), n))
                 for own, mean in zip(groups, means, strict=True)]  # fmt: skip
        centres = [(*mean, axis([at[n][2] for n in own])) for own, mean in zip(groups, means, strict=True)]
    return np.array([owner.get(cell, -1) for cell in cells])


def connected_parts(points: np.ndarray, groups: np.ndarray, voxel: float) -> np.ndarray:
    """Parts of groups that are connected over touching voxels, by flooding."""
    cells = [tuple(c) for c in np.floor(points / voxel).astype(int).tolist()]
    group = dict(zip(cells, groups.tolist(), strict=True))
    part: dict[tuple, int] = {}
    for start in group:
        todo = [] if start in part else [start]
        number = len(part)
        while todo:
            cell = todo.pop()
            if cell in part:
                continue
            part[cell] = number
            near = [tuple(np.add(cell, step)) for step in np.ndindex(3, 3, 3)]
            near = [tuple(int(v) - 1 for v in other) for other in near]
            todo += [other for other in near if group.get(other) == group[start] and other not in part]
    return np.array([part[cell] for cell in cells])


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iterations", [1, 5])
def test_equals_slow_flow(seed: int, iterations: int) -> None:
    points, colors, normals = cloud(seed)
    config = replace(FINE, iterations=iterations)
    expected = connected_parts(points, slow_clusters(points, colors, normals, config), config.voxel)
    assert same_partition(segment_voxels(points, colors, normals, config, min_size=0), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 120), st.sampled_from([0, 5, 40]), st.floats(0.05, 0.3))
def test_every_superpoint_is_connected_and_all_points_have_one(seed: int, count: int, least: int, voxel: float) -> None:
    points, colors, normals = cloud(seed, count)
    found = segment_voxels(points, colors, normals, VCCSConfig(voxel, 0.5), min_size=least)
    assert found.dtype == np.int64 and found.shape == (count,)
    names, first = np.unique(found, return_index=True)
    assert names.tolist() == list(range(len(names))) and (np.diff(first) > 0).all()  # in the order of appearance
    assert same_partition(found, connected_parts(points, found, voxel))
    whole = connected_parts(points, np.zeros(count, int), voxel)
    small = np.flatnonzero(np.bincount(found) < least)
    for number in small:  # a small one touches no other
        assert (found[whole == whole[found == number][0]] == number).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_points_changes_ids_alone(seed: int, rng: np.random.Generator) -> None:
    points, colors, normals = (np.concatenate([part, part[:50]]) for part in cloud(seed))  # some repeated
    normals[-50:] *= -1
    order = rng.permutation(len(points))
    found = segment_voxels(points, colors, normals, FINE)
    assert same_partition(found[order], segment_voxels(points[order], colors[order], normals[order], FINE))
    flipped = np.where(rng.random((len(points), 1)) < 0.5, normals, -normals)  # nor do the signs of the normals
    assert same_partition(found, segment_voxels(points, colors, flipped, FINE))


@pytest.mark.parametrize("told_by", ["normals", "colors"])
def test_no_superpoint_crosses_from_floor_to_wall(told_by: str) -> None:
    """A floor and a wall of one colour are told apart by normals alone, and by colours alone where normals say nothing.

    The floor begins a voxel beside the wall, so that no voxel holds points of both.
    """
    x, y = (a.ravel() for a in np.meshgrid(np.arange(0.05, 2, 0.1), np.arange(0.05, 2, 0.1)))
    points = np.concatenate([np.stack([x + 0.1, y, 0 * x], axis=1), np.stack([0 * x, y, x], axis=1)])
    wall = np.repeat([False, True], len(x))
    normals = np.where(wall[:, None], [1.0, 0, 0], [0.0, 0, 1]) if told_by == "normals" else np.full((len(wall), 3), 1)
    colors = np.where(wall[:, None], 0.9, 0.1) * np.ones(3) if told_by == "colors" else np.ones((len(wall), 3))
    config = VCCSConfig(voxel=0.1, spacing=0.5, color=1.0 if told_by == "colors" else 0.2)
    found = segment_voxels(points, colors, normals / np.linalg.norm(normals, axis=1, keepdims=True), config)
    assert not set(found[wall]) & set(found[~wall])
    assert 10 < len(set(found)) < 60  # 16 cells of seeds on each


def test_gaps_are_not_bridged() -> None:
    points = np.concatenate([np.zeros((30, 3)), np.full((30, 3), 0.35)]) + np.linspace(0, 0.01, 60)[:, None]
    found = segment_voxels(points, np.ones((60, 3)), np.eye(3)[[0] * 60], VCCSConfig(voxel=0.1, spacing=2.0))
    assert found.tolist() == [0] * 30 + [1] * 30


def test_scenes_take_each_method_by_name() -> None:
    points, colors, normals = (part.astype(np.float32) for part in cloud(0))
    mesh = Scene("sheets", points, colors, normals, Delaunay(points[:, 1:]).simplices.astype(np.int64))
    for scene in (mesh, replace(mesh, faces=None), replace(mesh, faces=None, normals=None)):
        config = SuperpointConfig(min_size=5, vccs=FINE)
        ids = {method: scene_superpoints(scene, replace(config, method=method)) for method in METHODS}
        assert ids["points"].tolist() == list(range(len(scene)))
        assert 5 < ids["vccs"].max() + 1 < 100 and not same_partition(ids["graph"], ids["vccs"])
        parts = {name: getattr(scene, name) for name in ("points", "colors", "normals")}
        many = {name: None if part is None else np.tile(part, (2, 1)) for name, part in parts.items()}
        twice = replace(scene, faces=None, **many)
        for method in ("vccs", "points"):  # points of equal position count once
            found = scene_superpoints(twice, replace(config, method=method))
            np.testing.assert_array_equal(found, np.tile(ids[method], 2))


def test_options_leave_old_hashes_alone() -> None:
    plain = ExperimentConfig()
    assert set(to_dict(plain, hashed_only=True)["superpoints"]) == {"k", "min_size"}
    assert config_hash(plain.replace(superpoints__vccs=VCCSConfig(voxel=0.1))) == config_hash(plain)  # not used
    named = [plain.replace(superpoints__method=method) for method in ("graph", "vccs", "points")]
    named.append(named[1].replace(superpoints__vccs__spacing=0.5))
    assert len({config_hash(config) for config in named}) == 4
    for config in named:
        assert from_dict(ExperimentConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"voxel": 0.0}, "superpoints.vccs: voxel must be above 0 and at most spacing"),
        ({"spacing": 0.01}, "found 0.06"),
        ({"color": -1.0}, "superpoints.vccs[.:] ?color"),
        ({"iterations": 0}, "superpoints.vccs[.:] ?iterations"),
    ],
)
def test_config_refuses(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VCCSConfig(**fields)
    with pytest.raises(ConfigError, match="superpoints.method must be one of graph, vccs, points"):
        SuperpointConfig(method="slic")  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": np.zeros((0, 3))}, "points is empty"),
        ({"points": np.array([[np.nan, 0, 0], [0, 0, 0]])}, "points holds nan"),
        ({"colors": np.zeros((3, 3))}, r"colors must be \[2, 3\]"),
        ({"colors": np.array([[0, 0, 0], [9, 255, 0]])}, r"colors must be in \[0, 1\], found 0\.\.255"),
        ({"colors": np.array([[0, -1, 0], [0, 1, 0]])}, r"colors must be in \[0, 1\], found -1\.\.1"),
        ({"normals": np.zeros(2)}, "normals must be"),
        ({"points": np.array([[0, 0, 0], [1e9, 1e9, 1e9]])}, "too far apart"),
        ({"min_size": -1}, "min_size must be"),
    ],
)
def test_refuses(changes: dict, message: str) -> None:
    given = {"points": np.eye(3)[:2], "colors": np.ones((2, 3)), "normals": np.eye(3)[:2]} | changes
    with pytest.raises(InputError, match=message):
        segment_voxels(**given)
