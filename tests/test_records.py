"""Records and verification on a real tiny run: found again, complete, reproducible, honest about differences."""

import json
import os
from pathlib import Path

import pytest
import torch
from fake_records import fake_record, scores
from rights import without_rights

from geoguide.errors import DataError
from geoguide.experiments import pools, records, run, verify
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import on
from geoguide.experiments.presets import adapter_only, for_longer, fusion, preset
from geoguide.frozen import config_hash
from geoguide.labels import load_label_set
from geoguide.paths import checkpoints_root
from geoguide.pipeline.config import ExperimentConfig
from geoguide.text_files import parse_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def record(tiny: ExperimentConfig, folder: Path) -> records.Record:
    return run.run(tiny, folder=folder, progress=False)


def test_a_record_names_everything_its_number_depends_on(record: records.Record, tiny: ExperimentConfig) -> None:
    assert record.config == tiny and record.facts == Facts.of(tiny)
    assert record.provenance == "mini" and record.raw["teacher"] == "simulated"
    told = {"mode", "prompt", "absent_class", "no_feature", "repeats", "label_set", "split"}
    assert set(record.raw["protocol"]) >= told
    assert set(record.metrics.iou) == set(load_label_set("scannet20").names)
    assert record.data["scenes"] == {"train": 2, "val": 1, "test": 1}
    assert record.history[-1]["step"] == tiny.train.steps and record.converged in (True, False)
    assert {"torch", "numpy"} <= set(record.environment["packages"])
    assert 0 < record.regions["superpoint_purity"] <= 1


def test_miou_follows_from_the_confusion_matrix(record: records.Record) -> None:
    matrix = record.metrics.confusion
    total = 0.0
    for c in range(20):
        row, column = sum(matrix[c]), sum(line[c] for line in matrix)
        total += matrix[c][c] / (row + column - matrix[c][c]) if row else 0.0
    assert record.metrics.miou == pytest.approx(100 * total / 20)


def test_found_by_config_whatever_the_row_is_called(record: records.Record, tiny, folder) -> None:
    assert records.find(tiny.replace(name="another name"), folder) == record
    assert records.find(tiny.replace(seed=9), folder) is None
    assert run.get(tiny, folder=folder) == record


def test_a_row_that_was_renamed_and_run_again_has_one_file(tiny: ExperimentConfig, tmp_path: Path) -> None:
    config = tiny.replace(train__steps=2, train__evaluate_every=1)
    run.run(config, folder=tmp_path, progress=False)
    again = run.run(config.replace(name="renamed"), folder=tmp_path, progress=False)
    assert [path.name for path in tmp_path.glob("*/*")] == [f"renamed-s0-{again.id}.json"]
    assert records.find(config, tmp_path) == again


def test_a_run_that_went_on_counts_the_time_before(tiny: ExperimentConfig, tmp_path: Path) -> None:
    config = tiny.replace(train__steps=2, train__evaluate_every=1, seed=5)
    whole = run.run(config, folder=tmp_path, progress=False)
    (checkpoint,) = checkpoints_root().glob(f"{config_hash(config.training())}-*.pt")
    saved = torch.load(checkpoint, weights_only=True)
    assert 0 < saved["seconds"] <= whole.wall_seconds
    torch.save(saved | {"seconds": 1000.0}, checkpoint)
    again = run.run(config, folder=tmp_path, progress=False)
    assert again.metrics == whole.metrics and again.wall_seconds > 1000


def test_one_row_is_prepared_by_all_workers(tiny: ExperimentConfig, tmp_path: Path, monkeypatch) -> None:
    """It then trains here, with all threads."""
    did = []
    monkeypatch.setattr(pools, "prepare_by", lambda pool, parts: did.extend(split for _, split in parts))
    monkeypatch.setattr(pools, "run", lambda config, **_: did.append(config))
    pools.run_all([tiny], folder=tmp_path, workers=2)
    assert did == ["train", "val", "test", tiny]
    did.clear()
    pools.run_all([tiny], folder=tmp_path, workers=1)
    assert did == [tiny]


