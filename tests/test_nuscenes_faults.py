"""Every way to break a nuScenes folder gives one line: file, field, what was expected and what was found."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from decisions import decided
from PIL import Image
from tiny_nuscenes import INTRINSICS, POINTS, SCENE, VERSION, edit_table, write_dataset, write_json, write_key_frame

from geoguide.datasets.formats.nuscenes_tables import list_samples, read_tables
from geoguide.datasets.nuscenes import load_key_frame, load_sample
from geoguide.errors import DataError

LIDAR_FILE = "samples/LIDAR_TOP/a-LIDAR_TOP.pcd.bin"
HALF = (np.array(INTRINSICS) * [[0.5], [0.5], [1]]).tolist()  # as if for images of half the size
LABEL_FILE = f"lidarseg/{VERSION}/a-LIDAR_TOP_lidarseg.bin"


@pytest.fixture
def root(tmp_path: Path, rng: np.random.Generator) -> Path:
    return write_dataset(tmp_path, rng)


@pytest.fixture
def key_frame(tmp_path: Path, rng: np.random.Generator) -> Path:
    return write_key_frame(tmp_path / "frame", rng)


def drop(field: str) -> Callable[[list[dict]], object]:
    return lambda records: records[0].pop(field)


def put(number: int, field: str, value: object) -> Callable[[list[dict]], object]:
    return lambda records: records[number].update({field: value})


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("scene", list.clear, "scene.json: expected a list of records, found an empty list"),
        ("sample", drop("next"), "sample.json: record 0: field next: expected a value, found none"),
        ("sample", put(1, "next", "a"), "sample.json: field next: expected sample 'a' once, found it twice"),
        ("sample", put(1, "next", "c"), "sample.json: field next: expected sample 'c' once, found no such record"),
        ("sample", put(0, "next", ""), "field nbr_samples: expected 2 samples, found a chain of 1"),
        ("sample", put(0, "scene_token", "other"), "record a: field scene_token: expected .*, found 'other'"),
        ("sample_data", lambda records: records.pop(1), "sample a: expected a key frame .* found none of LIDAR_TOP"),
        (
            "sample_data",
            put(1, "filename", None),
            "sample_data.json: record 1: field filename: expected text, found None",
        ),
        (
            "sample_data",
            put(1, "calibrated_sensor_token", "x"),
            "field calibrated_sensor_token: expected .*, found 'x'",
        ),
        ("sample_data", put(1, "ego_pose_token", "x"), "ego_pose.json: expected a record with token 'x', found none"),
        ("sample_data", put(3, "width", 161), r"a-CAM_FRONT.jpg: expected 161 x 90 pixels .* found 160 x 90"),
        ("ego_pose", put(0, "rotation", [1, 0, 0]), "record e-a-LIDAR_TOP: field rotation: expected 4 numbers"),
        ("ego_pose", put(0, "rotation", [1, 0, 0, 1]), "field rotation: expected a quaternion of length 1"),
        ("ego_pose", put(0, "translation", ["a", "b", "c"]), "field translation: expected 3 numbers"),
        (
            "ego_pose",
            put(0, "translation", [0, float("inf"), 0]),
            "expected a finite pose of LIDAR_TOP, found nan or inf",
        ),
        (
            "calibrated_sensor",
            put(0, "camera_intrinsic", []),
            r"k-CAM_FRONT: field camera_intrinsic: expected \[3, 3\]",
        ),
        (
            "calibrated_sensor",
            put(0, "camera_intrinsic", HALF),
            r"a-CAM_FRONT.jpg: image is \[90, 160\] .* calibrated_sensor.json hold for about \[50, 83\]",
        ),
        ("calibrated_sensor", put(0, "camera_intrinsic", [[0] * 3] * 3), "positive focal lengths"),
        ("lidarseg", lambda records: records.pop(0), "field sample_data_token: expected 'a-LIDAR_TOP', found none"),
        ("category", drop("index"), "category.json: record 0: field index: expected a value, found none"),
        ("category", put(3, "index", 300), r"record c3: field index: expected a whole number 0..255, found 300"),
        ("category", put(3, "name", "horse"), "field name: expected one of the 32 lidarseg categories, found 'horse'"),
        (
            "category",
            list.pop,
            r"label of point 31: expected one of the 31 indices of category.json \(0..30\), found 31",
        ),
    ],
)
def test_broken_tables_are_named(root: Path, table: str, change: Callable[[list[dict]], object], message: str):
    edit_table(root, table, change)
    with pytest.raises(DataError, match=message):
        tables = read_tables(root, VERSION)
        load_sample(tables, "a")
        list_samples(tables, SCENE)


def truncate(size: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[:-size])


def four_columns(path: Path) -> None:
    np.fromfile(path, "<f4").reshape(-1, 5)[:, :4].copy().tofile(path)


def with_nan(column: int) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        rows = np.fromfile(path, "<f4").reshape(-1, 5)
        rows[7, column] = np.nan
        rows.tofile(path)

    return damage


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (f"{VERSION}/sample_data.json", Path.unlink, "sample_data.json: table not found"),
        (f"{VERSION}/ego_pose.json", truncate(9), "ego_pose.json: not valid json, truncated?"),
        (LIDAR_FILE, Path.unlink, "LIDAR_TOP.pcd.bin: LiDAR file not found"),
        (LIDAR_FILE, truncate(6), r"pcd.bin: expected rows of 5 float32 .* found 5994 bytes: truncated, or another"),
        (LIDAR_FILE, lambda path: path.write_bytes(b""), r"pcd.bin: expected rows of 5 float32 .* found 0 bytes"),
        (
            LIDAR_FILE,
            four_columns,
            r"column 4 \(ring\): expected whole numbers 0..31, found .*: another number of columns?",
        ),
        (LIDAR_FILE, lambda path: np.fromfile(path, "<f4").astype("<f8").tofile(path), r"NaN or inf|column 4 \(ring\)"),
        (LIDAR_FILE, with_nan(1), r"columns 0..2 \(x, y, z\) holds NaN or inf in 1 of 300 rows"),
        (LIDAR_FILE, with_nan(3), r"column 3 \(intensity\): expected finite numbers, found nan or inf"),
        (LABEL_FILE, Path.unlink, "lidarseg.bin: lidarseg labels not found"),
        (LABEL_FILE, lambda path: np.fromfile(path, "u1").astype("<u2").tofile(path), "of one byte, .* found 600"),
        (LABEL_FILE, truncate(2), "expected 300 labels of one byte, one for each point, found 298: truncated?"),
        (
            LABEL_FILE,
            lambda path: np.full(POINTS, 77, np.uint8).tofile(path),
            r"label of point 0: expected .*, found 77",
        ),
        ("samples/CAM_BACK/a-CAM_BACK.jpg", Path.unlink, "image of CAM_BACK not found"),
        ("samples/CAM_BACK/a-CAM_BACK.jpg", lambda path: path.write_bytes(b"x"), "not a readable image"),
        (
            "samples/CAM_BACK/a-CAM_BACK.jpg",
            lambda path: Image.new("RGB", (80, 45)).save(path),
            r"a-CAM_BACK.jpg: expected 160 x 90 pixels as sample_data.json says .* found 80 x 45",
        ),
    ],
)
def test_broken_files_are_named(root: Path, file: str, damage: Callable[[Path], object], message: str):
    damage(root / file)
    with pytest.raises(DataError, match=message):
        load_sample(read_tables(root, VERSION), "a")


def test_what_is_not_there(root: Path):
    with pytest.raises(DataError, match=r"tables of v1.0-test not found or not a folder"):
        read_tables(root, "v1.0-test")
    with pytest.raises(DataError, match=r"sample.json: field token: expected 'z', found none of that token"):
        load_sample(read_tables(root, VERSION), "z")


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("lidar", "columns"), ["x", "y", "z", "intensity"], "field lidar: expected 5 columns of float32"),
        (("lidar", "dtype"), "float64", "field lidar: expected 5 columns of float32, found .* of float64"),
        (("lidar", "file"), "other.bin", "other.bin: LiDAR file not found"),
        (("lidar", "file"), None, "field lidar.file: expected text, found None"),
        (("cameras",), {}, "field cameras: expected at least one camera"),
        (("cameras", "CAM_FRONT"), {}, "field cameras.CAM_FRONT.file: expected a value, found none"),
        (("cameras", "CAM_FRONT", "width"), 1600, "front.png: expected 1600 x 90 pixels as calibration.json says"),
        (
            ("cameras", "CAM_FRONT", "intrinsics"),
            HALF,
            r"front.png: image is \[90, 160\] .* calibration.json hold for about",
        ),
        (("cameras", "CAM_FRONT", "intrinsics"), [1, 2], r"CAM_FRONT.intrinsics: expected \[3, 3\], found \[2\]"),
        (("cameras", "CAM_FRONT", "lidar_to_camera"), [[1]], r"lidar_to_camera: expected \[4, 4\], found \[1, 1\]"),
        (
            ("cameras", "CAM_FRONT", "lidar_to_camera"),
            [[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]],
            r"field cameras.CAM_FRONT.lidar_to_camera: .* must be a rotation, found one scaled by 2",
        ),
        (
            ("cameras", "CAM_FRONT", "lidar_to_camera"),
            [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 2, 3, 1]],
            r"field cameras.CAM_FRONT.lidar_to_camera: .* row 0 0 0 1, found 1 2 3 1: a transposed pose\?",
        ),
    ],
)
def test_broken_calibrations_are_named(key_frame: Path, keys: tuple[str, ...], value: object, message: str):
    path = key_frame / "calibration.json"
    calibration = part = json.loads(path.read_text())
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = value
    write_json(path, calibration)
    with pytest.raises(DataError, match=message):
        load_key_frame(key_frame)


def test_a_camera_without_calibration_is_lost_and_said(key_frame: Path):
    path = key_frame / "calibration.json"
    calibration = json.loads(path.read_text())
    calibration["cameras"]["CAM_FRONT"]["lidar_to_camera"] = [[0] * 4] * 4
    write_json(path, calibration)
    scene = load_key_frame(key_frame)
    assert [view.name for view in scene.views if not view.has_pose] == ["CAM_FRONT"]
    (sentence,) = decided(scene)
    assert "frames are left out, their pose is lost (not finite or zero): CAM_FRONT" in sentence


@pytest.mark.parametrize("harm", [np.transpose, lambda pose: np.diag([1, -1, -1, 1]) @ pose])
def test_calibrations_of_another_convention_are_spoken_of(key_frame: Path, harm: Callable[[np.ndarray], np.ndarray]):
    """Inverse (the camera stands at the LiDAR) and OpenGL's axes."""
    path = key_frame / "calibration.json"
    calibration = json.loads(path.read_text())
    assert decided(load_key_frame(key_frame)) == ()
    for camera in calibration["cameras"].values():
        pose = np.array(camera["lidar_to_camera"], dtype=float)
        pose[:3, 3] = 0
        camera["lidar_to_camera"] = harm(pose).tolist()
    write_json(path, calibration)
    (sentence,) = decided(load_key_frame(key_frame))
    assert sentence.startswith("cameras look upside down: is lidar_to_camera given as camera to LiDAR")


