"""ScanNet's official layout: a hand-made scene read field by field, and every way it can be broken."""

import dataclasses
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plyfile import PlyData, PlyElement

from geoguide.cli import main
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.cameras import read_image_size, resize_intrinsics
from geoguide.datasets.formats.segments import check_agree
from geoguide.datasets.scannet import check_named, list_scenes, load_annotation_superpoints, load_scene
from geoguide.errors import ConfigError, DataError, InputError, ReadAs
from geoguide.labels import CATEGORY_TABLE

NAME = "scene0011_01"
POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [2, 2, 2]], dtype="f4")
FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 4, 1]], dtype="i4")
NYU40 = np.array([1, 2, 14, 39, 40, 0], dtype="u2")  # wall, floor, desk, otherfurniture, otherprop, unannotated
SEGMENTS = [7, 7, 3, 3, 9, 12]
GROUPS = [{"id": 0, "objectId": 0, "segments": [7], "label": "wall"}]
GROUPS += [{"id": 1, "objectId": 1, "segments": [9, 3], "label": "desk"}]
DEPTH = np.array([[1000, 0], [2500, 65535], [40, 50]], dtype=np.uint16)  # [3, 2]
FRAMES = (0, 2, 10, 100)


def write_ply(path: Path, points: np.ndarray = POINTS, **extra: np.ndarray) -> None:
    fields = dict.fromkeys("xyz", np.dtype("f4")) | dict.fromkeys(("red", "green", "blue", "alpha"), np.dtype("u1"))
    fields |= {name: values.dtype for name, values in extra.items()}
    vertex = np.zeros(len(points), dtype=list(fields.items()))
    for number, axis in enumerate("xyz"):
        vertex[axis] = points[:, number]
    vertex["red"], vertex["alpha"] = 51, 255
    for name, values in extra.items():
        vertex[name] = values
    face = np.zeros(len(FACES), dtype=[("vertex_indices", "i4", (3,))])
    face["vertex_indices"] = FACES
    PlyData([PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]).write(path)


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "scans" / NAME
    for kind in ("color", "depth", "pose", "intrinsic"):
        (folder / kind).mkdir(parents=True)
    write_ply(folder / f"{NAME}_vh_clean_2.ply")
    write_ply(folder / f"{NAME}_vh_clean_2.labels.ply", label=NYU40)
    (folder / f"{NAME}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": SEGMENTS}))
    (folder / f"{NAME}.aggregation.json").write_text(json.dumps({"segGroups": GROUPS}))
    matrix = np.eye(4)
    matrix[:2, :3] = [[577.0, 0, 0.5], [0, 578.0, 1.0]]
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", matrix)
    for number in FRAMES:
        Image.fromarray(np.full((6, 4, 3), number, np.uint8)).save(folder / "color" / f"{number}.jpg")
        Image.fromarray(DEPTH).save(folder / "depth" / f"{number}.png")
        pose = np.eye(4)
        pose[0, 3] = number
        np.savetxt(folder / "pose" / f"{number}.txt", pose if number != 10 else np.full((4, 4), -np.inf))
    (tmp_path / "scannetv2_val.txt").write_text(f"{NAME}\n")
    return folder


def test_mesh_labels_and_instances(scene_folder: Path):
    scene = load_scene(scene_folder)
    assert scene.name == NAME
    assert scene.provenance == "real"
    assert np.array_equal(scene.points, POINTS)
    assert np.array_equal(scene.faces, FACES)
    np.testing.assert_allclose(scene.colors, np.tile([[0.2, 0, 0]], (6, 1)), atol=1e-6)
    assert scene.labels.tolist() == [0, 1, 12, 19, 255, 255]
    assert scene.instances.tolist() == [0, 0, 1, 1, 1, -1]
    assert scene.normals[3].tolist() == [0, 0, 1]
    weighted = np.array([0, 1, 2]) / np.sqrt(5)  # two faces up, one along y, of equal area
    np.testing.assert_allclose(scene.normals[0], weighted, atol=1e-6)


