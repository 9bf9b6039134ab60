"""The backbone's own network as a student: it starts as the frozen backbone, moves from there, and learns."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide.backbones import upcast
from geoguide.backbones.point_transformer_layers import DropPath
from geoguide.backbones.sonata import encoder_input
from geoguide.errors import ConfigError, InputError
from geoguide.frozen import config_hash
from geoguide.model import from_fit, load
from geoguide.pipeline import train as module
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.student import new_student
from geoguide.pipeline.train import _State, fit
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene
from geoguide.students.augment import AugmentConfig, augment_with_normals
from geoguide.students.point_transformer import PointTransformerStudent, PointTransformerStudentConfig
from geoguide.students.statistics import geometry_statistics
from geoguide.students.surfaces import Surface

CPU = torch.device("cpu")
Scenes = dict[str, list[PreparedScene]]


@pytest.fixture(scope="module")
def config(tiny: ExperimentConfig) -> ExperimentConfig:
    return tiny.replace(
        train__model="point_transformer",
        train__steps=8,
        train__evaluate_every=4,
        train__checkpoint_every=3,
        objective__modules=(),
    )


def student_of(config: ExperimentConfig, scenes: Scenes) -> PointTransformerStudent:
    torch.manual_seed(0)
    found = new_student(config, scenes["train"])
    assert isinstance(found, PointTransformerStudent)
    return found


def test_without_a_rate_it_stays_the_frozen_backbone(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """After a whole training at rate 0 the head reads what the cache holds of the backbone, rounded to float16."""
    still = config.replace(train__learning_rate=0.0)
    found = fit(still, train=tiny_scenes["train"], val=tiny_scenes["val"], device="cpu", progress=False).student
    assert isinstance(found, PointTransformerStudent)
    for scene in (tiny_scenes["train"][0], tiny_scenes["test"][0]):
        frozen = np.asarray(scene.geometry[:], np.float32)
        with torch.no_grad():
            geometry = found.geometry(scene)
        torch.testing.assert_close(geometry, torch.from_numpy(frozen), rtol=2**-10, atol=1e-3)
    mean, deviation = geometry_statistics(tiny_scenes["train"])
    torch.testing.assert_close(found.network.head.mean, mean, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.network.head.deviation, deviation, rtol=1e-3, atol=1e-3)


def test_a_training_in_whole_rooms_is_saved_as_an_adapter(
    config: ExperimentConfig, tiny_scenes: Scenes, tmp_path: Path
) -> None:
    """Of a frozen encoder: it labels as the student does."""
    still = config.replace(point_transformer__encoder_rate=0.0)
    fitted = fit(still, train=tiny_scenes["train"], val=tiny_scenes["val"], device="cpu", progress=False)
    model, scene = load(from_fit(fitted, still).save(tmp_path / "model.safetensors")), tiny_scenes["test"][0]
    with torch.no_grad():
        found, expected = model.student().features(scene), fitted.student.features(scene)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)  # of the cache's float16
    joined = still.replace(backbone__name="sonata-mini+descriptors")
    with pytest.raises(InputError, match=r"the adapter reads \d+ channels, sonata-mini\+descriptors gives \d+"):
        from_fit(fitted, joined)


def test_an_encoder_that_was_trained_is_not_saved(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    fitted = fit(config, train=tiny_scenes["train"], val=tiny_scenes["val"], device="cpu", progress=False)
    with pytest.raises(InputError, match="only an adapter on a frozen backbone can be saved as a model"):
        from_fit(fitted, config)


@torch.no_grad()
def test_a_random_start_is_another_network_of_the_same_shape(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    pretrained = student_of(config, tiny_scenes)
    random = student_of(config.replace(point_transformer__start="random"), tiny_scenes)
    mine, theirs = (one.network.state_dict() for one in (pretrained, random))
    assert {name: value.shape for name, value in mine.items()} == {name: value.shape for name, value in theirs.items()}
    scene = tiny_scenes["val"][0]
    one, other = (student.geometry(scene) for student in (pretrained, random))
    assert one.shape == other.shape == (len(scene), scene.geometry_width) and (one - other).abs().mean() > 0.1


def test_the_batch_is_the_scene_as_the_backbone_reads_it(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """Without augmentation: one point for each voxel, with the backbone's own input, in the order of the points."""
    student = student_of(config.replace(point_transformer__augmented=False), tiny_scenes)
    scene = tiny_scenes["train"][0]
    batch = student.draw([scene], 0, 0, CPU)
    raw = scene.load()
    made = encoder_input(raw.points, raw.colors, raw.normals, grid=student.network.grid)
    order = np.argsort(made.selected)
    np.testing.assert_array_equal(batch.feat, made.feat[order])
    np.testing.assert_array_equal(batch.grid_coord, made.grid_coord[order])
    np.testing.assert_array_equal(batch.points, scene.points[made.selected[order]])
    np.testing.assert_array_equal(batch.lifted, np.float32(scene.lifted[made.selected[order]]))
    network, offset = student.network.eval(), torch.tensor([len(batch)])
    with torch.no_grad():  # along the curves as they are, which training shuffles
        stages = network.encoder(batch.coord, batch.grid_coord, batch.feat, offset)
        found = network.head(upcast(stages, network.concat))
        chosen = made.selected[order]
        torch.testing.assert_close(found, student.features(scene, chosen), rtol=1e-3, atol=1e-4)


