"""`geoguide data check`: hand-made folders of every layout, whole and damaged; what it prints is what is on disk."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import test_matterport3d as matterport
import test_openscene_layout as published
import test_scannet as scannet
import torch
from PIL import Image
from rights import without_rights
from simple_room import PERFECT, simple_room, write_flat
from tiny_nuscenes import write_dataset

from geoguide.benchmarks.scenes import known_layouts, list_sources
from geoguide.datasets.check.folder import check_folder, identify
from geoguide.datasets.check.report import Report, check_scene
from geoguide.datasets.config import DataConfig, Splits
from geoguide.datasets.rgbd import load_rgbd
from geoguide.datasets.scannet import load_scene
from geoguide.errors import DataError, InputError
from geoguide.experiments import run
from geoguide.pipeline.config import ExperimentConfig
from geoguide.scene import Scene
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.houses.make import make_mini_matterport3d
from geoguide.worlds.rooms.make import make_mini_scannet
from geoguide.worlds.rooms.scan import scan_room
from geoguide.worlds.streets.make import make_mini_nuscenes

scene_folder, house = scannet.scene_folder, matterport.house  # fixtures of the readers' own tests


def names(root: Path) -> list[str]:
    return [kind.name.split(",")[0] for kind in identify(root, known_layouts())]


def checked(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was printed."""
    capsys.readouterr()
    code = check_folder(root, known_layouts())
    return code, capsys.readouterr().out


def give_pose(folder: Path) -> None:
    np.savetxt(folder / "pose" / "10.txt", np.eye(4))  # the fixture's lost one


def test_scannet_official(scene_folder: Path, capsys):
    root = scene_folder.parents[1]
    assert names(root) == ["ScanNet v2"]
    code, out = checked(root, capsys)
    assert code == 1 and "pose of frame 10 is lost (not finite or zero); the frame will be skipped" in out
    give_pose(scene_folder)
    code, out = checked(root, capsys)
    assert code == 0 and "problem:" not in out
    assert "val: 1 of 1 scenes readable (real), about 6 points and 4 frames; labels in 1, instances in 1" in out
    assert "can be run: geoguide segment" in out
    assert "label-filt/) are not extracted" in out and "training and evaluation" not in out
    (scene_folder / "label-filt").mkdir()
    for number in scannet.FRAMES:
        Image.fromarray(scannet.DEPTH).save(scene_folder / "label-filt" / f"{number}.png")
    code, out = checked(root, capsys)
    assert code == 0 and 'can be run: training and evaluation, data.dataset="scannet"' in out


def test_scannet_names_every_broken_and_missing_file(scene_folder: Path, capsys):
    root = scene_folder.parents[1]
    give_pose(scene_folder)
    (root / "scannetv2_val.txt").write_text(f"{scannet.NAME}\nscene0000_00\n")
    (root / "scannetv2_train.txt").write_text("")
    for file, cut in (("depth/0.png", 30), ("color/2.jpg", 8)):  # what is left ends within the pixels
        path = scene_folder / file
        path.write_bytes(path.read_bytes()[:-cut])
    code, out = checked(root, capsys)
    assert code == 1
    for line in (
        "scannetv2_train.txt: lists no scene",
        "scans/scene0000_00: scene folder not found, scannetv2_val.txt names it",
        "depth/0.png: not a readable image",
        "color/2.jpg: not a readable image",
        "val: 1 of 2 scenes readable",
        "4 problems",
    ):
        assert line in out
    (scene_folder / f"{scannet.NAME}_vh_clean_2.ply").unlink()
    code, out = checked(root, capsys)
    assert code == 1 and "vh_clean_2.ply: ply file not found" in out and "can be run: nothing yet" in out


def test_scans_without_lists_and_one_scan(scene_folder: Path, capsys):
    give_pose(scene_folder)
    (scene_folder.parents[1] / "scannetv2_val.txt").unlink()
    for root in (scene_folder.parents[1], scene_folder):
        code, out = checked(root, capsys)
        assert code == 0 and "in no split list: 1 of 1 scenes readable" in out


