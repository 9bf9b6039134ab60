"""Means over all points of a region, batches of whole superpoints, and scenes of which some points were kept."""

import dataclasses
import functools
import mmap
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from geoguide.benchmarks.scenes import list_sources
from geoguide.datasets.formats.fused_features import StreamedFeatures, write_fused
from geoguide.errors import ConfigError, InputError
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.instances.masks import InstanceMasks
from geoguide.method.batch import Batch
from geoguide.method.mask_reconstruction import IMRConfig, alike_superpoints
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.method.superpoint_distillation import USDConfig, reliability_input
from geoguide.ops.indexed import IndexedRows
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.pooling import PoolingConfig, kept_points, region_means
from geoguide.pipeline.prepare import prepare, prepare_split
from geoguide.pipeline.stages import Stages
from geoguide.pipeline.student import new_student
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene, SceneMeans
from geoguide.scene import Scene
from geoguide.students.frozen_backbone import whole_superpoints

P, S, M, C1, C = 90, 8, 5, 6, 9
CPU = torch.device("cpu")


@pytest.fixture
def scene(rng: np.random.Generator) -> PreparedScene:
    """Random features; one superpoint and one mask of unseen points, one mask that lies over others."""
    superpoints = rng.permutation(np.arange(P) % S)
    seen = (rng.random(P) < 0.6) & (superpoints != 3)
    dense = rng.random((M, P)) < 0.2
    dense[1] = superpoints == 3
    geometry, lifted = rng.normal(size=(P, C1)), np.where(seen[:, None], rng.normal(size=(P, C)), 0)
    found = PreparedScene(
        name="random", provenance="mini", fingerprint="0123456789ab", points=rng.normal(size=(P, 3)),
        colors=np.zeros((P, 3), np.float32), labels=None, instances=None, geometry=np.float16(geometry),
        lifted=np.float16(lifted), seen_by=seen.astype(np.int32), superpoints=superpoints,
        masks=InstanceMasks.from_dense(dense),
    )  # fmt: skip
    return replace(found, means=means_of(found))


def means_of(scene: PreparedScene) -> SceneMeans:
    found = region_means(scene.geometry, (scene.lifted, scene.seen_by), scene.superpoints, scene.masks)
    return SceneMeans(**found, masks=len(scene.masks))


def regions(scene: PreparedScene) -> np.ndarray:
    """bool [S + M, P], superpoints first."""
    return np.concatenate([scene.superpoints == np.arange(S)[:, None], scene.masks.dense()])


def test_means_match_a_loop(scene: PreparedScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoguide.pipeline.pooling.CHUNK", 17)  # not a divisor of P
    found = means_of(scene)
    for number, inside in enumerate(regions(scene)):
        seen = inside & (scene.seen_by > 0)
        np.testing.assert_allclose(found.geometry[number], np.float64(scene.geometry)[inside].mean(0), rtol=1e-6)
        expected = np.float64(scene.lifted)[seen].mean(0) if seen.any() else np.zeros(C)
        np.testing.assert_allclose(found.lifted[number], expected, rtol=1e-6)
        assert found.seen[number] == seen.sum()
    np.testing.assert_allclose(found.centre, np.float64(scene.lifted)[scene.seen_by > 0].mean(0), rtol=1e-6)
    assert found.geometry.dtype == found.lifted.dtype == np.float32


def test_means_without_masks(scene: PreparedScene) -> None:
    bare = replace(scene, masks=scene.masks.take(np.zeros(0, np.int64)))
    found = means_of(bare)
    np.testing.assert_allclose(found.lifted, scene.means.lifted[:S], rtol=1e-6)
    batch = replace(bare, means=found).batch(np.arange(0, P, 5), CPU)
    assert batch.exact.masks.geometry.shape == (0, C1) and "mask" not in Objective(C1, C, ObjectiveConfig())(
        torch.randn(len(batch), C), batch, torch.Generator()
    )


def test_means_of_indexed_rows_and_of_several_files(scene: PreparedScene, rng, tmp_path: Path) -> None:
    """Each of three files holds a random half of the seen points: together the mean over all that any file holds."""
    held = [(scene.seen_by > 0) & (rng.random(P) < 0.5) for _ in range(3)]
    files = tuple(write_fused(tmp_path / f"a_{n}.pt", scene.lifted, some) for n, some in enumerate(held))
    union = np.any(held, axis=0)
    index = rng.integers(0, 7, P).astype(np.int32)
    rows = IndexedRows(np.asarray(scene.geometry[:7]), index)
    found = region_means(rows, StreamedFeatures(files, P), scene.superpoints, scene.masks)
    lifted = np.where(union[:, None], scene.lifted, 0)
    expected = region_means(scene.geometry[index], (lifted, union), scene.superpoints, scene.masks)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7)


