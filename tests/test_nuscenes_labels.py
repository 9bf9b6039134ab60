"""nuScenes' label set, its categories, its splits and the finer names, against the devkit where it is installed."""

import csv

import numpy as np
import pytest
import torch

from geoguide.datasets.splits import SPLITS, load_split
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import FOLDER, GROUPS, load_label_set
from geoguide.labels.nuscenes import IGNORED, category_classes, load_finer_names

NAMES = (
    *("barrier", "bicycle", "bus", "car", "construction vehicle", "motorcycle", "person", "traffic cone", "trailer"),
    *("truck", "drivable surface", "other flat", "sidewalk", "terrain", "manmade", "vegetation"),
)


def rows() -> list[dict]:
    with (FOLDER / "nuscenes16.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_sixteen_classes():
    labels = load_label_set("nuscenes16")
    assert labels.names == NAMES
    assert labels.raw_ids == tuple(range(1, 17))  # the lidarseg challenge's
    assert labels.to_raw(np.array([0, 15, 255])).tolist() == [1, 16, 0]
    assert labels.from_raw(np.array([0, 1, 16, 17])).tolist() == [255, 0, 15, 255]
    assert labels.colors[3].tolist() == [255, 158, 0]
    assert len(np.unique(labels.colors, axis=0)) == 16 and set(labels.group) == set(GROUPS)


def test_categories_cover_all_thirty_two():
    classes = category_classes()
    assert len(classes) == 32 and len(IGNORED) == 12
    assert {name for name, label in classes.items() if label == 255} == set(IGNORED)
    assert classes["human.pedestrian.police_officer"] == classes["human.pedestrian.child"] == NAMES.index("person")
    assert classes["vehicle.bus.bendy"] == classes["vehicle.bus.rigid"] == NAMES.index("bus")
    assert sum(len(row["categories"].split()) for row in rows()) == 20
    assert all(len(row["categories"].split()) == len(row["category_ids"].split()) for row in rows())
    ids = [int(value) for row in rows() for value in row["category_ids"].split()]
    assert len(set(ids)) == 20 and not set(ids) & {0, 1, 5, 7, 8, 10, 11, 13, 19, 20, 29, 31}


def test_equals_the_devkit():
    utils = pytest.importorskip("nuscenes.eval.lidarseg.utils", reason="nuscenes-devkit is not installed")
    mapper = object.__new__(utils.LidarsegClassMapper)  # its tables need no data set
    mapper.ignore_class = mapper.get_ignore_class()
    names, ids, colors = mapper.get_fine2coarse(), mapper.get_coarse2idx(), mapper.get_coarse2color()
    official = [row["official_name"] for row in rows()]
    assert {name: ids[coarse] - 1 if ids[coarse] else 255 for name, coarse in names.items()} == category_classes()
    assert official == [name for name, number in sorted(ids.items(), key=lambda item: item[1]) if number]
    assert load_label_set("nuscenes16").colors.tolist() == [list(colors[name]) for name in official]
    colormap = list(pytest.importorskip("nuscenes.utils.color_map").get_colormap())
    for row in rows():
        assert [colormap[int(number)] for number in row["category_ids"].split()] == row["categories"].split()


def test_splits_equal_the_devkits():
    devkit = pytest.importorskip("nuscenes.utils.splits", reason="nuscenes-devkit is not installed")
    official = devkit.create_splits_scenes()
    for split in SPLITS["nuscenes"]:
        assert load_split("nuscenes", split) == tuple(sorted(official[split]))


def test_finer_names():
    finer = load_finer_names()
    assert len(finer) == 43 and len(set(finer.names)) == 43 and finer.classes == 16
    by_class = {
        name: [n for n, o in zip(finer.names, finer.owner, strict=True) if o == i] for i, name in enumerate(NAMES)
    }
    assert [len(names) for names in by_class.values()] == [2, 1, 1, 1, 5, 1, 2, 1, 5, 1, 1, 3, 1, 6, 4, 8]
    assert by_class["drivable surface"] == ["road"] and by_class["car"] == ["car"]
    assert by_class["other flat"] == ["curb", "traffic island", "traffic median"]
    with pytest.raises(DataError, match=r"finer_names.csv: label set 'scannet20' has no finer names"):
        load_finer_names("scannet20")
    with pytest.raises(ConfigError, match=r"unknown label set 'nuscenes17'"):
        load_finer_names("nuscenes17")


@pytest.mark.parametrize("shape", [(43,), (7, 43), (2, 3, 43), (0, 43)])
def test_pool_equals_a_loop(rng, device, shape):
    finer, similarity = load_finer_names(), rng.normal(size=shape)
    expected = np.empty((*shape[:-1], 16))
    for index in np.ndindex(*shape[:-1]):
        for label in range(16):
            expected[(*index, label)] = max(similarity[(*index, n)] for n in range(43) if finer.owner[n] == label)
    found = finer.pool(similarity)
    np.testing.assert_array_equal(found, expected)
    tensor = torch.tensor(similarity, dtype=torch.float32, device=device)
    pooled = finer.pool(tensor)
    assert pooled.dtype == torch.float32 and pooled.device == tensor.device
    np.testing.assert_array_equal(pooled.cpu().numpy(), finer.pool(tensor.cpu().numpy()))
    if found.size:  # OpenScene's order of steps: the best name first, then its class
        np.testing.assert_array_equal(found.argmax(-1), finer.owner[similarity.argmax(-1)])


def test_pool_refuses():
    with pytest.raises(InputError, match=r"similarity must be \[..., 43\], found \[5, 16\]"):
        load_finer_names().pool(np.zeros((5, 16)))
