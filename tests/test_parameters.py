"""Parameters of chapters as papermill gives them: seeds and names in any form, and a report of the folder of runs."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from geoguide.errors import ConfigError, DataError, GeoGuideError, InputError
from geoguide.experiments.presets import SEEDS, adapter_only, fusion
from geoguide.experiments.profiles import ablation, main_table, preliminary
from geoguide.frozen import config_hash
from geoguide.own_scan import fit
from geoguide.report.parameters import need_text, of_seeds, read_report, several_names, several_seeds

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        (0, (0,)),
        ([0], (0,)),
        ((2, 1, 2), (2, 1)),
        ("0,1", (0, 1)),
        ("[0, 1]", (0, 1)),
        (" 3 ", (3,)),
        (range(2), (0, 1)),
    ],
)
def test_seeds_in_any_form(given: Any, seeds: tuple[int, ...]) -> None:
    assert several_seeds(given, SEEDS) == seeds == several_seeds(given)


@pytest.mark.parametrize("given", [[], "", None, "all", True, -1, 1.5, "0,,1", "0;1", [[0]], {}, 2**64])
def test_what_is_no_seed_is_refused_in_one_line(given: Any) -> None:
    with pytest.raises(InputError, match=r"^seeds must be .*, found .*$") as caught:
        several_seeds(given)
    assert "\n" not in str(caught.value)


def test_seeds_that_no_row_has_are_refused() -> None:
    """Else they were left out of the tables without a word."""
    with pytest.raises(InputError, match=r"of 0, 1, 2, 3, 4, .* found \[0, 7\]"):
        several_seeds([0, 7], SEEDS)


def test_a_row_that_trains_nothing_stands_beside_any_seed() -> None:
    assert of_seeds([fusion(), adapter_only(0), adapter_only(1)], (1,)) == [fusion(), adapter_only(1)]
    assert ablation((1,))[0] == fusion()


def test_seeds_of_which_a_chapter_has_no_row_are_refused() -> None:
    """Of the large edition most rows have few seeds; without a training a chapter's figures fail for want of rows."""
    with pytest.raises(
        InputError, match=r"^seeds must be one or more of 0, 1, 2, which these rows have, found \[3, 4\]$"
    ):
        of_seeds(preliminary("large"), (3, 4), needed=True)
    assert {config.seed for config in of_seeds(preliminary("large"), (2, 3), needed=True)} == {0, 2}  # fusion: 0


def test_names_in_any_form() -> None:
    assert several_names("train", "a") == several_names("train", ["a", "a"]) == ("a",)
    assert several_names("train", "") == several_names("train", None) == several_names("train", []) == ()
    with pytest.raises(InputError, match="columns must be one or more of a, b, found 'c'"):
        several_names("columns", ["a", "c"], ["a", "b"])
    with pytest.raises(InputError, match="words must be a name, or a list of names, found 3"):
        several_names("words", 3)


def test_what_must_be_one_text_is_named() -> None:
    need_text(data="", weights=None)
    for given in (3, ["a"], True, {}):
        with pytest.raises(InputError, match="^features must be one text, found "):
            need_text(data="x", features=given)
        with pytest.raises(ConfigError, match="unknown protocol .*: known are strict"):
            main_table("scannet", protocol=given)


@pytest.mark.parametrize("name", ["", 3, "../x.json", "/x.json", "x.txt", None])
def test_a_report_lies_in_runs(name: Any) -> None:
    with pytest.raises(InputError, match="report must name a .json file in .*runs, found"):
        read_report(name, ())


def test_what_is_no_report_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    assert read_report("x.json", ("rows",)) is None
    (tmp_path / "runs").mkdir()
    for text, message in (("{", "not valid json"), ("[]", "no 'rows'"), ('{"a": 1}', "no 'rows'")):
        (tmp_path / "runs" / "x.json").write_text(text)
        with pytest.raises(DataError, match=f"x.json: .*{message}"):
            read_report("x.json", ("rows",))
    (tmp_path / "runs" / "x.json").write_text('{"rows": []}')
    assert read_report("x.json", ("rows",)) == {"rows": []}


def test_every_chapter_with_seeds_reads_them_in_any_form() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        first, *rest = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        assert ("\nseeds = " in first) == ("several_seeds(seeds" in "".join(rest)), path.name


def test_every_chapter_with_a_confidence_refuses_a_wrong_one_before_it_looks_for_records() -> None:
    """It was met in the first table: after experiments without a record had been computed."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        first, *rest = [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
        if "\nconfidence = " in first:
            text = "\n".join(rest)
            checked = re.search(r"check_confidence\(confidence\)|verdicts\(editions, confidence\)", text)
            looked = re.search(r"(get_all|run_all|find_all|read_all)\(", text)
            assert checked and looked and checked.start() < looked.start(), path.name


def test_the_settings_of_a_fit_are_refused_before_a_scan_is_opened() -> None:
    """Chapter 16 made a whole room first."""
    for given in ({"steps": 0}, {"backbone": "sonata-mni"}, {"features": "mini:lseg-mni"}, {"labels": ("a", "A")}):
        with pytest.raises(GeoGuideError):
            fit.settings(**{"features": "mini:lseg-mini", **given})
    code = [cell.source for cell in nbformat.read(NOTEBOOKS / "16_own_scan.ipynb", 4).cells]
    cell = next(text for text in code if "fit.fit_scan(" in text)
    assert cell.index("fit.settings(features,") < cell.index("scene_sources(")


def test_an_unknown_edition_and_no_data_are_named() -> None:
    with pytest.raises(ConfigError, match="unknown edition 'lrge': known are small, large"):
        main_table("scannet", edition="lrge")
    for nothing in ("", None):
        with pytest.raises(InputError, match="data must be 'mini' or a folder of real data, found"):
            main_table("scannet", nothing)


def test_a_whole_number_for_another_is_no_other_experiment() -> None:
    config = adapter_only()
    assert config_hash(config.replace(objective__lambda_sp=1)) == config_hash(config)
    assert config_hash(config.replace(objective__lambda_sp=2)) == config_hash(config.replace(objective__lambda_sp=2.0))