def _of(records: list[dict], token: str) -> dict:
    return next(record for record in records if record["token"] == token)


def _exchange(records: list[dict], one: str, other: str, *fields: str) -> None:
    a, b = _of(records, one), _of(records, other)
    for field in fields:
        a[field], b[field] = b[field], a[field]


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("sample_data", lambda rows: _exchange(rows, "a-CAM_FRONT", "a-CAM_BACK", "filename"),
         "field filename: expected a file of CAM_FRONT"),
        ("sample_data", lambda rows: _exchange(rows, "a-CAM_FRONT", "a-CAM_BACK", "calibrated_sensor_token"),
         "field filename: expected a file of CAM_BACK"),
        ("sample_data", lambda rows: _exchange(rows, "a-CAM_FRONT", "b-CAM_FRONT", "ego_pose_token"),
         "field ego_pose_token: expected one of its timestamp"),
        ("sample_data", lambda rows: _exchange(rows, "a-CAM_FRONT", "b-CAM_FRONT", "sample_token"),
         "field sample_token: expected one of its timestamp"),
        ("sensor", lambda rows: _exchange(rows, "s-CAM_FRONT", "s-CAM_BACK", "channel"),
         "field filename: expected a file"),
        ("sensor", lambda rows: rows.append(dict(rows[0])), "expected 9 different values, found 8: 's-CAM_FRONT' 2"),
        ("lidarseg", lambda rows: _exchange(rows, "a-LIDAR_TOP", "b-LIDAR_TOP", "filename"),
         "lidarseg.json: field filename: expected a-LIDAR_TOP_lidarseg.bin"),
        ("lidarseg", lambda rows: rows.append(dict(rows[0])), "field sample_data_token: expected 3 different values"),
        ("category", lambda rows: [row.update(index=(row["index"] + 1) % 32) for row in rows],
         "field index: expected 2, as nuScenes numbers human.pedestrian.adult, found 3"),
        ("category", lambda rows: _exchange(rows, "c17", "c23", "index"),
         "field index: expected 17, as nuScenes numbers vehicle.car, found 23"),
        ("category", lambda rows: rows[1].update(index=0),
         "field index: expected a number that no other category has"),
        ("sample", lambda rows: rows[1].update(scene_token="other"),
         "field scene_token: expected 'scene' of scene-0103"),
        ("sample", lambda rows: rows[1].update(timestamp=-1), "field sample_token: expected one of its timestamp"),
    ],
)  # fmt: skip
def test_what_is_of_another_moment_or_sensor_is_told(root: Path, table: str, change, message: str):
    edit_table(root, table, change)
    with pytest.raises(DataError, match=message):
        tables = read_tables(root, VERSION)
        list_samples(tables, SCENE)