def test_a_mesh_without_faces_is_a_cloud(scene_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Straight up everywhere is no normal: they are estimated."""
    monkeypatch.setitem(globals(), "FACES", np.empty((0, 3), np.int64))
    write_ply(scene_folder / f"{NAME}_vh_clean_2.ply")
    scene = load_scene(scene_folder)
    assert scene.faces is None
    np.testing.assert_allclose(np.linalg.norm(scene.normals, axis=1), 1, atol=1e-6)
    assert scene.as_read[0] == "the mesh has no faces: read as a cloud" and "no normals" in scene.as_read[1]


def test_files_of_a_frame_are_known_by_its_number(scene_folder: Path):
    """Zeros before the number, and suffixes in upper case, differ between the programs that extract frames."""
    (scene_folder / "label-filt").mkdir()
    Image.fromarray(np.ones((6, 4), np.uint8)).save(scene_folder / "label-filt" / "000000.PNG")
    plain = load_scene(scene_folder)
    depths = [view.depth() for view in plain.views]
    for path in [*(scene_folder / "depth").iterdir(), *(scene_folder / "pose").iterdir()]:
        path.rename(path.with_name(f"{int(path.stem):06d}{path.suffix.upper()}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = load_scene(scene_folder)
    assert [view.name for view in scene.views] == [view.name for view in plain.views]
    assert scene.views[0].label_path is not None
    for found, view, depth in zip(scene.views, plain.views, depths, strict=True):
        np.testing.assert_array_equal(found.cam_to_world, view.cam_to_world)
        np.testing.assert_array_equal(found.depth(), depth)
    Image.fromarray(DEPTH).save(scene_folder / "depth" / "00.png")  # which of the two?
    with pytest.raises(DataError, match=r"depth/0\.png: depth image not found"):
        load_scene(scene_folder)


def test_scannet200_looks_up_the_objects_names(scene_folder: Path):
    table = scene_folder.parents[1] / "scannetv2-labels.combined.tsv"
    with pytest.raises(DataError, match=r"scannetv2-labels.combined.tsv: category table not found"):
        load_scene(scene_folder, labels="scannet200")
    table.write_text("id\traw_category\tnyu40id\n1\twall\t1\n9\tdesk\t14\n2000\todd\t40\n")
    scene = load_scene(scene_folder, labels="scannet200")
    assert scene.labels.tolist() == [0, 0, 8, 8, 8, 255]  # wall; desk is class 8; the last vertex has no object
    aggregation = scene_folder / f"{NAME}.aggregation.json"
    other = [GROUPS[0], {**GROUPS[1], "label": "odd"}, {"objectId": 2, "segments": [7], "label": "unheard of"}]
    aggregation.write_text(json.dumps({"segGroups": other}))
    with pytest.warns(UserWarning, match=r"aggregation.json: label of objects is not .* void: unheard of") as caught:
        scene = load_scene(scene_folder, labels="scannet200")
    assert [str(one.message).split(": ")[1] for one in caught] == [
        "1 times a segment belongs to more than one object",
        "label of objects is not in the category table and read as void",
    ]
    assert scene.labels.tolist() == [255] * 6  # outside the set, or not in the table; the later object wins
    assert scene.instances.tolist() == [2, 2, 1, 1, 1, -1]
    aggregation.write_text(json.dumps({"segGroups": [{"objectId": 2, "segments": [7]}]}))
    with pytest.raises(DataError, match=r"aggregation.json: .*needs label and segments, entry 0 has no label"):
        load_scene(scene_folder, labels="scannet200")
    aggregation.unlink()
    assert load_scene(scene_folder, labels="scannet200").labels is None


def test_ids_outside_the_mapping_are_void_with_one_warning(scene_folder: Path):
    """As in three of the published scans."""
    write_ply(scene_folder / f"{NAME}_vh_clean_2.labels.ply", label=np.array([1, 50, 2, 149, 50, 0], "u2"))
    with pytest.warns(UserWarning, match=r"labels.ply: label of 3 points is not in 0..40 .* void: 50, 149") as caught:
        scene = load_scene(scene_folder)
    assert len(caught) == 1 and scene.labels.tolist() == [0, 255, 1, 255, 255, 255]


def test_label_sets_of_other_datasets_are_refused(scene_folder: Path):
    with pytest.raises(ConfigError, match=r"'matterport40' is defined by nyu_class, which ScanNet does not have"):
        load_scene(scene_folder, labels="matterport40")


def test_annotation_superpoints(scene_folder: Path):
    superpoints = load_annotation_superpoints(scene_folder)
    assert superpoints.dtype == np.int64
    assert superpoints.tolist() == [1, 1, 0, 0, 2, 3]


def test_views_in_frame_order(scene_folder: Path):
    views = load_scene(scene_folder).views
    assert [view.name for view in views] == ["0", "2", "10", "100"]
    assert [view.has_pose for view in views] == [True, True, False, True]
    assert views[3].cam_to_world[0, 3] == 100
    assert views[0].image_size == (3, 2)
    assert views[0].color().shape == (3, 2, 3)
    assert views[0].depth().tolist() == pytest.approx(np.array([[1, 0], [2.5, 0], [0.04, 0.05]]))
    assert views[0].intrinsics.tolist() == [[577, 0, 0.5], [0, 578, 1], [0, 0, 1]]
    assert views[0].label_path is None and views[0].instance_path is None


@pytest.mark.parametrize(("step", "skip", "count"), [(1, 20, 5), (5, 20, 5), (20, 20, 5), (25, 20, 4), (7, 20, 5)])
def test_frames_that_were_thinned_already_are_not_thinned_again(
    scene_folder: Path, step: int, skip: int, count: int
) -> None:
    """By number: of 100 frames, of which every 1st, 5th, 20th, 25th or 7th was extracted, those 20 apart."""
    for kind, ending in (("color", "jpg"), ("depth", "png"), ("pose", "txt")):
        content = (scene_folder / kind / f"0.{ending}").read_bytes()
        for number in FRAMES:
            (scene_folder / kind / f"{number}.{ending}").unlink()
        for number in range(3, 103, step):
            (scene_folder / kind / f"{number}.{ending}").write_bytes(content)
    found = [int(view.name) for view in load_scene(scene_folder, frame_skip=skip).views]
    assert len(found) == count and found[0] == 3 and min(np.diff(found)) >= skip
    assert max(np.diff(found)) < skip + step  # none is left out that could be there


def test_depth_without_colour_is_said(scene_folder: Path) -> None:
    (scene_folder / "color" / "2.jpg").replace(scene_folder / "color" / "2.bmp")  # as no scan of ScanNet has it
    with pytest.warns(UserWarning, match=r"color: no .jpg, .jpeg, .png of 1 of 4 depth images \(first 2.png\)"):
        views = load_scene(scene_folder).views
    assert [view.name for view in views] == ["0", "10", "100"]
    for path in (scene_folder / "color").iterdir():
        path.unlink()
    with pytest.warns(UserWarning, match=r"of 4 of 4 depth images \(first 0.png\); these frames are left out"):
        assert load_scene(scene_folder).views == ()


def test_image_size_resizes_pixels_and_intrinsics(scene_folder: Path):
    view = load_scene(scene_folder, image_size=(6, 4)).views[0]
    assert view.image_size == view.depth().shape == view.color().shape[:2] == (6, 4)
    assert view.intrinsics[0].tolist() == [1154, 0, 1.5]  # 577 * 4/2; 0.5 * 3/1
    assert view.intrinsics[1].tolist() == [0, 1156, 2.5]  # 578 * 6/3; 1 * 5/2


@pytest.mark.parametrize(
    ("size", "message", "of_config"),
    [
        ((0, 5), "image height must be a finite number >= 1, found 0", ": image height must be"),
        ((5, -1), "image width must be a finite number >= 1, found -1", ": image width must be"),
        ((240.5, 320), "image height must be a whole number >= 1, found 240.5", r" must be tuple\[int, int\]"),
        ((240,), r"image_size must be \(H, W\), found \(240,\)", r" must be tuple\[int, int\]"),
        (240, r"image_size must be \(H, W\), found 240", r" must be tuple\[int, int\]"),
    ],
)
def test_sizes_that_are_none(scene_folder: Path, size: object, message: str, of_config: str):
    with pytest.raises(InputError, match=message):
        load_scene(scene_folder, image_size=size)
    with pytest.raises(ConfigError, match=f"^data.image_size{of_config}"):
        DataConfig(image_size=size)


def test_frames_are_skipped_forwards():
    for skip in (0, -2):
        with pytest.raises(ConfigError, match=f"data.frame_skip must be at least 1, found {skip}"):
            DataConfig(frame_skip=skip)


def test_resized_intrinsics_keep_the_corner_pixels():
    matrix = np.array([[500.0, 0, 319.5], [0, 510.0, 239.5], [0, 0, 1]])
    resized = resize_intrinsics(matrix, (480, 640), (240, 320))
    assert resized[:2, 2].tolist() == [159.5, 119.5]
    assert resized[0, 0] == 250 and resized[1, 1] == 255
    assert np.array_equal(resize_intrinsics(resized, (240, 320), (480, 640)), matrix)


def test_a_test_scan_without_labels_and_frames(scene_folder: Path):
    for path in (*scene_folder.glob("*labels.ply"), *scene_folder.glob("*.json"), *scene_folder.glob("color/*")):
        path.unlink()
    scene = load_scene(scene_folder)
    assert scene.labels is None
    assert scene.instances is None
    assert scene.views == ()
    (scene_folder / "color").rmdir()
    assert load_scene(scene_folder).views == ()


def test_source(scene_folder: Path):
    (scene_folder / "mini.json").write_text("{}")
    scene = load_scene(scene_folder)
    assert scene.provenance == "mini"
    with pytest.raises(InputError, match=r"provenance"):
        dataclasses.replace(scene, provenance="synthetic")


def test_list_scenes(scene_folder: Path):
    root = scene_folder.parents[1]
    assert list_scenes(root, "val") == (scene_folder,)
    (root / "scans_test" / "scene0707_00").mkdir(parents=True)
    (root / "scannetv2_test.txt").write_text("scene0707_00\n")
    assert list_scenes(root, "test") == (root / "scans_test" / "scene0707_00",)
    (root / "scannetv2_train.txt").write_text(f"scene0001_00\n{NAME}\n")
    message = rf"scannetv2_val.txt: expected scenes .* as they are scored; {NAME} is in scannetv2_train.txt too$"
    for split in ("train", "val", "test"):
        with pytest.raises(DataError, match=message):
            list_scenes(root, split)
    (root / "scans" / "scene0001_00").mkdir()
    (root / "scannetv2_train.txt").write_text("scene0001_00\nscene0000_00\n")
    with pytest.raises(DataError, match=r"1 of 2 train scenes are missing, first scans/scene0000_00"):
        list_scenes(root, "train")
    (root / "scannetv2_train.txt").write_text("")
    with pytest.raises(DataError, match=r"lists no scene"):
        list_scenes(root, "train")
    with pytest.raises(DataError, match=r"nowhere: data root not found"):
        list_scenes(root / "nowhere", "val")


def test_without_a_list_of_its_own_a_root_has_the_official_splits(scene_folder: Path):
    root = scene_folder.parents[1]
    message = (
        r"1201 of 1201 train scenes are missing, first scans/scene0191_00 \(.*_train.txt is not there; or name .*\)"
    )
    with pytest.raises(DataError, match=message):
        list_scenes(root, "train")
    names = [f"scene{number:04d}_00" for number in range(707, 807)]  # ScanNet's hidden test scans
    for name in names:
        (root / "scans_test" / name).mkdir(parents=True)
    assert [folder.name for folder in list_scenes(root, "test")] == names
    with pytest.raises(ConfigError, match=r"split of scannet must be one of train, val, test, found 'tset'"):
        list_scenes(root, "tset")


def test_bad_arguments(scene_folder: Path):
    with pytest.raises(ConfigError, match=r"scannet21"):
        load_scene(scene_folder, labels="scannet21")
    with pytest.raises(InputError, match=r"frame_skip must be at least 1"):
        load_scene(scene_folder, frame_skip=0)
    with pytest.raises(DataError, match=r"scene9999_00: scene folder not found"):
        load_scene(scene_folder.parent / "scene9999_00")


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 20])


def edit(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


MESH, LABELS = f"{NAME}_vh_clean_2.ply", f"{NAME}_vh_clean_2.labels.ply"
SEGS, AGGREGATION = f"{NAME}_vh_clean_2.0.010000.segs.json", f"{NAME}.aggregation.json"


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (MESH, Path.unlink, "ply file not found"),
        (MESH, truncate, "not a readable ply file, truncated"),
        (MESH, lambda path: write_ply(path, POINTS * np.nan), "x, y, z holds NaN or inf in 6 of 6 rows"),
        (MESH, lambda path: write_ply(path, red=np.full(6, 0.2, "f4")), "green, blue must be uint8, found float"),
        (LABELS, truncate, "not a readable ply file, truncated"),
        (LABELS, lambda path: write_ply(path, label=NYU40.astype("f4")), "'label' must be of integers, found float32"),
        (LABELS, write_ply, "integer vertex property 'label' is missing"),
        (LABELS, lambda path: write_ply(path, POINTS[:5], label=NYU40[:5]), "holds 5 vertices, the mesh has 6"),
        (SEGS, Path.unlink, "json file not found"),
        (SEGS, truncate, "not valid json, truncated"),
        (SEGS, edit('{"segs": []}'), "field 'segIndices' is missing"),
        (SEGS, edit('{"segIndices": [1, 2, 3]}'), "field 'segIndices' holds 3 values, the mesh has 6"),
        (
            SEGS,
            edit('{"segIndices": [1, 2, 3, 4, 5.5, 6]}'),
            r"entry 4 \(counted from 0\) must be .* number, found .*5.5",
        ),
        (
            SEGS,
            edit('{"segIndices": [1, [2]]}'),
            r"field 'segIndices': entry 1 .* must be a whole number, found a list",
        ),
        (SEGS, edit('{"segIndices": ["a"]}'), "field 'segIndices': entry 0 .* must be a whole number, found text"),
        (SEGS, edit('{"segIndices": [1, 2, true]}'), "entry 2 .* must be a whole number, found true or false"),
        (SEGS, edit('{"segIndices": [1, null]}'), "entry 1 .* must be a whole number, found null"),
        (SEGS, edit('{"segIndices": [[1], [2]]}'), "entry 0 .* must be a whole number, found a list"),
        (AGGREGATION, truncate, "not valid json, truncated"),
        (AGGREGATION, edit("[]"), "field 'segGroups' is missing"),
        (AGGREGATION, edit('{"segGroups": [{"objectId": 1}]}'), "needs objectId and segments"),
        (AGGREGATION, edit('{"segGroups": [7]}'), "needs objectId and segments"),
        (
            AGGREGATION,
            edit('{"segGroups": [{"objectId": 1, "segments": ["a"]}]}'),
            "segments of entry 0: entry 0 .* must be a whole number, found text",
        ),
        ("depth/0.png", Path.unlink, "depth image not found"),
        ("depth/2.png", Path.unlink, "depth image not found"),
        ("depth/0.png", lambda path: path.write_bytes(b"png"), "not a readable image"),
        ("pose/2.txt", Path.unlink, "pose not found"),
        ("pose/2.txt", edit("1 0 0\n0 1 0\n0 0 1\n"), r"pose must be \[4, 4\], found \[3, 3\]"),
        ("pose/2.txt", edit("1 0 0 x\n"), "pose is not a matrix of numbers"),
        ("pose/2.txt", edit("1 0 0 0\n0 1 0\n"), r"\(the number of columns changed from 4 to 3 at row 2\)$"),
        ("pose/2.txt", edit(""), r"pose must be \[4, 4\], found"),
        ("intrinsic/intrinsic_depth.txt", Path.unlink, "intrinsics not found"),
        ("intrinsic/intrinsic_depth.txt", edit("0 0 0\n0 0 0\n0 0 1\n"), "positive focal lengths"),
    ],
)
def test_broken_files_are_named(scene_folder: Path, file: str, damage: Callable[[Path], object], message: str):
    damage(scene_folder / file)
    with pytest.raises(DataError, match=f"{Path(file).name}: .*{message}"):
        load_scene(scene_folder)


def test_images_of_another_size_than_their_intrinsics_say(scene_folder: Path):
    for path in (scene_folder / "depth").iterdir():
        Image.fromarray(np.zeros((6, 4), np.uint16)).save(path)
    with pytest.raises(DataError, match=r"0.png: image is \[6, 4\].*intrinsic_depth.txt hold for about \[3, 2\]"):
        load_scene(scene_folder)
    for path in (scene_folder / "depth").iterdir():
        Image.fromarray(np.zeros((6, 4) if path.stem == "100" else (3, 2), np.uint16)).save(path)
    with pytest.raises(DataError, match=r"100.png: image is \[6, 4\].*intrinsic_depth.txt are for \[3, 2\]"):
        load_scene(scene_folder)
    for kind in ("color/100.jpg", "depth/100.png"):
        (scene_folder / kind).unlink()
    assert len(load_scene(scene_folder).views) == 3
    Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(scene_folder / "color" / "10.jpg")
    with pytest.raises(DataError, match=r"10.jpg: image is \[8, 6\] \(H, W\), not of the shape .* \[3, 2\]"):
        load_scene(scene_folder)


@pytest.mark.parametrize(
    ("kind", "pixels", "message"),
    [
        ("depth", DEPTH.astype(np.uint8), "0.png: expected depth of 16 bits, found uint8"),
        (
            "depth",
            np.zeros((3, 2, 3), np.uint8),
            r"0.png: expected a single-channel depth image .* found uint8 \[3, 2, 3\]",
        ),
        ("labels", DEPTH > 0, r"0.png: expected a single-channel label image of integers, found bool \[3, 2\]"),
    ],
)
def test_pixels_of_the_wrong_kind_are_named(scene_folder: Path, kind: str, pixels: np.ndarray, message: str):
    (scene_folder / "label-filt").mkdir()
    file = {"depth": "depth/0.png", "color": "color/0.jpg", "labels": "label-filt/0.png"}[kind]
    Image.fromarray(pixels).save(scene_folder / file)
    with pytest.raises(DataError, match=message):
        getattr(load_scene(scene_folder).views[0], kind)()


def test_truncated_pixels_are_named_when_asked_for(scene_folder: Path):
    path = scene_folder / "depth" / "0.png"
    path.write_bytes(path.read_bytes()[:-30])  # what is left ends within the pixels
    view = load_scene(scene_folder).views[0]
    assert read_image_size(view.depth_path) == (3, 2)  # the header is whole
    with pytest.raises(DataError, match=r"0.png: not a readable image"):
        view.depth()


def test_frames_must_be_numbered(scene_folder: Path):
    (scene_folder / "color" / "first.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"first.jpg: frame files are named by number"):
        load_scene(scene_folder)


def test_images_of_frames_may_be_png_and_others_are_told(scene_folder: Path):
    color = scene_folder / "color"
    for path in color.iterdir():
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    assert [view.name for view in load_scene(scene_folder).views] == ["0", "2", "10", "100"]
    shutil.copy(color / "2.png", color / "0002.png")
    with pytest.raises(DataError, match=r"2.png: a second image of frame 2, beside 0002.png"):
        load_scene(scene_folder)
    for path in color.iterdir():
        path.rename(path.with_suffix(".webp"))
    with pytest.raises(DataError, match=r"color: expected images N.jpg, .*, found 5 other files, first 0.webp"):
        load_scene(scene_folder)


def test_a_scan_without_any_object_has_labels(room: Path):
    (room / AGGREGATION).write_text(json.dumps({"segGroups": []}))
    scene = load_scene(room)
    assert set(scene.labels.tolist()) == {0, 1, 4, 13, 255}
    assert (scene.instances == -1).all()


def test_objects_and_labels_that_are_not_of_one_another():
    """By hand: half of the labelled points in objects is enough, less is not; ids that are not those of the names."""
    labels, groups = np.repeat([1, 5], 1000), [{"label": "wall"}, {"label": "chair "}, {"label": None}]
    check_agree(np.where(np.arange(2000) < 1000, 0, -1), labels, Path("a.json"), Path("b.ply"))
    with pytest.raises(DataError, match=r"a.json: only 49% of the points that have a label by b.ply belong to an obj"):
        check_agree(np.where(np.arange(2000) < 980, 0, -1), labels, Path("a.json"), Path("b.ply"))
    owner = np.repeat([0, 1], 1000)
    check_named(groups, owner, labels, Path("b.ply"))
    check_named(groups, np.full(2000, 2), labels - 1, Path("b.ply"))  # no name that is known: nothing is judged
    with pytest.raises(DataError, match=r"b.ply: label: only 0% of the vertices have the NYU40 id of their object's"):
        check_named(groups, owner, labels - 1, Path("b.ply"))


ROOM = {"wall": 1, "floor": 2, "chair": 5, "curtain": 16, "ceiling": 22, "lamp": 35}  # names of objects, NYU40 ids


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A scan of six objects of 400 vertices, with ScanNet's table (as shipped) beside it."""
    folder, owner = tmp_path / "scans" / NAME, np.repeat(np.arange(len(ROOM)), 400)
    folder.mkdir(parents=True)
    points = np.stack([np.arange(len(owner)) % 20, np.arange(len(owner)) // 20 % 20, owner * 10], 1).astype("f4") / 10
    write_ply(folder / f"{NAME}_vh_clean_2.ply", points)
    write_ply(folder / f"{NAME}_vh_clean_2.labels.ply", points, label=np.array([*ROOM.values()], dtype="u2")[owner])
    (folder / f"{NAME}_vh_clean_2.0.010000.segs.json").write_text(json.dumps({"segIndices": owner.tolist()}))
    groups = [{"id": n, "objectId": n, "segments": [n], "label": name} for n, name in enumerate(ROOM)]
    (folder / AGGREGATION).write_text(json.dumps({"segGroups": groups}))
    shutil.copy(CATEGORY_TABLE, tmp_path)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids % 20, "found 2 on objects whose names have 22, 15 on objects whose names have 35: ids of oth"),
        (lambda ids: ids % 16, "found 6 on objects whose names have 22, 3 on objects whose names have 35: ids of oth"),
        (lambda ids: np.searchsorted([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39], ids) + 1,
         "found 14 on objects whose names have 16, 15 on objects whose names have 22, 19 on objects .* 35"),
        (lambda ids: np.where(ids == 5, 2, np.where(ids == 2, 5, ids)), "found 5 on .* have 2, 2 on objects .* have 5"),
        (lambda ids: ids, None),
        (lambda ids: np.where(ids > 20, 0, ids), None),  # unlabelled
        (lambda ids: np.where(ids > 20, 39, ids), None),  # any other thing
        (lambda ids: np.where((ids == 22) & (np.arange(len(ids)) % 2 == 0), 1, ids), None),  # half of them agree
    ],
)  # fmt: skip
def test_labels_that_are_ids_of_other_classes(room: Path, change: Callable, message: str | None):
    """Of a few classes: most vertices, of walls and floors, keep their ids."""
    path = room / f"{NAME}_vh_clean_2.labels.ply"
    ply = PlyData.read(path, mmap=False)
    ply["vertex"]["label"] = change(ply["vertex"]["label"].astype(int))
    ply.write(path)
    if message is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_scene(room).labels is not None
    else:
        with pytest.raises(DataError, match=f"labels.ply: label: expected NYU40 ids, {message}"):
            load_scene(room)


