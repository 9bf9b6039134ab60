"""nuScenes' lidarseg: which class each category id is, and which file belongs to which key frame."""

from pathlib import Path

import numpy as np

from geoguide.datasets.formats.nuscenes_records import read_table, wrong_field
from geoguide.errors import DataError
from geoguide.labels.nuscenes import category_classes, category_ids

UNKNOWN = -1  # class of a category id that category.json does not list


def check_label_files(files: dict[str, str], path: Path) -> None:
    """Refuse labels of another key frame: their files are called <token>_lidarseg.bin.

    Args:
        files: Token of a LiDAR key frame -> its file of labels.
        path: The json file of the table, for the message.

    Raises:
        DataError: A file is called by another token.
    """
    for token, name in files.items():
        stem = Path(name).name.removesuffix("_lidarseg.bin")
        if stem != Path(name).name and stem != token:
            expected = f"{token}_lidarseg.bin for sample_data_token {token}"
            raise DataError(f"{path}: field filename: expected {expected}, found {name!r}")


def class_table(path: Path) -> np.ndarray:
    """Read the classes of category ids from category.json, whose field index came with lidarseg.

    Args:
        path: The file.

    Returns:
        Class id (0..15, or 255 for ignored ones) of each category id, int64 [256]; `UNKNOWN` for ids not listed.

    Raises:
        DataError: The table is missing or broken, or an index is none or is another category's too.
    """
    known, table = category_classes(), np.full(256, UNKNOWN, dtype=np.int64)
    for record in read_table(path):
        if record["name"] not in known:
            raise DataError(wrong_field(path, record, "name", "one of the 32 lidarseg categories", record["name"]))
        index = record["index"]
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(table):
            raise DataError(wrong_field(path, record, "index", "a whole number 0..255", index))
        if table[index] != UNKNOWN:
            raise DataError(wrong_field(path, record, "index", "a number that no other category has", index))
        table[record["index"]] = known[record["name"]]
    table.setflags(write=False)
    return table


def check_official(path: Path) -> None:
    """Refuse a category.json that numbers the categories otherwise than nuScenes' own, whose files of labels it reads.

    Args:
        path: The file.

    Raises:
        DataError: A category has an index that it has in none of nuScenes' documents.
    """
    official = category_ids()
    for record in read_table(path):
        ids = official.get(record["name"], ())
        if ids and record["index"] not in ids:
            expected = f"{' or '.join(map(str, ids))}, as nuScenes numbers {record['name']}"
            raise DataError(wrong_field(path, record, "index", expected, record["index"]))
