"""The line under a table: its records' files and the profile that makes them, or a benchmark's file and its script."""

import ast
import html
import re
import shlex
from pathlib import Path

import nbformat
import pytest
import yaml
from fake_records import fake_record

from geoguide.errors import DataError
from geoguide.experiments import regime
from geoguide.experiments.placing import on
from geoguide.experiments.presets import adapter_only, fusion
from geoguide.experiments.profiles import ablation, profile, systems
from geoguide.experiments.records import find_all, read_all
from geoguide.frozen import config_hash
from geoguide.paths import clone, results_root
from geoguide.report.real_rooms import NETWORKS
from geoguide.report.sources import Source, of_file, of_records, under
from geoguide.teachers.registry import parse_spec

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def profiles_of(source: Source) -> list[str]:
    return re.findall(r"--profile (\S+?)(?:;|$)", source.command)


@pytest.mark.parametrize("rows", [ablation(), systems()[:4], [*ablation()[:3], *systems()[:4]]])
def test_the_named_profiles_make_every_record_and_the_files_are_there(rows):
    records = find_all(rows)
    source = of_records(records)
    made = {config_hash(config) for name in profiles_of(source) for config in profile(name)}
    assert {record.id for record in records} <= made
    assert len(source.files) == len({record.id for record in records})
    assert all((ROOT / name).is_file() for name in source.files)


def test_records_of_a_real_room_name_the_chapter_that_takes_a_folder():
    real = [record for record in read_all() if record.provenance == "real"][:2]
    words = shlex.split(of_records(real).command)
    assert words[1] == "notebooks/14_real_scenes.ipynb" and len(profiles_of(of_records(real))) == 0
    models = yaml.safe_load(words[words.index("-y") + 1])["models"]
    assert words[words.index("-p") + 1 :][:2] == ["data", "FOLDER"] and len(models) == 3
    named = {Path(part).stem for spec in models for part in re.findall(r"litert:([^,+]+\.tflite)", spec)}
    assert named == set(NETWORKS) and all(parse_spec(spec) for spec in models)


def test_the_line_says_of_which_edition_the_records_are_or_that_they_are_real():
    small, large = fake_record(on(adapter_only(), "nuscenes")), fake_record(regime.in_regime(fusion()))
    real = next(record for record in read_all() if record.provenance == "real")
    said = {"small": "mini, small edition", "large": "mini, large edition", "real": "real"}
    for name, record in {"small": small, "large": large, "real": real}.items():
        assert of_records([record], "make it").scenes == (said[name],)
        assert f"Scenes: {said[name]}. From " in of_records([record], "make it")._repr_html_()
    both = of_records([small, large, small], "make them")
    assert both.scenes == (said["large"], said["small"])
    assert repr(both).startswith("Scenes: mini, large edition; mini, small edition. From results/")
    assert of_records([real, large], "make them").scenes == (said["large"], "real")
    measured = of_file(results_root() / "masks.json")
    assert "Scenes" not in repr(measured) + measured._repr_html_()


def test_a_measured_file_names_its_benchmark_or_none_is_made_up():
    assert of_file(results_root() / "masks.json").command == "python benchmarks/masks.py"
    paper = of_file(results_root() / "paper.json", "")._repr_html_()
    assert "results/paper.json" in paper and "Again" not in paper
    assert of_file(Path("/elsewhere/runs/verify.json"), "geoguide verify").files == ("verify.json",)
    assert of_file(results_root() / "backbones" / "probe.json", "geoguide probe").command == "geoguide probe"
    with pytest.raises(DataError, match=r"paper\.json: no benchmark paper\.py makes it"):
        of_file(results_root() / "paper.json")


def test_results_elsewhere_are_made_by_the_same_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path / "results"))
    measured = of_file(results_root() / "masks.json")
    assert measured.files == ("results/masks.json",) and measured.command == "python benchmarks/masks.py"
    timed = of_file(clone() / "benchmarks" / "results" / "objects.json")
    assert timed.files == ("benchmarks/results/objects.json",)


def test_many_files_are_folded_and_text_is_escaped():
    shown = Source(tuple(f"<{number}>" for number in range(5)), "a && b")._repr_html_()
    assert "<details><summary>5 records</summary>" in shown and "<0>" not in shown and "a &amp;&amp; b" in shown
    assert "<3>" in html.unescape(shown)
    assert "<details>" not in Source(("one",), "a")._repr_html_()


def test_under_shows_what_there_is_and_says_nothing_of_no_records(capsys):
    pytest.importorskip("IPython")
    records = find_all(ablation()[:1])
    assert under("a table", records).files and "a table" in capsys.readouterr().out
    assert under(None, records) is None and under("a table", []) is None
    assert under(None, "02_modules").command == "papermill notebooks/02_modules.ipynb out.ipynb"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_under_every_table_stands_what_it_was_made_from(path):
    """Whatever a cell shows and is not a sentence of its own."""
    sentences = ("under(", "Markdown(", "print(", "clear_output(", "figures.use_offline_renderer(")
    for cell in nbformat.read(path, as_version=4).cells:
        last = ast.parse(cell.source).body[-1:] if cell.cell_type == "code" else []
        if last and isinstance(last[0], ast.Expr):
            assert ast.unparse(last[0]).startswith(sentences), f"{path.stem}: {ast.unparse(last[0])[:80]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_under_every_figure_of_results_stands_what_it_was_made_from(path):
    drawing = re.compile(r"figures\.(?!Panel|use_|class_colors|import_picture)\w+\(")
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and drawing.search(cell.source):
            last = ast.parse(cell.source).body[-1]
            assert ast.unparse(last).startswith("under("), f"{path.stem}: {ast.unparse(last)[:80]}"
