"""Matterport3D's official layout: a hand-made house field by field, its cameras, and every way it can be broken."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement

from geoguide.datasets.check.matterport3d import check_matterport3d
from geoguide.datasets.check.report import Report
from geoguide.datasets.formats.matterport_cameras import read_cameras, to_opencv
from geoguide.datasets.matterport3d import label_image_classes, list_houses, list_regions, load_region, majority
from geoguide.datasets.splits import load_split
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.lifting import project

HOUSE = "2t7WUuJeko7"
# A unit box of three walls: faces 0, 1 lie at z = 0, faces 2, 3 at x = 0; the last vertex belongs to no face.
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]], "f4")
FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [3, 5, 4]], "i4")
CATEGORY = np.array([4, 4, 1, -1], "i4")  # floor, floor, wall, none
SIZE = (1024, 1280)
TABLE = [  # index, raw_category, nyu40id, nyuClass: rows of the official table's beginning, and of its kinds
    (1, "wall", 1, "wall"),
    (2, "door", 8, "door"),
    (3, "ceiling", 22, "ceiling"),
    (4, "floor", 2, "floor"),
    (5, "picture", 11, "picture"),
    (6, "void", 0, "void"),
    (7, "unknown", "", "unknown"),
    (8, "outer wall", 1, "wall"),
    (9, "unnamed", 40, ""),
]


def write_table(path: Path, rows: list[tuple] = TABLE) -> None:
    lines = ["index\traw_category\tcount\tnyu40id\tnyuClass"]
    lines += [f"{index}\t{raw}\t3\t{nyu40}\t{name}" for index, raw, nyu40, name in rows]
    path.write_text("\n".join(lines) + "\n")


def write_region(path: Path, points: np.ndarray = POINTS, category: np.ndarray | None = CATEGORY) -> None:
    vertex = np.zeros(len(points), [(n, "f4") for n in ("x", "y", "z")] + [(n, "u1") for n in ("red", "green", "blue")])
    for number, axis in enumerate("xyz"):
        vertex[axis] = points[:, number]
    vertex["green"] = 51
    extra = [] if category is None else [("category_id", category.dtype)]
    face = np.zeros(len(FACES), [("vertex_indices", "i4", (3,)), ("material_id", "i4"), *extra])
    face["vertex_indices"] = FACES
    if category is not None:
        face["category_id"] = category
    PlyData([PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]).write(path)


def conf(poses: list[np.ndarray], count: int | None = None, cx: float = 631.116, cy: float = 509.202) -> str:
    lines = ["dataset matterport", f"n_images {len(poses) if count is None else count}"]
    lines += ["depth_directory undistorted_depth_images", "color_directory undistorted_color_images", ""]
    lines += [f"intrinsics_matrix 1076.45 0 {cx}  0 1077.19 {cy}  0 0 1"]  # two spaces, as in the official files
    for yaw, pose in enumerate(poses):
        lines += [f"scan abc_d0_{yaw}.png abc_i0_{yaw}.jpg " + " ".join(f"{value:g}" for value in pose.ravel())]
    return "\n".join(lines) + "\n"


def at(x: float, y: float, z: float) -> np.ndarray:
    """A canonical Matterport camera at a place: it looks along -z of the world."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


@pytest.fixture
def house(tmp_path: Path) -> Path:
    house = tmp_path / "v1" / "scans" / HOUSE
    regions = house / "region_segmentations"
    regions.mkdir(parents=True)
    write_region(regions / "region3.ply")
    (regions / "region3.fsegs.json").write_text(json.dumps({"segIndices": [7, 7, 3, 9]}))
    groups = [{"id": 0, "segments": [7], "label": "floor"}, {"id": 1, "segments": [3], "label": "outer wall"}]
    (regions / "region3.semseg.json").write_text(json.dumps({"segGroups": groups}))
    for folder in ("undistorted_color_images", "undistorted_depth_images", "undistorted_camera_parameters"):
        (house / folder).mkdir()
    for yaw in range(3):
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(
            house / "undistorted_color_images" / f"abc_i0_{yaw}.jpg"
        )
        Image.fromarray(np.full(SIZE, 2000, np.uint16)).save(house / "undistorted_depth_images" / f"abc_d0_{yaw}.png")
    path = house / "undistorted_camera_parameters" / f"{HOUSE}.conf"
    path.write_text(conf([at(0.5, 0.5, 0.5), at(5, 5, 5), at(9, 9, 9)]))
    write_table(tmp_path / "category_mapping.tsv")
    (tmp_path / "scenes_val.txt").write_text(f"{HOUSE}\n")
    return house


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    return tmp_path / "category_mapping.tsv"


