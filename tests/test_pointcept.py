"""ScanNet as Pointcept preprocesses it: the same scans as in the official layout, broken arrays, commands."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from geoguide import labels
from geoguide.benchmarks.scenes import known_layouts, list_sources
from geoguide.cli import main
from geoguide.datasets import scannet
from geoguide.datasets.check import check_folder
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.ply import read_ply_records
from geoguide.datasets.pointcept import load_scene
from geoguide.errors import ConfigError, DataError
from geoguide.own_scan import open_scan

COUNT = 600


def save(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def arrays(rng: np.random.Generator, count: int = COUNT) -> dict[str, np.ndarray]:
    """A room's size of random points, as Pointcept writes a scene of the train or val split."""
    normal = rng.normal(size=(count, 3))
    return {
        "coord": (rng.random((count, 3)) * [4, 3, 2.5]).astype(np.float32),
        "color": rng.integers(0, 256, (count, 3)).astype(np.uint8),
        "normal": (normal / np.linalg.norm(normal, axis=1, keepdims=True)).astype(np.float32),
        "segment20": rng.integers(-1, 20, count),
        "segment200": rng.integers(-1, 200, count),
        "instance": rng.integers(-1, 9, count),
    }


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return left.value.code


def dataset(root: Path, rng: np.random.Generator, train: int = 26) -> Path:
    for number in range(train):
        save(root / "train" / f"scene{number:04d}_00", **arrays(rng))
    save(root / "val" / "scene0700_00", **arrays(rng))
    bare = arrays(rng)
    save(root / "test" / "scene0707_00", coord=bare["coord"], color=bare["color"], normal=bare["normal"])
    return root


def preprocessed(scan: Path, home: Path) -> Path:
    """What Pointcept makes of an official scan, its objects from segments and groups as there."""
    records, _ = read_ply_records(scan / f"{scan.name}_vh_clean_2.ply")
    vertices = np.stack([records[name] for name in ("x", "y", "z")], axis=1)
    color = np.stack([records[name] for name in ("red", "green", "blue")], axis=1)
    segments = json.loads((scan / f"{scan.name}{scannet.SEGMENTS}").read_text())["segIndices"]
    groups = json.loads((scan / f"{scan.name}.aggregation.json").read_text())["segGroups"]
    nyu40 = read_ply_records(scan / f"{scan.name}_vh_clean_2.labels.ply")[0]["label"]
    order = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)  # NYU40 ids of the 20 classes
    label = np.array([order.index(number) if number in order else -1 for number in nyu40])
    owner = {segment: group["id"] for group in groups for segment in group["segments"]}
    instance = np.array([owner.get(segment, -1) for segment in segments])
    return save(home / scan.name, coord=vertices, color=color, segment20=label, instance=instance)


def test_a_real_scan_reads_as_in_the_official_layout(recordings: Path, tmp_path: Path) -> None:
    scan = recordings / "scannet_real" / "scans" / "scene0000_00"
    ours = load_scene(preprocessed(scan, tmp_path), labels="scannet20")
    official = scannet.load_scene(scan)
    np.testing.assert_array_equal(ours.points, official.points)
    np.testing.assert_allclose(ours.colors, official.colors, atol=1e-6)
    np.testing.assert_array_equal(ours.labels, official.labels)
    own, theirs = ours.instances, official.instances
    np.testing.assert_array_equal(own < 0, theirs < 0)
    pairs = np.unique(np.stack([own, theirs]), axis=1)  # the same objects, however they are numbered
    assert len(pairs[0]) == len(np.unique(own)) == len(np.unique(theirs))
    assert ours.name == official.name