def test_batches_carry_the_means_of_their_regions(scene: PreparedScene) -> None:
    """In a sample, the input of W's MLP and what looks alike come from all points of the scene, as in a loop."""
    chosen = np.sort(np.random.default_rng(1).permutation(P)[:30])
    batch = scene.batch(chosen, CPU)
    found, inside = reliability_input(batch), torch.from_numpy(regions(scene)[:S])
    geometry, lifted = (torch.from_numpy(np.float32(x)) for x in (scene.geometry, scene.lifted))
    for position, p in enumerate(chosen.tolist()):
        own = inside[scene.superpoints[p]]
        seen = own & torch.from_numpy(scene.seen_by > 0)
        deviation = lifted[seen].mean(0) - lifted[p] if scene.seen_by[p] > 0 else torch.zeros(C)
        torch.testing.assert_close(found[position], torch.cat([geometry[own].mean(0) - geometry[p], deviation]))
    _, present = scene.masks.among(chosen)
    assert batch.exact is not None and len(present) < M + 1
    centred = torch.from_numpy(scene.means.lifted - scene.means.centre)
    names = np.unique(scene.superpoints[chosen])
    drawn = torch.tensor([2, 0])
    cosine = F.cosine_similarity(centred[S + present[drawn.numpy()]][:, None], centred[names][None], dim=-1)
    alike = alike_superpoints(batch, batch.masks.take(drawn), 0.1, drawn)
    assert torch.equal(alike, cosine > 0.1) and alike.any() and not alike.all()


