"""Write each notebook's .ipynb from its .py (the source): python book/pair.py [--check]

The result has no outputs and its cell ids derive from name and position, so the same source gives the same bytes and a
diff shows only what changed. `--check` writes nothing and fails when a pair is out of step.
"""

import sys
from pathlib import Path

import jupytext
import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def paired_text(source: Path) -> str:
    """The .ipynb that belongs to a .py in percent format."""
    notebook = jupytext.read(source, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{source.stem.replace('_', '-')}-{number:02d}"
        cell.metadata.pop("lines_to_next_cell", None)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata["language_info"] = {"name": "python"}
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def sources() -> list[Path]:
    """Every notebook's source, in reading order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: python book/pair.py [--check]", file=sys.stderr)
        return 2
    stale = []
    for source in sources():
        target, text = source.with_suffix(".ipynb"), paired_text(source)
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            stale.append(target.name)
            if not check:
                target.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'out of step with its .py' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
