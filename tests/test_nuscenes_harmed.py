"""Generated drives, harmed so that every file is whole and every field is of its kind: what cannot be so is told."""

import dataclasses
import itertools
import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoguide.datasets.check import nuscenes_drive
from geoguide.datasets.check.nuscenes import check_nuscenes
from geoguide.datasets.check.nuscenes_standing import Standing
from geoguide.datasets.check.openscene import check_openscene
from geoguide.datasets.check.report import Report
from geoguide.datasets.formats.nuscenes_lidar import read_lidar
from geoguide.datasets.formats.nuscenes_records import pose_matrix
from geoguide.datasets.formats.nuscenes_tables import CAMERAS, list_samples, read_tables
from geoguide.datasets.label_agreement import label_doubts
from geoguide.datasets.nuscenes import load_key_frame, load_sample
from geoguide.datasets.nuscenes_car import check_amid, street_place
from geoguide.datasets.openscene_layout import load_scene
from geoguide.datasets.scannet import load_scene as load_scan
from geoguide.errors import DataError
from geoguide.scene import VOID
from geoguide.worlds.streets.make import StreetConfig, make_mini_nuscenes
from geoguide.worlds.streets.official import STREETS_VERSION
from geoguide.worlds.streets.scan import DriveConfig

CONFIG = StreetConfig(seed=0, drive=DriveConfig(key_frames=4, turns=120, render_size=(9, 16)))
POSE = ("translation", "rotation")
Harming = Callable[[dict, dict], dict]
DRIVES = ("scene-2000", "scene-5000")
Harm = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives of four key frames."""
    root = tmp_path_factory.mktemp("mini") / "data"
    return make_mini_nuscenes(root, scenes=(1, 1, 0), config=CONFIG, workers=1, progress=False)


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A copy to harm."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


# ---------------------------------------------------------------- the LiDAR


def in_order(*columns: int) -> Harm:
    return lambda rows: rows[:, [*columns, 3, 4]]


def moved(*offset: float) -> Harm:
    return lambda rows: np.column_stack([rows[:, :3] + np.float32(offset), rows[:, 3:]])


def signed(*signs: int) -> Harm:
    return lambda rows: np.column_stack([rows[:, :3] * np.float32(signs), rows[:, 3:]])


def shuffled(rows: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permutation(rows)


COLUMNS_HARMED: list[tuple[Harm, str]] = [
    *((in_order(*order), "another order of columns") for order in itertools.permutations(range(3)) if order[2] != 2),
    (in_order(1, 0, 2), "turns counter-clockwise .* x and y exchanged"),
    (signed(1, 1, -1), "correlate by -1.00 .*: upside down"),
    (signed(1, -1, 1), "turns counter-clockwise .* mirrored"),
    (signed(-1, 1, 1), "turns counter-clockwise .* mirrored"),
    (moved(0, 0.944, 1.84), "coordinates of the car"),
    (lambda rows: np.column_stack([rows[:, :4], 31 - rows[:, 4]]), "correlate by -1.00"),
    (lambda rows: np.column_stack([shuffled(rows[:, :3]), rows[:, 3:]]), "ring and elevation correlate by"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "message"), COLUMNS_HARMED)
def test_points_that_no_laser_can_have_met_are_told(root: Path, harm: Harm, message: str):
    path = sorted(root.glob("samples/LIDAR_TOP/*"))[0]
    rows = np.fromfile(path, "<f4").reshape(-1, 5)
    harm(rows).astype("<f4").tofile(path)
    with pytest.raises(DataError, match=rf"{path.name}: columns 0..2 \(x, y, z\): expected x right.*{message}"):
        read_lidar(path)


@pytest.mark.parametrize("change", [shuffled, lambda rows: rows[::5], signed(-1, -1, 1)])
def test_what_lasers_can_have_met_is_read(root: Path, change: Harm):
    """Rows in another order, fewer of them, and a LiDAR mounted the other way round."""
    path = sorted(root.glob("samples/LIDAR_TOP/*"))[0]
    rows = change(np.fromfile(path, "<f4").reshape(-1, 5)).astype("<f4")
    rows.tofile(path)
    np.testing.assert_array_equal(read_lidar(path)[0], rows[:, :3])


def test_four_columns_whose_size_divides_by_five(root: Path):
    path = sorted(root.glob("samples/LIDAR_TOP/*"))[0]
    rows = np.fromfile(path, "<f4").reshape(-1, 5)
    np.ascontiguousarray(rows[: len(rows) // 5 * 5, :4]).tofile(path)
    with pytest.raises(DataError, match=r"column 4 \(ring\): expected whole numbers 0..31.*number of columns"):
        read_lidar(path)


# ---------------------------------------------------------------- labels


def problems(root: Path) -> list[str]:
    """What `data check` says, which decodes all images: seconds."""
    report = Report(str(root))
    check_nuscenes(root, report)
    return report.problems


def doubts(root: Path, drive: str) -> list[str]:
    """What it would say of a drive's labels and poses alone."""
    tables = read_tables(root, STREETS_VERSION)
    samples = list_samples(tables, drive)
    try:
        scenes = [load_sample(tables, sample) for sample in samples]
    except DataError as error:
        return [str(error)]
    told = [nuscenes_drive.label_doubts(sum(map(nuscenes_drive.ground_counts, scenes)))]
    standing = Standing()
    for sample, scene in zip(samples, scenes, strict=True):
        standing.add(scene, tables.pose("ego_pose", tables.frames[sample]["LIDAR_TOP"]["ego_pose_token"]))
    told += [nuscenes_drive.motion_doubts(tables, samples), standing.doubts(), *map(label_doubts, scenes)]
    return list(itertools.chain(*told))