def _name_files(root: Path, drive: str) -> None:
    def rename(rows: list[dict]) -> None:
        for row in rows:
            folder, name = row["filename"].rsplit("/", 1)
            row["filename"] = f"{folder}/{drive}__{name}"

    edit_table(root, "sample_data", rename)


@pytest.mark.parametrize("drive", ["n008-2018-08-01-15-16-36-0400", SCENE])
def test_files_of_another_drive_are_told(root: Path, drive: str):
    """By the scene's log; in generated data, where files are named by scenes, by the scene's name."""
    edit_table(root, "log", lambda rows: rows[0].update(logfile="n008-2018-08-01-15-16-36-0400"))
    _name_files(root, drive)
    assert read_tables(root, VERSION).scenes.keys() == {SCENE}
    edit_table(root, "log", lambda rows: rows[0].update(logfile="n015-2018-07-24-11-22-45+0800"))
    edit_table(root, "scene", lambda rows: rows[0].update(name="scene-0061"))
    with pytest.raises(DataError, match=r"field filename: expected a file of .*, the drive of scene scene-0061, found"):
        read_tables(root, VERSION)


def test_tables_of_other_versions_number_categories_as_they_like(root: Path):
    edit_table(root, "category", lambda rows: [row.update(index=31 - row["index"]) for row in rows])
    (root / VERSION).rename(root / "v1.0-own")
    assert read_tables(root, "v1.0-own").class_of[31 - 17] == 3  # a car


