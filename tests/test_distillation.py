"""What the other systems distil: each loss against a slow loop in float64, gradients, painted words by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from regions import random_batch

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import config_hash
from geoguide.method.batch import NO_WORD, Batch
from geoguide.method.distillation import Distillation, DistillationConfig, vote, word_loss
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.student import STUDENTS, new_student
from geoguide.pipeline.supervision import paint, supervised
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene

P, C, K = 60, 8, 5
Scenes = dict[str, list[PreparedScene]]
SAS = DistillationConfig(point_target="superpoint", superpoints=True)
GGSD = DistillationConfig(superpoints=True)
DMA = DistillationConfig(word_bce=True)
RELEASED_DMA = DistillationConfig(point_target="word")


@pytest.fixture
def batch() -> Batch:
    words = torch.randint(-1, K, (P,), generator=torch.Generator().manual_seed(3))
    return replace(random_batch(P, dtype=torch.float64), words=words)


@pytest.fixture
def semantic() -> torch.Tensor:
    return torch.randn(P, C, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture
def text() -> torch.Tensor:
    return torch.randn(K, C, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def terms(config: DistillationConfig, semantic: torch.Tensor, batch: Batch, text: torch.Tensor) -> dict:
    return Distillation(config, text)(semantic, batch, torch.Generator())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def slow_superpoints(semantic: torch.Tensor, batch: Batch) -> tuple[float, float]:
    """SAS's two terms, one superpoint after another: of points, and of superpoints."""
    of_points, of_superpoints = [], []
    for number in range(batch.superpoints.count):
        members = [p for p in range(P) if batch.superpoints.group[p] == number and batch.seen[p]]
        if members:
            target = batch.lifted[members].numpy().mean(0)
            of_points += [1 - cosine(semantic[p].numpy(), target) for p in members]
            of_superpoints.append(1 - cosine(semantic[members].numpy().mean(0), target))
    return float(np.mean(of_points)), float(np.mean(of_superpoints))


def test_sas_learns_means_at_both_levels(semantic, batch, text) -> None:
    found = terms(SAS, semantic, batch, text)
    expected = slow_superpoints(semantic, batch)
    assert (found["point"].item(), found["superpoint"].item()) == pytest.approx(expected)


def test_ggsd_learns_points_and_means(semantic, batch, text) -> None:
    found = terms(GGSD, semantic, batch, text)
    points = [1 - cosine(semantic[p].numpy(), batch.lifted[p].numpy()) for p in range(P) if batch.seen[p]]
    assert found["point"].item() == pytest.approx(np.mean(points))
    assert found["superpoint"].item() == pytest.approx(slow_superpoints(semantic, batch)[1])


def test_dma_as_its_paper_and_as_its_code(semantic, batch, text) -> None:
    """The paper: cosine to 2D features and, of every class, -log sigmoid(+-cos / 0.1). The code: cosine to the text."""
    found = terms(DMA, semantic, batch, text)
    plain = terms(DistillationConfig(), semantic, batch, text)
    assert found["point"].item() == plain["point"].item()
    painted = [p for p in range(P) if batch.words[p] != NO_WORD]
    slow = []
    for p in painted:
        for k in range(K):
            sign = 1 if batch.words[p] == k else -1
            slow.append(np.log1p(np.exp(-sign * cosine(semantic[p].numpy(), text[k].numpy()) / 0.1)))
    assert found["word"].item() == pytest.approx(np.mean(slow))
    released = terms(RELEASED_DMA, semantic, batch, text)
    expected = [1 - cosine(semantic[p].numpy(), text[batch.words[p]].numpy()) for p in painted]
    assert set(released) == {"point"} and released["point"].item() == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("config", [SAS, GGSD, DMA, RELEASED_DMA])
def test_gradients_are_right(config, semantic, batch, text) -> None:
    def total(values: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(terms(config, values, batch, text).values())).sum()

    assert torch.autograd.gradcheck(total, semantic.requires_grad_())


@pytest.mark.parametrize("config", [SAS, GGSD, DMA, RELEASED_DMA])
def test_nothing_seen_and_nothing_painted_is_zero(config, semantic, batch, text) -> None:
    blind = replace(
        batch, lifted=torch.zeros_like(batch.lifted), seen=torch.zeros(P, dtype=torch.bool),
        words=torch.full((P,), NO_WORD),
    )  # fmt: skip
    found = terms(config, semantic.requires_grad_(), blind, text)
    assert all(value.item() == 0 for value in found.values())
    torch.stack(list(found.values())).sum().backward()
    assert not semantic.grad.any()


def test_a_vote_is_that_of_a_slow_count(rng: np.random.Generator) -> None:
    labels, regions = rng.integers(-1, 6, 400), rng.integers(0, 40, 400) * 3
    found = vote(labels, regions, 6)
    for region in np.unique(regions):
        known = [label for label in labels[regions == region] if label >= 0]
        most = Counter(known).most_common()
        expected = -1 if not known else min(label for label, count in most if count == most[0][1])
        assert set(found[regions == region]) == {expected}
    assert len(vote(np.zeros(0, np.int64), np.zeros(0, np.int64), 3)) == 0