@pytest.mark.parametrize("weight", ["sigmoid", "uniform"])
def test_of_a_whole_scene_both_means_are_the_same(scene: PreparedScene, weight: str) -> None:
    """All terms of all modules; with a sample of the points every module that asks for frozen means has others."""
    imr = IMRConfig(negatives="unalike", alike=0.1, masks_per_step=3)
    config = ObjectiveConfig(usd=USDConfig(weight=weight, unseen="refined"), imr=imr)
    torch.manual_seed(0)
    objective = Objective(C1, C, config)
    semantic = torch.randn(P, C, generator=torch.Generator().manual_seed(1))

    def terms(source: PreparedScene, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(2)
        return objective(semantic[torch.from_numpy(chosen)], source.batch(chosen, CPU), generator)

    bare, everything, some = replace(scene, means=None), np.arange(P), np.arange(0, P, 3)
    for name, value in terms(scene, everything).items():
        torch.testing.assert_close(value, terms(bare, everything)[name], atol=1e-5, rtol=1e-4)
    exact, sampled = terms(scene, some), terms(bare, some)
    changed = {name for name, value in exact.items() if not torch.allclose(value, sampled[name], rtol=1e-3)}
    assert {"sim_masks", "sim_superpoints", "total"} <= changed
    assert ("superpoint" in changed) == (weight == "uniform")  # W, at first, is the same for all points at hand


def test_uniform_targets_are_the_means_of_all_points(scene: PreparedScene) -> None:
    some = np.arange(0, P, 3)
    objective = Objective(C1, C, ObjectiveConfig(modules=("usd",), usd=USDConfig(weight="uniform")))
    semantic = torch.randn(len(some), C, generator=torch.Generator().manual_seed(1))
    found = objective(semantic, scene.batch(some, CPU), torch.Generator())["superpoint"]
    distances = []
    for s in range(S):
        own = torch.from_numpy(scene.superpoints[some] == s)
        if own.any() and scene.means.seen[s] > 0:
            target = torch.from_numpy(scene.means.lifted[s])
            distances.append(1 - F.cosine_similarity(semantic[own].mean(0), target, dim=0))
    torch.testing.assert_close(found, torch.stack(distances).mean())


def test_gradients_in_float64(scene: PreparedScene) -> None:
    batch = scene.batch(np.arange(0, P, 4), CPU)
    parts = {name: getattr(batch, name).double() for name in ("points", "geometry", "lifted")}
    exact = {
        level: dataclasses.replace(
            means, **{f.name: getattr(means, f.name).double() for f in dataclasses.fields(means)}
        )
        for level, means in (("superpoints", batch.exact.superpoints), ("masks", batch.exact.masks))
    }
    batch = replace(batch, **parts, exact=replace(batch.exact, **exact, centre=batch.exact.centre.double()))
    objective = Objective(C1, C, ObjectiveConfig(usd=USDConfig(weight="uniform"))).double()
    semantic = torch.randn(len(batch), C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    total = lambda x: objective(x, batch, torch.Generator().manual_seed(0))["total"]  # noqa: E731
    assert torch.autograd.gradcheck(total, semantic.requires_grad_())


def test_means_of_other_regions_are_refused(scene: PreparedScene) -> None:
    batch = scene.batch(np.arange(P), CPU)
    fewer = scene.batch(np.flatnonzero(scene.superpoints < 3), CPU)
    with pytest.raises(InputError, match=rf"exact means of a batch must be of {S} superpoints and {M} masks, found"):
        replace(batch, exact=fewer.exact)


def test_masks_of_some_points(scene: PreparedScene) -> None:
    chosen = np.flatnonzero(scene.superpoints != 3)  # mask 1 holds none of them
    some = scene.masks.restricted(chosen)
    np.testing.assert_array_equal(some.dense(), scene.masks.dense()[:, chosen])
    assert len(some) == M and some.sizes()[1] == 0
    groups, present = scene.masks.among(chosen)
    assert 1 not in present and groups.count == len(present) == M - 1
    np.testing.assert_array_equal(groups.sizes.numpy(), some.sizes()[present])


def test_superpoints_are_drawn_whole_until_there_are_enough() -> None:
    rng = np.random.default_rng(0)
    superpoints = rng.integers(0, 40, 1000) * 2  # numbers with gaps
    sizes = np.bincount(superpoints)
    counts = np.zeros(len(sizes))
    for seed in range(300):
        chosen = whole_superpoints(superpoints, 200, np.random.default_rng(seed))
        drawn = np.unique(superpoints[chosen])
        np.testing.assert_array_equal(chosen, np.flatnonzero(np.isin(superpoints, drawn)))
        assert 200 <= len(chosen) < 200 + sizes.max()
        counts[drawn] += 1
    assert counts[sizes > 0].min() > 300 * 0.1 and counts[sizes > 0].max() < 300 * 0.35  # each about one in five
    np.testing.assert_array_equal(whole_superpoints(superpoints, 10**6, rng), np.arange(1000))


def test_fewer_kept_points_are_a_part_of_more() -> None:
    few, more = (kept_points(1000, count, "0123456789ab") for count in (50, 400))
    assert len(few) == 50 and set(few) < set(more) and (np.diff(more) > 0).all()
    assert not np.array_equal(few, kept_points(1000, 50, "0123456789ac"))
    np.testing.assert_array_equal(kept_points(30, 50, "0"), np.arange(30))


def test_configs_without_it_keep_their_hash() -> None:
    plain = to_dict(ExperimentConfig(), hashed_only=True)
    assert "pooling" not in plain and "lambda_by" not in plain["objective"]
    assert not {"standardise"} & set(plain["objective"]["usd"]) and "regions" not in plain["objective"]["iirc"]
    exact = ExperimentConfig().replace(pooling__means="exact")
    assert config_hash(exact) != config_hash(ExperimentConfig())
    assert from_dict(ExperimentConfig, to_dict(exact)) == exact
    with pytest.raises(ConfigError, match="pooling: kept_points must be a finite number >= 1, found 0"):
        PoolingConfig(kept_points=0)
    with pytest.raises(ConfigError, match=r"pooling.means must be one of sampled, exact, found 'all'"):
        PoolingConfig(means="all")


@pytest.fixture(scope="module")
def short(tiny: ExperimentConfig) -> Scene:
    whole = list_sources(tiny.data, "train")[0].load()
    return replace(whole, views=whole.views[:3])


def test_kept_points_are_rows_of_the_whole_scene(short: Scene, tiny: ExperimentConfig, tmp_path: Path) -> None:
    """The big arrays of all points are not written, nor computed again; exact means are those of the whole scene."""
    config = tiny.replace(pooling__kept_points=700, pooling__means="exact")
    some = prepare(short, config, tmp_path, training=True)
    kinds = {path.name.split("-")[0] for path in tmp_path.glob("*/*.npy")}
    assert kinds == {"scene", "superpoints", "masks", "means", "kept", "kept_geometry"}
    whole = prepare(short, tiny.replace(pooling__means="exact"), tmp_path / "whole", training=True)
    chosen = kept_points(len(whole), 700, whole.fingerprint)
    assert len(some) == 700 and some.fingerprint == whole.fingerprint and some.frames == whole.frames
    for name in ("points", "colors", "labels", "instances", "lifted", "seen_by", "superpoints"):
        np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[chosen])
    np.testing.assert_array_equal(np.asarray(some.geometry), np.asarray(whole.geometry)[chosen])
    np.testing.assert_array_equal(some.masks.sparse().toarray(), whole.masks.sparse()[:, chosen].toarray())
    for name in ("geometry", "lifted", "seen"):
        np.testing.assert_array_equal(getattr(some.means, name), getattr(whole.means, name))
    batch, same = some.batch(np.arange(0, 700, 2), CPU), whole.batch(chosen[::2], CPU)
    assert torch.equal(batch.lifted, same.lifted) and torch.equal(batch.superpoints.group, same.superpoints.group)
    assert torch.equal(batch.exact.masks.geometry, same.exact.masks.geometry)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_geometry", "_lifted", "_superpoints", "_masks"):
            patch.setattr(Stages, name, None)
        again = prepare(short, config, tmp_path, training=True)
        assert prepare(short, config.replace(pooling__means="sampled"), tmp_path, training=True).means is None
    np.testing.assert_array_equal(again.lifted, some.lifted)


def test_an_open_scene_of_kept_points_holds_little_memory(short: Scene, tiny: ExperimentConfig, tmp_path: Path) -> None:
    """Of the masks alone a copy, of 4 bytes for each entry; all else lies in mapped files. Two hundred stay open."""
    config = tiny.replace(pooling__kept_points=2000, pooling__means="exact")
    prepare(short, config, tmp_path, training=True)
    before = prepare(short, config, tmp_path, training=True)  # what the first opening imports and keeps
    tracemalloc.start()
    try:
        opened = [prepare(short, config, tmp_path, training=True) for _ in range(20)]
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    arrays = held - 20 * 30_000  # Python's own objects of a scene take less
    assert arrays < sum(6 * len(scene.masks.index) for scene in opened) and len(before.masks.index) > 500
    for name in ("points", "colors", "labels", "instances", "superpoints"):
        rows = getattr(opened[0], name)
        assert isinstance(rows, IndexedRows) and all(is_mapped(part) for part in (rows.rows, rows.index)), name


def is_mapped(array: np.ndarray) -> bool:
    """Whether an array is, or looks into, a mapped file."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap | mmap.mmap)


def test_only_training_scenes_lose_points(tiny: ExperimentConfig, tiny_scenes: dict) -> None:
    """What is in the cache already is used; val and test stay whole and carry no means."""
    config = tiny.replace(pooling__kept_points=500, pooling__means="exact")
    train, val = (prepare_split(config, split, progress=False) for split in ("train", "val"))
    assert {len(scene) for scene in train} == {500} and all(scene.means is not None for scene in train)
    assert len(val[0]) == len(tiny_scenes["val"][0]) and val[0].means is None
    config = config.replace(train__steps=3, train__evaluate_every=3, pooling__batches="superpoints")
    config = config.replace(train__points_per_step=100, objective__usd__standardise=True)
    fitted = fit(config, train=train, val=val, progress=False, device="cpu")
    assert np.isfinite(fitted.history[-1]["total"])


def test_every_pool_of_a_batch_of_superpoints_is_complete(tiny: ExperimentConfig, tiny_scenes: dict) -> None:
    scenes = tiny_scenes["train"]
    student = new_student(tiny.replace(pooling__batches="superpoints"), scenes)
    draw = functools.partial(student.draw, scenes, seed=0, device=CPU)
    batch, again, other = draw(3), draw(3), draw(4)
    assert isinstance(batch, Batch) and torch.equal(batch.points, again.points)
    assert not torch.equal(batch.points[:50], other.points[:50])
    sizes = [set(np.bincount(scene.superpoints).tolist()) for scene in scenes]
    assert any(set(batch.superpoints.sizes.tolist()) <= known for known in sizes)
    assert len(batch) >= tiny.train.points_per_step


def test_what_cannot_be_had_is_said(tiny: ExperimentConfig, tiny_scenes: dict) -> None:
    with pytest.raises(InputError, match="has no exact means; prepare it with training=True"):
        new_student(tiny.replace(pooling__means="exact"), tiny_scenes["train"])
    whole = tiny.replace(train__model="openscene", objective__modules=(), pooling__batches="superpoints")
    with pytest.raises(ConfigError, match=r"pooling.batches must be left alone for openscene, which has no regions"):
        new_student(whole, tiny_scenes["train"])


def test_an_entire_network_reads_all_points_and_learns_from_those_kept(
    tiny: ExperimentConfig, tiny_scenes: dict
) -> None:
    """The same voxels and colours as of the whole scene; a voxel is supervised where its point was kept."""
    config = tiny.replace(train__model="openscene", objective__modules=(), pooling__kept_points=500)
    config = config.replace(openscene__width=0.1, openscene__voxel=0.2, openscene__augmented=False)
    some, whole = prepare_split(config, "train", progress=False), tiny_scenes["train"]
    torch.manual_seed(0)
    student = new_student(config, some)
    few, all_ = student.network.batch([some[0]], [0], CPU), student.network.batch([whole[0]], [0], CPU)
    assert torch.equal(few.grid_coord, all_.grid_coord) and torch.equal(few.features, all_.features)
    kept = kept_points(len(whole[0]), 500, whole[0].fingerprint)
    lifted, seen = some[0].cloud_features(np.arange(len(whole[0])))
    held = np.isin(np.arange(len(whole[0])), kept)
    np.testing.assert_array_equal(seen, held & whole[0].seen)
    np.testing.assert_array_equal(lifted, np.where(held[:, None], whole[0].lifted, 0))
    assert 0 < few.seen.sum() < all_.seen.sum() and (all_.seen | ~few.seen).all()
    assert torch.equal(few.lifted[few.seen], all_.lifted[few.seen])
    student.network.eval()
    with torch.no_grad():
        torch.testing.assert_close(student.features(some[0]), student.features(whole[0], kept))
