"""The file of how good masks are: figures of all scenes together, rows kept and replaced, and bad files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoguide.errors import DataError, InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.quality import average_precision, match_instances
from geoguide.report.mask_table import MaskRow, findings, mask_row, mask_table, read_rows, write_rows

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


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [{"maker": 3}]}', '{"rows": [1]}'])
def test_bad_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "masks.json").write_text(content)
    with pytest.raises(DataError, match=r"masks\.json: rows of masks cannot be read"):
        read_rows(tmp_path / "masks.json")
    with pytest.raises(DataError, match=r"none\.json: rows of masks cannot be read"):
        read_rows(tmp_path / "none.json")


def test_committed_rows_are_of_the_same_objects_whoever_made_the_masks() -> None:
    rows: dict[str, set[tuple[int, float]]] = {}
    for row in read_rows():
        assert isinstance(row, MaskRow) and row.ap25 >= row.ap50
        rows.setdefault(row.place, set()).add((row.scenes, row.instances))
    assert all(len(kinds) == 1 for kinds in rows.values())
