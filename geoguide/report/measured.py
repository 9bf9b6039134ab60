"""Files of results that are measured and not trained: dataclasses by name, a line each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from geoguide.errors import DataError
from geoguide.frozen import from_dict, to_dict
from geoguide.paths import write_text

Kind = TypeVar("Kind")


def write_measured(path: Path, key: str, found: Mapping[str, Any]) -> None:
    """Write a file of `read_measured`.

    Args:
        path: The file.
        key: What its entries are called.
        found: Dataclasses by name.
    """
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(to_dict(one))}" for name, one in found.items())
    write_text(path, f'{{"{key}": {{\n{lines}\n}}}}\n')


def read_measured(path: Path, key: str, kind: type[Kind], what: str) -> dict[str, Kind]:
    """Read a file of `write_measured`.

    Args:
        path: The file.
        key: What its entries are called.
        kind: Their dataclass.
        what: The file's content in words, for the error.

    Returns:
        By name, in the file's order.

    Raises:
        DataError: The file cannot be read or holds something else.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {name: from_dict(kind, one, name) for name, one in raw[key].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: must hold {what} ({error})") from None
