"""Benchmarks of whole commands and of 2D models: what they count, and that no kind of 2D model is forgotten."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from geoguide.paths import PACKAGE
from geoguide.teachers.registry import OPENERS

BENCHMARKS = PACKAGE.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("image_models", "segment", "_measure"):
        sys.modules.pop(name, None)


def test_every_kind_of_2d_model_was_measured_or_says_why_not() -> None:
    rows = json.loads((BENCHMARKS / "results" / "image_models.json").read_text())["rows"]
    assert {row["runner"] for row in rows} == OPENERS.keys() - {"own"}
    assert all(("left_out" in row) != ("frames_per_second" in row) for row in rows)


def test_a_2d_model_is_timed_on_frames_of_which_each_is_kept(tmp_path: Path) -> None:
    import image_models

    scene, _ = image_models.frames(tmp_path, 2)
    wanted = image_models.Asked("mini:lseg-mini", "a name", "packaged")
    row = image_models.row(wanted, scene, tmp_path / "kept", 1e-6, 1)
    assert (row["runner"], row["model"], row["frames"]) == ("mini", "a name", 1)
    assert row["frames_per_second"].keys() == {"network", "features", "kept"}
    assert min(row["frames_per_second"].values()) > 0
    assert row["kept_mb_a_frame"] == round((30 * 40 * 48 * 2 + 128) / 1e6, 2)  # float16 codes, and numpy's header


def test_a_2d_model_that_cannot_be_opened_is_left_out(tmp_path: Path) -> None:
    import image_models

    file = tmp_path / "none.tflite"
    scene, _ = image_models.frames(tmp_path, 1)
    row = image_models.row(image_models.Asked(f"litert:{file}", "a name", "released"), scene, tmp_path / "kept", 1, 1)
    assert row.keys() == {"runner", "model", "weights", "left_out"} and str(file) in row["left_out"]


def test_imports_are_counted_once_by_package() -> None:
    import segment

    told = """a warning
import time: self [us] | cumulative | imported package
import time:       500 |        500 |     torch._C
import time:      1000 |       1500 |   torch
import time:       250 |       1750 | geoguide.ops.devices
import time:        50 |         50 | torchgen
"""
    found = segment.imports(told)
    assert found == {"torch": 0.0015, "geoguide": 0.00025, "torchgen": 0.00005}
    assert np.isclose(found.total(), 0.0018)
    assert segment.largest([found, found + found])["torch"] == pytest.approx(0.00225)
