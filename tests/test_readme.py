"""The results of README and introduction: between the markers, from the committed records, and in step with them."""

import re
from pathlib import Path

import pytest

from geoguide.cli import main
from geoguide.errors import DataError
from geoguide.experiments import profiles
from geoguide.paths import results_root
from geoguide.report import readme
from geoguide.report.ledger_page import FINDINGS


def test_the_committed_pages_are_in_step_and_outside_the_markers_all_stays(tmp_path: Path) -> None:
    pages = [readme.README, readme.INTRODUCTION]
    copies = [tmp_path / page.name for page in pages]
    for page, copy in zip(pages, copies, strict=True):
        text = page.read_text()
        for begin, end in (readme.RESULTS, readme.NEEDED):
            text = re.sub(re.escape(begin) + ".*?" + re.escape(end), f"{begin}\nold\n{end}", text, flags=re.DOTALL)
        copy.write_text(text)
    readme.update_readme(*copies)
    for page, copy in zip(pages, copies, strict=True):
        assert copy.read_text() == page.read_text(), "run `geoguide replicate`"
        assert all(f"\n| **{question}** | " in page.read_text() for question in FINDINGS)
    assert "| C12 | **" in copies[1].read_text() and "| C12 |" not in copies[0].read_text()


@pytest.mark.parametrize("lacking", ["README.md", "intro.md"])
def test_a_page_without_markers_is_refused_and_neither_is_written(tmp_path: Path, lacking: str) -> None:
    pages = [tmp_path / "README.md", tmp_path / "intro.md"]
    for page in pages:
        page.write_text("nothing here" if page.name == lacking else "".join(readme.RESULTS + readme.NEEDED))
    with pytest.raises(DataError, match=rf"{lacking}: the marker"):
        readme.update_readme(*pages)
    assert [page.read_text() == "nothing here" for page in pages] == [page.name == lacking for page in pages]


@pytest.mark.parametrize("elsewhere", [True, False])
def test_replicate_writes_the_pages_from_the_clones_own_records_alone(
    elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, written = results_root(), []
    monkeypatch.setattr(readme, "update_readme", lambda: written.append(results_root()))
    monkeypatch.setattr(profiles, "profile", lambda name: [])
    if elsewhere:
        monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["replicate", "--profile", "quick", "--workers", "1"])
    readme.update_own(tmp_path)  # of a plan
    assert not ended.value.code and written == ([] if elsewhere else [own])
