"""The second stage: running means, votes and losses by slow loops; resumes to the same bits; float16 stands still."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from regions import random_batch

from geoguide.errors import ConfigError, DataError
from geoguide.frozen import config_hash
from geoguide.method.batch import NO_WORD
from geoguide.method.self_distillation import (
    SelfDistillationConfig,
    follow,
    pseudo_label_loss,
    running_mean,
    superpoint_labels,
    voted_labels,
)
from geoguide.ops.groups import Groups
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.self_distillation import HistoryLabels, MeanTeacherLabels, SelfDistillation
from geoguide.pipeline.student import STUDENTS
from geoguide.pipeline.train import Fit, fit
from geoguide.prepared import PreparedScene

Scenes = dict[str, list[PreparedScene]]
SAS = SelfDistillationConfig("history", begins=0.5)
GGSD = SelfDistillationConfig(
    "mean_teacher", begins=0.5, keep=0.9, similarity="cosine", temperature=0.01, superpoints=False
)
P, C, K, S = 60, 8, 5, 7


def config_of(second: SelfDistillationConfig, tiny: ExperimentConfig, model: str = "adapter") -> ExperimentConfig:
    return tiny.replace(
        objective__modules=(), train__self_distillation=second, train__model=model, openscene__width=0.1,
        openscene__voxel=0.2, train__steps=40, train__evaluate_every=10, train__checkpoint_every=5,
    )  # fmt: skip


def train(config: ExperimentConfig, scenes: Scenes, **options) -> Fit:
    return fit(config, train=scenes["train"], val=[], progress=False, device="cpu", **options)


def test_a_history_of_scores_is_that_of_features() -> None:
    """SAS keeps features, averages them over superpoints and compares these with the text: the same labels."""
    g = torch.Generator().manual_seed(0)
    features, visits = torch.randn(P, C, generator=g), torch.randn(3, P, C, generator=g)
    text = torch.randn(K, C, generator=g)
    superpoints = torch.randint(0, S, (P,), generator=g).numpy()
    scores = features @ text.T
    for visit in visits:
        features = 0.7 * features + 0.3 * visit
        scores = running_mean(scores, visit @ text.T, 0.7)
    found = superpoint_labels(scores, superpoints)
    for number in np.unique(superpoints):
        mean = features[superpoints == number].mean(0)
        assert set(found[superpoints == number]) == {int((text @ mean).argmax())}


def test_float16_at_0_9999_stands_still() -> None:
    """What SAS's storage does: a change below half a step of float16 is rounded away, however often it comes."""
    old, new = torch.full((1000,), 0.3), torch.full((1000,), 0.5)
    half, single = old.half(), old.clone()
    for _ in range(100):
        half, single = running_mean(half, new, 0.9999), running_mean(single, new, 0.9999)
    assert torch.equal(half, old.half())
    torch.testing.assert_close(single, 0.5 - 0.2 * torch.full((1000,), 0.9999) ** 100)


def test_votes_are_those_of_a_slow_count() -> None:
    g = torch.Generator().manual_seed(0)
    scores, index = torch.randn(P, K, generator=g), torch.randint(0, S, (P,), generator=g)
    found = voted_labels(scores, Groups.partition(index, S))
    for number in range(S):
        counts = torch.bincount(scores[index == number].argmax(1), minlength=K)
        assert set(found[index == number].tolist()) == {int(counts.argmax())}


@pytest.mark.parametrize("config", [SAS, GGSD])
def test_the_loss_is_cross_entropy_of_points_and_superpoints(config: SelfDistillationConfig) -> None:
    batch = random_batch(P, S, dtype=torch.float64)
    g = torch.Generator().manual_seed(1)
    semantic = torch.randn(P, C, generator=g, dtype=torch.float64, requires_grad=True)
    text = torch.randn(K, C, generator=g, dtype=torch.float64)
    of_superpoint = torch.randint(-1, K, (S,), generator=g)
    labels = of_superpoint[batch.superpoints.group]
    found = pseudo_label_loss(semantic, labels, batch.superpoints, text, config)

    def entropy(row: torch.Tensor, label: int) -> float:
        row = F.normalize(row, dim=0) if config.similarity == "cosine" else row
        return -torch.log_softmax(text @ row / config.temperature, 0)[label].item()

    expected = [entropy(semantic[p], labels[p]) for p in range(P) if labels[p] != NO_WORD]
    assert found["pseudo_point"].item() == pytest.approx(np.mean(expected))
    if config.superpoints:
        means = [(semantic[batch.superpoints.group == s].mean(0), of_superpoint[s]) for s in range(S)]
        expected = [entropy(mean, label) for mean, label in means if label != NO_WORD]
        assert found["pseudo_superpoint"].item() == pytest.approx(np.mean(expected))
    else:
        assert "pseudo_superpoint" not in found
    total = lambda x: pseudo_label_loss(x, labels, batch.superpoints, text, config)["total"]  # noqa: E731
    assert torch.autograd.gradcheck(total, semantic)
    nothing = pseudo_label_loss(semantic, torch.full((P,), NO_WORD), batch.superpoints, text, config)
    assert nothing["total"].item() == 0


