"""A record counts only for the scenes that it was made of, where these lie at hand."""

import json
import shutil
from pathlib import Path

import pytest

from geoguide.datasets.config import DataConfig, Splits
from geoguide.errors import DataError
from geoguide.experiments import at_hand, grid, run
from geoguide.experiments.pools import run_all
from geoguide.experiments.records import Record, dumps, find, read, same_scenes
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.identity import READING

TRAIN, TEST = "scene0000_00", "scene7000_00"


@pytest.fixture
def config(tiny: ExperimentConfig, data_home: Path, tmp_path: Path) -> ExperimentConfig:
    """2D fusion of two rooms in a folder of ScanNet's layout."""
    for name in (TRAIN, TEST):
        shutil.copytree(data_home / "mini-scannet" / "scans" / name, tmp_path / "own" / "scans" / name)
    splits = Splits(train=(TRAIN,), test=(TEST,))
    data = DataConfig("scannet", root=str(tmp_path / "own"), splits=splits)
    return tiny.replace(data=data, protocol__mode="fusion", backbone__name="descriptors")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def correct_a_pose(config: ExperimentConfig) -> None:
    path = next((config.data.folder / "scans" / TEST / "pose").glob("*.txt"))
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0].rsplit(" ", 1)[0] + " 0.25", *lines[1:]]))


def made_by_an_older_version(record: Record) -> None:
    raw = json.loads(record.file.read_text())
    del raw["data"]["reading"]
    record.file.write_text(dumps(raw))


def test_a_record_of_other_scenes_is_made_again(config: ExperimentConfig, results: Path, capsys) -> None:
    (first,) = run_all([config])
    assert first.data["reading"] == READING
    found = at_hand.scenes_at_hand(config)
    assert found == {"fingerprint": first.data["fingerprint"], "reading": READING}
    assert run.get(config) == at_hand.find_here(config) == first and capsys.readouterr().out == ""
    correct_a_pose(config)
    with pytest.raises(DataError, match=rf"{first.file}: of other scenes than lie in .*own: delete it"):
        grid.plan([config], "tables")
    (second,) = run_all([config])
    said = f"{first.file}: of other scenes than lie in {config.data.root} (fingerprint {first.data['fingerprint']}, "
    assert said in capsys.readouterr().out
    assert second.data["fingerprint"] != first.data["fingerprint"] and second.metrics != first.metrics
    assert second.file == first.file and run.get(config) == second
    assert list(grid.plan([config], "tables")["rows"])


def test_where_nothing_can_be_compared_the_record_stands(config, results: Path, tmp_path: Path, capsys) -> None:
    (record,) = run_all([config])
    elsewhere = config.replace(data__root=str(tmp_path / "not at hand"))
    assert at_hand.find_here(elsewhere) == record  # the book shows records without their data
    made_by_an_older_version(record)
    assert run.get(config).data["fingerprint"] == record.data["fingerprint"] and capsys.readouterr().out == ""
    correct_a_pose(config)
    assert run.get(config) == run.get(config) == find(config)
    assert capsys.readouterr().out.count("whether it is of the scenes in") == 1


def test_generated_scenes_follow_from_the_config(tiny: ExperimentConfig, data_home: Path, results: Path) -> None:
    config = tiny.replace(protocol__mode="fusion", backbone__name="descriptors")
    record = run.run(config, progress=False)
    assert "reading" not in record.data and at_hand.scenes_at_hand(config) is None
    raw = json.loads(record.file.read_text())
    raw["data"]["fingerprint"] = "0" * 12  # another processor draws other pixels
    record.file.write_text(dumps(raw))
    assert at_hand.find_here(config) == read(record.file)


def test_scenes_are_compared_by_one_rule_alone() -> None:
    one, other = {"fingerprint": "a"}, {"fingerprint": "b"}
    assert same_scenes(one, one | {"reading": 3}) is True and same_scenes(one, other) is False
    assert same_scenes(one, other | {"reading": 3}) is None
    assert same_scenes(one | {"reading": 3}, other | {"reading": 3}) is False