def test_verify_trains_again_and_compares(record: records.Record, tiny, folder, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(folder))
    monkeypatch.setattr(verify, "profile", lambda name: [tiny])
    report = tmp_path / "report.json"
    (checkpoint,) = checkpoints_root().glob(f"{record.id}-*.pt")
    before = checkpoint.stat().st_mtime_ns
    result = verify.verify("quick", report=report)
    assert checkpoint.stat().st_mtime_ns > before
    assert result["reproduced"] and result["same_data"]
    assert result["identical"] or torch.cuda.is_available()  # sums on a GPU come in any order
    assert json.loads(report.read_text())["rows"][0]["id"] == record.id
    (path,) = folder.glob("*/*.json")
    changed = json.loads(path.read_text())
    scores = changed["metrics"]
    there = [name for name, value in scores["iou"].items() if value is not None]
    scores["iou"][there[0]] -= 40.0  # of 20 classes
    scores |= {"miou": scores["miou"] - 2.0, "miou_skip": scores["miou_skip"] - 40.0 / len(there), "confusion": None}
    changed["confusions"] = {}
    other = tmp_path / "mini-scannet"
    other.mkdir()
    (other / path.name).write_text(json.dumps(changed))
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path))
    result = verify.verify("quick")
    assert not result["reproduced"] and result["rows"][0]["difference_miou"] == pytest.approx(2.0)


def test_missing_and_broken_records_are_named(tmp_path, monkeypatch, tiny) -> None:
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path))
    monkeypatch.setattr(verify, "profile", lambda name: [tiny])
    with pytest.raises(DataError, match="no committed record of 'tiny'"):
        verify.verify("quick")
    broken = tmp_path / "broken.json"
    broken.write_text('{"id": ')
    with pytest.raises(DataError, match="broken.json: not valid json, truncated?"):
        records.read(broken)
    broken.write_text('{"id": "x"}')
    with pytest.raises(DataError, match="no field 'config'"):
        records.read(broken)
    broken.write_text(json.dumps({"id": "x", "config": {"epochs": 3}}))
    with pytest.raises(DataError, match=r"broken.json: unreadable record \(config.epochs: unknown field"):
        records.read(broken)


def test_committed_records_keep_their_bytes_and_names() -> None:
    found = records.read_all()
    paths = sorted(records.results_root().glob("*/*-s*-*.json"))
    assert len(found) == len(paths) > 200
    for record, path in zip(found, paths, strict=True):
        assert records.dumps(record.raw) == path.read_text()
        assert records.record_path(record.config) == path and path.stem.endswith(record.id)
        assert records.find(record.config) is record  # the process has read the file


def aged(path: Path, nanoseconds: int = 0) -> None:
    """As if it had been written an hour ago."""
    hour = path.stat().st_mtime_ns // 10**10 * 10**10 - 3600 * 10**9 + nanoseconds
    os.utime(path, ns=(hour, hour))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch) -> None:
    path, held, looked = tmp_path / "a-s0-0.json", fake_record(fusion()).raw, []
    monkeypatch.setattr(records, "parse_json", lambda *given: (looked.append(given[1]), parse_json(*given))[1])

    def write(seconds: float) -> None:  # in place, and of the same size
        path.write_text(records.dumps({**held, "wall_seconds": seconds}))

    write(1.0)
    aged(path)
    first = records.read(path)
    assert records.read(path) is first and len(looked) == 1
    write(2.0)
    aged(path, 1)
    assert records.read(path).wall_seconds == 2.0 and len(looked) == 2 and first.wall_seconds == 1.0
    write(3.0)  # now: a clock that ticks rarely gives the next version the same time
    now = path.stat().st_mtime_ns
    assert records.read(path).wall_seconds == 3.0
    write(4.0)
    os.utime(path, ns=(now, now))
    assert records.read(path).wall_seconds == 4.0
    path.unlink()
    with pytest.raises(DataError, match="record not found"):
        records.read(path)


