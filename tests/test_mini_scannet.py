"""The annotation of a reconstructed room, and the data set written in ScanNet's layout."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData
from simple_room import simple_room

from geoguide.datasets.formats.sens import SensView
from geoguide.datasets.scannet import list_scenes, load_annotation_superpoints, load_scene
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import load_category_table, load_label_set
from geoguide.worlds.annotate import annotate, nearest_object
from geoguide.worlds.camera import Frame, SensorConfig
from geoguide.worlds.casting import NO_OBJECT
from geoguide.worlds.houses.make import make_mini_matterport3d
from geoguide.worlds.jobs import MANIFEST, scene_fingerprint
from geoguide.worlds.rooms import make as write
from geoguide.worlds.rooms import recordings
from geoguide.worlds.rooms.make import MiniConfig, make_mini_scannet
from geoguide.worlds.rooms.official import write_room
from geoguide.worlds.rooms.recipe import RoomRecipe
from geoguide.worlds.rooms.scan import scan_room

SMALL = MiniConfig(seed=3, voxel=0.08, sensor=SensorConfig(frames=10, image_size=(60, 80), focal=72.0))
FAULTY = dataclasses.replace(SMALL.sensor, frames=16)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return scan_room(simple_room(), 0, FAULTY)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two train rooms and one validation room."""
    root = tmp_path_factory.mktemp("mini") / "data"
    return make_mini_scannet(root, rooms=(2, 1, 0), config=SMALL, workers=1, progress=False)


# The annotation.


def test_nearest_object_equals_a_slow_search(rng: np.random.Generator):
    surface = rng.uniform(0, 1, (8, 10, 3)).astype(np.float32)
    owner = rng.integers(-1, 4, (8, 10))
    frame = Frame(None, None, owner, None, surface)
    queries = rng.uniform(-0.5, 1.5, (200, 3)).astype(np.float32)
    found = nearest_object(queries, [frame], reach=0.4)
    points, owners = surface[::2, ::2].reshape(-1, 3), owner[::2, ::2].reshape(-1)
    points, owners = points[owners >= 0], owners[owners >= 0]
    for query, answer in zip(queries, found, strict=True):
        distance = np.linalg.norm(points - query, axis=1)
        order = [index for index in np.argsort(distance)[:8] if distance[index] <= 0.4]
        votes = [int(owners[index]) for index in order]
        expected = max(votes, key=lambda vote: (votes.count(vote), -votes.index(vote))) if votes else NO_OBJECT
        assert answer == expected


def test_segments_take_the_majority(frames: list[Frame], data: Path):
    scene = load_scene(data / "scans" / "scene0000_00")
    annotation = annotate(scene.points, scene.faces, frames, reach=0.3)
    for segment in range(len(annotation.owner)):
        inside = annotation.truth[annotation.segment == segment].tolist()
        assert inside.count(annotation.owner[segment]) == max(map(inside.count, set(inside)))
    own = annotation.owner[annotation.segment] == annotation.truth
    assert annotation.purity == pytest.approx(own.mean())


# The files.


def test_the_official_layout(data: Path):
    names = ["scene0000_00", "scene0001_00", "scene5000_00"]
    assert sorted(path.name for path in (data / "scans").iterdir()) == names
    assert [folder.name for folder in list_scenes(data, "train")] == names[:2]
    assert (data / "scannetv2_test.txt").read_text() == ""
    assert load_category_table(data / "scannetv2-labels.combined.tsv").ids == load_category_table().ids
    folder = data / "scans" / names[0]
    official = {
        f"{names[0]}{end}" for end in ("_vh_clean_2.ply", "_vh_clean_2.labels.ply", ".aggregation.json", ".txt")
    }
    official |= {f"{names[0]}_vh_clean_2.0.010000.segs.json", "mini.json", "color", "depth", "pose", "intrinsic"}
    assert {path.name for path in folder.iterdir()} == official | {"label-filt", "instance-filt"}
    for kind, ending in (("color", "jpg"), ("depth", "png"), ("pose", "txt"), ("label-filt", "png")):
        assert sorted(path.name for path in (folder / kind).iterdir()) == sorted(f"{n}.{ending}" for n in range(10))
    vertex = PlyData.read(folder / f"{names[0]}_vh_clean_2.labels.ply")["vertex"]
    assert [item.name for item in vertex.properties] == ["x", "y", "z", "red", "green", "blue", "alpha", "label"]
    assert vertex["label"].dtype == np.uint16
    assert np.loadtxt(folder / "intrinsic" / "intrinsic_depth.txt").shape == (4, 4)
    assert "sceneType = " in (folder / f"{names[0]}.txt").read_text()