def test_a_region_field_by_field(house: Path, mapping: Path):
    scene = load_region(house, 3, mapping=mapping)
    assert (scene.name, scene.provenance) == (f"{HOUSE}_region3", "real")
    assert np.array_equal(scene.points, POINTS) and np.array_equal(scene.faces, FACES)
    np.testing.assert_allclose(scene.colors, np.tile([[0, 0.2, 0]], (7, 1)), atol=1e-6)
    # floor (1), wall (0), void; a tie goes to void, then to the lower class
    assert scene.labels.tolist() == [1, 1, 1, 255, 255, 255, 255]
    assert scene.instances.tolist() == [0, 0, 0, -1, -1, -1, -1]
    assert load_region(house, 3, mapping=mapping, labels="matterport40").labels.tolist()[:3] == [3, 3, 3]
    (view,) = scene.views  # the camera inside
    assert (view.name, view.image_size) == ("abc_i0_0", SIZE)
    assert view.depth()[0, 0] == 0.5


def test_majority_equals_a_loop(rng: np.random.Generator):
    """The rule as OpenScene states it: count per vertex and class, void first, take the first highest."""
    faces, values = rng.integers(0, 60, (150, 3)), rng.choice([0, 1, 2, 5, 255], 150)
    order = [255, 0, 1, 2, 5]
    votes = np.zeros((70, 5), int)
    for face, value in zip(faces, values, strict=True):
        for corner in face:
            votes[corner, order.index(value)] += 1
    expected = np.array(order)[votes.argmax(axis=1)]
    assert np.array_equal(majority(faces, values, 70, 255), expected)
    assert majority(np.zeros((0, 3), np.int64), np.zeros(0, np.int64), 3, -1).tolist() == [-1] * 3


@pytest.mark.parametrize("corners", [{1: 4}, {1: 2}, {0: 4, 2: 2}])  # of the last as many triangles come as polygons
def test_faces_with_categories_must_be_triangles(house: Path, mapping: Path, corners: dict[int, int]):
    path = house / "region_segmentations" / "region3.ply"
    vertex, face = (element.data for element in PlyData.read(path, mmap=False).elements)
    lists = np.empty(len(FACES), [("vertex_indices", object), ("category_id", "i4")])
    lists["vertex_indices"] = [np.arange(corners.get(number, 3), dtype="i4") for number in range(len(FACES))]
    lists["category_id"] = face["category_id"]
    PlyData([PlyElement.describe(vertex, "vertex"), PlyElement.describe(lists, "face")]).write(path)
    with pytest.raises(DataError, match=r"region3.ply: faces must be triangles, found 4 polygons of"):
        load_region(house, 3, mapping=mapping)


def test_categories_from_the_json_files_where_the_ply_has_none(house: Path, mapping: Path):
    path = house / "region_segmentations" / "region3.ply"
    write_region(path, category=None)
    assert load_region(house, 3, mapping=mapping).labels.tolist() == [1, 1, 1, 255, 255, 255, 255]
    path.with_suffix(".semseg.json").write_text(json.dumps({"segGroups": [{"segments": [7], "label": "unheard of"}]}))
    with pytest.raises(DataError, match=r"semseg.json: label 'unheard of' is not in category_mapping.tsv"):
        load_region(house, 3, mapping=mapping)
    for kind in ("fsegs", "semseg"):
        path.with_suffix(f".{kind}.json").unlink()
    with pytest.raises(DataError, match=r"region3.ply: no face property category_id, and no fsegs.json"):
        load_region(house, 3, mapping=mapping)
    write_region(path)
    assert load_region(house, 3, mapping=mapping).instances is None