def test_words_of_regions_are_voted(tiny: ExperimentConfig, tiny_scenes: Scenes) -> None:
    scene, text = tiny_scenes["train"][0], class_text("scannet20", Protocol()).vectors
    own, by_superpoints, by_masks = (paint(scene, text, by) for by in ("points", "superpoints", "masks"))
    everyone = np.arange(len(scene))
    lifted, seen = scene.features(everyone)
    nearest = (np.asarray(lifted, np.float32) @ text.numpy().T).argmax(1)
    np.testing.assert_array_equal(own, np.where(seen, nearest, NO_WORD))
    for number in np.unique(scene.superpoints)[::25]:
        inside = (scene.superpoints == number) & seen
        if inside.any():
            counts = np.bincount(own[inside], minlength=len(text))
            assert set(by_superpoints[inside]) == {counts.argmax()}
    assert (by_masks[~seen] == NO_WORD).all() and (by_masks[seen] >= 0).all()
    assert (by_masks == scene.labels)[seen].mean() >= (own == scene.labels)[seen].mean() - 0.05
    painted = supervised(tiny.replace(objective__modules=(), objective__distillation=DMA), tiny_scenes["train"])
    np.testing.assert_array_equal(painted[0].words, by_masks)


@pytest.mark.parametrize("model", STUDENTS)
@pytest.mark.parametrize("config", [SAS, RELEASED_DMA])
def test_every_student_learns_it(model: str, config, tiny: ExperimentConfig, tiny_scenes: Scenes) -> None:
    asked = tiny.replace(
        objective__modules=(), objective__distillation=config, train__model=model, openscene__width=0.1,
        openscene__voxel=0.2, train__steps=6, train__evaluate_every=3,
    )  # fmt: skip
    fitted = fit(asked, train=tiny_scenes["train"], val=[], device="cpu", progress=False)
    assert ("superpoint" in fitted.history[-1]) == config.superpoints
    assert all(np.isfinite(row["total"]) for row in fitted.history)


def test_voxels_have_the_superpoints_of_their_points(tiny: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """Of two scenes together, and of one of which some points alone were kept."""
    config = tiny.replace(
        objective__modules=(), train__model="openscene", openscene__width=0.1, openscene__voxel=0.2,
        openscene__scenes_per_step=2,
    )  # fmt: skip
    student = new_student(config, tiny_scenes["train"])
    batch = student.draw(tiny_scenes["train"], 0, 0, torch.device("cpu"))
    scenes = {scene.fingerprint: scene for scene in tiny_scenes["train"]}
    names, start = {}, 0
    for origin in batch.origins:
        for row, point in enumerate(origin.points[:200], start):
            key = (origin.scene, int(scenes[origin.scene].superpoints[point]))
            assert names.setdefault(key, int(batch.superpoints.group[row])) == int(batch.superpoints.group[row])
        start += len(origin.points)
    assert start == len(batch.lifted) and len(set(names.values())) == len(names)
    seen = batch.seen
    row = int(torch.nonzero(seen)[0])
    same = seen & (batch.superpoints.group == batch.superpoints.group[row])
    mean = batch.mean_lifted("superpoints")[batch.superpoints.group[row]]
    torch.testing.assert_close(mean, batch.lifted[same].mean(0))


def test_refuses_what_does_not_go_together(semantic, batch, tiny_scenes: Scenes, tiny: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"objective\.distillation must be left alone beside usd"):
        ObjectiveConfig(distillation=SAS)
    with pytest.raises(ConfigError, match=r"objective\.distillation: temperature must be positive, found 0"):
        DistillationConfig(temperature=0)
    with pytest.raises(ConfigError, match=r"point_target must be one of"):
        DistillationConfig(point_target="pixel")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ConfigError, match="asks for words, but their text was not given"):
        Objective(5, C, ObjectiveConfig(modules=(), distillation=DMA))
    with pytest.raises(InputError, match="must have the field words, found None"):
        terms(DMA, semantic, replace(batch, words=None), torch.zeros(K, C, dtype=torch.float64))
    labels = tiny.replace(objective__modules=(), objective__distillation=DMA, train__supervision="labels")
    with pytest.raises(ConfigError, match=r"objective\.distillation must be left alone with train\.supervision"):
        fit(labels, train=tiny_scenes["train"], val=[], device="cpu", progress=False)


def test_without_options_no_hash_moves() -> None:
    plain = ExperimentConfig()
    assert config_hash(plain) == config_hash(plain.replace(objective__distillation=DistillationConfig()))
    changed = plain.replace(objective__modules=(), objective__distillation=SAS)
    assert config_hash(changed) != config_hash(plain.replace(objective__modules=()))


def test_word_loss_is_small_where_the_word_is_said(text) -> None:
    words = torch.tensor([0, 1, 2])
    orthogonal = torch.eye(K, C, dtype=torch.float64)
    assert word_loss(orthogonal[:3], words, orthogonal, 0.1) < word_loss(orthogonal[1:4], words, orthogonal, 0.1)
