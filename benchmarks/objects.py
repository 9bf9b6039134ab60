"""How many annotated objects of each class the test rooms of both editions hold; nothing is timed.

    python benchmarks/objects.py

The rooms must be in the data folder, all of their edition: `geoguide data make`, `geoguide data make --edition large`.
Objects of which the scan holds fewer vertices than ScanNet's benchmark asks for are not counted. Chapter 15 shows it.
"""

from pathlib import Path
from typing import Any

from _measure import report

from geoguide.benchmarks import benchmark
from geoguide.datasets.config import DataConfig
from geoguide.datasets.scannet import list_scenes
from geoguide.errors import DataError
from geoguide.worlds.rooms.make import MIN_POINTS, instance_counts


def row(edition: str, expected: int) -> dict[str, Any]:
    """The counts of one edition, which must be whole: other rooms than those that are scored say nothing of them."""
    folder = DataConfig(edition=edition).folder
    found = len(list_scenes(folder, "test"))
    if found != expected:
        raise DataError(f"{folder}: expected {expected} test rooms of the {edition} edition, found {found}")
    counts = instance_counts(folder, "test")
    return {"edition": edition, "split": "test", "rooms": found, "min_vertices": MIN_POINTS, "objects": counts}


if __name__ == "__main__":
    editions = benchmark("scannet").world.editions
    report(Path(__file__).stem, [row(edition, counts[2]) for edition, counts in editions.items()])
