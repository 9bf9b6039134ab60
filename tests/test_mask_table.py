"""The file of how good masks are: figures of all scenes together, rows kept and replaced, and bad files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_records import fake_record

from geoguide.errors import DataError, InputError
from geoguide.experiments import regime
from geoguide.experiments.profiles import with_quality
from geoguide.experiments.real_rooms import ROOM
from geoguide.experiments.records import read_all
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.quality import average_precision, match_instances
from geoguide.report.mask_table import (
    MAKERS,
    NO_RECORD,
    REAL,
    SCORE,
    TEST,
    VALIDATION,
    MaskRow,
    findings,
    mask_row,
    mask_table,
    method_scores,
    read_rows,
    write_rows,
)
from geoguide.report.real_rooms import MASKS_FROM, frame, is_of_rooms, plain

TRUTH = np.repeat([0, 1, -1], [400, 100, 50])


def scenes() -> list[tuple[InstanceMasks, np.ndarray]]:
    """Perfect masks of one scene; of another a single mask, of a third of the first object."""
    part = np.zeros((1, 550), bool)
    part[0, :140] = True
    return [(InstanceMasks.from_labels(TRUTH), TRUTH), (InstanceMasks.from_dense(part, np.array([0.5])), TRUTH)]


def test_a_row_by_hand() -> None:
    row = mask_row("geometry", "two rooms", "mini", scenes())
    matches = [match_instances(masks, truth, scores=masks.scores) for masks, truth in scenes()]
    assert row.ap50 == round(average_precision(matches), 4)
    assert row.ap25 > row.ap50  # a third of an object is enough at 0.25
    assert row.mean_best_iou == pytest.approx((1 + 0.35 / 2) / 2)
    assert (row.recall50, row.masks, row.instances, row.scenes) == (0.5, 1.5, 2, 2)
    with pytest.raises(InputError, match="at least one scene is needed"):
        mask_row("geometry", "no room", "mini", [])


def test_rows_are_replaced_by_place_and_maker_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "masks.json"
    first = mask_row("geometry", "two rooms", "mini", scenes())
    write_rows([first], path)
    other, again = replace(first, maker="learned", ap50=0.9), replace(first, ap50=0.1)
    write_rows([other, again], path)
    assert read_rows(path) == [again, other]
    table = mask_table(read_rows(path))
    assert table["AP50"].tolist() == [0.1, 0.9] and table["masks from"].tolist()[1] == "learned (masks-mini)"
    (line,) = findings(read_rows(path))
    assert "AP50 0.90 against 0.10" in line
    assert findings([first]) == []


def test_the_score_of_the_method_stands_beside_the_masks_that_taught_it() -> None:
    """On the large edition by hand; a maker that nothing learned with has no record, nor have few rooms."""
    row = mask_row("geometry", TEST, "mini", scenes())
    rows = [replace(row, maker=maker, place=place) for place in (TEST, VALIDATION) for maker in MAKERS]
    configs = {config.name: config for config in regime.ablation((0,))}
    ran = {f"{name}, lseg-mini": score for name, score in (
        ("works-best/full", 40), ("works-best/full, learned masks and geometry's", 41), ("works-best/without imr", 9),
    )}  # fmt: skip
    found = [fake_record(configs[name], score, validation=score - 10) for name, score in ran.items()]
    found.append(fake_record(with_quality("true masks"), 99))
    told = mask_table(rows, found).set_index(["scenes", "masks from"])[SCORE]
    assert list(told[f"2 {TEST} (mini)"]) == ["40.0 [1]", NO_RECORD, "41.0 [1]", NO_RECORD]
    assert list(told[f"2 {VALIDATION} (mini)"]) == ["30.0 [1]", NO_RECORD, "31.0 [1]", NO_RECORD]
    assert set(mask_table(rows)[SCORE]) == {NO_RECORD}


def test_committed_scores_are_those_of_chapter_14() -> None:
    found = [record for record in read_all() if is_of_rooms(record)]
    if not found:
        pytest.skip("the committed records are not here")
    told, lines = method_scores(found), frame(found)
    places = {row.place for row in read_rows()}
    assert {place for place, _ in told} == {*REAL.values()} <= places
    lines = plain(lines, lines["teacher"].value_counts().idxmax())
    for name, maker in MASKS_FROM.items():
        mine = lines[(lines["row"] == name) & (lines["scored"] == ROOM)]
        assert sorted(told[REAL[ROOM], maker]) == sorted(mine["miou"]) and mine["seed"].is_unique


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid json, the file is empty"),
        ("[]", "field 'rows' is missing"),
        ('{"rows": 1}', "field 'rows' must be a list, found a whole number"),
        ('{"rows": [{"maker": 3}]}', r"rows of masks cannot be read \(rows\[0\].maker must be str, found 3"),
        ('{"rows": [1]}', r"rows of masks cannot be read \(rows\[0\] must hold values by name, found 1"),
        ('{"rows": [\n<<<<<<< HEAD\n', "not valid json, line 2 begins a merge conflict"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "masks.json").write_text(content)
    with pytest.raises(DataError, match=rf"masks\.json: {message}"):
        read_rows(tmp_path / "masks.json")
    with pytest.raises(DataError, match=r"none\.json: json file not found"):
        read_rows(tmp_path / "none.json")


def test_committed_rows_are_of_the_same_objects_whoever_made_the_masks() -> None:
    rows: dict[str, set[tuple[int, float]]] = {}
    for row in read_rows():
        assert isinstance(row, MaskRow) and row.ap25 >= row.ap50
        rows.setdefault(row.place, set()).add((row.scenes, row.instances))
    assert all(len(kinds) == 1 for kinds in rows.values())
