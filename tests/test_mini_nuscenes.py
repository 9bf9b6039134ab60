"""mini-nuScenes: streets and their recording against brute force, and the data set in nuScenes' layout."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from streets import CLASS_OF, distance_to_triangles, street_of

from geoguide.cli import main
from geoguide.datasets.formats.nuscenes_tables import CAMERAS, Tables, list_samples, read_tables
from geoguide.datasets.nuscenes import list_scenes, load_sample
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import load_label_set
from geoguide.lifting import fuse
from geoguide.scene import VOID, Scene
from geoguide.teachers.simulated import SimulatedTeacher, SimulatedTeacherConfig
from geoguide.worlds.streets import make as write
from geoguide.worlds.streets.make import StreetConfig, _Street, make_mini_nuscenes
from geoguide.worlds.streets.official import PER_SCENE, STREETS_VERSION, category_ids
from geoguide.worlds.streets.scan import DriveConfig
from geoguide.worlds.streets.world import Street

SMALL = StreetConfig(seed=3, drive=DriveConfig(key_frames=2, turns=120, render_size=(90, 160)))
TINY = dataclasses.replace(SMALL, drive=DriveConfig(key_frames=1, turns=40, render_size=(9, 16)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two train scenes and one validation scene of two key frames."""
    root = tmp_path_factory.mktemp("mini") / "data"
    return make_mini_nuscenes(root, scenes=(2, 1, 0), config=SMALL, workers=1, progress=False)


@pytest.fixture(scope="module")
def tables(data: Path) -> Tables:
    return read_tables(data, STREETS_VERSION)


def records(root: Path, table: str) -> dict[str, dict]:
    return {record["token"]: record for record in json.loads((root / STREETS_VERSION / f"{table}.json").read_text())}


def files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def make(root: Path, scenes: tuple[int, int, int], config: StreetConfig = TINY, workers: int = 1) -> Path:
    return make_mini_nuscenes(root, scenes=scenes, config=config, workers=workers, progress=False)


# ---------------------------------------------------------------- the world and its recording


def key_frames(root: Path, tables: Tables) -> Iterator[tuple[Street, float, Scene]]:
    """Every key frame of the small set with its street and its time."""
    for name, split, number in (("scene-2000", "train", 0), ("scene-2001", "train", 1), ("scene-5000", "val", 0)):
        street = street_of(split, number, SMALL)
        for sample, time in zip(list_samples(tables, name), SMALL.drive.times, strict=True):
            yield street, float(time), load_sample(tables, sample, image_size=SMALL.drive.render_size)


def test_points_lie_on_what_they_are_labelled_as(data: Path, tables: Tables, rng: np.random.Generator):
    """Through the files: LiDAR frame -> car -> street, then to the nearest triangle of any object of the class."""
    for street, time, scene in list(key_frames(data, tables))[::2]:
        pose = street.ego_pose(time)
        points = scene.points.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]
        classes = CLASS_OF[category_ids(street)]  # [O + 1]
        for label in np.unique(scene.labels[scene.labels != VOID]):
            members = [item for item, c in zip(street.objects, classes, strict=False) if c == label]
            placed = [item.mesh.vertices @ item.pose(time)[:3, :3].T + item.pose(time)[:3, 3] for item in members]
            triangles = np.concatenate([v[item.mesh.faces] for v, item in zip(placed, members, strict=True)])
            chosen = rng.permutation(np.flatnonzero(scene.labels == label))[:12]
            low, high = points[chosen].min(axis=0) - 0.2, points[chosen].max(axis=0) + 0.2
            near = ((triangles.max(axis=1) > low) & (triangles.min(axis=1) < high)).all(axis=1)
            assert distance_to_triangles(points[chosen], triangles[near]).max() < 5 * SMALL.drive.range_noise
        assert 0 < (scene.labels == VOID).sum() < 0.02 * len(scene)  # false echoes


def test_points_and_images_agree(data: Path, tables: Tables):
    """Points projected into an image find their depth there, and then their class, but for pixels at edges."""
    agree, total, seen = 0, 0, 0
    for _, _, scene in key_frames(data, tables):
        for view in scene.views:
            world_to_cam = np.linalg.inv(view.cam_to_world)
            local = scene.points @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]
            ahead = np.flatnonzero(local[:, 2] > 1)
            pixel = np.rint((local[ahead] @ view.intrinsics.T)[:, :2] / local[ahead, 2:]).astype(int)
            inside = ((pixel >= 0) & (pixel < view.image_size[::-1])).all(axis=1)
            (col, row), index = pixel[inside].T, ahead[inside]
            depth = local[index, 2]
            visible = np.abs(view.depth()[row, col] - depth) < 0.1 * depth
            known = visible & (scene.labels[index] != VOID)
            found = load_label_set("nuscenes16").from_raw(view.labels()[row, col])
            agree += (found == scene.labels[index])[known].sum()
            total, seen = total + known.sum(), seen + len(index)
            assert view.instances().max() > 0 and (view.instances() > 0).sum() == (view.depth() > 0).sum()
    assert agree / total > 0.95 and total / seen > 0.85 and total > 2000