def test_labels_are_those_of_the_segments_objects(data: Path):
    table, classes = load_category_table(), load_label_set("scannet20")
    for folder in list_scenes(data, "train"):
        scene = load_scene(folder)
        assert scene.provenance == "mini"
        groups = json.loads((folder / f"{folder.name}.aggregation.json").read_text())["segGroups"]
        segments = json.loads((folder / f"{folder.name}_vh_clean_2.0.010000.segs.json").read_text())["segIndices"]
        category = {segment: group["label"] for group in groups for segment in group["segments"]}
        expected = [table.nyu40_of[table.ids[category[s]]] if s in category else 0 for s in segments]
        assert scene.labels.tolist() == classes.from_raw(np.array(expected)).tolist()
        superpoints = load_annotation_superpoints(folder)
        assert len(np.unique(np.stack([superpoints, scene.instances]), axis=1).T) == superpoints.max() + 1


def test_frames_agree_with_the_mesh(data: Path):
    """Vertices projected into a frame find the frame's depth, label and instance there."""
    scene = load_scene(data / "scans" / "scene0000_00")
    classes, table = load_label_set("scannet20"), load_category_table()
    depth_error, same_label, same_instance, seen = [], [], [], np.zeros(len(scene), bool)
    for view in scene.views:
        world_to_cam = np.linalg.inv(view.cam_to_world)
        local = scene.points @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]
        pixel = np.rint((local @ view.intrinsics.T)[:, :2] / local[:, 2:]).astype(int)
        inside = (local[:, 2] > 0.2) & ((pixel >= 0) & (pixel < view.image_size[::-1])).all(axis=1)
        index = np.flatnonzero(inside)
        row, col = pixel[index, 1], pixel[index, 0]
        error = view.depth()[row, col] - local[index, 2]
        index, row, col = (array[np.abs(error) < 0.1] for array in (index, row, col))
        seen[index] = True
        depth_error.append(np.abs(error[np.abs(error) < 0.1]))
        same_label.append(classes.from_raw(table.nyu40(view.labels()))[row, col] == scene.labels[index])
        same_instance.append(view.instances()[row, col] - 1 == scene.instances[index])
    assert np.median(np.concatenate(depth_error)) < 0.03
    assert np.mean(np.concatenate(same_label)) > 0.85
    assert np.mean(np.concatenate(same_instance)) > 0.8
    assert seen.mean() > 0.9


def test_the_same_bytes_for_any_worker_count(data: Path, tmp_path: Path):
    other = make_mini_scannet(tmp_path / "two", rooms=(2, 1, 0), config=SMALL, workers=2, progress=False)
    assert (other / MANIFEST).read_bytes() == (data / MANIFEST).read_bytes()
    for name, expected in json.loads((data / MANIFEST).read_text())["scenes"].items():
        assert scene_fingerprint(other / "scans" / name) == expected


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, dies_in_the_second):
    root, config = tmp_path / "data", dataclasses.replace(SMALL, sensor=dataclasses.replace(SMALL.sensor, frames=4))
    made = dies_in_the_second(write, "write_room")
    with pytest.raises(KeyboardInterrupt):
        make_mini_scannet(root, rooms=(2, 0, 0), config=config, workers=1, progress=False)
    assert [path.name for path in (root / "scans").iterdir()] == ["scene0000_00"]  # nothing half-written
    assert not (root / MANIFEST).exists()
    left = root / "scans" / ".making-scene0001_00-killed"
    (left / "color").mkdir(parents=True)  # as versions before 0.6 left it: without a lock
    os.utime(left, (0, 0))
    make_mini_scannet(root, rooms=(2, 0, 0), config=config, workers=1, progress=False)
    assert made == ["scene0000_00", "scene0001_00", "scene0001_00"]
    assert not left.exists()
    whole = make_mini_scannet(tmp_path / "whole", rooms=(2, 0, 0), config=config, workers=1, progress=False)
    assert (whole / MANIFEST).read_bytes() == (root / MANIFEST).read_bytes()