def test_official_test_scans_need_no_labels(scene_folder: Path, capsys):
    root = scene_folder.parents[1]
    give_pose(scene_folder)
    for path in (*scene_folder.glob("*labels.ply"), *scene_folder.glob("*.json")):
        path.unlink()
    assert checked(root, capsys)[0] == 1  # in val they do
    (root / "scannetv2_val.txt").rename(root / "scannetv2_test.txt")
    code, out = checked(root, capsys)
    assert code == 0 and "labels in 0" in out


def test_matterport_official(house: Path, tmp_path: Path, capsys):
    assert names(tmp_path) == names(house) == ["Matterport3D"]
    for root, split in ((tmp_path, "val"), (house, "test")):  # its own list's, and without one the official list's
        code, out = checked(root, capsys)
        assert code == 0 and f"{split}: 1 of 1 scenes readable (real), about 7 points and 1 frames; labels in 1" in out
    assert "load_region, labels matterport21, 40, 80 or 160 (1 regions)" in out
    (tmp_path / "scenes_test.txt").write_text("17DRP5sb8fy\n")
    depth = house / "undistorted_depth_images" / "abc_d0_0.png"
    depth.write_bytes(depth.read_bytes()[:-30])
    (house / "region_segmentations" / "region9.ply").write_bytes(b"ply")
    code, out = checked(tmp_path, capsys)
    assert code == 1
    for line in (
        "17DRP5sb8fy/region_segmentations: not found, scenes_test.txt names this house",
        "abc_d0_0.png: not a readable image",
        "region9.ply: not a readable ply file",
        "val: 1 of 2 scenes readable",
        "3 problems",
    ):
        assert line in out


def test_matterport_without_the_category_mapping(house: Path, tmp_path: Path, capsys):
    (tmp_path / "category_mapping.tsv").unlink()
    code, out = checked(tmp_path, capsys)
    assert code == 1 and "1 problems" in out
    assert "category_mapping.tsv: not found (nor in metadata/), so labels cannot be read" in out
    assert "labels in 0" in out


def test_published_layouts(tmp_path: Path, capsys):
    published.matterport(tmp_path)
    published.nuscenes(tmp_path)
    assert names(tmp_path) == ["OpenScene's published layout"]
    code, out = checked(tmp_path, capsys)
    assert code == 0
    assert "matterport_3d_40 val: 1 of 1 scenes readable (real), about 5 points and 1 frames; labels in 1" in out
    assert "nuscenes_3d val: 1 of 1 scenes readable (real), about 5 points and 6 frames" in out
    code, out = checked(tmp_path / "nuscenes_3d", capsys)  # the 3D folder alone
    assert code == 0 and "matterport" not in out


def test_published_splits_that_share_a_scene_are_told(tmp_path: Path, capsys):
    path = published.matterport(tmp_path)
    for split in ("test", "train"):
        (tmp_path / "matterport_3d_40" / split).mkdir()
        shutil.copy(path, tmp_path / "matterport_3d_40" / split)
    found = "expected scenes that are in no other list, as they are scored; 2t7WUuJeko7_region3.pth is in train too"
    assert checked(tmp_path, capsys)[0] == 1
    assert f"problem: {tmp_path}/matterport_3d_40/test: {found}" in checked(tmp_path, capsys)[1]
    data = DataConfig("matterport3d", "matterport40", root=str(tmp_path))
    with pytest.raises(DataError, match="matterport_3d_40/test: expected scenes that are in no other list"):
        list_sources(data, "train")
    shutil.rmtree(tmp_path / "matterport_3d_40" / "test")
    (source,) = list_sources(data, "val")  # train and val may share one; and the folder of 21 classes is not needed
    assert source.load().labels.tolist() == [39, 0, 255, 1, 2]


