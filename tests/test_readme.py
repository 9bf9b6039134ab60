"""The results of README and introduction: between the markers, from the committed records, and in step with them."""

from pathlib import Path

import pytest

from geoguide.errors import DataError
from geoguide.report import readme
from geoguide.report.ledger_page import FINDINGS


def test_the_committed_pages_are_in_step_and_outside_the_markers_all_stays(tmp_path: Path) -> None:
    pages = [readme.README, readme.INTRODUCTION]
    copies = [tmp_path / page.name for page in pages]
    for page, copy in zip(pages, copies, strict=True):
        before, _, after = page.read_text().partition(readme.BEGIN)
        copy.write_text(f"{before}{readme.BEGIN}\nold\n{readme.END}{after.partition(readme.END)[2]}")
    readme.update_readme(*copies)
    for page, copy in zip(pages, copies, strict=True):
        assert copy.read_text() == page.read_text(), "run `geoguide replicate`"
        assert page.read_text().count("\n- **") == len(FINDINGS)
    assert "| C12 | **" in copies[1].read_text() and "| C12 |" not in copies[0].read_text()


@pytest.mark.parametrize("lacking", ["README.md", "intro.md"])
def test_a_page_without_markers_is_refused_and_neither_is_written(tmp_path: Path, lacking: str) -> None:
    pages = [tmp_path / "README.md", tmp_path / "intro.md"]
    for page in pages:
        page.write_text("nothing here" if page.name == lacking else f"{readme.BEGIN}{readme.END}")
    with pytest.raises(DataError, match=rf"{lacking}: the markers"):
        readme.update_readme(*pages)
    assert [page.read_text() == "nothing here" for page in pages] == [page.name == lacking for page in pages]