def test_cameras_are_turned_to_opencv(house: Path, mapping: Path):
    """A point ahead, right and above a canonical camera (looking along -z, y up) lies right and above the middle."""
    view = load_region(house, 3, mapping=mapping).views[0]
    eye = np.array([0.5, 0.5, 0.5])
    ahead = eye + np.array([[0, 0, -2.0], [0.2, 0.3, -2.0], [0, 0, 2.0]])  # the last is behind
    found = project(ahead, view.intrinsics, view.cam_to_world, view.image_size, border=0)
    assert found.visible.tolist() == [True, True, False]
    # The dataset's own rule: pixel (i, j), j counted from the bottom, sees x = (i + 1/2 - cx) d / fx at depth d
    i = 631.116 - 0.5 + np.array([0, 0.2]) * 1076.45 / 2
    j = 509.202 - 0.5 + np.array([0, 0.3]) * 1077.19 / 2
    assert found.col[:2].tolist() == np.round(i).tolist()
    assert found.row[:2].tolist() == np.round(1023 - j).tolist()


def test_principal_point_as_openscene_reads_it(house: Path, mapping: Path):
    documented = load_region(house, 3, mapping=mapping).views[0].intrinsics
    theirs = load_region(house, 3, mapping=mapping, origin="top-left").views[0].intrinsics
    assert documented[:2, 2].tolist() == [630.616, 1023.5 - 509.202]
    assert theirs[:2, 2].tolist() == [631.116, 509.202]
    with pytest.raises(InputError, match=r"origin must be one of bottom-left, top-left"):
        load_region(house, 3, mapping=mapping, origin="middle")


def test_image_size(house: Path, mapping: Path):
    view = load_region(house, 3, mapping=mapping, image_size=(512, 640)).views[0]
    assert view.depth().shape == view.color().shape[:2] == (512, 640)
    assert view.intrinsics[0, 0] == 1076.45 / 2


@pytest.mark.parametrize(("split", "expected"), [("train", []), ("test", ["abc_i0_1", "abc_i0_0", "abc_i0_2"])])
def test_a_region_without_cameras_inside(house: Path, mapping: Path, split: str, expected: list[str]):
    path = house / "undistorted_camera_parameters" / f"{HOUSE}.conf"
    path.write_text(conf([at(5, 5, 5), at(2, 0, 0), at(9, 9, 9)]))
    assert [view.name for view in load_region(house, 3, mapping=mapping, split=split).views] == expected


def test_a_lost_pose_is_skipped_with_one_warning(house: Path, mapping: Path):
    path = house / "undistorted_camera_parameters" / f"{HOUSE}.conf"
    lost, flying = at(0.5, 0.5, 0.5), at(0.5, np.nan, 0.5)
    lost[0, 0] = -np.inf
    path.write_text(conf([at(0.5, 0.5, 0.5), lost, flying]))
    with pytest.warns(UserWarning, match=r"2 frames skipped, pose holds nan or inf: abc_i0_1, abc_i0_2") as caught:
        scene = load_region(house, 3, mapping=mapping)
    assert len(caught) == 1
    assert [view.name for view in scene.views if view.has_pose] == ["abc_i0_0"]


def test_images_may_be_absent(house: Path, mapping: Path):
    for path in (house / "undistorted_color_images").iterdir():
        path.unlink()
    (house / "undistorted_color_images").rmdir()
    assert load_region(house, 3, mapping=mapping).views == ()