def test_samples_that_a_chain_leaves_out_are_told(root: Path):
    edit_table(root, "sample", lambda rows: rows[0].update(next=""))
    edit_table(root, "scene", lambda rows: rows[0].update(nbr_samples=1))
    with pytest.raises(DataError, match="expected a chain of all 2 samples of scene-0103, found one of 1"):
        list_samples(read_tables(root, VERSION), SCENE)


def test_a_chain_that_runs_backwards_is_told(root: Path):
    edit_table(root, "sample", lambda rows: _exchange(rows, "a", "b", "next"))
    edit_table(root, "scene", lambda rows: rows[0].update(first_sample_token="b"))
    edit_table(root, "sample", lambda rows: _of(rows, "b").update(next="a"))
    with pytest.raises(DataError, match="field timestamp: expected a time after"):
        list_samples(read_tables(root, VERSION), SCENE)


@pytest.mark.parametrize(
    ("token", "values", "message"),
    [
        ("k-LIDAR_TOP", {"translation": [940.0, 0, 1840]}, "expected LIDAR_TOP on the car in metres, found it 2066 m"),
        ("k-LIDAR_TOP", {"rotation": [0.0, 1, 0, 0]}, "expected LIDAR_TOP upright.*tilted by 180 degrees"),
        ("k-CAM_FRONT", {"translation": [1500.0, 0, 1500]}, "expected CAM_FRONT on the car in metres"),
        ("k-CAM_FRONT", {"rotation": [1.0, 0, 0, 0]}, "expected CAM_FRONT level and looking 0 degrees"),
        ("k-CAM_FRONT", {"rotation": [0.5, -0.5, -0.5, 0.5]}, "expected CAM_FRONT level and looking 0 degrees"),
        ("k-CAM_FRONT", {"camera_intrinsic": [[126.6, 0, 0], [0, 126.6, 0], [81.6, 49.2, 1]]}, "a transposed matrix"),
    ],
)
def test_sensors_that_are_not_on_the_car_are_told(root: Path, token: str, values: dict, message: str):
    edit_table(root, "calibrated_sensor", lambda rows: _of(rows, token).update(values))
    tables = read_tables(root, VERSION)
    with pytest.raises(DataError, match=message):
        load_sample(tables, "a")


def test_a_scene_in_two_splits_is_told(root: Path):
    (root / VERSION / "splits.json").write_text(json.dumps({"train": [SCENE], "test": [SCENE]}))
    with pytest.raises(DataError, match="field test: expected scenes that train does not hold, found scene-0103"):
        read_tables(root, VERSION)
