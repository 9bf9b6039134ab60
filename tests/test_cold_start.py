"""What `geoguide segment` imports: no package that labelling a scan does not need."""

import subprocess
import sys
from pathlib import Path

import pytest

from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.text.encoders import text_encoder

HEAVY = ("sklearn", "skimage", "scipy.spatial", "scipy.optimize", "scipy.ndimage", "transformers", "pandas", "plotly",
         "trimesh", "pgeof", "embreex", "matplotlib", "laspy", "pye57")  # fmt: skip
NOT_NEEDED = ("geoguide.pipeline.train", "geoguide.pipeline.stages", "geoguide.instances.masks", "geoguide.report")
WORDS = ["wall", "floor"]
CODE = """
import sys
from geoguide.cli import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(sorted(sys.modules))
sys.exit(code)
"""


def imported(*arguments: str) -> set[str]:
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.strip("[]' ") for name in done.stdout.splitlines()[-1].split(",")}


def test_segment_leaves_out_what_it_does_not_need(tiny: ExperimentConfig, tmp_path: Path) -> None:
    text_encoder().encode(WORDS)  # words that were asked for before are on disk: no text model
    mesh = next(scene_sources(tiny.data, "test")[0].path.glob("*_vh_clean_2.ply"))
    names = imported("segment", str(mesh), "--labels", ", ".join(WORDS), "--out", str(tmp_path / "out.ply"))
    assert "torch" in names and not names & {*HEAVY, *NOT_NEEDED}


@pytest.mark.parametrize("module", ["geoguide.model", "geoguide.own_scan", "geoguide.superpoints"])
def test_kernels_are_compiled_when_they_are_called(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'numba', 'scipy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
