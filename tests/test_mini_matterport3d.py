"""mini-Matterport3D: its vocabulary, its houses, and the data set as the official reader sees it."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from plyfile import PlyData
from scipy.spatial import cKDTree

from geoguide.datasets import matterport3d
from geoguide.datasets.formats.matterport_cameras import read_cameras
from geoguide.datasets.matterport3d import label_image_classes, list_houses, list_regions, load_region
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import load_label_set
from geoguide.lifting import project
from geoguide.scene import VOID, Scene
from geoguide.teachers.simulated import SimulatedTeacher, SimulatedTeacherConfig
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.houses import instance_counts, make_mini_matterport3d
from geoguide.worlds.houses import make as write
from geoguide.worlds.houses.make import HouseConfig
from geoguide.worlds.houses.world import generate_house
from geoguide.worlds.jobs import MANIFEST, scene_fingerprint
from geoguide.worlds.things.build import build_entry
from geoguide.worlds.things.fixtures import FAMILIES
from geoguide.worlds.things.vocabulary import EXTRA_ROOMS, PERIOD, VOCABULARY_TABLE, deal, load_vocabulary, room_types

SENSOR = SensorConfig(frames=9, image_size=(48, 64), focal=36.0, height_range=(1.4, 1.6), rotation_error=0.15)
TINY = HouseConfig(seed=1, regions=2, voxel=0.08, panoramas=1, sensor=SENSOR)
SETS = ("matterport21", "matterport40", "matterport80", "matterport160")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One train and one test house of two rooms each."""
    root = tmp_path_factory.mktemp("houses") / "data"
    return make_mini_matterport3d(root, houses=(1, 0, 1), config=TINY, workers=1, progress=False)


@pytest.fixture(scope="module")
def house(data: Path) -> Path:
    return list_houses(data, "train")[0]


@pytest.fixture(scope="module")
def scene(data: Path, house: Path) -> Scene:
    return load_region(house, 0, mapping=data / "category_mapping.tsv", labels="matterport160")


def test_the_vocabulary_covers_exactly_the_160_names():
    vocabulary = load_vocabulary()
    assert tuple(entry.name for entry in vocabulary) == load_label_set("matterport160").raw_names
    assert {entry.family for entry in vocabulary} == {*FAMILIES, "shell"}
    nyu40 = {entry.name: entry.nyu40 for entry in vocabulary}
    classes = load_label_set("matterport21")
    expected = dict(zip(classes.names, classes.raw_ids, strict=True))
    shared = {name for name in expected if name in nyu40}
    assert len(shared) >= 17 and all(nyu40[name] == expected[name] for name in shared)
    assert {*nyu40.values()} >= {*classes.raw_ids}


def test_a_table_of_other_names_is_refused(tmp_path: Path):
    rows = list(csv.reader(VOCABULARY_TABLE.open(newline="")))
    for damage in (rows[:-1], [*rows[:-1], ["ufo", *rows[-1][1:]]]):
        path = tmp_path / f"{len(damage)}-{damage[-1][0]}.csv"
        csv.writer(path.open("w", newline="")).writerows(damage)
        with pytest.raises(ConfigError, match=r"must hold the 160 names of matterport160 in their order"):
            load_vocabulary(path)
    path = tmp_path / "place.csv"
    path.write_text(VOCABULARY_TABLE.read_text().replace(",back,", ",underground,", 1))
    with pytest.raises(ConfigError, match=r"unknown underground"):
        load_vocabulary(path)


@pytest.mark.parametrize("start", [0, 4])
def test_six_houses_in_a_row_hold_every_name(start: int):
    counts = {entry.name: [] for entry in load_vocabulary() if entry.place != "shell"}
    for number in range(start, start + PERIOD):
        rooms = room_types(number, 5)
        dealt = deal(number, rooms, np.random.default_rng(number))
        assert all(any(entry.suits(room) for room in rooms) for entry in dealt)
        for name, found in counts.items():
            found.append(sum(entry.name == name for entry in dealt))
    total = np.array([sum(found) for found in counts.values()])
    assert total.min() >= 1
    thirds = [part.mean() for part in np.array_split(total, 3)]  # a long tail
    assert thirds[0] > 2 * thirds[1] and thirds[1] > 1.3 * thirds[2]