def test_published_features(tmp_path: Path, capsys):
    published.matterport(tmp_path)
    folder = tmp_path / "matterport_multiview_openseg"
    folder.mkdir()
    mask = torch.tensor([True, False, True, True, False])
    value = {"feat": torch.ones(3, 4).half(), "mask_full": mask}
    for number in range(3):
        torch.save(value, folder / f"2t7WUuJeko7_region3_{number}.pt")
    code, out = checked(tmp_path, capsys)
    assert code == 0
    assert "matterport_multiview_openseg: 3 of 3 files of matterport_3d_40 readable, 0 scenes without" in out
    value["feat"][1] = 0
    torch.save(value, folder / "2t7WUuJeko7_region3_1.pt")
    code, out = checked(tmp_path, capsys)
    assert code == 0 and "11.1% of the points that have a feature by mask_full have zeros alone" in out
    assert "region3_1.pt: 1 of 3 points have features of zeros alone: counted as not seen" in out
    torch.save({"feat": torch.ones(3, 4).half(), "mask_full": mask[:4]}, folder / "2t7WUuJeko7_region3_0.pt")
    broken = folder / "2t7WUuJeko7_region3_1.pt"
    broken.write_bytes(broken.read_bytes()[:-50])
    value["feat"][2] = torch.nan
    torch.save(value, folder / "2t7WUuJeko7_region3_2.pt")
    code, out = checked(tmp_path, capsys)
    assert code == 1 and "0 of 3 files" in out
    for line in (
        "region3_0.pt: mask_full holds 4 points, the cloud has 5",
        "region3_1.pt: not a readable file of plain arrays",
        "region3_2.pt: feat holds nan",
    ):
        assert line in out
    torch.save(value, folder / "2t7WUuJeko7_region3.pt")
    assert "mixed layouts, holds both" in checked(tmp_path, capsys)[1]


@pytest.mark.parametrize("order", ["own", "another"])
def test_published_features_in_another_order_are_told(tmp_path: Path, capsys, rng: np.random.Generator, order: str):
    points = rng.uniform(0, 3, (4000, 3)).astype(np.float32)
    features = np.sin(points @ rng.normal(size=(3, 16)) * 2) + rng.normal(0, 0.3, (4000, 16))
    seen = np.arange(4000) % 3 > 0
    path, folder = tmp_path / "nuscenes_3d" / "val" / "scene-0003.pth", tmp_path / "nuscenes_multiview_openseg"
    for made in (path.parent, folder):
        made.mkdir(parents=True)
    torch.save((points, 0, np.full(4000, 255)), path)
    rows = features[seen] if order == "own" else rng.permutation(features[seen])
    torch.save({"feat": torch.from_numpy(rows).half(), "mask_full": torch.from_numpy(seen)}, folder / "scene-0003.pt")
    found = "scene-0003.pt: features of neighbouring points are hardly more alike than of any two"
    assert (found in checked(tmp_path, capsys)[1]) == (order == "another")


def test_published_features_of_several_widths_are_told(tmp_path: Path, capsys):
    path = published.matterport(tmp_path)
    shutil.copy(path, path.with_name("2t7WUuJeko7_region4.pth"))
    (tmp_path / "features").mkdir()
    for region, width in ((3, 8), (4, 6)):
        value = {"feat": torch.ones(5, width).half(), "mask_full": torch.ones(5, dtype=torch.bool)}
        torch.save(value, tmp_path / "features" / f"2t7WUuJeko7_region{region}_0.pt")
    code, out = checked(tmp_path, capsys)
    found = "8 in 2t7WUuJeko7_region3_0.pt, 6 in 2t7WUuJeko7_region4_0.pt"
    assert code == 1 and f"features: expected features of one width, found {found}" in out


def test_published_features_of_no_scene(tmp_path: Path, capsys):
    path = published.scannet(tmp_path)
    folder = tmp_path / "scannet_multiview_openseg"
    folder.mkdir()
    file = folder / "scene0011_01_vh_clean_2_0.pt"
    torch.save({"feat": torch.ones(3, 4).half(), "mask_full": torch.tensor([1, 0, 1, 1, 0], dtype=torch.bool)}, file)
    out = checked(tmp_path, capsys)[1]
    assert f"{folder}: expected files <scene>.pt or <scene>_0.pt, found none of a scene, first {file.name}" in out
    file.rename(folder / "scene0011_01_0.pt")
    assert "found none of a scene" not in checked(tmp_path, capsys)[1]
    torch.save({"coord": published.COORDS}, path)
    out = checked(tmp_path, capsys)[1]
    assert "features of scene0011_01_vh_clean_2.pth cannot be checked (its points cannot be told)" in out


