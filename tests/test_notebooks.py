"""Notebooks: pairs in step, no outputs, short cells without definitions, a parameters cell, question and closing."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from book_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
MAX_LINES = 12


def pair_module():
    return load_script("pair.py")


def cells(source: Path, kind: str) -> list:
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def source(request) -> Path:
    return request.param


def test_there_are_notebooks_and_each_has_both_forms():
    assert len(NOTEBOOKS) >= 4
    stems = {path.stem for path in (ROOT / "notebooks").iterdir() if path.suffix in (".py", ".ipynb")}
    assert stems == {path.stem for path in NOTEBOOKS}


def test_pair_is_in_step_and_has_no_outputs(source):
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == pair_module().paired_text(source), f"run `make pair`: {source.stem}.ipynb is out of step"
    for cell in cells(source, "code"):
        assert cell.outputs == [] and cell.execution_count is None


def test_kernel_is_the_generic_one(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert notebook.metadata.kernelspec.name == "python3"


def test_code_cells_are_short_and_define_nothing(source):
    for cell in cells(source, "code"):
        code = [line for line in cell.source.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
        assert len(code) <= MAX_LINES, f"{source.stem}: {len(code)} lines in the cell that starts with {code[0]!r}"
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef), (
                f"{source.stem}: {node.name}"
            )


def test_one_parameters_cell_of_plain_assignments_before_the_other_code(source):
    code = cells(source, "code")
    assert [number for number, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])] == [0]
    for node in ast.parse(code[0].source).body:
        assert isinstance(node, ast.Assign)
        ast.literal_eval(node.value)


def test_opens_with_the_question_and_the_claim_and_closes_with_both_sections(source):
    prose = cells(source, "markdown")
    assert prose[0].source.startswith("# ")
    assert "**Question.**" in prose[0].source
    assert re.search(r"^> ", prose[0].source, re.MULTILINE)
    headings = re.findall(r"^## (.+)$", "\n".join(cell.source for cell in prose), re.MULTILINE)
    assert headings[-2:] == ["What we found", "Where we differ"]


def test_every_notebook_and_page_is_in_the_contents():
    contents = (ROOT / "book" / "_toc.yml").read_text()
    listed = re.findall(r"(?:file|root): (\S+)", contents)
    pages = {f"notebooks/{path.stem}" for path in NOTEBOOKS} | {path.stem for path in (ROOT / "book").glob("*.md")}
    assert sorted(listed) == sorted(pages)
    assert yaml.safe_load(contents)["root"] == "intro"


def test_prose_types_no_result(source):
    """Scores come from results/: no percentage or decimal number stands in the prose."""
    for cell in cells(source, "markdown"):
        text = re.sub(r"\$[^$]*\$|`[^`]*`|v2|95 % interval|arXiv \S+", "", cell.source)
        assert not re.findall(r"\d+\.\d+|\d+ ?%", text), f"{source.stem}: {text[:80]!r}"


def test_pages_type_no_result():
    for page in (ROOT / "book").glob("*.md"):
        written = re.sub(r"<!-- results:begin.*?results:end -->", "", page.read_text(), flags=re.DOTALL)  # from records
        text = re.sub(r"\(https?://[^)]*\)|arXiv \S+", "", written)
        assert not re.findall(r"\d+\.\d+|\d+ ?%", text), page.name


def test_pair_check_finds_a_stale_notebook(tmp_path, monkeypatch, capsys):
    module = pair_module()
    monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    (tmp_path / "00_x.py").write_text("# %% [markdown]\n# # X\n\n# %%\nprint(1)\n")
    assert module.main(["--check"]) == 1
    assert "00_x.ipynb" in capsys.readouterr().out
    assert module.main([]) == 0
    assert module.main(["--check"]) == 0
    assert module.main(["--nonsense"]) == 2
