"""One object per benchmark, and nothing that knows a benchmark beside it."""

import ast
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import geoguide
from geoguide import benchmarks
from geoguide.benchmarks import NAMES, benchmark, benchmark_of
from geoguide.benchmarks.scenes import generate, list_sources
from geoguide.datasets.config import DataConfig
from geoguide.datasets.openscene_folders import LAYOUTS
from geoguide.errors import ConfigError
from geoguide.experiments.placing import on
from geoguide.experiments.presets import preset
from geoguide.experiments.profiles import main_table
from geoguide.labels import load_label_set

PACKAGE = Path(geoguide.__file__).parent


@pytest.mark.parametrize("name", NAMES)
def test_the_facts_of_a_benchmark_agree_with_each_other(name: str) -> None:
    found = benchmark(name)
    assert found.name == name
    for label_set in (found.label_set, *found.more_label_sets, found.known_names or found.label_set):
        assert len(load_label_set(label_set)) > 1
    layout = LAYOUTS[found.openscene.folder]
    assert (layout.dataset, layout.label_set) == (name, found.label_set)
    data = found.generated_data()
    assert data.generated and benchmark_of(data) is found and data.rooms == found.world.counts
    real = found.real_data("/data", "features")
    assert not real.generated and benchmark_of(real) is found and real.features_folder == Path("/data/features")


@pytest.mark.parametrize(
    ("name", "tolerance", "border", "occlusion", "voxel"),
    [
        ("scannet", 0.25, 10, "depth", 0.02),
        ("matterport3d", 0.02, 10, "depth", 0.02),
        ("nuscenes", None, 5, "none", 0.05),
    ],
)
def test_real_data_are_lifted_and_voxelised_as_openscene_does(
    name: str, tolerance: float | None, border: int, occlusion: str, voxel: float
) -> None:
    """Constants of its released preprocessing and of its configs: visible within `tolerance` times the depth."""
    recipe = benchmark(name).openscene
    assert (recipe.lifting.border, recipe.lifting.occlusion, recipe.voxel) == (border, occlusion, voxel)
    assert tolerance is None or recipe.lifting.depth_tolerance == tolerance


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown dataset 'kitti': known are scannet, matterport3d, nuscenes"):
        benchmark("kitti")
    with pytest.raises(ConfigError, match="unknown dataset 'kitti'"):
        list_sources(DataConfig("mini-kitti"), "train")
    with pytest.raises(ConfigError, match="must be a generated one"):
        generate(DataConfig("scannet", root="/data"))


def test_a_fourth_needs_no_other_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A twin of ScanNet under another name: listed, placed, generated and put into a main table."""
    made = []
    plain = benchmark("scannet")
    world = replace(plain.world, make=lambda folder, counts, *how: made.append((folder, counts)) or folder)
    fourth = replace(plain, name="fourth", title="Fourth", world=world)
    monkeypatch.setattr(benchmarks, "NAMES", (*NAMES, "fourth"))
    original = benchmark.__wrapped__
    monkeypatch.setattr(benchmarks, "benchmark", lambda name: fourth if name == "fourth" else original(name))
    for module in ("geoguide.experiments.placing", "geoguide.experiments.profiles"):
        monkeypatch.setattr(f"{module}.benchmark", benchmarks.benchmark)
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    config = on(preset(), "fourth")
    assert config.data.dataset == "mini-fourth" and len(main_table("fourth")) == len(main_table("scannet"))
    assert generate(config.data) == tmp_path / "mini-fourth" and made == [(tmp_path / "mini-fourth", (28, 14, 21))]


def test_nothing_else_names_a_benchmark() -> None:
    """No comparison with a benchmark's name outside the benchmarks' own files and readers."""
    guilty = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        if room in ("benchmarks", "datasets", "worlds", "labels"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            values = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
            if any(isinstance(value, ast.Constant) and value.value in NAMES for value in values):
                guilty.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not guilty


def test_names_come_without_readers_and_torch() -> None:
    """The command line offers the benchmarks before anything heavy is loaded."""
    code = "import sys, geoguide.cli; print(sorted({'torch', 'numba', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
