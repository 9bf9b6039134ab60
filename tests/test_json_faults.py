"""Every json file that a dataset has, with every value in it replaced by one of another kind: one line, or a scene."""

import json
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_matterport3d as matterport
import test_scannet as scannet
from tiny_nuscenes import VERSION, write_dataset, write_key_frame

from geoguide.datasets.matterport3d import load_region
from geoguide.datasets.nuscenes import list_samples, list_scenes, load_key_frame, load_sample, read_tables
from geoguide.datasets.scannet import load_scene
from geoguide.errors import DataError, GeoGuideError
from geoguide.scene import Scene

scene_folder, house = scannet.scene_folder, matterport.house  # fixtures of the readers' own tests
GONE = object()
WRONG = (None, True, 5, -1, 2**70, 0.5, math.nan, math.inf, "x", "", [], {}, [[]], [[1], [1, 2]], ["x"], {"a": 1}, GONE)


def places(value: Any, deep: int = 4) -> Iterator[tuple]:
    """The path of every value in a json value; of long lists the first entry stands for the others."""
    yield ()
    entries = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in entries:
        yield from ((key, *rest) for rest in (places(part, deep - 1) if deep else [()]))


def replaced(value: Any, path: tuple, new: Any) -> Any:
    """A copy of a json value with another value at one place, or without it."""
    if not path:
        return None if new is GONE else new
    first, rest = path[0], path[1:]
    copy = dict(value) if isinstance(value, dict) else list(value)
    if rest or new is not GONE:
        copy[first] = replaced(copy[first], rest, new)
    else:
        del copy[first]
    return copy


def outcomes(file: Path, read: Callable[[], Scene]) -> tuple[int, int]:
    """Read with every fault in turn; how often a scene came back, and how often one clear line."""
    text, scenes, refused = file.read_text(), 0, 0
    value = json.loads(text)
    for path in places(value):
        for new in WRONG:
            file.write_text(json.dumps(replaced(value, path, new)))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    scene = read()
                assert isinstance(scene, Scene)
                scenes += 1
            except GeoGuideError as error:
                assert "\n" not in str(error) and str(file.parents[1]) in str(error), (path, new, error)
                refused += 1
    file.write_text(text)
    return scenes, refused


def test_scannet(scene_folder: Path):
    for file in (scannet.SEGS, scannet.AGGREGATION):
        scenes, refused = outcomes(scene_folder / file, lambda: load_scene(scene_folder))
        assert scenes and refused > 30


@pytest.mark.parametrize("kind", ["fsegs", "semseg"])
def test_matterport3d(house: Path, tmp_path: Path, kind: str):
    mapping = tmp_path / "category_mapping.tsv"
    for folder in ("color", "depth"):  # the images are not under test, and slow
        (house / f"undistorted_{folder}_images").rename(house / folder)
    file = house / "region_segmentations" / f"region3.{kind}.json"
    _, refused = outcomes(file, lambda: load_region(house, 3, mapping=mapping))
    assert refused > 30


@pytest.mark.parametrize("table", ["scene", "sample", "sensor", "calibrated_sensor", "ego_pose", "sample_data"])
def test_nuscenes_tables(tmp_path: Path, rng: np.random.Generator, table: str):
    write_dataset(tmp_path, rng)

    def read() -> Scene:
        tables = read_tables(tmp_path, VERSION)
        return load_sample(tables, list_samples(tables, list_scenes(tables)[0])[0])

    _, refused = outcomes(tmp_path / VERSION / f"{table}.json", read)
    assert refused > 30


@pytest.mark.parametrize("table", ["category", "lidarseg", "splits"])
def test_nuscenes_tables_of_labels(tmp_path: Path, rng: np.random.Generator, table: str):
    write_dataset(tmp_path, rng)
    file = tmp_path / VERSION / f"{table}.json"
    if table == "splits":
        file.write_text('{"mini_val": ["scene-0103"]}')

    def read() -> Scene:
        tables = read_tables(tmp_path, VERSION)
        return load_sample(tables, next(iter(tables.samples)))

    _, refused = outcomes(file, read)
    assert refused > 10


def test_calibration_of_a_key_frame(tmp_path: Path, rng: np.random.Generator):
    folder = write_key_frame(tmp_path / "frame", rng)
    _, refused = outcomes(folder / "calibration.json", lambda: load_key_frame(folder))
    assert refused > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"segGroups": null}', "field 'segGroups' must be a list, found null"),
        ('{"segGroups": {"0": {}}}', "field 'segGroups' must be a list, found an object"),
        ('{"segGroups": [], "segGroups": [1]}', r"field 'segGroups' occurs twice in one object"),
        ('{"segGroups": [{"objectId": 1, "segments": null}]}', "segments of entry 0 must be a list, found null"),
        (
            '{"segGroups": [{"objectId": true, "segments": [7]}]}',
            "objectId of entry 0 must be a whole number, found true",
        ),
        ('{"segGroups": [{"objectId": 1, "segments": [NaN]}]}', "entry 0 .* must be a whole number, found .*nan"),
        ('{"segGroups": [{"objectId": -1, "segments": [7]}]}', "objectId must be 0..2147483647, found -1"),
        (
            '{"segGroups": [{"objectId": 1, "segments": [18446744073709551615]}]}',
            "must be integers of 64 bits, found 18446744073709551615",
        ),
        ("[" * 5000, "not valid json"),
        ('{"segGroups": ' + "1" * 5000 + "}", "not valid json"),
        ("", "not valid json"),
    ],
)
def test_broken_annotations_are_named(scene_folder: Path, text: str, message: str):
    path = scene_folder / scannet.AGGREGATION
    path.write_text(text)
    with pytest.raises(DataError, match=f"{path.name}: .*{message}"):
        load_scene(scene_folder)
