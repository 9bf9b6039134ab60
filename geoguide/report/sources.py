"""Under a table or figure of the book: which files and scenes its numbers are of, and what makes them again."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from geoguide.errors import DataError
from geoguide.experiments.profiles import PROFILES, ids
from geoguide.experiments.records import Record, record_path
from geoguide.paths import clone, results_root

_SLOW = ("large", "quality", "dose-response", "fixed-weight", "usd-parts", "all")  # to enumerate; asked last
# The records of real rooms: FOLDER holds ScanNet's `scans`, NETS the networks and their class names.
_NETS = (
    "litert:NETS/mobile_segmenter_r4_quant_argmax_uint8.tflite,names=NETS/ade31.txt",
    "litert:NETS/lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1.tflite,names=NETS/ade150_labels.txt",
)
_MODELS = ", ".join(f"'{spec}'" for spec in (f"mean:{'+'.join(_NETS)}", *_NETS))
_REAL = f'papermill notebooks/14_real_scenes.ipynb out.ipynb -p data FOLDER -y "models: [{_MODELS}]"'
_SHOWN = 3  # files that are named before the rest is folded


@dataclass(frozen=True)
class Source:
    """Files and the command that makes them; JupyterLab and the book show it as a line.

    Attributes:
        files: Paths from the repository's root.
        command: For a shell in that folder; empty where none makes them (the paper's own figures).
        scenes: Of which data the numbers are, in words; empty where the files are no records.
    """

    files: tuple[str, ...]
    command: str
    scenes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        files = f"{', '.join(self.files[:_SHOWN])}{' ...' if len(self.files) > _SHOWN else ''}"
        return f"{self._scenes_text()}From {files}: {self.command or 'no command makes it'}"

    def _repr_html_(self) -> str:
        names = [f"<code>{escape(name)}</code>" for name in self.files]
        told = ", ".join(names) + ". "
        if len(names) > _SHOWN:
            told = f"<details><summary>{len(names)} records</summary>{told}</details>"
        again = f"Again: <code>{escape(self.command)}</code>" if self.command else ""
        return f'<div class="source">{escape(self._scenes_text())}From {told}{again}</div>'

    def _scenes_text(self) -> str:
        return f"Scenes: {'; '.join(self.scenes)}. " if self.scenes else ""


def under(shown: Any, made_from: Sequence[Record] | Path | str, command: str | None = None) -> Source | None:
    """Show a table or figure, and say below what it was made from.

    Args:
        shown: What the cell shows; None where there is nothing to show.
        made_from: The records whose numbers it has, a committed file, or the notebook that made it ("02_modules").
        command: What makes the file again; None for records, and for files that a benchmark writes: found by itself.

    Returns:
        The line, as the cell's value; None where there are no records.

    Raises:
        DataError: No command is known that makes the file.
    """
    from IPython.display import display

    if shown is not None:
        display(shown)
    if isinstance(made_from, str):
        return Source(("this page",), f"papermill notebooks/{made_from}.ipynb out.ipynb")
    if isinstance(made_from, Path):
        return of_file(made_from, command)
    return of_records(made_from, command) if shown is not None and len(made_from) else None


def of_records(records: Sequence[Record], command: str | None = None) -> Source:
    """Records and the profile that computes them.

    Args:
        records: One or more.
        command: What makes them; None for `geoguide replicate` with the profile that has them all, or profiles.

    Returns:
        The source.
    """
    different = {record.id: record for record in records}
    root = results_root().parent
    files = sorted(str(record_path(record.config).relative_to(root)) for record in different.values())
    made_by = command or _command(frozenset(different), any(record.provenance == "real" for record in records))
    return Source(tuple(files), made_by, tuple(sorted({_scenes(record) for record in records})))


def _scenes(record: Record) -> str:
    """Of which scenes a record is: real, or mini and of which edition."""
    edition = record.facts.edition if record.facts.data == "mini" else None
    return f"{record.facts.data}, {edition} edition" if edition else record.facts.data


@functools.cache
def _command(made: frozenset[str], real: bool) -> str:
    """The fewest profiles that have the records, most of them first."""
    if real:
        return _REAL
    names = [*(name for name in PROFILES if name not in _SLOW), *_SLOW]
    for name in names:
        if made <= ids(name):
            return f"geoguide replicate --profile {name}"
    chosen, left = [], set(made)
    while left:
        best = max(names, key=lambda name: len(left & ids(name)))
        if not left & ids(best):
            break
        chosen.append(f"geoguide replicate --profile {best}")
        left -= ids(best)
    return "; ".join(chosen) or "geoguide replicate"


def of_file(path: Path, command: str | None = None) -> Source:
    """A committed file that a benchmark wrote.

    Args:
        path: `results/NAME.json` or `benchmarks/results/NAME.json`, of the repository; its name alone if elsewhere.
        command: What makes it, empty where nothing does; None for `python benchmarks/NAME.py`.

    Returns:
        The source.

    Raises:
        DataError: There is no such benchmark.
    """
    top = clone() or results_root().parent
    if command is None:
        command = f"python benchmarks/{path.stem}.py"
        if not (top / "benchmarks" / f"{path.stem}.py").is_file():
            raise DataError(f"{path}: no benchmark {path.stem}.py makes it; name the command")
    within = next((root for root in (top, results_root().parent) if path.is_relative_to(root)), path.parent)
    return Source((str(path.relative_to(within)),), command)