def test_a_mean_teacher_follows_slowly() -> None:
    torch.manual_seed(0)
    teacher, student = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    student(torch.randn(10, 3))
    with torch.no_grad():
        student.weight.fill_(3.0)
    follow(teacher, student, 0.75)
    torch.testing.assert_close(teacher.weight.data, torch.full((3,), 0.75 + 0.25 * 3))
    torch.testing.assert_close(teacher.running_mean, student.running_mean)


@pytest.mark.parametrize("second", [SAS, GGSD], ids=["history", "mean teacher"])
def test_resumes_in_either_stage(
    second: SelfDistillationConfig, tiny: ExperimentConfig, tiny_scenes: Scenes, tmp_path, killed
) -> None:
    """Killed in the first stage, at the first step of the second, and within it."""
    from geoguide.pipeline import train as module

    config = config_of(second, tiny)
    whole = train(config, tiny_scenes)
    for step in (13, 20, 28):
        folder = tmp_path / str(step)
        killed(module._State, step, lambda folder=folder: train(config, tiny_scenes, run_dir=folder))
        resumed = train(config, tiny_scenes, run_dir=folder)
        assert resumed.history == whole.history
        pairs = zip(resumed.student.network.parameters(), whole.student.network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert "pseudo_point" in whole.history[-1] and "point" not in whole.history[-1]
    assert "point" in whole.history[1] and "pseudo_point" not in whole.history[1]


def test_the_first_stage_is_that_of_a_training_without_a_second(tiny: ExperimentConfig, tiny_scenes: Scenes) -> None:
    alone = train(config_of(SelfDistillationConfig(), tiny), tiny_scenes)
    both = train(config_of(SAS, tiny), tiny_scenes)
    assert both.history[:2] == alone.history[:2] and both.history[2] != alone.history[2]


@pytest.mark.parametrize("model", [name for name in STUDENTS if name != "adapter"])
@pytest.mark.parametrize("second", [SAS, GGSD], ids=["history", "mean teacher"])
def test_every_student_has_it(
    second: SelfDistillationConfig, model: str, tiny: ExperimentConfig, tiny_scenes: Scenes
) -> None:
    config = config_of(second, tiny, model).replace(train__steps=4, train__evaluate_every=2)
    fitted = train(config, tiny_scenes)
    assert "pseudo_point" in fitted.history[-1] and np.isfinite(fitted.history[-1]["total"])


@pytest.mark.parametrize(("kind", "second"), [(HistoryLabels, SAS), (MeanTeacherLabels, GGSD)])
def test_a_point_that_was_not_kept_has_no_label(
    kind: type[SelfDistillation], second: SelfDistillationConfig, tiny: ExperimentConfig, tiny_scenes: Scenes
) -> None:
    """Voxels of a whole cloud stand for points of which neither history nor superpoint is kept."""
    from geoguide.pipeline.class_text import class_text
    from geoguide.pipeline.config import Protocol
    from geoguide.pipeline.prepare import prepare
    from geoguide.pipeline.student import new_student

    config = config_of(second, tiny, "openscene").replace(pooling__kept_points=3000)
    scene = prepare(tiny_scenes["train"][0].source, config, training=True)
    student = new_student(config, [scene])
    text = class_text("scannet20", Protocol()).vectors
    stage = kind(second, 0, student, text)
    stage.begin([scene])
    batch = student.draw([scene], 0, 0, torch.device("cpu"))
    with torch.no_grad():
        labels = stage.labels(student.forward(batch), batch)
    known = torch.from_numpy(batch.origins[0].points) >= 0
    assert known.any() and not known.all()
    assert (labels[~known] == NO_WORD).all() and (labels[known] >= 0).all()


def test_a_history_of_other_classes_is_refused(tiny: ExperimentConfig, tiny_scenes: Scenes, tmp_path, killed) -> None:
    from geoguide.pipeline import train as module

    config = config_of(SAS, tiny)
    killed(module._State, 28, lambda: train(config, tiny_scenes, run_dir=tmp_path))
    (path,) = tmp_path.glob("*.pt")
    saved = torch.load(path, weights_only=True)
    saved["second"] = {name: said[:, :3] for name, said in saved["second"].items()}
    torch.save(saved, path)
    with pytest.raises(DataError, match="not a checkpoint of this training"):
        train(config, tiny_scenes, run_dir=tmp_path)


def test_refuses_other_words_and_numbers() -> None:
    with pytest.raises(ConfigError, match=r"train\.self_distillation\.teacher must be one of"):
        SelfDistillationConfig("committee")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ConfigError, match=r"train\.self_distillation: keep must be in 0\.\.1, found 2"):
        SelfDistillationConfig(keep=2)
    with pytest.raises(ConfigError, match=r"train\.self_distillation: temperature must be positive"):
        SelfDistillationConfig(temperature=0)
    plain = ExperimentConfig()
    assert config_hash(plain) == config_hash(plain.replace(train__self_distillation=SelfDistillationConfig()))