def test_fields_are_read_as_written(rng: np.random.Generator, tmp_path: Path) -> None:
    written = arrays(rng)
    folder = save(tmp_path / "scene0001_00", **written)
    for label_set, name in (("scannet20", "segment20"), ("scannet200", "segment200")):
        scene = load_scene(folder, labels=label_set)
        np.testing.assert_array_equal(scene.labels, np.where(written[name] < 0, 255, written[name]))
        np.testing.assert_array_equal(scene.instances, written["instance"])
    np.testing.assert_array_equal(scene.points, written["coord"])
    np.testing.assert_allclose(scene.colors, written["color"] / 255, atol=1e-6)
    agree = np.abs(np.sum(scene.normals * written["normal"], axis=1))  # which side they look to is decided here
    np.testing.assert_allclose(agree, 1, atol=1e-5)
    assert load_scene(folder).labels is None


@pytest.mark.parametrize(
    ("label_set", "column", "count"), [("scannet20", "nyu40", 20), ("scannet200", "scannet_id", 200)]
)
def test_classes_are_counted_in_the_benchmark_s_order(label_set: str, column: str, count: int) -> None:
    """Pointcept counts them in the order in which the benchmark lists its ids, which ascend."""
    with open(Path(labels.__file__).with_name(f"{label_set}.csv")) as file:
        ids = [int(row[column]) for row in csv.DictReader(file)]
    assert ids == sorted({*ids})
    assert len(ids) == count


def test_splits_are_openscene_s_way_to_read_a_benchmark(rng: np.random.Generator, tmp_path: Path) -> None:
    root = dataset(tmp_path, rng)
    data = DataConfig("scannet", "scannet20", root=str(root))
    names = {split: [source.name for source in list_sources(data, split)] for split in ("train", "val", "test")}
    assert names["test"] == ["scene0700_00"]  # the labels of the test scans are withheld
    assert names["val"] == ["scene0000_00", "scene0025_00"]
    assert len(names["train"]) == 24
    scene = list_sources(data, "test")[0].load()
    assert scene.labels is not None
    assert not scene.views
    with pytest.raises(ConfigError, match="has the label sets scannet20, scannet200; found 'matterport21'"):
        list_sources(data, "test")[0].load("matterport21")


def test_a_folder_of_arrays_is_labelled(rng: np.random.Generator, tmp_path: Path, capsys) -> None:
    written = arrays(rng, 3000)
    folder = save(tmp_path / "scene0001_00", **written)
    np.savez(tmp_path / "same.npz", **{name: written[name] for name in ("coord", "color", "normal")})
    told = []
    for path, out in ((folder, "a.ply"), (tmp_path / "same.npz", "b.ply")):
        assert run("segment", path, "--labels", "chair, table", "--out", tmp_path / out) == 0
        told.append(json.loads((tmp_path / out).with_suffix(".json").read_text()))
    assert told[0]["labels"] == told[1]["labels"]
    assert told[0]["scan"] == "scene0001_00"
    assert run("segment", folder, "--labels", "chair", "--up", "y", "--out", tmp_path / "c.ply") == 0
    assert "y is up" in capsys.readouterr().out
    assert run("segment", folder, "--labels", "chair", "--depth-scale", 5000) == 2
    assert run("segment", folder / "coord.npy", "--labels", "chair") == 2
    assert "name the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("coord", None, "coord.npy: points not found"),
        ("coord", np.zeros((COUNT, 2)), r"coord.npy: coord must be numbers \[P, 3\], found float64 \[600, 2\]"),
        ("coord", np.full((COUNT, 3), np.nan), "coord.npy: coord"),
        ("coord", np.array([{"x": 1}] * COUNT), "coord.npy: points is not a readable npy file"),
        (
            "color",
            np.zeros((COUNT - 1, 3), np.uint8),
            r"color.npy: expected numbers \[600, 3\].*\[599, 3\]",
        ),
        ("normal", np.zeros((COUNT, 4)), r"normal.npy: expected numbers \[600, 3\]"),
        ("segment20", np.full(COUNT, 20), "segment20.npy: expected class ids 0..19, -1 or 255 for void, found 20"),
        ("segment20", np.full(COUNT, -100), "segment20.npy: expected class ids 0..19, -1 or 255 for void, found -100"),
        ("segment20", np.full(COUNT, 0.5), "segment20.npy: expected whole numbers"),
        ("segment20", np.zeros(COUNT + 1, int), r"segment20.npy: expected numbers \[600\]"),
        ("instance", np.zeros(3, int), r"instance.npy: expected numbers \[600\]"),
        ("instance", np.full(COUNT, np.inf), "instance.npy: expected whole numbers"),
    ],
)
def test_a_broken_array_is_named(name: str, value, told: str, rng: np.random.Generator, tmp_path: Path) -> None:
    folder = save(tmp_path / "scene0001_00", **arrays(rng))
    if value is None:
        (folder / f"{name}.npy").unlink()
    else:
        np.save(folder / f"{name}.npy", value)
    with pytest.raises(DataError, match=told):
        load_scene(folder, labels="scannet20")


