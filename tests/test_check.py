"""`geoguide data check`: hand-made folders of every layout, whole and damaged; what it prints is what is on disk."""

from pathlib import Path

import numpy as np
import pytest
import test_matterport3d as matterport
import test_openscene_layout as published
import test_scannet as scannet
import torch
from PIL import Image
from tiny_nuscenes import write_dataset

from geoguide.benchmarks.scenes import known_layouts
from geoguide.datasets.check.folder import check_folder, identify
from geoguide.errors import DataError

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
    assert code == 1 and "pose of frame 10 is not finite; the frame will be skipped" in out
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
    for root, split in ((tmp_path, "val"), (house, "in no split list")):
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
    (tmp_path / "scannetv2_train.txt").write_text(f"{scannet.NAME}\n")
    path = published.scannet(tmp_path)
    assert names(tmp_path) == ["ScanNet v2", "OpenScene's published layout"]
    assert scannet.list_scenes(tmp_path, "train") == (scene_folder,)
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
    (tmp_path / "v1.0-mini/ego_pose.json").unlink()
    code, out = checked(tmp_path, capsys)
    assert code == 1 and "ego_pose.json" in out and "can be run: nothing yet" in out


def test_folders_that_are_no_dataset(tmp_path: Path):
    with pytest.raises(DataError, match=r"no layout that is known here \(ScanNet v2, official layout; Matterport3D"):
        check_folder(tmp_path, known_layouts())
    with pytest.raises(DataError, match=r"nowhere: dataset folder not found"):
        check_folder(tmp_path / "nowhere", known_layouts())
