"""Labels as an oracle: what is learned from, against sklearn's logistic regression, and what is refused."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from geoguide.errors import ConfigError, DataError
from geoguide.experiments.placing import on
from geoguide.experiments.presets import SYSTEMS
from geoguide.frozen import config_hash
from geoguide.labels import load_label_set
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol, TrainConfig
from geoguide.pipeline.evaluate import evaluate
from geoguide.pipeline.self_distillation import new_self_distillation
from geoguide.pipeline.student import new_student
from geoguide.pipeline.supervision import ClassObjective, new_objective, supervised
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID
from geoguide.text.minilm import MiniLMTextEncoder

Scenes = dict[str, list[PreparedScene]]


@pytest.fixture(scope="module")
def config(tiny: ExperimentConfig) -> ExperimentConfig:
    return tiny.replace(objective__modules=(), train__supervision="labels")


def test_a_point_has_the_text_of_its_class(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    text = class_text("scannet20", Protocol()).vectors.numpy()
    for scene, plain in zip(supervised(config, tiny_scenes["train"]), tiny_scenes["train"], strict=True):
        chosen = np.arange(0, len(scene), 97)
        lifted, seen = scene.features(chosen)
        for row, point, known in zip(lifted, chosen, seen, strict=True):
            assert known == (plain.labels[point] != VOID)
            np.testing.assert_array_equal(row, np.float16(text[plain.labels[point]]) if known else 0)
        assert scene.feature_width == plain.feature_width and scene.name == plain.name
    assert supervised(config.replace(train__supervision="2d"), tiny_scenes["train"]) is tiny_scenes["train"]


@pytest.mark.parametrize("supervision", ["labels", "classes"])
def test_is_refused_without_labels(supervision: str, config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    asked = config.replace(train__supervision=supervision)
    bare = [tiny_scenes["train"][0], dataclasses.replace(tiny_scenes["train"][1], labels=None)]
    told = f"train.supervision '{supervision}' needs training scenes with labels, found none in 1 of 2, first scene0001"
    with pytest.raises(DataError, match=told):
        fit(asked, train=bare, val=[], device="cpu", progress=False)
    with pytest.raises(ConfigError, match=r"objective\.modules must be empty with train\.supervision"):
        new_objective(asked.replace(objective__modules=("usd",)), tiny_scenes["train"])
    with pytest.raises(ConfigError, match=r"train\.supervision must be one of 2d, labels, classes, found 'none'"):
        TrainConfig(supervision="none")  # ty: ignore[invalid-argument-type]


def test_scenes_without_2d_features_teach_by_their_labels(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    blind = [dataclasses.replace(scene, lifted=None, seen_by=None) for scene in tiny_scenes["train"]]
    short = config.replace(train__steps=2, train__evaluate_every=2)
    found, expected = (
        fit(short, train=train, val=[], device="cpu", progress=False).history for train in (blind, tiny_scenes["train"])
    )
    assert found == expected


def test_cross_entropy_is_that_of_the_scores(config: ExperimentConfig, tiny_scenes: Scenes, rng) -> None:
    asked = config.replace(train__supervision="classes", objective__lambda_sp=2.0)
    scenes = supervised(asked, tiny_scenes["train"])
    objective = new_objective(asked, scenes)
    assert isinstance(objective, ClassObjective) and not list(objective.parameters())
    labels = np.asarray(scenes[0].labels)
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == VOID)[:3], rng.integers(0, len(labels), 20)]))
    chosen = np.unique(chosen)
    batch = scenes[0].batch(chosen, torch.device("cpu"))
    semantic = torch.from_numpy(rng.normal(size=(len(chosen), scenes[0].feature_width)).astype(np.float32))
    terms = objective(semantic, batch, torch.Generator())
    text, total, count = class_text("scannet20", Protocol()).vectors.double().numpy(), 0.0, 0
    for row, label in zip(semantic.double().numpy(), labels[chosen], strict=True):
        if label != VOID:
            scores = text @ row
            total += np.log(np.exp(scores).sum()) - scores[label]
            count += 1
    assert terms["total"].item() == pytest.approx(2 * total / count, rel=1e-5) and terms["point"] is terms["total"]


def test_a_linear_head_is_a_linear_probe(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """The head's classes agree with those of sklearn's logistic regression on the same frozen features."""
    probe = config.replace(
        train__supervision="classes", adapter__hidden=(), train__steps=400, train__learning_rate=2e-2
    ).replace(train__evaluate_every=400, train__weight_decay=0.0)
    scenes = tiny_scenes["train"]
    student = fit(probe, train=scenes, val=[], device="cpu", progress=False).student
    features = np.concatenate([np.asarray(scene.geometry[::9], np.float32) for scene in scenes])
    labels = np.concatenate([scene.labels[::9] for scene in scenes])
    known = labels != VOID
    features = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    model = LogisticRegression(C=1.0, max_iter=300, tol=1e-3).fit(features[known], labels[known])
    with torch.no_grad():
        semantic = torch.cat([student.features(scene, np.arange(0, len(scene), 9)) for scene in scenes])
    found = class_text("scannet20", Protocol()).similarity(semantic).argmax(1).numpy()[known]
    expected = model.predict(features[known])
    assert (found == expected).mean() > 0.9
    assert (found == labels[known]).mean() > (expected == labels[known]).mean() - 0.05


def test_labels_teach_more_than_2d_features(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """On the rooms learned from: the ceiling is above what 2D features give."""
    taught = {}
    for supervision in ("2d", "labels", "classes"):
        asked = config.replace(train__supervision=supervision, train__steps=150, train__evaluate_every=150)
        student = fit(asked, train=tiny_scenes["train"], val=[], device="cpu", progress=False).student
        taught[supervision] = evaluate(asked, student, scenes=tiny_scenes["train"]).miou
    assert min(taught["labels"], taught["classes"]) > taught["2d"] + 2


def test_the_curve_of_training_scenes(config: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """It watches and changes nothing; its mIoU is that of the scenes that are learned from."""
    plain = config.replace(train__steps=20, train__evaluate_every=10)
    rows = [
        fit(asked, **{s: tiny_scenes[s] for s in ("train", "val")}, device="cpu", progress=False).history
        for asked in (plain, plain.replace(train__watch_train=True))
    ]
    assert [{k: v for k, v in row.items() if k != "train_miou"} for row in rows[1]] == rows[0]
    assert all(0 <= row["train_miou"] <= 100 for row in rows[1]) and "train_miou" not in rows[0][0]
    bare = [dataclasses.replace(scene, labels=None) for scene in tiny_scenes["train"]]
    with pytest.raises(DataError, match="no training scene has labels"):
        fit(plain.replace(train__supervision="2d", train__watch_train=True), train=bare, val=[], device="cpu")


@pytest.mark.parametrize(("dataset", "count"), [("scannet", 20), ("matterport3d", 160), ("nuscenes", 16)])
def test_a_training_with_words_is_told_every_name_that_its_benchmark_scores(
    dataset: str, count: int, config: ExperimentConfig, tiny_scenes: Scenes
) -> None:
    """The network of houses is scored on four label sets, of which the names painted with are the largest."""
    there, scenes = on(config.replace(train__supervision="2d"), dataset), tiny_scenes["train"]
    names = load_label_set(there.evaluation.label_sets[-1] if there.evaluation.label_sets else there.data.label_set)
    first = MiniLMTextEncoder().encode(names.names[:1], prompt=Protocol().prompt)
    for changes in (SYSTEMS["DMA"], SYSTEMS["GGSD"], SYSTEMS["SAS stage 2"]):
        asked = there.replace(**changes)
        second = new_self_distillation(asked, new_student(asked, scenes))
        told = new_objective(asked, scenes).distillation.text if second is None else second.text
        assert told.shape == (count, scenes[0].feature_width) and len(names) == count
        np.testing.assert_allclose(told[:1], first, atol=1e-6)
    oracle = new_objective(there.replace(train__supervision="classes"), scenes)
    assert len(oracle.text) == len(load_label_set(there.data.label_set))  # labels are those of the scored set


def test_new_options_leave_old_hashes() -> None:
    plain = ExperimentConfig()
    for option, value in (("warmup", 0.1), ("decay", 0.5), ("supervision", "labels"), ("watch_train", True)):
        assert config_hash(plain.replace(**{f"train__{option}": value})) != config_hash(plain)


def test_the_rate_rises_and_falls() -> None:
    train = TrainConfig(steps=100, learning_rate=2.0, warmup=0.1, power=1.0)
    rates = [train.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == pytest.approx(2 * 0.91) and rates[50] == pytest.approx(1.0)
    assert max(rates) == rates[9] and rates == [*sorted(rates[:10]), *sorted(rates[10:], reverse=True)]
    late = [TrainConfig(steps=100, learning_rate=2.0, decay=0.25, power=1.0).rate(step) for step in range(100)]
    assert late[:76] == [2.0] * 76 and late[-1] == pytest.approx(0.08) and late[75:] == sorted(late[75:], reverse=True)
    plain = TrainConfig(steps=100)
    assert plain.rate(7) == plain.learning_rate * (1 - 7 / 100) ** plain.power
    with pytest.raises(ConfigError, match=r"train\.warmup and train\.decay must be shares .* found 2"):
        TrainConfig(warmup=2.0)
