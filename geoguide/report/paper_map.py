"""From each concept of the paper to the symbol that is it and the chapter that shows it: data, in `paper_map.csv`."""

import csv
import importlib
from dataclasses import dataclass
from typing import Any

from geoguide.errors import DataError
from geoguide.paths import PACKAGE

TABLE = PACKAGE / "report" / "paper_map.csv"


@dataclass(frozen=True)
class Concept:
    """One line of the map.

    Attributes:
        concept: What the paper calls it, with its symbol.
        paper: Its section or module.
        term: A word that the symbol's docstring and the chapter both use for it.
        symbol: Dotted name of the class or function.
        chapter: Stem of the notebook.
    """

    concept: str
    paper: str
    term: str
    symbol: str
    chapter: str

    def resolve(self) -> Any:
        """The class or function itself.

        Returns:
            What `symbol` names.

        Raises:
            DataError: There is no such symbol.
        """
        module, _, name = self.symbol.rpartition(".")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise DataError(f"{TABLE}: symbol {self.symbol} of {self.concept!r} is not there ({error})") from None


def paper_map() -> tuple[Concept, ...]:
    """All lines of the map, in the order of the paper.

    Returns:
        One `Concept` a line of `paper_map.csv`.
    """
    with TABLE.open(newline="", encoding="utf-8") as file:
        return tuple(Concept(**row) for row in csv.DictReader(file))
