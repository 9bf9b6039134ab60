"""The cache: a second run computes nothing, a change recomputes only its stage, damage is repaired."""

import dataclasses
import gc
import json
import os
import resource
import weakref
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoguide.benchmarks.scenes import list_sources
from geoguide.datasets.config import Splits
from geoguide.datasets.sources import SceneSource
from geoguide.errors import ConfigError, DataError
from geoguide.pipeline import cache
from geoguide.pipeline import prepare as prepare_module
from geoguide.pipeline.cache import StageCache
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.identity import Identity, fingerprint
from geoguide.pipeline.prepare import prepare, prepare_by, prepare_split
from geoguide.pipeline.stages import Stages
from geoguide.scene import Scene


@pytest.fixture(scope="module")
def scene(tiny: ExperimentConfig) -> Scene:
    whole = list_sources(tiny.data, "val")[0].load()
    return dataclasses.replace(whole, views=whole.views[:3])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that really run."""
    done: list[str] = []
    for name in ("_geometry", "_lifted", "_superpoints", "_masks"):
        original = getattr(Stages, name)

        def spy(stages, _name=name, _original=original):
            found = _original(stages)
            done.append(_name.strip("_"))
            return found

        monkeypatch.setattr(Stages, name, spy)
    return done


@pytest.fixture
def source(tiny: ExperimentConfig, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> SceneSource:
    """A source of the scene of few frames; `reads` counts how often its files are read."""
    found = list_sources(tiny.data, "val")[0]
    reads: list[str | None] = []
    monkeypatch.setattr(type(found), "load", lambda self, label_set=None: reads.append(label_set) or scene)
    monkeypatch.setattr(type(found), "reads", reads, raising=False)
    return found


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


class Pool(Executor):
    """Runs a job when it is submitted, and counts."""

    jobs = 0

    def submit(self, fn, /, *arguments, **options) -> Future:
        self.jobs += 1
        done: Future = Future()
        done.set_result(fn(*arguments, **options))
        return done


def test_a_pool_is_asked_for_what_is_missing_alone(tiny: ExperimentConfig, tmp_path, monkeypatch, computed) -> None:
    monkeypatch.setattr(prepare_module, "cache_root", lambda: tmp_path)
    name = list_sources(tiny.data, "train")[0].name
    watched = tiny.replace(data__splits=Splits(train=(name,), val=(name,)))
    parts = [(watched, "train"), (watched, "val")]
    pool = Pool()
    prepare_by(pool, parts, progress=False)
    assert pool.jobs == 1 and sorted(computed) == ["geometry", "lifted", "masks", "superpoints"]
    prepare_by(pool, parts, progress=False)
    assert pool.jobs == 1
    prepare_by(pool, [(watched.replace(superpoints__k=0.05), "val")], progress=False)
    assert pool.jobs == 2 and sorted(computed[4:]) == ["masks", "superpoints"]


def test_damage_is_repaired(scene: Scene, tiny: ExperimentConfig, tmp_path, computed: list[str]) -> None:
    first = prepare(scene, tiny, tmp_path)
    expected = np.array(first.geometry)
    computed.clear()
    (file,) = tmp_path.glob("*/geometry-*.rows.npy")
    del first
    file.write_bytes(file.read_bytes()[:200])
    np.testing.assert_array_equal(prepare(scene, tiny, tmp_path).geometry, expected)
    assert computed == ["geometry"]


def test_too_many_open_files_are_no_damage(scene: Scene, tiny: ExperimentConfig, tmp_path, computed: list[str]) -> None:
    """Every stage was computed again, and its files written anew, where only a handle was missing."""
    prepare(scene, tiny, tmp_path)
    computed.clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 3, hard))
    held = []
    try:
        with pytest.raises(OSError, match="Too many open files"):
            held += [prepare(scene, tiny, tmp_path) for _ in range(20)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not computed


def test_scenes_close_their_files_as_soon_as_nobody_holds_them(tiny: ExperimentConfig, data_home: Path) -> None:
    """They did at some later garbage collection: after fourteen rows of streets one process had 20,000 files open."""
    gc.disable()
    try:
        scenes = prepare_split(tiny, "val", device="cpu")
        left = weakref.ref(scenes[0])
        del scenes
        assert left() is None
    finally:
        gc.enable()


def test_a_source_is_read_once_and_then_never(
    source: SceneSource, scene: Scene, tiny: ExperimentConfig, tmp_path, computed: list[str]
) -> None:
    """The first time one reading serves identity and stages; later not even one; a damaged note costs one reading."""
    first = prepare(source, tiny, tmp_path)
    assert len(source.reads) == 1 and len(computed) == 4 and first.source is source
    assert first.fingerprint == fingerprint(scene)
    again = prepare(source, tiny, tmp_path)
    assert len(source.reads) == 1 and len(computed) == 4
    np.testing.assert_array_equal(first.points, again.points)
    (note,) = (tmp_path / "sources").iterdir()
    expected = json.loads(note.read_text())
    for damage in ("{", "[]", '{"name": "x"}'):
        note.write_text(damage)
        prepare(source, tiny, tmp_path)
        assert json.loads(note.read_text()) == expected
    assert len(source.reads) == 4 and len(computed) == 4


def test_stages_in_memory_equal_those_on_disk(scene: Scene, tiny: ExperimentConfig, tmp_path, monkeypatch) -> None:
    on_disk = prepare(scene, tiny, tmp_path)
    monkeypatch.setattr(StageCache, "get", None)
    stages = Stages(scene, tiny)
    in_memory = stages.prepared()
    assert stages.identity == Identity.of(scene) and in_memory.source is None
    for name in ("points", "colors", "labels", "instances", "geometry", "lifted", "seen_by", "superpoints"):
        np.testing.assert_array_equal(getattr(in_memory, name), getattr(on_disk, name))
    np.testing.assert_array_equal(in_memory.masks.dense(), on_disk.masks.dense())
    assert in_memory.frames == on_disk.frames == (3, 0)
    assert stages.geometry is stages.geometry and in_memory.geometry_width == in_memory.geometry.shape[1]


def test_a_stage_is_named_by_its_settings(tmp_path) -> None:
    cache, calls = StageCache(tmp_path), []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"a": np.arange(3), "b": np.ones(2)}

    for settings in ([1, {"x": 1, "y": 2}], [1, {"y": 2, "x": 1}], [2, {"x": 1, "y": 2}]):
        found = cache.get("kind", settings, compute)
        assert found["a"].tolist() == [0, 1, 2] and found["b"].tolist() == [1, 1]
    assert len(calls) == 2 and len(list(tmp_path.glob("kind-*.json"))) == 2
    next(tmp_path.glob("kind-*.a.npy")).unlink()
    cache.get("kind", [1, {"x": 1, "y": 2}], compute), cache.get("kind", [2, {"x": 1, "y": 2}], compute)
    assert len(calls) == 3


def test_an_array_of_another_scene_or_an_edited_one_is_computed_again(tmp_path, capfd) -> None:
    caches = {name: StageCache(tmp_path / name) for name in ("one", "two")}
    arrays = {"one": np.arange(10_000_000, dtype=np.int16), "two": np.ones(10_000_000, np.int16)}  # 20 MB
    calls: list[str] = []

    def get(name: str) -> np.ndarray:
        return caches[name].get("lifted", 1, lambda: (calls.append(name), {"a": arrays[name]})[1])["a"]

    get("one"), get("two"), get("one")
    assert calls == ["one", "two"]
    (one,), (two,) = ((tmp_path / name).glob("*.npy") for name in ("one", "two"))
    one.write_bytes(two.read_bytes())
    np.testing.assert_array_equal(get("one"), arrays["one"])
    assert f"{one.name.split('.')[0]}.json: cache entry unreadable (a is not what was" in "".join(capfd.readouterr())
    edited = np.lib.format.open_memmap(two, "r+")
    edited[5_000_000:5_300_000] = 2
    edited.flush()
    np.testing.assert_array_equal(get("two"), arrays["two"])
    assert calls == ["one", "two", "one", "two"]
    for path in (tmp_path / "two").iterdir():  # a whole stage, list and all
        (tmp_path / "one" / path.name).write_bytes(path.read_bytes())
    np.testing.assert_array_equal(get("one"), arrays["one"])
    assert len(calls) == 5


@pytest.mark.parametrize("version", [{"a": ["<i8", [3]]}, ["a"]])
def test_stages_of_older_versions_are_read(tmp_path, version: object) -> None:
    cache = StageCache(tmp_path)
    cache.get("kind", 1, lambda: {"a": np.arange(3)})
    (index,) = tmp_path.glob("*.json")
    index.write_text(json.dumps(version))
    assert cache.get("kind", 1, lambda: {})["a"].tolist() == [0, 1, 2]


def test_fingerprint_sees_content(scene: Scene) -> None:
    moved = dataclasses.replace(scene, points=scene.points + np.float32(1e-3))
    fewer = dataclasses.replace(scene, views=scene.views[:2])
    assert len({fingerprint(s) for s in (scene, moved, fewer)}) == 3


def test_fingerprint_of_a_real_scene_sees_what_is_repaired(scene: Scene, tmp_path) -> None:
    """Cameras and images, so that lifted features are made anew; a generated scene's follow from its recipe."""
    depth = tmp_path / scene.views[0].depth_path.name
    depth.write_bytes(scene.views[0].depth_path.read_bytes())
    view = dataclasses.replace(scene.views[0], depth_path=depth)
    repaired = (
        {"intrinsics": view.intrinsics * [[1.1], [1.1], [1]]},
        {"image_size": (view.image_size[1], view.image_size[0])},
        {"depth_scale": 500.0},
    )

    def prints(provenance: str) -> list[str]:
        views = [(view,), *((dataclasses.replace(view, **change),) for change in repaired)]
        return [fingerprint(dataclasses.replace(scene, views=v, provenance=provenance)) for v in views]

    before = prints("real")
    assert len(set(before)) == 4 and len(set(prints("mini"))) == 1
    content = bytearray(depth.read_bytes())
    content[-20] ^= 1  # of as many bytes as before
    depth.write_bytes(content)
    assert prints("real")[0] not in before
    depth.unlink()
    assert prints("real")[0] not in before  # whoever asks for its pixels is told


