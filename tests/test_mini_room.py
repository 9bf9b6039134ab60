"""The generator of furnished rooms: determinism, class frequencies, and physics checked on the mesh alone."""

from collections import Counter

import numpy as np
import pytest
import trimesh

from geoguide.errors import InputError
from geoguide.worlds.interior import FurnishedRoom
from geoguide.worlds.layout import collisions
from geoguide.worlds.palette import RAW_TO_NYU40
from geoguide.worlds.rooms.world import ROOM_TYPES, TYPE_SHARES, generate_room

BENCHMARK_IDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
SHELL = ("wall", "floor", "ceiling")
# Parts of one piece that press into each other on purpose, and flat hangings.
LOOSE = ("pillow", "curtain", "shower curtain", "blinds", "towel", "doorframe", "door", "window")


@pytest.fixture(scope="module")
def rooms() -> list[FurnishedRoom]:
    return [generate_room(seed) for seed in range(32)]


@pytest.fixture(scope="module")
def each_type() -> list[FurnishedRoom]:
    return [generate_room(seed, room_type) for room_type in ROOM_TYPES for seed in (101, 102)]


def test_same_seed_gives_the_same_bytes_and_another_seed_another_room():
    a, b, c = generate_room(7), generate_room(np.int64(7)), generate_room(8)
    for field in ("vertices", "faces", "face_color", "face_object", "outline", "obstacles"):
        assert getattr(a, field).tobytes() == getattr(b, field).tobytes()
    assert a.objects == b.objects and a.size == b.size and a.room_type == b.room_type
    assert a.vertices.tobytes() != c.vertices.tobytes()


def test_asking_for_the_drawn_type_changes_nothing():
    drawn = generate_room(3)
    assert generate_room(3, drawn.room_type).vertices.tobytes() == drawn.vertices.tobytes()


def test_all_twenty_classes_occur_in_long_tail_order(rooms, each_type):
    counts = Counter(RAW_TO_NYU40[o.category] for room in rooms + each_type for o in room.objects)
    assert all(counts[i] > 0 for i in BENCHMARK_IDS)
    wall, cabinet, chair, table, refrigerator, toilet, bathtub = (counts[i] for i in (1, 3, 5, 7, 24, 33, 36))
    assert wall > chair > cabinet > refrigerator and chair > table > toilet
    assert chair > 8 * bathtub
    assert sum(counts[i] for i in counts if i not in BENCHMARK_IDS) > 100  # clutter that is void


def test_raw_names_map_to_the_official_ids():
    official = {
        "trash can": 39, "radiator": 39, "ottoman": 39, "stool": 40, "monitor": 40, "armchair": 5, "doorframe": 8,
        "poster": 11, "mini fridge": 24, "bathroom vanity": 3, "end table": 7, "books": 23, "nightstand": 32,
    }  # fmt: skip
    assert {name: RAW_TO_NYU40[name] for name in official} == official
    assert set(BENCHMARK_IDS) <= set(RAW_TO_NYU40.values()) and set(RAW_TO_NYU40.values()) <= set(range(1, 41))


def test_room_types_hold_what_belongs_together(each_type):
    signature = {
        "bedroom": {"bed"}, "living room": {"couch"}, "kitchen": {"sink", "kitchen counter", "kitchen cabinet"},
        "bathroom": {"toilet", "sink"}, "office": {"desk"}, "meeting room": {"table"}, "studio": {"bed"},
    }  # fmt: skip
    assert set(signature) == set(ROOM_TYPES) and sum(TYPE_SHARES) == pytest.approx(1)
    for room in each_type:
        categories = {o.category for o in room.objects}
        assert signature[room.room_type] - categories <= {"table"} and categories >= {"wall", "floor", "door"}
        assert room.room_type == "bathroom" or not categories & {"toilet", "bathtub", "shower curtain"}
    meeting = [Counter(o.category for o in r.objects) for r in each_type if r.room_type == "meeting room"]
    assert all(3 <= c["chair"] + c["office chair"] <= 14 for c in meeting)