def test_published_folders_that_are_incomplete(tmp_path: Path, capsys):
    path = published.scannet(tmp_path)
    (tmp_path / "scannet_3d" / "val").mkdir()
    (tmp_path / "nuscenes_2d").mkdir()
    path.write_bytes(path.read_bytes()[:-100])
    code, out = checked(tmp_path, capsys)
    assert code == 1
    for line in (
        "nuscenes_2d: images without points, nuscenes_3d not found",
        "scannet_3d/val: the split is empty",
        "vh_clean_2.pth: not a readable file of plain arrays",
        "scannet_3d train: 0 of 1 scenes readable",
    ):
        assert line in out


def test_datasets_side_by_side(house: Path, scene_folder: Path, tmp_path: Path, capsys):
    published.nuscenes(tmp_path)
    assert names(tmp_path) == ["ScanNet v2", "Matterport3D", "OpenScene's published layout"]
    code, out = checked(tmp_path, capsys)
    assert code == 1  # the lost pose of the ScanNet scan
    assert out.count(" problems\n") == 3


def test_both_layouts_of_one_dataset(scene_folder: Path, tmp_path: Path):
    """Each reader takes its own layout, whatever lies beside it."""
    path = published.scannet(tmp_path)
    assert names(tmp_path) == ["ScanNet v2", "OpenScene's published layout"]
    assert scannet.list_scenes(tmp_path, "val") == (scene_folder,)
    assert published.list_scenes(tmp_path, "scannet_3d", "train") == (path,)


def test_nuscenes_official(tmp_path: Path, capsys, rng):
    write_dataset(tmp_path, rng)
    assert names(tmp_path) == ["nuScenes"]
    code, out = checked(tmp_path, capsys)
    assert code == 0 and "v1.0-mini, key frames of 1 scenes: 2 of 2 scenes readable (real)" in out
    assert "can be run: geoguide.datasets.nuscenes.load_sample" in out
    image = tmp_path / "samples/CAM_BACK/a-CAM_BACK.jpg"
    image.write_bytes(image.read_bytes()[:-900])
    sweep = tmp_path / "samples/LIDAR_TOP/b-LIDAR_TOP.pcd.bin"
    sweep.write_bytes(sweep.read_bytes()[:-3])
    code, out = checked(tmp_path, capsys)
    assert code == 1 and "1 of 2 scenes readable" in out and image.name in out and "5997 bytes" in out


def test_nuscenes_tables_that_cannot_be_read_and_labels_that_are_withheld(tmp_path: Path, capsys, rng):
    write_dataset(tmp_path, rng)
    (tmp_path / "v1.0-mini/lidarseg.json").write_text("[]")
    code, out = checked(tmp_path, capsys)
    assert code == 0 and "lidarseg is not installed or withheld" in out
    (tmp_path / "v1.0-mini/lidarseg.json").unlink()
    code, out = checked(tmp_path, capsys)
    assert code == 1 and "lidarseg.json: table not found, so the labels in lidarseg/ cannot be read" in out
    (tmp_path / "v1.0-mini/ego_pose.json").unlink()
    code, out = checked(tmp_path, capsys)
    assert code == 1 and "ego_pose.json" in out and "can be run: nothing yet" in out


def test_what_was_read_otherwise_is_said_and_is_no_problem(scene_folder: Path, capsys):
    root = scene_folder.parents[1]
    give_pose(scene_folder)
    (root / "scannetv2_val.txt").write_text(f"{scannet.NAME}\n", encoding="utf-16")
    (root / "scannetv2-labels.combined.tsv").write_bytes(
        "id\traw_category\tnyu40id\n1\twall\t1\n2\tcaf\u00e9\t3\n3\tdesk\t14\n".encode("cp1252")
    )
    code, out = checked(root, capsys)
    assert code == 0 and "0 problems" in out
    assert "as read: " in out and "scannetv2_val.txt: split list was read as UTF-16-LE, as its byte-order mark" in out
    assert "combined.tsv: category table was read as WINDOWS-1252, since its bytes are not UTF-8" in out


