"""Text of every encoding and line end is the same text; what is no text is refused; so are files nobody may read."""

import bz2
import codecs
import gzip
import lzma
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from rights import without_rights

from geoguide.benchmarks.scenes import known_layouts
from geoguide.datasets.check.folder import check_folder
from geoguide.datasets.formats.files import listed, need_folder, read_matrix
from geoguide.errors import DataError, ReadAs
from geoguide.text_files import need_file, parse_json, read_names, read_table, read_text, whole_cell

TEXT = "id\traw_category\n1\tcafé table\n2\tTür – “x”\n"
ENCODINGS = {
    "utf-8": (b"", False),
    "utf-8-sig": (b"", False),
    "utf-16-le": (codecs.BOM_UTF16_LE, True),
    "utf-16-be": (codecs.BOM_UTF16_BE, True),
    "utf-32-le": (codecs.BOM_UTF32_LE, True),
    "utf-32-be": (codecs.BOM_UTF32_BE, True),
    "cp1252": (b"", True),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_same_text_of_every_encoding_and_line_end(tmp_path: Path, encoding: str, end: str):
    mark, named = ENCODINGS[encoding]
    path = tmp_path / "table.tsv"
    path.write_bytes(mark + TEXT.replace("\n", end).encode(encoding))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_text(path, "table") == TEXT
    assert [issubclass(warning.category, ReadAs) for warning in caught] == [True] * named
    if named:
        assert str(path) in str(caught[0].message) and "was read as" in str(caught[0].message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("utf-16-le"), "it holds zero bytes .*UTF-16 without a byte-order mark"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "it holds zero bytes"),
        (b"scene\xe9\x81", "byte 6 is neither UTF-8 nor Windows-1252"),
        (b"scene\xe9\x07", "byte 6 is 0x07, a control character"),
        (codecs.BOM_UTF16_LE + b"a\0b", "byte 4 is not UTF-16-LE, as the file's byte-order mark says"),
        (codecs.BOM_UTF8 + b"a\xff", "byte 4 is not UTF-8, as"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"list.txt: split list is not a text file: .*({message})"):
        read_names(path, "split list")


def test_lists_of_names(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"# of 2024\r\nscene1  # kitchen\r\n\r\n\tscene2 \r\nscene1\r\n")
    with pytest.warns(ReadAs, match=r"list.txt: split list: 1 repeated names were left out, first scene1"):
        assert read_names(path, "split list") == ("scene1", "scene2")
    path.write_bytes(b"")
    assert read_names(path, "split list") == ()
    for text in ('["scene1"]', "scene1,scene2", "404: Not Found", '"scene1"'):
        path.write_text(f"\n{text}")
        with pytest.raises(DataError, match=r"list.txt: line 2: split list: expected names between blanks, found"):
            read_names(path, "split list")
    path.write_text("<!DOCTYPE html>\n<html>404</html>")
    with pytest.raises(DataError, match=r"list.txt: split list expected, found a web page"):
        read_names(path, "split list")


def test_cells_of_whole_numbers():
    assert whole_cell({"id": "-7"}, "id", "x.tsv: line 2") == -7 and whole_cell({"id": ""}, "id", "x", 0) == 0
    for text in ("1.0", "", "seven", "1" * 19):
        with pytest.raises(DataError, match=r"x.tsv: line 2: id must be a whole number, found '"):
            whole_cell({"id": text}, "id", "x.tsv: line 2")


def test_tables(tmp_path: Path):
    path = tmp_path / "table.tsv"
    path.write_text('id \traw\n\n1\t24" screen  \n\t\n2\n3\ta\tb\n')
    rows = [(3, {"id": "1", "raw": '24" screen'}), (5, {"id": "2"}), (6, {"id": "3", "raw": "a"})]
    assert read_table(path, "table", ("id",)) == rows
    with pytest.raises(DataError, match=r"table.tsv: line 5: table: expected id, raw, the line ends before"):
        read_table(path, "table", ("id", "raw"))
    with pytest.raises(DataError, match=r"line 1: table: expected columns nyu40id, with tabs .*, found 'id, raw'"):
        read_table(path, "table", ("nyu40id",))
    path.write_text('"id"\t"raw"\n"1"\t"24"" screen "\n2\t""\n3\t"a" or "b"\n4\t"\n')
    assert [row["raw"] for _, row in read_table(path, "table", ("id", "raw"))] == ['24" screen', "", '"a" or "b"', '"']
    path.write_text("")
    assert read_table(path, "table", ("id",)) == []
    path.write_text("id\n" + "x" * 200000)
    with pytest.raises(DataError, match=r"table.tsv: table cannot be read as a table"):
        read_table(path, "table", ())


def test_a_column_that_is_there_twice_is_refused_where_it_is_needed(tmp_path: Path):
    """Which of the two is meant cannot be known; what is not needed may be there as often as it likes."""
    path = tmp_path / "table.tsv"
    path.write_text("id\tname\tid\tother\tother\n1\tchair\t0\t\t\n")
    with pytest.raises(DataError, match=r"table.tsv: line 1: table: expected one column id, found 2"):
        read_table(path, "table", ("id", "name"))
    assert read_table(path, "table", ("name",))[0][1]["name"] == "chair"


def test_json_that_can_be_meant_in_two_ways():
    assert parse_json('{"a": [1], "b": {"a": null}}', "x.json") == {"a": [1], "b": {"a": None}}
    for text, message in (
        ('{"b": {"a": 1, "a": 2}}', "field 'a' occurs twice"),
        ("[" * 100000, "recursion"),
        ("1" * 5000, "4300 digits"),
        ('{"a": 1', "truncated"),
        (" \n", "the file is empty"),
        ('{"a": 1,\n<<<<<<< HEAD\n"b": 2\n=======\n"b": 3\n>>>>>>> other\n}', "line 2 begins a merge conflict"),
    ):
        with pytest.raises(DataError, match=f"x.json: not valid json.*{message}"):
            parse_json(text, "x.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_matrix_of_any_encoding(tmp_path: Path, encoding: str):
    path = tmp_path / "pose.txt"
    path.write_text("# a pose\n1 0 0 0 \n0 1 0 0\n\n0 0 1 -inf\n0 0 0 1\n", encoding=encoding, newline="\r\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadAs)
        assert read_matrix(path, ((4, 4),), "pose")[2].tolist() == [0, 0, 1, -np.inf]


def test_leftovers_of_operating_systems_are_not_listed(tmp_path: Path):
    for name in (
        "b.ply",
        "a.ply",
        "._a.ply",
        ".DS_Store",
        "Thumbs.db",
        "thumbs.db",
        "desktop.ini",
        "sub/c.ply",
        "sub/._c.ply",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in listed(tmp_path, "*")] == ["a.ply", "b.ply"]
    assert [path.name for path in listed(tmp_path, "**/*.ply")] == ["a.ply", "b.ply", "c.ply"]
    assert listed(tmp_path / "nowhere", "*") == ()


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights of files are another matter there")
def test_what_may_not_be_read_is_one_line(tmp_path: Path):
    folder, file = tmp_path / "folder", tmp_path / "file.txt"
    folder.mkdir()
    file.write_text("x")
    with without_rights(folder):
        for check in (need_folder, need_file):
            with pytest.raises(DataError, match=r"folder/x: thing cannot be read \(Permission denied\)"):
                check(folder / "x", "thing")
        with pytest.raises(DataError, match=r"folder: dataset folder cannot be read \(Permission denied\)"):
            check_folder(folder, known_layouts())
    with without_rights(file), pytest.raises(DataError, match=r"file.txt: thing cannot be read \(Permission denied\)"):
        read_text(file, "thing")


def test_what_is_no_file_says_what_it_is(tmp_path: Path) -> None:
    """A pipe is there, and "not found" alone sent people looking for a wrong path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    told = {"folder": "folder", "link": "link to nothing", "loop": "link to nothing", "pipe": "device, pipe or socket"}
    for name, what in told.items():
        with pytest.raises(DataError, match=rf"{name}: list of scenes not found, this is a {what}$"):
            need_file(tmp_path / name, "list of scenes")
    with pytest.raises(DataError, match=r"nothing: list of scenes not found$"):
        need_file(tmp_path / "nothing", "list of scenes")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a git-lfs pointer"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
        (gzip.compress(b"1 2 3", mtime=0), r"a packed file \(gzip\)"),
        (bz2.compress(b"1 2 3"), r"a packed file \(bzip2\)"),
        (lzma.compress(b"1 2 3"), r"a packed file \(xz\)"),
    ],
)
def test_what_was_not_fetched_or_not_unpacked_is_named(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a").write_bytes(content)
    for read in (need_file, read_text):
        with pytest.raises(DataError, match=f"a: scan expected, found {found}"):
            read(tmp_path / "a", "scan")
