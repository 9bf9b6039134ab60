"""Probes: each measure against brute force or another library, and on features whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from geoguide.datasets import scannet
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pretraining import PretrainConfig, Pretraining, probe_record
from geoguide.pretraining.loop import build
from geoguide.pretraining.probe_record import add_row, read_record
from geoguide.pretraining.probing import (
    ProbeConfig,
    ProbeRoom,
    auc,
    instance_auc,
    linear_probe,
    nearest,
    pair_auc,
    pca_colors,
    pool_instances,
    probe,
    sample,
)

SMALL = ProbeConfig(train_points=150, knn_train_points=100, knn_points=80, min_instance=5, neighbors=5, shell=(0,))


def make_room(seed: int, noise: float) -> ProbeRoom:
    """300 points, 12 instances of 4 classes whose features are one corner each, plus noise; some unlabelled."""
    rng = np.random.default_rng(seed)
    instances = rng.integers(-1, 12, 300)
    labels = np.where(instances < 0, 255, instances % 4)
    features = 3 * np.eye(6)[np.where(labels == 255, 5, labels)] + noise * rng.standard_normal((300, 6))
    return ProbeRoom(f"room{seed}", features.astype(np.float32), labels, instances)


def rooms(noise: float) -> tuple[list[ProbeRoom], ...]:
    return tuple([make_room(10 * split + n, noise) for n in range(2)] for split in range(3))


def test_clear_features_score_everything_and_noise_nothing() -> None:
    clear, lost = (probe(*rooms(noise), 4, SMALL) for noise in (0.05, 500.0))
    assert clear["linear"]["test_miou"] == clear["knn"]["test_miou"] == 100
    assert clear["instance_auc"]["test"]["objects_across"] == clear["instance_auc"]["val"]["all_within"] == 1
    assert lost["linear"]["test_miou"] < 40 and lost["knn"]["val_miou"] < 40
    assert 0.2 < lost["instance_auc"]["test"]["all_across"] < 0.8
    with pytest.raises(InputError, match="found 0, 2, 2"):
        probe([], *rooms(0.1)[1:], 4, SMALL)


def test_validation_chooses_the_strength() -> None:
    """Whatever the test rooms hold, the strength is that of the best validation score."""
    train, val, test = rooms(2.0)
    features, labels, _ = sample(train, 150, 0)
    standard = (np.zeros(6), np.ones(6))
    config = replace(SMALL, strengths=(1e-6, 1.0))
    row = linear_probe(features, labels, [(val, "val"), (test, "test")], standard, 4, config)
    each = [
        linear_probe(features, labels, [(val, "val"), (test, "test")], standard, 4, replace(config, strengths=(s,)))
        for s in config.strengths
    ]
    assert row["val_miou"] == max(e["val_miou"] for e in each) and row in each


def test_nearest_against_scikit_learn(rng: np.random.Generator) -> None:
    key, query = rng.standard_normal((200, 5)), rng.standard_normal((90, 5))
    labels = rng.integers(0, 3, 200)
    reference = KNeighborsClassifier(7, metric="cosine").fit(key, labels).predict(query)
    np.testing.assert_array_equal(nearest(key, labels, query, 7, 3), reference)


def test_auc_against_scikit_learn(rng: np.random.Generator) -> None:
    value, positive = rng.integers(0, 9, 100), rng.random(100) < 0.3
    assert auc(value, positive) == pytest.approx(roc_auc_score(positive, value))
    assert auc(np.array([2.0, 1.0]), np.array([True, False])) == 1 and auc(value, positive | True) is None


def test_pairs_against_a_loop(rng: np.random.Generator) -> None:
    features, category, room = rng.standard_normal((20, 4)), rng.integers(0, 3, 20), rng.integers(0, 3, 20)
    kinds: dict[str, list] = {"within": [], "across": []}
    for i in range(20):
        for j in range(i):
            cosine = features[i] @ features[j] / np.linalg.norm(features[i]) / np.linalg.norm(features[j])
            kinds["within" if room[i] == room[j] else "across"].append((cosine, category[i] == category[j]))
    found = pair_auc(features, category, room)
    for name, pairs in kinds.items():
        value, same = (np.array(x) for x in zip(*pairs, strict=True))
        assert found[name] == pytest.approx(roc_auc_score(same, value))


def test_pooling_against_a_loop() -> None:
    pair = [make_room(3, 1.0), make_room(4, 1.0)]
    features, category, owner = pool_instances(pair, 20)
    expected = []
    for number, room in enumerate(pair):
        for instance in range(12):
            rows = room.instances == instance
            if rows.sum() >= 20:
                expected.append((room.features[rows].mean(0), instance % 4, number))
    assert 0 < len(expected) < 24
    np.testing.assert_allclose(features, [e[0] for e in expected], atol=1e-5)
    assert category.tolist() == [e[1] for e in expected] and owner.tolist() == [e[2] for e in expected]
    counted = instance_auc(pair, np.zeros(6), np.ones(6), replace(SMALL, min_instance=20))
    assert counted["instances"] == len(expected) and counted["objects"] == sum(e[1] != 0 for e in expected)


def test_colours_follow_the_components(rng: np.random.Generator) -> None:
    features = rng.standard_normal((500, 6)) * [9, 5, 3, 0.1, 0.1, 0.1]
    colors = pca_colors(features)
    assert colors.shape == (500, 3) and colors.min() == 0 and colors.max() == 1
    for c in range(3):
        assert abs(np.corrcoef(colors[:, c], features[:, c])[0, 1]) > 0.95
    np.testing.assert_allclose(pca_colors(features + 7), colors, atol=1e-5)
    with pytest.raises(InputError, match="features must be"):
        pca_colors(features[:, :2])


def test_bad_rooms_and_records(tmp_path) -> None:
    with pytest.raises(InputError, match="room a: labels must be \\[3\\] as features are, found \\[2\\]"):
        ProbeRoom("a", np.zeros((3, 2)), np.zeros(2, np.int64), np.zeros(3, np.int64))
    with pytest.raises(InputError, match="room a: features must be finite"):
        ProbeRoom("a", np.full((3, 2), np.nan), np.zeros(3, np.int64), np.zeros(3, np.int64))
    with pytest.raises(ConfigError, match="backbone must be one of"):
        add_row("resnet", tmp_path / "p.json")
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(DataError, match=r"p.json: not a probe record"):
        read_record(tmp_path / "p.json", ProbeConfig())


def test_rows_of_a_record(tiny: ExperimentConfig, data_home, tmp_path) -> None:
    """Every kind of backbone on real (tiny) rooms; rows are kept; a backbone that has seen a test room is refused."""
    out = tmp_path / "probe.json"
    settings = replace(SMALL, strengths=(0.1,), iterations=20)
    for name in ("descriptors", "random", "supervised"):
        row = add_row(name, out, steps=1, config=tiny, settings=settings)
        assert 0 < row["linear"]["test_miou"] < 100
    record = read_record(out, settings)
    assert set(record["rows"]) == {"descriptors", "random", "supervised"} and record["source"] == "mini"
    assert record["protocol"]["rooms"]["test"] == [[0, "test", 0]]
    with pytest.raises(DataError, match="protocol.probe must be"):
        read_record(out, ProbeConfig())
    plain = PretrainConfig()
    seen = Pretraining(build(plain)["encoder"], [], plain, 0).save(tmp_path / "seen.safetensors", [(0, "test", 0)])
    assert scannet.list_scenes(data_home / "mini-scannet", "test")[0].name == "scene7000_00"
    with pytest.raises(DataError, match="scene7000_00: evaluated on, but pretrained on"):
        add_row("sonata-mini", out, weights=seen, config=tiny, settings=settings)


def test_a_row_that_another_command_added_meanwhile_is_kept(tiny: ExperimentConfig, tmp_path, monkeypatch) -> None:
    """Two probes side by side: the one that ended last wrote over the other's row."""
    out, settings = tmp_path / "probe.json", replace(SMALL, strengths=(0.1,), iterations=20)
    add_row("descriptors", out, config=tiny, settings=settings)
    whole, measure = out.read_text(), probe_record.probe

    def slow(*given: object) -> dict:
        out.write_text(whole)  # by the other
        return measure(*given)

    out.unlink()
    monkeypatch.setattr(probe_record, "probe", slow)
    add_row("random", out, config=tiny, settings=settings)
    assert set(read_record(out, settings)["rows"]) == {"descriptors", "random"}