def test_what_a_reader_decided_is_said(scene_folder: Path):
    report = Report("title")
    decided = replace(scannet.load_scene(scene_folder), as_read=("coordinates are in millimetres",))
    for _ in range(2):
        check_scene(report, scene_folder, lambda _: decided, need_labels=True, need_frames=True)
    assert report.notes == [f"{scene_folder}: coordinates are in millimetres"]


def test_names_of_objects_that_the_table_does_not_hold(scene_folder: Path, capsys):
    root = scene_folder.parents[1]
    give_pose(scene_folder)
    table = root / "scannetv2-labels.combined.tsv"
    table.write_text("id\traw_category\tnyu40id\n1\twall\t1\n")
    code, out = checked(root, capsys)
    assert code == 1 and f"aggregation.json: labels of objects that are not in {table.name}: desk" in out
    table.write_text("id\traw_category\tnyu40id\n1\twall\t1\n3\tdesk \t14\n")
    assert checked(root, capsys)[0] == 0


@pytest.mark.parametrize("value", [0.0, np.nan, -np.inf])
def test_poses_that_no_camera_has_are_counted(scene_folder: Path, capsys, value: float):
    give_pose(scene_folder)
    for number in (0, 100):
        np.savetxt(scene_folder / "pose" / f"{number}.txt", np.full((4, 4), value))
    code, out = checked(scene_folder, capsys)
    assert code == 1 and "pose of 2 of 4 frames is lost (not finite or zero); they will be skipped: 0, 100" in out


def test_empty_files_and_objects_without_points(scene_folder: Path, capsys):
    give_pose(scene_folder)
    (scene_folder / f"{scannet.NAME}.txt").touch()
    (scene_folder / "depth" / "2.png").write_bytes(b"")
    (scene_folder / scannet.AGGREGATION).write_text('{"segGroups": []}')
    code, out = checked(scene_folder, capsys)
    assert code == 1 and out.count("depth/2.png: ") == 1 and f"{scannet.NAME}.txt: holds 0 bytes" in out
    (scene_folder / "depth" / "2.png").unlink()
    (scene_folder / "color" / "2.jpg").unlink()
    assert f"{scene_folder}: no point belongs to an object" in checked(scene_folder, capsys)[1]


@pytest.mark.parametrize("content", [b"\0\5\x16\7", b""])
def test_leftovers_of_operating_systems_change_nothing(
    house: Path, scene_folder: Path, tmp_path: Path, capsys, content
):
    """As macOS and Windows leave them in every folder that someone has looked into or packed."""
    published.nuscenes(tmp_path)
    give_pose(scene_folder)
    path = published.matterport(tmp_path)
    expected = checked(tmp_path, capsys)
    (house.parent / "__MACOSX" / "region_segmentations").mkdir(parents=True)
    for file in [file for file in tmp_path.rglob("*") if file.is_file()]:
        for name in (f"._{file.name}", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (file.parent / name).write_bytes(content)
    assert expected[0] == 0 and checked(tmp_path, capsys) == expected
    assert published.list_scenes(tmp_path, "matterport_3d_40", "val") == (path,)


def test_labels_of_another_region(house: Path, tmp_path: Path, capsys):
    path = house / "region_segmentations" / "region3.semseg.json"
    path.write_text('{"segGroups": [{"label": "wall", "segments": [1000001, 1000002]}]}')
    code, out = checked(tmp_path, capsys)
    assert (
        code == 1 and "region3.semseg.json: 2 of the 2 segments that its objects name are not in region3.fsegs" in out
    )
    assert "0 of 1 scenes readable" in out


@pytest.mark.parametrize("make", [make_mini_scannet, make_mini_matterport3d, make_mini_nuscenes])
def test_generated_data_cannot_be_made_in_a_file(tmp_path: Path, make):
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataError, match=r"file: (cannot hold generated data|not a generated data set)"):
            make(root)
    assert (tmp_path / "file").read_text() == "mine"


