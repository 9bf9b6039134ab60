"""The table of error anatomies: ranges, crosses and columns by hand; the committed columns are whole."""

from pathlib import Path

import numpy as np
import pytest

from geoguide.errors import DataError, InputError
from geoguide.report.anatomy_models import coordinates
from geoguide.report.anatomy_table import (
    PURITY,
    ROWS,
    STATED,
    Column,
    anatomy_table,
    inside,
    mean_over,
    of_each,
    out_of_range,
    outside_in_each_scene,
    over_scenes,
    reaches,
    read_columns,
    real_ones_left_out,
    real_range,
    write_columns,
)

REAL = {"a": Column("real", "room", {"accuracy": 62.0, "agree": 0.72}),
        "b": Column("real", "room", {"accuracy": 75.2, "agree": 0.75, "drift": None})}  # fmt: skip
MINE = Column(
    "simulated", "rooms", {"accuracy": 75.4, "agree": 0.756, "superpoint_gain": -4.0, "instance_gain": 6.9}, 0.951
)


def test_range_is_that_of_the_real_columns_and_the_stated_ones() -> None:
    spans = real_range({**REAL, "mine": MINE})
    assert spans == {"accuracy": (62.0, 75.2), "agree": (0.72, 0.75)} | STATED
    with pytest.raises(InputError, match="at least one real"):
        real_range({"mine": MINE})


def test_a_figure_is_inside_as_it_is_printed() -> None:
    spans = real_range(REAL)
    assert inside("accuracy", 75.4, spans) and not inside("accuracy", 75.6, spans)  # whole per cents
    assert inside("agree", 0.754, spans) and not inside("agree", 0.756, spans)
    assert inside("superpoint_gain", -40.0, spans) and inside("superpoint_gain", 3.04, spans)
    assert not inside("drift", 0.3, spans) and not inside("agree", None, spans)


def test_table_takes_any_columns_and_marks_those_that_are_not_real() -> None:
    spans = real_range(REAL)
    table = anatomy_table({"mine": MINE, **REAL}, spans).set_index("figure")
    assert list(table.columns) == ["real range", "a", "b", "mine"] and len(table) == len(ROWS) + 1
    assert table.loc["per-view accuracy (%)"].tolist() == ["62 to 75", "62", "75", "75"]
    assert table.loc["two views of a point agree"].tolist() == ["0.72 to 0.75", "0.72", "0.75", "0.76 ✗"]
    assert table.loc[ROWS["superpoint_gain"][0], "real range"] == "at most 3"
    assert table.loc[ROWS["drift"][0]].tolist() == ["", "", "", ""]
    assert table.loc[PURITY].tolist() == ["", "", "", "0.95"]
    assert out_of_range({"mine": MINE}, spans) == {"mine": {ROWS["agree"][0]: True, ROWS["instance_gain"][0]: True}}


def test_brackets_say_that_another_draw_of_rooms_could_bring_a_figure_in() -> None:
    rooms = [{"agree": 0.7, "accuracy": 80.0}, {"agree": 0.8, "accuracy": 81.0}, {"agree": 0.81, "accuracy": 79.0}]
    column, spans = Column("trained", "rooms", mean_over(rooms), None, of_each(rooms)), real_range(REAL)
    low, high = over_scenes(column, "agree")  # by hand: mean 0.77, t of two degrees 4.3027, standard deviation 0.0608
    assert (low, high) == pytest.approx((0.77 - 4.302653 * 0.0608276 / 3**0.5, 0.77 + 4.302653 * 0.0608276 / 3**0.5))
    assert reaches("agree", column, spans) and not reaches("accuracy", column, spans)  # 77.5 to 82.5 against 75.2
    table = anatomy_table({"mine": column, **REAL}, spans).set_index("figure")["mine"]
    assert table[ROWS["agree"][0]] == "0.77 (✗)" and table[ROWS["accuracy"][0]] == "80 ✗"
    assert out_of_range({"mine": column}, spans) == {"mine": {ROWS["accuracy"][0]: True, ROWS["agree"][0]: False}}
    few = Column("trained", "rooms", mean_over(rooms[1:]), None, of_each(rooms[1:]))
    assert over_scenes(few, "agree") is None and not reaches("agree", few, spans)  # of two rooms nothing is said


def test_a_real_network_is_held_against_the_others_and_a_room_alone_against_all() -> None:
    values = {"both": (62.0, 0.72), "MOSAIC": (60.0, 0.73), "ENet": (75.0, 0.75), "other": (61.0, 0.9)}
    real = {name: Column("real", "room", {"accuracy": a, "agree": b}) for name, (a, b) in values.items()}
    # both lies below the others' agreement, MOSAIC below their accuracy, ENet above both; the fourth above one
    assert real_ones_left_out({**real, "mine": MINE}) == {"both": 1, "MOSAIC": 1, "ENet": 2, "other": 1}
    rooms = [{"accuracy": 70.0, "agree": 0.9}, {"accuracy": 70.0}, {"accuracy": 80.0, "agree": 0.1}]
    column = Column("trained", "rooms", mean_over(rooms), None, of_each(rooms))
    assert outside_in_each_scene(column, real_range(real)) == [1, 0, 2]
    assert outside_in_each_scene(MINE, real_range(real)) == []


def test_a_column_is_the_mean_over_the_scenes_where_a_figure_is_defined() -> None:
    found = mean_over([{"accuracy": 60.0, "drift": float("nan")}, {"accuracy": 70.0, "drift": 0.5}])
    assert (found["accuracy"], found["drift"], found["agree"]) == (65.0, 0.5, None)
    with pytest.raises(InputError, match="scenes is empty"):
        mean_over([])


def test_columns_are_read_as_they_were_written(tmp_path: Path) -> None:
    each = Column("trained", "rooms", {"agree": 0.5}, 0.9, {"agree": [0.5, None]})
    write_columns({**REAL, "mine": MINE, "each": each}, tmp_path / "a.json")
    assert read_columns(tmp_path / "a.json") == {**REAL, "mine": MINE, "each": each}
    broken = dict.fromkeys(("[]", "{}", '{"columns": {"x": {"kind": 3}}}'), "must hold columns")
    for text, message in (broken | {"nonsense": "not valid json", "": "the file is empty"}).items():
        (tmp_path / "b.json").write_text(text)
        with pytest.raises(DataError, match=rf"b.json: .*{message}"):
            read_columns(tmp_path / "b.json")
    with pytest.raises(DataError, match="none.json: columns of an anatomy not found"):
        read_columns(tmp_path / "none.json")


def test_the_committed_columns_hold_every_figure() -> None:
    columns = read_columns()
    assert {column.kind for column in columns.values()} >= {"real", "simulated"}
    for name, column in columns.items():
        assert set(column.figures) == set(ROWS), name
        shares = [column.figures[f"share_{kind}"] for kind in ("instance", "boundary", "patch", "isolated")]
        assert sum(shares) == pytest.approx(1, abs=0.011)  # the first real columns were noted to two decimals
        for figure, values in (column.each or {}).items():  # the means are those of the scenes beside them
            said = [value for value in values if value is not None]
            assert np.mean(said) == pytest.approx(column.figures[figure], abs=2e-4), (name, figure)


def test_coordinates_keep_every_inner_product(rng: np.random.Generator) -> None:
    text = rng.normal(size=(5, 40)).astype(np.float32)
    few = coordinates(text)
    assert few.shape == (5, 5) and few.dtype == np.float32
    np.testing.assert_allclose(few @ few.T, text @ text.T, atol=1e-4)