def test_what_made_the_features_is_known(scene: Scene, tiny: ExperimentConfig, tmp_path) -> None:
    same = {prepare(scene, tiny, cache).made_by for cache in (None, tmp_path)}
    other = {
        prepare(scene, tiny.replace(**{name: value})).made_by
        for name, value in {"lifting__depth_tolerance": 0.1, "masks__source": "annotation"}.items()
    }
    assert len(same) == 1 and len(same | other) == 3
    assert prepare(scene, tiny.replace(train__steps=3, seed=5)).made_by in same


def test_annotation_masks_are_the_instances(scene: Scene, tiny: ExperimentConfig, tmp_path) -> None:
    prepared = prepare(scene, tiny.replace(masks__source="annotation"), tmp_path)
    assert len(prepared.masks) == len(np.unique(scene.instances[scene.instances >= 0]))


@pytest.mark.parametrize("name", ["building/room", "../room", "a\\b"])
def test_stages_lie_in_a_folder_of_the_cache_whatever_the_scene_is_called(
    scene: Scene, tiny: ExperimentConfig, tmp_path: Path, name: str
) -> None:
    """Those of "../room" lay beside the cache, and none of these was found by `data clean`."""
    cache = tmp_path / "in" / "cache"
    Stages(replace(scene, name=name), tiny, cache).superpoints  # noqa: B018
    (folder,) = cache.iterdir()
    assert list(folder.glob("superpoints-*.json")) and [*cache.parent.iterdir()] == [cache]