def test_folders_that_are_no_dataset(tmp_path: Path):
    with pytest.raises(DataError, match=r"no layout that is known here \(ScanNet v2, official layout; Matterport3D"):
        check_folder(tmp_path, known_layouts())
    with pytest.raises(DataError, match=r"; the folder is empty$"):
        check_folder(tmp_path, known_layouts())
    (tmp_path / "scan.ply").write_text("ply")
    with pytest.raises(DataError, match=r"is this the folder that holds the dataset"):
        check_folder(tmp_path, known_layouts())
    with pytest.raises(DataError, match=r"scan.ply: dataset folder not found or not a folder"):
        check_folder(tmp_path / "scan.ply", known_layouts())
    with pytest.raises(DataError, match=r"nowhere: dataset folder not found"):
        check_folder(tmp_path / "nowhere", known_layouts())


def test_a_folder_near_one_of_no_layout_is_named(scene_folder: Path, house: Path, recorded: Path, tmp_path_factory):
    """A level too high or too deep: the layout lies right there, and the message only asked whether it did."""
    for place, deep, above in (
        (scene_folder.parent, "scans", ""),
        (house.parents[1], "v1/scans/house/region_segmentations".replace("house", house.name), ""),
        (write_dataset(tmp_path_factory.mktemp("drives"), np.random.default_rng(0)), "drives/samples", "drives"),
    ):
        home = tmp_path_factory.mktemp("home")
        name = place.name if not place.name.startswith("drives") else "drives"
        shutil.copytree(place, home / "data" / name)
        (home / "data" / "__MACOSX" / name).mkdir(parents=True)
        inside = Path("data", above)
        with pytest.raises(DataError, match=rf"no layout that is known here .*; its folders hold some: {inside}$"):
            identify(home, known_layouts())
        with pytest.raises(DataError, match=rf"; a folder above holds some: {home / inside}$"):
            identify(home / "data" / deep, known_layouts())
    with pytest.raises(DataError, match=rf"; its folders hold some: {recorded.name}/office"):
        load_rgbd(recorded.parent)
    with pytest.raises(DataError, match=rf"color: no RGB-D frames .*; a folder above holds some: {scene_folder}$"):
        load_rgbd(scene_folder / "color")


def test_training_names_the_root_near_a_folder_that_is_none(scene_folder: Path, house: Path, tmp_path_factory):
    """It said that all 1,201 scenes are missing, or that the data hold none."""
    home = tmp_path_factory.mktemp("home")
    roots = {"scannet": home / "scannet", "matterport3d": home / "mp"}
    shutil.copytree(scene_folder.parent, roots["scannet"] / "scans")
    shutil.copytree(house.parents[1], roots["matterport3d"] / "v1")
    named = Splits(train=(scene_folder.name,), val=(), test=("other",))
    for name, root in roots.items():
        for splits in (None, named):
            data = DataConfig(name, root=str(home), splits=splits)
            with pytest.raises(DataError, match=rf"data root without .*; its folders hold some: {root.name}$"):
                list_sources(data, "train")
    for deep in (roots["scannet"] / "scans", roots["scannet"] / "scans" / scene_folder.name):
        with pytest.raises(DataError, match=rf"; a folder above holds some: {roots['scannet']}$"):
            list_sources(DataConfig("scannet", root=str(deep)), "train")
    other = home / "elsewhere" / "photos"
    other.mkdir(parents=True)
    for name in (*roots, "nuscenes"):  # it said that the official list's 1,201 scenes are missing
        with pytest.raises(DataError, match=rf"^{other}: data root without .*`geoguide data check {other}` says"):
            list_sources(DataConfig(name, root=str(other)), "train")