def test_every_name_keeps_to_its_row():
    """Sizes within the table's, on the floor or at its height, below the ceiling, as one object."""
    for entry in load_vocabulary():
        if entry.place == "shell":
            continue
        piece = build_entry(entry, np.random.default_rng(0), 2.5)
        low, high = piece.extent()
        vertices = np.concatenate([part for item in piece.items for part in item.vertices])
        assert [item.category for item in piece.items] == [entry.name]
        assert vertices.min(axis=0)[2] >= -1e-9 and vertices.max(axis=0)[2] <= 2.5
        assert (vertices >= low - 1e-6).all() and (vertices <= high + 1e-6).all(), entry.name
        allowed = np.array([entry.width[1], entry.depth[1], entry.height[1]]) + 0.2  # handles, spouts
        assert (high - low <= allowed).all(), entry.name


@pytest.mark.parametrize("number", range(len(EXTRA_ROOMS)))
def test_a_house_is_one_place_of_rooms_and_objects(number: int):
    house = generate_house(0, number)
    assert sorted(room.room_type for room in house.rooms) == sorted(room_types(number, 5))
    assert house.faces.max() == len(house.vertices) - 1 and house.face_object.max() == len(house.objects) - 1
    assert len(house.missing) <= 2
    names = {item.category for item in house.objects}
    assert {"wall", "door", "ceiling", "floor", "window", "door way"} <= names
    low = house.offsets[:, :2]
    high = low + np.array([room.size[:2] for room in house.rooms])
    for a in range(5):
        for b in range(a):  # no two rooms share floor
            assert (np.minimum(high[a], high[b]) <= np.maximum(low[a], low[b]) + 1e-9).any()
    again = generate_house(0, number)
    assert np.array_equal(again.vertices, house.vertices) and again.objects == house.objects


def test_every_doorway_is_open_on_both_sides():
    """A ray through the middle of each room's door ways meets a room behind: rays along the wall's normal go 0.5 m."""
    house = generate_house(0, 0)
    mesh = trimesh.Trimesh(house.vertices, house.faces, process=False)
    heights = np.array([0.3, 1.0, 1.7])
    frames = [number for number, item in enumerate(house.objects) if item.category == "door way"]
    free = 0
    for number in frames:
        box = house.vertices[house.faces[house.face_object == number].reshape(-1)]
        center, thin = (box.min(axis=0) + box.max(axis=0)) / 2, int(np.ptp(box[:, :2], axis=0).argmin())
        direction = np.zeros(3)
        direction[thin] = 1.0
        origins = np.column_stack([np.tile(center[:2], (3, 1)), heights]) - 0.25 * direction
        hit = mesh.ray.intersects_location(origins, np.tile(direction, (3, 1)), multiple_hits=False)[0]
        free += len(hit) == 0 or bool((np.abs(hit - origins[:1])[:, thin] > 0.5).all())
    assert free >= 6  # four ways of two frames each, of which an open leaf may stand before one; the rest are doors


# The files.


def test_the_official_layout(data: Path, house: Path):
    assert [path.name for path in list_houses(data, "test")] == ["house7000"]
    assert (data / "scenes_val.txt").read_text() == ""
    assert list_regions(house) == (0, 1)
    kinds = {"undistorted_color_images", "undistorted_depth_images", "undistorted_camera_parameters", "mini.json"}
    assert {path.name for path in house.iterdir()} == kinds | {
        "region_segmentations",
        "label_images",
        "instance_images",
    }
    assert {p.name for p in (house / "region_segmentations").iterdir()} == {
        f"region{number}.{kind}" for number in (0, 1) for kind in ("ply", "fsegs.json", "semseg.json")
    }
    face = PlyData.read(house / "region_segmentations" / "region0.ply")["face"]
    assert [item.name for item in face.properties] == ["vertex_indices", "material_id", "segment_id", "category_id"]
    cameras = read_cameras(house / "undistorted_camera_parameters" / "house0000.conf")
    assert len(cameras) == json.loads((house / "mini.json").read_text())["images"]
    assert {camera.color.rsplit("_", 2)[1] for camera in cameras} == {"i0", "i1", "i2"}
    for camera in cameras:
        tilt = np.rad2deg(np.arcsin(camera.cam_to_world[2, 2]))  # of the way it looks, z forward
        assert tilt == pytest.approx({"i0": 32, "i1": 0, "i2": -32}[camera.color.rsplit("_", 2)[1]], abs=2)