def test_a_complete_set_is_left_alone(data: Path):
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*")}
    assert make_mini_scannet(data, rooms=(2, 1, 0), config=SMALL, progress=False) == data
    assert {path: path.stat().st_mtime_ns for path in data.rglob("*")} == before


def held_by(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_another_world_is_refused_and_foreign_scenes_are_never_replaced(tmp_path: Path):
    sensor = dataclasses.replace(SMALL.sensor, frames=4)
    root = make_mini_scannet(tmp_path, rooms=(1, 0, 0), config=MiniConfig(1, 0.1, sensor), workers=1, progress=False)
    held = held_by(root)
    others = {
        "seed 1, asked for seed 2": MiniConfig(2, 0.1, sensor),
        "voxel 0.1, asked for voxel 0.11": MiniConfig(1, 0.11, sensor),
        "sensor.frames 4, asked for sensor.frames 5": MiniConfig(1, 0.1, dataclasses.replace(sensor, frames=5)),
        "contents.annotation none, asked for contents.annotation .segments.": MiniConfig(
            1, 0.1, sensor, RoomRecipe(clutter=2.0)
        ),
    }
    for said, other in others.items():
        for rooms in ((1, 0, 0), (2, 1, 0), (0, 0, 1)):  # of the last none is there: the manifest tells
            with pytest.raises(DataError, match=rf"{root}: holds data of {said}: .*delete it"):
                make_mini_scannet(tmp_path, rooms=rooms, config=other, workers=1, progress=False)
    with pytest.raises(DataError, match=rf"{root}: holds data of panoramas none, asked for panoramas 2: "):
        make_mini_matterport3d(root, houses=(1, 0, 0), seed=1, workers=1, progress=False)
    assert held_by(root) == held
    (root / MANIFEST).unlink()  # a set that was never finished
    with pytest.raises(DataError, match="seed 1, asked for seed 2"):
        make_mini_scannet(tmp_path, rooms=(1, 0, 0), config=MiniConfig(2, 0.1, sensor), workers=1, progress=False)
    (root / MANIFEST).write_bytes(held[root / MANIFEST])
    (root / "scans" / "scene0000_00" / "mini.json").unlink()  # now it could be anyone's
    with pytest.raises(DataError, match=r"scene0000_00: not a generated scene"):
        make_mini_scannet(tmp_path, rooms=(1, 0, 0), config=MiniConfig(1, 0.1, sensor), workers=1, progress=False)
    assert (root / "scans" / "scene0000_00" / "scene0000_00_vh_clean_2.ply").is_file()


def test_neither_edition_replaces_the_other(tmp_path: Path):
    for first, second in (("small", "large"), ("large", "small")):
        root = make_mini_scannet(tmp_path / first, rooms=(1, 0, 0), edition=first, workers=1, progress=False)
        held = held_by(root)
        with pytest.raises(DataError, match=rf"{root}: holds data of contents\.\S+ .*: choose another folder"):
            make_mini_scannet(root, rooms=(2, 1, 1), edition=second, workers=1, progress=False)
        assert held_by(root) == held


def test_scenes_of_another_generator_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = dataclasses.replace(SMALL, sensor=dataclasses.replace(SMALL.sensor, frames=4))
    root = make_mini_scannet(tmp_path, rooms=(1, 0, 0), config=config, workers=1, progress=False)
    monkeypatch.setattr(write._Room, "generator", 2)
    make_mini_scannet(tmp_path, rooms=(1, 0, 0), config=config, workers=1, progress=False)
    assert json.loads((root / MANIFEST).read_text())["generator"] == 2


def test_data_go_to_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "elsewhere"))
    config = dataclasses.replace(SMALL, sensor=dataclasses.replace(SMALL.sensor, frames=4))
    root = make_mini_scannet(rooms=(1, 0, 0), config=config, workers=1, progress=False)
    assert root == tmp_path / "elsewhere" / f"mini-scannet-seed{config.seed}" and (root / MANIFEST).is_file()