def test_listing(house: Path, tmp_path: Path):
    assert list_houses(tmp_path, "val") == (house,)
    assert list_regions(house) == (3,)
    (house / "region_segmentations" / "region10.ply").touch()
    (house / "region_segmentations" / "region2.ply").touch()
    assert list_regions(house) == (2, 3, 10)
    (tmp_path / "tasks" / "benchmark").mkdir(parents=True)
    (tmp_path / "tasks" / "benchmark" / "scenes_train.txt").write_text("nowhere\n")
    with pytest.raises(DataError, match=r"1 of 1 train houses are missing, first nowhere"):
        list_houses(tmp_path, "train")
    for split in ("train", "test"):
        (tmp_path / f"scenes_{split}.txt").write_text(f"{house.name}\nelsewhere\n")
    with pytest.raises(DataError, match=rf"test.txt: .*; {house.name} is in scenes_train.txt too, and 1 more are$"):
        list_houses(tmp_path, "train")
    (tmp_path / "scenes_test.txt").unlink()
    (tmp_path / "scenes_train.txt").write_text("")
    with pytest.raises(DataError, match=r"scenes_train.txt: lists no house"):
        list_houses(tmp_path, "train")
    (tmp_path / "empty" / "region_segmentations").mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds no region<N>.ply"):
        list_regions(tmp_path / "empty")


def test_without_a_list_of_its_own_a_root_has_the_official_splits(house: Path, tmp_path: Path):
    message = r"17 of 18 test houses are missing, first 5ZKStnWn8Zo \(.* scenes_test.txt is not there\)"
    with pytest.raises(DataError, match=message):  # the house that is there comes first
        list_houses(tmp_path, "test")
    for name in load_split("matterport3d", "test"):
        (house.parent / name).mkdir(exist_ok=True)
    found = list_houses(tmp_path, "test")
    assert len(found) == 18 and found[0] == house
    with pytest.raises(ConfigError, match=r"split of matterport3d must be one of train, val, test, found 'tset'"):
        list_houses(tmp_path, "tset")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def image(size: tuple[int, int]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        pixels = np.zeros(size, np.uint16) if path.suffix == ".png" else np.zeros((*size, 3), np.uint8)
        Image.fromarray(pixels).save(path)

    return write


REGION = "region_segmentations/region3"
CONF = f"undistorted_camera_parameters/{HOUSE}.conf"
POSE = at(0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (f"{REGION}.ply", Path.unlink, "ply file not found"),
        (f"{REGION}.ply", truncate, "not a readable ply file, truncated"),
        (f"{REGION}.ply", lambda path: write_region(path, POINTS * np.nan), "holds NaN or inf in 7 of 7 rows"),
        (
            f"{REGION}.ply",
            lambda path: write_region(path, category=CATEGORY + 8),
            "holds 12, category_mapping.tsv ends at 9",
        ),
        (f"{REGION}.ply", lambda path: write_region(path, category=CATEGORY - 3), "category_id holds -2"),
        (
            f"{REGION}.ply",
            lambda path: write_region(path, category=CATEGORY.astype("f4")),
            "must be integers, found float32",
        ),
        (f"{REGION}.fsegs.json", Path.unlink, "json file not found"),
        (f"{REGION}.fsegs.json", truncate, "not valid json, truncated"),
        (f"{REGION}.fsegs.json", edit('{"segIndices": [1, 2]}'), "one of 4 faces each"),
        (
            f"{REGION}.fsegs.json",
            edit('{"segIndices": [1, 2, 3, 4.5]}'),
            "entry 3 .* must be a whole number, found .*4.5",
        ),
        (
            f"{REGION}.semseg.json",
            edit('{"segGroups": [{"label": "wall", "segments": [0.5]}]}'),
            "segments of entry 0: entry 0 .* must be a whole number",
        ),
        (f"{REGION}.fsegs.json", edit('{"segIndices": ["a"]}'), "entry 0 .* must be a whole number"),
        (f"{REGION}.semseg.json", Path.unlink, "json file not found"),
        (f"{REGION}.semseg.json", edit("[]"), "field 'segGroups' is missing"),
        (f"{REGION}.semseg.json", edit('{"segGroups": [{"label": "wall"}]}'), "needs label and segments"),
        (CONF, Path.unlink, "camera parameters not found"),
        (CONF, truncate, "scan needs 16 numbers, found"),
        (CONF, edit(conf([POSE], count=2)), "n_images says 2, found 1 scan lines"),
        (CONF, edit("n_images 0\n"), "lists no image"),
        (CONF, edit("n_images 1\nscan a b 1\n"), "line 2: scan before any intrinsics_matrix"),
        (CONF, edit("intrinsics_matrix 1 0 1 0\n"), "line 1: intrinsics_matrix needs 9 numbers, found 4"),
        (CONF, edit("n_images nan\n"), "n_images says nan, found 0 scan lines"),
        (CONF, edit(conf([2 * POSE])), r"line 7: abc_i0_0.jpg: pose must end with the row 0 0 0 1, found 0 0 0 2"),
        (CONF, edit("n_images x\n"), "line 1: n_images needs 1 numbers"),
        (CONF, edit("intrinsics_matrix 0 0 1 0 0 1 0 0 1\n"), "positive focal lengths"),
        ("undistorted_color_images/abc_i0_0.jpg", Path.unlink, "image not found"),
        ("undistorted_color_images/abc_i0_0.jpg", edit("x"), "not a readable image"),
        ("undistorted_depth_images/abc_d0_0.png", Path.unlink, "depth image not found"),
        ("undistorted_depth_images/abc_d0_0.png", image((512, 640)), r"must be \[1024, 1280\].*found \[512, 640\]"),
    ],
)
def test_broken_files_are_named(house: Path, mapping: Path, file: str, damage: Callable[[Path], object], message: str):
    damage(house / file)
    with pytest.raises(DataError, match=f"{Path(file).name}: .*{message}"):
        load_region(house, 3, mapping=mapping)