def as_classes(raw: np.ndarray, class_of: np.ndarray) -> np.ndarray:
    """Labels as the challenge counts them: 1..16, 0 where ignored."""
    return np.where(class_of[raw] == VOID, 0, class_of[raw] + 1)


LABELS_HARMED: dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], str]] = {
    "classes": (as_classes, "labelled as ground .*or already classes"),
    "ids one too high": (lambda raw, _: (raw + 1) % 32, "of the ground around the car [01]% is drivable surface"),
    "ids one too low": (lambda raw, _: (raw - 1) % 32, "labelled as ground"),
    "late by one sweep's half": (lambda raw, _: np.roll(raw, len(raw) // 2), "of the ground around|lies in the air"),
    "modulo 25": (lambda raw, _: raw % 25, "cones and barriers around the car is above 3 m"),
    "reversed": (lambda raw, _: raw[::-1], "labelled as ground|lies in the air"),
}


def test_sound_drives_have_no_problem(sound: Path):
    assert problems(sound) == []


@pytest.mark.parametrize("name", LABELS_HARMED)
def test_labels_that_leave_the_ground_are_told_of_each_drive(root: Path, name: str):
    harm, message = LABELS_HARMED[name]
    class_of = read_tables(root, STREETS_VERSION).class_of
    for path in root.glob("lidarseg/*/*.bin"):
        harm(np.fromfile(path, np.uint8), class_of).astype(np.uint8).tofile(path)
    for drive in DRIVES:
        assert re.search(message, doubts(root, drive)[0])


def test_labels_in_another_order_than_the_points_are_told_of_each_key_frame(root: Path):
    path = sorted(root.glob("samples/LIDAR_TOP/scene-2000*"))[0]
    shuffled(np.fromfile(path, "<f4").reshape(-1, 5)).tofile(path)
    told = [text for text in doubts(root, "scene-2000") if "neighbouring points" in text]
    assert len(told) == 1 and "in another order than the points" in told[0]


def test_points_and_labels_in_another_order_together_are_right(root: Path):
    tables = read_tables(root, STREETS_VERSION)
    for frame in (frames["LIDAR_TOP"] for frames in tables.frames.values()):
        for file, kind, columns in ((frame["filename"], "<f4", 5), (tables.label_files[frame["token"]], np.uint8, 1)):
            shuffled(np.fromfile(root / file, kind).reshape(-1, columns)).tofile(root / file)
    assert [doubts(root, drive) for drive in DRIVES] == [[], []]


def test_labels_of_a_real_scan_are_of_its_points(recordings: Path, rng: np.random.Generator):
    scan = load_scan(recordings / "scannet_real/scans/scene0000_00", frame_skip=500)
    assert label_doubts(scan) == ()
    for labels in (rng.permutation(scan.labels), scan.labels[::-1]):
        (doubt,) = label_doubts(dataclasses.replace(scan, labels=labels))
        assert "in another order than the points" in doubt


# ---------------------------------------------------------------- poses, calibrations and names


def edit(root: Path, table: str, change: Callable[[list[dict]], object]) -> None:
    path = root / STREETS_VERSION / f"{table}.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


def inverted(record: dict, _: dict) -> dict:
    pose = np.linalg.inv(pose_matrix(record, Path("ego_pose.json")))
    w, x, y, z = record["rotation"]
    return {"translation": pose[:3, 3].tolist(), "rotation": [w, -x, -y, -z]}


def scalar_last(record: dict, _: dict) -> dict:
    w, x, y, z = record["rotation"]
    return {"rotation": [x, y, z, w]}


def backwards(_: dict, opposite: dict) -> dict:
    return {field: opposite[field] for field in POSE}


def harm_poses(root: Path, harm: Harming, drive: str) -> None:
    """Give each pose of a drive the fields that `harm` makes of it and of the pose as far from the drive's end."""
    chains: dict[str, list[tuple[int, str]]] = {}
    for record in json.loads(_table(root, "sample_data").read_text()):
        of, channel, _ = Path(record["filename"]).name.split("__")
        if of == drive:
            chains.setdefault(channel, []).append((record["timestamp"], record["ego_pose_token"]))

    def change(records: list[dict]) -> None:
        poses = {record["token"]: record for record in records}
        for chain in chains.values():
            tokens = [token for _, token in sorted(chain)]
            fields = [harm(poses[one], poses[other]) for one, other in zip(tokens, tokens[::-1], strict=True)]
            for token, new in zip(tokens, fields, strict=True):
                poses[token].update(new)

    edit(root, "ego_pose", change)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (inverted, "poses inverted|on the car in metres"),
        (scalar_last, "expected a car on its wheels|quaternions not w, x, y, z"),
        (backwards, r"drives forward by -1.00 of its way \(usual: 1.00\): are the poses inverted, in another order"),
        (
            lambda record, _: {"translation": [1000 * value for value in record["translation"]]},
            "on the car in metres|order or unit",
        ),
    ],
)
def test_poses_that_no_drive_has_are_told(root: Path, harm: Harming, message: str):
    for drive in DRIVES:
        harm_poses(root, harm, drive)
        assert re.search(message, doubts(root, drive)[0])


