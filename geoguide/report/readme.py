"""The results of the README and of the book's introduction, written from the records."""

import re
from pathlib import Path

from geoguide.errors import DataError
from geoguide.paths import PACKAGE, sweep, write_text
from geoguide.report import ledger, ledger_page

README = PACKAGE.parent / "README.md"
INTRODUCTION = PACKAGE.parent / "book" / "intro.md"


BEGIN, END = "<!-- results:begin (geoguide replicate writes this) -->", "<!-- results:end -->"


def update_readme(path: Path = README, introduction: Path = INTRODUCTION) -> None:
    """Rewrite the results of the README and of the book's introduction between their markers; everything else stays.

    Args:
        path: The README; it is written only where something changes.
        introduction: The introduction; the same.

    Raises:
        DataError: It is not there, as in an installed package, or a marker is missing.
    """
    for page in (path, introduction):
        if not page.is_file():
            raise DataError(f"{page}: no such file: it is part of a clone")
        text = page.read_text()
        if BEGIN not in text or END not in text:
            raise DataError(f"{page}: the markers of the results are missing")
    table = ledger.verdicts()
    said = [
        "Five findings, on mini data (chapter 08 has every test, and the verdict on each of the paper's claims):",
        "\n".join(ledger_page.findings(table)),
    ]
    _rewrite(path, [*said, "What else spoke against it:", "\n".join(ledger_page.against(table, told=False))])
    claims = ["Claim by claim:", ledger_page.overview(table)]
    against = "\n".join([*ledger_page.against(table), *ledger_page.longer(table)])
    _rewrite(introduction, [*said, *claims, "What spoke against it, or against the method itself:", against])


def _rewrite(path: Path, paragraphs: list[str]) -> None:
    """Put paragraphs between the markers of a page."""
    sweep(path.parent)
    text = path.read_text()
    body = "\n\n".join([BEGIN, *paragraphs, END])
    updated = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: body, text, flags=re.DOTALL)
    if updated != text:
        write_text(path, updated)
