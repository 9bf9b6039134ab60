"""The results of the README and of the book's introduction, written from the records."""

import re
from pathlib import Path

from geoguide.benchmarks import NAMES
from geoguide.errors import DataError
from geoguide.experiments import records, regime
from geoguide.experiments.presets import DEFAULT_TEACHER
from geoguide.paths import PACKAGE, sweep, write_text
from geoguide.report import ledger, ledger_page
from geoguide.report.main_table import overview
from geoguide.report.tables import ablation_table, markdown

README = PACKAGE.parent / "README.md"
INTRODUCTION = PACKAGE.parent / "book" / "intro.md"


BEGIN, END = "<!-- results:begin (geoguide replicate writes this) -->", "<!-- results:end -->"


def update_readme(path: Path = README, introduction: Path = INTRODUCTION) -> None:
    """Rewrite the results of the README and of the book's introduction between their markers; everything else stays.

    Args:
        path: The README: claims, what spoke against them, and tables. It is written only where something changes.
        introduction: The claims, and what spoke against them.

    Raises:
        DataError: It is not there, as in an installed package, or a marker is missing.
    """
    for page in (path, introduction):
        if not page.is_file():
            raise DataError(f"{page}: no such file: it is part of a clone")
        text = page.read_text()
        if BEGIN not in text or END not in text:
            raise DataError(f"{page}: the markers of the results are missing")
    findings = _findings()
    _rewrite(introduction, findings)
    _rewrite(path, [*findings, *_results()])


def _rewrite(path: Path, paragraphs: list[str]) -> None:
    """Put paragraphs between the markers of a page."""
    sweep(path.parent)
    text = path.read_text()
    body = "\n\n".join([BEGIN, *paragraphs, END])
    updated = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: body, text, flags=re.DOTALL)
    if updated != text:
        write_text(path, updated)


def _results() -> list[str]:
    """The README's tables: plain rows of generated scenes, of the default 2D model alone."""
    found = records.pick(records.read_all(), {"plain": True, "data": "mini", "teacher": DEFAULT_TEACHER})
    by_dataset = {dataset: records.pick(found, {"tested_on": dataset}) for dataset in NAMES}
    lines = {dataset: records.frame(mine) for dataset, mine in by_dataset.items() if mine}
    return [
        *_large_ablation(),
        "Main table, mean mIoU on rooms, houses and streets (small editions), beside the paper's (real data):",
        markdown(overview(lines)),
        "More tables: chapter 03 has the small edition's ablation, 15 whether the large one is in the paper's regime.",
    ]


def _findings() -> list[str]:
    """The paragraphs on the claims: a table with a line each, and what spoke against them."""
    table = ledger.verdicts()
    return [
        "What the paper claims, and the verdict here, on mini data (chapter 08 has every test):",
        ledger_page.overview(table),
        "What spoke against it, or against the method itself:",
        "\n".join(ledger_page.against(table)),
    ]


def _large_ablation() -> list[str]:
    """The ablation on the large edition of rooms; nothing where it was not run."""
    found = records.find_all(regime.ablation())
    plain = records.pick(found, {"plain": True, "teacher": regime.MODELS[NAMES[0]]})
    if not plain:
        return []
    title = "Ablation, mini rooms (large edition, a trained 2D model that looks at the images), as far as it was run:"
    return [title, markdown(ablation_table(records.frame(plain, edition=regime.EDITION)))]