@pytest.mark.parametrize(
    "turn", [signed(-1, -1, 1), lambda rows: rows[:, [1, 0, 2, 3, 4]] * np.float32([1, -1, 1, 1, 1])]
)
def test_sweeps_that_are_turned_on_the_car_are_told(root: Path, turn: Harm):
    """By 180 and by 90 degrees, which no ring tells: what stands still moves to the wrong side."""
    for path in root.glob("samples/LIDAR_TOP/*"):
        turn(np.fromfile(path, "<f4").reshape(-1, 5)).astype("<f4").tofile(path)
    for drive in DRIVES:
        assert any(text.startswith("what stands still is") for text in doubts(root, drive))


def test_one_pose_for_a_whole_drive_is_told(root: Path):
    """Where enough stands beside the way: 24 of 35 drives."""
    first: dict[str, dict] = {}
    harm_poses(root, lambda record, _: {name: first.setdefault("", record)[name] for name in POSE}, "scene-2000")
    (doubt,) = doubts(root, "scene-2000")
    assert doubt.startswith("what stands still is")


def exchanged(root: Path, table: str, field: str, one: str, other: str, key: str) -> None:
    def change(records: list[dict]) -> None:
        a, b = ([record for record in records if record[key] == name] for name in (one, other))
        for first, second in zip(a, b, strict=True):
            first[field], second[field] = second[field], first[field]

    edit(root, table, change)


@pytest.mark.parametrize("other", [name for name in CAMERAS if name != "CAM_BACK"])
def test_intrinsics_exchanged_with_the_wide_camera_are_told(root: Path, other: str):
    sensors = {record["channel"]: record["token"] for record in json.loads(_table(root, "sensor").read_text())}
    exchanged(root, "calibrated_sensor", "camera_intrinsic", sensors["CAM_BACK"], sensors[other], "sensor_token")
    tables = read_tables(root, STREETS_VERSION)
    with pytest.warns(UserWarning, match=r"calibrated_sensor.json: scene-2000: expected CAM_.* to overlap, found"):
        load_sample(tables, list_samples(tables, "scene-2000")[0])