def test_an_image_of_another_size_than_its_intrinsics_say(house: Path, mapping: Path):
    image((512, 640))(house / "undistorted_color_images" / "abc_i0_0.jpg")
    image((512, 640))(house / "undistorted_depth_images" / "abc_d0_0.png")
    with pytest.raises(DataError, match=r"abc_i0_0.jpg: image is \[512, 640\].*hold for about \[1019, 1263\]"):
        load_region(house, 3, mapping=mapping)


def test_label_sets_and_mappings(house: Path, mapping: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'scannet200' is defined by scannet_id, which Matterport3D does not have"):
        load_region(house, 3, mapping=mapping, labels="scannet200")
    other, sets = tmp_path / "other.tsv", ("matterport21", "matterport40")
    right = [load_region(house, 3, mapping=mapping, labels=labels).labels for labels in sets]
    write_table(other, TABLE[::-1])  # by another column than its number, as spreadsheets sort
    for labels, found in zip(sets, right, strict=True):
        assert np.array_equal(load_region(house, 3, mapping=other, labels=labels).labels, found)
    write_table(other, [(*row[:3], {"wall": "door", "door": "wall"}.get(row[3], row[3])) for row in TABLE])
    with pytest.raises(
        DataError, match=r"other.tsv: the first 5 classes of column nyuClass are not those of matterport40"
    ):
        load_region(house, 3, mapping=other, labels="matterport40")
    for number, (text, message) in enumerate(
        [
            ("", "holds no category"),
            (
                "index\traw_category\n1\twall\n",
                "line 1: category mapping: expected columns index, raw_category, nyu40id, nyuClass, with tabs",
            ),
        ]
    ):
        path = tmp_path / f"broken{number}.tsv"
        path.write_text(text)
        with pytest.raises(DataError, match=f"{path.name}: {message}"):
            load_region(house, 3, mapping=path)
    with pytest.raises(DataError, match=r"none.tsv: category mapping not found"):
        load_region(house, 3, mapping=tmp_path / "none.tsv")


def test_an_index_outside_the_mapping_in_a_label_image(mapping: Path):
    write_table(mapping)
    classes = label_image_classes(mapping, "matterport21")
    assert classes(np.array([[0, 1], [4, 9]])).tolist() == [[255, 0], [1, 255]]
    for index in (10, -1):
        with pytest.raises(DataError, match=f"category_mapping.tsv: ends at 9, a label image holds {index}"):
            classes(np.array([[1, index]]))


def test_the_real_numbers_of_a_conf_file(tmp_path: Path):
    """A row of an official file, as its authors publish it: the pose is a rotation, right-handed, in metres."""
    row = "0.90525 0.275848 0.323155 -2.99825 0.42464 -0.612795 -0.666455 -14.4532 0.0141878 0.740533 -0.67187 1.33124"
    path = tmp_path / "a.conf"
    path.write_text(conf([np.array([*map(float, row.split()), 0, 0, 0, 1]).reshape(4, 4)]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (camera,) = read_cameras(path)
    turn = camera.cam_to_world[:3, :3]
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-4)
    assert np.linalg.det(turn) == pytest.approx(1, abs=1e-4)
    assert turn[2, 1] < 0  # image down is down in the world, where z is up
    assert to_opencv(camera.intrinsics, SIZE, path, path)[1, 2] == pytest.approx(514.298)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(number + 1, *rest) for number, *rest in TABLE], "only 0% of the faces have the category that"),
        ([*TABLE, (1, "chair", 5, "chair")], "column index: expected one category of each number, found 1 for"),
        (
            [(1, "wall", 2, "wall"), (4, "floor", 3, "floor"), (8, "outer wall", 1, "wall")],
            "2 of 2 categories called as",
        ),
    ],
)
def test_a_table_of_other_numbers_is_told(house: Path, mapping: Path, rows: list[tuple], message: str):
    assert load_region(house, 3, mapping=mapping).labels is not None
    write_table(mapping, rows)  # what was read before is not taken for it
    with pytest.raises(DataError, match=message):
        load_region(house, 3, mapping=mapping)
    write_table(mapping, [*TABLE, TABLE[0]])
    assert load_region(house, 3, mapping=mapping).labels is not None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("abc_d0_0.png", "abc_d0_1.png", "line 7: expected abc_d0_0.png with abc_i0_0.jpg, found abc_d0_1.png"),
        (
            "abc_d0_1.png abc_i0_1.jpg",
            "abc_d0_0.png abc_i0_0.jpg",
            "one scan line for each image, found 2 of abc_i0_0.jpg",
        ),
    ],
)
def test_images_that_are_mixed_up_are_told(house: Path, mapping: Path, old: str, new: str, message: str):
    path = house / "undistorted_camera_parameters" / f"{HOUSE}.conf"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        load_region(house, 3, mapping=mapping)