@pytest.mark.parametrize("name", ["coord", "color", "segment20"])
def test_a_cut_array_is_named(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    folder = save(tmp_path / "scene0001_00", **arrays(rng))
    path = folder / f"{name}.npy"
    whole = path.read_bytes()
    for size in (0, 5, 60, 130, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"{name}.npy: .*truncated"):
            load_scene(folder, labels="scannet20")


def test_layouts_are_not_mixed(rng: np.random.Generator, tmp_path: Path) -> None:
    root = dataset(tmp_path / "data", rng, train=1)
    data = DataConfig("scannet", "scannet20", root=str(root))
    (root / "scans").mkdir()
    with pytest.raises(DataError, match="mixed layouts, holds ScanNet v2 as published and as Pointcept has it"):
        list_sources(data, "test")
    (root / "scans").rename(root / "scannet_3d")
    with pytest.raises(DataError, match="mixed layouts, holds scannet as Pointcept has it and as OpenScene"):
        list_sources(data, "test")
    (root / "scannet_3d").rmdir()
    save(root / "train" / "scene0700_00", **arrays(rng))
    with pytest.raises(DataError, match="val: expected scenes that are in no other list"):
        list_sources(data, "test")
    for place in (root / "val", root.parent):
        with pytest.raises(DataError, match="data root without ScanNet v2"):
            list_sources(DataConfig("scannet", "scannet20", root=str(place)), "test")


def test_the_check_says_what_is_there(rng: np.random.Generator, tmp_path: Path, capsys) -> None:
    root = dataset(tmp_path / "data", rng, train=2)
    for path in root.glob("*/*/segment20.npy"):  # floors that lie low, or the check doubts the labels
        low = np.load(path.with_name("coord.npy"))[:, 2] < 0.1
        np.save(path, np.where(low, 1, 0))
    assert check_folder(root, known_layouts()) == 0
    said = capsys.readouterr().out
    assert "scenes as Pointcept preprocesses them" in said
    assert "evaluation" in said
    assert "4 scenes, 0 problems" in said
    (root / "train" / "scene0001_00" / "segment20.npy").unlink()
    (root / "val" / "scene0700_00" / "color.npy").write_bytes(b"\x93NUMPY")
    assert check_folder(root, known_layouts()) == 1
    said = capsys.readouterr().out
    assert "scene0001_00" in said
    assert "color.npy" in said
    assert check_folder(root / "test" / "scene0707_00", known_layouts()) == 0
    assert "one scene" in capsys.readouterr().out


def test_open_scan_takes_other_datasets_of_pointcept(rng: np.random.Generator, tmp_path: Path) -> None:
    bare = arrays(rng)
    scan = open_scan(save(tmp_path / "Area_1" / "office_1", coord=bare["coord"], segment=bare["segment20"][:, None]))
    assert any("grey" in said for said in scan.scene.as_read)
    np.testing.assert_array_equal(scan.scene.points, bare["coord"])
