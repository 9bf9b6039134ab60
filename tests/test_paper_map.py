"""The paper map, both ways: every line leads to a symbol and a chapter, and nothing of the paper is off the map."""

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import geoguide
from geoguide import method
from geoguide.report.paper_map import Concept, paper_map

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(geoguide.__file__).parent
CHAPTERS = {path.stem: path.read_text() for path in (ROOT / "notebooks").glob("[0-9]*.py")}
# Symbols that cite the paper for a detail of something that is on the map.
DETAILS = {"geoguide.report.figures.charts.show_matrices", "geoguide.pretraining.step.encode_views"}


@pytest.mark.parametrize("line", paper_map(), ids=lambda line: line.symbol)
def test_a_line_leads_to_its_symbol_and_its_chapter(line: Concept) -> None:
    symbol = line.resolve()
    module = importlib.import_module(symbol.__module__)
    told = f"{symbol.__name__} {inspect.getdoc(symbol)} {inspect.getdoc(module)}"
    assert line.term.lower() in told.lower(), f"{line.symbol} does not speak of {line.term!r}"
    assert line.chapter in CHAPTERS, f"{line.chapter} is no chapter"
    assert line.term.lower() in CHAPTERS[line.chapter].lower(), f"{line.chapter} does not speak of {line.term!r}"


def citing() -> set[str]:
    """Public classes and functions whose docstring cites the paper."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        dotted = ".".join(("geoguide", *path.relative_to(PACKAGE).with_suffix("").parts))
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                first = (ast.get_docstring(node) or "").split("\n\n")[0]
                if re.search(r"\(paper[,)]", first):
                    found.add(f"{dotted}.{node.name}")
    return found


def test_every_symbol_that_cites_the_paper_is_on_the_map() -> None:
    mapped = {line.symbol for line in paper_map()}
    by_object = {f"{line.resolve().__module__}.{line.resolve().__name__}" for line in paper_map()}
    off = {
        name
        for name in citing() - mapped - by_object - DETAILS
        if not any(name.rsplit(".", 1)[0] == symbol.rsplit(".", 1)[0] for symbol in mapped)
    }
    assert not off


def test_every_module_of_the_method_is_on_the_map() -> None:
    names = {f"geoguide.method.{module.name}" for module in pkgutil.iter_modules(method.__path__)}
    assert names == {
        line.symbol.rsplit(".", 1)[0] for line in paper_map() if line.symbol.startswith("geoguide.method.")
    }


def test_every_experiment_chapter_is_on_the_map_and_no_line_is_twice() -> None:
    lines = paper_map()
    assert len({line.concept for line in lines}) == len(lines) == len({line.symbol for line in lines})
    # They show what the others found, or measure what the paper has no word for.
    ledgers = {
        "08_claims",
        "09_reproduced",
        "11_paper_map",
        "12_layout",
        "13_error_anatomy",
        "14_real_scenes",
        "15_regime",
        "16_own_scan",
    }
    assert {line.chapter for line in lines} == set(CHAPTERS) - ledgers
