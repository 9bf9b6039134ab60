"""Text that other people wrote: its encoding, its line ends, its cells; json; and files that cannot be opened.

Every reader of foreign text (txt, tsv, csv, json, conf) reads it with `read_text`, so that the same file is the same
text to all of them. Encodings are told by the bytes alone: a byte-order mark decides; without one it is UTF-8; bytes
that are not valid UTF-8 are read as Windows-1252, of which ScanNet's and Matterport3D's tables have been saved by
spreadsheets. Whatever is read otherwise than as UTF-8 gives one `ReadAs` warning that names the file.
"""

import codecs
import csv
import itertools
import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoguide.errors import START, DataError, ReadAs, first_line, refuse_foreign

# UTF-32's marks begin with those of UTF-16, so they are looked for first.
MARKS = {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be", codecs.BOM_UTF8: "utf-8"}
MARKS |= {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)  # fits into 64 bits
NO_NAME = re.compile(r"[\"'<>\[\]{},;:|?*]")  # in no name of a scene
QUOTED = re.compile(r'"((?:[^"]|"")*)"')  # a whole cell; a quote within is doubled
CONFLICT = re.compile(r"<{7} \S")  # how git marks the first of two versions of lines
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # in no text file; a form feed or a vertical tab may be


def need_file(path: str | Path, what: str) -> Path:
    """Check that a file is there and can be opened.

    Args:
        path: The file.
        what: What the file is, in words, for the message.

    Returns:
        `path` as a Path.

    Raises:
        DataError: There is no file at `path`, it cannot be opened, or is what `refuse_foreign` refuses.
    """
    _read(path, what, 0)
    return Path(path)


def read_text(path: str | Path, what: str) -> str:
    r"""Read a text file of whatever encoding.

    Args:
        path: The file: UTF-8 or Windows-1252, or with a byte-order mark UTF-8, UTF-16 or UTF-32.
        what: What the file is, in words, for messages.

    Returns:
        Its text without the byte-order mark, "" for an empty file. Lines end with "\n", whether the file has LF, CR LF
        or CR.

    Raises:
        DataError: The file is missing, cannot be opened, or is no text in any of these encodings.
    """
    data = _read(path, what)
    mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
    if not mark and b"\0" in data:
        hint = "binary, or UTF-16 without a byte-order mark?"
        raise DataError(f"{path}: {what} is not a text file: it holds zero bytes ({hint})")
    try:
        text, encoding = data[len(mark) :].decode(MARKS.get(mark, "utf-8")), MARKS.get(mark, "utf-8")
    except UnicodeDecodeError as error:
        if mark:
            wrong = f"byte {error.start + len(mark)} is not {MARKS[mark].upper()}, as the file's byte-order mark says"
            raise DataError(f"{path}: {what} is not a text file: {wrong}") from None
        text, encoding = _windows(data, path, what), "windows-1252"
    if encoding != "utf-8":
        reason = "as its byte-order mark says" if mark else "since its bytes are not UTF-8"
        warnings.warn(f"{path}: {what} was read as {encoding.upper()}, {reason}", ReadAs, stacklevel=2)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_names(path: str | Path, what: str) -> tuple[str, ...]:
    """Read a list of names, as splits are listed.

    Args:
        path: The file: names between blanks or line ends; from a word on that begins with "#" a line is a comment. It
            may be empty.
        what: What the file is, in words, for messages.

    Returns:
        The names, in the file's order, each once; a name that stands there twice gives a `ReadAs` warning.

    Raises:
        DataError: The file is missing or no text, or a word in it is no name: it holds quotes, brackets, commas or
            colons, as JSON, csv and answers of web servers do.
    """
    lines = read_text(path, what).split("\n")
    words = [itertools.takewhile(lambda word: not word.startswith("#"), line.split()) for line in lines]
    names = [(name, number) for number, line in enumerate(words, start=1) for name in line]
    odd = next(((name, number) for name, number in names if NO_NAME.search(name)), None)
    if odd is not None:
        raise DataError(f"{path}: line {odd[1]}: {what}: expected names between blanks, found {odd[0]!r:.80}")
    names = [name for name, _ in names]
    unique = tuple(dict.fromkeys(names))
    if len(unique) < len(names):
        twice = next(name for name in unique if names.count(name) > 1)
        lost = f"{len(names) - len(unique)} repeated names were left out, first {twice}"
        warnings.warn(f"{path}: {what}: {lost}", ReadAs, stacklevel=2)
    return unique


def read_table(path: str | Path, what: str, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Read a table whose cells are separated by tabs, as ScanNet and Matterport3D publish theirs.

    Quotes around a whole cell, which spreadsheets add, are no part of it; other quotes are, and join no cells.

    Args:
        path: The file; its first line names the columns. Lines without any cell that is not blank are left out.
        what: What the file is, in words, for messages.
        needed: Columns that it must have; it may have more.

    Returns:
        Number of the line in the file, and its cells by column, without blanks at either end: one pair for each row. A
        row that is too short lacks its last columns; cells beyond the last column are left out.

    Raises:
        DataError: The file is missing or no text, lacks a needed column or a cell of one, has two of that name, or
            holds a cell of more than 128 KiB.
    """
    rows = csv.reader(read_text(path, what).split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        cells = [(number, [_bare(cell.strip()) for cell in row]) for number, row in enumerate(rows, start=1)]
    except csv.Error as error:
        raise DataError(f"{path}: {what} cannot be read as a table ({error})") from None
    (first, columns), *filled = [(number, row) for number, row in cells if any(row)] or [(1, [])]
    if columns and not {*needed} <= {*columns}:
        expected = f"expected columns {', '.join(needed)}, with tabs between them"
        raise DataError(f"{path}: line {first}: {what}: {expected}, found {', '.join(columns)!r:.120}")
    twice = next((name for name in needed if columns.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: line {first}: {what}: expected one column {twice}, found {columns.count(twice)}")
    least = max((columns.index(name) + 1 for name in needed if columns), default=0)
    short = next((number for number, row in filled if len(row) < least), None)
    if short is not None:
        raise DataError(f"{path}: line {short}: {what}: expected {', '.join(needed)}, the line ends before")
    return [(number, dict(zip(columns, row, strict=False))) for number, row in filled]


def _bare(cell: str) -> str:
    """A cell without quotes around it."""
    match = QUOTED.fullmatch(cell) if cell.startswith('"') else None
    return match[1].replace('""', '"').strip() if match else cell


def whole_cell(row: dict[str, str], column: str, where: str, blank: int | None = None) -> int:
    """Read a cell that holds a whole number.

    Args:
        row: The cells of a row, by column, as `read_table` gives them.
        column: A column that it was asked for.
        where: The file and line, for the message.
        blank: What an empty cell stands for; None: nothing, it is refused.

    Returns:
        The number.

    Raises:
        DataError: The cell holds anything else.
    """
    text = row[column]
    if text == "" and blank is not None:
        return blank
    if not WHOLE.fullmatch(text):
        raise DataError(f"{where}: {column} must be a whole number, found {text!r:.40}")
    return int(text)


def parse_json(text: str | bytes, where: str | Path) -> Any:
    """Read json.

    Args:
        text: The json.
        where: The file, and where in it, for messages.

    Returns:
        Its value. NaN and Infinity, which json does not have but many programs write, are floats.

    Raises:
        DataError: It is no json, is nested too deeply, or an object names a field twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        text = text if isinstance(text, str) else text.decode("utf-8", "replace")
        merging = next((at for at, line in enumerate(text.split("\n"), start=1) if CONFLICT.match(line)), None)
        hint = ", truncated?" if merging is None else f", line {merging} begins a merge conflict: settle it in git"
        hint = "" if isinstance(error, _TwiceError) else hint if text.strip() else ", the file is empty"
        raise DataError(f"{where}: not valid json{hint} ({first_line(error)})") from None


class _TwiceError(ValueError):
    """A json object names a field twice: which of the two values is meant cannot be known."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these fields."""
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise _TwiceError(f"field {twice!r} occurs twice in one object")
    return value


def _read(path: str | Path, what: str, size: int = -1) -> bytes:
    """The first `size` bytes of a file, all of them by default."""
    try:
        if not Path(path).is_file():
            raise DataError(f"{path}: {what} not found{_instead(path)}")
        with Path(path).open("rb") as file:
            data = file.read(START)
            refuse_foreign(path, what, data)
            return data + file.read() if size < 0 else data[:size]
    except OSError as error:
        raise DataError(f"{path}: {what} cannot be read ({error.strerror})") from None


def _instead(path: str | Path) -> str:
    """What lies where a file is looked for, for a message that says that there is none."""
    if os.path.isdir(path):
        return ", this is a folder"
    if os.path.exists(path):
        return ", this is a device, pipe or socket"
    return ", this is a link to nothing" if os.path.islink(path) else ""


def _windows(data: bytes, path: str | Path, what: str) -> str:
    """Text in Windows-1252; `DataError` where bytes stand for nothing there, or for what no text holds."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is neither UTF-8 nor Windows-1252"
        raise DataError(f"{path}: {what} is not a text file: {found}") from None
    control = CONTROL.search(text)
    if control:
        found = f"byte {control.start()} is {data[control.start()]:#04x}, a control character"
        raise DataError(f"{path}: {what} is not a text file: {found}")
    return text