def test_shapes_dtypes_and_sizes(rooms):
    for room in rooms:
        assert room.vertices.dtype == np.float64 and room.faces.dtype == np.int64 == room.face_object.dtype
        assert room.face_color.dtype == np.uint8 and room.face_color.shape == room.faces.shape
        assert room.faces.min() >= 0 and room.faces.max() < len(room.vertices)
        assert (np.unique(room.face_object) == np.arange(len(room.objects))).all()
        assert 12 <= len(room.objects) <= 70
        assert min(room.size[:2]) >= 2.2 and max(room.size[:2]) <= 6.0 and 2.4 <= room.size[2] <= 2.8
        assert all(o.category in RAW_TO_NYU40 for o in room.objects)


def test_no_nan_and_no_degenerate_face(rooms):
    for room in rooms:
        assert np.isfinite(room.vertices).all()
        corner = room.vertices[room.faces]  # [F, 3, 3]
        area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 2
        assert area.min() > 1e-9


def test_every_object_lies_inside_the_room(rooms):
    for room in rooms:
        low, high = np.array([-0.13, -0.13, -1e-9]), np.add(room.size, [0.13, 0.13, 1e-9])
        assert (room.vertices >= low).all() and (room.vertices <= high).all()
        for index, item in enumerate(room.objects):
            points = room.vertices[np.unique(room.faces[room.face_object == index])]
            if item.category not in ("window", "door", "doorframe", "wall"):  # these sit in the wall
                assert (points[:, :2] >= -0.02).all() and (points[:, :2] <= np.array(room.size[:2]) + 0.02).all()


def test_floor_area_is_the_outlines_and_walls_stand_on_it(rooms):
    for room in rooms:
        floor = room.faces[room.face_object == 0]
        mesh = trimesh.Trimesh(room.vertices, floor, process=False)
        x, y = room.outline.T
        shoelace = 0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum()
        assert room.objects[0].category == "floor" and mesh.area == pytest.approx(shoelace)
        assert (mesh.face_normals[:, 2] > 0.99).all()
        assert sum(o.category == "wall" for o in room.objects) == len(room.outline)


def _depth(a: np.ndarray, b: np.ndarray) -> float:
    """Penetration of two convex polygons along their separating axes, 0 or less when apart."""
    depth = np.inf
    for polygon in (a, b):
        edge = np.roll(polygon, -1, axis=0) - polygon
        normal = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.linalg.norm(edge, axis=1, keepdims=True)
        pa, pb = normal @ a.T, normal @ b.T  # [n, points]
        depth = min(depth, (np.minimum(pa.max(1), pb.max(1)) - np.maximum(pa.min(1), pb.min(1))).min())
    return float(depth)


