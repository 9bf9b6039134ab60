"""`geoguide fit-scan`: a model of a scan of one's own, from its images alone, and the check that needs no label."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import geoguide
from geoguide import own_scan
from geoguide.cli import main
from geoguide.errors import GeoGuideError, InputError
from geoguide.lifting import lift
from geoguide.own_scan import fit as own_model
from geoguide.own_scan import viewer
from geoguide.pipeline import prepare
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources

LABELS = ("wall", "floor", "chair", "table")
QUICK = {"backbone": "descriptors", "steps": 20, "device": "cpu", "progress": False}


@pytest.fixture(scope="module")
def scan(tiny: ExperimentConfig, data_home: Path) -> own_scan.Scan:
    """A generated room as one's own: nobody has labelled it."""
    room = scene_sources(tiny.data, "test")[0].load()
    return own_scan.Scan(replace(room, labels=None, instances=None, provenance="real"))


@pytest.fixture(scope="module")
def fitted(scan: own_scan.Scan) -> own_model.FittedScan:
    return own_model.fit_scan(scan, labels=LABELS, **QUICK)


def test_every_fifth_image_is_held_out(scan: own_scan.Scan, fitted: own_model.FittedScan) -> None:
    names = [view.name for view in scan.scene.views]
    assert [view.name for view in fitted.held_out] == names[4::5]
    assert [view.name for view in fitted.learned.views] == [name for i, name in enumerate(names, 1) if i % 5]
    assert fitted.seen.any() and not fitted.seen.all()


def test_the_model_says_what_it_is_of(scan: own_scan.Scan, fitted: own_model.FittedScan, tmp_path: Path) -> None:
    model = geoguide.load(fitted.model.save(tmp_path / "m.safetensors"))
    assert scan.scene.name in model.trained_on and "lseg-mini" in model.trained_on and "real" in model.trained_on
    ids, scores = model.segment_scene(scan.scene, labels=list(LABELS))
    assert ids.shape == (len(scan.scene),) and np.isfinite(scores).all()


def test_agreement_is_that_of_a_slow_loop(fitted: own_model.FittedScan, rng: np.random.Generator) -> None:
    """One held-out frame and one point after another."""
    ids = rng.integers(0, len(LABELS), len(fitted.seen))
    text = fitted.teacher.model.text(LABELS)
    found = fitted.agreement(ids, LABELS)
    same, points = [0, 0], 0
    for view in fitted.held_out:
        alone = replace(fitted.learned, views=(view,))
        features, count = lift(alone, fitted.teacher.features(alone), fitted.lifting)
        for point in np.flatnonzero((count > 0) & fitted.seen):
            word = int((text @ features[point]).argmax())
            same[0] += word == ids[point]
            same[1] += word == int((text @ fitted.lifted[point]).argmax())
            points += 1
    assert found.frames == len(fitted.held_out) and found.points == points
    assert (found.model, found.lifted) == pytest.approx((same[0] / points, same[1] / points))
    assert found.lifted > 0.6 > found.model  # lifted features say what other frames say; random words do not


def test_a_run_that_was_interrupted_goes_on(scan: own_scan.Scan, fitted: own_model.FittedScan) -> None:
    again = own_model.fit_scan(scan, labels=LABELS, **QUICK)  # its checkpoint is finished: nothing is trained
    pairs = zip(again.model.adapter.parameters(), fitted.model.adapter.parameters(), strict=True)
    assert all((a == b).all() for a, b in pairs)


def test_what_cannot_be_done_is_said_before_the_work(scan: own_scan.Scan) -> None:
    blind = own_scan.Scan(replace(scan.scene, views=()))
    with pytest.raises(InputError, match="a model is distilled from images with poses, found none"):
        own_model.fit_scan(blind, **QUICK)
    with pytest.raises(InputError, match="'chair' and 'chäir' are the same to lseg-mini"):
        own_model.fit_scan(scan, labels=("chair", "chäir"), **QUICK)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"features": "mini:none"}, "none"),
        ({"features": "lseg"}, "a 2D model is one of"),
        ({"backbone": "nothing"}, "backbone.name must be one of"),
        ({"backbone": "sonata-mini", "weights": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"drop": "usr"}, "usr"),
        ({"steps": 0}, "steps"),
        ({"device": "gpu"}, "device must be"),
        ({"labels": ("chair", "chäir")}, "are the same to lseg-mini"),
    ],
)
def test_options_are_checked_before_the_scan_is_opened(option: dict, message: str) -> None:
    def opened() -> own_scan.Scan:
        raise AssertionError("the scan was opened")

    with pytest.raises(GeoGuideError, match=message):
        own_model.fit_scan(opened, **(QUICK | option))


@pytest.mark.parametrize("command", ["segment", "view", "evaluate"])
def test_missing_weights_are_told_before_the_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr(own_scan, "open_scan", worked)
    monkeypatch.setattr(prepare, "prepare_split", worked)
    monkeypatch.setattr(viewer, "need_viser", lambda: None)
    scan = [] if command == "evaluate" else [str(tmp_path), "--labels", "chair"]
    with pytest.raises(SystemExit) as stop:
        main([command, *scan, "--weights", str(tmp_path / "nowhere.safetensors")])
    assert stop.value.code == 2 and "nowhere.safetensors" in capsys.readouterr().err


def test_the_command_writes_model_scan_and_summary(tmp_path: Path, recordings: Path, monkeypatch) -> None:
    """On a real recording of a kitchen: colour, depth and pose."""
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "data"))
    folder = recordings / "rgbd_kitchen"
    words = "floor, cabinet, window"
    with pytest.raises(SystemExit) as stop:
        main(["fit-scan", str(folder), "--labels", words, "--backbone", "descriptors", "--steps", "20",
              "--out", str(tmp_path / "kitchen.safetensors"), "--voxel", "0.08", "--device", "cpu"])  # fmt: skip
    assert not stop.value.code
    summary = json.loads((tmp_path / "kitchen_labelled.json").read_text())
    assert set(summary["labels"]) == {"floor", "cabinet", "window"} and 0 <= summary["agreement"]["model"] <= 1
    assert geoguide.load(tmp_path / "kitchen.safetensors").trained_on.startswith("real scenes")
    assert (tmp_path / "kitchen_labelled.ply").is_file()
