"""Proposed masks: hand cases and slow twins of the loss, properties of the network, its file, its training in small."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from torch import Tensor

from geoguide import paths
from geoguide.errors import DataError, InputError
from geoguide.frozen import config_hash
from geoguide.instances import learned
from geoguide.instances.learned import (
    Proposer,
    open_proposer,
    propose_groups,
    propose_masks,
    spread_out,
    windows,
    write_proposer,
)
from geoguide.instances.parts import MEASURES, RELATIONS, Parts
from geoguide.instances.proposer import MaskProposer, Proposals, ProposerConfig
from geoguide.instances.scene_masks import MaskConfig, masks_identity, scene_masks
from geoguide.ops.weld import find_weld
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare, scene_sources
from geoguide.pretraining.masks.config import ProposerTrainConfig
from geoguide.pretraining.masks.loop import train_proposer
from geoguide.pretraining.masks.loss import Truth, assign, cross_entropy, dice, loss_terms, mask_iou, match
from geoguide.pretraining.masks.rooms import RoomView, views_of
from geoguide.report.mask_table import card, read_rows
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_superpoints

TINY = ProposerConfig(features=3, width=12, heads=2, layers=1, pair=6, matched=4)


def boxes(count: int = 4) -> tuple[Scene, np.ndarray]:
    """A floor and cubes on it; every side of a cube is a superpoint."""
    rng = np.random.default_rng(3)
    points, normals, index, instances = [], [], [], []
    for box in range(count):
        for axis, side in itertools.product(range(3), (0.0, 1.0)):
            face = rng.random((40, 3))
            face[:, axis] = side
            points.append(face * 0.4 + [box, box % 2, 0.0])
            normals.append(np.eye(3)[axis] * (2 * side - 1) * np.ones((40, 1)))
            index.append(np.full(40, len(index)))
            instances.append(np.full(40, box))
    floor = np.column_stack([rng.random((400, 2)) * [count, 2], np.zeros(400)])
    points, normals = [*points, floor], [*normals, np.tile([0.0, 0.0, 1.0], (400, 1))]
    index, instances = [*index, np.full(400, len(index))], [*instances, np.full(400, count)]
    cloud = np.concatenate(points).astype(np.float32)
    colors = rng.random((len(cloud), 3)).astype(np.float32)
    scene = Scene("boxes", cloud, colors=colors, normals=np.concatenate(normals).astype(np.float32),
                  instances=np.concatenate(instances))  # fmt: skip
    return scene, np.concatenate(index)


def measured(scene: Scene, index: np.ndarray) -> Parts:
    assert scene.normals is not None
    return Parts.measure(scene.points, scene.normals, scene.colors, index, scene.colors, find_weld)


def untrained(config: ProposerConfig = TINY, seed: int = 0) -> MaskProposer:
    torch.manual_seed(seed)
    return MaskProposer(config).eval().requires_grad_(False)


def run(network: MaskProposer, parts: Parts, queries: list[int]) -> Proposals:
    share = torch.from_numpy(parts.regions.sizes / parts.regions.sizes.sum()).float()
    return network(parts.measures(), parts.relations(), share, torch.tensor(queries))


# --- the loss


def test_dice_and_cross_entropy_by_hand() -> None:
    sizes = torch.tensor([1.0, 4.0])
    logits, target = torch.tensor([[0.0, 0.0], [50.0, -50.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # the first mask is half of everything: 2 * 0.5 / (2.5 + 1 + 1); the second is right: 2 * 1 / (1 + 1 + 1)
    torch.testing.assert_close(dice(logits, target, sizes), torch.tensor([1 - 1 / 4.5, 1 - 2 / 3]))
    # weights of the two parts are 1 and 2, divided by their mean
    torch.testing.assert_close(cross_entropy(logits, target, sizes), torch.tensor([np.log(2.0), 0.0]).float())


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (1, 1), (5, 5)])
def test_matching_is_the_best_of_all(shape: tuple[int, int], rng: np.random.Generator) -> None:
    cost = torch.from_numpy(rng.random(shape))
    query, instance = match(cost)
    few, many = sorted(shape)
    lower = cost.numpy() if shape[0] <= shape[1] else cost.numpy().T
    best = min(sum(lower[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(many), few))
    assert float(cost[query, instance].sum()) == pytest.approx(best)
    assert len(set(query)) == len(set(instance)) == few


def test_queries_are_for_what_they_lie_in_and_lost_objects_are_matched() -> None:
    # parts 0 and 1 are in object 0; 2 is of nothing; 3 is half of object 1
    truth = Truth(torch.tensor([[9.0, 0.0], [5.0, 0.0], [0.0, 0.0], [0.0, 5.0]]), torch.tensor([9.0, 6.0, 7.0, 10.0]))
    queries = torch.tensor([0, 1, 2, 3])
    logits = torch.full((4, 4), -9.0)
    logits[2, 3] = 9.0  # the query of nothing draws what object 1 is in
    assert assign(logits, queries, truth, (5.0, 2.0), matched=False).tolist() == [0, 0, -1, -1]
    assert assign(logits, queries, truth, (5.0, 2.0), matched=True).tolist() == [0, 0, 1, -1]


def test_truth_and_iou_agree_with_a_slow_loop(rng: np.random.Generator) -> None:
    index, instances = rng.integers(0, 6, 300), rng.integers(-1, 4, 300)
    index[:6] = np.arange(6)
    truth = Truth.count(index, instances, 1)
    logits = torch.from_numpy(rng.standard_normal((5, 6))).float()
    for query, iou in zip(logits.numpy() > 0, mask_iou(logits, truth).tolist(), strict=True):
        inside = query[index]
        best = max((inside & (instances == i)).sum() / (inside | (instances == i)).sum() for i in range(4))
        assert iou == pytest.approx(best)
    for part, instance in itertools.product(range(6), range(4)):
        assert truth.shared[part, instance] == ((index == part) & (instances == instance)).sum()
    assert Truth.count(index, instances, 10_000).shared.shape == (6, 0)


def test_loss_is_least_where_masks_are_right() -> None:
    scene, index = boxes()
    assert scene.instances is not None
    truth, queries = Truth.count(index, scene.instances, 1), torch.arange(25)
    inside = truth.inside.T[assign(torch.zeros(25, 25), queries, truth, (1.0, 1.0), matched=False)]

    def total(logits: Tensor, score: float) -> dict[str, Tensor]:
        return loss_terms(Proposals([logits], torch.full((25,), score)), queries, truth, (5.0, 2.0, 2.0))

    right, none = total(20 * inside - 10, 10.0), total(torch.full((25, 25), -10.0), -10.0)
    assert right["iou"] == 1.0 and none["iou"] == 0.0
    assert right["total"] < 0.1 < 1.0 < none["total"]
    assert total(20 * inside - 10, -10.0)["score"] > 5  # right masks that are not believed in


# --- parts and network


def test_parts_in_another_order_give_the_same_masks_in_that_order(rng: np.random.Generator) -> None:
    scene, index = boxes()
    order = rng.permutation(25)  # the new number of each part
    parts, shuffled = measured(scene, index), measured(scene, order[index])
    assert parts.measures().shape == (25, MEASURES + 3) and parts.relations().shape == (25, 25, RELATIONS)
    network, queries = untrained(), [3, 11, 24]
    found, again = run(network, parts, queries), run(network, shuffled, order[queries].tolist())
    torch.testing.assert_close(again.logits[-1][:, order], found.logits[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(again.score, found.score, atol=1e-4, rtol=1e-4)
    alone = run(network, parts, [11])  # no query changes another's mask
    torch.testing.assert_close(alone.logits[-1][0], found.logits[-1][1], atol=1e-5, rtol=1e-5)


def test_a_turn_and_a_shift_of_the_scene_change_nothing() -> None:
    scene, index = boxes()
    assert scene.normals is not None
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    turned = replace(scene, points=scene.points @ turn.T + np.float32([2, -1, 0.5]), normals=scene.normals @ turn.T)
    for before, after in zip(
        (measured(scene, index).measures(), measured(scene, index).relations()),
        (measured(turned, index).measures(), measured(turned, index).relations()),
        strict=True,
    ):
        torch.testing.assert_close(after, before, atol=2e-3, rtol=1e-3)


def test_repeated_points_count_once() -> None:
    scene, index = boxes()
    assert scene.normals is not None and scene.instances is not None
    many = np.repeat(np.arange(len(scene)), 2)
    double = replace(scene, points=scene.points[many], colors=scene.colors[many], normals=scene.normals[many],
                     instances=scene.instances[many])  # fmt: skip
    once, twice = measured(scene, index), measured(double, index[many])
    torch.testing.assert_close(twice.measures(), once.measures(), atol=1e-4, rtol=1e-4)


def test_some_parts_are_the_parts_alone() -> None:
    scene, index = boxes()
    parts, chosen = measured(scene, index), np.array([0, 4, 9, 24])
    some = parts.take(chosen)
    torch.testing.assert_close(some.measures()[:, :7], parts.measures()[chosen][:, :7])
    same = [number for number in range(RELATIONS) if number != 9]  # 9: groups are found again among these
    torch.testing.assert_close(some.relations()[..., same], parts.relations()[chosen][:, chosen][..., same])


def test_furthest_points_by_a_slow_loop(rng: np.random.Generator) -> None:
    centers = rng.random((30, 3))
    chosen = spread_out(centers, 10, 4)
    for count in range(1, 10):
        nearest = np.linalg.norm(centers[:, None] - centers[chosen[:count]], axis=2).min(axis=1)
        assert chosen[count] == nearest.argmax()
    assert sorted(spread_out(centers, 99, 0)) == list(range(30))


@pytest.mark.parametrize("size", [1, 7, 20, 40])
def test_every_part_is_asked_about_in_one_window(size: int, rng: np.random.Generator) -> None:
    found = windows(rng.random((40, 3)), rng.random(40), size)
    assert np.sort(np.concatenate([seen[asked] for seen, asked in found])).tolist() == list(range(40))
    assert all(len(seen) <= size and (np.diff(seen) > 0).all() for seen, _ in found)
    parts = measured(*boxes())
    groups, scores = propose_groups(parts, untrained(), window=size)
    assert sparse.issparse(groups) and groups.shape == (len(scores), 25) and groups.shape[0] <= 25


# --- training in small


def test_training_learns_resumes_and_is_deterministic(tmp_path: Path) -> None:
    scene, index = boxes()
    assert scene.instances is not None
    rooms = [[RoomView(measured(scene, index), Truth.count(index, scene.instances, 1))]]
    config = ProposerTrainConfig(network=TINY, steps=40, queries=25, crop=20, warmup=1, noise=0.0, learning_rate=1e-2,
                                 log_every=10, checkpoint_every=10, crop_share=0.2)  # fmt: skip
    whole = train_proposer(config, rooms, progress=False)
    assert whole.history[-1]["total"] < 0.7 * whole.history[0]["total"]
    assert whole.history[-1]["iou"] > whole.history[0]["iou"]
    train_proposer(config, rooms, run_dir=tmp_path, until=20, progress=False)
    resumed = train_proposer(config, rooms, run_dir=tmp_path, progress=False)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, atol=0, rtol=0)
    with pytest.raises(InputError, match="rooms must be at least one"):
        train_proposer(config, [], progress=False)


def test_a_generated_room_as_training_sees_it(tiny: ExperimentConfig) -> None:
    (source, *_) = scene_sources(tiny.data, "train")
    scene, config = source.load(), ProposerTrainConfig()
    assert scene.instances is not None
    folder = tiny.data.folder / "scans" / scene.name
    for view, (faces, k, min_size) in zip(views_of(folder, config), config.views, strict=True):
        seen = scene if faces else replace(scene, faces=None)
        superpoints = scene_superpoints(seen, SuperpointConfig(k, min_size))
        assert len(view.parts) == superpoints.max() + 1 == len(view.truth.sizes)
        assert view.parts.features.shape[1] == config.network.features
        sizes = np.bincount(scene.instances[scene.instances >= 0])
        assert int(view.truth.shared.sum()) == sizes[sizes >= config.min_points].sum()
        cut = view.crop(0, 10, 1)
        assert len(cut.parts) == 10 and (cut.truth.shared.sum(0) >= 1).all()
    with pytest.raises(DataError, match="no generated room"):
        views_of(folder.parent, config)


# --- files, and experiments


def test_packaged_weights_are_those_that_were_measured() -> None:
    found, config = open_proposer(), ProposerTrainConfig()
    record = json.loads(learned.WEIGHTS.with_suffix(".json").read_text())
    assert record["finished"] and record["id"] == config_hash(config) and record["config"] == found.notes["training"]
    assert len(found.notes["rooms"]) == config.rooms and {split for _, split, _ in found.notes["rooms"]} == {"train"}
    assert found.backbones == config.backbones and learned.WEIGHTS.stat().st_size < 5e6
    measured_ones = {row.sha256 for row in read_rows() if "learned" in row.maker}
    assert measured_ones == {found.sha256}
    assert card(read_rows()) in learned.WEIGHTS.with_suffix(".md").read_text()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network = untrained(replace(TINY, features=130))
    notes = {"backbones": ["descriptors"], "training": {}, "step": 1, "rooms": [(0, "train", 0)]}
    return write_proposer(tmp_path / "masks.safetensors", network, notes)


def test_a_file_is_read_back(weights: Path) -> None:
    found = open_proposer(weights)
    assert found.backbones == ("descriptors",) and found.notes["rooms"] == [[0, "train", 0]]
    assert open_proposer(weights, found.sha256) is found
    for name, value in untrained(replace(TINY, features=130)).state_dict().items():
        torch.testing.assert_close(found.network.state_dict()[name], value.half().float())


def test_other_files_are_refused(weights: Path) -> None:
    with pytest.raises(DataError, match=r"none\.safetensors: weights of masks.source 'learned' not found; make them"):
        open_proposer(weights.parent / "none.safetensors")
    with pytest.raises(DataError, match=r"masks.sha256 must be 00, found"):
        open_proposer(weights, "00")
    with pytest.raises(DataError, match=r"no weights of `geoguide pretrain masks-mini`"):
        open_proposer(paths.WEIGHTS / "sonata-mini.safetensors")
    state = load_file(weights)
    for broken in ({}, {name: value * np.nan for name, value in state.items()}):
        with learned.safe_open(weights, framework="pt") as file:
            save_file(broken, weights.parent / "broken.safetensors", file.metadata())
        with pytest.raises(DataError, match=r"broken\.safetensors: no weights of"):
            open_proposer(weights.parent / "broken.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"masks\.safetensors: no weights of"):
        open_proposer(weights)


def test_proposed_masks_are_those_of_an_experiment(weights: Path, tmp_path: Path) -> None:
    scene, _ = boxes()
    config = MaskConfig("learned", weights=str(weights))
    tiny = ExperimentConfig(masks=config).replace(backbone__name="descriptors")
    found = prepare(scene, tiny, tmp_path / "cache").masks
    again = prepare(scene, tiny, tmp_path / "other").masks
    np.testing.assert_array_equal(found.dense(), again.dense())
    assert found.num_points == len(scene) and (np.diff(found.scores) <= 0).all()
    superpoints = scene_superpoints(scene, SuperpointConfig())
    for mask in found.dense():  # whole superpoints
        shares = np.bincount(superpoints, mask) / np.bincount(superpoints)
        assert np.isin(shares, (0, 1)).all()
    other = open_proposer(weights).sha256
    assert masks_identity(scene.name, config) == [other]
    assert config_hash(tiny) == config_hash(tiny.replace(masks__weights=None))
    assert config_hash(tiny) != config_hash(tiny.replace(masks__sha256=other))
    with pytest.raises(InputError, match="describe must give frozen features"):
        scene_masks(scene, superpoints, config)
    both = prepare(scene, tiny.replace(masks__source="learned+geometry"), tmp_path / "cache").masks
    plain = prepare(scene, tiny.replace(masks=MaskConfig()), tmp_path / "cache").masks
    made = {mask.tobytes() for one in (found, plain) for mask in one.dense()}
    assert {mask.tobytes() for mask in both.dense()} <= made
    proposer = open_proposer(weights)
    with pytest.raises(InputError, match=r"features of descriptors must be \[1360, 130\], found \[5, 130\]"):
        propose_masks(scene, superpoints, np.zeros((5, 130), np.float32), proposer)
    assert isinstance(proposer, Proposer)
