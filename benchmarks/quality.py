"""Measure the superpoints and masks of `profiles.QUALITY`: results/quality.json (claim C11, chapter 07). No timing.

    python benchmarks/quality.py

Means over the first training rooms of the large edition, which must be there (`geoguide data make --edition large`).
"""

from geoguide.benchmarks import benchmark
from geoguide.benchmarks.scenes import list_sources
from geoguide.report.quality import measure, write_qualities

ROOMS = 20

if __name__ == "__main__":
    sources = list_sources(benchmark("scannet").generated_data("large"), "train")[:ROOMS]
    found = measure(source.load() for source in sources)
    for variant, one in found.items():
        print(variant, one)
    write_qualities(found)