def test_images_with_suffixes_in_capitals_are_the_same(house: Path, mapping: Path):
    """As the scans of ScanNet have them, and none of them is one that the .conf file does not name."""
    for image in [*house.rglob("*.jpg"), *house.rglob("*.png")]:
        image.rename(image.with_suffix(image.suffix.upper()))
    (view,) = load_region(house, 3, mapping=mapping).views
    assert (view.name, view.color_path.name, view.depth_path.name) == ("abc_i0_0", "abc_i0_0.JPG", "abc_d0_0.PNG")
    report = Report(str(house))
    check_matterport3d(house, report)
    assert not [problem for problem in report.problems if "image" in problem]


def test_lost_images_and_regions_are_told(house: Path, mapping: Path):
    path = house / "undistorted_camera_parameters" / f"{HOUSE}.conf"
    path.write_text(conf([at(5, 5, 5), at(9, 9, 9)]))
    assert "none of the 2 cameras of the house" in load_region(house, 3, mapping=mapping).as_read[-1]
    (house / "undistorted_color_images").rename(house / "Undistorted_Color_Images")
    assert "undistorted_color_images is not there" in load_region(house, 3, mapping=mapping).as_read[-1]
    (house / "region_segmentations" / "Region4.PLY").write_text("")
    with pytest.raises(DataError, match="region4.ply: ply file not found, Region4.PLY is there"):
        list_regions(house)


def test_poses_of_a_house_that_are_world_to_camera_are_told(house: Path, mapping: Path):
    upright = np.eye(4)
    upright[:3, :3] = [[0, 0, -1], [-1, 0, 0], [0, 1, 0]]  # looks along x of the world, canonical axes
    path = house / "undistorted_camera_parameters" / f"{HOUSE}.conf"
    path.write_text(conf([upright] * 12))
    assert load_region(house, 3, mapping=mapping).as_read
    path.write_text(conf([np.linalg.inv(upright)] * 12))
    with pytest.raises(DataError, match=r"conf: expected camera-to-world poses of upright cameras, z up, found"):
        load_region(house, 3, mapping=mapping)
