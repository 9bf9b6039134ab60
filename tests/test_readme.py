"""The results of README and introduction: between the markers, from the committed records, and in step with them."""

import shutil
from pathlib import Path

import pytest

from geoguide.errors import DataError
from geoguide.report import readme


def test_the_committed_pages_are_in_step_and_outside_the_markers_all_stays(tmp_path: Path) -> None:
    copy, introduction = tmp_path / "README.md", tmp_path / "intro.md"
    shutil.copyfile(readme.README, copy)
    introduction.write_text(f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n")
    readme.update_readme(copy, introduction)
    assert copy.read_text() == readme.README.read_text(), "run `geoguide replicate`"
    text = introduction.read_text()
    assert text.startswith("above\n") and text.endswith("\nbelow\n") and "\nold\n" not in text
    findings = text.removeprefix("above\n").removesuffix("\nbelow\n")
    assert findings in readme.INTRODUCTION.read_text(), "run `geoguide replicate`"
    assert "| C12 | **" in findings and "beside the claim: *with all three the student beats 2D fusion" in findings


@pytest.mark.parametrize("lacking", ["README.md", "intro.md"])
def test_a_page_without_markers_is_refused_and_neither_is_written(tmp_path: Path, lacking: str) -> None:
    pages = [tmp_path / "README.md", tmp_path / "intro.md"]
    for page in pages:
        page.write_text("nothing here" if page.name == lacking else f"{readme.BEGIN}{readme.END}")
    with pytest.raises(DataError, match=rf"{lacking}: the markers"):
        readme.update_readme(*pages)
    assert [page.read_text() == "nothing here" for page in pages] == [page.name == lacking for page in pages]
