"""Results do not depend on how often a position is there: the weld against numpy's unique, and every user of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from plyfile import PlyData

from geoguide import backbones
from geoguide.backbones import BackboneConfig
from geoguide.datasets.formats.ply import vertex_normals, write_ply
from geoguide.datasets.points import load_points
from geoguide.instances.scene_masks import MaskConfig, scene_masks
from geoguide.ops.weld import NEAR, RARE, Weld, find_weld
from geoguide.own_scan import open_scan
from geoguide.pipeline.stages import frozen_features
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, estimate_normals, scene_superpoints, segment_mesh, segment_points
from geoguide.welding import scene_weld, welded, with_weld_said

FLOAT = np.float32


def waves(side: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A floor of 5 cm that bends up to a wall, with noise: vertices, faces and colours; all positions differ."""
    rng = np.random.default_rng(0)
    x, y = (a.ravel() for a in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    line = 0.05 * x
    points = np.stack([np.minimum(line, 1.5), 0.05 * y, np.maximum(line - 1.5, 0)], axis=1)
    points += rng.normal(0, 0.004, points.shape)
    corner = (x * side + y).reshape(side, side)[:-1, :-1].reshape(-1, 1)
    faces = np.concatenate([corner + np.array(step) for step in ([0, side, 1], [1, side, side + 1])])
    return points.astype(FLOAT), faces, rng.random((side * side, 3)).astype(FLOAT)


@pytest.fixture(scope="module")
def mesh() -> Scene:
    points, faces, colors = waves()
    return Scene("mesh", points, colors, vertex_normals(points, faces), faces)


@pytest.fixture(scope="module")
def cloud(mesh: Scene) -> Scene:
    return replace(mesh, normals=None, faces=None)


def copies(scene: Scene, index: np.ndarray, faces: np.ndarray | None = None) -> Scene:
    normals = None if scene.normals is None else scene.normals[index]
    return replace(scene, points=scene.points[index], colors=scene.colors[index], normals=normals, faces=faces)


def multiples(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "each three times": np.repeat(np.arange(count), 3),
        "all twenty times": np.tile(np.arange(count), 20),
        "some again": np.r_[np.arange(count), rng.choice(count, count // 10)],
        "0.05 % again": np.r_[np.arange(count), rng.choice(count, max(1, count // 2000), replace=False)],
    }


few = arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.sampled_from([-1.0, -0.0, 0.0, 2.0]))


@settings(max_examples=100, deadline=None)
@given(few)
def test_positions_are_those_of_unique(points: np.ndarray) -> None:
    weld, unique = find_weld(points), np.unique(points + FLOAT(0), axis=0)
    if len(unique) == len(points):
        assert weld is None
        return
    assert len(weld) == len(unique) and (np.diff(weld.first) > 0).all()
    np.testing.assert_array_equal(points[weld.first][weld.index], points)
    np.testing.assert_array_equal(weld.index[weld.first], np.arange(len(weld)))


@settings(max_examples=50, deadline=None)
@given(few, st.integers(0, 2**32 - 1))
def test_means_depend_on_neither_order_nor_number(points: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.concatenate([points, points[:1]])
    values = rng.integers(0, 3, points.shape).astype(FLOAT) / FLOAT(7)
    units = (lambda v: v / np.linalg.norm(v, axis=1, keepdims=True))(values + FLOAT(0.1) * (-1) ** rng.integers(2))
    again = np.r_[rng.permutation(len(points)), rng.integers(0, len(points), 20)]
    weld, other = find_weld(points), find_weld(points[again])
    for one, two in ((weld.mean(values), other.mean(values[again])), (weld.directions(units), None)):
        two = other.directions(units[again]) if two is None else two
        np.testing.assert_array_equal(one[weld.index][again], two[other.index])
    for place, mean in enumerate(weld.mean(values)):  # by hand
        different = np.unique(values[weld.index == place], axis=0)
        np.testing.assert_allclose(mean, different.astype(np.float64).mean(axis=0), rtol=1e-6)


def test_normals_that_cancel_keep_a_direction() -> None:
    points, up = np.zeros((4, 3), FLOAT), np.array([[0, 0, 1], [0, 0, -1], [0, 0, 1], [0, 0, -1]], FLOAT)
    np.testing.assert_array_equal(find_weld(points).directions(up), [[0, 0, 1]])
    np.testing.assert_array_equal(find_weld(points).directions(-up), [[0, 0, 1]])
    side = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]], FLOAT)
    np.testing.assert_allclose(find_weld(points).directions(side), [[0.5**0.5, 0.5**0.5, 0]], rtol=1e-6)


def test_a_few_equal_positions_are_left_alone_in_generated_scenes_only(cloud: Scene) -> None:
    few = int(RARE * len(cloud))
    index = np.r_[np.arange(len(cloud)), np.arange(few)]
    assert few > 0 and find_weld(cloud.points[index], RARE) is None
    assert len(find_weld(cloud.points[index])) == len(cloud)
    assert len(find_weld(cloud.points[np.r_[index, few, few + 1]], RARE)) == len(cloud)
    assert welded(cloud) == (cloud, None)
    twice = copies(cloud, index)
    assert len(welded(twice)[0]) == len(cloud) and with_weld_said(twice) is twice  # too few to speak of
    mini = replace(twice, provenance="mini")
    assert welded(mini) == (mini, None)


@pytest.mark.parametrize("number", [2, 3, 20])
def test_positions_that_differ_by_rounding_are_one(cloud: Scene, number: int, rng: np.random.Generator) -> None:
    index = np.tile(np.arange(len(cloud)), number)
    near = cloud.points[index] + rng.uniform(-5e-5, 5e-5, (len(index), 3)).astype(FLOAT)  # at most 0.17 mm apart
    weld = find_weld(near)
    assert len(weld) == len(cloud) and weld.tolerance == NEAR
    np.testing.assert_array_equal(weld.index, index)


@pytest.mark.parametrize("size", [1e-3, 1e-2, 1e10, 3e37])
def test_a_dense_scan_of_a_small_thing_is_not_joined(cloud: Scene, size: float) -> None:
    """Spacings of 0.05 and 0.5 mm; and coordinates that no grid can number."""
    assert find_weld(cloud.points * FLOAT(size)) is None


def test_faces_are_joined_and_kept_once() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], FLOAT)
    faces = np.array([[0, 1, 2], [3, 5, 4], [6, 4, 3], [1, 2, 6]])
    np.testing.assert_array_equal(find_weld(points).faces(faces), [[0, 1, 2], [1, 3, 2]])


@pytest.mark.parametrize("rounded", [0.0, 1e-6])
def test_a_triangle_soup_has_the_superpoints_masks_and_normals_of_its_mesh(mesh: Scene, rounded: float) -> None:
    corners = mesh.faces.reshape(-1)
    faces = np.arange(len(corners)).reshape(-1, 3)
    noise = np.random.default_rng(0).uniform(-rounded, rounded, (len(corners), 3)).astype(FLOAT)
    points = mesh.points[corners] + noise
    soup = Scene("soup", points, mesh.colors[corners], vertex_normals(points, faces), faces)
    np.testing.assert_allclose(soup.normals, mesh.normals[corners], atol=1e-7 + 500 * rounded)
    known, found = scene_superpoints(mesh, SuperpointConfig()), scene_superpoints(soup, SuperpointConfig())
    assert known.max() > 0 and same_partition(found, known[corners])
    masks = scene_masks(mesh, known, MaskConfig()).dense()[:, corners]
    assert {mask.tobytes() for mask in scene_masks(soup, found, MaskConfig()).dense()} == {m.tobytes() for m in masks}


def test_a_mesh_seen_from_both_sides_has_the_superpoints_of_one(mesh: Scene) -> None:
    both = np.concatenate([mesh.faces, len(mesh) + mesh.faces[:, ::-1]])
    twice = copies(mesh, np.tile(np.arange(len(mesh)), 2), both)
    known = scene_superpoints(mesh, SuperpointConfig())
    np.testing.assert_array_equal(scene_superpoints(twice, SuperpointConfig()), np.tile(known, 2))


def test_a_soup_of_the_golden_mesh_has_the_official_superpoints(golden) -> None:
    data = PlyData.read(golden / "superpoints/mesh.ply", known_list_len={"face": {"vertex_indices": 3}})
    points, faces = np.stack([data["vertex"][a] for a in "xyz"], axis=1), np.stack(data["face"]["vertex_indices"])
    corners = faces.reshape(-1)
    soup = Scene(
        "soup", points[corners], np.zeros((len(corners), 3), FLOAT), None, np.arange(len(corners)).reshape(-1, 3)
    )
    official = np.load(golden / "superpoints/D_segments.npz")["segIndices_k0.01_m20"]
    assert same_partition(scene_superpoints(soup, SuperpointConfig()), official[corners])
    assert segment_mesh(soup.points, soup.faces).max() > official[corners].max()  # as the official program would


@pytest.mark.parametrize("kind", multiples(10))
def test_nothing_depends_on_how_often_a_point_is_there(mesh: Scene, cloud: Scene, kind: str) -> None:
    index = multiples(len(mesh))[kind]
    for scene in (cloud, replace(mesh, faces=None)):
        many = copies(scene, index)
        superpoints = scene_superpoints(scene, SuperpointConfig())
        np.testing.assert_array_equal(scene_superpoints(many, SuperpointConfig()), superpoints[index])
        np.testing.assert_array_equal(segment_points(many.points, many.normals), superpoints[index])
        masks = scene_masks(scene, superpoints, MaskConfig())
        found = scene_masks(many, superpoints[index], MaskConfig())
        assert len(masks)
        np.testing.assert_array_equal(found.dense(), masks.dense()[:, index])
        np.testing.assert_array_equal(found.scores, masks.scores)
        for name in ("descriptors", "sonata-mini"):
            known = frozen_features(scene, BackboneConfig(name))
            np.testing.assert_array_equal(frozen_features(many, BackboneConfig(name)), known[index])
    np.testing.assert_array_equal(estimate_normals(cloud.points[index]), estimate_normals(cloud.points)[index])


def test_distinct_positions_are_computed_as_they_are(mesh: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit what it was without any weld."""
    known = segment_mesh(mesh.points, mesh.faces)
    np.testing.assert_array_equal(scene_superpoints(mesh, SuperpointConfig()), known)
    features = backbones.load("descriptors").encode(mesh)
    monkeypatch.setattr("geoguide.welding.find_weld", lambda points: None)
    np.testing.assert_array_equal(backbones.load("descriptors").encode(mesh), features)


def test_a_mesh_of_a_few_repeated_vertices_has_the_normals_and_superpoints_of_one_without(mesh: Scene) -> None:
    """0.06 % of the vertices are split in two, each with some of the faces."""
    faces, again = mesh.faces.copy(), [777, 2345]
    for number, vertex in enumerate(again):
        row, corner = np.argwhere(faces == vertex)[0]
        faces[row, corner] = len(mesh) + number
    index = np.r_[np.arange(len(mesh)), again]
    split = copies(mesh, index, faces)
    np.testing.assert_array_equal(vertex_normals(split.points, faces), mesh.normals[index])
    known = scene_superpoints(mesh, SuperpointConfig())
    np.testing.assert_array_equal(scene_superpoints(split, SuperpointConfig()), known[index])


def test_positions_are_searched_once_for_a_scene(cloud: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, searched = copies(cloud, multiples(len(cloud))["some again"]), []

    def counted(points: np.ndarray, rare: float = 0.0) -> Weld | None:
        searched.append(len(points))
        return find_weld(points, rare)

    for module in ("geoguide.welding", "geoguide.superpoints", "geoguide.instances.geometry"):
        monkeypatch.setattr(f"{module}.find_weld", counted)
    said = with_weld_said(scene)
    assert scene_weld(said) is scene_weld(scene)
    scene_masks(said, scene_superpoints(said, SuperpointConfig()), MaskConfig())
    frozen_features(said, BackboneConfig("sonata-mini"))
    assert searched == [len(scene)]


def saved(path: Path, mesh: Scene, faces: np.ndarray) -> Scene:
    write_ply(path, mesh.points, np.full((len(mesh), 3), 99, np.uint8), faces=faces)
    return load_points(path)


def test_faces_that_count_from_one_are_found_by_their_edges(mesh: Scene, tmp_path: Path) -> None:
    last = mesh.faces[(mesh.faces < len(mesh) - 1).all(axis=1)]  # the last vertex is unused: every number is in range
    scene = saved(tmp_path / "a.ply", mesh, last + 1)
    np.testing.assert_array_equal(scene.faces, last)
    assert sum("faces count vertices from 1" in said for said in scene.as_read) == 1
    first = mesh.faces[(mesh.faces > 0).all(axis=1)]  # the first is unused, and nothing is wrong
    right = saved(tmp_path / "b.ply", mesh, first)
    np.testing.assert_array_equal(right.faces, first)
    assert not any("from 1" in said for said in right.as_read)


def test_faces_of_another_mesh_are_left_out(mesh: Scene, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(mesh))
    scene = saved(tmp_path / "a.ply", mesh, order[mesh.faces])
    assert scene.faces is None and "join vertices across the whole scan" in scene.as_read[0]
    assert saved(tmp_path / "b.ply", mesh, mesh.faces).as_read == ()


def test_a_scan_says_that_it_was_welded(mesh: Scene, tmp_path) -> None:
    path, index = tmp_path / "scan.ply", np.tile(np.arange(len(mesh)), 3)
    write_ply(path, mesh.points[index], np.zeros((len(index), 3), np.uint8))
    said = open_scan(path).scene.as_read
    assert sum("10,800 points lie at 3,600 different positions" in sentence for sentence in said) == 1
    write_ply(path, mesh.points, np.zeros((len(mesh), 3), np.uint8))
    assert not any("welded" in sentence for sentence in open_scan(path).scene.as_read)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return len(np.unique(np.stack([a, b]), axis=1).T) == len(np.unique(a)) == len(np.unique(b))