def test_one_class_of_another_id_is_spoken_of(room: Path):
    path = room / f"{NAME}_vh_clean_2.labels.ply"
    ply = PlyData.read(path, mmap=False)
    ply["vertex"]["label"][ply["vertex"]["label"] == 16] = 13
    ply.write(path)
    with pytest.warns(UserWarning, match=r"labels.ply: label: expected NYU40 ids, found 13 on .* names have 16$"):
        assert load_scene(room).labels.max() == 255


def _cells(change: Callable[[int, str], str]) -> Callable[[str], str]:
    """A table with each cell as `change` makes it of its column's number and its text."""
    return lambda text: "".join(
        "\t".join(change(column, cell) for column, cell in enumerate(line.split("\t"))) + "\n"
        for line in text.splitlines()
    )


def _late(text: str) -> str:
    """The ids of a table one row too late."""
    head, *rows = (line.split("\t", 1) for line in text.splitlines())
    moved = [[before[0], row[1]] for before, row in zip([rows[-1], *rows], rows, strict=False)]
    return "\n".join("\t".join(row) for row in [head, *moved])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_cells(lambda _, cell: f'"{cell}"'), None),
        (_cells(lambda column, cell: f'"{cell}"' if column == 1 and cell != "raw_category" else cell), None),
        (_cells(lambda _, cell: cell.replace("nyu40class", 'my "own"')), None),
        (_late, r"combined.tsv: column id: \d+ of \d+ categories called as a class .*, first 'wall' with"),
        (_cells(lambda column, cell: str(int(cell) - 1) if column == 0 and cell != "id" else cell), "first 'wall' wi"),
        (_cells(lambda column, cell: cell.title() if column == 1 and "_" not in cell else cell),
         r"aggregation.json: label of objects: 6 names are not in scannetv2-labels.combined.tsv, first 'ceiling'"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*read as void")
def test_tables_of_scannet200_that_were_saved_anew(room: Path, change: Callable[[str], str], message: str | None):
    """Quoted cells mean what they meant; other ids or names than ScanNet's would make all labels wrong or void."""
    right = load_scene(room, labels="scannet200").labels
    assert set(right.tolist()) >= {0, 1, 2}
    table = room.parents[1] / CATEGORY_TABLE.name
    table.write_text(change(CATEGORY_TABLE.read_text()))
    if message is None:
        assert np.array_equal(load_scene(room, labels="scannet200").labels, right)
    else:
        with pytest.raises(DataError, match=message):
            load_scene(room, labels="scannet200")


def test_a_scene_id_of_null_names_no_other_scene(scene_folder: Path):
    (scene_folder / AGGREGATION).write_text(json.dumps({"sceneId": None, "segGroups": GROUPS}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_scene(scene_folder).instances is not None


def test_data_check_counts_the_scenes_of_a_partial_download(scene_folder: Path, capsys: pytest.CaptureFixture[str]):
    names = [NAME, *(f"scene{number:04d}_07" for number in range(100))]
    (scene_folder.parents[1] / "scannetv2_val.txt").write_text("\n".join(names))
    with pytest.raises(SystemExit):
        main(["data", "check", str(scene_folder.parents[1])])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "scene folder not found" in line]
    assert line.endswith("scannetv2_val.txt names it; so are 99 other scenes that scannetv2_val.txt names")


def test_labels_in_another_order_of_vertices_are_refused(scene_folder: Path):
    """Without objects beside them nothing else would tell; a labelled mesh that was moved is no fault."""
    for name in (SEGS, AGGREGATION):
        (scene_folder / name).unlink()
    path = scene_folder / f"{NAME}_vh_clean_2.labels.ply"
    write_ply(path, POINTS + np.float32(3), label=NYU40)
    expected = load_scene(scene_folder).labels
    order = np.array([3, 0, 5, 1, 4, 2])
    write_ply(path, POINTS[order], label=NYU40[order])
    with pytest.raises(DataError, match=r"labels.ply: . of 6 vertices lie elsewhere.*in another order"):
        load_scene(scene_folder)
    write_ply(path, label=NYU40)
    np.testing.assert_array_equal(load_scene(scene_folder).labels, expected)


def test_the_category_table_is_read_again_once_it_changes(scene_folder: Path):
    table = scene_folder.parents[1] / "scannetv2-labels.combined.tsv"
    table.write_text("id\traw_category\tnyu40id\n1\twall\t1\n")
    with pytest.warns(UserWarning, match="read as void: desk"):
        load_scene(scene_folder, labels="scannet200")
    table.write_text("id\traw_category\tnyu40id\n1\twall\t1\n9\tdesk\t14\n")
    assert load_scene(scene_folder, labels="scannet200").labels.tolist() == [0, 0, 8, 8, 8, 255]
    table.write_text("id\traw_category\tnyu40id\n1\twall\t1\n9\tdesk\t14\n2\tdesk\t14\n")
    with pytest.warns(ReadAs, match="1 names stand there again with another id, first 'desk'"):
        load_scene(scene_folder, labels="scannet200")


def test_data_check_names_a_scene_of_two_splits(scene_folder: Path, capsys: pytest.CaptureFixture[str]):
    root = scene_folder.parents[1]
    (root / "scannetv2_train.txt").write_text(f"{NAME}\n")
    with pytest.raises(SystemExit) as stop:
        main(["data", "check", str(root)])
    assert stop.value.code == 1
    assert f"{NAME} is in the list of another split too" in capsys.readouterr().out