def test_parts_have_their_rates(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """One step of AdamW moves a weight by its rate: the encoder's ten times less; a rate of 0 leaves it alone."""
    for share in (0.1, 0.0):
        rated = config.replace(point_transformer__encoder_rate=share, train__weight_decay=0.0)
        torch.manual_seed(0)
        state = _State.new(rated, tiny_scenes["train"], CPU)
        network = state.student.network
        before = {name: value.clone() for name, value in network.named_parameters()}
        state.advance(tiny_scenes["train"])
        state.reader.shutdown()
        moved = {name: (value - before[name]).abs().max().item() for name, value in network.named_parameters()}
        rate = rated.train.learning_rate
        for name, distance in moved.items():
            expected = rate * (share if name.startswith("encoder.") else 1)
            assert distance <= 1.01 * expected and (distance > 0.5 * expected or expected == 0), name
        pulled = {name.partition(".")[0] for name, value in network.named_parameters() if value.grad is not None}
        assert pulled == ({"encoder", "head"} if share else {"head"})  # of a frozen encoder no gradient is computed


def test_learns_with_modules_and_goes_on_from_a_checkpoint(config, tiny_scenes: Scenes, tmp_path) -> None:
    with_modules = config.replace(objective__modules=("usd", "imr", "iirc"), train__learning_rate=1e-3)
    whole = fit(with_modules, train=tiny_scenes["train"], val=[], device="cpu", run_dir=tmp_path, progress=False)
    again = fit(with_modules, train=tiny_scenes["train"], val=[], device="cpu", run_dir=tmp_path, progress=False)
    assert {"point", "mask", "sim"} & set(whole.history[-1]) and whole.history == again.history
    for one, other in zip(whole.student.network.parameters(), again.student.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_it_drops_is_the_same_after_a_break(config, tiny_scenes: Scenes, tmp_path, killed, monkeypatch) -> None:
    """As released Sonata trains: 0.3 of the voxels lose a branch, others in every turn."""
    make, forward, dropped = module.new_student, DropPath.forward, []

    def dropping(*given):
        student = make(*given)
        for part in student.network.modules():
            if isinstance(part, DropPath):
                part.share = 0.3
        return student

    def noting(self, feat):
        out = forward(self, feat)
        dropped.append(int((out == 0).all(1).sum()) if self.training else None)
        return out

    monkeypatch.setattr(module, "new_student", dropping)
    sets = {"train": tiny_scenes["train"], "val": [], "device": "cpu", "progress": False}
    monkeypatch.setattr(DropPath, "forward", noting)
    whole = fit(config, **sets)
    counts = [count for count in dropped if count is not None]
    assert min(counts) > 0 and len({*counts}) > len(counts) // 2
    killed(module._State, 5, lambda: fit(config, **sets, run_dir=tmp_path))
    torch.rand(7)  # torch's own state is anywhere
    dropped.clear()
    resumed = fit(config, **sets, run_dir=tmp_path)
    again = [count for count in dropped if count is not None]
    assert again and again == counts[-len(again) :]
    for row, same in zip(resumed.history, whole.history, strict=True):
        assert row == pytest.approx(same, rel=1e-5)  # where tensors lie in memory moves the last bit now and then


def test_the_distillation_loss_falls(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    for start in ("random", "pretrained"):
        longer = config.replace(
            train__steps=30, train__evaluate_every=5, train__learning_rate=2e-3, point_transformer__start=start
        )
        history = fit(longer, train=tiny_scenes["train"], val=[], device="cpu", progress=False).history
        assert history[-1]["point"] < 0.8 * history[0]["point"]


def test_its_settings_are_part_of_its_identity_alone(config: ExperimentConfig) -> None:
    other = {"point_transformer__start": "random"}
    assert config_hash(config) != config_hash(config.replace(**other))
    plain = ExperimentConfig()
    assert config_hash(plain) == config_hash(plain.replace(**other))


def test_refuses(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    for backbone, start, told in (
        ("descriptors", "random", "a backbone that is a network, found 'descriptors'"),
        ("sonata-mini-untrained", "pretrained", "a backbone with trained weights, found 'sonata-mini-untrained'"),
    ):
        wrong = config.replace(backbone__name=backbone, point_transformer__start=start)
        with pytest.raises(ConfigError, match=told):
            new_student(wrong, tiny_scenes["train"])
    with pytest.raises(ConfigError, match=r"point_transformer\.start must be one of random, pretrained, found 'warm'"):
        PointTransformerStudentConfig(start="warm")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ConfigError, match="encoder_rate"):
        PointTransformerStudentConfig(encoder_rate=-1.0)
    with pytest.raises(ConfigError, match="elastic_share must be 0: normals would not follow, found 0.95"):
        PointTransformerStudentConfig(augment=AugmentConfig())
    nowhere = dataclasses.replace(tiny_scenes["train"][0], source=None)
    with pytest.raises(InputError, match="made in memory, so it cannot be read again"):
        new_student(config, [nowhere])
    some = dataclasses.replace(tiny_scenes["train"][0], points=tiny_scenes["train"][0].points[::2])
    with pytest.raises(InputError, match=r"needs all \d+ points, found \d+ prepared"):
        new_student(config, [some])


def test_a_joined_backbone_lends_its_network(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    joined = student_of(config.replace(backbone__name="sonata-mini+descriptors"), tiny_scenes)
    alone = student_of(config, tiny_scenes)
    for one, other in zip(joined.network.encoder.parameters(), alone.network.encoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_normals_turn_with_the_points(rng: np.random.Generator) -> None:
    """On a sphere around the axis of rotation a point is its own normal, up to the scale."""
    normals = rng.normal(size=(500, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    config = AugmentConfig(elastic_share=0.0)
    for seed in range(5):
        generator = np.random.default_rng(seed)
        kept, points, _, turned = augment_with_normals(normals, np.abs(normals), normals, config, generator)
        scale = np.linalg.norm(points, axis=1, keepdims=True)
        assert scale.min() >= 0.9 and scale.max() <= 1.1001 and len(kept) == len(turned) >= 400
        np.testing.assert_allclose(points / scale, turned, atol=1e-5)
        np.testing.assert_allclose(turned[:, 2], normals[kept, 2], atol=1e-6)
    with pytest.raises(ConfigError, match=r"augment\.elastic_share must be 0"):
        augment_with_normals(normals, normals, normals, AugmentConfig(), np.random.default_rng(0))


def test_copies_of_a_point_share_their_position(rng: np.random.Generator) -> None:
    points = rng.normal(size=(50, 3)).astype(np.float32)
    twice = np.concatenate([points, points])
    scene = Scene("twice", twice, np.zeros_like(twice), np.tile(np.float32([[0, 0, 1]]), (100, 1)), provenance="real")
    surface = Surface.of(scene)
    assert len(surface.points) == 50
    np.testing.assert_array_equal(surface.points[surface.position], twice)
    np.testing.assert_array_equal(twice[surface.first], surface.points)
