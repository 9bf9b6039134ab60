"""Fixtures of all tests: the device flag, a seeded generator, tiny data, and folders that lie beside the project."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from geoguide.errors import InputError
from geoguide.ops.devices import resolve_device
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare_split
from geoguide.prepared import PreparedScene
from geoguide.worlds.rooms.make import make_mini_scannet

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="cpu (default) or cuda: the same tests run on both")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--device") == "cpu":  # and so is what chooses by itself, on machines with a GPU too
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:  # before any test: who asks for a GPU does not want to be told that nothing failed
        resolve_device(config.getoption("--device"))
    except InputError as error:
        raise pytest.UsageError(f"--device: {error}") from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a GPU the tests that run on either device: others would choose it by themselves, and expect a CPU's bits."""
    if config.getoption("--device") == "cpu":
        return
    others = [item for item in items if "device" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return resolve_device(request.config.getoption("--device"))  # of a GPU with its number, as tensors say it


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Input and output of the official code; absent on a user's machine."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("golden files are not beside the project")
    return SHARED / "golden"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Real recordings (RGB-D, LiDAR, a scan); absent on a user's machine."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real recordings are not beside the project")
    return SHARED / "data"


@pytest.fixture(scope="session")
def open_clip() -> ModuleType:
    """open_clip, where it is installed; of a torchvision that does not fit this torch the operator names suffice."""
    try:
        return pytest.importorskip("open_clip")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return pytest.importorskip("open_clip")


@pytest.fixture
def output_folder(tmp_path: Path) -> Path:
    """Where figures of the tests go: $GEOGUIDE_TEST_OUTPUT, else the test's temporary folder. Never the project."""
    folder = Path(os.environ.get("GEOGUIDE_TEST_OUTPUT") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder of this test session's own, so that tests neither use nor touch the user's."""
    home = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOGUIDE_DATA", str(home))
        yield home


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, int, Callable[[], object]], None]:
    """killed(State, steps, training): run `training` and interrupt it (Ctrl-C) before its step number `steps`."""

    def run(state: type, steps: int, training: Callable[[], object]) -> None:
        advance = state.advance

        def dying(self, scenes):
            if self.step == steps:
                raise KeyboardInterrupt
            advance(self, scenes)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(state, "advance", dying)
            training()

    return run


@pytest.fixture
def resumed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], list[int]]:
    """resumed_at(State): the steps that the state advances from, from now on."""

    def watch(state: type) -> list[int]:
        advance, steps = state.advance, []

        def noting(self, scenes):
            steps.append(self.step)
            advance(self, scenes)

        monkeypatch.setattr(state, "advance", noting)
        return steps

    return watch


@pytest.fixture
def dies_in_the_second(monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], list[str]]:
    """dies_in_the_second(module, writer): the module's scene writer is interrupted right after its second scene, once;
    the names it has written so far."""

    def patch(module: object, writer: str) -> list[str]:
        original, made = getattr(module, writer), []

        def dying(folder: Path, name: str, *rest: object) -> None:
            made.append(name)
            original(folder, name, *rest)
            if len(made) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(module, writer, dying)
        return made

    return patch


@pytest.fixture(scope="session")
def tiny(data_home: Path) -> ExperimentConfig:
    """A real experiment in small: four generated rooms, sixty steps."""
    config = ExperimentConfig(name="tiny").replace(
        data__rooms=(2, 1, 1),
        train__steps=60,
        train__points_per_step=1500,
        train__evaluate_every=20,
        train__checkpoint_every=20,
    )
    make_mini_scannet(data_home / "mini-scannet", rooms=config.data.rooms, workers=2, progress=False)
    return config


@pytest.fixture(scope="session")
def tiny_scenes(tiny: ExperimentConfig) -> dict[str, list[PreparedScene]]:
    """The prepared scenes of `tiny` by split."""
    return {split: prepare_split(tiny, split, progress=False) for split in ("train", "val", "test")}