def test_a_real_key_frame_sees_all_around(recordings: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_key_frame(recordings / "nuscenes_sample")


def test_exchanged_names_of_scenes_are_told(root: Path):
    exchanged(root, "scene", "name", "scene-2000", "scene-5000", "name")
    with pytest.raises(DataError, match=r"field filename: expected a file of scene-\d000, the drive of scene scene-"):
        read_tables(root, STREETS_VERSION)


def test_data_check_names_each_fault(root: Path):
    """Labels of one drive, poses of the other, and a shuffled key frame: each in its line, with its file."""
    tables = read_tables(root, STREETS_VERSION)
    for sample in list_samples(tables, "scene-2000"):
        path = root / tables.label_files[tables.frames[sample]["LIDAR_TOP"]["token"]]
        as_classes(np.fromfile(path, np.uint8), tables.class_of).astype(np.uint8).tofile(path)
    harm_poses(root, backwards, "scene-5000")
    path = root / tables.label_files[tables.frames[list_samples(tables, "scene-5000")[0]]["LIDAR_TOP"]["token"]]
    shuffled(np.fromfile(path, np.uint8)).tofile(path)
    told = problems(root)
    drives = ("lidarseg.json: scene-2000: of the ground", "ego_pose.json: scene-5000: the car drives")
    for file in (*drives, "ego_pose.json: scene-5000: what stands still"):
        assert len([text for text in told if f"{STREETS_VERSION}/{file}" in text]) == 1
    assert len([text for text in told if "/scene-5000/" in text and ": neighbouring points" in text]) == 1
    assert len(told) == 4


def _table(root: Path, name: str) -> Path:
    return root / STREETS_VERSION / f"{name}.json"


# ---------------------------------------------------------------- as OpenScene publishes it


@pytest.fixture(scope="module")
def published(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first key frame of each drive in OpenScene's layout, turned as the street is."""
    root, tables = tmp_path_factory.mktemp("openscene"), read_tables(sound, STREETS_VERSION)
    for name in tables.scenes:
        sample = list_samples(tables, name)[0]
        scene = load_sample(tables, sample, image_size=(450, 800))
        to_world = tables.pose("ego_pose", tables.frames[sample]["LIDAR_TOP"]["ego_pose_token"])
        to_world[:3, 3] = place(name)
        points = scene.points @ to_world[:3, :3].T + to_world[:3, 3]
        path, home = root / "nuscenes_3d" / "val" / f"{name}.pth", root / "nuscenes_2d" / "val" / name
        for folder in (path.parent, *(home / kind for kind in ("color", "pose", "K"))):
            folder.mkdir(parents=True, exist_ok=True)
        torch.save((torch.from_numpy(points.astype(np.float32)), 0, torch.from_numpy(scene.labels)), path)
        for view in scene.views:
            camera, pose = view.name.removeprefix("CAM_").lower(), to_world @ view.cam_to_world
            Image.fromarray(view.color()).save(home / "color" / f"{camera}.jpg")
            np.save(home / "K" / f"{camera}.npy", view.intrinsics)
            np.save(home / "pose" / f"{camera}.npy", pose)
    return root


def place(scene: str) -> np.ndarray:
    """Where the car is: the drives are apart."""
    return np.array([60.0, -20.0, 0.0]) * (scene == "scene-5000")


def change_files(folder: Path, change: Callable[[np.ndarray, Path], np.ndarray]) -> None:
    new = {path: change(np.load(path), path) for path in sorted(folder.glob("*.npy"))}
    for path, value in new.items():
        np.save(path, value)


OPENSCENE_HARMED: dict[str, tuple[Callable[[np.ndarray, Path], np.ndarray], str]] = {
    "one pose for all": (lambda _, path: np.load(path.with_name("front.npy")), "expected back_left to look .*one pose"),
    "world to camera": (lambda pose, _: np.linalg.inv(pose), "expected .*world-to-camera"),
    "transposed rotation": (
        lambda pose, _: np.block([[pose[:3, :3].T, pose[:3, 3:]], [pose[3:]]]),
        "expected .* to look",
    ),
    "another scene": (
        lambda _, path: np.load(path.parents[2] / "scene-5000/pose" / path.name),
        "expected cameras where .*another scene",
    ),
    "left and right": (lambda _, path: np.load(path.with_name(_mirrored(path.name))), "expected .* to look"),
}


def _mirrored(name: str) -> str:
    return name.replace("left", "-").replace("right", "left").replace("-", "right")


def test_published_key_frames_are_read(published: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in published.glob("nuscenes_3d/val/*.pth"):
            assert len(load_scene(path).views) == 6


@pytest.mark.parametrize("name", OPENSCENE_HARMED)
def test_published_poses_that_no_car_has_are_told(published: Path, tmp_path: Path, name: str):
    harm, message = OPENSCENE_HARMED[name]
    root = Path(shutil.copytree(published, tmp_path / "data"))
    change_files(root / "nuscenes_2d/val/scene-2000/pose", harm)
    with pytest.raises(DataError, match=f"scene-2000/pose: {message}"):
        load_scene(root / "nuscenes_3d/val/scene-2000.pth")


def test_published_intrinsics_exchanged_are_told(published: Path, tmp_path: Path):
    root = Path(shutil.copytree(published, tmp_path / "data"))
    change = {"front.npy": "back.npy", "back.npy": "front.npy"}
    harm = lambda _, path: np.load(path.with_name(change.get(path.name, path.name)))  # noqa: E731
    change_files(root / "nuscenes_2d/val/scene-2000/K", harm)
    with pytest.warns(UserWarning, match="scene-2000/K: expected .* to overlap"):
        load_scene(root / "nuscenes_3d/val/scene-2000.pth")


PUBLISHED_HARMED: dict[str, tuple[Harm, Harm, str]] = {
    "as published": (lambda points: points, lambda labels: labels, ""),
    "void as a class": (lambda points: points, lambda labels: labels % 255, ""),  # which is said, and is no problem
    "ids one too low": (lambda points: points, lambda labels: (labels - 1) % 16, "of the ground around the car"),
    "another order": (lambda points: points, lambda labels: (labels + 5) % 16, "of the ground around the car"),
    "of the LiDAR": (
        lambda points: points - np.float32([0, 0, 1.84]),
        lambda labels: labels,
        "found 3.[234] m: points",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_HARMED)
def test_published_streets_whose_points_and_labels_no_sweep_has_are_told(published: Path, tmp_path: Path, name: str):
    root = Path(shutil.copytree(published, tmp_path / "data"))
    move, change, message = PUBLISHED_HARMED[name]
    for path in root.glob("nuscenes_3d/val/*.pth"):
        points, colors, labels = torch.load(path, weights_only=True)
        torch.save((torch.from_numpy(move(points.numpy())), colors, torch.from_numpy(change(labels.numpy()))), path)
    report = Report(str(root))
    check_openscene(root, report)
    assert [text for text in report.problems if not re.search(message or "$^", text)] == []
    assert bool(report.problems) == bool(message)
    void = name in ("as published", "of the LiDAR")
    assert any("is void (255 or -100)" in text for text in report.notes) != void


def test_a_real_sweep_shows_where_its_car_stands(recordings: Path):
    scene = load_key_frame(recordings / "nuscenes_sample")  # in the LiDAR's coordinates, 1.84 m above the ground
    assert np.abs(street_place(scene.points) - (0, 0, -1.84)).max() < 0.25
    check_amid(scene.points, scene.views, "here")
    with pytest.raises(DataError, match="expected cameras 1.5 m above the ground, found 3.4 m"):
        check_amid(scene.points - (0, 0, 1.84), scene.views, "here")


def test_published_points_in_another_order_are_told(published: Path, tmp_path: Path):
    root = Path(shutil.copytree(published, tmp_path / "data"))
    path = root / "nuscenes_3d/val/scene-2000.pth"
    points, colors, labels = torch.load(path, weights_only=True)
    assert label_doubts(load_scene(path)) == ()
    torch.save((points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))], colors, labels), path)
    (doubt,) = label_doubts(load_scene(path))
    assert "in another order than the points" in doubt