def test_records_that_come_and_go_are_seen(tmp_path: Path) -> None:
    """By a folder whose names were read before, and by a record that another process had measured meanwhile."""
    short, longer = adapter_only(0), for_longer(adapter_only(0))
    paths = [records.record_path(config, tmp_path) for config in (short, longer)]
    paths[0].parent.mkdir()
    paths[0].write_text(json.dumps(fake_record(short, validation=40.0).raw))
    for path in (paths[0], paths[0].parent):
        aged(path)
    record = records.find(short, tmp_path)
    assert records.find(longer, tmp_path) is None and record.gained_by_longer is None and record.converged
    paths[1].write_text(json.dumps(fake_record(longer, validation=42.5).raw))
    assert records.find(longer, tmp_path).validation["miou"] == 42.5
    assert record.gained_by_longer == 2.5 and not record.converged
    paths[1].unlink()
    assert records.find(longer, tmp_path) is None and record.gained_by_longer is None and record.converged


def test_a_frame_has_a_column_for_every_fact_and_score() -> None:
    more = {"matterport40": {"confusion": None} | scores(7.0, iou={"wall": 1.0, "lamp": None})}
    rows = [
        fake_record(on(preset(drop="usd", seed=3), "matterport3d"), 20.0, by_label_set=more, validation=5.0),
        fake_record(on(fusion(), "matterport3d"), 30.0, by_label_set=more, seen_share=0.9),
    ]
    lines = records.frame(rows)
    assert set(lines.columns) >= {*rows[0].facts.columns(), "id", "miou", "macc", "miou_skip", "val_miou", "val_macc"}
    assert list(lines["miou"]) == [20, 30] and list(lines["macc"]) == [30, 40] and list(lines["val_miou"]) == [5, 0]
    assert list(lines["converged"]) == [True, None] and list(lines["seen_share"]) == [1.0, 0.9]
    assert list(lines["preset"]) == ["works-best", None] and lines["dropped"].iat[0] == ("usd",)
    wide = records.frame(rows, "matterport40")
    assert set(wide["label_set"]) == {"matterport40"} and list(wide["miou"]) == [7, 7]
    assert list(wide["classes"]) == [2, 2] and list(wide["occur"]) == [1, 1]
    with pytest.raises(DataError, match=f"record {rows[0].id}: not scored on matterport80"):
        records.frame(rows, "matterport80")
    with pytest.raises(DataError, match="no records"):
        records.frame([])


def test_lines_and_records_are_picked_by_facts_alike() -> None:
    rows = [fake_record(adapter_only(seed, teacher)) for seed in (0, 1) for teacher in ("OpenSeg-like", "LSeg-like")]
    rows += [fake_record(fusion()), fake_record(preset(drop="imr"))]
    lines = records.frame(rows)
    for row in ({}, {"teacher": "LSeg-like"}, {"preset": None, "seed": 0}, {"modules": ("usd", "iirc")}, {"seed": 9}):
        assert list(records.only(lines, row)["id"]) == [record.id for record in records.pick(rows, row)]
    assert len(records.only(lines, {"teacher": "LSeg-like"})) == 2
    both = frozenset({"2D fusion", "GeoGuide"})
    assert list(records.only(lines, {"method": both})["method"]) == ["2D fusion", "GeoGuide"]


def test_a_record_whose_config_was_edited_is_refused(tmp_path: Path):
    raw = fake_record(ExperimentConfig(name="a row")).raw
    path = tmp_path / "scannet" / "a-row-s0-0123456789.json"
    path.parent.mkdir()
    path.write_text(json.dumps(raw))
    records.read(path)
    raw["config"]["seed"] = 7
    path.write_text(json.dumps(raw))
    with pytest.raises(DataError, match=r"a-row.*: .*\(id .* is not that of the config.* 1 and 1.0 for two"):
        records.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scores: scores.update(miou=scores["miou"] + 1), r"metrics.miou is 26, 25 by the classes"),
        (lambda scores: scores.update(miou_skip=40.0), r"metrics.miou_skip is 40, 50 by the classes"),
        (lambda scores: scores["iou"].update(wall=60.0), r"metrics.miou_skip is 50, 60 by the classes"),
        (lambda scores: scores.update(iou={"wall": 60.0, "floor": None}, miou=30.0, miou_skip=60.0),
         r"metrics.iou.wall is 60, 50 by the classes"),
        (lambda scores: scores.update(confusion=[[3, 1], [0, 0]], iou={"wall": 80.0, "floor": None}, miou=40.0,
                                      miou_skip=80.0), r"metrics.iou.wall is 80, 75 by the classes"),
        (lambda scores: scores.update(confusion=[[1]]), r"metrics.confusion must be \[2, 2\], found \[1, 1\]"),
    ],
)  # fmt: skip
def test_a_number_that_was_typed_into_a_record_is_refused(tmp_path: Path, change, message: str) -> None:
    share = {
        "iou": {"wall": 50.0, "floor": None},
        "acc": {"wall": 50.0, "floor": None},
        "miou_skip": 50.0,
        "macc": 25.0,
    }
    raw = fake_record(ExperimentConfig(), 25.0, **share, confusion=[[1, 1], [0, 0]]).raw
    path = tmp_path / "a-s0-0.json"
    path.write_text(records.dumps(raw))
    assert records.read(path).metrics.miou == 25.0
    change(raw["metrics"])
    path.write_text(records.dumps(raw))
    with pytest.raises(DataError, match=message):
        records.read(path)


