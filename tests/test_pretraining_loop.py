"""pretrain: learns, repeats, resumes after a kill, refuses bad checkpoints; its rooms; the backbone that it leaves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoguide import backbones
from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.backbones.point_transformer import upcast
from geoguide.backbones.sonata import encoder_input
from geoguide.datasets import scannet
from geoguide.errors import DataError, InputError
from geoguide.frozen import config_hash
from geoguide.paths import generated_folder
from geoguide.pretraining import Pretraining, loop, pretrain
from geoguide.pretraining.config import DistillationConfig, NetworkConfig, PretrainConfig, ViewConfig
from geoguide.pretraining.rooms import check_disjoint, identity, make_rooms, read_cloud
from geoguide.pretraining.supervised import labelled_view, train_supervised
from geoguide.pretraining.views import Cloud
from geoguide.scene import Scene
from geoguide.worlds.rooms.make import make_mini_scannet

TINY = PretrainConfig(
    network=NetworkConfig(
        voxel=0.12, enc_depths=(1, 1, 1), enc_channels=(8, 12, 16), enc_num_head=(1, 2, 2),
        enc_patch_size=(32, 32, 32), stride=(2, 2), concat=1,
    ),
    views=ViewConfig(local_views=2, global_share=(0.4, 0.6), mask_cell=(0.3, 0.6)),
    distillation=DistillationConfig(
        hidden=16, bottleneck=8, prototypes=12, matches=100, radius=0.24, describe_weight=0.5
    ),
    benchmark_rooms=2, rooms=1, rooms_per_step=2, steps=12, warmup=0.2, log_every=4, checkpoint_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def clouds() -> list[Cloud]:
    """Three rooms: a floor, two walls, a table."""
    made = []
    for seed in range(3):
        u, v = np.random.default_rng(seed).random((2, 1500))
        part = np.random.default_rng(seed + 9).integers(0, 4, 1500)
        o = 0 * u
        sides = [[3 * u, 2 * v, o], [3 * u, o, 2 * v], [o, 2 * u, 2 * v], [1 + u, 0.5 + 0.6 * v, o + 0.7]]
        points = np.stack([np.stack(s, axis=1) for s in sides])[part, np.arange(1500)].astype(np.float32)
        normals = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)[part]
        colors = np.random.default_rng(seed).random((1500, 3)).astype(np.float32)
        descriptors = DescriptorBackbone().encode(Scene("made", points, colors, normals))
        made.append(Cloud(points, colors, normals, descriptors.astype(np.float16)))
    return made


def run(clouds: list[Cloud], config: PretrainConfig = TINY, **options) -> Pretraining:
    return pretrain(config, clouds, progress=False, **options)


def same(a: Pretraining, b: Pretraining) -> bool:
    pairs = zip(a.encoder.state_dict().values(), b.encoder.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs) and a.history == b.history


@pytest.fixture(scope="module")
def done(clouds) -> Pretraining:
    return run(clouds)


def test_history_and_frozen_result(done):
    assert [row["step"] for row in done.history] == [4, 8, 12] and done.step == 12
    for row in done.history:
        assert np.isfinite(list(row.values())).all() and 1 / 12 <= row["usage"] <= 1 and row["matched"] > 0.3
        assigned = 0.25 * row["mask"] + 0.25 * row["roll"] + 0.5 * row["local"]
        assert row["total"] == pytest.approx(assigned + 0.5 * row["describe"], rel=1e-5)
    assert not any(p.requires_grad for p in done.encoder.parameters()) and not done.encoder.training


def test_loss_falls_on_one_room(clouds):
    config = replace(TINY, rooms_per_step=1, steps=60, log_every=10, learning_rate=5e-3)
    history = run(clouds[:1], config).history
    assert history[-1]["total"] < history[0]["total"] - 0.05
    assert history[-1]["effective_rank"] > 2 and history[-1]["usage"] > 0.3  # not by collapse
    assert history[-1]["describe"] < 0.7 * history[0]["describe"]


def test_descriptors_are_asked_for_by_their_weight_alone(clouds):
    plain = [replace(cloud, descriptors=None) for cloud in clouds]
    with pytest.raises(InputError, match=r"descriptors of a cloud must be \[1500, 130\] .*, found \[1500, 0\]"):
        run(plain)
    off = replace(TINY, distillation=replace(TINY.distillation, describe_weight=0.0), steps=4)
    assert same(run(plain, off), run(clouds, off)) and "describe" not in run(plain, off).history[0]


def test_the_seed_decides_everything_and_nothing_else_moves(clouds, done):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    assert same(done, run(clouds))
    assert torch.equal(state, torch.random.get_rng_state())
    assert not same(done, run(clouds, replace(TINY, seed=1)))


def test_resumes_after_a_kill_with_the_same_result(clouds, done, tmp_path, killed, resumed_at):
    killed(loop._State, 6, lambda: run(clouds, run_dir=tmp_path))
    steps = resumed_at(loop._State)
    assert same(run(clouds, run_dir=tmp_path), done) and steps[0] == 4


def test_stops_at_a_step_between_two_rows_and_goes_on(clouds, done, tmp_path):
    part = run(clouds, run_dir=tmp_path, until=6)
    assert part.step == 6 and [row["step"] for row in part.history] == [4]
    assert same(run(clouds, run_dir=tmp_path), done)


def test_bad_checkpoints_and_too_few_rooms(clouds, tmp_path):
    run(clouds, run_dir=tmp_path, until=2)
    (path,) = tmp_path.glob(f"sonata-mini-{config_hash(TINY)}-*.pt")
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match=path.name):
        run(clouds, run_dir=tmp_path)
    with pytest.raises(InputError, match="at least rooms_per_step=2 rooms, found 1"):
        run(clouds[:1])


def test_other_rooms_are_another_pretraining(clouds, done, tmp_path):
    run(clouds, run_dir=tmp_path)
    assert not same(run(clouds[::-1], run_dir=tmp_path), done)
    assert len(list(tmp_path.iterdir())) == 2


def test_schedules_by_hand():
    config = replace(TINY, steps=100, warmup=0.1, learning_rate=1.0, final_learning_rate=0.0)
    assert loop.learning_rate(config, 4) == pytest.approx(0.5) and loop.learning_rate(config, 10) == pytest.approx(1)
    assert loop.learning_rate(config, 55) == pytest.approx(0.5) and loop.learning_rate(config, 100) == pytest.approx(0)
    mean, source = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.constant_(mean.weight, 1.0)
    torch.nn.init.constant_(source.weight, 3.0)
    loop.move_average(mean, source, 0.75)
    assert mean.weight.item() == pytest.approx(1.5) and source.weight.item() == 3.0


# --- the backbone ---


def test_saved_weights_are_a_backbone(done, clouds, tmp_path):
    path = done.save(tmp_path / "mini.safetensors", [(0, "train", 3)])
    backbone = backbones.load("sonata-mini", weights=path)
    scene = Scene("made", clouds[0].points, clouds[0].colors, clouds[0].normals)
    features = backbone.encode(scene)
    assert backbone.name == "sonata-mini" and backbone.width == 28 and backbone.rooms == ((0, "train", 3),)
    made = encoder_input(scene.points, scene.colors, scene.normals, grid=0.12)
    inputs = (torch.tensor(a) for a in (made.coord, made.grid_coord, made.feat))
    rounded = done.encoder  # float32: what float16 on disk may cost
    expected = upcast(rounded(*inputs, torch.tensor([len(made.coord)])), 1).numpy()[made.inverse]
    assert features.shape == (1500, 28) and np.abs(features - expected).max() < 0.02 * np.abs(expected).max()
    assert backbones.load("sonata-mini", weights=path, concat=2).width == 36


def test_other_files_are_refused(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"hello")
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    for name, message in (
        ("none.safetensors", "weights file not found; make one with `geoguide pretrain`"),
        ("cut.safetensors", "not a readable safetensors file"),
        ("plain.safetensors", "not written by `geoguide pretrain` .metadata has no 'config'."),
    ):
        with pytest.raises(DataError, match=f"{name}: {message}"):
            backbones.load("sonata-mini", weights=tmp_path / name)


# --- rooms ---


def test_rooms_are_no_evaluation_rooms_and_come_without_labels(tiny, data_home):
    folders = make_rooms(TINY, data_home / "extra", workers=2)
    assert [identity(f) for f in folders] == [(0, "train", 0), (0, "train", 1), (2503, "train", 0)]
    scene, cloud = scannet.load_scene(folders[2]), read_cloud(folders[2], described=True)
    for name in ("points", "colors", "normals"):
        np.testing.assert_array_equal(getattr(cloud, name), getattr(scene, name))
    np.testing.assert_array_equal(cloud.descriptors, DescriptorBackbone().encode(scene).astype(np.float16))
    held = scannet.list_scenes(data_home / "mini-scannet", "val")
    check_disjoint(map(identity, folders), held)
    with pytest.raises(DataError, match="scene5000_00: evaluated on, but pretrained on as seed, split, number"):
        check_disjoint([(0, "val", 0)], held)
    with pytest.raises(DataError, match="benchmark_rooms=9 training rooms, found 2"):
        make_rooms(replace(TINY, benchmark_rooms=9), data_home / "extra")


def test_rooms_of_another_edition_lie_in_its_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    root = generated_folder("mini-scannet", "large")
    make_mini_scannet(root, rooms=(1, 1, 0), edition="large", workers=1, progress=False)
    config = replace(TINY, benchmark_rooms=1, edition="large")
    folders = make_rooms(config, workers=1)
    homes = [root, generated_folder("mini-scannet-pretrain", "large")]
    assert [folder.parent.parent for folder in folders] == homes
    assert config_hash(config) != config_hash(replace(config, edition="small"))
    assert config_hash(TINY) == config_hash(replace(TINY, edition="small"))


# --- the upper bound ---


def test_supervised_twin_learns_labels(clouds):
    labels = [(cloud.points[:, 2] > 0.6).astype(np.int64) for cloud in clouds]
    view, label = labelled_view(clouds[0], labels[0], TINY, np.random.default_rng(0))
    np.testing.assert_array_equal(label, view.place[:, 2] > 0.6)
    network = train_supervised(replace(TINY, steps=30, learning_rate=1e-2), clouds, labels, 2, progress=False)
    made = encoder_input(clouds[0].points, clouds[0].colors, clouds[0].normals, grid=0.12)
    inputs = [torch.tensor(a) for a in (made.coord, made.grid_coord, made.feat)]
    features = upcast(network["encoder"](*inputs, torch.tensor([len(made.coord)])), 1)
    guess = network["head"](features).argmax(1).numpy()[made.inverse]
    assert (guess == labels[0]).mean() > 0.75
    with pytest.raises(InputError, match="labels must be given for each of 3 clouds"):
        train_supervised(TINY, clouds, labels[:1], 2, progress=False)
