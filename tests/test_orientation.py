"""To which side normals look: hand-made rooms, whose sides are known, and what must not matter."""

from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets.normals import camera_places, seen_normals, sided_normals, swept_normals
from geoguide.datasets.orientation import agreement, oriented, seen_side, viewpoints
from geoguide.datasets.scannet import load_scene
from geoguide.pipeline.identity import fingerprint
from geoguide.scene import Scene, View
from geoguide.superpoints import estimate_normals

STEP = 0.05  # metres between the points of a surface


def sheet(corner: tuple, first: tuple, second: tuple, normal: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Points of a rectangle, and its normal at each."""
    sides = [np.arange(STEP / 2, np.linalg.norm(side), STEP) / np.linalg.norm(side) for side in (first, second)]
    a, b = (part.reshape(-1, 1) for part in np.meshgrid(*sides))
    points = np.array(corner) + a * np.array(first) + b * np.array(second)
    return points, np.tile(np.array(normal, float), (len(points), 1))


def box(low: tuple, high: tuple, sign: float, without: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals of a box; sign 1: out of it, -1: into it. Faces are numbered x, y, z low, then high."""
    low, high, parts = np.array(low, float), np.array(high, float), []
    for side in (number for number in range(6) if number not in without):
        axis, top = side % 3, side >= 3
        corner, spans = low.copy(), np.diag(high - low)
        corner[axis] = high[axis] if top else low[axis]
        others = [spans[other] for other in range(3) if other != axis]
        normal = np.eye(3)[axis] * (1 if top else -1) * sign
        parts.append(sheet(tuple(corner), tuple(others[0]), tuple(others[1]), tuple(normal)))
    points, normals = zip(*parts, strict=True)
    return np.concatenate(points), np.concatenate(normals)


@pytest.fixture(scope="module")
def furnished() -> tuple[np.ndarray, np.ndarray]:
    """A room without a ceiling, and in it a cabinet that stands on the floor: points and true normals."""
    shell, inward = box((0, 0, 0), (4, 5, 2.6), -1, without=(5,))
    cabinet, outward = box((2.0, 2.2, 0), (2.8, 3.0, 1.2), 1, without=(2,))
    covered = (shell[:, 2] < 0.01) & ((shell[:, :2] > [2.0, 2.2]) & (shell[:, :2] < [2.8, 3.0])).all(axis=1)
    points = np.concatenate([shell[~covered], cabinet])
    noise = np.random.default_rng(0).normal(0, 0.002, points.shape)
    return (points + noise).astype(np.float32), np.concatenate([inward[~covered], outward])


def right(normals: np.ndarray, truth: np.ndarray) -> float:
    """Share of normals on the true side, of those whose direction an edge does not blur."""
    cosine = np.einsum("pd,pd->p", normals, truth)
    return float((cosine[np.abs(cosine) > 0.5] > 0).mean())


def test_walls_look_into_the_room_and_furniture_out_of_itself(furnished):
    points, truth = furnished
    normals, said = sided_normals(points, None)
    assert right(estimate_normals(points), truth) < 0.8
    assert right(normals, truth) > 0.99
    assert said == ("no normals: estimated from the points, each to the side that was seen",)
    assert normals.dtype == np.float32


def test_a_sphere_around_somebody_is_seen_from_inside():
    direction = np.random.default_rng(0).normal(size=(20_000, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    normals, _ = sided_normals((2.0 * direction + [5, 5, 2]).astype(np.float32), None)
    assert right(normals, -direction) > 0.99


def test_the_ground_looks_up_and_a_lone_wall_is_nobodys():
    ground, up = sheet((0, 0, 0), (6, 0, 0), (0, 6, 0), (0, 0, 1))
    assert right(sided_normals(ground, None)[0], up) == 1
    wall, _ = sheet((0, 0, 0), (6, 0, 0), (0, 0, 2.5), (0, 1, 0))
    assert len(viewpoints(wall)) == 0 and agreement(wall, np.tile([0.0, 1.0, 0.0], (len(wall), 1))) is None


def test_viewpoints_stand_in_the_room_and_not_in_its_furniture(furnished):
    eyes = viewpoints(furnished[0])
    assert len(eyes) > 50
    assert ((eyes[:, :2] > 0.2) & (eyes[:, :2] < [3.8, 4.8])).all()
    inside = ((eyes > [2.0, 2.2, 0]) & (eyes < [2.8, 3.0, 1.2])).all(axis=1)
    assert not inside.any()


def test_a_wall_hides_what_is_behind_it():
    """A line of sight is free up to a wall between: by hand, one point, one viewpoint."""
    ground, up = sheet((0, 0, 0), (4, 0, 0), (0, 2, 0), (0, 0, 1))
    wall, across = sheet((2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 0, 0))
    points, normals = np.concatenate([ground, wall]), np.concatenate([up, across])
    side = seen_side(points, normals, np.array([[1.0, 1.0, 1.0]]))[: len(ground)]
    assert (side[(ground[:, 0] < 1.9) & (side != 0)] == 1).all() and (side[ground[:, 0] < 1.5] == 1).mean() > 0.9
    assert (side[ground[:, 0] > 2.1] == 0).all()


# ---- what must not matter


def test_the_input_sign_does_not_matter(furnished):
    points, truth = furnished
    estimate = estimate_normals(points)
    flipped = estimate * np.random.default_rng(1).choice([-1, 1], (len(points), 1)).astype(np.float32)
    expected, _ = sided_normals(points, None)
    found, said = sided_normals(points, flipped)
    assert np.array_equal(found, expected) and "each turned by itself" in said[0]
    random = truth * np.random.default_rng(2).choice([-1, 1], (len(points), 1))
    assert right(sided_normals(points, random)[0], truth) > 0.99


def test_supplied_sides_are_believed_where_they_fit_and_turned_where_they_contradict(furnished):
    points, truth = furnished
    assert sided_normals(points, truth) == (truth, ())
    turned, said = sided_normals(points, -truth)
    assert np.array_equal(turned, truth) and said == ("normals look away from the side that was seen: all turned",)


@pytest.mark.parametrize("angle", [20.0, 45.0, 90.0])
def test_a_turn_about_z_turns_the_normals(furnished, angle: float):
    points, _ = furnished
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    estimate = estimate_normals(points).astype(np.float64)
    expected = oriented(points, estimate) @ turn.T
    found = oriented((points @ turn.T).astype(np.float32), estimate @ turn.T)
    assert (np.einsum("pd,pd->p", found, expected) > 0).mean() > 0.99


def test_the_order_and_copies_of_points_do_not_matter(furnished):
    points, _ = furnished
    order = np.random.default_rng(3).permutation(len(points))
    copies = np.concatenate([order, order[::2]])
    expected = sided_normals(points, None)[0]
    assert (np.einsum("pd,pd->p", sided_normals(points[copies], None)[0], expected[copies]) > 0).mean() > 0.999


# ---- what is known: faces, cameras, a LiDAR


def grid_mesh() -> tuple[np.ndarray, np.ndarray]:
    """A floor of 41 x 41 vertices, its faces wound to look up."""
    x, y = (part.reshape(-1) for part in np.meshgrid(np.arange(41) * 0.1, np.arange(41) * 0.1, indexing="ij"))
    low = (np.arange(40)[:, None] * 41 + np.arange(40)).reshape(-1)
    faces = np.concatenate([np.stack([low, low + 41, low + 1], 1), np.stack([low + 1, low + 41, low + 42], 1)])
    return np.stack([x, y, 0 * x], axis=1).astype(np.float32), faces


def test_a_winding_is_kept_turned_or_mended():
    points, faces = grid_mesh()
    normals, kept, said = seen_normals(points, faces)
    assert np.array_equal(kept, faces) and said == () and (normals[:, 2] > 0.99).all()
    back = faces[:, [0, 2, 1]]
    normals, turned, said = seen_normals(points, back)
    assert np.array_equal(turned, faces) and (normals[:, 2] > 0.99).all() and "wind away" in said[0]
    mixed = np.where(np.random.default_rng(0).random(len(faces))[:, None] < 0.5, faces, back)
    normals, mended, said = seen_normals(points, mixed)
    corners = points[mended]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()
    assert (normals[:, 2] > 0.99).all() and "wind against each other" in said[-1]


def test_faces_that_name_a_vertex_twice_have_no_winding():
    points, faces = grid_mesh()
    collapsed = faces[:, [0, 0, 1]]  # as where vertices were joined; two of them begin at most vertices
    normals, kept, said = seen_normals(points, np.concatenate([faces, collapsed]))
    assert np.array_equal(kept[: len(faces)], faces) and said == ()
    assert np.array_equal(normals, seen_normals(points, faces)[0])


def test_a_mesh_of_two_sides_is_read_as_one_of_one_side():
    points, faces = grid_mesh()
    expected = seen_normals(points, faces)
    normals, kept, said = seen_normals(points, np.concatenate([faces, faces[:, [0, 2, 1]]]))
    assert np.array_equal(kept, faces) and np.array_equal(normals, expected[0])
    assert said == (f"{len(faces)} of {2 * len(faces)} faces repeat another, as its other side: left out",)
    lone = np.concatenate([faces[:9], faces[:9]])  # too few faces for a mesh, each twice: still a cloud
    assert seen_normals(points, lone)[1] is None


def test_cameras_say_more_than_guesses():
    """A board at 1.3 m, seen from below, where nobody could have stood beside it."""
    board, down = sheet((0, 0, 1.3), (2, 0, 0), (0, 2, 0), (0, 0, -1))
    pose = np.eye(4)
    pose[:3, 3] = 1.0, 1.0, 0.2
    lost = View("lost", np.eye(3), np.full((4, 4), np.nan), (4, 4))
    places = camera_places([View("a", np.eye(3), pose, (4, 4)), View("b", np.eye(3), pose, (4, 4)), lost])
    assert places.tolist() == [[1.0, 1.0, 0.2]] and camera_places([lost]) is None
    found, said = sided_normals(board, None, places)
    assert right(found, down) > 0.99 and "the cameras saw" in said[0]
    assert right(sided_normals(board, None)[0], down) == 0


def test_a_sweep_looks_to_its_sensor():
    points = np.random.default_rng(0).normal(0, 5, (500, 3)).astype(np.float32)
    normals, said = swept_normals(points, np.array([0.0, 0.0, 1.8]))
    assert (np.einsum("pd,pd->p", normals, np.array([0.0, 0.0, 1.8]) - points) >= 0).all()
    assert said == ("no normals: estimated from the points, each towards the LiDAR",)


def test_the_cache_tells_real_scenes_of_other_normals_apart():
    points = np.zeros((3, 3), np.float32)
    up, down = (np.tile(np.float32([0, 0, z]), (3, 1)) for z in (1, -1))
    for provenance, same in (("real", False), ("mini", True)):
        first, second = (Scene("a", points, points, normals, provenance=provenance) for normals in (up, down))
        assert (fingerprint(first) == fingerprint(second)) == same


def test_a_real_room_looks_to_its_cameras(recordings: Path):
    """At points that a camera sees by its depth image, within 5 %; estimated without a side, 78 % do."""
    scene = load_scene(recordings / "scannet_real" / "scans" / "scene0000_00")
    assert scene.faces is None and "the cameras saw" in scene.as_read[1]
    share = agreement(scene.points, scene.normals, camera_places(scene.views))
    print(f"\n{share:.1%} of what the cameras see looks to them")
    assert share > 0.9