def edited(*path: str | int, value: object):
    """A change of one value of a record's file; a function makes the new value from the old one."""

    def change(raw: dict) -> None:
        *parents, last = path
        for name in parents:
            raw = raw[name]
        raw[last] = value(raw[last]) if callable(value) else value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited("metrics", "macc", value=float("nan")), r"metrics.macc is nan, 25 by"),
        (edited("metrics", "macc", value=25.5), r"metrics.macc is 25.5, 25 by"),
        (edited("metrics", "macc", value=10**400), r"metrics.macc is a whole number beyond 64 bits"),
        (edited("metrics", "miou", value=float("inf")), r"metrics.miou is inf"),
        (edited("metrics", "confusion", 0, 1, value=10**400), r"metrics.confusion\[0\]\[1\] is a whole number"),
        (edited("metrics", "acc", "wall", value=20.0), r"metrics.acc.wall is 20, 50 by"),
        (edited("metrics", "acc", value={}), r"metrics.acc.wall and iou.wall must both"),
        (edited("metrics", "confusion", 1, value=[0]), r"metrics.confusion must be \[2, 2\], found \[2, "),
        (edited("metrics", "scene_miou", value={"room": 101.0}), r"metrics.scene_miou.room must be a share in %"),
        (edited("seed", value=1), r"seed is 1, 0 in the config"),
        (edited("name", value="mine"), r"name is 'mine', 'a row' in the config"),
        (edited("protocol", "mode", value="fusion"), r"protocol.mode is 'fusion', 'distill' in the config"),
        (edited("source", value=None), r"source must be mini or real, found None"),
        (edited("metrics", "scene_miou", "room", value="5"), r"metrics.scene_miou.room must be float, found '5'"),
        (edited("source", value="real"), r"source is 'real', of generated scenes"),
        (edited("training", value=None), r"training must be null in the mode fusion and nowhere else"),
        (edited("training", value=[]), r"training must hold values by name, found \[\]"),
        (edited("training", value={}), r"no field 'history'"),
        (edited("training", "history", value=lambda rows: rows[:-1]), r"training.history ends at step \d+, where"),
        (edited("training", "history", value=[]), r"training.history ends at step 0, where"),
        (edited("training", "history", 1, value={}), r"training.history\[1\].step must be a .* above \d+, found None"),
        (edited("training", "history", 0, "step", value=float("nan")), r"history\[0\].step must be .* found nan"),
        (edited("training", "history", 2, "val_miou", value=float("nan")), r"\[2\].val_miou must be a share .* nan"),
        (edited("training", "history", 7, value=lambda row: {"step": row["step"]}), r"\[7\].val_miou must .* None"),
        (edited("data", "seen_share", value=float("nan")), r"data.seen_share must be 0 to 1, found nan"),
        (edited("validation", value={}), r"validation.miou must be a share in %, found None"),
        (edited("validation", "macc", value=float("nan")), r"validation.macc must be a share in %, found nan"),
        (edited("validation", value=None), r"validation is null, but training.history\[0\] has val_miou"),
        (edited("protocol", value=None), r"protocol must hold values by name, found None"),
        (edited("wall_seconds", value=-1.0), r"wall_seconds must be at least 0"),
    ],
)  # fmt: skip
def test_a_record_that_contradicts_itself_is_refused(tmp_path: Path, change, message: str) -> None:
    share = {"iou": {"wall": 50.0, "floor": None}, "acc": {"wall": 50.0, "floor": None}, "miou_skip": 50.0}
    share |= {"scene_miou": {"room": 50.0, "empty": float("nan")}, "macc": 25.0}  # a scene without labelled points
    raw = fake_record(ExperimentConfig(name="a row"), 25.0, **share, confusion=[[1, 1], [0, 0]]).raw
    path = tmp_path / "a-s0-0.json"
    path.write_text(records.dumps(raw))
    assert records.read(path).metrics.macc == 25.0
    change(raw)
    path.write_text(records.dumps(raw))
    with pytest.raises(DataError, match=message) as refused:
        records.read(path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)


