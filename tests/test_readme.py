"""The README's results: rewritten between the markers, from the committed records, and in step with them."""

import shutil
from pathlib import Path

import pytest

from geoguide.errors import DataError
from geoguide.report import readme


def test_the_committed_readme_is_in_step_with_the_records(tmp_path: Path) -> None:
    copy = tmp_path / "README.md"
    shutil.copyfile(readme.README, copy)
    readme.update_readme(copy)
    assert copy.read_text() == readme.README.read_text(), "run `geoguide replicate`"


def test_everything_outside_the_markers_stays(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n")
    readme.update_readme(path)
    text = path.read_text()
    assert text.startswith("above\n") and text.endswith("\nbelow\n") and "\nold\n" not in text
    assert "| works-best/without usd | not stated |" in text and "| C12 | **" in text
    assert "ours, mini nuScenes [seeds]" in text


def test_a_readme_without_markers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("nothing here")
    with pytest.raises(DataError, match="markers"):
        readme.update_readme(path)
    assert path.read_text() == "nothing here"
