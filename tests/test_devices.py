"""Names of devices: those that are there, and one line for every other."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import geoguide
from geoguide.backbones import BackboneConfig, open_backbone
from geoguide.errors import InputError
from geoguide.ops.devices import resolve_device, take_gpu
from geoguide.pipeline import prepare
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.stages import Stages, frozen_features
from geoguide.scene import Scene


def test_devices_that_are_there(device: torch.device) -> None:
    best = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert resolve_device() == resolve_device("auto") == torch.device(best) == device
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    for number in range(torch.cuda.device_count()):
        assert resolve_device(f"cuda:{number}") == torch.device("cuda", number)


def test_a_gpu_without_a_number_is_that_of_the_thread_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's current device belongs to a thread: the one that reads has another than the one that computes."""
    chosen = threading.local()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: setattr(chosen, "number", number))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: getattr(chosen, "number", 0))
    take_gpu(7)
    found = [resolve_device(), resolve_device("cuda"), resolve_device("cuda:1")]
    with ThreadPoolExecutor(1) as reader:
        elsewhere = reader.submit(resolve_device).result()
    assert found == [torch.device("cuda", number) for number in (3, 3, 1)] and elsewhere == torch.device("cuda", 0)


def test_scenes_that_a_thread_opens_are_prepared_where_they_were_asked_for(
    tiny: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []
    monkeypatch.setattr(prepare, "prepare", lambda *_, device, **__: places.append(device))
    monkeypatch.setattr(prepare, "resolve_device", lambda name: torch.device("cuda", 3))
    scenes = prepare.PreparedScenes(prepare.scene_sources(tiny.data, "train"), tiny)
    monkeypatch.setattr(prepare, "resolve_device", lambda name: pytest.fail("not again"))
    assert scenes[0] is None and places == [torch.device("cuda", 3)]


def test_on_a_gpu_the_tests_of_either_device_run_and_else_none_sees_it(
    pytestconfig: pytest.Config,
) -> None:
    plugin = next(one for one in pytestconfig.pluginmanager.get_plugins() if hasattr(one, "SHARED"))
    if pytestconfig.getoption("--device") == "cpu":
        assert not torch.cuda.is_available() and os.environ["CUDA_VISIBLE_DEVICES"] == ""
    left_out: list[object] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: left_out.extend(items))
    either, cpu = (SimpleNamespace(fixturenames=names) for names in (("make", "device"), ("tiny",)))
    for chosen, kept in (("cpu", [cpu, either]), ("cuda", [either])):
        items = [cpu, either]
        plugin.pytest_collection_modifyitems(SimpleNamespace(getoption=lambda _, c=chosen: c, hook=hook), items)
        assert items == kept
    assert left_out == [cpu]


@pytest.mark.parametrize(
    "name", ["gpu", "", "meta", "CPU", "cpu:3", "cuda:-1", "cuda:x", "mps", "tpu", "cuda:99", " cpu"]
)
def test_any_other_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="device") as error:
        resolve_device(name)
    assert repr(name) in str(error.value)


def test_networks_run_where_they_are_told(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """Also where there is a GPU: this one would fail at the first use."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    points = rng.random((300, 3)).astype(np.float32)
    scene = Scene("cube", points, points)
    for name in ("sonata-mini", "sonata-mini-untrained"):
        assert open_backbone(BackboneConfig(name), "cpu").device == torch.device("cpu")
    expected = frozen_features(scene, BackboneConfig(), "cpu")
    np.testing.assert_array_equal(
        np.asarray(Stages(scene, ExperimentConfig(), device="cpu").geometry), expected.astype(np.float16)
    )
    assert len(geoguide.load("mini").features(scene)) == len(scene)  # a model is on the CPU until `to` moves it


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    for use in (resolve_device, geoguide.load("mini").to):
        with pytest.raises(InputError, match="device 'cuda': (this torch is a CPU build|no GPU is visible)"):
            use("cuda")
