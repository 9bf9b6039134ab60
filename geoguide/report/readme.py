"""The results of README and introduction, and what the README says is needed: from committed files."""

import re
from pathlib import Path

from geoguide.datasets.formats.files import read_json
from geoguide.errors import DataError
from geoguide.paths import PACKAGE, clone, results_root, sweep, write_text
from geoguide.report import ledger, ledger_page

README = PACKAGE.parent / "README.md"
INTRODUCTION = PACKAGE.parent / "book" / "intro.md"
MEASURED = PACKAGE.parent / "benchmarks" / "results"

RESULTS = "<!-- results:begin (geoguide replicate writes this) -->", "<!-- results:end -->"
NEEDED = "<!-- needed:begin (from benchmarks/results/fresh_clone.json) -->", "<!-- needed:end -->"


def update_own(results: Path) -> None:
    """Rewrite both pages where records were made in the clone's own folder: those of any other are not the book's.

    Args:
        results: The folder that the records were made in.

    Raises:
        DataError: As `update_readme`.
    """
    top = clone()
    if top is not None and {results.resolve(), results_root().resolve()} == {(top / "results").resolve()}:
        update_readme()


def update_readme(path: Path = README, introduction: Path = INTRODUCTION) -> None:
    """Rewrite both pages between their markers; everything else stays.

    Args:
        path: The README; it is written only where something changes.
        introduction: The introduction; the same.

    Raises:
        DataError: It is not there, as in an installed package, or a marker is missing.
    """
    for page, markers in ((path, (*RESULTS, *NEEDED)), (introduction, RESULTS)):
        if not page.is_file():
            raise DataError(f"{page}: no such file: it is part of a clone")
        text = page.read_text()
        if lacking := [marker for marker in markers if marker not in text]:
            raise DataError(f"{page}: the marker {lacking[0]} is missing")
    table = ledger.verdicts()
    said = [
        "Six questions, on mini data (chapter 08 has every test, and the verdict on each of the paper's claims). "
        "Where the large edition has no verdict, the small one stands beside it:",
        ledger_page.findings(table),
    ]
    others = ["What else spoke against it:", "\n".join(ledger_page.against(table, told=False))]
    _rewrite(path, RESULTS, [*said, *others])
    _rewrite(path, NEEDED, [needed()])
    against = "\n".join([*ledger_page.against(table), *ledger_page.longer(table)])
    claims = ["Claim by claim:", ledger_page.overview(table)]
    _rewrite(introduction, RESULTS, [*said, *claims, "What spoke against it, or against the method itself:", against])


def needed() -> str:
    """What a newcomer needs, from what `benchmarks/fresh_clone.py` and `streaming.py` measured.

    Returns:
        Minutes and disk of the two commands, and the memory of a training at real size.
    """
    told, streamed = (read_json(MEASURED / f"{name}.json", {"rows": list}) for name in ("fresh_clone", "streaming"))
    steps = {row["step"]: row for row in told["rows"] if "step" in row}
    disk = {row["part"]: row["gb"] for row in told["rows"] if "part" in row}
    setup, data, book = (steps[f"make {name}"]["seconds"] / 60 for name in ("setup", "data", "book"))
    memory = next(row["peak_mb_in_all"] for row in streamed["rows"] if row.get("case") == "training") / 1024
    opened = next(row["scenes"] for row in streamed["rows"] if "scenes" in row)
    return (
        f"Measured in a fresh clone on {told['machine']['cpus']} cores: `make setup` {setup:.1f} minutes, `make book` "
        f"{data + book:.0f} minutes, {sum(disk.values()):.0f} GB of disk ({disk['packages']:.1f} of them packages, "
        f"{disk['data and cache']:.1f} data and a cache, which `geoguide data clean` empties). A training with "
        f"ScanNet's points a step takes {memory:.1f} GB of memory, {opened} scenes open (chapter 10: what more add)."
    )


def _rewrite(path: Path, markers: tuple[str, str], paragraphs: list[str]) -> None:
    """Put paragraphs between two markers of a page."""
    sweep(path.parent)
    text, (begin, end) = path.read_text(), markers
    body = "\n\n".join([begin, *paragraphs, end])
    updated = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: body, text, flags=re.DOTALL)
    if updated != text:
        write_text(path, updated)
