"""Label sets and ScanNet's category table."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import GROUPS, label_set_names, load_category_table, load_label_set
from geoguide.worlds.palette import RAW_TO_NYU40

NAMES = (
    *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter"),
    *("desk", "curtain", "refrigerator", "shower curtain", "toilet", "sink", "bathtub", "otherfurniture"),
)
NYU40 = (*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39)


def test_scannet20_is_the_official_set():
    labels = load_label_set("scannet20")
    assert labels.names == NAMES
    assert labels.raw_ids == NYU40
    assert labels.colors.shape == (20, 3)
    assert labels.colors.dtype == np.uint8
    assert labels.colors[0].tolist() == [174, 199, 232]
    assert labels.colors[19].tolist() == [82, 84, 163]
    assert len(np.unique(labels.colors, axis=0)) == 20
    assert set(labels.group) == set(GROUPS)
    assert len(labels) == len(labels.group) == 20


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int16])
def test_from_raw_equals_a_dictionary(dtype):
    ids = np.arange(-5, 300, dtype=dtype).reshape(5, 61)
    expected = [[dict(zip(NYU40, range(20), strict=True)).get(int(value), 255) for value in row] for row in ids]
    found = load_label_set("scannet20").from_raw(ids)
    assert found.dtype == np.int64
    assert found.tolist() == expected


def test_from_raw_of_unsigned_ids():
    assert load_label_set("scannet20").from_raw(np.array([0, 1, 65535], np.uint16)).tolist() == [255, 0, 255]


@pytest.mark.parametrize("ids", [np.array([0.7]), np.array([True]), np.array(["1"])])
def test_ids_that_are_no_integers_are_refused(ids):
    labels, categories = load_label_set("scannet20"), load_category_table()
    for look_up in (labels.from_raw, labels.to_raw, categories.nyu40):
        with pytest.raises(InputError, match=rf"label ids must be integers, found {ids.dtype}"):
            look_up(ids)


def test_to_raw_inverts_from_raw():
    labels = load_label_set("scannet20")
    assert labels.from_raw(labels.to_raw(np.arange(20))).tolist() == list(range(20))
    assert labels.to_raw(np.array([255, -1, 20])).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "count", "raw"),
    [
        ("scannet20", 20, "nyu40"),
        ("scannet200", 200, "scannet_id"),
        ("matterport21", 21, "nyu40"),
        ("matterport40", 40, "nyu_class"),
        ("matterport80", 80, "nyu_class"),
        ("matterport160", 160, "nyu_class"),
    ],
)
def test_every_set_is_whole(name: str, count: int, raw: str):
    labels = load_label_set(name)
    assert name in label_set_names()
    assert len(labels) == len(set(labels.names)) == len(labels.colors) == len(labels.group) == count
    assert labels.raw == raw
    assert set(labels.group) == set(GROUPS)
    known = labels.raw_names if raw == "nyu_class" else labels.raw_ids
    assert len(set(known)) == count
    assert (labels.raw_ids == ()) == (raw == "nyu_class")
    if labels.raw_ids:
        assert labels.from_raw(labels.to_raw(np.arange(count))).tolist() == list(range(count))


def test_scannet200_is_the_official_set():
    labels = load_label_set("scannet200")
    assert labels.names[:4] == ("wall", "chair", "floor", "table")
    assert (labels.raw_ids[:2], labels.raw_ids[-1], labels.names[-1]) == ((1, 2), 1191, "mattress")
    assert labels.colors[199].tolist() == [42, 94, 198]
    assert [labels.group.count(group) for group in GROUPS] == [66, 68, 66]  # the official split
    assert labels.group[labels.names.index("ceiling")] == "head"
    assert labels.group[labels.names.index("poster")] == "tail"


def test_matterport21_is_scannet20_with_other_and_ceiling():
    labels = load_label_set("matterport21")
    assert labels.names == (*NAMES[:19], "other", "ceiling")
    assert labels.raw_ids == (*NYU40, 22)
    assert labels.from_raw(np.array([22, 39, 13, 0])).tolist() == [20, 19, 255, 255]
    assert np.array_equal(labels.colors[:20], load_label_set("scannet20").colors)


def test_matterport_sets_continue_one_another():
    sets = [load_label_set(f"matterport{count}") for count in (40, 80, 160)]
    for small, large in itertools.pairwise(sets):
        assert large.names[: len(small)] == small.names
        assert np.array_equal(large.colors[: len(small)], small.colors)
    assert sets[0].names[:5] == ("wall", "door", "ceiling", "floor", "picture")
    assert (sets[0].names[-1], sets[1].names[-1], sets[2].names[-1]) == ("faucet", "bucket", "alarm")
    assert sets[2].raw_names == sets[2].names


def test_sets_of_names_and_sets_of_ids():
    names, ids = load_label_set("matterport40"), load_label_set("matterport21")
    assert names.from_raw_names(["floor", "void", "", "wall"]).tolist() == [3, 255, 255, 0]
    with pytest.raises(InputError, match=r"matterport40 is defined by nyu_class names, not by ids"):
        names.from_raw(np.array([1]))
    with pytest.raises(InputError, match=r"matterport40 is defined by nyu_class names"):
        names.to_raw(np.array([1]))
    with pytest.raises(InputError, match=r"matterport21 is defined by nyu40 ids, not by names"):
        ids.from_raw_names(["wall"])


def test_sets_have_the_sizes_of_the_recorded_metrics(golden: Path):
    record = json.loads((golden / "metrics" / "C_info.json").read_text())
    for name, count in (("matterport_3d", 21), *((f"matterport_3d_{k}", k) for k in (40, 80, 160))):
        assert len(load_label_set(f"matterport{count}")) == record[name]["unique_names"] == count


def test_unknown_label_set_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"scannet9000.*known: .*scannet20"):
        load_label_set("scannet9000")


def test_from_raw_refuses_floats():
    with pytest.raises(InputError, match=r"integers"):
        load_label_set("scannet20").from_raw(np.array([1.0]))


def test_category_table_holds_every_category_of_the_mini_rooms():
    table = load_category_table()
    assert set(table.ids) == set(RAW_TO_NYU40)
    assert {name: table.nyu40_of[raw_id] for name, raw_id in table.ids.items()} == RAW_TO_NYU40
    assert len(set(table.ids.values())) == len(table.ids)


def test_category_table_maps_images_of_ids():
    table = load_category_table()
    image = np.array([[table.ids["couch"], 0], [60000, table.ids["trash can"]]], dtype=np.uint16)
    assert table.nyu40(image).tolist() == [[6, 0], [0, 39]]


def test_a_table_with_more_columns_is_read(tmp_path: Path):
    path = tmp_path / "table.tsv"
    path.write_text('id\traw_category\tcategory\tcount\tnyu40id\n7\t24" screen\tscreen\t3\t40\n9\tthing\tthing\t1\t\n')
    table = load_category_table(path)
    assert table.ids == {'24" screen': 7, "thing": 9}
    assert table.nyu40(np.array([7, 9])).tolist() == [40, 0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.filterwarnings("ignore::geoguide.errors.ReadAs")
def test_the_same_table_of_every_encoding_and_line_end(tmp_path: Path, encoding: str, end: str):
    text = "id\traw_category\tnyu40id\n7\tcaf\u00e9 table \t7\n\n9\tt\u00fcr\t8\n \t\t\n"
    path = tmp_path / "table.tsv"
    path.write_bytes(text.replace("\n", end).encode(encoding))
    table = load_category_table(path)
    assert table.ids == {"caf\u00e9 table": 7, "t\u00fcr": 9}
    assert table.nyu40(np.array([7, 9])).tolist() == [7, 8]


@pytest.mark.parametrize("wrong", [-1, 65536, 10**12])
def test_ids_that_no_image_holds(tmp_path: Path, wrong: int):
    path = tmp_path / "table.tsv"
    path.write_text(f"id\traw_category\tnyu40id\n{wrong}\twall\t1\n")
    with pytest.raises(DataError, match=rf"table.tsv: line 2: id must be 0..65535, found {wrong}"):
        load_category_table(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("id\tname\n1\twall\n", "line 1"), ("id\traw_category\tnyu40id\nx\twall\t1\n", "line 2"), ("", "no category")],
)
def test_a_broken_table_is_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "broken.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=f"broken.tsv.*{message}"):
        load_category_table(path)


def test_a_missing_table_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"none.tsv"):
        load_category_table(tmp_path / "none.tsv")
