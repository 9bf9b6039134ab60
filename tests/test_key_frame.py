"""The table of the real key frame is what its record says."""

import json
from pathlib import Path

import pytest

from geoguide.report.key_frame import key_frame_recall


def test_the_committed_record_is_real_and_counts_all_labelled_points():
    record = json.loads((Path(__file__).parents[1] / "results" / "key_frame.json").read_text())
    assert record["source"] == "real" and sum(row["points"] for row in record["rows"]) == record["labelled"]
    assert all(row["seen"] <= row["points"] for row in record["rows"])


def test_shares_are_of_seen_points_and_unknown_classes_stay_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path))
    assert key_frame_recall().empty
    keys = ("class", "points", "seen", "recall_own_names", "recall_text", "most_frequent_answer")
    values = (
        ("car", 8, 4, 0.75, 0.5, "car"),
        ("trailer", 0, 0, None, None, None),
        ("barrier", 2, 2, None, 0.0, "fence"),
    )
    rows = [dict(zip(keys, line, strict=True)) for line in values]
    (tmp_path / "key_frame.json").write_text(json.dumps({"rows": rows}))
    table = key_frame_recall()
    assert table.to_numpy().tolist() == [
        [8, "50", "75", "50", "car"],
        [0, "", "", "", ""],
        [2, "100", "", "0", "fence"],
    ]
    assert table.index.tolist() == ["car", "trailer", "barrier"]
