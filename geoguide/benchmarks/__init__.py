"""The benchmarks, one object with every fact of each. To add one: a module with its `BENCHMARK`, its name in `NAMES`.

`NAMES` is all that the command line needs to offer them; the objects load readers and generators when first asked for.
"""

import functools
import importlib
from typing import TYPE_CHECKING

from geoguide.errors import check_known

if TYPE_CHECKING:
    from geoguide.benchmarks.definition import Benchmark
    from geoguide.datasets.config import DataConfig

NAMES = ("scannet", "matterport3d", "nuscenes")


@functools.cache
def benchmark(name: str) -> "Benchmark":
    """The benchmark of that name.

    Args:
        name: One of `NAMES`.

    Returns:
        Its facts.

    Raises:
        ConfigError: Any other name.
    """
    check_known("dataset", name, NAMES)
    return importlib.import_module(f"{__name__}.{name}").BENCHMARK


def benchmark_of(data: "DataConfig") -> "Benchmark":
    """The benchmark that a data config is of, real or generated.

    Args:
        data: The config.

    Returns:
        The benchmark's facts.

    Raises:
        ConfigError: An unknown dataset.
    """
    return benchmark(data.benchmark)


def benchmarks() -> tuple["Benchmark", ...]:
    """All benchmarks.

    Returns:
        Their facts, in the order of `NAMES`.
    """
    return tuple(map(benchmark, NAMES))