def test_the_simulated_teacher_reads_the_images(data: Path, tables: Tables):
    """Without faults its features, lifted with the true depth, are the points' classes, but for pixels at edges."""
    faultless = {f.name: 0.0 for f in dataclasses.fields(SimulatedTeacherConfig) if f.type is float}
    teacher = SimulatedTeacher(
        SimulatedTeacherConfig(**faultless), np.eye(16, dtype=np.float32), load_label_set("nuscenes16")
    )
    _, _, scene = next(key_frames(data, tables))
    lifted = fuse(scene.points, scene.views, teacher.features(scene), depth_tolerance=0.1, border=1)
    known = (lifted.count > 0) & (scene.labels != VOID)
    assert known.mean() > 0.5
    assert (lifted.mean.argmax(axis=1) == scene.labels)[known].mean() > 0.95


# ---------------------------------------------------------------- the files


def test_the_official_layout(data: Path, tables: Tables):
    assert list_scenes(tables, "train") == ("scene-2000", "scene-2001")
    with pytest.raises(DataError, match="test: expected at least one scene, found an empty split"):
        list_scenes(tables, "test")
    assert list_scenes(tables, "streets_val") == list_scenes(tables, "val") == ("scene-5000",)
    official = {*PER_SCENE, "sensor", "category", "attribute", "visibility", "map", "splits"}
    assert {path.stem for path in (data / STREETS_VERSION).iterdir()} == official
    top = {"lidarseg", "maps", "mini", "samples", STREETS_VERSION, "mini.json", "manifest.json"}
    assert {path.name for path in data.iterdir()} == top
    assert {path.name for path in (data / "samples").iterdir()} == {*CAMERAS, "LIDAR_TOP"}
    scene = load_sample(tables, list_samples(tables, "scene-2000")[0])
    assert scene.provenance == "mini" and scene.labels is not None and scene.intensity.max() > 20
    assert {view.image_size for view in scene.views} == {(900, 1600)}
    assert scene.views[0].color().shape == (900, 1600, 3) and scene.views[0].depth().shape == (900, 1600)
    label_files = {path.relative_to(data).as_posix() for path in data.glob(f"lidarseg/{STREETS_VERSION}/*.bin")}
    assert label_files == set(tables.label_files.values())  # the devkit counts them


def test_boxes_hold_their_points_and_move(data: Path):
    """num_lidar_pts is the number of points inside the box (a little enlarged), by the tables and files alone."""
    samples, poses, calibrations = (records(data, name) for name in ("sample", "ego_pose", "calibrated_sensor"))
    attributes = records(data, "attribute")
    frames = {r["sample_token"]: r for r in records(data, "sample_data").values() if "LIDAR_TOP" in r["filename"]}
    clouds = {}
    for sample, frame in frames.items():
        points = np.fromfile(data / frame["filename"], "<f4").reshape(-1, 5)[:, :3].astype(np.float64)
        for record in (calibrations[frame["calibrated_sensor_token"]], poses[frame["ego_pose_token"]]):
            points = points @ rotation(record["rotation"]).T + record["translation"]
        clouds[sample] = points
    annotations, moved = records(data, "sample_annotation"), 0
    for box in annotations.values():
        local = (clouds[box["sample_token"]] - box["translation"]) @ rotation(box["rotation"])
        width, length, height = box["size"]
        inside = (np.abs(local) < np.array([length, width, height]) / 2 + 5 * SMALL.drive.range_noise).all(axis=1)
        assert inside.sum() >= box["num_lidar_pts"] > 0
        if box["next"]:
            after = annotations[box["next"]]
            step = np.linalg.norm(np.subtract(after["translation"], box["translation"]))
            moving = [attributes[token]["name"].split(".")[1] for token in box["attribute_tokens"]] == ["moving"]
            times = [samples[item["sample_token"]]["timestamp"] for item in (box, after)]
            assert times[1] - times[0] == 500_000 and after["prev"] == box["token"]
            assert (step > 0.3) == moving or [attributes[t]["name"] for t in box["attribute_tokens"]] == [
                "cycle.with_rider"
            ]
            moved += moving
    assert moved > 3


