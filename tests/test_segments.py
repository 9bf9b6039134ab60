"""Objects made of segments: a slow loop as oracle, and the signs of files that were made for another mesh."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from geoguide.benchmarks.scenes import known_layouts
from geoguide.datasets.check.folder import check_folder
from geoguide.datasets.formats.segments import JUDGED, check_agree, read_objects
from geoguide.datasets.scannet import load_scene
from geoguide.errors import DataError, ReadAs
from geoguide.pipeline.config import ExperimentConfig

KINDS = {"objectId": int, "segments": list}


def write(folder: Path, ids: np.ndarray, groups: list[list[int]], **more: object) -> tuple[Path, Path]:
    segments, objects = folder / "a.segs.json", folder / "a.aggregation.json"
    segments.write_text(json.dumps({"segIndices": ids.tolist()}))
    entries = [{"objectId": number, "segments": list(map(int, group))} for number, group in enumerate(groups)]
    objects.write_text(json.dumps({"segGroups": entries, **more}))
    return segments, objects


def test_objects_equal_a_loop(tmp_path: Path, rng: np.random.Generator):
    """The rule as the official code has it: object after object takes its segments, so that the last one wins."""
    ids = rng.integers(-5, 90, 400)
    groups = [rng.choice(np.unique(ids), rng.integers(1, 12)).tolist() for _ in range(25)]
    expected = np.full(400, -1)
    for number, group in enumerate(groups):
        for point, segment in enumerate(ids):
            if segment in group:
                expected[point] = number
    _, owner = read_objects(*write(tmp_path, ids, groups), 400, "vertices", KINDS)
    assert owner.dtype == np.int64 and np.array_equal(owner, expected)


def test_no_objects_and_no_points(tmp_path: Path):
    assert read_objects(*write(tmp_path, np.arange(3), []), 3, "faces", KINDS)[1].tolist() == [-1] * 3
    with pytest.warns(ReadAs, match="2 of 3 objects have no segments and are left out, first entry 1$"):
        found = read_objects(*write(tmp_path, np.arange(3), [[2], [], []]), 3, "faces", KINDS)[1]
    assert found.tolist() == [-1, -1, 0]
    assert len(read_objects(*write(tmp_path, np.arange(0), []), 0, "faces", KINDS)[1]) == 0


def test_segments_that_the_mesh_does_not_have(tmp_path: Path):
    """Some are named in a warning; from half of them on it is another mesh."""
    with pytest.warns(UserWarning, match=r"1 of the 4 segments that its objects name are not in a.segs.json"):
        _, owner = read_objects(*write(tmp_path, np.arange(9), [[1, 2], [3, 70]]), 9, "vertices", KINDS)
    assert owner.tolist() == [-1, 0, 0, 1, -1, -1, -1, -1, -1]
    for groups in ([[1], [70, 71]], [[70]], [[1, 70, 71, 72]]):
        with pytest.raises(DataError, match=r"a.aggregation.json: .* are not in a.segs.json: made for another mesh"):
            read_objects(*write(tmp_path, np.arange(9), groups), 9, "vertices", KINDS)
    with pytest.raises(DataError, match=r"a.segs.json: .* holds 9 values, the mesh has 8, made for another mesh"):
        read_objects(*write(tmp_path, np.arange(9), []), 8, "vertices", KINDS)


def test_the_scene_that_a_file_names(tmp_path: Path):
    files = write(tmp_path, np.arange(2), [[1]], sceneId="scannet.scene0001_00")
    with pytest.warns(UserWarning, match=r"made for scene0001_00 by its field 'sceneId', found with scene0000_00"):
        read_objects(*files, 2, "vertices", KINDS, "scene0000_00")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_objects(*files, 2, "vertices", KINDS, "scene0001_00")
        read_objects(*files, 2, "vertices", KINDS)


def test_objects_and_labels_that_disagree(rng: np.random.Generator):
    owner = np.repeat([-1, 0, 1, 2], JUDGED // 2)
    labels = np.repeat([9, 3, -1, 3], JUDGED // 2)
    a, b = Path("a.json"), Path("b.ply")
    check_agree(owner, labels, a, b)
    check_agree(owner, np.where(rng.random(len(owner)) < 0.05, 7, labels), a, b)
    with pytest.raises(DataError, match=r"a.json: only 8\d% of the points .* by b.ply: made for another mesh"):
        check_agree(owner, np.where(rng.random(len(owner)) < 0.16, 7, labels), a, b)
    check_agree(owner[: JUDGED // 2 + 9], rng.integers(0, 9, JUDGED // 2 + 9), a, b)  # too few points to judge by


def test_a_generated_room_with_the_objects_of_another(tiny: ExperimentConfig, tmp_path: Path, capsys):
    """Segment ids of both rooms begin at 0, so most of them are there: only the labels show that they do not belong."""
    scans = sorted((tiny.data.folder / "scans").iterdir())[:2]
    folder = Path(shutil.copytree(scans[0], tmp_path / "scans" / scans[0].name))
    assert load_scene(folder).instances is not None
    path = folder / f"{folder.name}.aggregation.json"
    other = json.loads((scans[1] / f"{scans[1].name}.aggregation.json").read_text())
    path.write_text(json.dumps(other))
    with pytest.raises(DataError, match=r"aggregation.json: .*made for another mesh"), pytest.warns(UserWarning):
        load_scene(folder)
    assert check_folder(tmp_path, known_layouts()) == 1
    assert "made for another mesh?" in capsys.readouterr().out
    other["segGroups"] = [group | {"segments": [i + 10**6 for i in group["segments"]]} for group in other["segGroups"]]
    path.write_text(json.dumps(other))
    assert check_folder(tmp_path, known_layouts()) == 1
    assert "segments that its objects name are not in" in capsys.readouterr().out