@pytest.mark.parametrize("labels", SETS)
def test_the_reader_maps_all_four_label_sets(data: Path, house: Path, labels: str):
    mapping = matterport3d.load_category_mapping(data / "category_mapping.tsv")
    table = mapping.classes(load_label_set(labels))
    known = {name: cls for name, cls in zip(mapping.nyu_class, table[mapping.index], strict=True)}
    found = load_region(house, 0, mapping=data / "category_mapping.tsv", labels=labels)
    assert found.provenance == "mini" and found.name == "house0000_region0"
    present = set(np.unique(found.labels).tolist()) - {VOID}
    assert present <= set(known.values()) and len(present) >= 8
    if labels == "matterport160":
        assert (found.labels != VOID).mean() > 0.9


def sampled(corners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random points [n, 3] on triangles [F, 3, 3], about 1 cm apart."""
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    face = rng.choice(len(area), 200 + int(5000 * area.sum()), p=area / area.sum())
    return (rng.dirichlet((1, 1, 1), len(face))[:, :, None] * corners[face]).sum(axis=1)


def test_points_lie_on_what_they_are_labelled_as(data: Path, house: Path, rng: np.random.Generator):
    """Distance of labelled vertices to the true surface of the objects of their name."""
    seeds = np.random.SeedSequence([TINY.seed, 0, 0]).generate_state(2)
    truth = generate_house(int(seeds[0]), 0, TINY.regions)
    category = np.array([item.category for item in truth.objects])
    names, distances = load_label_set("matterport160").names, []
    for region in list_regions(house):
        scene = load_region(house, region, mapping=data / "category_mapping.tsv", labels="matterport160")
        for label in np.setdiff1d(scene.labels, [VOID]):
            chosen = truth.faces[(category == names[label])[truth.face_object]]
            tree = cKDTree(sampled(truth.vertices[chosen], rng))
            distances.append(tree.query(scene.points[scene.labels == label][::7])[0])
    distance = np.concatenate(distances)
    assert np.median(distance) < 0.3 * TINY.voxel
    assert np.mean(distance < TINY.voxel) > 0.95
    assert distance.max() < 4 * TINY.voxel


def test_lifting_agrees_with_the_label_images(data: Path, scene: Scene):
    to_class = label_image_classes(data / "category_mapping.tsv", "matterport160")
    agree, seen = [], np.zeros(len(scene), bool)
    for view in scene.views:
        depth = view.depth()
        seen_by = project(
            scene.points,
            view.intrinsics,
            view.cam_to_world,
            view.image_size,
            depth=depth,
            depth_tolerance=0.05,
            border=2,
        )
        row, col = seen_by.row[seen_by.visible], seen_by.col[seen_by.visible]
        agree.append(to_class(view.labels())[row, col] == scene.labels[np.asarray(seen_by.visible)])
        seen |= np.asarray(seen_by.visible)
    assert np.concatenate(agree).mean() > 0.85
    assert seen.mean() > 0.8
    assert len(np.unique(view.instances())) > 1


def test_the_simulated_teacher_reads_the_views(data: Path, scene: Scene):
    labels = load_label_set("matterport160")
    text = np.random.default_rng(0).standard_normal((160, 32)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    none = {"confusion": 0.0, "bleeding": 0.0, "partial_view": 0.0, "drift": 0.0, "pixel_noise": 0.0}
    to_class = label_image_classes(data / "category_mapping.tsv", labels.name)
    teacher = SimulatedTeacher(SimulatedTeacherConfig(**none), text, labels, to_class=to_class)
    features = next(iter(teacher.features(scene)))
    expected = to_class(scene.views[0].labels())
    known = expected != VOID
    assert ((features @ text.T).argmax(axis=-1)[known] == expected[known]).mean() > 0.99


# The making of it.


def test_the_same_bytes_for_any_worker_count(data: Path, tmp_path: Path):
    other = make_mini_matterport3d(tmp_path / "two", houses=(1, 0, 1), config=TINY, workers=2, progress=False)
    assert (other / MANIFEST).read_bytes() == (data / MANIFEST).read_bytes()
    for name, expected in json.loads((data / MANIFEST).read_text())["scenes"].items():
        assert scene_fingerprint(other / "v1" / "scans" / name) == expected
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert make_mini_matterport3d(data, houses=(1, 0, 1), config=TINY, progress=False) == data  # left alone
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, data: Path, dies_in_the_second):
    made = dies_in_the_second(write, "write_house")
    with pytest.raises(KeyboardInterrupt):
        make_mini_matterport3d(tmp_path, houses=(1, 0, 1), config=TINY, workers=1, progress=False)
    assert [path.name for path in (tmp_path / "v1" / "scans").iterdir()] == ["house0000"]  # nothing half-written
    assert not (tmp_path / MANIFEST).exists()
    make_mini_matterport3d(tmp_path, houses=(1, 0, 1), config=TINY, workers=1, progress=False)
    assert made == ["house0000", "house7000", "house7000"]
    assert (tmp_path / MANIFEST).read_bytes() == (data / MANIFEST).read_bytes()
    make_mini_matterport3d(tmp_path, houses=(2, 0, 1), config=TINY, workers=1, progress=False)  # grows as asked for
    (tmp_path / "v1" / "scans" / "house0000" / "mini.json").unlink()  # now it could be anyone's
    with pytest.raises(DataError, match=r"house0000: not a generated scene"):
        make_mini_matterport3d(tmp_path, houses=(1, 0, 1), config=TINY, workers=1, progress=False)
    assert (tmp_path / "v1" / "scans" / "house0000" / "region_segmentations" / "region0.ply").is_file()


def test_instance_counts(data: Path, house: Path):
    counts = instance_counts(data, "train")
    assert tuple(counts) == load_label_set("matterport160").raw_names
    assert counts == {name: json.loads((house / "mini.json").read_text())["instances"].get(name, 0) for name in counts}
    groups = json.loads((house / "region_segmentations" / "region0.semseg.json").read_text())["segGroups"]
    assert {group["label"] for group in groups} <= {name for name, count in counts.items() if count}


def test_data_go_to_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "elsewhere"))
    root = make_mini_matterport3d(houses=(1, 0, 0), config=TINY, workers=1, progress=False)
    assert root == tmp_path / "elsewhere" / f"mini-matterport3d-seed{TINY.seed}" and (root / MANIFEST).is_file()


def test_bad_arguments(tmp_path: Path):
    for houses in ((1, 2), (0, 0, 0), (-1, 1, 1), (5000, 1, 1)):
        with pytest.raises(InputError, match=r"houses must be three counts"):
            make_mini_matterport3d(tmp_path, houses=houses)
    with pytest.raises(InputError, match=r"workers must be at least 1"):
        make_mini_matterport3d(tmp_path, houses=(1, 0, 0), workers=0)
    for arguments in ((-1, 0, 5), (0, -1, 5), (0, 0, 1), (0, 0, 6)):
        with pytest.raises(InputError, match=r"need seed, number >= 0 and 2..5 regions"):
            generate_house(*arguments)
    with pytest.raises(ConfigError, match=r"sensor.frames a multiple of 3"):
        HouseConfig(sensor=dataclasses.replace(SENSOR, frames=8))