def test_bad_input(scene: Scene, tiny: ExperimentConfig, tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"data\.root"):
        tiny.replace(data__dataset="scannet")
    with pytest.raises(DataError, match="empty|no scene|lists"):
        prepare_split(tiny.replace(data__rooms=(1, 0, 0), data__root=str(tmp_path / "rooms")), "test", progress=False)
    elsewhere = tmp_path / "more"
    with pytest.raises(ConfigError, match=r"unknown split of mini-scannet 'tset': known are train, val, test"):
        prepare_split(tiny.replace(data__root=elsewhere), "tset", progress=False)
    assert not elsewhere.exists()  # all rooms were generated first
    with pytest.raises(ConfigError, match=r"data\.features: fused features belong to a scene of a dataset"):
        prepare(scene, tiny.replace(data__features="fused"), tmp_path)


def test_an_array_is_digested_once_and_again_when_its_file_changes(tmp_path: Path) -> None:
    folder, made = tmp_path / "scene", []

    def compute() -> dict[str, np.ndarray]:
        made.append(1)
        return {"a": np.arange(20_000)}

    def read() -> np.ndarray:
        return StageCache(folder).get("stage", 0, compute)["a"]

    read(), read()
    before = cache._digest_once.cache_info()
    assert read()[-1] == 19_999 and made == [1]
    after = cache._digest_once.cache_info()
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)
    (file,) = folder.glob("*.npy")
    content = bytearray(file.read_bytes())
    content[-8:] = bytes(8)
    file.write_bytes(content)
    assert read()[-1] == 19_999 and made == [1, 1]


@pytest.mark.parametrize("value", [1e6, np.nan])
def test_features_that_cannot_be_stored_are_named_and_not_kept(value: float, tmp_path: Path, monkeypatch) -> None:
    """Beyond float16 they would be infinite, and the loss nan."""

    class Loud:
        name, width = "loud", 2

        def encode(self, scene: Scene) -> np.ndarray:
            return np.array([[0, 1], [0, value], [65504, 1]], np.float32)

    monkeypatch.setattr("geoguide.backbones.open_backbone", lambda config, device: Loud())
    scene = Scene("s", np.eye(3, dtype=np.float32), np.full((3, 3), 0.5, np.float32))
    with pytest.raises(DataError, match="scene s: frozen features of loud must be finite and within float16, 1 of 3"):
        _ = Stages(scene, ExperimentConfig(), tmp_path).geometry
    assert not [path for path in tmp_path.rglob("*") if "geometry" in path.name]