def test_repeated_points_are_said(rng: np.random.Generator):
    points = np.repeat(rng.random((400, 3)).astype(np.float32), 3, axis=0)
    report, scene = Report("title"), Scene("merged", points, np.zeros_like(points))
    check_scene(report, Path("merged"), lambda _: scene, need_labels=False, need_frames=False)
    assert not report.problems and any("1,200 points lie at 400 different positions" in text for text in report.notes)


@pytest.mark.parametrize(
    "closed", ["", "color", "depth", "pose", "intrinsic", "{}_vh_clean_2.ply", "{}.aggregation.json"]
)
def test_what_may_not_be_read_is_a_problem_that_names_it(scene_folder: Path, capsys, closed: str) -> None:
    """A folder that may not be listed counted as empty; a scene's folder ended the check of all others."""
    give_pose(scene_folder)
    path = scene_folder / closed.format(scene_folder.name)
    with without_rights(path):
        code, out = checked(scene_folder.parents[1], capsys)
    problems = [line for line in out.splitlines() if "ermission denied" in line]
    assert code == 1 and problems and all(line.startswith(f"  problem: {path}") for line in problems)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds one recording of a generated room, twelve frames."""
    sensor = SensorConfig(frames=12, image_size=(60, 80), focal=72.0, **PERFECT)
    root = tmp_path_factory.mktemp("recorded")
    write_flat(root / "office", scan_room(simple_room(), 1, sensor), sensor)
    return root


def copied(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded / "office", tmp_path / "office"))


def test_recordings_of_ones_own(recorded: Path, capsys):
    for root in (recorded, recorded / "office"):
        assert names(root) == ["RGB-D recordings of one's own"]
        code, out = checked(root, capsys)
        assert code == 0 and "problem:" not in out and "1 scenes, 0 problems" in out
        assert "RGB-D recordings: 1 of 1 scenes readable (real), about " in out and " and 12 frames" in out
        assert "can be run: geoguide segment <recording> --labels" in out


def test_folders_may_be_given_by_dots(recorded: Path, scene_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Scenes and their files are called as the folder, and `.` has no name."""
    monkeypatch.chdir(recorded / "office")
    assert load_rgbd(".").name == load_rgbd("../office/../office").name == "office"
    assert f"{recorded / 'office'}: RGB-D recordings" in checked(Path("."), capsys)[1]
    for place, dots in ((scene_folder, "."), (scene_folder / "color", "..")):
        monkeypatch.chdir(place)
        assert names(Path(dots)) == ["ScanNet v2"] and load_scene(dots).name == scene_folder.name
    portable = run.portable(ExperimentConfig(data=DataConfig("scannet", root=".", features="f")))
    assert portable.data.root == "color"


def test_every_file_of_a_recording_that_is_missing_or_broken_is_named(recorded: Path, tmp_path: Path, capsys):
    folder = copied(recorded, tmp_path)
    depths, colors, poses = (sorted(folder.glob(f"*.{kind}.*")) for kind in ("depth", "color", "pose"))
    depths[1].unlink()
    depths[2].write_bytes(depths[2].read_bytes()[:40])
    depths[3].write_bytes(b"")
    Image.fromarray(np.ones((30, 40), np.uint16)).save(depths[4])
    colors[5].write_bytes(b"no image")
    poses[6].unlink()
    poses[7].write_text("1 0 0\n")
    (folder / "camera-intrinsics.txt").write_text("70 0 40\n0 -70 30\n0 0 1\n")
    code, out = checked(tmp_path, capsys)
    said = [line for line in out.split("\n") if "problem:" in line]
    expected = [*depths[1:5], colors[5], poses[6], poses[7], folder / "camera-intrinsics.txt"]
    assert code == 1 and len(said) == len(expected)
    for path in expected:
        assert sum(f"problem: {path}" in line for line in said) == 1, path
    assert "0 of 1 scenes readable" in out and "can be run: nothing yet" in out


def moved(folder: Path, by: float) -> None:
    path = sorted(folder.glob("*.pose.txt"))[5]
    pose = np.loadtxt(path)
    pose[0, 3] += by
    np.savetxt(path, pose)


