"""The page "Bring your own": its examples run as they stand; and backbones of one's own, right and wrong."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import geoguide
from geoguide.backbones import BackboneConfig, identity, open_backbone, register
from geoguide.backbones.own import OWN
from geoguide.backbones.registry import BACKBONES
from geoguide.errors import ConfigError, GeoGuideError, InputError
from geoguide.model import from_fit
from geoguide.pipeline.config import ExperimentConfig
from geoguide.scene import Scene
from geoguide.teachers import image_model

PAGE = Path(__file__).resolve().parents[1] / "book" / "extend.md"


class Heights:
    name, width = "my-heights", 2

    def encode(self, scene: Scene) -> np.ndarray:
        return np.stack([scene.points[:, 2], np.ones(len(scene))], axis=1)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = {*BACKBONES}
    yield
    for name in {*BACKBONES} - before:
        del BACKBONES[name], OWN[name]


@pytest.fixture
def scene() -> Scene:
    points = np.random.default_rng(0).uniform(0, 2, (300, 3)).astype(np.float32)
    return Scene("box", points, np.full((300, 3), 0.5, np.float32))


def test_the_examples_run_in_order(tiny: ExperimentConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5 and all(len(block.splitlines()) <= 30 for block in blocks)
    names: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"extend.md, example {number}", "exec"), names)
    assert names["config"].data.rooms == tiny.data.rooms
    assert 0 <= float(capsys.readouterr().out.split()[-1]) <= 1
    assert names["fitted"].student.saved_adapter().in_width == open_backbone(names["own"].backbone).width
    # What was registered is no part of the model's file: it is known here, and said to be missing elsewhere.
    path = from_fit(names["fitted"], names["own"]).save(tmp_path / "own.safetensors")
    assert geoguide.load(path).backbone.name == "heights+descriptors"
    del BACKBONES["heights"], OWN["heights"]
    with pytest.raises(GeoGuideError, match="own.safetensors.*backbones.register.*'heights'"):
        geoguide.load(path)


def test_the_included_lines_are_the_whole_example() -> None:
    """The page takes them from the docstring, between two sentences that stand there once."""
    start, end = re.findall(r"^:(?:start-after|end-before): (.+)$", PAGE.read_text(), re.MULTILINE)
    text = Path(image_model.__file__).read_text()
    assert text.count(start) == text.count(end) == 1
    part = text.split(start)[1].split(end)[0]
    assert part.strip().startswith("import numpy") and "class Brightness" in part


def test_a_registered_backbone_is_one_of_the_others(scene: Scene) -> None:
    register(Heights())
    config = BackboneConfig("my-heights")
    assert not config.trained and identity(config)["sha256"] is None
    found = open_backbone(config).encode(scene)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, Heights().encode(scene).astype(np.float32))
    assert open_backbone(BackboneConfig("my-heights+sonata-mini")).width == 2 + open_backbone(BackboneConfig()).width
    assert BackboneConfig("my-heights+sonata-mini", concat=1).parts[0].concat is None
    with pytest.raises(ConfigError, match="backbone.weights must be None for my-heights"):
        BackboneConfig("my-heights", weights="file")

    class Wider(Heights):
        width = 3

        def encode(self, scene: Scene) -> np.ndarray:
            return np.ones((len(scene), 3), int)

    register(Wider())  # again, as a cell of a notebook is run again
    assert open_backbone(config).encode(scene).shape == (300, 3)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"name": "sonata"}, "none of this package's, found 'sonata'"),
        ({"name": "a+b"}, "one word, found 'a\\+b'"),
        ({"name": 3}, "one word, found 3"),
        ({"width": 0}, "width of backbone my-heights must be .* 1"),
        ({"width": "many"}, "width of backbone my-heights"),
    ],
)
def test_what_is_no_backbone_is_said(parts: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        register(type("Wrong", (Heights,), parts)())
    assert not OWN
    with pytest.raises(InputError, match="found no width, encode"):
        register(type("Bare", (), {"name": "bare"})())  # ty: ignore[invalid-argument-type]  # that is what is tested


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (lambda scene: np.ones((len(scene), 3)), r"must be \[300, 2\], points and its width, found \[300, 3\]"),
        (lambda scene: np.ones((5, 2)), r"found \[5, 2\]"),
        (lambda scene: [["a", "b"]] * len(scene), "features of backbone my-heights must hold numbers"),
        (lambda scene: None, "features of backbone my-heights"),
    ],
)
def test_wrong_features_are_named(features, message: str, scene: Scene) -> None:
    register(type("Wrong", (Heights,), {"encode": lambda self, scene: features(scene)})())
    with pytest.raises(InputError, match=message):
        open_backbone(BackboneConfig("my-heights")).encode(scene)