def rotation(quaternion: list[float]) -> np.ndarray:
    w, x, y, z = quaternion
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def test_disk_per_key_frame(tmp_path: Path, capsys: pytest.CaptureFixture):
    """One scene with the default drive, by the command line; `data check` finds it sound, then broken."""
    root = str(tmp_path / "set")
    arguments = ["data", "make", root, "--dataset", "mini-nuscenes", "--scenes", "1", "0", "0", "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0 and "mini-nuScenes is complete in" in capsys.readouterr().out
    size = sum(len(content) for content in files(Path(root)).values())
    assert size / DriveConfig().key_frames < 1.1e6
    check = ["data", "check", root]
    with pytest.raises(SystemExit) as stop:
        main(check)
    assert stop.value.code == 0 and "4 of 4 scenes readable (mini)" in capsys.readouterr().out
    broken = next(Path(root).glob("samples/LIDAR_TOP/*"))
    broken.write_bytes(broken.read_bytes()[:-3])
    with pytest.raises(SystemExit) as stop:
        main(check)
    assert stop.value.code == 1 and str(broken) in capsys.readouterr().out


# ---------------------------------------------------------------- making them


def test_the_same_bytes_for_any_worker_count(tmp_path: Path):
    assert files(make(tmp_path / "one", (1, 1, 0))) == files(make(tmp_path / "two", (1, 1, 0), workers=2))


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, dies_in_the_second):
    root, whole = tmp_path / "data", make(tmp_path / "whole", (2, 0, 0))
    made = dies_in_the_second(write, "write_street")
    with pytest.raises(KeyboardInterrupt):
        make(root, (2, 0, 0))
    assert [path.name for path in (root / "mini").iterdir()] == ["scene-2000"] and not (root / STREETS_VERSION).exists()
    make(root, (2, 0, 0))
    assert made == ["scene-2000", "scene-2001", "scene-2001"]
    assert files(root) == files(whole)


def test_a_kill_while_files_move_leaves_the_scene_to_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, moved = make(tmp_path / "data", (1, 0, 0)), []
    before, replace = files(root), Path.replace

    def dies_at_the_third(path: Path, target: Path) -> Path:
        moved.append(target)
        if len(moved) == 3:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_Street, "generator", 0)  # an older version's: its scenes are made anew
        patch.setattr(Path, "replace", dies_at_the_third)
        make(root, (1, 0, 0))
    assert not (root / "mini" / "scene-2000").exists() and not (root / "manifest.json").exists()
    assert files(make(root, (1, 0, 0))) == before


def test_a_larger_set_goes_on_from_a_smaller_one_and_nothing_is_replaced(tmp_path: Path):
    root = make(tmp_path / "data", (1, 0, 0))
    make(root, (2, 1, 0))
    held, stamps = files(root), {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert held == files(make(tmp_path / "fresh", (2, 1, 0)))
    make(root, (2, 1, 0))
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == stamps  # a complete set is left alone
    longer = dataclasses.replace(TINY, drive=dataclasses.replace(TINY.drive, key_frames=2))
    with pytest.raises(
        DataError, match=rf"{root}: holds 2 generated scenes that are not asked for, first scene-2001: "
    ):
        make(root, (1, 0, 0))
    with pytest.raises(DataError, match=rf"{root}: holds data of drive.key_frames 1, asked for drive.key_frames 2: "):
        make(root, (2, 1, 0), longer)
    assert files(root) == held


def test_data_go_to_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "elsewhere"))
    root = make_mini_nuscenes(scenes=(1, 0, 0), config=TINY, workers=1, progress=False)
    assert root == tmp_path / "elsewhere" / f"mini-nuscenes-seed{TINY.seed}" and (root / "manifest.json").is_file()


def test_bad_arguments_and_foreign_folders(tmp_path: Path):
    for scenes in ((1, 2), (0, 0, 0), (-1, 1, 1), (5000, 1, 1)):
        with pytest.raises(InputError, match=r"scenes must be three counts"):
            make_mini_nuscenes(tmp_path, scenes=scenes)
    with pytest.raises(InputError, match=r"workers must be at least 1"):
        make_mini_nuscenes(tmp_path / "none", scenes=(1, 0, 0), workers=0)
    with pytest.raises(ConfigError, match=r"render_size must have the sides' ratio"):
        DriveConfig(render_size=(100, 100))
    for wrong in ({"key_frames": 9}, {"key_frames": 0}, {"key_frames": 4, "interval": 2.0}):
        with pytest.raises(ConfigError, match=r"key_frames must be at least 1 and all within 3.8 s"):
            DriveConfig(**wrong)
    (tmp_path / "real" / "v1.0-trainval").mkdir(parents=True)
    with pytest.raises(DataError, match=r"real: not a generated data set \(mini.json is missing\)"):
        make(tmp_path / "real", (1, 0, 0))