def in_other_units(folder: Path) -> None:
    for path in folder.glob("*.depth.png"):
        Image.fromarray((np.asarray(Image.open(path)).astype(np.uint16) * 5).astype(np.uint16)).save(path)


def lose(folder: Path, count: int) -> None:
    for path in sorted(folder.glob("*.pose.txt"))[:count]:
        np.savetxt(path, np.full((4, 4), np.inf))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: moved(folder, 500), "office: the pose of frame frame-000005 at .* lies .* m from the others"),
        (lambda folder: moved(folder, 25), "office: cameras that share no point with any other.* frame-000005 at"),
        (in_other_units, "office: .*Give --depth-scale"),
        (lambda folder: lose(folder, 12), "office: .*needs views with a finite pose"),
        (lambda folder: lose(folder, 1), "office: pose of frame frame-000000 is lost"),
        (
            lambda folder: (folder / "camera-intrinsics.txt").write_text("72 0 400\n0 72 30\n0 0 1\n"),
            "depth.png: image is .* but the intrinsics in camera-intrinsics.txt hold for",
        ),
        (lambda folder: [path.unlink() for path in folder.glob("*.pose.txt")], "frame-000011.pose.txt: pose not found"),
    ],
)
def test_recordings_that_contradict_themselves(damage, message: str, recorded: Path, tmp_path: Path, capsys):
    damage(copied(recorded, tmp_path))
    code, out = checked(tmp_path, capsys)
    assert code == 1 and re.search(f"problem: .*{message}", out), out


def test_recordings_are_checked_as_they_are_read(recorded: Path, tmp_path: Path, scene_folder: Path, capsys):
    root = tmp_path / "own"
    root.mkdir()
    in_other_units(copied(recorded, root))
    assert check_folder(root, known_layouts(), {"depth_scale": 5000.0, "up": "z"}) == 0
    assert "geoguide segment <recording> --labels ... --depth-scale 5000.0 --up z (1 " in capsys.readouterr().out
    assert check_folder(root, known_layouts(), {"depth_scale": 5000.0, "max_depth": 0.5}) == 1
    assert "100 % of the readings lie beyond 0.5 m" in capsys.readouterr().out
    with pytest.raises(InputError, match="--unit is for RGB-D recordings of one's own, found .*: ScanNet v2"):
        check_folder(scene_folder.parents[1], known_layouts(), {"unit": "mm"})


FLOOR_OF = {"scannet_3d": 1, "matterport_3d": 1, "matterport_3d_40": 3}  # classes of the points of a floor


@pytest.mark.parametrize("layout", FLOOR_OF)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda labels: labels, False),
        (lambda labels: labels - 1, True),  # counted from 1, and read as from 0
        (lambda labels: labels + 1, True),
        (lambda labels: np.where(np.arange(len(labels)) < 7200, 4, labels), False),  # a carpet
        (lambda labels: np.where(np.arange(len(labels)) % 10, 255, labels), False),  # few are labelled
        (lambda labels: np.where(labels == 9, 9, 255), False),  # walls alone are
    ],
)
def test_floors_that_are_called_otherwise_are_told(tmp_path: Path, capsys, layout: str, change, said: bool):
    """Such labels are as even as right ones."""
    row, column = np.divmod(np.arange(14400), 120)
    floor = np.stack([row, column, 0 * row], 1) * 0.03
    wall = np.stack([0 * row, row, column], 1) * 0.03
    labels = np.repeat([FLOOR_OF[layout], 9], len(row))
    suffix = "_vh_clean_2.pth" if layout == "scannet_3d" else ".pth"
    path = tmp_path / layout / "val" / f"scene0000_00{suffix}"
    path.parent.mkdir(parents=True)
    points = np.concatenate([floor, wall]).astype(np.float32)
    torch.save((points, np.zeros_like(points), change(labels).astype(np.int64)), path)
    code, out = checked(tmp_path, capsys)
    assert (code, "of the lowest level surfaces 0% of the labelled points are floor" in out) == (int(said), said), out
