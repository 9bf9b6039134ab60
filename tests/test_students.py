"""What training and scoring expect of a student, checked on every student of the registry."""

import dataclasses

import numpy as np
import pytest
import torch

from geoguide.errors import ConfigError
from geoguide.method.batch import Batch
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.student import STUDENTS, new_student, student_kind
from geoguide.prepared import PreparedScene
from geoguide.students.adapter import Adapter
from geoguide.students.statistics import SAMPLED, geometry_statistics, mean_lifted, sampled, start_at_mean
from geoguide.students.student import Motion, Student, scene_of_turn

CPU = torch.device("cpu")
STILL = Motion(np.eye(3, dtype=np.float32), 1.0)


@pytest.fixture(params=STUDENTS)
def config(request: pytest.FixtureRequest, tiny: ExperimentConfig) -> ExperimentConfig:
    return tiny.replace(
        train__model=request.param, objective__modules=(), openscene__width=0.1, openscene__voxel=0.2
    )  # the openscene student is kept small


@pytest.fixture
def student(config: ExperimentConfig, tiny_scenes: dict[str, list[PreparedScene]]) -> Student:
    torch.manual_seed(0)
    found = new_student(config, tiny_scenes["train"])
    found.network.eval()
    return found


def tensors(batch: object) -> dict[str, torch.Tensor]:
    """All tensors of a batch by name, those of its groups too."""
    found: dict[str, torch.Tensor] = {}
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, torch.Tensor):
            found[field.name] = value
        elif dataclasses.is_dataclass(value):
            found |= {f"{field.name}.{name}": inner for name, inner in tensors(value).items()}
    return found


def test_names_itself(student: Student, config: ExperimentConfig) -> None:
    assert type(student) is student_kind(config) and student.name == config.train.model
    assert student.config == getattr(config, config.train.model) and student.device == CPU


def test_draws_from_seed_and_step_alone(student: Student, tiny_scenes: dict) -> None:
    scenes = tiny_scenes["train"]
    torch.manual_seed(1)
    first = tensors(student.draw(scenes, 5, 0, CPU))
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 (the global state must not matter)
    again = tensors(student.draw(scenes, 5, 0, CPU))
    assert first.keys() == again.keys() and {"lifted", "seen"} <= first.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for other in (student.draw(scenes, 6, 0, CPU), student.draw(scenes, 5, 1, CPU)):
        different = tensors(other)
        assert any(not torch.equal(first[name], different[name]) for name in first)


def test_answers_a_batch_and_lets_gradients_in(student: Student, tiny_scenes: dict) -> None:
    batch = student.draw(tiny_scenes["train"], 0, 0, CPU)
    assert isinstance(batch, Batch) == student.has_regions
    semantic = student.forward(batch)
    assert semantic.shape == batch.lifted.shape and torch.isfinite(semantic).all()
    assert (batch.lifted[~batch.seen] == 0).all() and batch.seen.any()
    semantic.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in student.network.parameters())


@torch.no_grad()
def test_features_of_some_points_are_those_of_the_scene(student: Student, tiny_scenes: dict) -> None:
    scene = tiny_scenes["val"][0]
    whole = student.features(scene)
    assert whole.shape == (len(scene), scene.feature_width) and whole.dtype == torch.float32
    for chosen in (np.arange(0, len(scene), 7), np.array([5]), np.arange(len(scene))[:-100:-1].copy()):
        torch.testing.assert_close(student.features(scene, chosen), whole[torch.from_numpy(chosen)])


@torch.no_grad()
def test_a_scene_that_does_not_move_has_its_features(student: Student, tiny_scenes: dict) -> None:
    """Up to the rounding of cached frozen features to float16; further motions are independent of one another."""
    scene = tiny_scenes["val"][0]
    angle = np.float32(np.pi / 2)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    still, moved, again = student.moved(scene, [STILL, Motion(turn, 1.1), STILL])
    torch.testing.assert_close(still, student.features(scene), atol=5e-3, rtol=5e-3)
    assert torch.equal(still, again) and moved.shape == still.shape and not torch.equal(moved, still)


