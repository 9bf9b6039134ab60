"""Records and verification on a real tiny run: found again, complete, reproducible, honest about differences."""

import json

import pytest

from geoguide.errors import DataError
from geoguide.experiments import records, verify
from geoguide.frozen import from_dict
from geoguide.labels import load_label_set
from geoguide.pipeline.config import ExperimentConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def record(tiny: ExperimentConfig, folder) -> records.Record:
    return records.run(tiny, folder=folder, progress=False)


def test_a_record_names_everything_its_number_depends_on(record: records.Record, tiny: ExperimentConfig) -> None:
    assert from_dict(ExperimentConfig, record["config"]) == tiny
    assert record["source"] == "mini" and record["teacher"] == "simulated"
    assert set(record["protocol"]) >= {"mode", "prompt", "absent_class", "no_feature", "repeats", "label_set", "split"}
    assert set(record["metrics"]["iou"]) == set(load_label_set("scannet20").names)
    assert record["data"]["scenes"] == {"train": 2, "val": 1, "test": 1}
    assert record["training"]["history"][-1]["step"] == tiny.train.steps
    assert {"torch", "numpy"} <= set(record["environment"]["packages"])
    assert 0 < record["regions"]["superpoint_purity"] <= 1


def test_miou_follows_from_the_confusion_matrix(record: records.Record) -> None:
    matrix = record["metrics"]["confusion"]
    total = 0.0
    for c in range(20):
        row, column = sum(matrix[c]), sum(line[c] for line in matrix)
        total += matrix[c][c] / (row + column - matrix[c][c]) if row else 0.0
    assert record["metrics"]["miou"] == pytest.approx(100 * total / 20)


def test_found_by_config_whatever_the_row_is_called(record: records.Record, tiny, folder) -> None:
    assert records.find(tiny.replace(name="another name"), folder) == record
    assert records.find(tiny.replace(seed=9), folder) is None
    assert records.get(tiny, folder=folder) == record


def test_verify_trains_again_and_compares(record: records.Record, tiny, folder, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(records, "RESULTS", folder)
    monkeypatch.setattr(verify, "profile", lambda name: [tiny])
    report = tmp_path / "report.json"
    before = (records.checkpoints() / f"{record['id']}.pt").stat().st_mtime_ns
    result = verify.verify("quick", report=report)
    assert (records.checkpoints() / f"{record['id']}.pt").stat().st_mtime_ns > before
    assert result["reproduced"] and result["identical"] and result["same_data"]
    assert json.loads(report.read_text())["rows"][0]["id"] == record["id"]
    (path,) = folder.glob("*/*.json")
    changed = json.loads(path.read_text())
    changed["metrics"]["miou"] += 3.0
    other = tmp_path / "mini-scannet"
    other.mkdir()
    (other / path.name).write_text(json.dumps(changed))
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    result = verify.verify("quick")
    assert not result["reproduced"] and result["rows"][0]["difference_miou"] == pytest.approx(-3.0)


def test_missing_and_broken_records_are_named(tmp_path, monkeypatch, tiny) -> None:
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    monkeypatch.setattr(verify, "profile", lambda name: [tiny])
    with pytest.raises(DataError, match="no committed record of 'tiny'"):
        verify.verify("quick")
    broken = tmp_path / "broken.json"
    broken.write_text('{"id": ')
    with pytest.raises(DataError, match="broken.json: unreadable record"):
        records.read(broken)
    broken.write_text('{"id": "x"}')
    with pytest.raises(DataError, match="no field 'config'"):
        records.read(broken)
