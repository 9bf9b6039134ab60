"""The cache: a second run computes nothing, a change recomputes only its stage, damage is repaired."""

import numpy as np
import pytest

from geoguide.datasets.sources import list_sources
from geoguide.errors import ConfigError, DataError
from geoguide.pipeline import prepare as module
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import fingerprint, prepare, prepare_split
from geoguide.scene import Scene


@pytest.fixture(scope="module")
def scene(tiny: ExperimentConfig) -> Scene:
    whole = list_sources(tiny.data, "val")[0].load()
    import dataclasses

    return dataclasses.replace(whole, views=whole.views[:3])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that really run."""
    done: list[str] = []
    for name in ("_geometry", "_lifted", "_superpoints", "_masks"):
        original = getattr(module, name)

        def spy(*arguments, _name=name, _original=original):
            done.append(_name.strip("_"))
            return _original(*arguments)

        monkeypatch.setattr(module, name, spy)
    return done


def test_stages_are_computed_once(scene: Scene, tiny: ExperimentConfig, tmp_path, computed: list[str]) -> None:
    first = prepare(scene, tiny, tmp_path)
    assert sorted(computed) == ["geometry", "lifted", "masks", "superpoints"]
    computed.clear()
    again = prepare(scene, tiny, tmp_path)
    assert computed == []
    np.testing.assert_array_equal(first.lifted, again.lifted)
    prepare(scene, tiny.replace(teacher__confusion=0.1), tmp_path)
    assert computed == ["lifted"]
    computed.clear()
    prepare(scene, tiny.replace(superpoints__k=0.05), tmp_path)
    assert sorted(computed) == ["masks", "superpoints"]


def test_damage_is_repaired(scene: Scene, tiny: ExperimentConfig, tmp_path, computed: list[str]) -> None:
    first = prepare(scene, tiny, tmp_path)
    expected = np.array(first.geometry)
    computed.clear()
    (file,) = tmp_path.glob("*/geometry-*.rows.npy")
    del first
    file.write_bytes(file.read_bytes()[:200])
    np.testing.assert_array_equal(prepare(scene, tiny, tmp_path).geometry, expected)
    assert computed == ["geometry"]


def test_fingerprint_sees_content(scene: Scene) -> None:
    import dataclasses

    moved = dataclasses.replace(scene, points=scene.points + np.float32(1e-3))
    fewer = dataclasses.replace(scene, views=scene.views[:2])
    assert len({fingerprint(s) for s in (scene, moved, fewer)}) == 3


def test_annotation_masks_are_the_instances(scene: Scene, tiny: ExperimentConfig, tmp_path) -> None:
    prepared = prepare(scene, tiny.replace(masks__source="annotation"), tmp_path)
    assert len(prepared.masks) == len(np.unique(scene.instances[scene.instances >= 0]))


def test_bad_input(tiny: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"data\.root"):
        tiny.replace(data__dataset="scannet")
    with pytest.raises(DataError, match="empty|no scene|lists"):
        prepare_split(tiny.replace(data__rooms=(2, 1, 0)), "test", progress=False)
