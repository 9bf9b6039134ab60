"""The README's results, written from the records."""

import re
from pathlib import Path

from geoguide.errors import DataError
from geoguide.experiments import records
from geoguide.experiments.presets import DATASETS
from geoguide.paths import PACKAGE, replacing
from geoguide.report import main_table as benchmark_tables
from geoguide.report import tables

README = PACKAGE.parent / "README.md"


BEGIN, END = "<!-- results:begin (geoguide replicate writes this) -->", "<!-- results:end -->"


def update_readme(path: Path = README) -> None:
    """Rewrite the results of the README between its two markers; everything else stays."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise DataError(f"{path}: the markers of the results table are missing")
    body = "\n\n".join([BEGIN, *_results(), END])
    updated = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: body, text, flags=re.DOTALL)
    if updated != text:
        with replacing(path) as temporary:
            temporary.write_text(updated)


def _results() -> list[str]:
    found = [r for r in records.read_all() if tables.plain(r)]
    by_dataset = {d: [r for r in found if r["config"]["data"]["dataset"] == f"mini-{d}"] for d in DATASETS}
    lines = {dataset: tables.frame(mine) for dataset, mine in by_dataset.items() if mine}
    default = {d: part[part["row"].map(tables.base_row) == part["row"]] for d, part in lines.items()}  # 2D model
    rooms = DATASETS[0]
    return [
        "Ablation, mini rooms:",
        tables.markdown(tables.ablation_table(lines[rooms])),
        tables.region_line(by_dataset[rooms]),
        "Main table, mean mIoU on rooms, houses and streets, beside the paper's (real data):",
        tables.markdown(benchmark_tables.overview(default)),
    ]