def test_a_motion_turns_points_and_normals_alike() -> None:
    quarter = Motion(np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], np.float32), 2.0)
    along_x = np.array([[1, 0, 0]], np.float32)
    np.testing.assert_array_equal(quarter.points(along_x), [[0, 2, 0]])
    np.testing.assert_array_equal(quarter.normals(along_x), [[0, 1, 0]])
    assert quarter.normals(None) is None and quarter.points(along_x).dtype == np.float32


def test_inference_keeps_an_adapter_or_nothing(student: Student) -> None:
    if isinstance(student.network, Adapter):
        assert student.saved_adapter() is student.network
    else:
        assert student.saved_adapter() is None


def test_starts_at_the_mean_feature(student: Student, tiny_scenes: dict) -> None:
    """Before the first step every point has about the direction that all 2D features share."""
    mean = torch.nn.functional.normalize(mean_lifted(tiny_scenes["train"]), dim=0)
    with torch.no_grad():
        found = torch.nn.functional.normalize(student.features(tiny_scenes["train"][0]), dim=1)
    assert (found @ mean).mean() > 0.7


def test_modules_need_regions(config: ExperimentConfig, tiny_scenes: dict) -> None:
    wanted = config.replace(objective__modules=("usd", "iirc"))
    if student_kind(config).has_regions:
        assert new_student(wanted, tiny_scenes["train"]).has_regions
    else:
        with pytest.raises(ConfigError, match=r"modules must be empty for openscene, found \('usd', 'iirc'\)"):
            new_student(wanted, tiny_scenes["train"])


def test_an_unknown_student_is_named(tiny: ExperimentConfig) -> None:
    for ask in (student_kind, lambda config: new_student(config, [])):
        with pytest.raises(
            ConfigError, match=r"train\.model must be one of adapter, openscene, point_transformer, found 'pointnet'"
        ):
            ask(tiny.replace(train__model="pointnet"))


def test_every_epoch_visits_every_scene_once() -> None:
    scenes = list(range(7))
    epochs = [[scene_of_turn(scenes, turn, 3) for turn in range(7 * e, 7 * e + 7)] for e in range(4)]
    assert all(sorted(epoch) == scenes for epoch in epochs) and len({tuple(epoch) for epoch in epochs}) > 1
    assert epochs[0] != [scene_of_turn(scenes, turn, 4) for turn in range(7)]


def test_statistics_match_a_loop(tiny_scenes: dict) -> None:
    scenes = tiny_scenes["train"]
    geometry = np.concatenate([np.float64(scene.geometry[np.arange(0, len(scene), 16)]) for scene in scenes])
    mean, deviation = geometry_statistics(scenes)
    np.testing.assert_allclose(mean, geometry.mean(0), atol=1e-4)
    np.testing.assert_allclose(deviation, geometry.std(0), atol=1e-4)
    lifted = [scene.lifted[p] for scene in scenes for p in range(0, len(scene), 64) if scene.seen_by[p] > 0]
    np.testing.assert_allclose(mean_lifted(scenes), np.mean(np.float64(lifted), axis=0), atol=1e-5)


def test_statistics_look_at_few_scenes_evenly() -> None:
    assert list(sampled(range(3))) == [0, 1, 2]
    for count in (SAMPLED, SAMPLED + 1, 1201):
        found = list(sampled(range(count)))
        assert len(found) <= SAMPLED and found[0] == 0 and len(set(np.diff(found))) == 1


def test_start_at_mean_sets_the_direction() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 3)
    weight = layer.weight.detach().clone()
    start_at_mean(layer, torch.tensor([0.0, 3.0, 4.0]))
    torch.testing.assert_close(layer.bias.detach(), torch.tensor([0.0, 0.6, 0.8]))
    torch.testing.assert_close(layer.weight.detach(), weight / 10)
