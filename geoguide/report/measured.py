"""Files of results that are measured and not trained: dataclasses by name, a line each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from geoguide.errors import ConfigError, DataError
from geoguide.frozen import from_dict, to_dict
from geoguide.paths import results_root, write_text
from geoguide.text_files import parse_json, read_text

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Measured(Generic[Kind]):
    """A file in the folder of results.

    Attributes:
        file: Its name.
        key: What its entries are called.
        kind: Their dataclass.
        what: Its content in words, for the error.
    """

    file: str
    key: str
    kind: type[Kind]
    what: str

    def write(self, found: Mapping[str, Kind], path: Path | None = None) -> None:
        """Write where `read` reads, a line for each entry.

        Args:
            found: By name, in the order of the file.
            path: Another file.
        """
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(to_dict(one))}" for name, one in found.items())
        write_text(self._place(path), f'{{"{self.key}": {{\n{lines}\n}}}}\n')

    def read(self, path: Path | None = None) -> dict[str, Kind]:
        """Read what is committed.

        Args:
            path: Another file that `write` wrote.

        Returns:
            By name, in the file's order.

        Raises:
            DataError: The file cannot be read or holds something else.
        """
        path = self._place(path)
        raw = parse_json(read_text(path, self.what), path)
        try:
            return {name: from_dict(self.kind, one, name) for name, one in raw[self.key].items()}
        except (ConfigError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: must hold {self.what} ({error})") from None

    def _place(self, path: Path | None) -> Path:
        return results_root() / self.file if path is None else path