def test_mean_accuracy_of_2d_fusion_may_be_lower_than_that_of_the_points_with_a_feature(tmp_path: Path) -> None:
    share = {"iou": {"wall": 40.0}, "acc": {"wall": 50.0}, "miou_skip": 40.0, "confusion": [[1]]}
    raw = fake_record(fusion(), 40.0, **share | {"acc": {"wall": 100.0}, "macc": 45.0}).raw
    path = tmp_path / "a-s0-0.json"
    path.write_text(records.dumps(raw))
    assert records.read(path).metrics.macc == 45.0


@pytest.mark.parametrize("text", ["[1]", "null", '"text"', "7"])
def test_json_that_is_no_record_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a-s0-0.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a-s0-0.json: unreadable record \(record must hold values by name"):
        records.read(path)


def test_a_record_under_the_name_of_another_never_stands_for_it(tmp_path: Path, monkeypatch) -> None:
    """Else `verify` would compare with the scores of another seed, and call that reproduced."""
    mine, other = preset(seed=0), preset(seed=1)
    path = records.record_path(mine, tmp_path)
    path.parent.mkdir()
    path.write_text(records.dumps(fake_record(other).raw))
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path))
    monkeypatch.setattr(verify, "profile", lambda name: [mine])
    for look in (lambda: records.find(mine), records.read_all, lambda: verify.verify("quick")):
        with pytest.raises(DataError, match=rf"{path.name}: holds the record {fake_record(other).id} .* copied"):
            look()


def test_two_files_of_one_experiment_are_refused(tmp_path: Path) -> None:
    """A copy counted one seed twice in every table, and which of the two was compared was left to their names."""
    path = records.record_path(ExperimentConfig(name="a row"), tmp_path)
    path.parent.mkdir()
    path.write_text(records.dumps(fake_record(ExperimentConfig(name="a row")).raw))
    copy = path.with_name(f"b-{path.name}")
    copy.write_text(path.read_text())
    for look in (lambda: records.find(ExperimentConfig(), tmp_path), lambda: records.read_all(tmp_path)):
        with pytest.raises(DataError, match=rf"{path.name}: {copy.name} beside it is of the same experiment"):
            look()


def test_scores_that_are_no_numbers_are_never_reproduced() -> None:
    old, new = fake_record(fusion()), fake_record(fusion(), macc=float("nan"))
    assert not verify.compare(old, new)["within"] and not verify.compare(new, old)["within"]
    assert verify.compare(old, old)["within"]


def test_what_file_managers_leave_is_no_record_and_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Records that nobody may read were missing in every table without a word, and computed again."""
    path = records.record_path(ExperimentConfig(), tmp_path)
    path.parent.mkdir()
    path.write_text(records.dumps(fake_record(ExperimentConfig()).raw))
    path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")  # macOS writes it onto disks of others
    (tmp_path / ".tool").mkdir()
    (tmp_path / ".tool" / path.name).write_text("{}")
    looks = (lambda: records.find(ExperimentConfig(), tmp_path), lambda: records.read_all(tmp_path)[0])
    assert [look().id for look in looks] == [fake_record(ExperimentConfig()).id] * 2
    for folder in (path.parent, tmp_path):
        with without_rights(folder):
            for look in looks:
                with pytest.raises(DataError, match=rf"^{folder}: folder of records cannot be read"):
                    look()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: folder of records not found or not a folder"):
        records.read_all(tmp_path / "file")