def test_bad_arguments(tmp_path: Path, frames: list[Frame]):
    for rooms in ((1, 2), (0, 0, 0), (-1, 1, 1), (5000, 1, 1)):
        with pytest.raises(InputError, match=r"rooms must be three counts"):
            make_mini_scannet(tmp_path, rooms=rooms)
    with pytest.raises(InputError, match=r"workers must be at least 1"):
        make_mini_scannet(tmp_path, rooms=(1, 0, 0), workers=0)
    room = dataclasses.replace(
        simple_room(), objects=(*simple_room().objects[:4], type(simple_room().objects[0])("ufo"))
    )
    with pytest.raises(ConfigError, match=r"categories not in ScanNet's table: ufo"):
        write_room(tmp_path / "scene", "scene", room, frames, FAULTY, 0.08, {})


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["manifest.json", "scannetv2_train.txt", "scans/scene0001_00/scene0001_00.txt"])
def test_nothing_is_made_among_the_files_of_others(tmp_path: Path, name: str) -> None:
    """Lists and manifest are written beside the rooms: they could replace a real ScanNet's, or another program's."""
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('{"name": "theirs"}')
    before = files(tmp_path)
    with pytest.raises(DataError, match="holds other files than generated scenes"):
        make_mini_scannet(tmp_path, rooms=(1, 0, 0), workers=1, progress=False)
    assert files(tmp_path) == before


# The recordings.


def stamps(root: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of writing of every file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_recordings_are_added_to_a_finished_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing else is touched; a killed run goes on with those that are missing; making again keeps all."""
    config = dataclasses.replace(SMALL, sensor=dataclasses.replace(SMALL.sensor, frames=4))
    root = make_mini_scannet(tmp_path / "data", rooms=(2, 1, 0), config=config, workers=1, progress=False)
    before, original = stamps(root), recordings.write_sens

    def dying(path: Path, *rest: object, **options: object) -> int:
        if path.stem == "scene0001_00":
            raise KeyboardInterrupt
        return original(path, *rest, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(recordings, "write_sens", dying)
        recordings.write_recordings(root, progress=False)
    one = stamps(root)
    assert one.keys() - before.keys() == {"scans/scene0000_00/scene0000_00.sens"}
    assert recordings.write_recordings(root, progress=False) == 2
    made = stamps(root)
    names = {f"scans/{name}/{name}.sens" for name in ("scene0000_00", "scene0001_00", "scene5000_00")}
    assert made.keys() - before.keys() == names and one.items() <= made.items()
    assert recordings.write_recordings(root, progress=False) == 0
    make_mini_scannet(root, rooms=(2, 1, 0), config=config, workers=1, progress=False)
    assert stamps(root) == made and made[MANIFEST] == before[MANIFEST]
    for name, fingerprint in json.loads(before[MANIFEST][0])["scenes"].items():
        assert scene_fingerprint(root / "scans" / name) == fingerprint


def test_a_recording_holds_what_the_images_hold(data: Path, tmp_path: Path):
    """A room read from its recording alone: the same views, of the same pixels."""
    root = tmp_path / "data"
    shutil.copytree(data, root)
    recordings.write_recordings(root, progress=False)
    scene, folder = load_scene(root / "scans" / "scene0000_00"), root / "scans" / "scene0000_00"
    for kind in ("color", "depth", "pose"):
        (folder / kind).rename(folder / f"{kind}-away")
    views = load_scene(folder).views
    assert len(views) == len(scene.views) == SMALL.sensor.frames
    assert all(isinstance(view, SensView) for view in views) and not any(isinstance(v, SensView) for v in scene.views)
    for ours, view in zip(scene.views, views, strict=True):
        kept = dataclasses.replace(
            ours,
            color_path=folder / "color-away" / ours.color_path.name,
            depth_path=folder / "depth-away" / ours.depth_path.name,
        )
        assert np.array_equal(view.color(), kept.color()) and np.array_equal(view.depth(), kept.depth())
        assert np.array_equal(view.labels(), kept.labels()) and np.array_equal(view.instances(), kept.instances())
        assert np.array_equal(view.intrinsics, kept.intrinsics)
        np.testing.assert_allclose(view.cam_to_world, kept.cam_to_world, atol=1e-6)


def test_recordings_need_a_complete_set(tmp_path: Path):
    with pytest.raises(DataError, match=r"manifest.json: "):
        recordings.write_recordings(tmp_path / "none", progress=False)