def _inside(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether points [N, 3] lie in closed surfaces [F, 3, 3]: the winding number, from the faces' solid angles."""
    a, b, c = (corners[None, :, k] - points[:, None] for k in range(3))  # [N, F, 3]
    la, lb, lc = (np.linalg.norm(v, axis=2) for v in (a, b, c))
    volume = (a * np.cross(b, c)).sum(axis=2)
    scale = la * lb * lc + (a * b).sum(2) * lc + (b * c).sum(2) * la + (c * a).sum(2) * lb
    return np.arctan2(volume, scale).sum(axis=1) / (2 * np.pi) > 0.5


def test_furniture_does_not_interpenetrate(each_type):
    """Points 1.5 cm below an object's surface lie in no other object."""
    rng = np.random.default_rng(0)
    for room in each_type:
        solid = np.array([o.category not in SHELL + LOOSE for o in room.objects])[room.face_object]
        owner, mesh = room.face_object[solid], trimesh.Trimesh(room.vertices, room.faces[solid], process=False)
        sample = rng.choice(len(owner), min(1000, len(owner)), replace=False)
        points, own = mesh.triangles_center[sample] - 0.015 * mesh.face_normals[sample], owner[sample]
        solids = {index: mesh.triangles[owner == index] for index in np.unique(owner)}
        kept = np.concatenate([np.flatnonzero(own == i)[_inside(points[own == i], solids[i])] for i in solids])
        assert len(kept) > 0.6 * len(sample)  # the oracle sees closed surfaces; parts under 1.5 cm are left out
        points, own = points[kept], own[kept]
        for index, corners in solids.items():
            near = (
                (own != index) & (points > corners.min(axis=(0, 1))).all(1) & (points < corners.max(axis=(0, 1))).all(1)
            )
            names = {room.objects[i].category for i in own[near][_inside(points[near], corners)]}
            assert not names, (room.seed, room.room_type, room.objects[index].category, names)


def test_surfaces_face_outwards(each_type):
    for room in each_type[::3]:
        for index, item in enumerate(room.objects):
            if item.category not in SHELL:
                mesh = trimesh.Trimesh(room.vertices, room.faces[room.face_object == index], process=False)
                assert mesh.volume > 0, item.category


def test_everything_rests_on_something(each_type):
    for room in each_type:
        order = np.argsort(room.face_object, kind="stable")
        points = room.vertices[room.faces[order]]  # [F, 3, 3]
        starts = np.searchsorted(room.face_object[order], np.arange(len(room.objects)))
        low = np.minimum.reduceat(points.min(axis=1), starts)  # [N, 3]
        high = np.maximum.reduceat(points.max(axis=1), starts)
        near = ((low[:, None] < high[None] + 0.02) & (low[None] < high[:, None] + 0.02)).all(axis=2)
        np.fill_diagonal(near, False)
        for index, item in enumerate(room.objects):
            assert near[index].any(), (room.seed, room.room_type, item.category)


def test_camera_stands_only_over_bare_floor(rooms, each_type):
    rng = np.random.default_rng(0)
    for room in [*rooms[:12], *each_type]:
        xy = rng.uniform(-0.5, 0.5 + np.array(room.size[:2]), (600, 2))
        free = room.camera_free(xy)
        assert free.shape == (600,) and free.dtype == bool and free.sum() > 5
        origins = np.column_stack([xy[free], np.full(free.sum(), 1.85)])
        mesh = trimesh.Trimesh(room.vertices, room.faces, process=False)
        hit = mesh.ray.intersects_first(origins, np.tile([0.0, 0, -1], (len(origins), 1)))
        assert {room.objects[i].category for i in room.face_object[hit]} == {"floor"} and (hit >= 0).all()


def test_colors_of_unlike_classes_overlap(rooms):
    colors: dict[int, list] = {}
    for room in rooms:
        for item in room.objects:
            colors.setdefault(RAW_TO_NYU40[item.category], []).append(item.color)
    cabinet, table = np.array(colors[3], float), np.array(colors[7], float)
    nearest = np.linalg.norm(cabinet[:, None] - table[None], axis=2).min(axis=1)
    assert (nearest < 40).mean() > 0.5


def test_instances_of_a_class_differ_in_shape(rooms):
    chairs = {
        (
            int((room.face_object == i).sum()),
            round(float(np.ptp(room.vertices[room.faces[room.face_object == i]][..., 2])), 2),
        )
        for room in rooms[:20]
        for i, item in enumerate(room.objects)
        if item.category in ("chair", "office chair", "armchair")
    }
    assert len(chairs) > 12


def test_box_overlap_agrees_with_the_polygon_test(rng):
    boxes = np.column_stack([
        rng.uniform(0, 3, (60, 2)), rng.uniform(0.1, 0.7, (60, 2)), rng.uniform(-4, 4, 60), np.zeros(60), np.ones(60),
    ])  # fmt: skip
    corners = []
    for cx, cy, hx, hy, yaw, _, _ in boxes:
        local = np.array([[hx, hy], [-hx, hy], [-hx, -hy], [hx, -hy]])
        corners.append(local @ np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]]) + [cx, cy])
    expected = np.array([[_depth(a, b) > 0 for b in corners] for a in corners])
    assert (collisions(boxes, boxes, slack=0.0) == expected).all() and 0.02 < expected.mean() < 0.9


@pytest.mark.parametrize("room_type", ["garage", "", "Bedroom"])
def test_unknown_room_type_names_the_known_ones(room_type):
    with pytest.raises(InputError, match=r"room_type must be one of bedroom, .*meeting room.*, found") as caught:
        generate_room(1, room_type)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True, None])
def test_bad_seed_is_refused(seed):
    with pytest.raises(InputError, match=r"seed must be an integer >= 0, found"):
        generate_room(seed)


def test_camera_free_refuses_other_shapes():
    with pytest.raises(InputError, match=r"xy must be \[K, 2\], found \[3\]"):
        generate_room(0).camera_free(np.zeros(3))
